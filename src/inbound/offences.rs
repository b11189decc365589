//! Counters of offences per minute: refused requests of an address, failed deliveries of a webhook.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// The number of offences of each address, or of each webhook, within a minute.
///
/// The numbers decide what is still logged, and whether a handshake is answered. A genuine event is
/// never refused because of other requests from its address.
#[derive(Debug)]
pub(super) struct Offences<K> {
    offenders: Mutex<HashMap<K, OffenceMinute>>,
}

impl<K> Default for Offences<K> {
    fn default() -> Self {
        Self {
            offenders: Mutex::default(),
        }
    }
}

/// The offences of an offender within a minute, beginning with the first.
#[derive(Debug)]
struct OffenceMinute {
    began: Instant,
    count: u32,
}

/// The decision about logging an offence.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// Log the offence, together with the number of offences in the offender's last minute that
    /// were not logged.
    Log { unlogged: u32 },
    /// Log nothing.
    Silence,
}

impl<K: Eq + Hash> Offences<K> {
    /// Counts an offence. A new offender is not counted while the table is full.
    pub(super) fn count(&self, offender: K, now: Instant) -> Notice {
        let mut offenders = self.offenders.lock();
        if offenders.len() >= MAX_OFFENDERS {
            offenders.retain(|_, minute| minute.is_current(now));
        }
        if offenders.len() >= MAX_OFFENDERS && !offenders.contains_key(&offender) {
            return Notice::Silence;
        }
        let fresh = || OffenceMinute {
            began: now,
            count: 0,
        };
        let minute = offenders.entry(offender).or_insert_with(fresh);
        let mut unlogged = 0;
        if !minute.is_current(now) {
            unlogged = minute.count.saturating_sub(MAX_PER_MINUTE);
            *minute = fresh();
        }
        minute.count = minute.count.saturating_add(1);
        if minute.count <= MAX_PER_MINUTE {
            Notice::Log { unlogged }
        } else {
            Notice::Silence
        }
    }

    /// Returns true if an offender has used up its offences of a minute. While the table is
    /// full, every unknown offender counts as over.
    pub(super) fn is_over(&self, offender: &K, now: Instant) -> bool {
        let offenders = self.offenders.lock();
        match offenders.get(offender) {
            Some(minute) => minute.is_current(now) && minute.count >= MAX_PER_MINUTE,
            None => offenders.len() >= MAX_OFFENDERS,
        }
    }
}

impl OffenceMinute {
    fn is_current(&self, now: Instant) -> bool {
        now.duration_since(self.began) < Duration::from_secs(60)
    }
}

/// The number of logged offences and of answered wrong handshakes per minute:
/// enough for an operator who tries out a verify token, and no help to a guesser.
const MAX_PER_MINUTE: u32 = 10;
/// The bound on offenders in the table: some 300 KiB.
const MAX_OFFENDERS: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offender_is_over_after_ten_offences_and_begins_anew_after_a_minute() {
        let offences = Offences::default();
        let now = Instant::now();
        for _ in 0..10 {
            assert!(!offences.is_over(&"offender", now));
            assert_eq!(offences.count("offender", now), Notice::Log { unlogged: 0 });
        }
        assert!(offences.is_over(&"offender", now));
        assert!(!offences.is_over(&"neighbour", now));
        assert_eq!(offences.count("offender", now), Notice::Silence);
        assert_eq!(offences.count("offender", now), Notice::Silence);
        let later = now + Duration::from_secs(60);
        assert!(!offences.is_over(&"offender", later));
        assert_eq!(
            offences.count("offender", later),
            Notice::Log { unlogged: 2 }
        );
    }

    #[test]
    fn the_table_of_offenders_is_bounded() {
        let offences = Offences::default();
        let now = Instant::now();
        for number in 0..5000 {
            offences.count(number, now);
        }
        assert_eq!(offences.offenders.lock().len(), MAX_OFFENDERS);
        assert!(offences.is_over(&4999, now));
        let later = now + Duration::from_secs(60);
        assert_eq!(offences.count(4999, later), Notice::Log { unlogged: 0 });
        assert_eq!(offences.offenders.lock().len(), 1);
    }
}
