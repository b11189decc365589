//! Names for things: wamids, trace ids, object ids, fingerprints.

use std::hash::{BuildHasher, RandomState};

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

/// The first 12 hex digits of SHA-256 over `keyside:` and the token: how Keyside names a secret.
pub(super) fn fingerprint(token: &str) -> String {
    let digest = Sha256::new().chain_update("keyside:").chain_update(token).finalize();
    let mut hex = HEXLOWER.encode(&digest);
    hex.truncate(12);
    hex
}

/// An object id as Graph gives it to media and templates.
pub(super) fn object_id() -> String {
    let mut id = String::from("1");
    id.extend(pick(b"0123456789", 15));
    id
}

/// A new token: `EAA` and 160 letters and digits. From the operating system's randomness by way of SipHash:
/// good for an emulator, not for more.
pub(super) fn token() -> String {
    let mut token = String::from("EAA");
    token.extend(pick(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", 160));
    token
}

/// A new app secret: 32 hex digits.
pub(super) fn app_secret() -> String {
    hex(32)
}

/// So many hex digits.
pub(super) fn hex(count: usize) -> String {
    pick(b"0123456789abcdef", count).collect()
}

/// A UUID of version 4.
pub(super) fn uuid() -> String {
    format!("{}-{}-4{}-a{}-{}", hex(8), hex(4), hex(3), hex(3), hex(12))
}

/// `fbtrace_id`, which is `X-Fb-Request-Id` too.
pub(super) fn trace_id() -> String {
    let mut id = String::from("A");
    id.extend(pick(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-", 22));
    id
}

/// `X-Fb-Trace-Id`.
pub(super) fn short_trace_id() -> String {
    pick(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", 11).collect()
}

/// The id of a message that was sent: it holds the recipient, as the real one does.
pub(super) fn wamid(recipient: &str) -> String {
    let unique: String = pick(b"0123456789ABCDEF", 18).collect();
    wamid_of(recipient, &unique)
}

/// `1c 18 len recipient 15 02 00 11 18 len unique 00` in base64; 11 stands for outbound.
fn wamid_of(recipient: &str, unique: &str) -> String {
    let mut bytes = vec![0x1c, 0x18, u8::try_from(recipient.len()).unwrap_or(u8::MAX)];
    bytes.extend_from_slice(recipient.as_bytes());
    bytes.extend_from_slice(&[0x15, 0x02, 0x00, 0x11, 0x18, u8::try_from(unique.len()).unwrap_or(u8::MAX)]);
    bytes.extend_from_slice(unique.as_bytes());
    bytes.push(0);
    format!("wamid.{}", base64(&bytes))
}

/// Base64 with the standard alphabet and padding.
pub(super) fn base64(bytes: &[u8]) -> String {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let padded = [0, 1, 2].map(|index| u32::from(group.get(index).copied().unwrap_or(0)));
        let word = padded.iter().fold(0, |word, byte| word << 8 | byte);
        for (position, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            let sextet = usize::try_from(word >> shift & 63).unwrap_or(0);
            let letter = alphabet.get(sextet).copied().unwrap_or(b'A');
            text.push(if position > group.len() { '=' } else { char::from(letter) });
        }
    }
    text
}

fn pick(alphabet: &'static [u8], count: usize) -> impl Iterator<Item = char> {
    let size = u64::try_from(alphabet.len()).unwrap_or(1);
    let mut bits = 0_u64;
    (0..count).filter_map(move |index| {
        if index % 8 == 0 {
            bits = RandomState::new().hash_one(index);
        }
        let letter = usize::try_from((bits & 0xff) % size).ok()?;
        bits >>= 8;
        alphabet.get(letter).map(|&letter| char::from(letter))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wamid_has_the_recorded_layout() {
        let recorded = "wamid.HBgLMTM0Mzc3NzI5MTAVAgARGBIyQzU4M0Q4MDc2NDY4ODgwNjUA";
        assert_eq!(wamid_of("13437772910", "2C583D807646888065"), recorded);
    }

    #[test]
    fn base64_pads_as_everybody_does() {
        let texts = ["", "f", "fo", "foo", "foob"].map(|text| base64(text.as_bytes()));
        assert_eq!(texts, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg=="]);
    }

    #[test]
    fn a_fingerprint_is_twelve_digits_of_the_salted_hash() {
        assert_eq!(fingerprint("EAATESTTOKEN").len(), 12);
        assert_ne!(fingerprint("EAATESTTOKEN"), fingerprint("EAATESTTOKEM"));
    }

    #[test]
    fn a_token_looks_like_one() {
        let token = token();
        assert!(token.starts_with("EAA") && token.len() == 163, "{token}");
        assert!(app_secret().bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
}
