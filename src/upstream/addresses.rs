//! The addresses of a host: look-ups, and what stands in for them.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::io::Errno;
use tokio::time::{Instant, timeout};

use super::descriptors::{is_out_of_descriptors, lack_of_descriptors, with_descriptor};
use super::error::UpstreamError;
use super::places::UpstreamPlaces;

/// The addresses of a host from the last successful look-up.
#[derive(Debug, Default)]
pub(super) struct LastAddresses(Mutex<Option<ResolvedHost>>);

/// The result of a look-up.
#[derive(Clone, Debug)]
struct ResolvedHost {
    addresses: Vec<SocketAddr>,
    at: Instant,
    /// False after none of the addresses took a connection.
    is_trusted: bool,
}

impl LastAddresses {
    /// The addresses of a host: those of a fresh look-up, so that a burst of connections waits for
    /// no resolver, else by a new look-up. The last successful look-up stands in for up to an hour
    /// if the name cannot be resolved: a resolver that fails for a while must not stop sending.
    pub(super) async fn of(
        &self,
        host: &str,
        port: u16,
        places: &UpstreamPlaces,
    ) -> Result<Vec<SocketAddr>, UpstreamError> {
        if let Some(addresses) = self.fresh() {
            return Ok(addresses);
        }
        let host = host.trim_matches(['[', ']']);
        self.found_or_last(look_up(host, port, places)).await
    }

    /// Has the next connection, which is opened ahead of use, look the name up, so that connections
    /// in need find a fresh look-up.
    pub(super) fn renew(&self) {
        if let Some(found) = self.0.lock().as_mut() {
            found.is_trusted &= found.at.elapsed() < FRESH_AGE / 3;
        }
    }

    /// Has the next connection look the name up: no address took a connection.
    pub(super) fn distrust(&self) {
        if let Some(found) = self.0.lock().as_mut() {
            found.is_trusted = false;
        }
    }

    fn fresh(&self) -> Option<Vec<SocketAddr>> {
        let found = self.0.lock();
        let fresh = found
            .as_ref()
            .filter(|found| found.is_trusted && found.at.elapsed() < FRESH_AGE)?;
        Some(fresh.addresses.clone())
    }

    async fn found_or_last(
        &self,
        lookup: impl Future<Output = io::Result<Vec<SocketAddr>>>,
    ) -> Result<Vec<SocketAddr>, UpstreamError> {
        // A silent resolver keeps the system's look-up busy for longer than dialling may take, so
        // the last addresses would come too late without a timeout of the look-up itself.
        let found = if self.0.lock().is_some() {
            timeout(LOOKUP_TIMEOUT, lookup)
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        } else {
            lookup.await
        };
        match found {
            Ok(addresses) if !addresses.is_empty() => {
                *self.0.lock() = Some(ResolvedHost {
                    addresses: addresses.clone(),
                    at: Instant::now(),
                    is_trusted: true,
                });
                Ok(addresses)
            }
            failed => {
                let last = self.0.lock().clone();
                match (last, failed) {
                    (Some(last), _) if last.at.elapsed() < MAX_ADDRESS_AGE => Ok(last.addresses),
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

/// Looks up the addresses of a host, on a thread of its own. The look-up opens sockets and files,
/// also after the caller has given up, so it has a place until its end.
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

/// Age up to which a look-up is taken for the next one: resolvers keep answers for as long, and
/// connections that are kept warm look up anew more often.
const FRESH_AGE: Duration = Duration::from_secs(30);
/// Longest look-up of a name if the last addresses can stand in. The rest of the time for a
/// connection is left for the connection.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(3);
/// Age up to which the last addresses stand in for a failed look-up. Providers change addresses
/// more slowly than resolvers recover.
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
        assert!(
            begun.elapsed() < Duration::from_secs(4),
            "time to connect is left"
        );
        tokio::time::advance(MAX_ADDRESS_AGE).await;
        assert!(addresses.found_or_last(failed()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_fresh_look_up_serves_the_next_connections_until_none_is_taken() {
        let addresses = LastAddresses::default();
        assert_eq!(addresses.fresh(), None);
        let address = vec![SocketAddr::from(([127, 0, 0, 1], 443))];
        let found = || ready(Ok(address.clone()));
        addresses.found_or_last(found()).await.unwrap();
        assert_eq!(addresses.fresh(), Some(address.clone()));
        addresses.renew();
        assert_eq!(addresses.fresh(), Some(address.clone()), "just looked up");
        addresses.distrust();
        assert_eq!(addresses.fresh(), None);
        addresses.found_or_last(found()).await.unwrap();
        assert_eq!(addresses.fresh(), Some(address.clone()));
        tokio::time::advance(FRESH_AGE / 3).await;
        assert_eq!(addresses.fresh(), Some(address.clone()));
        addresses.renew();
        assert_eq!(addresses.fresh(), None);
        addresses.found_or_last(found()).await.unwrap();
        tokio::time::advance(FRESH_AGE).await;
        assert_eq!(addresses.fresh(), None);
    }
}
