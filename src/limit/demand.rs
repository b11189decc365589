//! The limiter's question and answers: a request's demand, the ticket to go, the refusal.

use std::time::Duration;

use tokio::time::Instant;

use super::pair::Pair;
use super::pause::PauseReason;
use crate::provider::{Metering, Scope};
use crate::units::Quota;

/// The facts about a request for the limiter's decision.
#[derive(Clone, Copy, Debug)]
pub struct Demand<'a> {
    /// The sending number; empty if the request names none.
    pub sender: &'a str,
    /// The numbers or ids of the recipients with a limit of their own.
    pub recipients: &'a [String],
    /// The rates that the messages count against.
    pub metering: Metering,
    /// The number of messages that the request sends, one for each recipient.
    pub messages: u32,
    /// Key of the application: the applications in a queue take turns.
    pub application: u64,
    /// Urgency by RFC 9218: 0 goes first, 7 last.
    pub urgency: u8,
    /// Time of arrival: the start of `patience`.
    pub arrived: Instant,
    /// Bounds of the wait.
    pub patience: Patience,
}

impl Demand<'_> {
    /// Time after which a turn is of no use.
    pub(super) fn deadline(&self) -> Instant {
        self.arrived + self.patience.max_wait
    }
}

/// Messages that are counted without a place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnqueuedMessages {
    /// Messages that came in. However many come at once, sending goes on after a while.
    Received(u32),
    /// The messages to the further recipients of a message, each of which is paid for.
    Sent(u32),
}

impl UnqueuedMessages {
    /// Number of the messages.
    pub(super) fn count(self) -> u32 {
        match self {
            Self::Received(count) | Self::Sent(count) => count,
        }
    }
}

/// Bounds of the wait for a turn; by default a request does not wait at all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Patience {
    /// Longest wait, from the arrival of the request.
    pub max_wait: Duration,
    /// Most waiting requests of a limit at a time.
    pub max_queue: usize,
}

/// Leave to send one request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ticket {
    /// Time from arrival to turn; zero if the turn came at once.
    pub waited: Duration,
    /// State of the limit for the `RateLimit` headers; none if no limit counted the request.
    pub allowance: Option<Allowance>,
    /// The token of a pair's full bucket that the request took, if it took one.
    pub(super) first_of_pair: Option<FirstOfPair>,
}

/// The first token of a pair's full bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FirstOfPair {
    pub(super) pair: Pair,
    /// Time at which a request took the token.
    pub(super) taken: Instant,
}

impl Ticket {
    /// Leave to send now, with `left` tokens of a quota; none if no tokens are counted.
    pub(super) fn new(scope: Scope, quota: Option<Quota>, left: u32) -> Self {
        Self {
            allowance: quota.map(|quota| Allowance::new(scope, quota, left)),
            ..Self::default()
        }
    }

    /// Leave with a token of a pair's bucket, taken now.
    pub(super) fn of_pair(pair: Pair, quota: Option<Quota>, left: u32, now: Instant) -> Self {
        let was_full = quota.is_some_and(|quota| left + 1 == quota.burst.get());
        Self {
            first_of_pair: was_full.then_some(FirstOfPair { pair, taken: now }),
            ..Self::new(Scope::Recipient, quota, left)
        }
    }

    /// The time now, if `before` was that before the wait for the ticket.
    pub(super) fn now(&self, before: Instant) -> Instant {
        if self.waited.is_zero() {
            before
        } else {
            Instant::now()
        }
    }

    /// Leave by two limits: the longer wait, and the state of this limit if it counts tokens.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            waited: self.waited.max(other.waited),
            allowance: self.allowance.or(other.allowance),
            first_of_pair: self.first_of_pair.or(other.first_of_pair),
        }
    }
}

/// State of a limit after a request was let through, for the `RateLimit` headers.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    /// Subject of the limit.
    pub scope: Scope,
    /// Number of further requests with a token now.
    pub remaining: u32,
    /// Number of tokens in a full bucket.
    pub burst: u32,
    /// Time in which an empty bucket fills.
    pub window: Duration,
    /// Time until the bucket is full again, if no request is sent meanwhile.
    pub reset: Duration,
}

impl Allowance {
    /// Returns the used part of the bucket in percent: 0 to 100.
    #[must_use]
    pub fn used_percent(&self) -> u8 {
        let burst = u64::from(self.burst.max(1));
        let used = burst.saturating_sub(u64::from(self.remaining));
        u8::try_from(used * 100 / burst).unwrap_or(100)
    }

    fn new(scope: Scope, quota: Quota, left: u32) -> Self {
        let burst = quota.burst.get();
        let remaining = left.min(burst);
        Self {
            scope,
            remaining,
            burst,
            window: quota.window(),
            reset: quota.interval().saturating_mul(burst - remaining),
        }
    }
}

/// The refusal of a request without a turn within its patience.
#[derive(Clone, Copy, Debug)]
pub struct Limited {
    /// Subject of the refusing limit.
    pub scope: Scope,
    /// Time after which a new request could leave.
    pub retry_after: Duration,
    /// Rate and burst of the limit; none for a limit without a rate.
    pub quota: Option<Quota>,
    /// Number of waiting requests of the limit.
    pub waiting: usize,
    /// True if the shared server is lost and `on_failure = "closed"` forbids sending meanwhile.
    pub is_closed: bool,
    /// Reason of the pause, if a pause refused.
    pub pause: Option<PauseReason>,
}

impl Limited {
    /// The refusal by a limit without a queue.
    pub(super) fn new(scope: Scope, quota: Option<Quota>, retry_after: Duration) -> Self {
        Self {
            scope,
            retry_after,
            quota,
            waiting: 0,
            is_closed: false,
            pause: None,
        }
    }

    /// The refusal of a request that must wait for a lost shared server.
    #[must_use]
    pub fn closed() -> Self {
        Self {
            is_closed: true,
            ..Self::new(Scope::Account, None, CLOSED_RETRY_AFTER)
        }
    }
}

/// The shared server is looked for several times a second; a second is the least value that
/// `Retry-After` can say.
const CLOSED_RETRY_AFTER: Duration = Duration::from_secs(1);
