//! Reading and changing single values of JSON text; all other values keep every byte.

use std::borrow::Cow;
use std::fmt;

use serde::de::Deserializer;
use serde_json::value::RawValue;

use crate::query::is_read_as_one_of;

pub mod lenient;
mod texts;
mod visitors;
pub mod words;

pub use texts::{
    NotText, add_texts_at, empties_text_at, lacks_text_at, lacks_text_in, may_have_value_at,
};
use visitors::{Fields, LastNamed, WantedVisitor};

/// A JSON object with values as unparsed text.
#[derive(Debug)]
pub struct RawObject<'a> {
    fields: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> RawObject<'a> {
    /// Parses an object; returns `None` for any other text.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let Fields(fields) = serde_json::from_str(text).ok()?;
        Some(Self { fields })
    }

    /// Returns the text of a field's value.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| &**value)
    }

    /// Returns the decoded names of all fields in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|(name, _)| &**name)
    }

    /// Removes all fields except those accepted by `keep`.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.fields.retain(|(name, _)| keep(name));
    }

    /// Sets the value of a field: at the place of the first field with the name, removing all
    /// further fields with the name, or at the end.
    pub fn set(&mut self, name: &str, value: String) {
        let first = self.fields.iter().position(|(key, _)| key == name);
        let mut position = 0;
        self.fields.retain(|(key, _)| {
            let stays = key != name || first == Some(position);
            position += 1;
            stays
        });
        // No field before the first one was removed, so the position still holds.
        match first.and_then(|first| self.fields.get_mut(first)) {
            Some((_, old)) => *old = Cow::Owned(value),
            None => self
                .fields
                .push((Cow::Owned(name.to_owned()), Cow::Owned(value))),
        }
    }

    /// Sets a string at the end of a path of keys, and creates missing objects along the path. At
    /// the end, a field that a reader could take for the key, such as a key in another case, is
    /// removed. On the way, such a field is the object that is meant, and gets the name of the
    /// path. Returns false if the path meets a value other than an object, or several objects that
    /// could be meant.
    #[must_use]
    pub fn set_string_at(&mut self, path: &[String], value: &str) -> bool {
        let Some((first, rest)) = path.split_first() else {
            return false;
        };
        if rest.is_empty() {
            self.fields
                .retain(|(key, _)| key == first || !is_read_as_one_of(key, &[first]));
            self.set(first, quoted(value));
            return true;
        }
        let is_meant = |key: &str| key == first || is_read_as_one_of(key, &[first]);
        let mut meant = self.fields.iter_mut().filter(|(key, _)| is_meant(key));
        match (meant.next(), meant.next()) {
            (Some((key, _)), None) => *key = Cow::Owned(first.clone()),
            (None, _) => {}
            (Some(_), Some(_)) => return false,
        }
        let inner = self.get(first).unwrap_or("{}").to_owned();
        let Some(mut object) = RawObject::parse(&inner) else {
            return false;
        };
        let done = object.set_string_at(rest, value);
        let text = object.to_string();
        self.set(first, text);
        done
    }

    /// Removes every field that a reader could take for the end of a path of keys. Returns true if
    /// there was such a field.
    #[must_use]
    pub fn remove_at(&mut self, path: &[String]) -> bool {
        let Some((first, rest)) = path.split_first() else {
            return false;
        };
        let is_meant = |key: &str| key == first || is_read_as_one_of(key, &[first]);
        if rest.is_empty() {
            let before = self.fields.len();
            self.fields.retain(|(key, _)| !is_meant(key));
            return self.fields.len() < before;
        }
        let mut is_changed = false;
        for (_, value) in self.fields.iter_mut().filter(|(key, _)| is_meant(key)) {
            let inner = value.clone().into_owned();
            if let Some(mut object) = RawObject::parse(&inner)
                && object.remove_at(rest)
            {
                *value = Cow::Owned(object.to_string());
                is_changed = true;
            }
        }
        is_changed
    }
}

/// Reads a text that is exactly one JSON object, and returns the fields whose decoded names
/// `is_wanted` accepts, in order; `None` for any other text. One pass; values are checked, and not
/// unpacked.
pub fn fields_of<'t>(
    text: &'t str,
    is_wanted: impl FnMut(&str) -> bool,
) -> Option<Vec<(Cow<'t, str>, &'t str)>> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let fields = deserializer
        .deserialize_map(WantedVisitor(is_wanted))
        .ok()?;
    deserializer.end().ok()?;
    Some(fields)
}

/// Returns the text of a JSON value with its escapes undone, for a look at the words in it; empty
/// for any other text.
#[must_use]
pub fn decoded(value: &str) -> String {
    serde_json::from_str::<serde_json::Value>(value)
        .map(|value| value.to_string())
        .unwrap_or_default()
}

