//! What became of each webhook.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use crate::sandbox::json::{Json, object};
use crate::sandbox::state::lock;

/// One attempt to deliver an event to an app.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The event; the same one to several apps has one number.
    pub event: u64,
    /// The app.
    pub app: String,
    /// Which attempt it was, from 1.
    pub attempt: u32,
    /// Which secret signed it: `new`, or `old` after a change.
    pub secret: &'static str,
    /// The status, or why there was none.
    pub result: Result<u16, String>,
    /// How long it took.
    pub took: Duration,
}

/// The last attempts.
#[derive(Default)]
pub(in crate::sandbox) struct Attempts {
    all: Mutex<VecDeque<Attempt>>,
}

impl Attempts {
    pub(super) fn add(&self, attempt: Attempt) {
        let mut all = lock(&self.all);
        if all.len() >= MOST {
            all.pop_front();
        }
        all.push_back(attempt);
    }

    /// All of them.
    pub(in crate::sandbox) fn list(&self) -> Vec<Attempt> {
        lock(&self.all).iter().cloned().collect()
    }

    /// Forgets them.
    pub(in crate::sandbox) fn forget(&self) {
        lock(&self.all).clear();
    }

    /// All of them as JSON.
    pub(in crate::sandbox) fn json(&self) -> Json {
        let one = |attempt: &Attempt| {
            let fields = object([
                ("event", i64::try_from(attempt.event).unwrap_or(i64::MAX).into()),
                ("app", attempt.app.as_str().into()),
                ("attempt", i64::from(attempt.attempt).into()),
                ("secret", attempt.secret.into()),
                ("took_ms", i64::try_from(attempt.took.as_millis()).unwrap_or(i64::MAX).into()),
            ]);
            match &attempt.result {
                Ok(status) => fields.with("status", i64::from(*status)),
                Err(error) => fields.with("error", error.as_str()),
            }
        };
        Json::List(lock(&self.all).iter().map(one).collect())
    }
}

/// Enough for a load test.
const MOST: usize = 100_000;
