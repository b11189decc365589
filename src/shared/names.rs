//! What things are called in the shared server, and how what is kept there is sealed.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// Makes names out of what nobody who looks into the server should learn, such as phone numbers: a hash with a key that
/// all sidecars have, since all have the password of the server. Without a password whoever reads the names can also try
/// all phone numbers; then the server has no secrets in any case. With another password all names are others, so changing
/// it begins every limit anew, once, and what was sent before it under an `Idempotency-Key` is known to its own sidecar alone.
pub struct Names {
    key: Zeroizing<[u8; 32]>,
    /// None where no key can be made of it, which does not happen.
    seal: Option<RandomizedNonceKey>,
}

impl Names {
    /// With a key made of the password.
    pub(super) fn new(password: &[u8]) -> Self {
        let derive = |purpose: &[u8]| hmac(password, &[purpose]);
        let seal = RandomizedNonceKey::new(&AES_256_GCM, &*derive(b"keyside sealing")).ok();
        Self { key: derive(b"keyside names"), seal }
    }

    /// What all names of an account begin with, such as `keyside:{gwTzyhR7xVGk}`. A cluster keeps in one place what has the
    /// same text in braces.
    #[must_use]
    pub fn account(&self, account: &str) -> String {
        format!("keyside:{{{}}}", self.hash::<9>(&[account]))
    }

    /// A name below that of an account, such as `keyside:{gwTzyhR7xVGk}:pair:3jmTmJKWv5YE7VdS`.
    #[must_use]
    pub fn below(&self, account: &str, kind: &str, parts: &[&str]) -> String {
        format!("{account}:{kind}:{}", self.hash::<12>(parts))
    }

    /// Digits that are the same for the same bytes, and show nothing of them.
    #[must_use]
    pub fn hidden(&self, bytes: &[u8]) -> String {
        let hash = hmac(&*self.key, &[bytes]);
        HEXLOWER.encode(hash.first_chunk::<16>().map_or(&[], |first| first))
    }

    /// Text that shows nothing of `bytes` to whoever has no password of the server.
    #[must_use]
    pub fn seal(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut sealed = bytes.to_vec();
        let nonce = self.seal.as_ref()?.seal_in_place_append_tag(Aad::empty(), &mut sealed).ok()?;
        Some([nonce.as_ref().as_slice(), &sealed].concat())
    }

    /// What was sealed; nothing where it was not sealed with this key.
    #[must_use]
    pub fn open(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut bytes = sealed.to_vec();
        let length = self.seal.as_ref()?.open_in_place(nonce, Aad::empty(), &mut bytes).ok()?.len();
        bytes.truncate(length);
        Some(bytes)
    }

    /// The first bytes of a keyed hash, as text.
    fn hash<const LENGTH: usize>(&self, parts: &[&str]) -> String {
        let parts: Vec<_> = parts.iter().map(|part| part.as_bytes()).collect();
        let hash = hmac(&*self.key, &parts);
        BASE64URL_NOPAD.encode(hash.first_chunk::<LENGTH>().map_or(&[], |first| first))
    }
}

/// Each part with its length, so that no two lists of parts are the same bytes.
fn hmac(key: &[u8], parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    // HMAC takes a key of any length, so there is no error to tell of.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return Zeroizing::default() };
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
    fn a_name_shows_nothing_of_what_it_is_made_of() {
        let name = |password: &[u8], account: &str, parts: &[&str]| {
            let names = Names::new(password);
            names.below(&names.account(account), "pair", parts)
        };
        let one = name(b"password", "acme", &["106540352242922", "15550001234"]);
        assert!(one.starts_with("keyside:{") && one.contains("}:pair:"), "{one}");
        assert!(!one.contains("acme") && !one.contains("0001234"), "{one}");
        assert_eq!(one, name(b"password", "acme", &["106540352242922", "15550001234"]));
        for other in [
            name(b"password", "acme", &["10654035224292", "215550001234"]),
            name(b"password", "other", &["106540352242922", "15550001234"]),
            name(b"another", "acme", &["106540352242922", "15550001234"]),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn what_is_sealed_opens_with_the_same_password_alone() {
        let names = Names::new(b"password");
        let sealed = names.seal(b"an answer").unwrap();
        assert!(!sealed.windows(9).any(|window| window == b"an answer"));
        assert_eq!(names.open(&sealed).as_deref(), Some(&b"an answer"[..]));
        assert_eq!(Names::new(b"another").open(&sealed), None);
        assert_eq!(names.open(&sealed[..sealed.len() - 1]), None);
        assert_eq!(names.open(b"short"), None);
    }
}