/// Returns a string as JSON text, with quotation marks and escapes.
#[must_use]
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

impl fmt::Display for RawObject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (index, (name, value)) in self.fields.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{}:{value}", quoted(name))?;
        }
        f.write_str("}")
    }
}

/// Returns the string or number at the end of a path of keys, without parsing other values. Of
/// several fields with one name the last counts, as for most readers.
#[must_use]
pub fn text_at<'t>(text: &'t str, path: &[String]) -> Option<Cow<'t, str>> {
    let (first, rest) = path.split_first()?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let raw = deserializer.deserialize_map(LastNamed(first)).ok()??;
    if !rest.is_empty() {
        return text_at(raw.get(), rest);
    }
    scalar(raw.get())
}

/// Returns the texts at the ends of a path of keys, in order. `*` stands for each element of a
/// list; an element without a string or number at the rest of the path counts as `None`. Of several
/// fields with one name the last counts.
#[must_use]
pub fn texts_at<'t>(text: &'t str, path: &[String]) -> Vec<Option<Cow<'t, str>>> {
    let Some((first, rest)) = path.split_first() else {
        return vec![scalar(text)];
    };
    if first == "*" {
        let elements: Vec<&RawValue> = serde_json::from_str(text).unwrap_or_default();
        let elements = elements.into_iter();
        return elements
            .flat_map(|element| texts_at(element.get(), rest))
            .collect();
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let found = deserializer
        .deserialize_map(LastNamed(first))
        .ok()
        .flatten();
    match found {
        Some(raw) => texts_at(raw.get(), rest),
        None => vec![None],
    }
}

