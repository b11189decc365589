//! Identifiers: the fixed ids of the emulated account, and random ids in the form of the real ones.

use std::hash::{BuildHasher, RandomState};

use data_encoding::{BASE64, HEXLOWER};
use sha2::{Digest, Sha256};

/// Returns true for text in the form of a Graph object id: 1 to 20 digits.
pub(crate) fn is_object_id(text: &str) -> bool {
    (1..=MAX_OBJECT_ID).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Returns true for text in the form of a group's id.
pub(crate) fn is_group_id(text: &str) -> bool {
    text.starts_with(GROUP_PREFIX) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Returns a random id for a group of a number: base64 of `capi_group:NUMBER:GROUP`, with `ZD` for
/// each `=`.
pub(crate) fn group_id(number: &str) -> String {
    let text = format!("capi_group:{number}:1{}", random_text(b"0123456789", 17));
    BASE64.encode(text.as_bytes()).replace('=', "ZD")
}

/// Returns the first 12 hex digits of SHA-256 over `keyside:` and the secret, as Keyside names
/// secrets.
pub(crate) fn fingerprint(secret: &str) -> String {
    let digest = Sha256::new()
        .chain_update("keyside:")
        .chain_update(secret)
        .finalize();
    format!("{:.12}", HEXLOWER.encode(&digest))
}

/// Returns a random object id, as Graph assigns ids to media and templates.
pub(crate) fn object_id() -> String {
    format!("1{}", random_text(b"0123456789", 15))
}

/// Returns a random access token: `EAA` and 160 letters and digits.
pub(crate) fn token() -> String {
    format!("EAA{}", random_text(ALPHANUMERIC, 160))
}

/// Returns a random app secret: 32 hex digits.
pub(crate) fn app_secret() -> String {
    hex(32)
}

/// Returns `count` random hex digits.
pub(crate) fn hex(count: usize) -> String {
    random_text(b"0123456789abcdef", count)
}

/// Returns a random UUID of version 4.
pub(crate) fn uuid() -> String {
    format!("{}-{}-4{}-a{}-{}", hex(8), hex(4), hex(3), hex(3), hex(12))
}

/// Returns a random id of a form: `{hex}`, `{hex26}`, `{uuid}` and `{digits}` are replaced.
pub(crate) fn in_form(form: &str) -> String {
    form.replace("{hex}", &hex(32))
        .replace("{hex26}", &hex(26))
        .replace("{uuid}", &uuid())
        .replace("{digits}", &object_id())
}

/// Returns a random `fbtrace_id`. The header `X-Fb-Request-Id` of an answer has the same value.
pub(crate) fn trace_id() -> String {
    format!("A{}", random_text(BASE64URL_ALPHABET, 22))
}

/// Returns a random value of the header `X-Fb-Trace-Id`.
pub(crate) fn short_trace_id() -> String {
    random_text(BASE64_ALPHABET, 11)
}

/// Returns a random message id, which contains the recipient as a real wamid does.
pub(crate) fn wamid(recipient: &str) -> String {
    encode_wamid(recipient, &random_text(b"0123456789ABCDEF", 18))
}

/// Encodes `1c 18 LENGTH recipient 15 02 00 11 18 LENGTH unique 00`, where `11` marks an outbound
/// message.
fn encode_wamid(recipient: &str, unique: &str) -> String {
    let length = |text: &str| u8::try_from(text.len()).unwrap_or(u8::MAX);
    let bytes = [
        &[0x1c, 0x18, length(recipient)],
        recipient.as_bytes(),
        &[0x15, 0x02, 0x00, 0x11, 0x18, length(unique)],
        unique.as_bytes(),
        &[0],
    ]
    .concat();
    format!("wamid.{}", BASE64.encode(&bytes))
}

/// Returns `count` random letters of an ASCII alphabet.
///
/// The randomness is the operating system's by way of SipHash: good enough for an emulator only.
fn random_text(alphabet: &[u8], count: usize) -> String {
    let size = u64::try_from(alphabet.len()).unwrap_or(1);
    let mut bits = 0_u64;
    let letters = (0..count).filter_map(|index| {
        // A hash has 8 bytes, and each letter uses one byte.
        if index % 8 == 0 {
            bits = RandomState::new().hash_one(index);
        }
        let letter = usize::try_from((bits & 0xff) % size).ok()?;
        bits >>= 8;
        alphabet.get(letter).map(|&letter| char::from(letter))
    });
    letters.collect()
}

/// The app that every token belongs to. The digits are those of Meta's documented example.
pub(crate) const APP: &str = "634974688087057";

/// The WhatsApp Business Account that exists without configuration.
pub(crate) const ACCOUNT: &str = "114503234599312";

/// The phone number id that exists without configuration.
pub(crate) const SENDER: &str = "107878721936019";

/// The beginning of every group's id: base64 of `capi_group`.
const GROUP_PREFIX: &str = "Y2FwaV9ncm91cD";

/// The longest object id, in digits: more than an unsigned 64-bit number needs.
const MAX_OBJECT_ID: usize = 20;

/// The alphabet of access tokens.
const ALPHANUMERIC: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// The alphabet of `fbtrace_id`.
const BASE64URL_ALPHABET: &[u8] =
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";

/// The alphabet of `X-Fb-Trace-Id`.
const BASE64_ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wamid_has_the_recorded_layout() {
        let recorded = "wamid.HBgLMTM0Mzc3NzI5MTAVAgARGBIyQzU4M0Q4MDc2NDY4ODgwNjUA";
        assert_eq!(encode_wamid("13437772910", "2C583D807646888065"), recorded);
    }

    #[test]
    fn the_id_of_a_group_has_the_documented_form() {
        let id = group_id("17055550139");
        assert!(is_group_id(&id), "{id}");
        assert!(is_group_id(
            "Y2FwaV9ncm91cDoxNzA1NTU1MDEzOToxMjAzNjM0MDQ2OTQyMzM4MjAZD"
        ));
        assert!(!is_group_id("17055550139"));
    }

    #[test]
    fn a_fingerprint_is_twelve_digits_of_the_salted_hash() {
        assert_eq!(fingerprint("EAATESTTOKEN").len(), 12);
        assert_ne!(fingerprint("EAATESTTOKEN"), fingerprint("EAATESTTOKEM"));
    }

    #[test]
    fn a_token_has_the_form_of_a_real_token() {
        let token = token();
        assert!(token.starts_with("EAA") && token.len() == 163, "{token}");
        assert!(app_secret().bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
}
