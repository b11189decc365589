//! Query strings and form bodies, pair by pair, each left as it was written.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// One `name=value` as it was written.
#[derive(Clone, Copy, Debug)]
pub struct Pair<'a> {
    /// The whole of it.
    pub written: &'a str,
}

/// The pairs of a query string or a form body.
pub fn pairs(text: &str) -> impl Iterator<Item = Pair<'_>> {
    text.split('&').filter(|pair| !pair.is_empty()).map(|written| Pair { written })
}

impl<'a> Pair<'a> {
    /// Whether its name is one of `names`, in any case and encoding, and also as `name[...]`: PHP,
    /// which reads Meta's queries, takes `a[]` for `a`.
    #[must_use]
    pub fn is_named(&self, names: &[impl AsRef<str>]) -> bool {
        let name = self.name();
        let name = name.split('[').next().unwrap_or_default().trim();
        names.iter().any(|candidate| candidate.as_ref().eq_ignore_ascii_case(name))
    }

    /// Its name, decoded.
    #[must_use]
    pub fn name(&self) -> Cow<'a, str> {
        decoded(self.written.split('=').next().unwrap_or_default())
    }

    /// Its value, decoded; empty where there is none.
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

/// The text without the pairs that have one of `names`; the others stay byte for byte.
#[must_use]
pub fn without<'a>(text: &'a str, names: &[impl AsRef<str>]) -> Cow<'a, str> {
    if !pairs(text).any(|pair| pair.is_named(names)) {
        return Cow::Borrowed(text);
    }
    let kept: Vec<_> = pairs(text).filter(|pair| !pair.is_named(names)).map(|pair| pair.written).collect();
    Cow::Owned(kept.join("&"))
}

/// A value as it stands in a query, a path or a form body.
pub fn encode(value: &str) -> impl Iterator<Item = &str> {
    utf8_percent_encode(value, RESERVED)
}

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
        ] {
            assert!(pairs(query).any(|pair| pair.is_named(&names)), "{query}");
        }
        for query in ["", "access_tokens=x", "a=access_token", "x[access_token]=1"] {
            assert!(!pairs(query).any(|pair| pair.is_named(&names)), "{query}");
        }
    }

    #[test]
    fn what_stays_is_not_touched() {
        assert_eq!(without("a=%2F+b&access_token=x&&c", &["access_token"]), "a=%2F+b&c");
        assert!(matches!(without("a=1&&b", &["access_token"]), Cow::Borrowed("a=1&&b")));
    }
}
