//! Query strings and form bodies, pair by pair, without changes to the bytes of a pair.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// A `name=value` pair of a query or form.
#[derive(Clone, Copy, Debug)]
pub struct QueryPair<'a> {
    /// The bytes of the pair as written, still encoded.
    pub written: &'a str,
}

/// Returns the pairs of a query string or form body, separated by `&` or `;`. HTML 4.01 (appendix
/// B.2.2) asked servers to accept `;` as a separator and some do, so no parameter may hide behind a
/// `;`.
pub fn pairs(text: &str) -> impl Iterator<Item = QueryPair<'_>> {
    split(text, |rest| memchr::memchr2(b'&', b';', rest))
}

/// Returns the pairs of a form, separated by `&` only
/// (<https://url.spec.whatwg.org/#urlencoded-parsing>): for signed forms, which must be read
/// exactly as the signer wrote them.
pub fn fields(text: &str) -> impl Iterator<Item = QueryPair<'_>> {
    split(text, |rest| memchr::memchr(b'&', rest))
}

/// Returns the pairs that are not empty between separators in ASCII.
fn split(text: &str, find: impl Fn(&[u8]) -> Option<usize>) -> impl Iterator<Item = QueryPair<'_>> {
    let mut rest = Some(text);
    let pieces = std::iter::from_fn(move || {
        let whole = rest?;
        let at = find(whole.as_bytes());
        rest = at.and_then(|at| whole.get(at + 1..));
        Some(at.map_or(whole, |at| whole.get(..at).unwrap_or_default()))
    });
    pieces
        .filter(|piece| !piece.is_empty())
        .map(|written| QueryPair { written })
}

/// Returns true if a query or form may have more than `max` pairs: counted are the separators,
/// because looking at the pairs is what the bound is for.
#[must_use]
pub fn has_more_pairs(text: &[u8], max: usize) -> bool {
    memchr::memchr2_iter(b'&', b';', text)
        .nth(max.saturating_sub(1))
        .is_some()
}

/// Returns true if a pair of a query or form has a name of more than `max` bytes, as written.
#[must_use]
pub fn has_longer_name(text: &[u8], max: usize) -> bool {
    let mut rest = text;
    while !rest.is_empty() {
        let end = memchr::memchr2(b'&', b';', rest).unwrap_or(rest.len());
        let (pair, after) = rest.split_at(end);
        if memchr::memchr(b'=', pair).unwrap_or(pair.len()) > max {
            return true;
        }
        rest = after.get(1..).unwrap_or_default();
    }
    false
}

/// Returns true if the name of a pair begins with a byte order mark: some servers skip the mark.
#[must_use]
pub fn has_marked_name(text: &str) -> bool {
    let is_marked = |pair: QueryPair<'_>| {
        let name = pair.name();
        name.trim_start().starts_with('\u{feff}')
    };
    // A mark begins with the byte 0xef, written plain or in percent signs.
    let may_have = memchr::memchr2(b'%', 0xef, text.as_bytes()).is_some();
    may_have && pairs(text).any(is_marked)
}

impl<'a> QueryPair<'a> {
    /// Returns true if PHP could read the pair's name as one of `names`, in any case and encoding;
    /// see [`is_read_as_one_of`].
    #[must_use]
    pub fn is_named(&self, names: &[impl AsRef<str>]) -> bool {
        is_read_as_one_of(&self.name(), names)
    }

    /// Returns the decoded name.
    #[must_use]
    pub fn name(&self) -> Cow<'a, str> {
        decoded(before(self.written, b'='))
    }

    /// Returns the decoded value; empty if the pair has no `=`.
    #[must_use]
    pub fn value(&self) -> Cow<'a, str> {
        decoded(self.written.split_once('=').map_or("", |(_, value)| value))
    }
}

/// Returns the text before the first `end`, a byte of ASCII; the whole text without one.
fn before(text: &str, end: u8) -> &str {
    let at = memchr::memchr(end, text.as_bytes());
    at.and_then(|at| text.get(..at)).unwrap_or(text)
}

/// Returns true if PHP could read a decoded name as one of `names`, in any case. Meta's queries
/// follow PHP's rules: `a[]` is `a`, a NUL ends a name, and `.`, a space or a lone `[` become `_`
/// (<https://www.php.net/manual/en/language.variables.external.php>).
#[must_use]
pub fn is_read_as_one_of(decoded: &str, names: &[impl AsRef<str>]) -> bool {
    ReadName::new(decoded).is_one_of(names)
}

/// A decoded name that is compared with several lists of names, as [`is_read_as_one_of`] compares.
#[derive(Clone, Copy, Debug)]
pub struct ReadName<'n> {
    decoded: &'n str,
    /// True if no letter means anything to PHP, as in most names.
    is_plain: bool,
}

impl<'n> ReadName<'n> {
    /// Looks at each letter of a decoded name.
    #[must_use]
    pub fn new(decoded: &'n str) -> Self {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        Self {
            decoded,
            is_plain: decoded.bytes().all(plain),
        }
    }

    /// Returns true if PHP could read the name as one of `names`, in any case.
    #[must_use]
    pub fn is_one_of(self, names: &[impl AsRef<str>]) -> bool {
        let decoded = self.decoded;
        if self.is_plain {
            // Most names have another length or another first letter.
            return names
                .iter()
                .any(|name| name.as_ref().eq_ignore_ascii_case(decoded));
        }
        let name = before(decoded, 0).trim_start_matches('?').trim();
        let array = before(name, b'[').trim();
        names.iter().any(|candidate| {
            is_read_as(array, candidate.as_ref()) || is_read_as(name, candidate.as_ref())
        })
    }
}

