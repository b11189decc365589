//! Known forms: the rules that confirm a candidate.

use std::sync::Arc;

use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use super::find::{Certainty, Hit};
use crate::provider::{Letters, Provider, SecretForm, TextForm, presets};
use crate::secret::Secret;
use crate::units::saturated;

/// A known form with the name of its secret.
pub(super) struct KnownForm {
    /// `PROVIDER.SECRET`.
    pub(super) kind: String,
    pub(super) form: TextForm,
}

/// Returns the forms of the secrets of all presets, and of these providers where no preset has the
/// form.
pub(super) fn known_forms(own: &[Arc<Provider>]) -> Vec<KnownForm> {
    let presets = presets::names().filter_map(presets::provider);
    let mut known: Vec<KnownForm> = Vec::new();
    for provider in presets.chain(own.iter().cloned()) {
        for secret in &provider.secrets {
            let form = secret.text.as_ref();
            let Some(form) = form.filter(|_| secret.form != SecretForm::PrivateKey) else {
                continue;
            };
            if !known.iter().any(|known| known.form == *form) {
                let kind = format!("{}.{}", provider.name, secret.name);
                let form = form.clone();
                known.push(KnownForm { kind, form });
            }
        }
    }
    known
}

impl KnownForm {
    /// Returns the secret whose telling begin is at `start`.
    pub(super) fn at_begin(&self, text: &[u8], start: usize) -> Option<Hit> {
        if !text.get(start..)?.starts_with(self.form.begins.as_bytes()) || !is_boundary(text, start)
        {
            return None;
        }
        let end = self.end_of(text, start);
        if is_inside_base64(text, start, end) {
            return None;
        }
        self.confirmed(text.get(start..end)?)
            .map(|secret| self.hit(start, end, &secret, Certainty::Begin))
    }

    /// Returns the secret that the base64 at `start` stands for.
    pub(super) fn in_base64(&self, text: &[u8], start: usize) -> Option<Hit> {
        if !is_boundary(text, start) {
            return None;
        }
        let end = end_of(text, start, Letters::Base64);
        let decoded = decoded(text.get(start..end)?)?;
        let secret = self.confirmed(decoded.trim_ascii())?;
        let mut hit = self.hit(start, end, &secret, Certainty::Begin);
        hit.kind.push_str("/base64");
        Some(hit)
    }

    /// Returns the secret behind a name that ends at `name_end`.
    pub(super) fn behind_name(&self, text: &[u8], name_end: usize) -> Option<Hit> {
        let start = value_start(text, name_end)?;
        let end = self.end_of(text, start);
        if let Some(secret) = self.confirmed(text.get(start..end)?) {
            return Some(self.hit(start, end, &secret, Certainty::Near));
        }
        let encoded_end = end_of(text, start, Letters::Base64);
        let decoded = decoded(text.get(start..encoded_end)?)?;
        let secret = self.confirmed(decoded.trim_ascii())?;
        let mut hit = self.hit(start, encoded_end, &secret, Certainty::Near);
        hit.kind.push_str("/base64");
        Some(hit)
    }

    /// Returns the end of the value at `start`. The begin may have foreign letters, such as the `_`
    /// of `whsec_`.
    fn end_of(&self, text: &[u8], start: usize) -> usize {
        let begins = self.form.begins.as_bytes();
        let has_begin = text
            .get(start..)
            .is_some_and(|rest| rest.starts_with(begins));
        let begin = if has_begin { begins.len() } else { 0 };
        end_of(text, start + begin, self.form.letters)
    }

    /// Returns the secret that a value is, if the value has the form and looks random.
    fn confirmed(&self, value: &[u8]) -> Option<Secret> {
        let form = &self.form;
        let rest = value.get(form.begins.len()..)?;
        let is_random = if form.begins.is_empty() {
            looks_random(rest, form.letters)
        } else {
            is_varied(rest)
        };
        if !form.fits(value) || !is_random {
            return None;
        }
        Secret::parse(Zeroizing::new(value.to_vec())).ok()
    }

