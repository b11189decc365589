//! The near side of the proxy: a socket, the connections on it, and how they end.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use prometheus_client::metrics::gauge::Gauge;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

mod link;
mod places;

use link::LinkStream;
pub use link::{Link, Times};
pub use places::network_of;
use places::{Place, Places};

use crate::config::ListenAddress;
use crate::response::{INTERNAL, Refusal};

/// A bound socket.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    address: ListenAddress,
    allow_uids: Vec<u32>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Who is on the other end of a connection.
#[derive(Clone, Debug)]
pub enum Caller {
    /// A process that reached a TCP port.
    Tcp(SocketAddr),
    /// A process of this user, as the kernel says.
    Unix {
        /// Its user id.
        uid: u32,
    },
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix { uid } => write!(f, "uid {uid}"),
        }
    }
}

/// How the connections of a listener are treated.
#[derive(Clone)]
pub struct Terms {
    /// The times that a caller has.
    pub times: Times,
    /// The most bytes of a request line with its headers.
    pub max_head: usize,
    /// How many connections one address may have open.
    pub per_address: usize,
    /// The certificate that it shows; as of the handshake, so that a new one needs no restart. Plain
    /// HTTP without.
    pub tls: Option<Arc<ArcSwap<ServerConfig>>>,
    /// What to do for who sends TLS all the same.
    pub tls_advice: &'static str,
}

impl Terms {
    /// For processes of this machine.
    #[must_use]
    pub fn local() -> Self {
        Self {
            times: Times {
                head: Duration::from_secs(10),
                // Longer than the pools of common clients keep a connection (90 s), so that the client
                // closes first and no request meets a closing connection.
                keep_alive: Duration::from_secs(120),
                write: Duration::from_secs(30),
            },
            max_head: 32 * 1024,
            per_address: MAX_CONNECTIONS,
            tls: None,
            tls_advice: "use http:// on localhost; Keyside adds TLS on the way to the provider",
        }
    }

    /// For providers, and whoever else finds the address.
    #[must_use]
    pub fn internet(tls: Option<Arc<ArcSwap<ServerConfig>>>) -> Self {
        Self {
            times: Times {
                head: Duration::from_secs(5),
                // Longer than reverse proxies keep an idle connection (nginx: 60 s).
                keep_alive: Duration::from_secs(75),
                write: Duration::from_secs(10),
            },
            max_head: 16 * 1024,
            // A reverse proxy in front is one address.
            per_address: MAX_CONNECTIONS / 4,
            tls,
            tls_advice: "set [inbound.tls], or let what stands in front of Keyside terminate TLS",
        }
    }
}

/// The end of serving, as each listener and connection sees it.
#[derive(Clone, Debug)]
pub struct Drain {
    begun: watch::Receiver<bool>,
    _open: mpsc::Sender<()>,
}

/// The other end of [`Drain`].
#[derive(Debug)]
pub struct Drainer {
    begun: watch::Sender<bool>,
    open: mpsc::Receiver<()>,
}

/// A pair of the two.
#[must_use]
pub fn drain() -> (Drainer, Drain) {
    let (begin, begun) = watch::channel(false);
    let (sender, open) = mpsc::channel(1);
    (Drainer { begun: begin, open }, Drain { begun, _open: sender })
}

impl Drainer {
    /// Begins the drain: nothing more is accepted, idle connections close, the others finish the
    /// request that they are at. Returns when all have ended.
    pub async fn drain(mut self) {
        self.begun.send_replace(true);
        while self.open.recv().await.is_some() {}
    }
}

impl Drain {
    async fn begun(&mut self) {
        // An error means that the other end is gone, and then there is nothing to go on for.
        self.begun.wait_for(|begun| *begun).await.map(drop).unwrap_or_default();
    }
}

impl Listener {
    /// Binds `address`. A Unix socket gets mode 0600, or 0666 where other users are allowed, who are
    /// then told apart by the credentials that the kernel gives.
    ///
    /// # Errors
    /// With the address in the message.
    pub fn bind(address: &ListenAddress, allow_uids: &[u32]) -> Result<Self, BindError> {
        let failed = |source| BindError { address: address.clone(), source };
        let socket = match address {
            ListenAddress::Tcp(tcp) => Socket::Tcp(bind_tcp(*tcp).map_err(failed)?),
            ListenAddress::Unix(path) => Socket::Unix(bind_unix(path, allow_uids).map_err(failed)?),
        };
        let owner = rustix::process::geteuid().as_raw();
        let allow_uids = if allow_uids.is_empty() { vec![owner] } else { allow_uids.to_vec() };
        Ok(Self { socket, address: address.clone(), allow_uids })
    }

