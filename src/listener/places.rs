//! How many connections are open, in all and for each address.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::MAX_CONNECTIONS;

/// The places of one listener.
#[derive(Debug)]
pub(super) struct Places {
    all: Arc<Semaphore>,
    per_address: usize,
    taken: Mutex<HashMap<IpAddr, usize>>,
}

/// The place of one connection, given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    address: Option<IpAddr>,
    _all: OwnedSemaphorePermit,
}

impl Places {
    pub(super) fn new(per_address: usize) -> Arc<Self> {
        let all = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        Arc::new(Self { all, per_address, taken: Mutex::default() })
    }

    /// Waits until there is a place at all.
    pub(super) async fn all(&self) -> io::Result<OwnedSemaphorePermit> {
        Arc::clone(&self.all).acquire_owned().await.map_err(io::Error::other)
    }

    /// The place of a connection from `address`; `None` where that has too many.
    pub(super) fn of(self: &Arc<Self>, all: OwnedSemaphorePermit, address: Option<IpAddr>) -> Option<Place> {
        let address = address.map(network_of);
        if let Some(address) = address {
            let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
            let count = taken.entry(address).or_default();
            if *count >= self.per_address {
                return None;
            }
            *count += 1;
        }
        Some(Place { places: Arc::clone(self), address, _all: all })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(address) = self.address else { return };
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&address);
            }
        }
    }
}

/// What counts as one address: in IPv6 the 64 bits of its network, since one machine may have all the
/// others.
#[must_use]
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_has_its_places_and_gives_them_back() {
        let places = Places::new(2);
        let take = |address: &'static str| {
            let places = Arc::clone(&places);
            async move { places.of(places.all().await.unwrap(), Some(address.parse().unwrap())) }
        };
        let first = take("2001:db8::1").await;
        let second = take("2001:db8::2:0:0:1").await;
        assert!(first.is_some() && second.is_some());
        assert!(take("2001:db8::3").await.is_none());
        assert!(take("2001:db8:0:1::1").await.is_some());
        drop(first);
        assert!(take("2001:db8::3").await.is_some());
        assert_eq!(places.taken.lock().unwrap().len(), 1);
    }
}
