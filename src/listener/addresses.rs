//! The bound on what one address holds at a time.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

/// The shares of every address: open connections, and requests that a trusted proxy hands on.
#[derive(Debug)]
pub(super) struct AddressCounts {
    max: usize,
    shares: Mutex<HashMap<IpAddr, usize>>,
}

/// A share of an address, given back when dropped.
#[derive(Debug)]
pub(super) struct AddressShare {
    counts: Arc<AddressCounts>,
    address: IpAddr,
}

impl AddressCounts {
    /// Makes a table without shares, with a bound of `max` for each address.
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            max,
            shares: Mutex::default(),
        })
    }

    /// Takes a share; `None` if the address has reached its bound.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Option<AddressShare> {
        let address = network_of(address);
        let mut shares = self.shares.lock();
        let count = shares.entry(address).or_default();
        if *count >= self.max {
            return None;
        }
        *count += 1;
        Some(AddressShare {
            counts: Arc::clone(self),
            address,
        })
    }
}

impl Drop for AddressShare {
    fn drop(&mut self) {
        let mut shares = self.counts.shares.lock();
        if let Some(count) = shares.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                shares.remove(&self.address);
            }
        }
    }
}

/// The address by which a peer is counted: in IPv6 the 64 bits of the network, since one machine
/// may use all addresses of a network.
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

    #[test]
    fn a_network_holds_as_many_shares_as_it_may_and_more_after_one_ends() {
        let counts = AddressCounts::new(2);
        let take = |address: &str| counts.take(address.parse().unwrap());
        let first = take("2001:db8::1");
        let second = take("2001:db8::2:0:0:1");
        assert!(first.is_some() && second.is_some());
        assert!(take("2001:db8::3").is_none());
        assert!(take("2001:db8:0:1::1").is_some());
        drop(first);
        assert!(take("2001:db8::3").is_some());
        assert_eq!(counts.shares.lock().len(), 1);
    }
}
