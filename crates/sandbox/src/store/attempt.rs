//! Attempts to deliver webhooks.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;

/// An attempt to deliver an event to an app.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The number of the event; all apps see an event under one number.
    pub event: u64,
    /// The name of the app.
    pub app: String,
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// The secret behind the signature: `new`, or `old` after a change of the secret.
    pub secret: &'static str,
    /// The answer, or the reason for having none.
    pub result: AttemptResult,
    /// The time until the answer or the failure.
    pub took: Duration,
}

/// The result of an attempt.
#[derive(Clone, Debug)]
pub enum AttemptResult {
    /// An answer with this status code.
    Answered(u16),
    /// No answer; the reason, for people.
    Unanswered(String),
}

/// The most recent attempts, oldest first.
#[derive(Default)]
pub(crate) struct Attempts(Mutex<VecDeque<Attempt>>);

impl Attempts {
    /// Adds an attempt; beyond [`MAX_ATTEMPTS`] the oldest attempt is dropped.
    pub(crate) fn add(&self, attempt: Attempt) {
        let mut attempts = self.0.lock();
        if attempts.len() >= MAX_ATTEMPTS {
            attempts.pop_front();
        }
        attempts.push_back(attempt);
    }

    /// Returns all attempts.
    pub(crate) fn list(&self) -> Vec<Attempt> {
        self.0.lock().iter().cloned().collect()
    }

    /// Forgets all attempts.
    pub(crate) fn clear(&self) {
        self.0.lock().clear();
    }
}

/// An attempt, as `/_sandbox/deliveries` shows it.
#[derive(Serialize)]
pub(crate) struct AttemptRow<'a> {
    event: u64,
    app: &'a str,
    attempt: u32,
    secret: &'static str,
    took_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

impl<'a> From<&'a Attempt> for AttemptRow<'a> {
    fn from(attempt: &'a Attempt) -> Self {
        let (status, error) = match &attempt.result {
            AttemptResult::Answered(status) => (Some(*status), None),
            AttemptResult::Unanswered(reason) => (None, Some(reason.as_str())),
        };
        Self {
            event: attempt.event,
            app: &attempt.app,
            attempt: attempt.attempt,
            secret: attempt.secret,
            took_ms: u64::try_from(attempt.took.as_millis()).unwrap_or(u64::MAX),
            status,
            error,
        }
    }
}

/// The attempts that are kept: enough for a load test.
const MAX_ATTEMPTS: usize = 100_000;
