//! JSON as Graph writes it: ASCII only, with `/` and a few other characters escaped; and parts of
//! objects.

use std::io;

use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{Formatter, Serializer};

/// An answer's body, in the spelling of Graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GraphJson(String);

impl GraphJson {
    /// Serializes a value; the keys of structs keep the order of their fields.
    pub(crate) fn new<T: Serialize + ?Sized>(value: &T) -> Self {
        let mut bytes = Vec::new();
        let mut serializer = Serializer::with_formatter(&mut bytes, GraphEscapes);
        // Serialization of the crate's own types into memory fails only for maps with keys that are
        // not text, and there are none.
        value.serialize(&mut serializer).ok();
        Self(String::from_utf8(bytes).unwrap_or_default())
    }

    /// Returns `{"success":true}`, Graph's answer to most changes.
    pub(crate) fn success() -> Self {
        Self(r#"{"success":true}"#.to_owned())
    }

    /// Returns the text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Converts the text to bytes.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0.into_bytes()
    }
}

/// Graph's escapes, on top of those that JSON demands.
struct GraphEscapes;

impl Formatter for GraphEscapes {
    fn write_string_fragment<W: io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut units = [0_u16; 2];
        for character in fragment.chars() {
            match character {
                '/' => writer.write_all(b"\\/")?,
                // Graph writes these three with hex digits in upper case, others in lower case.
                '<' => writer.write_all(b"\\u003C")?,
                '%' => writer.write_all(b"\\u0025")?,
                '@' => writer.write_all(b"\\u0040")?,
                ascii if ascii.is_ascii() => write!(writer, "{ascii}")?,
                other => {
                    for unit in other.encode_utf16(&mut units) {
                        write!(writer, "\\u{unit:04x}")?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// An object as a request wants to see it: whole, or only the fields that `fields` names.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Selected<T> {
    /// Every field.
    Whole(T),
    /// The named fields, in the order of the request.
    Part(Part),
}

impl<T: Serialize> Selected<T> {
    /// Selects the named fields and `always`; without names the object stays whole.
    pub(crate) fn new(object: T, names: Option<&[&str]>, always: &str) -> Self {
        match names {
            None => Self::Whole(object),
            Some(names) => {
                let missing = (!names.contains(&always)).then_some(always);
                let names = names.iter().copied().chain(missing);
                Self::Part(Part::new(&object, names))
            }
        }
    }
}

/// A selection of the fields of an object, in a chosen order.
pub(crate) struct Part(Vec<(String, Value)>);

impl Part {
    /// Takes the named fields out of an object; names that the object does not have are skipped.
    pub(crate) fn new<'a, T: Serialize>(
        object: &T,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let object = serde_json::to_value(object).unwrap_or_default();
        let field = |name: &str| Some((name.to_owned(), object.get(name)?.clone()));
        Self(names.into_iter().filter_map(field).collect())
    }
}

impl Serialize for Part {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_keep_the_order_of_the_fields() {
        #[derive(Serialize)]
        struct Media {
            url: &'static str,
            file_size: u64,
            id: &'static str,
        }
        let media = Media {
            url: "https://x/",
            file_size: 3,
            id: "1",
        };
        assert_eq!(
            GraphJson::new(&media).as_str(),
            r#"{"url":"https:\/\/x\/","file_size":3,"id":"1"}"#
        );
    }

    #[test]
    fn the_characters_that_graph_escapes_are_escaped() {
        let body = json!({"body": "café a@b.co 50% </x> 😀"});
        assert_eq!(
            GraphJson::new(&body).as_str(),
            r#"{"body":"caf\u00e9 a\u0040b.co 50\u0025 \u003C\/x> \ud83d\ude00"}"#
        );
    }

    #[test]
    fn an_escaped_text_reads_as_the_original() {
        let text = "café a@b.co 50% </x> 😀 \" \\ \n";
        let read: Value = serde_json::from_str(GraphJson::new(text).as_str()).unwrap();
        assert_eq!(read, Value::String(text.to_owned()));
    }

    #[test]
    fn fields_come_in_the_order_of_the_request() {
        let object = json!({"a": 1, "b": 2, "c": 3});
        let selected = Selected::new(&object, Some(&["c", "x", "a"]), "b");
        assert_eq!(GraphJson::new(&selected).as_str(), r#"{"c":3,"a":1,"b":2}"#);
    }
}
