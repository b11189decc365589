//! How fast may be sent: a number as a whole, and from one number to one other; and how much of its
//! hourly limit an account has used.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use super::state::lock;

/// From one number to one other: a message in 6 seconds, of which 45 can be borrowed at once.
const PAIR: Duration = Duration::from_secs(6);
const PAIR_BURST: u32 = 45;
/// How many pairs are remembered before those without debt are dropped.
const PAIRS: usize = 100_000;
/// Management calls an hour of an account with a registered number.
const PER_HOUR: u64 = 5000;
const HOUR: Duration = Duration::from_secs(3600);

/// All the debts.
#[derive(Default)]
pub(super) struct Pace {
    senders: Mutex<HashMap<String, Instant>>,
    pairs: Mutex<HashMap<(String, String), Instant>>,
    accounts: Mutex<HashMap<String, (Instant, u64)>>,
}

impl Pace {
    /// Whether a number may send now, at so many messages a second.
    pub(super) fn sender_may(&self, sender: &str, per_second: u32, now: Instant) -> bool {
        let interval = Duration::from_secs(1) / per_second.max(1);
        let mut senders = lock(&self.senders);
        let debt = senders.entry(sender.to_owned()).or_insert(now);
        borrow(debt, now, interval, per_second)
    }

    /// Whether a number may write to this recipient now.
    pub(super) fn pair_may(&self, sender: &str, recipient: &str, now: Instant) -> bool {
        let mut pairs = lock(&self.pairs);
        if pairs.len() >= PAIRS {
            pairs.retain(|_, debt| *debt > now);
        }
        let debt = pairs.entry((sender.to_owned(), recipient.to_owned())).or_insert(now);
        borrow(debt, now, PAIR, PAIR_BURST)
    }

    /// Counts a call of an account; the share of the hour's limit it has used, in percent, at least 1.
    pub(super) fn percent_used(&self, account: &str) -> u64 {
        let mut accounts = lock(&self.accounts);
        let now = Instant::now();
        let (since, calls) = accounts.entry(account.to_owned()).or_insert((now, 0));
        if now.duration_since(*since) >= HOUR {
            (*since, *calls) = (now, 0);
        }
        *calls += 1;
        (*calls * 100 / PER_HOUR).max(1)
    }
}

/// The generic cell rate algorithm: `debt` is when everything borrowed will have been paid.
fn borrow(debt: &mut Instant, now: Instant, interval: Duration, burst: u32) -> bool {
    let start = (*debt).max(now);
    if start - now > interval * burst.saturating_sub(1) {
        return false;
    }
    *debt = start + interval;
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_to_one_recipient_must_be_paid_back() {
        let pace = Pace::default();
        let now = Instant::now();
        assert_eq!((0..50).filter(|_| pace.pair_may("1", "2", now)).count(), 45);
        assert!(pace.pair_may("1", "3", now), "another recipient is not concerned");
        assert!(pace.pair_may("1", "2", now + PAIR));
        assert!(!pace.pair_may("1", "2", now + PAIR));
    }

    #[test]
    fn a_number_sends_so_many_a_second() {
        let pace = Pace::default();
        let now = Instant::now();
        assert_eq!((0..20).filter(|_| pace.sender_may("1", 10, now)).count(), 10);
        let later = now + Duration::from_millis(500);
        assert_eq!((0..20).filter(|_| pace.sender_may("1", 10, later)).count(), 5);
    }
}
