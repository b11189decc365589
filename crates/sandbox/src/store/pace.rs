//! Rates: messages of a sender, messages of a pair of sender and recipient, and calls of an account
//! per hour.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// The debts of all senders and pairs, and the calls of all accounts.
///
/// A debt is the instant at which everything that was borrowed from the bucket is paid back.
#[derive(Default)]
pub(crate) struct Pace {
    senders: Mutex<HashMap<String, Instant>>,
    pairs: Mutex<HashMap<(String, String), Instant>>,
    accounts: Mutex<HashMap<String, Calls>>,
}

impl Pace {
    /// Takes a token of a sender's bucket; false without a token. The burst is one second's
    /// messages.
    pub(crate) fn take_sender(&self, sender: &str, per_second: u32, now: Instant) -> bool {
        let interval = Duration::from_secs(1) / per_second.max(1);
        let mut senders = self.senders.lock();
        let debt = senders.entry(sender.to_owned()).or_insert(now);
        borrow(debt, now, interval, per_second)
    }

    /// Takes a token of a pair's bucket; false without a token.
    pub(crate) fn take_pair(&self, sender: &str, recipient: &str, now: Instant) -> bool {
        let mut pairs = self.pairs.lock();
        if pairs.len() >= MAX_PAIRS {
            pairs.retain(|_, debt| *debt > now);
        }
        let pair = (sender.to_owned(), recipient.to_owned());
        borrow(
            pairs.entry(pair).or_insert(now),
            now,
            PAIR_INTERVAL,
            PAIR_BURST,
        )
    }

    /// Counts a call of an account and returns the used share of the hourly limit, in percent and
    /// at least 1.
    pub(crate) fn count_call(&self, account: &str, now: Instant) -> u64 {
        let mut accounts = self.accounts.lock();
        let fresh = Calls {
            since: now,
            count: 0,
        };
        let calls = accounts.entry(account.to_owned()).or_insert(fresh);
        if now.duration_since(calls.since) >= HOUR {
            *calls = fresh;
        }
        calls.count += 1;
        (calls.count * 100 / MAX_CALLS).max(1)
    }
}

/// The calls of one account in the current hour.
#[derive(Clone, Copy)]
struct Calls {
    since: Instant,
    count: u64,
}

/// Borrows one token by the generic cell rate algorithm; false if the burst is used up.
fn borrow(debt: &mut Instant, now: Instant, interval: Duration, burst: u32) -> bool {
    let start = (*debt).max(now);
    if start - now > interval * burst.saturating_sub(1) {
        return false;
    }
    *debt = start + interval;
    true
}

/// The interval between two messages of a pair, from Meta's documentation of error 131056.
const PAIR_INTERVAL: Duration = Duration::from_secs(6);

/// The messages that a pair can borrow at once, from the same documentation.
const PAIR_BURST: u32 = 45;

/// The pairs that are remembered before those without debt are dropped: enough for a load test.
const MAX_PAIRS: usize = 100_000;

/// The hourly management calls of an account with a registered number, from Meta's documentation.
const MAX_CALLS: u64 = 5000;

/// The window of [`MAX_CALLS`].
const HOUR: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_to_a_recipient_must_be_paid_back() {
        let pace = Pace::default();
        let now = Instant::now();
        let taken = (0..50).filter(|_| pace.take_pair("1", "2", now)).count();
        assert_eq!(taken, 45);
        assert!(
            pace.take_pair("1", "3", now),
            "a second recipient has a bucket of its own"
        );
        assert!(pace.take_pair("1", "2", now + PAIR_INTERVAL));
        assert!(!pace.take_pair("1", "2", now + PAIR_INTERVAL));
    }

    #[test]
    fn a_sender_has_its_rate_and_a_burst_of_one_second() {
        let pace = Pace::default();
        let now = Instant::now();
        let taken = |at| (0..20).filter(|_| pace.take_sender("1", 10, at)).count();
        assert_eq!(taken(now), 10);
        assert_eq!(taken(now + Duration::from_millis(500)), 5);
    }

    #[test]
    fn the_calls_of_an_account_are_counted_by_the_hour() {
        let pace = Pace::default();
        let now = Instant::now();
        let last = (0..500).map(|_| pace.count_call("1", now)).last();
        assert_eq!(last, Some(10));
        assert_eq!(pace.count_call("1", now + HOUR), 1);
    }
}
