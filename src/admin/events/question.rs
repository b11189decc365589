//! The query of `/events`: the events, the number, the parts of each.

use std::fmt;

use crate::query;
use crate::spool::{Filter, Seq, StoredState};
use crate::units::Rate;

/// A question about events, or an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    /// The conditions, but for the destinations: these have numbers in the store.
    pub(super) filter: Filter,
    /// The name of the destination.
    pub(super) to: Option<String>,
    /// The number of the first event to look at.
    pub(super) from: Seq,
    /// The most events in an answer.
    pub(super) most: usize,
    /// The part of each event.
    pub(super) part: EventPart,
    /// The form of names of persons.
    pub(super) names: Names,
    /// The rate of a replay.
    pub(super) rate: Option<Rate>,
    /// The effect of an order.
    pub(super) effect: Effect,
    /// The events of an order to erase.
    pub(super) readable: Readable,
}

/// The events of an order to erase, by whether they can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readable {
    /// The events that the other conditions name.
    Named,
    /// The events that cannot be read.
    No,
}

/// The part of each event in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EventPart {
    /// The part for lists.
    Head,
    /// The arrived request as well.
    Whole,
}

/// The form of names of persons: phone numbers, and ids of users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Names {
    /// The last two characters alone.
    Masked,
    /// The names in full.
    Shown,
}

/// The effect of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// The order is carried out.
    Real,
    /// The events are counted, and nothing is changed.
    DryRun,
}

impl Question {
    /// Reads the query.
    ///
    /// # Errors
    /// If a parameter is unknown or has no meaning. The value is not repeated.
    pub(super) fn parse(text: &str) -> Result<Self, Unclear> {
        let mut question = Self {
            filter: Filter::default(),
            to: None,
            from: 0,
            most: DEFAULT_PAGE,
            part: EventPart::Head,
            names: Names::Masked,
            rate: None,
            effect: Effect::Real,
            readable: Readable::Named,
        };
        for pair in query::fields(text) {
            question.set_parameter(&pair.name(), &pair.value())?;
        }
        Ok(question)
    }

    fn set_parameter(&mut self, name: &str, value: &str) -> Result<(), Unclear> {
        let filter = &mut self.filter;
        let number = |name| value.parse().map_err(|_| Unclear::value(name, "a number"));
        match name {
            "state" if value == "unreadable" => self.readable = Readable::No,
            "state" => filter.state = Some(state(value)?),
            "webhook" => filter.webhook = Some(named("webhook", value)?),
            "to" => self.to = Some(named("to", value)?),
            "since" => filter.since_ms = Some(number("since")?),
            "until" => filter.until_ms = Some(number("until")?),
            "match" => filter.text = Some(named("match", value)?),
            "user" => filter.user = Some(person(value)?),
            "id" => {
                filter.ids.insert(id(value)?);
            }
            "from" => self.from = number("from")?,
            "most" => {
                let most = usize::try_from(number("most")?).unwrap_or(usize::MAX);
                self.most = most.clamp(1, MAX_PAGE);
            }
            "rate" => {
                let rate = value.parse();
                self.rate = Some(rate.map_err(|_| Unclear::value("rate", "such as 50/s"))?);
            }
            "part" if value == "whole" => self.part = EventPart::Whole,
            "numbers" if value == "shown" => self.names = Names::Shown,
            "effect" if value == "dry-run" => self.effect = Effect::DryRun,
            "part" => return Err(Unclear::value("part", "`whole`")),
            "numbers" => return Err(Unclear::value("numbers", "`shown`")),
            "effect" => return Err(Unclear::value("effect", "`dry-run`")),
            _ => return Err(Unclear::Parameter),
        }
        Ok(())
    }

    /// Returns the question for an answer that shows events: no event that cannot be read can be
    /// shown.
    ///
    /// # Errors
    /// If the question is about events that cannot be read.
    pub(super) fn about_readable(self) -> Result<Self, Unclear> {
        match self.readable {
            Readable::Named => Ok(self),
            Readable::No => Err(UNKNOWN_STATE),
        }
    }

    /// True if the query has a condition beside the webhook.
    pub(super) fn is_narrow(&self) -> bool {
        let whole = Filter {
            webhook: self.filter.webhook.clone(),
            ..Filter::default()
        };
        self.filter != whole
    }
}

/// Reads a condition. An empty text is in every body, and an empty name has no owner: an unset
/// variable of a script would ask for every event.
fn named(name: &'static str, value: &str) -> Result<String, Unclear> {
    match value {
        "" => Err(Unclear::value(name, "a text that is not empty")),
        value => Ok(value.to_owned()),
    }
}

/// The form of a person's name in the store: a phone number in the provider's form, digits alone.
fn person(written: &str) -> Result<String, Unclear> {
    let is_filling = |character: char| matches!(character, '+' | '-' | ' ' | '(' | ')' | '.' | '/');
    let digits: String = written.chars().filter(|c| !is_filling(*c)).collect();
    if digits.is_empty() {
        return Err(Unclear::value("user", "a phone number or a user id"));
    }
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    Ok(match (is_number, digits.strip_prefix("00")) {
        // The prefix of international calls stands for the plus.
        (true, Some(national)) if !national.is_empty() => national.to_owned(),
        (true, _) => digits,
        (false, _) => written.to_owned(),
    })
}

