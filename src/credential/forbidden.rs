//! Permission errors of a credential, to tell a new secret that may do too little from a request that no
//! secret of the account may make.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// The operations for which the provider lately answered with a permission error. The credentials of later
/// loads share the list.
#[derive(Debug, Default)]
pub struct ForbiddenOperations {
    last: Mutex<BTreeMap<String, Instant>>,
}

impl ForbiddenOperations {
    /// Records a permission error.
    pub fn note(&self, operation: &str, now: Instant) {
        self.last.lock().insert(operation.to_owned(), now);
    }

    /// True if the operation lately got a permission error: a new secret is not to blame for the next one.
    #[must_use]
    pub fn has(&self, operation: &str, now: Instant) -> bool {
        let last = self.last.lock();
        last.get(operation)
            .is_some_and(|at| now.saturating_duration_since(*at) < FALLBACK_WINDOW)
    }
}

/// The time after a change of secrets in which a permission error counts against the new secret.
pub(super) const FALLBACK_WINDOW: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permission_error_counts_for_its_operation_and_for_ten_minutes() {
        let forbidden = ForbiddenOperations::default();
        let begin = Instant::now();
        forbidden.note("messages", begin);
        for (operation, seconds, expected) in [
            ("messages", 0, true),
            ("messages", 599, true),
            ("messages", 600, false),
            ("media", 0, false),
        ] {
            let now = begin + Duration::from_secs(seconds);
            assert_eq!(
                forbidden.has(operation, now),
                expected,
                "{operation} {seconds}"
            );
        }
    }
}