/// Returns the text of a value that is a string or a number.
#[must_use]
pub fn scalar(value: &str) -> Option<Cow<'_, str>> {
    if value.starts_with('"') {
        // A string without escapes is borrowed from the text.
        return serde_json::from_str::<&str>(value)
            .map(Cow::Borrowed)
            .or_else(|_| serde_json::from_str(value))
            .ok();
    }
    value
        .starts_with(|first: char| first.is_ascii_digit())
        .then_some(Cow::Borrowed(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_that_a_reader_takes_for_the_end_of_a_path_is_removed() {
        let path = ["a", "b"].map(str::to_owned);
        for (text, expected) in [
            (r#"{"a":{"b":1,"c": 2}}"#, Some(r#"{"a":{"c":2}}"#)),
            (
                r#"{"a":{"b":1},"A":{"\u0062":1}}"#,
                Some(r#"{"a":{},"A":{}}"#),
            ),
            (
                r#"{"x":1.0,"a":{"b":{"d":1}}}"#,
                Some(r#"{"x":1.0,"a":{}}"#),
            ),
            (r#"{"a":{"c":{"b":1}},"b":1}"#, None),
            (r#"{"a":[{"b":1}]}"#, None),
            (r#"{"a":"b"}"#, None),
            ("{}", None),
        ] {
            let mut object = RawObject::parse(text).unwrap();
            let is_removed = object.remove_at(&path);
            assert_eq!(is_removed, expected.is_some(), "{text}");
            assert_eq!(object.to_string(), expected.unwrap_or(text), "{text}");
        }
    }

    #[test]
    fn wanted_fields_of_exactly_one_object_are_found() {
        let of = |text: &'static str| {
            fields_of(text, |name| name.starts_with("to")).map(|fields| {
                fields
                    .iter()
                    .map(|(name, value)| format!("{name}={value}"))
                    .collect::<Vec<_>>()
            })
        };
        for (text, expected) in [
            ("{}", Some(&[][..])),
            (r#" {"to": "1" ,"x":{"to":2}} "#, Some(&[r#"to="1""#])),
            (
                r#"{"t\u006f":[1], "to":null, "\u0074o2":1.0}"#,
                Some(&["to=[1]", "to=null", "to2=1.0"]),
            ),
            (r#"{"x":"\ud800"}"#, Some(&[])),
            (r#"{"\ud800":"x"}"#, None),
            ("{}{}", None),
            ("{} x", None),
            ("[]", None),
            ("null", None),
            ("", None),
            (r#"{"to":1"#, None),
            (r#"{"to":01}"#, None),
            (r#"{'to':1}"#, None),
            (r#"{"to":1,}"#, None),
            ("\u{feff}{}", None),
        ] {
            let found = of(text);
            assert_eq!(
                found.as_deref(),
                expected
                    .map(|fields| fields.iter().map(|&f| f.to_owned()).collect::<Vec<_>>())
                    .as_deref(),
                "{text}"
            );
        }
    }

    #[test]
    fn a_string_or_number_is_found_at_the_end_of_a_path() {
        let text =
            r#"{"a":{"to":"x"},"to":"+1 5\u0035","n":155,"to ":"y","list":["z"],"nothing":null}"#;
        let at = |path: &[&str]| {
            text_at(
                text,
                &path.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>(),
            )
        };
        assert_eq!(at(&["to"]).as_deref(), Some("+1 55"));
        assert_eq!(at(&["a", "to"]).as_deref(), Some("x"));
        assert_eq!(at(&["n"]).as_deref(), Some("155"));
        for path in [
            &["list"][..],
            &["nothing"],
            &["missing"],
            &["to", "x"],
            &["a"],
            &[],
        ] {
            assert_eq!(at(path), None, "{path:?}");
        }
        assert_eq!(
            text_at(r#"{"to":"1","to":"2"}"#, &["to".to_owned()]).as_deref(),
            Some("2")
        );
        assert_eq!(text_at("[", &["to".to_owned()]), None);
    }

    /// The texts at a path of keys.
    fn texts_at(text: &str, path: &[&str]) -> Result<Vec<String>, NotText> {
        let path: Vec<_> = path.iter().map(|key| (*key).to_owned()).collect();
        let mut texts = Vec::new();
        add_texts_at(text, &path, &mut texts).map(|()| texts)
    }

    fn found(texts: &[&str]) -> Result<Vec<String>, NotText> {
        Ok(texts.iter().map(|&text| text.to_owned()).collect())
    }

    #[test]
    fn every_text_that_a_reader_could_find_is_found() {
        for (text, path, expected) in [
            (r#"{"from":"a"}"#, &["from"][..], found(&["a"])),
            (
                r#"{"from":"a","From":"b","fr\u006fm":3}"#,
                &["from"],
                found(&["a", "b", "3"]),
            ),
            (
                r#"{"m":[{"from":"a"},{"from":"b"},{}]}"#,
                &["m", "*", "from"],
                found(&["a", "b"]),
            ),
            (
                r#"{"m":{"0":{"from":"a"}},"m":[{"from":"b"}]}"#,
                &["m", "*", "from"],
                found(&["a", "b"]),
            ),
            (
                r#"{"from.x":"a","from[x]":"b"}"#,
                &["from_x"],
                found(&["a"]),
            ),
            (
                r#"{"from\u0000x":"a","from[]":"b"}"#,
                &["from"],
                found(&["a", "b"]),
            ),
            (r#"{"from":null}"#, &["from"], found(&[])),
            ("{}", &["from"], found(&[])),
            (r#"{"from":["a"]}"#, &["from"], Err(NotText)),
            (r#"{"from":{"a":"b"}}"#, &["from"], Err(NotText)),
            (r#"{"from":true}"#, &["from"], Err(NotText)),
            (r#"{"from":1.5}"#, &["from"], Err(NotText)),
            (r#"{"from":-1}"#, &["from"], Err(NotText)),
            (r#"{"from":1234567890123456}"#, &["from"], Err(NotText)),
            (r#"{"from":"\ud800"}"#, &["from"], Err(NotText)),
        ] {
            assert_eq!(texts_at(text, path), expected, "{text}");
        }
    }

    #[test]
    fn a_lone_object_is_read_as_the_element_of_a_list() {
        for (text, path, expected) in [
            (
                r#"{"m":{"from":"a","to":["b"],"x":{"from":"c"},"y":[{"from":"d"}]}}"#,
                &["m", "*", "from"][..],
                found(&["a", "c", "d"]),
            ),
            (r#"{"m":"a"}"#, &["m", "*"], found(&["a"])),
            (r#"{"m":{"0":"a"}}"#, &["m", "*"], found(&["a"])),
            (r#"{"m":null}"#, &["m", "*", "from"], found(&[])),
            (r#"{"m":[null,{}]}"#, &["m", "*", "from"], found(&[])),
            (r#"{"m":null}"#, &["m", "from"], found(&[])),
            (r#"{"m":"from"}"#, &["m", "*", "from"], Err(NotText)),
            (
                r#"{"m":[[{"from":"a"}]]}"#,
                &["m", "*", "from"],
                Err(NotText),
            ),
            (r#"{"m":[{"from":"a"}]}"#, &["m", "from"], Err(NotText)),
            (r#"{"m":1}"#, &["m", "from"], Err(NotText)),
            (r#"{"m":{"0":{}}}"#, &["m", "*"], Err(NotText)),
        ] {
            assert_eq!(texts_at(text, path), expected, "{text}");
        }
    }

    #[test]
    fn a_value_may_stand_where_some_reader_finds_one() {
        for (text, path, may) in [
            (r#"{"m":{"to":"1"}}"#, &["m", "to"][..], true),
            (r#"{"M":{"To":null}}"#, &["m", "to"], true),
            (r#"{"m":{"to":[]}}"#, &["m", "to"], true),
            (r#"{"m":{},"m":{"to":1}}"#, &["m", "to"], true),
            (r#"{"m":[{"to":"1"}]}"#, &["m", "to"], true),
            (r#"{"m":[{"id":1},{"to":"1"}]}"#, &["m", "*", "to"], true),
            (r#"{"m":{"status":"read"}}"#, &["m", "to"], false),
            (r#"{"m":null}"#, &["m", "to"], false),
            (r#"{"m":[]}"#, &["m", "*", "to"], false),
            (r#"{"to":"1"}"#, &["m", "to"], false),
        ] {
            let path: Vec<_> = path.iter().map(ToString::to_string).collect();
            assert_eq!(may_have_value_at(text, &path), may, "{text} {path:?}");
        }
    }

    #[test]
    fn a_value_that_empties_a_place_is_found_in_every_container() {
        for (text, path, empties) in [
            (r#"{"d":"1"}"#, &["d"][..], false),
            (r#"{"x":null}"#, &["d"], false),
            (r#"{"d":null}"#, &["d"], true),
            (r#"{"d":" "}"#, &["d"], true),
            (r#"{"d":"1","D":null}"#, &["d"], true),
            (r#"{"d":["1"]}"#, &["d", "*"], false),
            (r#"{"d":"1"}"#, &["d", "*"], false),
            (r#"{"d":[]}"#, &["d", "*"], true),
            (r#"{"d":{}}"#, &["d", "*"], true),
            (r#"{"d":null}"#, &["d", "*"], true),
            (r#"{"d":["1",null]}"#, &["d", "*"], true),
            (r#"{"d":{"e":"1"}}"#, &["d", "e"], false),
            (r#"{"d":{}}"#, &["d", "e"], false),
            (r#"{"d":null}"#, &["d", "e"], true),
        ] {
            let path: Vec<_> = path.iter().map(ToString::to_string).collect();
            assert_eq!(empties_text_at(text, &path), empties, "{text} {path:?}");
        }
    }

    #[test]
    fn an_element_without_the_text_is_found_in_every_container() {
        let path = ["m", "*", "channel"].map(str::to_owned);
        for (text, lacks) in [
            (r#"{"m":[{"channel":"a"}]}"#, false),
            (r#"{"m":{"channel":"a","to":["1"]}}"#, false),
            (r#"{"m":[]}"#, false),
            (r#"{"m":[{"channel":"a"},{}]}"#, true),
            (r#"{"m":[{"channel":null}]}"#, true),
            (r#"{"m":{"to":["1"]}}"#, true),
            (r#"{"m":{"0":{"channel":"a"}}}"#, true),
        ] {
            assert_eq!(lacks_text_at(text, &path), lacks, "{text}");
        }
    }

    #[test]
    fn other_values_keep_every_byte() {
        let text = r#"{ "a" : 1.10e5 , "b":"\u00e9\/" , "key":"theirs", "c":[1, 2], "key":2}"#;
        let mut object = RawObject::parse(text).unwrap();
        object.set("key", quoted("ours"));
        assert_eq!(
            object.to_string(),
            r#"{"a":1.10e5,"b":"\u00e9\/","key":"ours","c":[1, 2]}"#
        );
    }

    #[test]
    fn a_path_creates_missing_objects_and_stops_at_other_values() {
        let path = ["a".to_owned(), "b".to_owned()];
        for (text, expected) in [
            ("{}", r#"{"a":{"b":"x"}}"#),
            (r#"{"a":{"c":1}}"#, r#"{"a":{"c":1,"b":"x"}}"#),
            // A reader that takes `A` for `a` must not lose the value.
            (r#"{"A":{"c":1,"B":2}}"#, r#"{"a":{"c":1,"b":"x"}}"#),
        ] {
            let mut object = RawObject::parse(text).unwrap();
            assert!(object.set_string_at(&path, "x"));
            assert_eq!(object.to_string(), expected);
        }
        for text in [r#"{"a":[]}"#, r#"{"a":{},"A":{"c":1}}"#] {
            let mut object = RawObject::parse(text).unwrap();
            assert!(!object.set_string_at(&path, "x"), "{text}");
        }
        assert!(RawObject::parse("[1]").is_none());
        assert!(RawObject::parse("{").is_none());
    }
}
