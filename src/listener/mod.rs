//! The near side of the proxy: a socket, the connections, and their end.
//!
//! # One connection
//!
//! ```text
//! accept       Listener::serve            a place, the place of an idle connection, or 503
//! connections  Connections::admit         the table of places, and the share of each address
//! └ serve      serve                      TLS, then HTTP/1.1; without buffers while no request is under way
//!     proxies  TrustedProxies::client     the client that a trusted proxy names
//!     stream   LinkStream                 timeouts, the peer's end, long heads, errors of hyper's own
//!     patience Patience                   the time for an answer with a slow reader
//!     link     Link                       the connection as the handler sees it
//! drain        Drainer::drain             the end
//! ```

mod accept;
mod addresses;
mod bind;
mod bounds;
mod connections;
mod drain;
mod link;
pub mod metrics;
mod passed;
mod patience;
mod peer;
mod peer_end;
mod proxies;
mod refusal;
mod seat;
mod serve;
mod shares;
mod stream;
mod tally;

pub use addresses::network_of;
pub use bind::{BindError, Families};
pub use bounds::ConnectionBounds;
pub use connections::Connections;
pub use drain::{Drain, DrainEnd, Drainer, drain};
pub use link::{Link, Timeouts};
pub use passed::{PassedError, PassedSocket, PassedSockets};
pub use peer::Peer;
pub use proxies::TrustedProxies;
pub use refusal::overloaded;
pub use shares::Shares;

use bind::Socket;

use crate::config::ListenAddress;

/// A bound socket, not yet served.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    address: ListenAddress,
    allow_uids: Vec<u32>,
}

impl Listener {
    /// Binds `address`, for the `families` if the address is `[::]`. Only the named users may call
    /// over a Unix socket; without names, the user of this process alone.
    ///
    /// # Errors
    /// The system's reason, with the address.
    pub fn bind(
        address: &ListenAddress,
        families: Families,
        allow_uids: &[u32],
    ) -> Result<Self, BindError> {
        let socket = Socket::bind(address, families, allow_uids)?;
        Ok(Self::new(socket, address.clone(), allow_uids))
    }

    /// Takes a socket that the service manager has bound. The users are as for
    /// [`bind`](Self::bind), whatever the mode of a Unix socket is.
    ///
    /// # Errors
    /// The system's reason, with the address.
    pub fn from_service_manager(
        passed: PassedSocket,
        allow_uids: &[u32],
    ) -> Result<Self, BindError> {
        let address = passed.address.clone();
        let socket = Socket::from_service_manager(passed)?;
        Ok(Self::new(socket, address, allow_uids))
    }

    fn new(socket: Socket, address: ListenAddress, allow_uids: &[u32]) -> Self {
        let allow_uids = if allow_uids.is_empty() {
            vec![rustix::process::geteuid().as_raw()]
        } else {
            allow_uids.to_vec()
        };
        Self {
            socket,
            address,
            allow_uids,
        }
    }

    /// The bound address, with the port that the system chose if the configuration has port 0.
    #[must_use]
    pub fn address(&self) -> ListenAddress {
        match &self.socket {
            Socket::Tcp(socket) => socket
                .local_addr()
                .map_or_else(|_| self.address.clone(), ListenAddress::Tcp),
            Socket::Unix(_) => self.address.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use http::{Request, Response};
    use http_body_util::Full;
    use hyper::body::Incoming;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn a_panic_in_a_handler_is_a_500_without_the_message_of_the_panic() {
        let listener = Listener::bind(
            &ListenAddress::Tcp(([127, 0, 0, 1], 0).into()),
            Families::Both,
            &[],
        )
        .unwrap();
        let ListenAddress::Tcp(address) = listener.address() else {
            unreachable!("it was asked for TCP")
        };
        let handler = |request: Request<Incoming>, _| async move {
            tokio::task::yield_now().await;
            assert!(request.uri().path() != "/panic", "EAAsecret of a panic");
            Response::new(Full::new(Bytes::from_static(b"fine")))
        };
        let (drainer, drain) = drain();
        let metrics = metrics::KindMetrics::unread("outbound");
        let connections = Arc::new(Connections::new(8, None, metrics.clone()));
        let serving = tokio::spawn(listener.serve(
            handler,
            ConnectionBounds::local(),
            Arc::clone(&connections),
            drain,
        ));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"POST /panic HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answers = String::new();
        stream.read_to_string(&mut answers).await.unwrap();
        assert!(answers.starts_with("HTTP/1.1 500 "), "{answers}");
        for part in [
            "keyside-error: internal\r\n",
            r#""type":"KeysideError""#,
            r#""outcome":"unknown""#,
            "\r\n\r\nfine",
        ] {
            assert!(answers.contains(part), "{part} in {answers}");
        }
        assert!(!answers.contains("EAAsecret"), "{answers}");
        drainer.drain().await;
        serving.await.unwrap();
        assert_eq!(metrics.open.get(), 0);
    }
}
