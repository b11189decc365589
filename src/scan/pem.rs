//! Private keys in PEM, plain and in base64.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use super::find::{Certainty, Hit};
use crate::provider::Letters;
use crate::secret::Secret;

/// Returns the private key in PEM whose first line has the word at `at`.
pub(super) fn private_key(text: &[u8], at: usize) -> Option<Hit> {
    let line = text.get(at.saturating_sub(MAX_PEM_LABEL)..at)?;
    let begin = memchr::memmem::rfind(line, PEM_BEGIN)?;
    let start = at - (line.len() - begin);
    let rest = text.get(at..(at + MAX_PEM).min(text.len()))?;
    let footer = memchr::memmem::find(rest, PEM_END)?;
    let close = memchr::memmem::find(rest.get(footer + PEM_END.len()..)?, DASHES)?;
    let end = at + footer + PEM_END.len() + close + 5;
    let pem = unescaped(text.get(start..end)?);
    let letters = pem.iter().filter(|byte| Letters::Base64.has(**byte));
    if letters.count() < MIN_PEM_LETTERS {
        return None;
    }
    let secret = Secret::parse_text_or_pem(pem).ok()?;
    Some(Hit {
        start,
        end,
        kind: "private-key".to_owned(),
        fingerprint: secret.fingerprint().of_random_key(),
        certainty: Certainty::Begin,
    })
}

/// Returns a key in PEM as a file of its own has it: without indentation, with line breaks for
/// `\n`.
fn unescaped(pem: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut clean = Zeroizing::new(Vec::with_capacity(pem.len()));
    let mut rest = pem;
    while let Some((first, after)) = rest.split_first() {
        rest = match (first, after.first()) {
            (b'\\', Some(b'n')) => {
                clean.push(b'\n');
                after.get(1..).unwrap_or_default()
            }
            (b'\\', Some(b'r')) => after.get(1..).unwrap_or_default(),
            (b' ' | b'\t', _) if clean.last() == Some(&b'\n') => after,
            (b'\r' | b'"' | b'+', _) if after.first().is_none_or(|next| *next == b'\n') => after,
            _ => {
                clean.push(*first);
                after
            }
        };
    }
    clean
}

/// Returns the private key in base64 at `start`. The `missing` first dashes share letters with the
/// text before the key.
pub(super) fn private_key_in_base64(text: &[u8], start: usize, missing: usize) -> Option<Hit> {
    let (pem, at) = encoded_pem(text, start, missing)?;
    let key = private_key(&pem, at).filter(|key| key.start == 0)?;
    let count = ((key.end - missing) * 4).div_ceil(3);
    let end = encoded_letters(text, start).nth(count - 1)?.0 + 1;
    Some(Hit {
        start,
        end,
        kind: format!("{}/base64", key.kind),
        ..key
    })
}

/// Returns the PEM that base64 at `start` stands for, with the place of [`PRIVATE_KEY`] in the
/// first line.
///
/// A text may repeat the begin of a key thousands of times: no more is decoded than the label, and
/// of a key no more than one piece behind its last line.
fn encoded_pem(text: &[u8], start: usize, missing: usize) -> Option<(Zeroizing<Vec<u8>>, usize)> {
    let mut letters = encoded_letters(text, start).map(|(_, letter)| letter);
    let first = PEM_BEGIN.len() + ENCODED_LABEL + ENCODED_PIECE;
    let mut pem = Zeroizing::new(Vec::with_capacity(first));
    pem.extend(PEM_BEGIN.get(..missing)?);
    decode_piece(&mut letters, ENCODED_LABEL, &mut pem);
    let label = pem.get(..(MAX_PEM_LABEL + PRIVATE_KEY.len()).min(pem.len()))?;
    let at = memchr::memmem::find(label, PRIVATE_KEY)?;
    let body = at + PRIVATE_KEY.len();
    while !has_whole_line(pem.get(body..)?) {
        // Enlarged by hand: a growing buffer leaves copies behind.
        if pem.capacity() < pem.len() + ENCODED_PIECE {
            let mut larger = Zeroizing::new(Vec::with_capacity(first + MAX_ENCODED_PEM));
            larger.extend_from_slice(&pem);
            pem = larger;
        }
        if !decode_piece(&mut letters, ENCODED_PIECE, &mut pem) {
            break;
        }
    }
    Some((pem, at))
}

/// Decodes up to `count` letters; false at the end of the letters.
fn decode_piece(letters: impl Iterator<Item = u8>, count: usize, decoded: &mut Vec<u8>) -> bool {
    let mut piece = Zeroizing::new(Vec::with_capacity(count));
    piece.extend(letters.take(count));
    let is_full = piece.len() == count;
    // A single letter is less than a byte.
    let whole = piece.len() - usize::from(piece.len() % 4 == 1);
    piece.truncate(whole);
    let bytes = ANY_END.decode(&*piece).map(Zeroizing::new);
    decoded.extend(bytes.iter().flat_map(|bytes| bytes.iter()));
    is_full
}

/// True if a line that begins and ends with dashes, as the last line of PEM does, is in a text.
fn has_whole_line(text: &[u8]) -> bool {
    memchr::memmem::find_iter(text, DASHES).nth(1).is_some()
}

