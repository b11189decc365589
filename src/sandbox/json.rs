//! JSON the way Graph writes it: keys in the recorded order, ASCII only, `/` and a few others escaped.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

/// A JSON value whose objects keep the order in which they were written down.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Json {
    /// A string.
    Text(String),
    /// An integer.
    Int(i64),
    /// `true` or `false`.
    Bool(bool),
    /// An array.
    List(Vec<Json>),
    /// An object, in order.
    Object(Vec<(Cow<'static, str>, Json)>),
    /// What a caller sent and gets back.
    Any(serde_json::Value),
}

/// An object of these entries, in this order.
pub(super) fn object<const N: usize>(entries: [(&'static str, Json); N]) -> Json {
    let entries = entries.into_iter().map(|(key, value)| (Cow::Borrowed(key), value));
    Json::Object(entries.collect())
}

/// `{"success":true}`.
pub(super) fn success() -> Json {
    object([("success", Json::Bool(true))])
}

impl Json {
    /// Adds an entry at the end of an object; other values stay as they are.
    pub(super) fn with(mut self, key: impl Into<Cow<'static, str>>, value: impl Into<Json>) -> Json {
        if let Json::Object(entries) = &mut self {
            entries.push((key.into(), value.into()));
        }
        self
    }

    /// The entries of an object that were asked for by `fields`, in the caller's order.
    pub(super) fn only(self, fields: &[&str]) -> Json {
        let Json::Object(entries) = self else {
            return self;
        };
        let wanted = fields.iter().filter_map(|field| entries.iter().find(|(key, _)| key == field));
        Json::Object(wanted.cloned().collect())
    }

    /// Plain JSON, for the control endpoints.
    pub(super) fn plain(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// JSON as it comes from Graph.
    pub(super) fn graph(&self) -> String {
        escape(&self.plain())
    }
}

/// Structure is ASCII and holds none of the escaped characters, so this touches the inside of strings alone.
fn escape(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len() + json.len() / 8);
    let mut units = [0_u16; 2];
    for character in json.chars() {
        match character {
            '/' => escaped.push_str("\\/"),
            '<' => escaped.push_str("\\u003C"),
            '%' => escaped.push_str("\\u0025"),
            '@' => escaped.push_str("\\u0040"),
            ascii if ascii.is_ascii() => escaped.push(ascii),
            other => {
                for unit in other.encode_utf16(&mut units) {
                    // Writing to a String cannot fail.
                    if write!(escaped, "\\u{unit:04x}").is_err() {
                        return escaped;
                    }
                }
            }
        }
    }
    escaped
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Json::Text(text) => serializer.serialize_str(text),
            Json::Int(number) => serializer.serialize_i64(*number),
            Json::Bool(bool) => serializer.serialize_bool(*bool),
            Json::Any(value) => value.serialize(serializer),
            Json::List(values) => {
                let mut list = serializer.serialize_seq(Some(values.len()))?;
                values.iter().try_for_each(|value| list.serialize_element(value))?;
                list.end()
            }
            Json::Object(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                entries.iter().try_for_each(|(key, value)| map.serialize_entry(key, value))?;
                map.end()
            }
        }
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Json {
        Json::Text(text.to_owned())
    }
}

impl From<String> for Json {
    fn from(text: String) -> Json {
        Json::Text(text)
    }
}

impl From<bool> for Json {
    fn from(bool: bool) -> Json {
        Json::Bool(bool)
    }
}

impl From<i64> for Json {
    fn from(number: i64) -> Json {
        Json::Int(number)
    }
}

impl From<u64> for Json {
    fn from(number: u64) -> Json {
        Json::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<Vec<Json>> for Json {
    fn from(values: Vec<Json>) -> Json {
        Json::List(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_the_order_in_which_they_were_written() {
        let json = object([("url", "https://x/".into()), ("file_size", 3_i64.into()), ("id", "1".into())]);
        assert_eq!(json.graph(), r#"{"url":"https:\/\/x\/","file_size":3,"id":"1"}"#);
    }

    #[test]
    fn what_graph_escapes_is_escaped() {
        let json = object([("body", "café a@b.co 50% </x> 😀".into())]);
        assert_eq!(json.graph(), r#"{"body":"caf\u00e9 a\u0040b.co 50\u0025 \u003C\/x> \ud83d\ude00"}"#);
    }

    #[test]
    fn an_escaped_answer_means_the_same() {
        let text = "café a@b.co 50% </x> 😀 \" \\ \n";
        let read: serde_json::Value = serde_json::from_str(&Json::from(text).graph()).unwrap();
        assert_eq!(read, serde_json::Value::String(text.to_owned()));
    }

    #[test]
    fn fields_come_in_the_order_asked_for() {
        let json = object([("a", 1_i64.into()), ("b", 2_i64.into()), ("c", 3_i64.into())]);
        assert_eq!(json.only(&["c", "x", "a"]).plain(), r#"{"c":3,"a":1}"#);
    }
}
