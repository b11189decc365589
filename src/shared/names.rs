//! The names of Redis keys in the shared server, and the sealing of values.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// A maker of opaque Redis keys and sealed values.
///
/// Names such as phone numbers enter a Redis key as a keyed hash. The key of the hash is derived
/// from the server's password, which all sidecars have:
/// - On a server without a password, whoever reads the Redis keys can try all phone numbers; such a
///   server has no secrets in any case.
/// - A changed password changes all Redis keys. Each limit begins anew, once, and each message sent
///   before under an `Idempotency-Key` is known to its own sidecar alone.
pub struct KeyNames {
    key: Zeroizing<[u8; 32]>,
    /// The key for sealed values. `None` only if AES-256-GCM refuses 32 bytes, which it never does.
    seal: Option<RandomizedNonceKey>,
}

impl KeyNames {
    /// Derives both keys from the server's password.
    pub(super) fn new(password: &[u8]) -> Self {
        let derive = |purpose: &[u8]| hmac(password, &[purpose]);
        let seal = RandomizedNonceKey::new(&AES_256_GCM, &*derive(b"keyside sealing")).ok();
        Self {
            key: derive(b"keyside names"),
            seal,
        }
    }

    /// Returns the prefix of all Redis keys of an account, such as `keyside:{gwTzyhR7xVGk}`. A
    /// cluster keeps all keys with one text in braces on one node, so a script may use several.
    #[must_use]
    pub fn account(&self, account: &str) -> String {
        format!("keyside:{{{}}}", self.hash::<9>(&[account]))
    }

    /// Returns a Redis key below the prefix of an account, such as
    /// `keyside:{gwTzyhR7xVGk}:pair:3jmTmJKWv5YE7VdS`.
    #[must_use]
    pub fn below(&self, account: &str, kind: &str, parts: &[&str]) -> String {
        format!("{account}:{kind}:{}", self.hash::<12>(parts))
    }

    /// Returns a keyed hash of `bytes` as hexadecimal digits.
    #[must_use]
    pub fn hidden(&self, bytes: &[u8]) -> String {
        let hash = hmac(&*self.key, &[bytes]);
        HEXLOWER.encode(hash.first_chunk::<16>().map_or(&[], |first| first))
    }

    /// Encrypts `bytes` for everybody who does not have the server's password. The result opens
    /// under the Redis key `stored_at` alone: whoever writes to the server cannot pass one
    /// message's answer off as another's.
    #[must_use]
    pub fn seal(&self, bytes: &[u8], stored_at: &str) -> Option<Vec<u8>> {
        let mut sealed = bytes.to_vec();
        let nonce = self
            .seal
            .as_ref()?
            .seal_in_place_append_tag(Aad::from(stored_at), &mut sealed)
            .ok()?;
        Some([nonce.as_ref().as_slice(), &sealed].concat())
    }

    /// Decrypts the bytes of [`KeyNames::seal`]; returns `None` if they were sealed with a
    /// different key or for a different Redis key, or changed.
    #[must_use]
    pub fn open(&self, sealed: &[u8], stored_at: &str) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut bytes = sealed.to_vec();
        let length = self
            .seal
            .as_ref()?
            .open_in_place(nonce, Aad::from(stored_at), &mut bytes)
            .ok()?
            .len();
        bytes.truncate(length);
        Some(bytes)
    }

    /// Returns the first `LENGTH` bytes of a keyed hash, as base64url.
    fn hash<const LENGTH: usize>(&self, parts: &[&str]) -> String {
        let parts: Vec<_> = parts.iter().map(|part| part.as_bytes()).collect();
        let hash = hmac(&*self.key, &parts);
        BASE64URL_NOPAD.encode(hash.first_chunk::<LENGTH>().map_or(&[], |first| first))
    }
}

/// Returns the HMAC over a list of parts. Each part is preceded by its length, so no two
/// different lists are the same bytes.
fn hmac(key: &[u8], parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    // HMAC takes a key of any length: the error cannot happen.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return Zeroizing::default();
    };
    for part in parts {
        mac.update(&(part.len() as u64).to_le_bytes());
        mac.update(part);
    }
    Zeroizing::new(mac.finalize().into_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redis_key_shows_neither_account_nor_phone_number() {
        let name = |password: &[u8], account: &str, parts: &[&str]| {
            let names = KeyNames::new(password);
            names.below(&names.account(account), "pair", parts)
        };
        let one = name(b"password", "acme", &["106540352242922", "15550001234"]);
        assert!(
            one.starts_with("keyside:{") && one.contains("}:pair:"),
            "{one}"
        );
        assert!(!one.contains("acme") && !one.contains("0001234"), "{one}");
        assert_eq!(
            one,
            name(b"password", "acme", &["106540352242922", "15550001234"])
        );
        for other in [
            name(b"password", "acme", &["10654035224292", "215550001234"]),
            name(b"password", "other", &["106540352242922", "15550001234"]),
            name(b"another", "acme", &["106540352242922", "15550001234"]),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn a_sealed_value_opens_with_its_password_and_at_its_place_only() {
        let names = KeyNames::new(b"password");
        let sealed = names.seal(b"an answer", "here").unwrap();
        assert!(!sealed.windows(9).any(|window| window == b"an answer"));
        let opened = names.open(&sealed, "here");
        assert_eq!(opened.as_deref(), Some(&b"an answer"[..]));
        assert_eq!(names.open(&sealed, "there"), None);
        assert_eq!(KeyNames::new(b"another").open(&sealed, "here"), None);
        assert_eq!(names.open(&sealed[..sealed.len() - 1], "here"), None);
        assert_eq!(names.open(b"short", "here"), None);
    }
}