    /// Where it listens: the port that the system chose, where port 0 was asked for.
    #[must_use]
    pub fn address(&self) -> ListenAddress {
        match &self.socket {
            Socket::Tcp(socket) => socket.local_addr().map_or_else(|_| self.address.clone(), ListenAddress::Tcp),
            Socket::Unix(_) => self.address.clone(),
        }
    }

    /// Accepts connections and answers their requests with `handler` until the drain begins.
    pub async fn serve<H, F, B>(self, handler: H, terms: Terms, open: Gauge, mut drain: Drain)
    where
        H: Fn(Request<Incoming>, Arc<Link>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send,
        B: Body<Data = Bytes> + From<Bytes> + Send + Unpin + 'static,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        let places = Places::new(terms.per_address);
        let mut pause = FIRST_PAUSE;
        loop {
            let accepted = tokio::select! {
                biased;
                () = drain.begun() => return,
                accepted = self.accept(&places) => accepted,
            };
            let (stream, caller, place) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, or the caller is gone already: those that are open go on.
                    tracing::warn!(listener = %self.address, %error, "a connection cannot be accepted");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LAST_PAUSE);
                    continue;
                }
            };
            pause = FIRST_PAUSE;
            if let Caller::Unix { uid } = caller
                && !self.allow_uids.contains(&uid)
            {
                tracing::warn!(listener = %self.address, uid, "a caller was refused: its user id is not in allow_uids");
                continue;
            }
            let Some(place) = place else {
                tracing::debug!(listener = %self.address, %caller, "a connection was closed: its address has too many");
                continue;
            };
            let (handler, terms, drain, open) = (handler.clone(), terms.clone(), drain.clone(), open.clone());
            tokio::spawn(async move {
                let _open = Open::new(open);
                match (stream, &terms.tls) {
                    (Stream::Tcp(stream), Some(tls)) => {
                        if let Some(stream) = handshake(stream, tls.load_full(), &caller).await {
                            serve_connection(stream, caller, handler, &terms, drain).await;
                        }
                    }
                    (Stream::Tcp(stream), None) => serve_connection(stream, caller, handler, &terms, drain).await,
                    (Stream::Unix(stream), _) => serve_connection(stream, caller, handler, &terms, drain).await,
                }
                drop(place);
            });
        }
    }

    /// The next connection, with its place where its address has one.
    async fn accept(&self, places: &Arc<Places>) -> io::Result<(Stream, Caller, Option<Place>)> {
        let all = places.all().await?;
        match &self.socket {
            Socket::Tcp(socket) => {
                let (stream, address) = socket.accept().await?;
                stream.set_nodelay(true)?;
                let place = places.of(all, Some(address.ip()));
                Ok((Stream::Tcp(stream), Caller::Tcp(address), place))
            }
            Socket::Unix(socket) => {
                let (stream, _) = socket.accept().await?;
                let uid = stream.peer_cred()?.uid();
                Ok((Stream::Unix(stream), Caller::Unix { uid }, places.of(all, None)))
            }
        }
    }
}

/// TLS with a caller, if it comes about in time.
async fn handshake(stream: TcpStream, tls: Arc<ServerConfig>, caller: &Caller) -> Option<TlsStream<TcpStream>> {
    let failed = match timeout(HANDSHAKE_TIME, TlsAcceptor::from(tls).accept(stream)).await {
        Ok(Ok(stream)) => return Some(stream),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "it took too long".to_owned(),
    };
    tracing::debug!(%caller, reason = failed, "no TLS connection with a caller");
    None
}

/// One connection in the gauge, taken out however it ends.
struct Open(Gauge);

impl Open {
    fn new(gauge: Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A handler panicked. What the panic said is known to the panic hook alone.
struct Panicked;

/// Runs a handler; a panic in it ends no more than its request. What it worked on is dropped with it
/// and is never looked at again.
async fn unwound<F: Future>(mut handler: Pin<Box<F>>) -> Result<F::Output, Panicked> {
    std::future::poll_fn(|cx| {
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| handler.as_mut().poll(cx))) {
            Ok(step) => step.map(Ok),
            Err(_) => Poll::Ready(Err(Panicked)),
        }
    })
    .await
}

fn internal_error(outcome_unknown: bool) -> Refusal {
    let details = "this is a fault of Keyside's own; its log names the place, please report it";
    Refusal { outcome_unknown, ..Refusal::new(INTERNAL, "the request could not be handled", details) }
}

enum Stream {
    Tcp(TcpStream),
    Unix(tokio::net::UnixStream),
}