    fn hit(&self, start: usize, end: usize, secret: &Secret, certainty: Certainty) -> Hit {
        Hit {
            start,
            end,
            kind: self.kind.clone(),
            // The form holds random letters only: no dictionary has the value.
            fingerprint: secret.fingerprint().of_random_key(),
            certainty,
        }
    }
}

/// Returns true if no letter of a longer word stands before `start`. The end of an escape is no
/// letter.
fn is_boundary(text: &[u8], start: usize) -> bool {
    let before = text.get(start.saturating_sub(6)..start).unwrap_or_default();
    match before {
        [] => true,
        [.., b'\\', b'n' | b'r' | b't'] => true,
        [.., b'%', high, low] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => true,
        [b'\\', b'u', digits @ ..] if digits.iter().all(u8::is_ascii_hexdigit) => true,
        [.., last] => !last.is_ascii_alphanumeric() && *last != b'+',
    }
}

/// Returns true for letters within longer base64, such as a font or an image: chance begins some of
/// them with `EAA`.
fn is_inside_base64(text: &[u8], start: usize, end: usize) -> bool {
    let before = start.checked_sub(1).and_then(|at| text.get(at));
    before.is_some_and(|byte| matches!(byte, b'+' | b'/'))
        && text
            .get(end)
            .is_some_and(|byte| matches!(byte, b'+' | b'/' | b'='))
}

/// Returns the end of the letters that begin at `start`.
fn end_of(text: &[u8], start: usize, letters: Letters) -> usize {
    let rest = text.get(start..).unwrap_or_default();
    let length = rest
        .iter()
        .take(MAX_VALUE)
        .position(|byte| !letters.has(*byte));
    start + length.unwrap_or(rest.len().min(MAX_VALUE))
}

/// Returns the start of the value behind a name: `NAME_MORE = "value"`, `"name": "value"`, `Name:
/// Bearer value`.
fn value_start(text: &[u8], name_end: usize) -> Option<usize> {
    let rest = text.get(name_end..(name_end + MAX_GAP).min(text.len()))?;
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let name = rest.iter().position(|byte| !is_name(byte))?;
    let gap = rest.get(name..)?;
    let is_gap = |byte: &u8| byte.is_ascii_whitespace() || GAP.contains(byte);
    let length = gap.iter().position(|byte| !is_gap(byte))?;
    let after = gap.get(length..)?;
    let scheme = SCHEMES.iter().find(|scheme| {
        after
            .get(..scheme.len())
            .is_some_and(|word| word.eq_ignore_ascii_case(scheme))
    });
    Some(name_end + name + length + scheme.map_or(0, |scheme| scheme.len()))
}

/// Returns true for letters that a provider may have made at random: no words, no pattern.
fn looks_random(value: &[u8], letters: Letters) -> bool {
    let is_mixed = |part: &[u8]| {
        part.iter().any(u8::is_ascii_digit) && part.iter().any(u8::is_ascii_alphabetic)
    };
    let has_part = match letters {
        Letters::Hex | Letters::HexGroups => is_mixed(value),
        _ => value
            .split(|byte| matches!(byte, b'-' | b'_' | b'.'))
            .any(|part| part.len() >= MIN_RANDOM_PART && is_mixed(part)),
    };
    has_part && is_varied(value)
}

/// Returns true for letters that repeat and follow each other no more than chance would have it.
fn is_varied(value: &[u8]) -> bool {
    let mut counts = [0_u32; 256];
    for byte in value {
        if let Some(count) = counts.get_mut(usize::from(*byte)) {
            *count += 1;
        }
    }
    let total = f64::from(saturated(value.len()));
    let bits: f64 = counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| f64::from(*count) / total)
        .map(|share| -share * share.log2())
        .sum();
    let steps = value.windows(2).filter(|pair| match pair {
        [a, b] => *b == *a || *b == a.wrapping_add(1) || *a == b.wrapping_add(1),
        _ => false,
    });
    bits >= MIN_BITS && steps.count() * 2 < value.len()
}

/// Decodes base64 of both alphabets, with or without padding.
fn decoded(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let engine = if text.contains(&b'-') || text.contains(&b'_') {
        &URL_SAFE_BASE64
    } else {
        &STANDARD_BASE64
    };
    engine.decode(text).ok().map(Zeroizing::new)
}

