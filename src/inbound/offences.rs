//! What must not happen too often within a minute.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How often each address, or each webhook, gave offence within a minute. It decides what is still
/// logged, and whether a handshake is listened to; a genuine event is never held up by what else came
/// from its address.
#[derive(Debug)]
pub(super) struct Offences<K> {
    offenders: Mutex<HashMap<K, Minute>>,
}

impl<K> Default for Offences<K> {
    fn default() -> Self {
        Self { offenders: Mutex::default() }
    }
}

#[derive(Debug)]
struct Minute {
    began: Instant,
    count: u32,
}

/// What is to be logged of an offence.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// The offence itself, and how many of the same offender were not logged before.
    Log { unlogged: u32 },
    /// Nothing.
    Silence,
}

impl<K: Eq + Hash> Offences<K> {
    /// Counts an offence.
    pub(super) fn count(&self, offender: K) -> Notice {
        let now = Instant::now();
        let mut offenders = self.offenders.lock().unwrap_or_else(PoisonError::into_inner);
        if offenders.len() >= MOST {
            offenders.retain(|_, minute| minute.is_current(now));
        }
        if offenders.len() >= MOST && !offenders.contains_key(&offender) {
            return Notice::Silence;
        }
        let minute = offenders.entry(offender).or_insert(Minute { began: now, count: 0 });
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

    /// Whether somebody has offended as often as anybody may in a minute. With very many offenders
    /// everybody has.
    pub(super) fn is_over(&self, offender: &K) -> bool {
        let now = Instant::now();
        let offenders = self.offenders.lock().unwrap_or_else(PoisonError::into_inner);
        match offenders.get(offender) {
            Some(minute) => minute.is_current(now) && minute.count >= PER_MINUTE,
            None => offenders.len() >= MOST,
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
const MOST: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_offender_is_over_after_ten_in_a_minute_and_begins_anew_after_it() {
        let offences = Offences::default();
        let [one, other] = ["one", "other"];
        for _ in 0..10 {
            assert!(!offences.is_over(&one));
            assert_eq!(offences.count(one), Notice::Log { unlogged: 0 });
        }
        assert!(offences.is_over(&one));
        assert!(!offences.is_over(&other));
        assert_eq!(offences.count(one), Notice::Silence);
        assert_eq!(offences.count(one), Notice::Silence);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(!offences.is_over(&one));
        assert_eq!(offences.count(one), Notice::Log { unlogged: 2 });
    }

    #[tokio::test(start_paused = true)]
    async fn the_table_of_offenders_is_bounded() {
        let offences = Offences::default();
        for number in 0..5000 {
            offences.count(number);
        }
        assert_eq!(offences.offenders.lock().unwrap().len(), MOST);
        assert!(offences.is_over(&4999));
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(offences.count(4999), Notice::Log { unlogged: 0 });
        assert_eq!(offences.offenders.lock().unwrap().len(), 1);
    }
}
