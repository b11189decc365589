//! Who sent what is not genuine, and how often within a minute.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::listener::network_of;

/// Wrong handshakes and forged events by address. They decide what is still logged, and whether a
/// handshake is listened to; a genuine event is never held up by what else came from its address.
#[derive(Debug, Default)]
pub(super) struct Offences {
    addresses: Mutex<HashMap<IpAddr, Minute>>,
}

#[derive(Debug)]
struct Minute {
    began: Instant,
    count: u32,
}

/// What is to be logged of an offence.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// The offence itself, and how many of the same address were not logged before.
    Log { unlogged: u32 },
    /// Nothing.
    Silence,
}

impl Offences {
    /// Counts an offence.
    pub(super) fn count(&self, address: IpAddr) -> Notice {
        let now = Instant::now();
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if addresses.len() >= MOST_ADDRESSES {
            addresses.retain(|_, minute| minute.is_current(now));
        }
        let address = network_of(address);
        if addresses.len() >= MOST_ADDRESSES && !addresses.contains_key(&address) {
            return Notice::Silence;
        }
        let minute = addresses.entry(address).or_insert(Minute { began: now, count: 0 });
        let unlogged = if minute.is_current(now) {
            0
        } else {
            let unlogged = minute.count.saturating_sub(PER_MINUTE);
            *minute = Minute { began: now, count: 0 };
            unlogged
        };
        minute.count = minute.count.saturating_add(1);
        if minute.count <= PER_MINUTE { Notice::Log { unlogged } } else { Notice::Silence }
    }

    /// Whether the address has offended as often as it may in a minute. With very many offenders
    /// everybody has.
    pub(super) fn is_over(&self, address: IpAddr) -> bool {
        let now = Instant::now();
        let addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        match addresses.get(&network_of(address)) {
            Some(minute) => minute.is_current(now) && minute.count >= PER_MINUTE,
            None => addresses.len() >= MOST_ADDRESSES,
        }
    }
}

impl Minute {
    fn is_current(&self, now: Instant) -> bool {
        now.duration_since(self.began) < Duration::from_secs(60)
    }
}

const PER_MINUTE: u32 = 10;
/// Some 300 KiB.
const MOST_ADDRESSES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_address_is_over_after_ten_in_a_minute_and_begins_anew_after_it() {
        let offences = Offences::default();
        let [one, other] = ["192.0.2.1", "192.0.2.2"].map(|address| address.parse().unwrap());
        for _ in 0..10 {
            assert!(!offences.is_over(one));
            assert_eq!(offences.count(one), Notice::Log { unlogged: 0 });
        }
        assert!(offences.is_over(one));
        assert!(!offences.is_over(other));
        assert_eq!(offences.count(one), Notice::Silence);
        assert_eq!(offences.count(one), Notice::Silence);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(!offences.is_over(one));
        assert_eq!(offences.count(one), Notice::Log { unlogged: 2 });
    }

    #[tokio::test(start_paused = true)]
    async fn the_table_of_addresses_is_bounded() {
        let offences = Offences::default();
        let address = |number: u32| IpAddr::V4(number.into());
        for number in 0..5000 {
            offences.count(address(number));
        }
        assert_eq!(offences.addresses.lock().unwrap().len(), MOST_ADDRESSES);
        assert!(offences.is_over(address(4999)));
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(offences.count(address(4999)), Notice::Log { unlogged: 0 });
        assert_eq!(offences.addresses.lock().unwrap().len(), 1);
    }
}
