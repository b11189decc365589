//! The redactor: finds the secrets of a credential in an answer, however each letter is written,
//! and in base64.
//!
//! [`crate::spelling`] lists the ways. A text without a backslash, a percent sign and an ampersand
//! has no escapes, nor for a secret without a space a plus sign, and needs no more than a search
//! for the bytes.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::sync::Arc;

use crate::credential::{Credential, IssuedToken};
use crate::spelling::{find_spelled, may_spell};

/// The secrets to look for in one answer, gathered once for all its texts.
pub(super) struct Redactor<'c> {
    credential: &'c Credential,
    issued: Vec<Arc<IssuedToken>>,
    /// The length of the shortest secret, in bytes. No spelling of a secret is shorter than the
    /// secret, and most headers are shorter than any.
    shortest: usize,
}

impl<'c> Redactor<'c> {
    /// A redactor for the secrets of a credential.
    pub(super) fn of(credential: &'c Credential) -> Self {
        let mut redactor = Self {
            credential,
            issued: credential.issued_tokens(),
            shortest: 0,
        };
        let lengths = redactor.secrets().map(<[u8]>::len);
        redactor.shortest = lengths.min().unwrap_or(usize::MAX);
        redactor
    }

    fn secrets(&self) -> impl Iterator<Item = &[u8]> {
        let issued = self.issued.iter().flat_map(|issued| issued.reflections());
        issued.chain(self.credential.reflections())
    }

    /// Replaces every secret by `[redacted]`.
    pub(super) fn redacted<'t>(&self, text: &'t [u8]) -> Cow<'t, [u8]> {
        if text.len() < self.shortest {
            return Cow::Borrowed(text);
        }
        without(text, || self.secrets())
    }
}

/// Replaces every secret of the credential by `[redacted]`.
#[must_use]
pub fn redacted<'t>(text: &'t [u8], credential: &Credential) -> Cow<'t, [u8]> {
    Redactor::of(credential).redacted(text)
}