const ANY_PADDING: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD_BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, ANY_PADDING);
const URL_SAFE_BASE64: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, ANY_PADDING);

/// The longest value. A longer run of letters is no secret but data.
pub(super) const MAX_VALUE: usize = 6 * 1024;
/// The longest way from a name to its value: the rest of the name, quotes, a colon, spaces.
pub(super) const MAX_GAP: usize = 64;
/// The characters between a name and its value.
const GAP: &[u8] = b"\"'`:=>(),[]{}\\";
/// The words between a name and its value.
const SCHEMES: [&[u8]; 4] = [b"Bearer ", b"Basic ", b"App ", b"AccessKey "];
/// The fewest letters in one piece of a random value: words of names are shorter.
const MIN_RANDOM_PART: usize = 16;
/// The least entropy of a letter, in bits. 32 random hex digits have 3.6, words repeated and
/// sequences less than 3.
const MIN_BITS: f64 = 3.0;

#[cfg(test)]
mod tests {
    use data_encoding::BASE64;

    use super::*;

    fn form(kind: &str) -> KnownForm {
        known_forms(&[])
            .into_iter()
            .find(|form| form.kind == kind)
            .unwrap()
    }

    #[test]
    fn a_value_behind_a_telling_name_is_found_and_a_placeholder_is_not() {
        let secret = "9b1f0c7de8a3427f6655d10ab3c4e92f";
        for (text, is_found) in [
            (format!("app_secret={secret}"), true),
            (format!("\"app_secret\": \"{secret}\""), true),
            (format!("app_secret_prod => '{secret}'"), true),
            (format!("app_secret\\\":\\\"{secret}\\\""), true),
            (format!("app_secret={secret}0"), false),
            (format!("app_secret={}", &secret.replace("9b", "9")), false),
            (
                "app_secret=0123456789abcdef0123456789abcdef".to_owned(),
                false,
            ),
            (
                "app_secret=00000000000000000000000000000000".to_owned(),
                false,
            ),
            (
                "app_secret=deadbeefdeadbeefdeadbeefdeadbeef".to_owned(),
                false,
            ),
            ("app_secret=process.env.APP_SECRET".to_owned(), false),
            ("app_secret".to_owned(), false),
            (
                "app_secret: OWIxZjBjN2RlOGEzNDI3ZjY2NTVkMTBhYjNjNGU5MmY=".to_owned(),
                true,
            ),
        ] {
            let name = "app_secret".len() + usize::from(text.starts_with('"'));
            let hit = form("meta.app_secret").behind_name(text.as_bytes(), name);
            assert_eq!(hit.is_some(), is_found, "{text}");
        }
    }

    #[test]
    fn a_telling_begin_counts_at_the_begin_of_a_word_only() {
        let token = "EAAGm0PX4ZCpsBAKzZBhZAQ6d1vT5yLkW8nRx3JfC0uD7eHoM2sI9bN4";
        for (before, is_found) in [
            ("", true),
            ("Bearer ", true),
            ("Bearer%20", true),
            ("\\n", true),
            ("\\u003d", true),
            ("_", true),
            ("x", false),
            ("AA", false),
            ("+", false),
        ] {
            let text = format!("{before}{token}\"");
            let hit = form("meta.token").at_begin(text.as_bytes(), before.len());
            assert_eq!(hit.is_some(), is_found, "{text}");
        }
        for (text, is_found) in [
            (format!("/{token}/x"), false),
            (format!("/{token}?a"), true),
        ] {
            let hit = form("meta.token").at_begin(text.as_bytes(), 1);
            assert_eq!(hit.is_some(), is_found, "{text}");
        }
        let key = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
        let encoded = BASE64.encode(key.as_bytes());
        let known = form("standard-webhooks.secret");
        for text in [key, &format!("{key}\n"), &encoded] {
            let text = text.as_bytes();
            let hit = known.at_begin(text, 0).or(known.in_base64(text, 0));
            assert!(hit.is_some(), "{text:?}");
        }
        let filling = format!("EAA{}", "x".repeat(60));
        assert!(form("meta.token").at_begin(filling.as_bytes(), 0).is_none());
    }
}
