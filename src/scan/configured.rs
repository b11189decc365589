//! Configured secrets: the values of a configuration, looked for as they are.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::find::{Certainty, Hit};
use crate::query;
use crate::secret::{Fingerprint, Secret};
use crate::spelling::{base64_needles, find_spelled, has_escapes, may_spell};

/// A secret of the configuration.
pub struct ConfiguredSecret {
    /// The key of the configuration, such as `credential.NAME.SECRET`.
    pub kind: String,
    /// The fingerprint to show.
    pub fingerprint: Fingerprint,
    /// The value.
    pub secret: Arc<Secret>,
}

impl ConfiguredSecret {
    /// Returns true if the secret is long enough to be looked for: a verify token may well be
    /// `whatsapp`, which stands in every text.
    #[must_use]
    pub fn is_long(&self) -> bool {
        self.bytes().len() >= MIN_LENGTH
    }

    /// Returns the longest run of letters and digits in the value, and the place of the run. No
    /// escape changes such letters, as encoders write them.
    pub(super) fn anchor(&self) -> (usize, &[u8]) {
        let bytes = self.bytes();
        let mut best = (0, bytes);
        let mut longest = 0;
        let mut start = 0;
        for run in bytes.split(|byte| !byte.is_ascii_alphanumeric()) {
            if run.len() > longest && run.len() >= MIN_ANCHOR {
                longest = run.len();
                best = (start, run);
            }
            start += run.len() + 1;
        }
        best
    }

    /// Returns the ways in which a form has the anchor, if the anchor has a space: no shorter run
    /// is long enough. Encoders differ in the signs that they encode and in the case of the codes.
    pub(super) fn form_needles(&self) -> Vec<Zeroizing<String>> {
        let (_, anchor) = self.anchor();
        let Some(text) = std::str::from_utf8(anchor)
            .ok()
            .filter(|text| text.contains(' '))
        else {
            return Vec::new();
        };
        let plain = Zeroizing::new(text.replace(' ', "+"));
        let mut upper = Zeroizing::new(String::with_capacity(3 * text.len()));
        let mut lower = Zeroizing::new(String::with_capacity(3 * text.len()));
        for piece in query::encode(text) {
            let piece = if piece == "%20" { "+" } else { piece };
            upper.push_str(piece);
            // A code is a piece of its own.
            if piece.starts_with('%') {
                lower.push_str(&piece.to_ascii_lowercase());
            } else {
                lower.push_str(piece);
            }
        }
        let mut needles = vec![plain, upper, lower];
        needles.dedup();
        needles
    }

    /// Returns the texts of which one stands in every base64 text with the value.
    pub(super) fn base64_needles(&self) -> Vec<Zeroizing<Vec<u8>>> {
        base64_needles(self.bytes())
    }

    /// Returns the first letters of the value as codes: percent-encoded, escaped for JSON, and in
    /// hexadecimal.
    pub(super) fn code_needles(&self) -> Vec<Zeroizing<Vec<u8>>> {
        let bytes = self.bytes();
        let begin = bytes.get(..MIN_LENGTH.min(bytes.len())).unwrap_or_default();
        let coded = |sign: &str| {
            let mut needle = Zeroizing::new(Vec::with_capacity(begin.len() * MAX_SPELLING));
            for byte in begin {
                needle.extend_from_slice(sign.as_bytes());
                needle.extend_from_slice(&hex_of(*byte));
            }
            needle
        };
        ["%", "\\u00", ""].into_iter().map(coded).collect()
    }

    /// Returns the secret at `at`, with a code in the place of each letter.
    pub(super) fn in_codes(&self, text: &[u8], at: usize) -> Option<Hit> {
        let bytes = self.bytes();
        let rest = text.get(at..)?;
        if has_escapes(rest.get(..1)?) {
            let window = rest.get(..bytes.len() * MAX_SPELLING).unwrap_or(rest);
            let (start, end) = find_spelled(window, &[bytes])?;
            return (start == 0).then(|| self.hit(at, at + end, "/escaped"));
        }
        let digits = rest.get(..2 * bytes.len())?;
        let is_same = |(pair, byte): (&[u8], &u8)| pair.eq_ignore_ascii_case(&hex_of(*byte));
        let is_all = digits.chunks_exact(2).zip(bytes).all(is_same);
        is_all.then(|| self.hit(at, at + digits.len(), "/hex"))
    }

    /// Returns the secret around the anchor that begins at `at`, in whatever spelling.
    pub(super) fn around(&self, text: &[u8], at: usize) -> Option<Hit> {
        let bytes = self.bytes();
        let (offset, _) = self.anchor();
        let exact = at.checked_sub(offset).filter(|start| {
            text.get(*start..)
                .is_some_and(|rest| rest.starts_with(bytes))
        });
        if let Some(start) = exact {
            return Some(self.hit(start, start + bytes.len(), ""));
        }
        let mut from = at.saturating_sub(offset * MAX_SPELLING);
        let to = (at + (bytes.len() - offset) * MAX_SPELLING).min(text.len());
        // Earlier copies in the window have anchors of their own.
        while let Some(around) = text.get(from..to).filter(|text| may_spell(text, [bytes])) {
            let (start, end) = find_spelled(around, &[bytes])?;
            if from + start > at {
                return None;
            }
            if at < from + end {
                return Some(self.hit(from + start, from + end, "/escaped"));
            }
            from += end;
        }
        None
    }

    /// Returns a hit at a place, with what was done to the value.
    pub(super) fn hit(&self, start: usize, end: usize, done: &str) -> Hit {
        Hit {
            start,
            end,
            kind: format!("{}{done}", self.kind),
            fingerprint: self.fingerprint,
            certainty: Certainty::Configured,
        }
    }

    /// Returns the greatest length of the value in a text, in any spelling.
    pub(super) fn max_length(&self) -> usize {
        self.bytes().len() * MAX_SPELLING
    }

    fn bytes(&self) -> &[u8] {
        #[expect(
            clippy::disallowed_methods,
            reason = "the scan looks for the value; the automaton keeps a copy until the command ends"
        )]
        self.secret.expose().as_bytes()
    }
}

/// Returns a byte as two hexadecimal digits.
fn hex_of(byte: u8) -> [u8; 2] {
    let digit = |value: u8| match value {
        0..10 => b'0' + value,
        _ => b'a' + (value - 10),
    };
    [digit(byte >> 4), digit(byte & 15)]
}

/// The least length of a secret to look for, in bytes, as in `credential::reflection`.
const MIN_LENGTH: usize = 12;
/// The least length of an anchor: shorter runs stand in every text.
const MIN_ANCHOR: usize = 4;
/// The longest spelling of one letter that programs write: `\\u0041`, or `%2541`.
const MAX_SPELLING: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn configured(value: &str) -> ConfiguredSecret {
        let secret = Secret::parse(Zeroizing::new(value.as_bytes().to_vec())).unwrap();
        ConfiguredSecret {
            kind: "credential.acme.token".into(),
            fingerprint: secret.fingerprint().of_random_key(),
            secret: Arc::new(secret),
        }
    }

    #[test]
    fn the_anchor_is_the_longest_run_of_letters_and_digits() {
        for (value, expected) in [
            ("EAAG0123456789", (0, "EAAG0123456789")),
            ("ab/cdefgh+ijk=", (3, "cdefgh")),
            ("-~-~-~-~-~-~-~", (0, "-~-~-~-~-~-~-~")),
        ] {
            let secret = configured(value);
            let (at, run) = secret.anchor();
            assert_eq!((at, run), (expected.0, expected.1.as_bytes()), "{value}");
        }
    }
}
