//! The options of a selection of events.

use clap::builder::{NonEmptyStringValueParser, PossibleValuesParser};

use super::client::{EventsFailure, Query};
use super::moment::{EventTime, moment};
use crate::cli::argument::ArgumentError;

/// The conditions of a selection, all together.
#[derive(Debug, clap::Args)]
pub(super) struct Selection {
    /// Only events in this state at a destination
    #[arg(long, value_parser = PossibleValuesParser::new(["waiting", "delivered", "dead"]))]
    state: Option<String>,
    /// Only events of this webhook
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    webhook: Option<String>,
    /// Only events for this destination
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    to: Option<String>,
    /// Only events that arrived at this time or later: 2026-11-30T08:00:00Z, or an age such as 2h
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<EventTime>,
    /// Only events that arrived before this time
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<EventTime>,
    /// Only events with this text in the body, as it stands there
    #[arg(long = "match", value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    text: Option<String>,
    /// Only events of a person, by phone number or user id: what `keyside events drop --user`
    /// erases
    #[arg(long, value_name = "NUMBER", value_parser = person)]
    user: Option<String>,
}

impl Selection {
    /// Returns the query for the selection.
    ///
    /// # Errors
    /// If the times leave no time between them: a script would take the empty result for an answer.
    pub(super) fn query(&self) -> Result<Query, EventsFailure> {
        if let (Some(since), Some(until)) = (self.since, self.until)
            && until.0 <= since.0
        {
            return Err(EventsFailure::Usage(NO_TIME));
        }
        let query = Query::default()
            .with_some("state", self.state.as_ref())
            .with_some("webhook", self.webhook.as_ref())
            .with_some("to", self.to.as_ref())
            .with_some("since", self.since.map(|time| time.0))
            .with_some("until", self.until.map(|time| time.0))
            .with_some("match", self.text.as_ref())
            .with_some("user", self.user.as_ref());
        Ok(query)
    }

    /// True with a condition beside webhook and destination.
    pub(super) fn is_narrow(&self) -> bool {
        self.state.is_some()
            || self.since.is_some()
            || self.until.is_some()
            || self.text.is_some()
            || self.user.is_some()
    }
}

/// Reads the name of a person: an empty name, or one without a digit or letter, names nobody.
pub(super) fn person(text: &str) -> Result<String, ArgumentError> {
    let is_named = text.contains(char::is_alphanumeric);
    is_named
        .then(|| text.to_owned())
        .ok_or(ArgumentError::Person)
}

/// Reads the id of an event.
pub(super) fn event_id(text: &str) -> Result<String, ArgumentError> {
    let is_id = text.len() == ID_LENGTH && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then(|| text.to_owned()).ok_or(ArgumentError::EventId)
}

/// The refusal of times in the wrong order.
const NO_TIME: &str = "--until is not after --since, so no event can be between them: an age such as 3h is earlier than 2h";
/// The length of an id: 16 random bytes in hexadecimal digits.
const ID_LENGTH: usize = 32;
