//! Changes to a JSON object that leave every byte of the other values as it was.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A JSON object whose values were not looked into.
#[derive(Debug)]
pub struct RawObject<'a> {
    fields: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> RawObject<'a> {
    /// Reads an object; `None` where the text is something else.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let Fields(fields) = serde_json::from_str(text).ok()?;
        Some(Self { fields })
    }

    /// The text of a field's value.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(key, _)| key == name).map(|(_, value)| &**value)
    }

    /// The names of its fields, decoded, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|(name, _)| &**name)
    }

    /// Keeps the fields whose names `stays` likes.
    pub fn retain(&mut self, stays: impl Fn(&str) -> bool) {
        self.fields.retain(|(name, _)| stays(name));
    }

    /// Puts a field's value in the place of all that have its name, or at the end.
    pub fn set(&mut self, name: &str, value: String) {
        let mut value = Some(Cow::Owned(value));
        self.fields.retain_mut(|(key, old)| match (key == name, value.take()) {
            (true, Some(new)) => {
                *old = new;
                true
            }
            (is_it, kept) => {
                value = kept;
                !is_it
            }
        });
        self.fields.extend(value.map(|value| (Cow::Owned(name.to_owned()), value)));
    }

    /// Puts a string where a path of keys leads, making objects on the way. False where something
    /// that is not an object is in the way.
    #[must_use]
    pub fn set_string_at(&mut self, path: &[String], value: &str) -> bool {
        let Some((first, rest)) = path.split_first() else { return false };
        if rest.is_empty() {
            self.set(first, quoted(value));
            return true;
        }
        let inner = self.get(first).unwrap_or("{}").to_owned();
        let Some(mut object) = RawObject::parse(&inner) else { return false };
        let done = object.set_string_at(rest, value);
        let text = object.to_string();
        self.set(first, text);
        done
    }
}

/// Whether a field may have one of these names, in any case: false for nearly every body, at a fraction
/// of the cost of reading it. A name begins after a quotation mark, and only `\u` hides a letter of it.
pub fn may_name<'n>(text: &str, names: &(impl Iterator<Item = &'n str> + Clone)) -> bool {
    let bytes = text.as_bytes();
    let is_one = |rest: &[u8]| {
        names.clone().any(|name| rest.get(..name.len()).is_some_and(|word| word.eq_ignore_ascii_case(name.as_bytes())))
    };
    let initials = names.clone().filter_map(|name| name.bytes().next()).fold(0_u128, |set, initial| {
        set | 1_u128.checked_shl(initial.to_ascii_lowercase().into()).unwrap_or(u128::MAX)
    });
    let may_begin =
        |byte: &u8| 1_u128.checked_shl(byte.to_ascii_lowercase().into()).is_some_and(|bit| initials & bit != 0);
    let begins = |at: usize| {
        let rest = bytes.get(at + 1..).unwrap_or_default();
        rest.first().is_some_and(may_begin) && is_one(rest)
    };
    let hidden = memchr::memmem::find(bytes, b"\\u").is_some();
    hidden || bytes.iter().enumerate().any(|(at, byte)| *byte == b'"' && begins(at))
}

/// A string as JSON writes it.
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

/// The string or number to which a path of keys leads, without building the rest.
#[must_use]
pub fn text_at<'t>(text: &'t str, path: &[String]) -> Option<Cow<'t, str>> {
    let (first, rest) = path.split_first()?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let raw = deserializer.deserialize_map(Find(first)).ok()??;
    if !rest.is_empty() {
        return text_at(raw.get(), rest);
    }
    let value = raw.get();
    if value.starts_with('"') {
        // Borrowed where nothing in it is escaped.
        return serde_json::from_str::<&str>(value).map(Cow::Borrowed).or_else(|_| serde_json::from_str(value)).ok();
    }
    value.starts_with(|first: char| first.is_ascii_digit()).then_some(Cow::Borrowed(value))
}

/// Every string and number to which a path of keys could be taken to lead: where a key is there twice, or in another case,
/// readers differ. `*` is each element of an array. What is no JSON has none.
#[must_use]
pub fn texts_at(text: &str, path: &[String]) -> Vec<String> {
    let text = text.trim_start_matches('\u{feff}');
    let Some((first, rest)) = path.split_first() else {
        return match serde_json::from_str(text) {
            Ok(serde_json::Value::String(text)) => vec![text],
            Ok(serde_json::Value::Number(number)) => vec![number.to_string()],
            _ => Vec::new(),
        };
    };
    if first == "*" {
        let elements: Vec<&RawValue> = serde_json::from_str(text).unwrap_or_default();
        return elements.iter().flat_map(|element| texts_at(element.get(), rest)).collect();
    }
    let Ok(Fields(fields)) = serde_json::from_str(text) else { return Vec::new() };
    let named = fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case(first));
    named.flat_map(|(_, value)| texts_at(value, rest)).collect()
}

