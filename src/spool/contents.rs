//! The contents of an event, as the body tells them: items, lanes, and the words of filters.

use std::collections::BTreeSet;

use serde_json::value::RawValue;

use super::cloud_event::{ItemChange, ItemValue, StrictChange, parsed, parsed_strictly};
use super::items::{Class, Item};

/// The contents of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventContents {
    /// The most urgent class of the items.
    pub class: Class,
    /// The items in the order of the body; at least one.
    pub items: Vec<Item>,
    /// The conversations of the event, without repeats; at least one.
    pub lanes: BTreeSet<String>,
    /// The fields of Meta's `changes`; empty for other forms.
    pub fields: BTreeSet<String>,
    /// The ids of the business's numbers.
    pub senders: BTreeSet<String>,
    /// The earliest time of an item, in seconds since 1970, where the provider tells.
    pub time: Option<u64>,
    /// True if an unreadable part may name further fields or numbers: no filter may leave the event
    /// out.
    pub is_partial: bool,
}

impl EventContents {
    /// Reads a body. A body in a form of no Cloud API is a single item and stands in a single lane.
    #[must_use]
    pub fn read(body: &[u8]) -> Self {
        Self::read_strictly(body).unwrap_or_else(|| Self::read_tolerantly(body))
    }

    /// Reads an event of which every part has the expected form, and every item an id: nearly every
    /// event. Returns `None` for any other body. One pass over the body, where the tolerant way has
    /// one for each level of the form.
    fn read_strictly(body: &[u8]) -> Option<Self> {
        let event = parsed_strictly(body)?;
        let mut contents = Self::empty();
        for entry in event.entry.elements {
            if !entry.changes.is_whole {
                return None;
            }
            for StrictChange { field, value } in entry.changes.elements {
                let is_whole = contents.add_value(&entry.id, &field, value?.tolerant());
                if !is_whole || contents.is_partial {
                    return None;
                }
            }
        }
        let is_whole = event.entry.is_whole && !contents.items.is_empty();
        is_whole.then_some(contents)
    }

    fn read_tolerantly(body: &[u8]) -> Self {
        let mut contents = Self::empty();
        let entries = parsed(body).map(|event| event.entry);
        let mut is_whole = entries.as_ref().is_some_and(|entries| entries.is_whole);
        for entry in entries.iter().flat_map(|entries| &entries.elements) {
            is_whole &= entry.changes.is_whole;
            for change in &entry.changes.elements {
                contents.add_change(&entry.id, change);
            }
        }
        contents.is_partial |= !is_whole;
        if contents.items.is_empty() || !is_whole {
            contents.add(Item::hashed("body", &[body]), "body");
        }
        contents
    }

    fn empty() -> Self {
        Self {
            class: Class::Other,
            items: Vec::new(),
            lanes: BTreeSet::new(),
            fields: BTreeSet::new(),
            senders: BTreeSet::new(),
            time: None,
            is_partial: false,
        }
    }

    /// True if the body as a whole is the only item, because the body is not in the Cloud API's
    /// form.
    pub(super) fn is_by_body(&self) -> bool {
        self.fields.is_empty()
    }

    fn add_change(&mut self, account: &str, change: &ItemChange<'_>) {
        let read = change.read();
        let is_read = read.is_some();
        self.is_partial |= !is_read;
        let value = read.unwrap_or_default();
        let sender = value.number().filter(|number| !number.is_empty());
        let is_whole = self.add_value(account, &change.field, value);
        // An item without an id has the bytes of the change in the place of the id, and the lane of
        // the field.
        if !is_read || !is_whole {
            let text = change.value.map_or("null", RawValue::get);
            let field = change.field.as_bytes();
            let item = Item::hashed("change", &[account.as_bytes(), field, text.as_bytes()]);
            let owner = sender.as_deref().unwrap_or(account);
            self.add(item, &format!("{owner}\n\n{}", &*change.field));
        }
    }

    /// Adds the items of a change. Returns false for a change without items, or with one that has
    /// no id or another form.
    fn add_value(&mut self, account: &str, field: &str, value: ItemValue<'_>) -> bool {
        let number = value.number();
        let is_unnamed = number.as_deref() == Some("");
        self.is_partial |= is_unnamed || field.is_empty();
        let sender = number.filter(|_| !is_unnamed);
        self.fields.insert(field.to_owned());
        self.senders.extend(sender.clone());
        let before = self.items.len();
        let mut is_whole = true;
        let lists = [
            (value.messages, Class::Message, true),
            (value.message_echoes, Class::Message, false),
            (value.statuses, Class::Status, false),
        ];
        for (list, class, is_received) in lists {
            is_whole &= list.is_whole;
            for update in &list.elements {
                if update.id.is_empty() {
                    is_whole = false;
                    continue;
                }
                let mut item = Item::of(update, class, sender.as_deref());
                item.is_received = is_received;
                let user = item.users.first().map_or("", String::as_str);
                let lane = format!("{}\n{user}", sender.as_deref().unwrap_or(account));
                self.add(item, &lane);
            }
        }
        is_whole && self.items.len() > before
    }

