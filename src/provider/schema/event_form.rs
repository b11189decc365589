//! `[[webhook.event]]`: the forms of a provider's events.

use super::text::{list, pointer};
use crate::document::Reader;
use crate::provider::event_form::{EventForm, EventKind, EventMark};

/// Reads a form of events.
pub(super) fn event_form(mut reader: Reader<'_>) -> Option<EventForm> {
    let kind = reader
        .required("kind", "\"message\" or \"status\"")
        .and_then(|field| field.choice(&KINDS));
    let place = reader.parse("when", pointer);
    let is = reader.field("is");
    let values: Vec<_> = is
        .as_ref()
        .and_then(|field| field.array())
        .unwrap_or_default()
        .iter()
        .filter_map(|field| field.string())
        .map(str::to_owned)
        .collect();
    if let Some(field) = is.filter(|_| place.is_none()) {
        field.key_fault("values without a place, expected `when` with a JSON pointer beside it");
    }
    let sender = list(&mut reader, "sender", pointer);
    let user = list(&mut reader, "user", pointer);
    if user.is_empty() {
        let expected = "where these events name the person, such as [\"/from\"]";
        reader.missing("user", expected);
    }
    reader.finish();
    Some(EventForm {
        kind: kind?,
        mark: place.map(|place| EventMark { place, values }),
        sender,
        user: (!user.is_empty()).then_some(user)?,
    })
}

const KINDS: [(&str, EventKind); 2] = [
    ("message", EventKind::Message),
    ("status", EventKind::Status),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Document, FaultReport};

    fn read(text: &str) -> (Option<EventForm>, Vec<String>) {
        let report = FaultReport::default();
        let document = Document::parse(text, "f", &report).unwrap();
        let form = event_form(Reader::new(&document, &report));
        let (faults, _) = report.into_parts();
        let faults = faults
            .iter()
            .map(|fault| format!("{}: {}", fault.key, fault.message));
        (form, faults.collect())
    }

    #[test]
    fn a_form_has_a_kind_a_mark_and_the_places_of_both_ends() {
        let (form, faults) = read(
            "kind = 'status'\nwhen = '/type'\nis = ['sent', 'read']\nsender = ['/app']\nuser = ['/a/*/to', '/to']",
        );
        assert_eq!(faults, Vec::<String>::new());
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        let form = form.unwrap();
        assert_eq!(form.kind, EventKind::Status);
        let mark = form.mark.unwrap();
        assert_eq!(mark.place, ["type"]);
        assert_eq!(mark.values, ["sent", "read"]);
        assert_eq!(form.sender, [vec!["app".to_owned()]]);
        let user: Vec<Vec<String>> = vec![words(&["a", "*", "to"]), words(&["to"])];
        assert_eq!(form.user, user);
    }

    #[test]
    fn what_a_form_lacks_is_told() {
        for (text, fault) in [
            ("user = ['/from']", "kind: "),
            ("kind = 'call'\nuser = ['/from']", "kind: "),
            ("kind = 'message'", "user: "),
            (
                "kind = 'message'\nuser = ['from']",
                "user: not a JSON pointer",
            ),
            (
                "kind = 'message'\nuser = ['/from']\nis = ['a']",
                "is: values without a place",
            ),
        ] {
            let (_, faults) = read(text);
            assert!(
                faults.iter().any(|one| one.starts_with(fault)),
                "{text}: {faults:?}"
            );
        }
    }
}