/// Returns the letters of base64 from `start` on, with places. Line breaks may stand anywhere, and
/// letters of later text may follow.
fn encoded_letters(text: &[u8], start: usize) -> impl Iterator<Item = (usize, u8)> {
    let rest = text.get(start..).unwrap_or_default();
    // ASCII gives `+` or `/` in base64 by `>`, `?`, `~` and DEL alone, and PEM has none of them.
    let run = rest
        .iter()
        .take(MAX_ENCODED_PEM)
        .take_while(|byte| byte.is_ascii_alphanumeric() || byte.is_ascii_whitespace());
    let places = run
        .enumerate()
        .filter(|(_, byte)| !byte.is_ascii_whitespace());
    places.map(move |(place, byte)| (start + place, *byte))
}

const ANY_END: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);
/// The words that end the first line of every private key in PEM.
pub(super) const PRIVATE_KEY: &[u8] = b"PRIVATE KEY-----";
/// The longest private key in PEM: 16,384 bits of RSA take 13 KiB.
const MAX_PEM: usize = 14 * 1024;
/// The longest private key in base64, with line breaks and indentation.
pub(super) const MAX_ENCODED_PEM: usize = MAX_PEM / 3 * 4 + MAX_PEM / 4;
/// The longest label between `BEGIN` and `PRIVATE KEY`, such as `ENCRYPTED`, with the begin itself,
/// in bytes: `-----BEGIN ENCRYPTED ` has 21.
const MAX_PEM_LABEL: usize = 40;
/// The fewest letters of a private key: one of Ed25519 has 64, with the words of the first and the
/// last line more.
const MIN_PEM_LETTERS: usize = 90;
/// The begins of `-----BEGIN ` in base64, each with the number of dashes before: for each of the
/// three alignments of a byte. A key in a Secret of Kubernetes has the first alignment; a key in an
/// encoded file has any.
pub(super) const ENCODED_BEGINS: [(&[u8], usize); 3] = [
    (b"LS0tLS1CRUdJ", 0),
    (b"LS0tLUJFR0lO", 1),
    (b"LS0tQkVHSU4g", 2),
];
/// The letters of the first line in base64, with a whole number of groups.
const ENCODED_LABEL: usize = (MAX_PEM_LABEL + PRIVATE_KEY.len()).div_ceil(3) * 4;
/// The letters to decode at a time behind the first line: a whole number of groups.
const ENCODED_PIECE: usize = 1024;
const DASHES: &[u8] = b"-----";
const PEM_BEGIN: &[u8] = b"-----BEGIN ";
const PEM_END: &[u8] = b"-----END ";

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the fingerprints of the keys whose base64 begins anywhere in a text.
    fn in_base64(text: &str) -> Vec<String> {
        let at = |(needle, missing): &(&[u8], usize)| {
            let start = memchr::memmem::find(text.as_bytes(), needle)?;
            let hit = private_key_in_base64(text.as_bytes(), start, *missing)?;
            assert_eq!(hit.kind, "private-key/base64");
            Some(hit.fingerprint.to_string())
        };
        ENCODED_BEGINS.iter().filter_map(at).collect()
    }

    #[test]
    fn a_private_key_has_one_fingerprint_however_it_is_written() {
        let body = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQDJ4n0mQ0x7Yk2P\n\
                    u8Vh3TqzWc5LrB9dXf1sGa6NjEoKi2MtRySvUwFbHgPlZxQe4A7D";
        let plain = format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----");
        let indented = plain.replace('\n', "\n    ");
        let escaped = plain.replace('\n', "\\n");
        let print = |text: &str| {
            let at = text.find("PRIVATE KEY-----").unwrap();
            private_key(text.as_bytes(), at)
                .unwrap()
                .fingerprint
                .to_string()
        };
        assert_eq!(print(&plain), print(&indented));
        assert_eq!(print(&plain), print(&format!("key = \"{escaped}\"")));
        for before in ["", "a", "ab", "KEY='"] {
            let text = format!("{before}{plain}\n");
            let encoded = base64::prelude::BASE64_STANDARD.encode(&text);
            let wrapped: Vec<_> = encoded.as_bytes().chunks(76).collect();
            for text in [
                format!("key: {encoded}\nnext: x\n"),
                format!("key: |\n  {}\n", wrapped.join(&b"\n  "[..]).escape_ascii())
                    .replace("\\n", "\n"),
            ] {
                let hits = in_base64(&text);
                assert_eq!(hits, [print(&plain)], "{text}");
            }
        }
        let certificate = plain.replace("PRIVATE KEY", "CERTIFICATE");
        let encoded = base64::prelude::BASE64_STANDARD.encode(certificate);
        assert_eq!(in_base64(&encoded), [""; 0]);
        let empty = "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----";
        assert!(private_key(empty.as_bytes(), 11).is_none());
    }

    #[test]
    fn of_repeated_begins_of_keys_little_is_decoded() {
        let encoded = |text: &str| base64::prelude::BASE64_STANDARD.encode(text);
        let label = |words: &str| encoded(&format!("-----BEGIN {words}-----"));
        for (repeated, is_key, expected) in [
            ("LS0tLS1CRUdJ".to_owned(), false, 0),
            (label("CERTIFICATE"), false, 0),
            (label("PRIVATE KEY"), true, ENCODED_LABEL + ENCODED_PIECE),
        ] {
            let text = repeated.repeat(MAX_ENCODED_PEM / repeated.len() + 1);
            let pem = encoded_pem(text.as_bytes(), 0, 0);
            assert_eq!(pem.is_some(), is_key, "{repeated}");
            let length = pem.map_or(0, |(pem, _)| pem.len());
            assert!(length <= expected / 4 * 3, "{repeated}: {length}");
        }
    }
}
