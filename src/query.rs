//! Query strings and form bodies, pair by pair, each left as it was written.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// One `name=value` as it was written.
#[derive(Clone, Copy, Debug)]
pub struct Pair<'a> {
    /// The whole of it.
    pub written: &'a str,
}

/// The pairs of a query string or a form body. A `;` parts them as `&` does: HTML 4.01 (appendix
/// B.2.2) asked servers to read it so, some do, and nothing may hide behind it.
pub fn pairs(text: &str) -> impl Iterator<Item = Pair<'_>> {
    text.split(SEPARATORS).filter(|pair| !pair.is_empty()).map(|written| Pair { written })
}

/// The fields of a form as its sender wrote them, parted by `&` alone
/// (<https://url.spec.whatwg.org/#urlencoded-parsing>): for what is signed, where nothing may be read
/// in two ways.
pub fn fields(text: &str) -> impl Iterator<Item = Pair<'_>> {
    text.split('&').filter(|field| !field.is_empty()).map(|written| Pair { written })
}

impl<'a> Pair<'a> {
    /// Whether its name is one of `names`, in any case and encoding, and as PHP, whose rules Meta's
    /// queries follow, may read it: `a[]` is `a`, a name ends at a NUL, and `.`, a space or a lone `[`
    /// stand for `_` (<https://www.php.net/manual/en/language.variables.external.php>).
    #[must_use]
    pub fn is_named(&self, names: &[impl AsRef<str>]) -> bool {
        let name = self.name();
        let name = name.split('\0').next().unwrap_or_default().trim_start_matches('?').trim();
        let array = name.split('[').next().unwrap_or_default().trim();
        names.iter().any(|candidate| is_read_as(array, candidate.as_ref()) || is_read_as(name, candidate.as_ref()))
    }

    /// Its name, decoded.
    #[must_use]
    pub fn name(&self) -> Cow<'a, str> {
        decoded(self.written.split('=').next().unwrap_or_default())
    }

    /// Its value, decoded; empty where it has none.
    #[must_use]
    pub fn value(&self) -> Cow<'a, str> {
        decoded(self.written.split_once('=').map_or("", |(_, value)| value))
    }
}

fn decoded(text: &str) -> Cow<'_, str> {
    if text.contains('+') {
        return Cow::Owned(percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned());
    }
    percent_decode_str(text).decode_utf8_lossy()
}

fn is_read_as(written: &str, name: &str) -> bool {
    let read = |byte: u8| if b" .[".contains(&byte) { b'_' } else { byte.to_ascii_lowercase() };
    written.bytes().map(read).eq(name.bytes().map(read))
}

/// The text without the pairs that have one of `names`; the others stay byte for byte.
#[must_use]
pub fn without<'a>(text: &'a str, names: &[impl AsRef<str>]) -> Cow<'a, str> {
    if !pairs(text).any(|pair| pair.is_named(names)) {
        return Cow::Borrowed(text);
    }
    let mut kept = String::with_capacity(text.len());
    for piece in text.split_inclusive(SEPARATORS) {
        let pair = Pair { written: piece.trim_end_matches(SEPARATORS) };
        if !pair.written.is_empty() && !pair.is_named(names) {
            kept.push_str(piece);
        }
    }
    kept.truncate(kept.trim_end_matches(SEPARATORS).len());
    Cow::Owned(kept)
}

/// Begins another pair, of which the value follows.
pub fn begin_pair(text: &mut String, name: &str) {
    if !text.is_empty() {
        text.push('&');
    }
    text.extend(encode(name));
    text.push('=');
}

/// A value as it stands in a query, a path or a form body.
pub fn encode(value: &str) -> impl Iterator<Item = &str> {
    utf8_percent_encode(value, RESERVED)
}

const SEPARATORS: [char; 2] = ['&', ';'];
/// Everything but the unreserved characters of RFC 3986, section 2.3.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_however_it_is_written() {
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
        for query in ["", "access_tokens=x", "a=access_token", "x[access_token]=1", "accesstoken=x", "access-token=x"] {
            assert!(!pairs(query).any(|pair| pair.is_named(&names)), "{query}");
        }
    }

    #[test]
    fn what_stays_is_not_touched() {
        assert_eq!(without("a=%2F+b&access_token=x&&c", &["access_token"]), "a=%2F+b&c");
        assert_eq!(without("access_token=x;a=1;b&access_token=y", &["access_token"]), "a=1;b");
        assert!(matches!(without("a=1&&b;c", &["access_token"]), Cow::Borrowed("a=1&&b;c")));
    }
}
