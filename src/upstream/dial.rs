//! Dialling: names, addresses and TLS, up to the first byte of a request.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::io::Errno;
use rustls_pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;

use super::error::UpstreamError;
use super::io::Io;
use super::own::OwnAddresses;
use super::place::UpstreamPlace;
use super::places::{UpstreamPlaces, close_all_idle};
use crate::provider::Origin;

/// Opens connections to one upstream.
#[derive(Debug)]
pub(super) enum Dialer {
    /// An upstream with a host and a port.
    Origin {
        origin: Origin,
        tls: Option<(Arc<rustls::ClientConfig>, ServerName<'static>)>,
        last_addresses: LastAddresses,
        own: OwnAddresses,
    },
    /// An application at a Unix socket.
    Unix(PathBuf),
}

/// The addresses of a host from the last successful look-up, with the time of the look-up.
#[derive(Debug, Default)]
pub(super) struct LastAddresses(Mutex<Option<(Vec<SocketAddr>, Instant)>>);

impl Dialer {
    /// A dialer for `origin`; an origin without TLS ignores `tls`.
    ///
    /// # Errors
    /// A host that is neither a DNS name nor an address.
    pub(super) fn origin(
        origin: Origin,
        tls: Arc<rustls::ClientConfig>,
    ) -> Result<Self, UpstreamError> {
        let tls = if origin.tls {
            let name = ServerName::try_from(origin.host.trim_matches(['[', ']']).to_owned())
                .map_err(|_| UpstreamError::Unreachable("its host name is not valid".to_owned()))?;
            Some((tls, name))
        } else {
            None
        };
        Ok(Self::Origin {
            origin,
            tls,
            last_addresses: LastAddresses::default(),
            own: OwnAddresses::default(),
        })
    }

    /// Refuses to connect to Keyside's own addresses.
    pub(super) fn apart_from(mut self, addresses: OwnAddresses) -> Self {
        if let Self::Origin { own, .. } = &mut self {
            *own = addresses;
        }
        self
    }

    /// Returns the fault of a name that leads back to Keyside.
    pub(super) async fn leads_back(&self) -> Option<String> {
        match self {
            Self::Origin { origin, own, .. } => own.fault_of(origin).await,
            Self::Unix(_) => None,
        }
    }

    /// Opens a connection and completes the TLS handshake. The connection has one of `places`.
    ///
    /// # Errors
    /// `Unreachable`, `Tls`, `TimedOut` or `NoPlace`; in each case the upstream has seen no byte of a request.
    pub(super) async fn dial(
        &self,
        places: &UpstreamPlaces,
    ) -> Result<(Io, UpstreamPlace), UpstreamError> {
        match timeout(CONNECT_TIMEOUT, self.connect(places)).await {
            Ok(result) => result,
            Err(_) => Err(UpstreamError::TimedOut {
                what: "connecting",
                written: false,
            }),
        }
    }

    async fn connect(&self, places: &UpstreamPlaces) -> Result<(Io, UpstreamPlace), UpstreamError> {
        let (origin, tls, last_addresses, own) = match self {
            Self::Unix(path) => {
                let place = places.take().ok_or(UpstreamError::NoPlace)?;
                let connected = with_descriptor(|| UnixStream::connect(path.clone())).await;
                return connected
                    .map(|stream| (Io::Unix(stream), place))
                    .map_err(|error| unreachable(&error));
            }
            Self::Origin {
                origin,
                tls,
                last_addresses,
                own,
            } => (origin, tls, last_addresses, own),
        };
        let found = last_addresses.of(origin, places).await?;
        let addresses = own.without_own(origin, found)?;
        let connect = |address| {
            let place = places.take();
            async move {
                let place = place.ok_or(Errno::MFILE)?;
                let stream = with_descriptor(|| TcpStream::connect(address)).await?;
                Ok((stream, place))
            }
        };
        let (stream, place) = first_to_connect(addresses, connect)
            .await
            .map_err(|error| unreachable(&error))?;
        stream
            .set_nodelay(true)
            .map_err(|error| unreachable(&error))?;
        let Some((config, name)) = tls else {
            return Ok((Io::Plain(stream), place));
        };
        match TlsConnector::from(Arc::clone(config))
            .connect(name.clone(), stream)
            .await
        {
            Ok(stream) => Ok((Io::Tls(Box::new(stream)), place)),
            Err(error) => Err(UpstreamError::Tls(error.to_string())),
        }
    }
}

fn unreachable(error: &io::Error) -> UpstreamError {
    if is_out_of_descriptors(error) {
        return UpstreamError::NoPlace;
    }
    UpstreamError::Unreachable(error.to_string())
}

/// Runs a step that opens a file descriptor; once more after closing all idle connections, if none was left.
async fn with_descriptor<C, F>(step: impl Fn() -> F) -> io::Result<C>
where
    F: Future<Output = io::Result<C>>,
{
    match step().await {
        Err(error) if is_out_of_descriptors(&error) => {
            tracing::warn!(%error, "all idle connections to providers and applications are closed");
            close_all_idle();
            step().await
        }
        result => result,
    }
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::MFILE | Errno::NFILE))
}

