//! How a connection comes up: names, addresses, TLS; everything before the first byte of a request.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls_pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;

use super::UpstreamError;
use super::connection::Io;
use crate::provider::Origin;

/// Connects to one place.
#[derive(Debug)]
pub(super) enum Dialer {
    /// A host and port.
    Origin {
        origin: Origin,
        tls: Option<(Arc<rustls::ClientConfig>, ServerName<'static>)>,
        last_addresses: LastAddresses,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

/// The last good addresses of a host.
#[derive(Debug, Default)]
pub(super) struct LastAddresses(Mutex<Option<(Vec<SocketAddr>, Instant)>>);

impl Dialer {
    /// A dialer for `origin`; `tls` is not used for a plain one.
    ///
    /// # Errors
    /// Where the host is neither a DNS name nor an address.
    pub(super) fn origin(origin: Origin, tls: Arc<rustls::ClientConfig>) -> Result<Self, UpstreamError> {
        let tls = if origin.tls {
            let name = ServerName::try_from(origin.host.trim_matches(['[', ']']).to_owned())
                .map_err(|_| UpstreamError::Unreachable("its host name is not valid".to_owned()))?;
            Some((tls, name))
        } else {
            None
        };
        Ok(Self::Origin { origin, tls, last_addresses: LastAddresses::default() })
    }

    /// A connection on which nothing has been sent but the handshake.
    ///
    /// # Errors
    /// `Unreachable`, `Tls` or `TimedOut`; in each case the upstream has seen no request.
    pub(super) async fn dial(&self) -> Result<Io, UpstreamError> {
        match timeout(CONNECT_TIMEOUT, self.connect()).await {
            Ok(result) => result,
            Err(_) => Err(UpstreamError::TimedOut { what: "connecting", written: false }),
        }
    }

    async fn connect(&self) -> Result<Io, UpstreamError> {
        let unreachable = |error: io::Error| UpstreamError::Unreachable(error.to_string());
        let (origin, tls, last_addresses) = match self {
            Self::Unix(path) => return UnixStream::connect(path).await.map(Io::Unix).map_err(unreachable),
            Self::Origin { origin, tls, last_addresses } => (origin, tls, last_addresses),
        };
        let stream = first_to_answer(last_addresses.of(origin).await?).await.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let Some((config, name)) = tls else { return Ok(Io::Plain(stream)) };
        match TlsConnector::from(Arc::clone(config)).connect(name.clone(), stream).await {
            Ok(stream) => Ok(Io::Tls(Box::new(stream))),
            Err(error) => Err(UpstreamError::Tls(error.to_string())),
        }
    }
}

impl LastAddresses {
    /// The addresses of the host, or the last good ones for as long as an hour when its name cannot be
    /// resolved: a resolver that fails for a while must not stop sending.
    async fn of(&self, origin: &Origin) -> Result<Vec<SocketAddr>, UpstreamError> {
        let host = origin.host.trim_matches(['[', ']']);
        let lookup = async { Ok(tokio::net::lookup_host((host, origin.port)).await?.collect()) };
        self.or_found(lookup).await
    }

    async fn or_found(
        &self,
        lookup: impl Future<Output = io::Result<Vec<SocketAddr>>>,
    ) -> Result<Vec<SocketAddr>, UpstreamError> {
        // A resolver that does not answer takes the system longer than a connection may take.
        let found = if self.lock().is_some() {
            timeout(LOOKUP_TIME, lookup).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        } else {
            lookup.await
        };
        match found {
            Ok(found) if !found.is_empty() => {
                *self.lock() = Some((found.clone(), Instant::now()));
                Ok(found)
            }
            failed => {
                let last = self.lock().clone();
                match (last, failed) {
                    (Some((addresses, at)), _) if at.elapsed() < STALE_ADDRESSES => Ok(addresses),
                    (_, Err(error)) => Err(UpstreamError::Unreachable(format!("its name cannot be resolved: {error}"))),
                    (_, Ok(_)) => Err(UpstreamError::Unreachable("its name has no address".to_owned())),
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Vec<SocketAddr>, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first connection that comes up; each next address is tried when the one before has failed,
/// or has not answered for 300 ms (as RFC 8305 suggests).
async fn first_to_answer(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut attempts = JoinSet::new();
    let mut addresses = addresses.into_iter();
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "it has no address");
    loop {
        match addresses.next() {
            Some(address) => drop(attempts.spawn(TcpStream::connect(address))),
            None if attempts.is_empty() => return Err(failure),
            None => {}
        }
        let head_start =
            async { if addresses.len() > 0 { sleep(HEAD_START).await } else { std::future::pending().await } };
        tokio::select! {
            Some(attempt) = attempts.join_next() => match attempt {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => failure = error,
                Err(error) => failure = io::Error::other(error),
            },
            () = head_start => {}
        }
    }
}

/// For the name, where the last good addresses can stand in; out of the time of the whole connection.
const LOOKUP_TIME: Duration = Duration::from_secs(3);
/// TCP and TLS together, as Envoy's connect timeout has it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const HEAD_START: Duration = Duration::from_millis(300);
const STALE_ADDRESSES: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_resolver_that_fails_or_hangs_is_stood_in_for_during_an_hour() {
        let addresses = LastAddresses::default();
        let address = vec![SocketAddr::from(([127, 0, 0, 1], 443))];
        let failed = || ready(Err(io::ErrorKind::NotFound.into()));
        assert!(addresses.or_found(failed()).await.is_err());
        assert_eq!(addresses.or_found(ready(Ok(address.clone()))).await.unwrap(), address);
        assert_eq!(addresses.or_found(failed()).await.unwrap(), address);
        let begun = Instant::now();
        assert_eq!(addresses.or_found(pending()).await.unwrap(), address);
        assert!(begun.elapsed() < CONNECT_TIMEOUT);
        tokio::time::advance(STALE_ADDRESSES).await;
        assert!(addresses.or_found(failed()).await.is_err());
    }
}
