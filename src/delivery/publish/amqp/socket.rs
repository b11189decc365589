//! The sockets of AMQP connections: TLS as for every connection of Keyside, and an end without a
//! wait.
//!
//! lapin's TLS comes with PKCS #12 and old ciphers. Keyside gives lapin a runtime with Keyside's
//! sockets instead.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use async_compat::Compat;
use async_rs::traits::Reactor;
use async_rs::util::RuntimeParts;
use async_rs::{Runtime, Tokio};
use futures_core::Stream;
use parking_lot::Mutex;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use socket2::{SockRef, Socket};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

/// A maker of sockets for a connection.
pub(super) struct Sockets {
    /// The TLS, unless the URL asks for none.
    pub(super) tls: Option<Arc<ClientConfig>>,
    /// The place for the end of the socket.
    pub(super) end: Weak<SocketEnd>,
    /// The time for the connection, and for TLS.
    pub(super) timeout: Duration,
}

/// A socket, with or without TLS.
pub(super) type AmqpSocket = Compat<Box<dyn Duplex>>;

/// Bytes in both directions.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

impl Sockets {
    /// Connects to a server. A silent server has a bound of time, since lapin's thread waits
    /// meanwhile.
    pub(super) async fn connect(&self, host: &str, port: u16) -> io::Result<AmqpSocket> {
        let stream = timeout(self.timeout, TcpStream::connect((host, port))).await??;
        stream.set_nodelay(true)?;
        let Some(end) = self.end.upgrade() else {
            // The dial was given up meanwhile.
            return Err(io::Error::from(io::ErrorKind::TimedOut));
        };
        end.keep(&stream)?;
        let Some(tls) = &self.tls else {
            return Ok(Compat::new(Box::new(stream)));
        };
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let handshake = TlsConnector::from(Arc::clone(tls)).connect(name, stream);
        let secured = timeout(self.timeout, handshake).await??;
        Ok(Compat::new(Box::new(secured)))
    }
}

/// The end of a connection's socket. lapin reads and writes on a separate thread. Without the end
/// of the socket, the thread would wait for a silent server for ever.
#[derive(Default)]
pub(super) struct SocketEnd(Mutex<Option<Socket>>);

impl SocketEnd {
    fn keep(&self, stream: &TcpStream) -> io::Result<()> {
        *self.0.lock() = Some(SockRef::from(stream).try_clone()?);
        Ok(())
    }
}

impl Drop for SocketEnd {
    fn drop(&mut self) {
        let Some(socket) = self.0.get_mut().take() else {
            return;
        };
        let end = move || socket.shutdown(Shutdown::Both).ok();
        match tokio::runtime::Handle::try_current() {
            // lapin takes leave of the server meanwhile.
            Ok(runtime) => drop(runtime.spawn(async move {
                sleep(LEAVE_TIMEOUT).await;
                end();
            })),
            Err(_) => drop(end()),
        }
    }
}

/// Returns the present runtime in the form for lapin.
pub(super) fn runtime() -> Runtime<RuntimeParts<Tokio, SocketReactor>> {
    let parts = RuntimeParts::new(Tokio::current(), SocketReactor(Tokio::current()));
    Runtime::new(parts)
}

/// The clock of the runtime, with the type of Keyside's sockets.
#[derive(Clone, Debug)]
pub(super) struct SocketReactor(Tokio);

impl Reactor for SocketReactor {
    type TcpStream = AmqpSocket;
    type Sleep = <Tokio as Reactor>::Sleep;

    fn register<H: Read + Write + AsFd + AsRawFd + Send + 'static>(
        &self,
        socket: H,
    ) -> io::Result<impl futures_io::AsyncRead + futures_io::AsyncWrite + Send + Unpin + 'static>
    {
        self.0.register(socket)
    }

    fn sleep(&self, duration: Duration) -> Self::Sleep {
        self.0.sleep(duration)
    }

    fn interval(&self, period: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.0.interval(period)
    }

    #[expect(
        clippy::manual_async_fn,
        reason = "the future must not borrow the reactor"
    )]
    fn tcp_connect_addr(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<AmqpSocket>> + Send + 'static {
        async move {
            let stream: Box<dyn Duplex> = Box::new(TcpStream::connect(address).await?);
            Ok(Compat::new(stream))
        }
    }
}

/// The time for lapin to take leave of the server: longer than a round trip, and short for the end
/// of the process.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);
