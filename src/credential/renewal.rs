//! The last failure of a renewal, for status.

use std::time::SystemTime;

use parking_lot::Mutex;

/// The state of a credential's renewals. Reloads keep the state.
#[derive(Debug, Default)]
pub struct Renewal(Mutex<Option<RenewalProblem>>);

/// The failure of a renewal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenewalProblem {
    /// The step that failed.
    pub step: RenewalStep,
    /// The time of the first failure since the last success.
    pub since: SystemTime,
    /// The reason of the last failure.
    pub reason: String,
}

/// A step of a renewal that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenewalStep {
    /// The look ahead: the token is not due yet, and could not be renewed if it were.
    Preparation,
    /// The exchange of the token, up to the use of the new one.
    Renewal,
    /// The revocation of the old token.
    Revocation,
}

impl RenewalStep {
    /// Returns the failure of the step as log and audit file name it.
    #[must_use]
    pub fn failure(self) -> &'static str {
        match self {
            Self::Preparation => "renewal impossible",
            Self::Renewal => "renewal failed",
            Self::Revocation => "revocation failed",
        }
    }

    /// Returns the failure of the step as metrics label it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Preparation => "renewal_impossible",
            Self::Renewal => "renewal_failed",
            Self::Revocation => "revocation_failed",
        }
    }
}

impl Renewal {
    /// Notes a failure.
    pub fn fail(&self, step: RenewalStep, reason: String, now: SystemTime) {
        let mut problem = self.0.lock();
        let since = problem.as_ref().map_or(now, |problem| problem.since);
        *problem = Some(RenewalProblem {
            step,
            since,
            reason,
        });
    }

    /// Notes a success.
    pub fn succeed(&self) {
        *self.0.lock() = None;
    }

    /// Returns the failure; `None` after a success.
    #[must_use]
    pub fn problem(&self) -> Option<RenewalProblem> {
        self.0.lock().clone()
    }
}