async fn serve_connection<T, H, F, B>(stream: T, caller: Caller, handler: H, terms: &Terms, mut drain: Drain)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Request<Incoming>, Arc<Link>) -> F + Send + Sync,
    F: Future<Output = Response<B>> + Send,
    B: Body<Data = Bytes> + From<Bytes> + Send + Unpin + 'static,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    let link = Arc::new(Link::new(caller));
    let service = service_fn(|request: Request<Incoming>| {
        link.request_begins();
        let (has_body, is_safe) = (!request.is_end_stream(), request.method().is_safe());
        // Boxed, or each step around it would hold its kilobytes once more, on idle connections too.
        let answer = Box::pin(handler(request, Arc::clone(&link)));
        let link = Arc::clone(&link);
        async move {
            let answer = unwound(answer).await.unwrap_or_else(|Panicked| {
                if has_body {
                    link.body_unread();
                }
                internal_error(!is_safe).to_response().map(B::from)
            });
            Ok::<_, std::convert::Infallible>(answer.map(|body| Tracked { body, link }))
        }
    });
    let io = TokioIo::new(LinkStream::new(stream, Arc::clone(&link), terms.times, terms.tls_advice));
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            // Or hyper would not notice that a caller has gone; see `Link::request_is_read`.
            .half_close(false)
            .max_headers(MAX_HEADERS)
            .max_header_size(terms.max_head)
            .max_buf_size(READ_SIZE)
            .serve_connection(io, service)
    );
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = drain.begun() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(caller = %link.caller(), %error, "a connection ended early");
    }
}

/// The body of an answer, which tells its connection when it has ended.
struct Tracked<B> {
    body: B,
    link: Arc<Link>,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Tracked<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for Tracked<B> {
    fn drop(&mut self) {
        self.link.answer_ends();
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Binds beside the path and renames: the socket is there with its mode or not at all, and one that
/// a process before left behind is replaced.
fn bind_unix(path: &Path, allow_uids: &[u32]) -> io::Result<UnixListener> {
    check_vacant(path)?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    let socket = UnixListener::bind(&beside)?;
    let mode = if allow_uids.is_empty() { 0o600 } else { 0o666 };
    std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(mode))?;
    std::fs::rename(&beside, path)?;
    Ok(socket)
}

/// Refuses a path at which something is that a rename must not replace: anything but a socket on
/// which nobody listens any more.
fn check_vacant(path: &Path) -> io::Result<()> {
    let refuse = |kind, reason: &'static str| Err(io::Error::new(kind, reason));
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return refuse(io::ErrorKind::AlreadyExists, "there is a file at this path that is not a socket");
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
    // A listener whose backlog is full would be waited for.
    socket.set_nonblocking(true)?;
    match socket.connect(&socket2::SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        // Gone between the two looks.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        _ => refuse(io::ErrorKind::AddrInUse, "another process listens on this socket"),
    }
}

/// A listener that cannot be had.
#[derive(Debug)]
pub struct BindError {
    address: ListenAddress,
    source: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot listen on {}: {}", self.address, self.source)
    }
}

impl std::error::Error for BindError {}

/// Connections open at a time; those beyond it wait in the backlog.
const MAX_CONNECTIONS: usize = 1024;
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
const BACKLOG: i32 = 1024;
/// The most that is read at a time from a caller that sends as much. hyper's own is 400 KiB, and a connection
/// keeps its last buffer, idle or not.
pub const READ_SIZE: usize = 64 * 1024;
const MAX_HEADERS: usize = 100;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use http_body_util::Full;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_panic_in_a_handler_is_a_500_that_says_nothing_of_it() {
        let listener = Listener::bind(&ListenAddress::Tcp(([127, 0, 0, 1], 0).into()), &[]).unwrap();
        let ListenAddress::Tcp(address) = listener.address() else { unreachable!("it was asked for TCP") };
        let handler = |request: Request<Incoming>, _| async move {
            tokio::task::yield_now().await;
            assert!(request.uri().path() != "/panic", "EAAsecret of a panic");
            Response::new(Full::new(Bytes::from_static(b"fine")))
        };
        let (drainer, drain) = drain();
        let open = Gauge::default();
        let serving = tokio::spawn(listener.serve(handler, Terms::local(), open.clone(), drain));
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(b"POST /panic HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answers = String::new();
        stream.read_to_string(&mut answers).await.unwrap();
        assert!(answers.starts_with("HTTP/1.1 500 "), "{answers}");
        for part in
            ["keyside-error: internal\r\n", r#""type":"KeysideError""#, r#""outcome":"unknown""#, "\r\n\r\nfine"]
        {
            assert!(answers.contains(part), "{part} in {answers}");
        }
        assert!(!answers.contains("EAAsecret"), "{answers}");
        drainer.drain().await;
        serving.await.unwrap();
        assert_eq!(open.get(), 0);
    }
}
