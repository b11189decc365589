//! The hold: while the provider refuses every secret of a credential, requests wait for a new
//! secret, and one probe a second goes out.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use tokio::time::Instant;

/// The hold of a credential. Loads with equal secrets share the hold; new secrets begin with an
/// open one.
#[derive(Debug, Default)]
pub struct Hold {
    closed: Mutex<Option<Box<Closed>>>,
    accepted: AtomicU64,
    /// True if the next probe of a waiter is for the secrets out of use.
    is_turn_of_others: AtomicBool,
}

/// The secrets of a waiter's probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbedSecrets {
    /// The secrets in use.
    InUse,
    /// The other secrets at hand, if there are any.
    Others,
}

/// A hold that keeps requests waiting.
#[derive(Debug)]
struct Closed {
    last_probe: Instant,
    refusal: RefusedAnswer,
}

impl Closed {
    /// True for the first call in each [`PROBE_INTERVAL`].
    fn is_probe_due(&mut self, now: Instant) -> bool {
        let is_due = now.saturating_duration_since(self.last_probe) >= PROBE_INTERVAL;
        if is_due {
            self.last_probe = now;
        }
        is_due
    }
}

/// The answer with which the provider refused a request.
#[derive(Clone, Debug)]
pub struct RefusedAnswer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Hold {
    /// Closes the hold, or keeps it closed, after a refusal.
    pub fn close(&self, refusal: RefusedAnswer, now: Instant) {
        *self.closed.lock() = Some(Box::new(Closed {
            last_probe: now,
            refusal,
        }));
    }

    /// Opens the hold: the provider has accepted a request.
    pub fn open(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        let mut closed = self.closed.lock();
        if closed.is_some() {
            *closed = None;
        }
    }

    /// Returns the number of requests that the provider has accepted. A waiter whose number has
    /// grown may be sent again.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Returns the secrets of the probe if the hold is closed and a waiter becomes the probe that
    /// is due. Probes take turns between the sets at hand: the provider may accept either set
    /// again.
    #[must_use]
    pub fn due_probe(&self, now: Instant) -> Option<ProbedSecrets> {
        let mut closed = self.closed.lock();
        if !closed.as_mut()?.is_probe_due(now) {
            return None;
        }
        let is_turn_of_others = self.is_turn_of_others.fetch_not(Ordering::Relaxed);
        Some(if is_turn_of_others {
            ProbedSecrets::Others
        } else {
            ProbedSecrets::InUse
        })
    }

    /// True if a request may go out now: the hold is open, or it is time for a probe, and the
    /// request is the probe.
    #[must_use]
    pub fn lets_pass(&self, now: Instant) -> bool {
        match &mut *self.closed.lock() {
            None => true,
            Some(closed) => closed.is_probe_due(now),
        }
    }

    /// Returns the last refusal, for requests whose wait is over; `None` while the hold is open.
    #[must_use]
    pub fn refusal(&self) -> Option<RefusedAnswer> {
        let closed = self.closed.lock();
        closed.as_ref().map(|closed| closed.refusal.clone())
    }
}

/// The time between two probes: a provider that accepts the secret again is noticed within a
/// second, and a leak sends it one refused request a second instead of all.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal() -> RefusedAnswer {
        RefusedAnswer {
            status: StatusCode::UNAUTHORIZED,
            headers: HeaderMap::new(),
            body: Bytes::from_static(b"no"),
        }
    }

    #[test]
    fn a_closed_hold_lets_one_probe_a_second_pass() {
        let hold = Hold::default();
        let begin = Instant::now();
        let at = |millis| begin + Duration::from_millis(millis);
        assert!(hold.lets_pass(at(0)) && hold.lets_pass(at(0)), "open");
        assert_eq!(hold.due_probe(at(0)), None, "nothing to probe");
        hold.close(refusal(), at(0));
        for (millis, expected) in [
            (0, false),
            (999, false),
            (1000, true),
            (1000, false),
            (1999, false),
            (2500, true),
        ] {
            assert_eq!(hold.lets_pass(at(millis)), expected, "{millis} ms");
        }
        assert_eq!(hold.due_probe(at(3499)), None);
        assert_eq!(hold.due_probe(at(3500)), Some(ProbedSecrets::InUse));
        assert!(!hold.lets_pass(at(3501)), "a waiter is the probe");
        assert_eq!(hold.accepted(), 0);
        assert_eq!(
            hold.refusal().map(|refusal| refusal.body),
            Some("no".into())
        );
        hold.open();
        assert!(hold.lets_pass(at(3502)) && hold.refusal().is_none());
        assert_eq!(hold.accepted(), 1);
    }

    #[test]
    fn probes_of_waiters_take_turns_between_the_sets_whoever_is_refused_between() {
        let hold = Hold::default();
        let begin = Instant::now();
        let mut turns = Vec::new();
        for second in 1..=4 {
            hold.close(refusal(), begin + Duration::from_secs(second - 1));
            turns.extend(hold.due_probe(begin + Duration::from_secs(second)));
        }
        let [in_use, others] = [ProbedSecrets::InUse, ProbedSecrets::Others];
        assert_eq!(turns, [in_use, others, in_use, others]);
    }
}
