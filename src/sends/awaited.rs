//! The sent messages whose first status has not come yet.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::digest::{Digest16, digest16};

/// The messages of all accounts that wait for a status.
#[derive(Debug, Default)]
pub(super) struct Awaited {
    accounts: BTreeMap<String, OfAccount>,
}

#[derive(Debug, Default)]
struct OfAccount {
    /// True once a status has come: before, no subscription to statuses is known.
    has_statuses: bool,
    waiting: HashMap<Digest16, Instant>,
    /// The messages in the order of sending, with messages that wait no more.
    order: VecDeque<(Instant, Digest16)>,
}

/// The messages of an account that have no status for too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overdue {
    /// The account, by the name of its credential.
    pub account: String,
    /// The number of messages.
    pub messages: usize,
    /// The time since the oldest was sent.
    pub oldest: Duration,
}

impl Awaited {
    /// Takes note of a sent message, by the provider's id.
    pub(super) fn sent(&mut self, account: &str, id: &str, now: Instant) {
        let digest = digest16([id.as_bytes()]);
        let of_account = match self.accounts.get_mut(account) {
            Some(of_account) => of_account,
            None => self.accounts.entry(account.to_owned()).or_default(),
        };
        of_account.waiting.insert(digest, now);
        of_account.order.push_back((now, digest));
        of_account.forget_old(now);
    }

    /// Takes note of a status.
    pub(super) fn status(&mut self, account: &str, id: &str) {
        if let Some(of_account) = self.accounts.get_mut(account) {
            of_account.has_statuses = true;
            of_account.waiting.remove(&digest16([id.as_bytes()]));
        }
    }

    /// Returns the accounts with messages that have no status for too long.
    pub(super) fn overdue(&mut self, now: Instant) -> Vec<Overdue> {
        let mut all = Vec::new();
        for (account, of_account) in &mut self.accounts {
            of_account.forget_old(now);
            let mut late = of_account
                .order
                .iter()
                .take_while(|(at, _)| now.saturating_duration_since(*at) >= LATE)
                .filter(|(_, digest)| of_account.waiting.contains_key(digest))
                .peekable();
            if let Some((oldest, _)) = late.peek().filter(|_| of_account.has_statuses) {
                all.push(Overdue {
                    account: account.clone(),
                    oldest: now.saturating_duration_since(*oldest),
                    messages: late.count(),
                });
            }
        }
        all
    }
}

impl OfAccount {
    /// Forgets the oldest messages: those past [`KEPT`] or [`MAX_AWAITED`], and messages at the
    /// front with a status; a portion of them, so that no request waits for thousands.
    fn forget_old(&mut self, now: Instant) {
        for _ in 0..PORTION {
            let Some((at, digest)) = self.order.front().copied() else {
                return;
            };
            let is_old = now.saturating_duration_since(at) > KEPT || self.order.len() > MAX_AWAITED;
            if !is_old && self.waiting.contains_key(&digest) {
                return;
            }
            self.waiting.remove(&digest);
            self.order.pop_front();
        }
    }
}

/// The time after which a message without a status is told. The first status comes within seconds,
/// wherever the recipient's phone is.
const LATE: Duration = Duration::from_secs(5 * 60);
/// The time for which a message without a status is told: a phone that is off for a day has its
/// status late, and nobody waits.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// The messages that are forgotten for each that comes: more than one, so that a rush is forgotten
/// sooner than it came; few enough to take some microseconds.
const PORTION: usize = 64;
/// The bound on messages of an account: five minutes at 100 messages a second without any status.
/// With more, the oldest are no longer waited for.
const MAX_AWAITED: usize = 32 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_without_a_status_is_told_once_statuses_come_at_all() {
        let mut awaited = Awaited::default();
        let start = Instant::now();
        let at = |minutes: u64| start + Duration::from_secs(60 * minutes);
        awaited.sent("acme", "a", start);
        awaited.sent("acme", "b", at(1));
        awaited.sent("acme", "c", at(2));
        awaited.sent("other", "d", start);
        assert_eq!(awaited.overdue(at(10)), [], "nobody has subscribed");
        awaited.status("acme", "a");
        assert_eq!(awaited.overdue(at(4)), []);
        let overdue = |messages, minutes: u64| Overdue {
            account: "acme".to_owned(),
            messages,
            oldest: Duration::from_secs(60 * minutes),
        };
        assert_eq!(awaited.overdue(at(6)), [overdue(1, 5)]);
        assert_eq!(awaited.overdue(at(7)), [overdue(2, 6)]);
        awaited.status("acme", "b");
        awaited.status("unknown", "b");
        assert_eq!(awaited.overdue(at(8)), [overdue(1, 6)]);
        assert_eq!(
            awaited.overdue(at(24 * 60 + 3)),
            [],
            "old ones are forgotten"
        );
    }

    #[test]
    fn the_memory_of_an_account_has_a_bound() {
        let mut awaited = Awaited::default();
        let now = Instant::now();
        for number in 0..2 * MAX_AWAITED {
            awaited.sent("acme", &number.to_string(), now);
        }
        let of_account = &awaited.accounts["acme"];
        assert_eq!(
            (of_account.order.len(), of_account.waiting.len()),
            (MAX_AWAITED, MAX_AWAITED)
        );
    }
}