/// Looks up the addresses of a host, on a thread of its own. The look-up opens sockets and files, also after the
/// caller has given up, so it has a place until its end.
async fn look_up(host: &str, port: u16, places: &UpstreamPlaces) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    with_descriptor(|| async {
        let place = places.take().ok_or(Errno::MFILE)?;
        let host = host.to_owned();
        let looked_up = tokio::task::spawn_blocking(move || {
            let _place = place;
            let found = (host.as_str(), port).to_socket_addrs();
            // A resolver that can open no file says that the name is not known.
            found
                .map(Iterator::collect)
                .map_err(|error| lack_of_descriptors().unwrap_or(error))
        });
        looked_up.await.map_err(io::Error::other)?
    })
    .await
}

/// The error of the system if the process can open no further file.
fn lack_of_descriptors() -> Option<io::Error> {
    let opened = std::fs::File::open("/dev/null");
    opened.err().filter(is_out_of_descriptors)
}

impl LastAddresses {
    /// The addresses of the host by a new look-up; by the last successful look-up, for up to an hour,
    /// if the name cannot be resolved: a resolver that fails for a while must not stop sending.
    async fn of(
        &self,
        origin: &Origin,
        places: &UpstreamPlaces,
    ) -> Result<Vec<SocketAddr>, UpstreamError> {
        let host = origin.host.trim_matches(['[', ']']);
        self.found_or_last(look_up(host, origin.port, places)).await
    }

    async fn found_or_last(
        &self,
        lookup: impl Future<Output = io::Result<Vec<SocketAddr>>>,
    ) -> Result<Vec<SocketAddr>, UpstreamError> {
        // A silent resolver keeps the system's look-up busy for longer than `CONNECT_TIMEOUT`, so the
        // last addresses would come too late without a timeout of the look-up itself.
        let found = if self.0.lock().is_some() {
            timeout(LOOKUP_TIMEOUT, lookup)
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        } else {
            lookup.await
        };
        match found {
            Ok(found) if !found.is_empty() => {
                *self.0.lock() = Some((found.clone(), Instant::now()));
                Ok(found)
            }
            failed => {
                let last = self.0.lock().clone();
                match (last, failed) {
                    (Some((addresses, at)), _) if at.elapsed() < MAX_ADDRESS_AGE => Ok(addresses),
                    (_, Err(error)) if is_out_of_descriptors(&error) => Err(UpstreamError::NoPlace),
                    (_, Err(error)) => Err(UpstreamError::Unreachable(format!(
                        "its name cannot be resolved: {error}"
                    ))),
                    (_, Ok(_)) => Err(UpstreamError::Unreachable(
                        "its name has no address".to_owned(),
                    )),
                }
            }
        }
    }
}

/// Connects to the address that answers first ("happy eyeballs", RFC 8305). The next address is tried
/// once the attempt before has failed or has had a head start of 300 ms; attempts under way go on. A
/// broken IPv6 route therefore costs 300 ms and not a whole TCP timeout.
async fn first_to_connect<C, F>(
    addresses: Vec<SocketAddr>,
    connect: impl Fn(SocketAddr) -> F,
) -> io::Result<C>
where
    C: Send + 'static,
    F: Future<Output = io::Result<C>> + Send + 'static,
{
    let mut attempts = JoinSet::new();
    let mut addresses = addresses.into_iter();
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "it has no address");
    loop {
        match addresses.next() {
            Some(address) => drop(attempts.spawn(connect(address))),
            None if attempts.is_empty() => return Err(failure),
            None => {}
        }
        let head_start = async {
            if addresses.len() > 0 {
                sleep(HEAD_START).await
            } else {
                // No address is left to try: only the attempts under way can end the wait.
                std::future::pending().await
            }
        };
        tokio::select! {
            Some(attempt) = attempts.join_next() => match attempt {
                // Dropping `attempts` ends the others.
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => failure = error,
                Err(error) => failure = io::Error::other(error),
            },
            () = head_start => {}
        }
    }
}

