//! Permission errors of the account: a request forbidden with the replaced secrets too, as against
//! a new secret with too few rights.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// The requests with a permission error for the replaced secrets as well. The credentials of later
/// loads share the list.
#[derive(Debug, Default)]
pub struct ForbiddenRequests {
    last: Mutex<HashMap<RequestSubject, Instant>>,
}

/// The subject of a permission: the operation, and the sender or object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestSubject {
    /// The name of the operation.
    pub operation: String,
    /// The path, which names most senders and objects.
    pub path: String,
    /// The sender of a request with the sender in the body.
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

    /// True if a second try is not worth its cost: the last try for the subject has just failed, or
    /// too many tries have. The bound keeps second tries from doubling the load.
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

/// The time after a change of secrets in which a permission error counts against the new secret. A
/// new secret with too few rights shows with the first request of each kind, mostly within minutes;
/// later errors come of changes in the account.
pub(super) const FALLBACK_WINDOW: Duration = Duration::from_secs(600);
/// The time between two second tries for a subject: a repeated forbidden request costs ten more
/// requests a second, and a weak secret is found out within a tenth of a second.
const REPLAY_INTERVAL: Duration = Duration::from_millis(100);
/// The number of subjects, and so of failed second tries within an interval: 640 a second at most,
/// whatever the number of senders.
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
