//! Permission errors that no secret is to blame for, to tell a new secret that may do too little from a request that no
//! secret of the account may make.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// The requests that lately got a permission error with the replaced secrets as well. The credentials of later loads share
/// the list.
#[derive(Debug, Default)]
pub struct ForbiddenRequests {
    last: Mutex<HashMap<RequestSubject, Instant>>,
}

/// What a permission may be about: the operation, and the sender or object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestSubject {
    /// The name of the operation.
    pub operation: String,
    /// The path, which names most senders and objects.
    pub path: String,
    /// The sender, where the body names it.
    pub sender: Option<String>,
}

impl ForbiddenRequests {
    /// Records that the replaced secrets got a permission error as well.
    pub fn note(&self, subject: RequestSubject, now: Instant) {
        let mut last = self.last.lock();
        if last.len() >= MAX_SUBJECTS {
            last.retain(|_, at| is_recent(*at, now));
        }
        if last.len() < MAX_SUBJECTS {
            last.insert(subject, now);
        }
    }

    /// True if a second try would tell nothing: one for the same subject has just told nothing, or many others have. The
    /// bound on second tries is all that keeps them from doubling the load; any of them may show that a new secret is weak.
    #[must_use]
    pub fn has(&self, subject: &RequestSubject, now: Instant) -> bool {
        let last = self.last.lock();
        let is_known = last.get(subject).is_some_and(|at| is_recent(*at, now));
        is_known || last.values().filter(|at| is_recent(**at, now)).count() >= MAX_SUBJECTS
    }
}

fn is_recent(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) < REPLAY_INTERVAL
}

/// The time after a change of secrets in which a permission error counts against the new secret.
pub(super) const FALLBACK_WINDOW: Duration = Duration::from_secs(600);
/// The time between two second tries for one subject: an application that goes on with a forbidden request costs ten more
/// requests a second, and a weak secret is found out within this time.
const REPLAY_INTERVAL: Duration = Duration::from_millis(100);
/// The number of subjects: the bound of second tries that tell nothing within an interval.
const MAX_SUBJECTS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(operation: &str, path: &str) -> RequestSubject {
        RequestSubject {
            operation: operation.to_owned(),
            path: path.to_owned(),
            sender: None,
        }
    }

    #[test]
    fn a_permission_error_counts_for_its_subject_and_for_a_moment() {
        let forbidden = ForbiddenRequests::default();
        let begin = Instant::now();
        forbidden.note(subject("messages", "/999/messages"), begin);
        for (operation, path, milliseconds, expected) in [
            ("messages", "/999/messages", 0, true),
            ("messages", "/999/messages", 99, true),
            ("messages", "/999/messages", 100, false),
            ("messages", "/106/messages", 0, false),
            ("media", "/999/messages", 0, false),
        ] {
            let now = begin + Duration::from_millis(milliseconds);
            let found = forbidden.has(&subject(operation, path), now);
            assert_eq!(found, expected, "{operation} {path} {milliseconds}");
        }
    }

    #[test]
    fn many_subjects_together_have_a_bound() {
        let forbidden = ForbiddenRequests::default();
        let begin = Instant::now();
        for number in 0..2 * MAX_SUBJECTS {
            forbidden.note(subject("media", &number.to_string()), begin);
        }
        let other = subject("messages", "/106/messages");
        assert!(forbidden.has(&other, begin));
        assert!(!forbidden.has(&other, begin + REPLAY_INTERVAL));
        forbidden.note(other.clone(), begin + REPLAY_INTERVAL);
        assert!(forbidden.has(&other, begin + REPLAY_INTERVAL));
    }
}