fn id(value: &str) -> Result<String, Unclear> {
    let is_id = value.len() == ID_LENGTH && value.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id
        .then(|| value.to_ascii_lowercase())
        .ok_or(Unclear::value(
            "id",
            "32 hexadecimal digits, as in `Keyside-Event-Id`",
        ))
}

fn state(value: &str) -> Result<StoredState, Unclear> {
    let known = StoredState::ALL
        .into_iter()
        .find(|state| state.as_str() == value);
    known.ok_or(UNKNOWN_STATE)
}

/// The reason why a query has no meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unclear {
    /// A parameter is unknown.
    Parameter,
    /// The value of a parameter is not as expected.
    Value {
        name: &'static str,
        expected: &'static str,
    },
}

impl Unclear {
    fn value(name: &'static str, expected: &'static str) -> Self {
        Self::Value { name, expected }
    }
}

impl fmt::Display for Unclear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parameter => f.write_str("the query has an unknown parameter"),
            Self::Value { name, expected } => {
                write!(f, "the value of `{name}` is not as expected: {expected}")
            }
        }
    }
}

/// The parameters, for messages.
pub(super) const PARAMETERS: &str = "state, webhook, to, since, until, match, user, id, from, most, \
     part=whole, numbers=shown, rate, effect=dry-run";

const UNKNOWN_STATE: Unclear = Unclear::Value {
    name: "state",
    expected: "`waiting`, `delivered` or `dead`; `unreadable` for an erasure alone",
};
/// The events in an answer by default: a few screens.
const DEFAULT_PAGE: usize = 100;
/// The bound on events in an answer: the answer stays below a megabyte.
const MAX_PAGE: usize = 1024;
/// The length of an id: 16 random bytes in hexadecimal digits.
const ID_LENGTH: usize = 32;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn parsed(text: &str) -> Question {
        Question::parse(text).unwrap()
    }

    #[test]
    fn each_parameter_is_read() {
        let question = parsed(
            "state=dead&webhook=acme&to=crm&since=1&until=2&match=a%20b%3B&user=%2B49%20151-1&from=7&most=5\
             &part=whole&numbers=shown&rate=50/s&effect=dry-run",
        );
        assert_eq!(
            question.filter,
            Filter {
                state: Some(StoredState::Dead),
                webhook: Some("acme".to_owned()),
                to: BTreeSet::new(),
                since_ms: Some(1),
                until_ms: Some(2),
                text: Some("a b;".to_owned()),
                user: Some("491511".to_owned()),
                ids: BTreeSet::new(),
            }
        );
        assert_eq!(question.to.as_deref(), Some("crm"));
        assert_eq!((question.from, question.most), (7, 5));
        assert_eq!(
            (question.part, question.names),
            (EventPart::Whole, Names::Shown)
        );
        assert_eq!(question.effect, Effect::DryRun);
        assert!(question.rate.is_some());
    }

    #[test]
    fn events_that_cannot_be_read_are_asked_for_by_an_erasure_alone() {
        let question = parsed("state=unreadable");
        assert_eq!(question.readable, Readable::No);
        assert_eq!(question.filter, Filter::default());
        assert_eq!(question.about_readable(), Err(UNKNOWN_STATE));
        assert!(parsed("state=dead").about_readable().is_ok());
    }

    #[test]
    fn what_has_no_meaning_is_refused_without_its_value() {
        for text in [
            "state=deda",
            "since=yesterday",
            "id=1",
            "most=x",
            "rate=fast",
            "part=half",
            "numbers=1",
            "effect=none",
            "match=",
            "to=",
            "webhook=",
            "since=",
            "until=",
            "user=",
            "id=",
            "tokne=EAAG",
        ] {
            let message = Question::parse(text).unwrap_err().to_string();
            let value = text.split_once('=').unwrap().1;
            let is_repeated = !value.is_empty() && message.contains(&format!(" {value}"));
            assert!(!is_repeated, "{message}");
        }
        assert_eq!(parsed("most=0").most, 1);
        assert_eq!(parsed("most=99999").most, MAX_PAGE);
    }

    #[test]
    fn a_phone_number_is_its_digits_and_another_name_stays() {
        for (written, expected) in [
            ("+49 (151) 1234-5678", "4915112345678"),
            ("4915112345678", "4915112345678"),
            ("US.13491208655302741918", "US.13491208655302741918"),
        ] {
            assert_eq!(person(written).unwrap(), expected);
        }
        for nobody in ["", "+", " "] {
            assert!(person(nobody).is_err(), "{nobody:?}");
        }
    }

    #[test]
    fn a_webhook_alone_is_no_narrow_question() {
        assert!(!parsed("webhook=acme&rate=1/s").is_narrow());
        for text in ["since=0", "state=dead", "user=1", "match=a"] {
            assert!(parsed(text).is_narrow(), "{text}");
        }
    }

    #[test]
    fn a_number_is_the_same_person_in_each_way_of_writing() {
        for (written, expected) in [
            ("4915112345678", "4915112345678"),
            ("%2B49%20151%2012345678", "4915112345678"),
            ("0049-151-12345678", "4915112345678"),
            ("00", "00"),
            ("US.00ab", "US.00ab"),
        ] {
            let question = parsed(&format!("user={written}"));
            assert_eq!(question.filter.user.as_deref(), Some(expected), "{written}");
        }
    }
}
