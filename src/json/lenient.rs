//! Parts of a document with several spellings: an odd part leaves the rest readable.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A text, or a number in its own digits. Any other value is an empty text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LenientText<'a>(Cow<'a, str>);

/// The elements of a list in the expected form. `null` stands for nothing, in the place of the list
/// or in it.
///
/// A tolerant reader takes each element as a text before the fields are read, so a list in a list
/// is gone through once for each level. A `STRICT` reader goes through the list once, and fails at
/// an element of another form: the whole document is then to be read again by the tolerant reader,
/// which finds the same in every document that the strict reader takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LenientList<T, const STRICT: bool = false> {
    /// The elements of the expected form, in order.
    pub elements: Vec<T>,
    /// False if an element has another form, or the value is no list.
    pub is_whole: bool,
}

impl Deref for LenientText<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl LenientText<'_> {
    /// Returns the text, copied if borrowed.
    #[must_use]
    pub fn into_owned(self) -> String {
        self.0.into_owned()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for LenientText<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <&'de RawValue>::deserialize(deserializer)?.get();
        Ok(Self(match text.as_bytes().first() {
            Some(b'"') => borrowed(text).map_err(D::Error::custom)?,
            Some(b'-' | b'0'..=b'9') => Cow::Borrowed(text),
            _ => Cow::default(),
        }))
    }
}

/// Reads a JSON text. A text with escapes is copied.
fn borrowed(text: &str) -> Result<Cow<'_, str>, serde_json::Error> {
    serde_json::from_str::<&str>(text)
        .map(Cow::Borrowed)
        .or_else(|_| serde_json::from_str(text).map(Cow::Owned))
}

impl<T, const STRICT: bool> Default for LenientList<T, STRICT> {
    fn default() -> Self {
        Self {
            elements: Vec::new(),
            is_whole: true,
        }
    }
}

impl<T, const STRICT: bool> LenientList<T, STRICT> {
    fn unread() -> Self {
        Self {
            elements: Vec::new(),
            is_whole: false,
        }
    }
}

impl<'de, T: Deserialize<'de>, const STRICT: bool> Deserialize<'de> for LenientList<T, STRICT> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ListVisitor(PhantomData))
    }
}

impl<T> LenientList<T, true> {
    /// Returns the list as a tolerant reader finds it.
    #[must_use]
    pub fn tolerant(self) -> LenientList<T> {
        LenientList {
            elements: self.elements,
            is_whole: self.is_whole,
        }
    }
}

/// The visitor of a list.
struct ListVisitor<T, const STRICT: bool>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const STRICT: bool> Visitor<'de> for ListVisitor<T, STRICT> {
    type Value = LenientList<T, STRICT>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut found = LenientList::default();
        if STRICT {
            while let Some(element) = list.next_element::<Option<OnlyObject<T>>>()? {
                found
                    .elements
                    .extend(element.map(|OnlyObject(object)| object));
            }
            return Ok(found);
        }
        while let Some(element) = list.next_element::<&'de RawValue>()? {
            let text = element.get();
            // An element is an object. A list would be read as the fields in their order, and `[]`
            // as an object without fields, which takes a hundred times the two bytes.
            let object = text.starts_with('{').then(|| serde_json::from_str(text));
            match object {
                Some(Ok(element)) => found.elements.push(element),
                _ => found.is_whole &= text == "null",
            }
        }
        Ok(found)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(LenientList::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(LenientList::unread())
    }

    fn visit_bool<E: Error>(self, _value: bool) -> Result<Self::Value, E> {
        Ok(LenientList::unread())
    }

    fn visit_i64<E: Error>(self, _value: i64) -> Result<Self::Value, E> {
        Ok(LenientList::unread())
    }

    fn visit_u64<E: Error>(self, _value: u64) -> Result<Self::Value, E> {
        Ok(LenientList::unread())
    }

    fn visit_f64<E: Error>(self, _value: f64) -> Result<Self::Value, E> {
        Ok(LenientList::unread())
    }

    fn visit_str<E: Error>(self, _value: &str) -> Result<Self::Value, E> {
        Ok(LenientList::unread())
    }
}

/// An object. A derived reader alone would take a list for one as well.
struct OnlyObject<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OnlyObject<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OnlyObjectVisitor(PhantomData))
    }
}

/// The visitor of an object.
struct OnlyObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for OnlyObjectVisitor<T> {
    type Value = OnlyObject<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(OnlyObject)
    }
}

/// Returns a document without the mark of some encoders before UTF-8.
#[must_use]
pub fn without_mark(document: &[u8]) -> &[u8] {
    document.strip_prefix(BYTE_ORDER_MARK).unwrap_or(document)
}

/// True if a document has more than `most` objects. Braces in texts are none.
#[must_use]
pub fn has_more_objects(document: &[u8], most: usize) -> bool {
    if memchr::memchr_iter(b'{', document).nth(most).is_none() {
        return false;
    }
    let mut rest = document;
    let mut objects = 0;
    while let Some((found, after)) = split_at_any(rest, b'{', b'"') {
        rest = match found {
            b'{' => after,
            _ => after_text(after),
        };
        objects += usize::from(found == b'{');
        if objects > most {
            return true;
        }
    }
    false
}