    fn add(&mut self, item: Item, lane: &str) {
        self.class = self.class.min(item.class);
        self.time = self.time.into_iter().chain(item.time).min();
        if !self.lanes.contains(lane) {
            self.lanes.insert(lane.to_owned());
        }
        self.items.push(item);
    }
}

#[cfg(test)]
mod tests {
    use super::super::cloud_event::MAX_OBJECTS;
    use super::*;

    fn change(field: &str, value: &str) -> String {
        format!(r#"{{"field":"{field}","value":{value}}}"#)
    }

    fn body(changes: &[String]) -> String {
        let changes = changes.join(",");
        format!(
            r#"{{"object":"whatsapp_business_account","entry":[{{"id":"102290129340398","changes":[{changes}]}}]}}"#
        )
    }

    const NUMBER: &str = r#""messaging_product":"whatsapp","metadata":{"display_phone_number":"15550783881","phone_number_id":"106540352242922"}"#;

    fn message(id: &str, from: &str) -> String {
        change(
            "messages",
            &format!(
                r#"{{{NUMBER},"messages":[{{"from":"{from}","id":"{id}","timestamp":"1749416383","type":"text","text":{{"body":"caf\u00e9 \/"}}}}]}}"#
            ),
        )
    }

    fn status(id: &str, status: &str, to: &str) -> String {
        change(
            "messages",
            &format!(
                r#"{{{NUMBER},"statuses":[{{"id":"{id}","status":"{status}","timestamp":"1749416390","recipient_id":"{to}"}}]}}"#
            ),
        )
    }

    /// Asserts the class, the beginnings of the items' keys, and the lanes of a body.
    #[track_caller]
    fn assert_contents(changes: &[String], class: Class, keys: &[&str], lanes: &[&str]) {
        let contents = EventContents::read(body(changes).as_bytes());
        assert_eq!(contents.class, class);
        let found: Vec<_> = contents.lanes.iter().map(String::as_str).collect();
        assert_eq!(found, lanes);
        assert_eq!(contents.items.len(), keys.len());
        for (item, key) in contents.items.iter().zip(keys) {
            assert!(item.key.starts_with(key), "{}", item.key);
        }
    }

    #[test]
    fn messages_and_statuses_have_their_ids_and_the_lane_of_the_person() {
        let lane = "106540352242922\n16505551234";
        let one = [message("wamid.A", "16505551234")];
        assert_contents(&one, Class::Message, &["message\nwamid.A"], &[lane]);
        let read = [status("wamid.B", "read", "16505551234")];
        let key = "status\nwamid.B\nread\n16505551234\n";
        assert_contents(&read, Class::Status, &[key], &[lane]);
        let echo = change(
            "smb_message_echoes",
            &format!(
                r#"{{{NUMBER},"message_echoes":[{{"from":"15550783881","to":"16505551234","id":"wamid.E","timestamp":"1"}}]}}"#
            ),
        );
        assert_contents(
            std::slice::from_ref(&echo),
            Class::Message,
            &["message\nwamid.E"],
            &[lane],
        );
        let received = |change: &String| {
            let contents = EventContents::read(body(std::slice::from_ref(change)).as_bytes());
            (contents.items[0].id.clone(), contents.items[0].is_received)
        };
        assert_eq!(received(&one[0]), ("wamid.A".to_owned(), true));
        assert_eq!(received(&echo), ("wamid.E".to_owned(), false));
        assert_eq!(received(&read[0]), ("wamid.B".to_owned(), false));
        let username = change(
            "messages",
            &format!(r#"{{{NUMBER},"messages":[{{"id":"wamid.U","from_user_id":"US.1"}}]}}"#),
        );
        let lane = "106540352242922\nUS.1";
        assert_contents(&[username], Class::Message, &["message\nwamid.U"], &[lane]);
    }

    #[test]
    fn a_batch_has_its_most_urgent_class_and_all_lanes() {
        let batch = [
            status("wamid.B", "sent", "2"),
            message("wamid.A", "1"),
            message("wamid.C", "1"),
        ];
        let keys = [
            "status\nwamid.B\nsent\n2\n",
            "message\nwamid.A",
            "message\nwamid.C",
        ];
        let lanes = ["106540352242922\n1", "106540352242922\n2"];
        assert_contents(&batch, Class::Message, &keys, &lanes);
    }

    #[test]
    fn other_fields_are_told_by_their_bytes_and_have_a_lane_each() {
        let quality = [change(
            "phone_number_quality_update",
            r#"{"event":"FLAGGED"}"#,
        )];
        let lane = "102290129340398\n\nphone_number_quality_update";
        assert_contents(&quality, Class::Other, &["change\n"], &[lane]);
        assert_contents(&[], Class::Other, &["body\n"], &["body"]);
    }

    #[test]
    fn equal_contents_have_equal_keys_and_others_do_not() {
        let key = |field: &str, value: &str| {
            EventContents::read(body(&[change(field, value)]).as_bytes()).items[0]
                .key
                .clone()
        };
        assert_eq!(key("security", r#"{"a":1}"#), key("security", r#"{"a":1}"#));
        assert_ne!(key("security", r#"{"a":1}"#), key("security", r#"{"a":2}"#));
        assert_ne!(key("security", r#"{"a":1}"#), key("flows", r#"{"a":1}"#));
    }

    #[test]
    fn filters_and_lag_find_fields_numbers_and_the_earliest_time() {
        let contents = EventContents::read(
            body(&[status("wamid.B", "sent", "2"), message("wamid.A", "1")]).as_bytes(),
        );
        assert_eq!(contents.time, Some(1_749_416_383));
        assert!(contents.fields.contains("messages"));
        assert!(contents.senders.contains("106540352242922"));
        assert_eq!(contents.items[1].users, ["1"]);
    }

    const SENDER: &str = "106540352242922";

    /// Asserts the kinds of the items, the time, and a known sender.
    #[track_caller]
    fn assert_read(value: &str, kinds: &[&str], time: Option<u64>) {
        let text = body(&[change("messages", &format!("{{{NUMBER},{value}}}"))]);
        let contents = EventContents::read(text.as_bytes());
        let found: Vec<_> = contents.items.iter().map(|item| &*item.key).collect();
        let found: Vec<_> = found
            .iter()
            .map(|key| key.rsplit_once('\n').map_or(*key, |(kind, _)| kind))
            .collect();
        assert_eq!(found, kinds, "{value}");
        assert_eq!(contents.time, time, "{value}");
        assert!(contents.senders.contains(SENDER), "{value}");
        assert!(!contents.is_partial, "{value}");
    }

    #[test]
    fn an_odd_item_leaves_the_others_and_the_sender() {
        let time = Some(1_749_416_383);
        for (value, kinds, time) in [
            (
                r#""messages":[{"id":"a","from":"1","timestamp":1749416383}]"#,
                &["message"][..],
                time,
            ),
            (
                r#""messages":[{"id":"a","from":null,"from_user_id":"US.1","timestamp":"1749416383"}]"#,
                &["message"],
                time,
            ),
            (
                r#""messages":[{"id":"a","from":"1"}],"statuses":null"#,
                &["message"],
                None,
            ),
            (
                r#""messages":[{"id":"a","from":"1"},{"id":"b","from":"1","timestamp":1749416383}]"#,
                &["message", "message"],
                time,
            ),
            // An item without an id has the bytes of the change in the place of the id: beside a
            // known item, the event is new.
            (
                r#""messages":[{"id":"a","from":"1"},5]"#,
                &["message", "change"],
                None,
            ),
            (
                r#""messages":[{"id":"a","from":"1"},{"from":"2"}]"#,
                &["message", "change"],
                None,
            ),
            (
                r#""messages":[{"id":"a","from":"1"}],"statuses":{}"#,
                &["message", "change"],
                None,
            ),
            (r#""messages":"x""#, &["change"], None),
        ] {
            assert_read(value, kinds, time);
        }
    }

    #[test]
    fn a_body_of_which_a_part_cannot_be_read_is_partial_and_no_other_is() {
        let braces = "{".repeat(4096);
        let texts: Vec<_> = (0..9)
            .map(|n| message(&format!("{n}{braces}"), "1"))
            .collect();
        let odd = |text: &str| format!(r#"{{"entry":[{{"id":"1","changes":[{text}]}}]}}"#);
        let many = format!(r#"{{"entry":[{}{{}}]}}"#, "{},".repeat(MAX_OBJECTS));
        let whole = message("a", "1");
        for (text, is_partial) in [
            (body(&texts), false),
            (format!("\u{feff}{}", body(&texts)), false),
            (odd(&whole).replace(r#""id":"1""#, r#""id":1"#), false),
            (odd(r#"{"field":"flows","value":{"event":"x"}}"#), false),
            (odd(r#"{"field":"flows","value":null}"#), false),
            (odd(r#"{"field":"flows"}"#), false),
            ("From=whatsapp%3A%2B1&Body=a".to_owned(), false),
            (r#"{"entry":null}"#.to_owned(), false),
            (odd(&format!(r#"{whole},{{"field":null}}"#)), true),
            (odd(&format!("{whole},5")), true),
            (odd(r#"{"field":"flows","value":"x"}"#), true),
            (odd(r#"{"field":"messages","value":{"metadata":5}}"#), true),
            (odd(r#"{"field":"messages","value":{"metadata":{}}}"#), true),
            (r#"{"entry":5}"#.to_owned(), true),
            (r#"{"entry":[5]}"#.to_owned(), true),
            (odd(&whole).replace("]}]}", ""), true),
            (many, true),
        ] {
            let contents = EventContents::read(text.as_bytes());
            assert_eq!(contents.is_partial, is_partial, "{text:.200}");
            assert!(!contents.items.is_empty(), "{text:.200}");
        }
    }

    #[test]
    fn a_strict_reader_finds_nothing_or_what_the_tolerant_reader_finds() {
        let whole = message("a", "1");
        let with =
            |from: &str, to: &str| body(&[whole.replace(from, to), status("b", "sent", "2")]);
        for (text, is_strict) in [
            (body(std::slice::from_ref(&whole)), true),
            (
                body(&[whole.clone(), status("b", "read", "2"), message("c", "1")]),
                true,
            ),
            (
                format!("\u{feff} {}", body(std::slice::from_ref(&whole))),
                true,
            ),
            (
                with(r#""timestamp":"1749416383""#, r#""timestamp":1749416383"#),
                true,
            ),
            (with(r#""messages":["#, r#""messages":[null,"#), true),
            (
                with(r#""text":{"#, r#""other":[[5]],"statuses":null,"text":{"#),
                true,
            ),
            (with(NUMBER, r#""x":1"#), true),
            (with(r#""messages":["#, r#""messages":[5,"#), false),
            (with(r#""messages":["#, r#""messages":[[],"#), false),
            (with(r#""id":"a","#, ""), false),
            (with(r#""id":"a","#, r#""id":"a","id":"x","#), false),
            (with(r#""id":"a","#, r#""id":"\ud800","#), false),
            (with(r#""field":"messages""#, r#""field":5"#), true),
            (with(r#""field":"messages""#, r#""field":null"#), false),
            (with("106540352242922", ""), false),
            (
                body(&[whole.clone(), change("flows", r#"{"event":"x"}"#)]),
                false,
            ),
            (body(&[whole.clone(), change("flows", "null")]), false),
            (body(&[]), false),
            (
                body(std::slice::from_ref(&whole)).replace(
                    r#""entry":["#,
                    r#""entry":[{"id":"9","changes":{"field":"x"}},"#,
                ),
                false,
            ),
            (r#"{"entry":5}"#.to_owned(), false),
            ("[]".to_owned(), false),
            (String::new(), false),
        ] {
            let strict = EventContents::read_strictly(text.as_bytes());
            assert_eq!(strict.is_some(), is_strict, "{text}");
            let tolerant = EventContents::read_tolerantly(text.as_bytes());
            assert!(strict.is_none_or(|strict| strict == tolerant), "{text}");
        }
        let odd = body(&[whole.replace("caf", "\u{fffd}")]).into_bytes();
        let not_utf_8 = odd
            .iter()
            .map(|byte| if *byte == 0xbf { 0xff } else { *byte });
        let not_utf_8: Vec<_> = not_utf_8.collect();
        assert!(EventContents::read_strictly(&not_utf_8).is_none());
    }

    #[test]
    fn a_body_in_another_form_is_one_item() {
        let many = format!(r#"{{"entry":[{}{{}}]}}"#, "{},".repeat(MAX_OBJECTS));
        for text in [
            "",
            "x",
            "[]",
            "{}",
            r#"{"entry":5}"#,
            "From=whatsapp%3A%2B1&Body=a",
            &many,
        ] {
            let contents = EventContents::read(text.as_bytes());
            assert_eq!(contents.items.len(), 1, "{text:.40}");
            assert!(contents.items[0].key.starts_with("body\n"));
        }
    }

    #[test]
    fn a_batch_of_a_thousand_updates_has_a_thousand_items() {
        let changes: Vec<_> = (0..1000)
            .map(|n| status(&format!("wamid.{n}"), "read", "1"))
            .collect();
        let contents = EventContents::read(body(&changes).as_bytes());
        assert_eq!(contents.items.len(), 1000);
        assert_eq!(contents.lanes.len(), 1);
    }
}