/// Replaces every one of the `secrets` by `[redacted]`.
fn without<'t, 's, S>(text: &'t [u8], secrets: impl Fn() -> S) -> Cow<'t, [u8]>
where
    S: Iterator<Item = &'s [u8]>,
{
    let mut clean = Vec::new();
    let mut rest = text;
    while let Some((start, end)) = find(rest, &secrets) {
        clean.extend_from_slice(rest.get(..start).unwrap_or_default());
        clean.extend_from_slice(REDACTED);
        rest = rest.get(end..).unwrap_or_default();
    }
    if clean.is_empty() {
        return Cow::Borrowed(text);
    }
    clean.extend_from_slice(rest);
    Cow::Owned(clean)
}

/// Returns start and end of the first secret in a text. Of several secrets with one start, the
/// longest is taken: a short one that begins a long one would leave the end of the long one in the
/// answer.
fn find<'s, S>(text: &[u8], secrets: impl Fn() -> S) -> Option<(usize, usize)>
where
    S: Iterator<Item = &'s [u8]>,
{
    if may_spell(text, secrets()) {
        let mut secrets: Vec<_> = secrets().collect();
        secrets.sort_by_key(|secret| Reverse(secret.len()));
        return find_spelled(text, &secrets);
    }
    let found = secrets().filter_map(|secret| {
        let start = find_bytes(text, secret)?;
        Some((start, start + secret.len()))
    });
    found.min_by_key(|(start, end)| (*start, Reverse(*end)))
}

/// Returns the position of `needle` in `text`. Texts are short and needles rare, so a scan for the
/// first byte is several times cheaper than a prepared search, and keeps no copy of a secret.
pub(super) fn find_bytes(text: &[u8], needle: &[u8]) -> Option<usize> {
    let last = text.len().checked_sub(needle.len())?;
    let first = *needle.first()?;
    memchr::memchr_iter(first, text.get(..=last)?)
        .find(|at| text.get(*at..).is_some_and(|rest| rest.starts_with(needle)))
}

/// The replacement of a secret.
const REDACTED: &[u8] = b"[redacted]";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECRET: &str = "EAAG/m0+PX4_ZCpsBA==";

    fn clean(text: &str, secrets: &[&str]) -> String {
        let secrets = || secrets.iter().map(|secret| secret.as_bytes());
        String::from_utf8(without(text.as_bytes(), secrets).into_owned()).unwrap()
    }

    /// Writes every character of the secret by a rule.
    fn written(rule: impl Fn(char) -> String) -> String {
        SECRET.chars().map(rule).collect()
    }

    #[test]
    fn a_secret_is_found_in_every_spelling() {
        let number = u32::from;
        let spellings = [
            SECRET.to_owned(),
            written(|c| format!("\\u{:04x}", number(c))),
            written(|c| format!("\\u{:04X}", number(c))),
            written(|c| format!("\\x{:02x}", number(c))),
            written(|c| format!("%{:02X}", number(c))),
            written(|c| format!("%{:02x}", number(c))),
            written(|c| format!("%25{:02x}", number(c))),
            written(|c| format!("&#{};", number(c))),
            written(|c| format!("&#x{:x};", number(c))),
            written(|c| format!("&#X{:04X};", number(c))),
            written(|c| format!("&amp;#{};", number(c))),
            written(|c| format!("\\\\u{:04x}", number(c))),
            written(|c| format!("\\u0025{:02x}", number(c))),
            SECRET.replace('/', r"\/"),
            SECRET.replace('/', r"\u002f").replace('E', r"\u0045"),
            SECRET.replace('/', "%2f").replace('+', "&plus;"),
            SECRET.replace('/', "&sol;").replace('=', "&equals;"),
            SECRET.replace('_', "&lowbar;").replace('B', "&#66"),
        ];
        for spelling in spellings {
            for (before, after) in [("", ""), ("{\"a\":\"", "\"}"), ("x%20y&amp;", "\\n")] {
                assert_eq!(
                    clean(&format!("{before}{spelling}{after}"), &[SECRET]),
                    format!("{before}[redacted]{after}")
                );
            }
            let twice = format!("{spelling}, {spelling}{spelling}");
            assert_eq!(clean(&twice, &[SECRET]), "[redacted], [redacted][redacted]");
        }
    }

    #[test]
    fn a_secret_with_spaces_is_found_in_a_form() {
        let secret = "correct horse + battery";
        for text in [
            "correct horse + battery",
            "correct+horse+%2B+battery",
            "correct+horse%20%2b+battery",
            "correct%2Bhorse+%252B+battery",
        ] {
            let form = format!("a=b+c&password={text}&d=+");
            let expected = "a=b+c&password=[redacted]&d=+";
            assert_eq!(clean(&form, &[secret]), expected, "{text}");
        }
        // The sign itself is no space.
        assert_eq!(
            clean("a+b+EAAG0123456+", &["a b EAAG0123456+"]),
            REDACTED_TEXT
        );
        assert_eq!(
            clean("EAAG 0123456789", &["EAAG+0123456789"]),
            "EAAG 0123456789"
        );
    }

    const REDACTED_TEXT: &str = "[redacted]";

    #[test]
    fn a_redaction_leaves_no_half_of_an_escape() {
        for (text, expected) in [
            (r"\\EAAG/m0+PX4_ZCpsBA==", r"\\[redacted]"),
            (r"\\\u0045AAG/m0+PX4_ZCpsBA==", "[redacted]"),
            (r"\\\\u0045AAG/m0+PX4_ZCpsBA==", r"\\[redacted]"),
            (r"\EAAG/m0+PX4_ZCpsBA==", r"\[redacted]"),
            (r"\nEAAG/m0+PX4_ZCpsBA==\n", r"\n[redacted]\n"),
        ] {
            assert_eq!(clean(text, &[SECRET]), expected, "{text}");
        }
    }

    #[test]
    fn the_longest_of_several_secrets_is_taken_out() {
        for (text, expected) in [
            ("abcdef abc abcd", "[redacted] [redacted] [redacted]d"),
            ("abcdef%20abc", "[redacted]%20[redacted]"),
            ("ab%63def&abc;", "[redacted]&[redacted];"),
            ("bcdef", "bcdef"),
            ("bc%64ef", "bc%64ef"),
        ] {
            assert_eq!(clean(text, &["abcdef", "abc"]), expected, "{text}");
            assert_eq!(clean(text, &["abc", "abcdef"]), expected, "{text}");
        }
    }

    #[test]
    fn a_secret_of_escapes_takes_no_endless_time() {
        let secret = "%25%\\\\%25&amp;%25%%%%%%";
        for text in [
            secret.to_owned(),
            secret.replace('%', "%25").replace('\\', "%5c"),
            secret.replace('%', "%2525"),
        ] {
            assert_eq!(clean(&text, &[secret]), "[redacted]", "{text}");
        }
        let long = "%25".repeat(10_000);
        assert_eq!(clean(&long, &[secret]), long);
    }

    /// A character in one of its spellings.
    fn spelled(c: char, spelling: u8) -> String {
        let number = u32::from(c);
        match spelling {
            0 => format!("\\u{number:04x}"),
            1 => format!("%{number:02X}"),
            2 => format!("&#{number};"),
            3 => format!("&#x{number:x};"),
            4 => format!("%25{number:02x}"),
            _ if "\\%&".contains(c) => format!("\\u{number:04X}"),
            _ => c.to_string(),
        }
    }

    proptest! {
        #[test]
        fn a_secret_is_found_however_its_letters_are_written(
            secret in "[A-Za-z][ -~]{11,30}",
            spellings in prop::collection::vec(0..12_u8, 31),
            before in "[ -~]{0,20}",
            after in "[ -~]{0,20}",
        ) {
            let text: String = secret
                .chars()
                .zip(spellings)
                .map(|(c, spelling)| spelled(c, spelling))
                .collect();
            let whole = format!("{before} {text} {after}");
            let cleaned = clean(&whole, &[&secret]);
            prop_assert!(cleaned.contains("[redacted]"), "{whole}");
            prop_assert!(!cleaned.contains(&text), "{whole} became {cleaned}");
        }

        #[test]
        fn a_text_without_the_secret_keeps_every_byte(text in "[ -~]{0,200}|[%\\\\&#;ux0-9a-f]{0,100}") {
            prop_assert_eq!(clean(&text, &["EAAnot-in-any-text"]), text);
        }
    }
}