/// The last field of this name, as most readers take it.
struct Find<'n>(&'n str);

impl<'de> Visitor<'de> for Find<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            match name == self.0 {
                true => found = Some(map.next_value()?),
                false => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }
}

struct Fields<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor).map(Fields)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Vec<(Cow<'de, str>, Cow<'de, str>)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::new();
        while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
            fields.push((Cow::Owned(name), Cow::Borrowed(value.get())));
        }
        Ok(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_seen_in_any_form() {
        let may = |text| may_name(text, &["ids", "method"].into_iter());
        for text in
            [r#"{"ids":1}"#, r#"{"a":"b", "METHOD" :1}"#, r#"{"\u0069ds":1}"#, r#"{"a":"ids"}"#, r#"{"idsx":1}"#]
        {
            assert!(may(text), "{text}");
        }
        for text in ["", "{}", r#"{"a":"of ids"}"#, r#"{"id":"x\n\"y"}"#, r#"{"a":"#] {
            assert!(!may(text), "{text}");
        }
    }

    #[test]
    fn a_text_is_found_where_a_path_leads() {
        let text = r#"{"a":{"to":"x"},"to":"+1 5\u0035","n":155,"to ":"y","list":["z"],"nothing":null}"#;
        let at = |path: &[&str]| text_at(text, &path.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>());
        assert_eq!(at(&["to"]).as_deref(), Some("+1 55"));
        assert_eq!(at(&["a", "to"]).as_deref(), Some("x"));
        assert_eq!(at(&["n"]).as_deref(), Some("155"));
        for path in [&["list"][..], &["nothing"], &["missing"], &["to", "x"], &["a"], &[]] {
            assert_eq!(at(path), None, "{path:?}");
        }
        assert_eq!(text_at(r#"{"to":"1","to":"2"}"#, &["to".to_owned()]).as_deref(), Some("2"));
        assert_eq!(text_at("[", &["to".to_owned()]), None);
    }

    #[test]
    fn all_that_a_path_could_lead_to_is_found() {
        let at =
            |text: &str, path: &[&str]| texts_at(text, &path.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>());
        assert_eq!(at(r#"{"from":"a"}"#, &["from"]), ["a"]);
        assert_eq!(at(r#"{"from":"a","From":"b","fr\u006fm":3}"#, &["from"]), ["a", "b", "3"]);
        assert_eq!(at(r#"{"m":[{"from":"a"},{"from":"b"},{}]}"#, &["m", "*", "from"]), ["a", "b"]);
        assert_eq!(at(r#"{"m":{"from":"a"},"m":[{"from":"b"}]}"#, &["m", "*", "from"]), ["b"]);
        assert_eq!(at("\u{feff}{\"from\":\"a\"}", &["from"]), ["a"]);
        for text in ["", "{", "[]", r#"{"from":null}"#, r#"{"from":["a"]}"#, r#"{"from":{"a":"b"}}"#] {
            assert_eq!(at(text, &["from"]), [""; 0], "{text}");
        }
    }

    #[test]
    fn other_values_keep_every_byte() {
        let text = r#"{ "a" : 1.10e5 , "b":"\u00e9\/" , "key":"theirs", "c":[1, 2], "key":2}"#;
        let mut object = RawObject::parse(text).unwrap();
        object.set("key", quoted("ours"));
        assert_eq!(object.to_string(), r#"{"a":1.10e5,"b":"\u00e9\/","key":"ours","c":[1, 2]}"#);
    }

    #[test]
    fn a_path_makes_what_is_missing_and_stops_at_what_is_no_object() {
        let path = ["a".to_owned(), "b".to_owned()];
        for (text, expected) in [("{}", r#"{"a":{"b":"x"}}"#), (r#"{"a":{"c":1}}"#, r#"{"a":{"c":1,"b":"x"}}"#)] {
            let mut object = RawObject::parse(text).unwrap();
            assert!(object.set_string_at(&path, "x"));
            assert_eq!(object.to_string(), expected);
        }
        assert!(!RawObject::parse(r#"{"a":[]}"#).unwrap().set_string_at(&path, "x"));
        assert!(RawObject::parse("[1]").is_none());
        assert!(RawObject::parse("{").is_none());
    }
}
