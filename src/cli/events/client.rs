//! Questions to the admin listener about events, page by page.

use std::fmt;

use serde_json::Value;

use crate::cli::client::{ClientError, admin_address, ask};
use crate::cli::output::is_unread;
use crate::cli::progress::Progress;
use crate::json::words::{counted, list, text};

/// The sidecar for questions.
#[derive(Debug, clap::Args)]
pub(super) struct AdminArgs {
    /// The admin listener of the running sidecar: HOST:PORT or unix:/path
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9900", value_parser = admin_address)]
    admin: String,
}

/// A query of growing length.
#[derive(Clone, Debug, Default)]
pub(super) struct Query(String);

impl Query {
    /// Adds a pair.
    pub(super) fn with(mut self, name: &str, value: impl fmt::Display) -> Self {
        let text = value.to_string();
        let encoded =
            percent_encoding::utf8_percent_encode(&text, percent_encoding::NON_ALPHANUMERIC);
        let separator = if self.0.is_empty() { "?" } else { "&" };
        self.0 = format!("{}{separator}{name}={encoded}", self.0);
        self
    }

    /// Adds a pair, if there is a value.
    pub(super) fn with_some(self, name: &str, value: Option<impl fmt::Display>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }
}

impl AdminArgs {
    /// Asks once.
    pub(super) fn ask(
        &self,
        method: &str,
        path: &str,
        query: &Query,
    ) -> Result<Value, EventsFailure> {
        let (code, answer) = ask(&self.admin, method, &format!("{path}{}", query.0))?;
        if code == 200 {
            return Ok(answer);
        }
        let error = |pointer| text(answer.pointer(pointer).unwrap_or(&Value::Null));
        Err(EventsFailure::Refused {
            message: error("/error/message"),
            advice: error("/error/error_data/details"),
        })
    }

    /// Asks for page after page, until `take` has enough, or the output has no reader any more.
    pub(super) fn each_page(
        &self,
        method: &str,
        path: &str,
        query: &Query,
        from: u64,
        mut take: impl FnMut(&Value) -> More,
    ) -> Result<(), EventsFailure> {
        let mut progress = Progress::start();
        let mut from = Some(from);
        while let Some(at) = from {
            let page = &self.ask(method, path, &query.clone().with("from", at))?;
            from = page["next"].as_u64();
            progress.at(from, page["end"].as_u64());
            let more = progress.suspended(|| take(page));
            if more == More::Enough || is_unread() {
                break;
            }
        }
        Ok(())
    }

    /// Asks for the events of all pages, and returns how many could not be read.
    pub(super) fn each_event(
        &self,
        query: &Query,
        from: u64,
        mut take: impl FnMut(&Value) -> More,
    ) -> Result<usize, EventsFailure> {
        let mut unreadable = 0;
        self.each_page("GET", "/events", query, from, |page| {
            unreadable += list(&page["unreadable"]).count();
            let all = list(&page["events"]).all(|event| take(event) == More::Wanted);
            if all { More::Wanted } else { More::Enough }
        })?;
        Ok(unreadable)
    }
}

/// The answer of whoever accepts events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum More {
    Wanted,
    Enough,
}

/// Tells of unreadable events.
pub(super) fn complain_of(unreadable: usize) {
    if unreadable > 0 {
        complain!(
            "keyside: {} cannot be read: damaged, or sealed with a key that `[state] key` does not have; `keyside status \
             --problems` says more",
            counted(unreadable as u64, "event")
        );
    }
}

/// The reason why a command about events has no result.
#[derive(Debug)]
pub(super) enum EventsFailure {
    /// No sidecar answers.
    NoAnswer(ClientError),
    /// The sidecar refused.
    Refused { message: String, advice: String },
    /// The arguments are incomplete.
    Usage(&'static str),
    /// No event has the id at a position in the arguments.
    Unknown(usize),
}

impl From<ClientError> for EventsFailure {
    fn from(error: ClientError) -> Self {
        Self::NoAnswer(error)
    }
}

impl fmt::Display for EventsFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer(error) => error.fmt(f),
            Self::Refused { message, advice } => write!(f, "{message}: {advice}"),
            Self::Usage(problem) => f.write_str(problem),
            Self::Unknown(number) => write!(
                f,
                "no event in the spool has id {number} of those named: delivered events stay for `[spool] keep`, dead \
                 letters for 30 days; `keyside events list` shows what there is"
            ),
        }
    }
}

impl std::error::Error for EventsFailure {}
