//! The texts that a value encodes: base64, hexadecimal digits or base32, and encodings of
//! encodings.

use base64::Engine;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use data_encoding::{BASE32_NOPAD, HEXLOWER_PERMISSIVE};
use zeroize::Zeroizing;

/// Returns the text that a value is base64 of, if there is one, in the alphabet of files or of
/// URLs.
pub(super) fn from_base64(value: &str) -> Option<Zeroizing<String>> {
    let of_files = Zeroizing::new(value.replace('-', "+").replace('_', "/"));
    text(BASE64.decode(&*of_files).ok()?)
}

/// Returns the texts encoded by a value, texts in other texts included. Random letters rarely
/// encode a text, so the list is mostly empty.
pub(super) fn encoded_texts(value: &str) -> Vec<Zeroizing<String>> {
    let mut texts: Vec<Zeroizing<String>> = Vec::new();
    let mut latest = vec![Zeroizing::new(value.to_owned())];
    for _ in 0..MAX_LAYERS {
        let inner: Vec<_> = latest
            .iter()
            .flat_map(|outer| [from_base64(outer), from_hex(outer), from_base32(outer)])
            .flatten()
            .collect();
        texts.append(&mut latest);
        latest = inner;
    }
    texts.append(&mut latest);
    texts.remove(0);
    texts
}

fn from_hex(value: &str) -> Option<Zeroizing<String>> {
    let digits = value.strip_prefix("0x").unwrap_or(value);
    text(HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).ok()?)
}

fn from_base32(value: &str) -> Option<Zeroizing<String>> {
    let letters = Zeroizing::new(value.trim_end_matches('=').to_ascii_uppercase());
    text(BASE32_NOPAD.decode(letters.as_bytes()).ok()?)
}

/// Returns bytes as a text of printable ASCII, without the white space around it.
fn text(bytes: Vec<u8>) -> Option<Zeroizing<String>> {
    let bytes = Zeroizing::new(bytes);
    let text = std::str::from_utf8(&bytes).ok()?.trim();
    let is_printable = |byte: u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
    let is_text = text.len() >= MIN_TEXT && text.bytes().all(is_printable);
    is_text.then(|| Zeroizing::new(text.to_owned()))
}

/// Base64 with or without padding: a copy of a value may have lost the padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// The layers of encodings that are looked through: a Secret of Kubernetes that was encoded twice
/// has two.
const MAX_LAYERS: usize = 3;
/// The shortest text of interest: no secret is shorter, and shorter texts in base64 are chance.
const MIN_TEXT: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found_in_each_encoding_and_two_layers_down() {
        let has =
            |value: &str, inner: &str| encoded_texts(value).iter().any(|text| **text == inner);
        for value in [
            "Y29ycmVjdCBob3JzZQ==",
            "Y29ycmVjdCBob3JzZQ",
            "636f727265637420686f727365",
            "0x636f727265637420686f727365",
            "MNXXE4TFMN2CA2DPOJZWK",
            "WTI5eWNtVmpkQ0JvYjNKelpRPT0=",
        ] {
            assert!(has(value, "correct horse"), "{value}");
        }
        assert!(encoded_texts("d41d8cd98f00b204e9800998ecf8427e").is_empty());
    }
}