/// Longest look-up of a name if the last addresses can stand in. The rest of `CONNECT_TIMEOUT` is
/// left for the connection.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(3);
/// Longest dialling: look-up, TCP and TLS together, as Envoy's default connect timeout.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Head start of an address before the next is tried; RFC 8305 suggests 250 ms, and 100 ms to 2 s.
const HEAD_START: Duration = Duration::from_millis(300);
/// Age up to which the last addresses stand in for a failed look-up. Providers change addresses more
/// slowly than resolvers recover.
const MAX_ADDRESS_AGE: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_last_addresses_stand_in_for_a_failed_or_silent_resolver_for_an_hour() {
        let addresses = LastAddresses::default();
        let address = vec![SocketAddr::from(([127, 0, 0, 1], 443))];
        let failed = || ready(Err(io::ErrorKind::NotFound.into()));
        assert!(addresses.found_or_last(failed()).await.is_err());
        assert_eq!(
            addresses
                .found_or_last(ready(Ok(address.clone())))
                .await
                .unwrap(),
            address
        );
        assert_eq!(addresses.found_or_last(failed()).await.unwrap(), address);
        let begun = Instant::now();
        assert_eq!(addresses.found_or_last(pending()).await.unwrap(), address);
        assert!(begun.elapsed() < CONNECT_TIMEOUT);
        tokio::time::advance(MAX_ADDRESS_AGE).await;
        assert!(addresses.found_or_last(failed()).await.is_err());
    }
    /// The fate of one attempt to connect.
    #[derive(Clone, Copy)]
    enum Attempt {
        Connects { after_ms: u64 },
        Fails { after_ms: u64 },
        Hangs,
    }

    impl Attempt {
        async fn made(self, port: u16) -> io::Result<u16> {
            match self {
                Self::Connects { after_ms } => {
                    sleep(Duration::from_millis(after_ms)).await;
                    Ok(port)
                }
                Self::Fails { after_ms } => {
                    sleep(Duration::from_millis(after_ms)).await;
                    Err(io::ErrorKind::ConnectionRefused.into())
                }
                Self::Hangs => pending().await,
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_address_is_tried_after_a_failure_or_a_head_start() {
        use Attempt::{Connects, Fails, Hangs};
        let connects = |after_ms| Connects { after_ms };
        let fails = |after_ms| Fails { after_ms };
        // Attempts by port, the port that connects, and the time until then.
        for (name, attempts, expected) in [
            (
                "the first answers",
                vec![connects(10), connects(0)],
                Some((0, 10)),
            ),
            ("the first hangs", vec![Hangs, connects(5)], Some((1, 305))),
            ("two hang", vec![Hangs, Hangs, connects(5)], Some((2, 605))),
            (
                "the first fails",
                vec![fails(10), connects(5)],
                Some((1, 15)),
            ),
            (
                "the first is slow and wins",
                vec![connects(400), connects(200)],
                Some((0, 400)),
            ),
            (
                "the first is slow and loses",
                vec![connects(900), connects(200)],
                Some((1, 500)),
            ),
            (
                "the last hangs, the first is late",
                vec![connects(4000), Hangs],
                Some((0, 4000)),
            ),
            ("all fail", vec![fails(10), fails(20)], None),
            ("no address", vec![], None),
        ] {
            let count = u16::try_from(attempts.len()).unwrap();
            let addresses = (0..count).map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
            let began = Instant::now();
            let connected = first_to_connect(addresses.collect(), |address| {
                let port = address.port();
                attempts[usize::from(port)].made(port)
            })
            .await;
            // The paused clock moves in whole milliseconds, and a sleep may end one later.
            let found = connected
                .ok()
                .map(|port| (port, began.elapsed().as_millis()));
            let is_as_expected = match (found, expected) {
                (Some((port, after)), Some((expected, earliest))) => {
                    port == expected && (earliest..=earliest + 3).contains(&after)
                }
                (found, expected) => found.is_none() && expected.is_none(),
            };
            assert!(is_as_expected, "{name}: {found:?} instead of {expected:?}");
        }
    }
}