/// Returns what stands behind the end of a text, from inside the text.
fn after_text(mut rest: &[u8]) -> &[u8] {
    while let Some((found, after)) = split_at_any(rest, b'"', b'\\') {
        match found {
            b'"' => return after,
            // The escaped byte is no end of the text.
            _ => rest = after.get(1..).unwrap_or_default(),
        }
    }
    &[]
}

/// Finds the first of two bytes, and returns the byte with the rest behind.
fn split_at_any(bytes: &[u8], one: u8, other: u8) -> Option<(u8, &[u8])> {
    let at = memchr::memchr2(one, other, bytes)?;
    let (found, after) = bytes.get(at..)?.split_first()?;
    Some((*found, after))
}

/// U+FEFF in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_a_text_and_null_is_none() {
        for (text, expected) in [
            (r#""a""#, "a"),
            (r#""caf\u00e9""#, "café"),
            ("1749416383", "1749416383"),
            ("12345678901234567890123", "12345678901234567890123"),
            ("null", ""),
            ("true", ""),
            (r#"{"a":1}"#, ""),
            ("[1]", ""),
        ] {
            let read: LenientText<'_> = serde_json::from_str(text).unwrap();
            assert_eq!(&*read, expected, "{text}");
        }
        assert!(serde_json::from_str::<LenientText<'_>>(r#""\ud800""#).is_err());
    }

    #[test]
    fn an_odd_element_leaves_the_others() {
        #[derive(serde::Deserialize)]
        struct Numbered {
            n: u64,
        }
        for (text, elements, is_whole) in [
            (r#"[{"n":1},{"n":2}]"#, &[1, 2][..], true),
            ("[]", &[], true),
            ("null", &[], true),
            (r#"[{"n":1},null,{"n":2}]"#, &[1, 2], true),
            (r#"[{"n":1},"x",{"n":2}]"#, &[1, 2], false),
            (r#"[{"n":1},[],[2]]"#, &[1], false),
            (r#"{"a":[1]}"#, &[], false),
            (r#""x""#, &[], false),
            ("5", &[], false),
            ("true", &[], false),
        ] {
            let read: LenientList<Numbered> = serde_json::from_str(text).unwrap();
            let numbers: Vec<_> = read.elements.iter().map(|numbered| numbered.n).collect();
            assert_eq!((&*numbers, read.is_whole), (elements, is_whole), "{text}");
        }
    }

    #[test]
    fn a_strict_reader_fails_or_finds_what_a_tolerant_reader_finds() {
        #[derive(Debug, Default, serde::Deserialize)]
        #[serde(default, bound(deserialize = "'de: 'a"))]
        struct Outer<'a, const STRICT: bool> {
            inner: LenientList<Inner<'a>, STRICT>,
        }
        #[derive(Debug, Default, serde::Deserialize)]
        #[serde(default, bound(deserialize = "'de: 'a"))]
        struct Inner<'a> {
            id: LenientText<'a>,
        }
        fn ids<const STRICT: bool>(text: &str) -> Option<Vec<String>> {
            let outer: LenientList<Outer<'_, STRICT>, STRICT> = serde_json::from_str(text).ok()?;
            assert!(!STRICT || outer.is_whole || outer.elements.is_empty());
            let inner = outer
                .elements
                .iter()
                .flat_map(|outer| &outer.inner.elements);
            Some(inner.map(|inner| inner.id.to_string()).collect())
        }
        for (text, is_strict) in [
            (
                r#"[{"inner":[{"id":"a"},{"id":2}]},{"inner":[{"id":"c"}]}]"#,
                true,
            ),
            (r#"[{"x":[[[5]]],"inner":[{"y":{},"id":"a"}]}]"#, true),
            (r#"[{"inner":[]},null,{"inner":null},{}]"#, true),
            (r#"[{"inner":{"id":"a"}},{"inner":5},{"inner":"x"}]"#, true),
            (r#"{"inner":[]}"#, true),
            (r#"[{"inner":[{"id":"a"},5]}]"#, false),
            (r#"[{"inner":[["a"]]},{"inner":[{"id":"b"}]}]"#, false),
            (r#"[[],{"inner":[{"id":"b"}]}]"#, false),
            (r#"[{"inner":[{"id":"a","id":"b"},{"id":"c"}]}]"#, false),
            (r#"[{"inner":[{"id":"\ud800"},{"id":"c"}]}]"#, false),
        ] {
            let strict = ids::<true>(text);
            assert_eq!(strict.is_some(), is_strict, "{text}");
            let tolerant = ids::<false>(text);
            assert!(tolerant.is_some(), "{text}");
            assert!(strict.is_none() || strict == tolerant, "{text}");
        }
    }

    #[test]
    fn braces_in_texts_are_no_objects() {
        for (text, objects) in [
            ("", 0),
            (r#"{"a":{},"b":[{}]}"#, 3),
            (r#"{"a":"{{{","b":"\"{","c":"\\"}"#, 1),
            (r#"{"a":"{{{"#, 1),
            (r#"{"a":"\"#, 1),
        ] {
            assert!(!has_more_objects(text.as_bytes(), objects), "{text}");
            let has_any = objects > 0;
            let one_less = objects.saturating_sub(1);
            assert_eq!(
                has_more_objects(text.as_bytes(), one_less),
                has_any,
                "{text}"
            );
        }
    }
}