fn decoded(text: &str) -> Cow<'_, str> {
    if text.contains('+') {
        return Cow::Owned(
            percent_decode_str(&text.replace('+', " "))
                .decode_utf8_lossy()
                .into_owned(),
        );
    }
    percent_decode_str(text).decode_utf8_lossy()
}

/// Returns true if PHP reads `written` as `name`, apart from the case.
fn is_read_as(written: &str, name: &str) -> bool {
    let read = |byte: u8| {
        if b" .[".contains(&byte) {
            b'_'
        } else {
            byte.to_ascii_lowercase()
        }
    };
    written.bytes().map(read).eq(name.bytes().map(read))
}

/// Returns the text without the pairs called one of `names`; all other pairs keep every byte.
#[must_use]
pub fn without<'a>(text: &'a str, names: &[impl AsRef<str>]) -> Cow<'a, str> {
    if !pairs(text).any(|pair| pair.is_named(names)) {
        return Cow::Borrowed(text);
    }
    let mut kept = String::with_capacity(text.len());
    for piece in text.split_inclusive(SEPARATORS) {
        let pair = QueryPair {
            written: piece.trim_end_matches(SEPARATORS),
        };
        if !pair.written.is_empty() && !pair.is_named(names) {
            kept.push_str(piece);
        }
    }
    kept.truncate(kept.trim_end_matches(SEPARATORS).len());
    Cow::Owned(kept)
}

/// Appends the separator, the name and the `=` of a further pair; the caller appends the value.
pub fn begin_pair(text: &mut String, name: &str) {
    if !text.is_empty() {
        text.push('&');
    }
    text.extend(encode(name));
    text.push('=');
}

/// Returns a value percent-encoded for a query, a path or a form body.
pub fn encode(value: &str) -> impl Iterator<Item = &str> {
    utf8_percent_encode(value, RESERVED)
}

/// The separators accepted by [`pairs`].
const SEPARATORS: [char; 2] = ['&', ';'];
/// The reserved characters: every character except the unreserved set of RFC 3986, section 2.3.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_in_every_spelling_that_php_accepts() {
        let names = ["access_token"];
        for query in [
            "access_token=x",
            "a=b&access%5Ftoken=x",
            "ACCESS_TOKEN",
            "access_token[]=x",
            "access_token%5B0%5D=x",
            "+access_token=x",
            "a&%61ccess_token&b",
            "a=1;access_token=x",
            ";access_token=x",
            "access_token%00=x",
            "access_token%00y=x",
            "access_token%20=x",
            "?access_token=x",
            "access.token=x",
            "access+token=x",
            "access%20token=x",
            "access[token=x",
            "access.token[]=x",
        ] {
            assert!(pairs(query).any(|pair| pair.is_named(&names)), "{query}");
        }
        for query in [
            "",
            "access_tokens=x",
            "a=access_token",
            "x[access_token]=1",
            "accesstoken=x",
            "access-token=x",
        ] {
            assert!(!pairs(query).any(|pair| pair.is_named(&names)), "{query}");
        }
    }

    #[test]
    fn a_name_behind_a_byte_order_mark_is_found() {
        for (text, expected) in [
            ("\u{feff}a=1", true),
            ("%EF%BB%BFa=1", true),
            ("a=1&%ef%bb%bf", true),
            ("a=1;+%ef%BB%bfb=1", true),
            ("", false),
            ("a=%EF%BB%BF", false),
            ("a%EF%BB%BF=1", false),
            ("%C3%A9=1", false),
        ] {
            assert_eq!(has_marked_name(text), expected, "{text}");
        }
    }

    #[test]
    fn pairs_are_counted_by_their_separators() {
        for (text, has_more) in [
            ("", false),
            ("a&b;c", false),
            ("a&b&c;d", true),
            ("&&&", true),
        ] {
            assert_eq!(has_more_pairs(text.as_bytes(), 3), has_more, "{text}");
        }
    }

    #[test]
    fn a_name_is_measured_as_written() {
        for (text, has_longer) in [
            ("", false),
            ("abc=12345&abc;abc=", false),
            ("abc=1&abcd=2", true),
            ("a;abcd", true),
            ("%61%61=1", true),
        ] {
            assert_eq!(has_longer_name(text.as_bytes(), 3), has_longer, "{text}");
        }
    }

    #[test]
    fn the_remaining_pairs_keep_every_byte() {
        assert_eq!(
            without("a=%2F+b&access_token=x&&c", &["access_token"]),
            "a=%2F+b&c"
        );
        assert_eq!(
            without("access_token=x;a=1;b&access_token=y", &["access_token"]),
            "a=1;b"
        );
        assert!(matches!(
            without("a=1&&b;c", &["access_token"]),
            Cow::Borrowed("a=1&&b;c")
        ));
    }
}
