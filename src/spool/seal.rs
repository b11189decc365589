//! The seal of records: AES-256-GCM under a key of its own for each record.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, MAX_TAG_LEN, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{hmac, rand};

/// The keys that seal records. The first key seals, every key opens.
///
/// A spool takes thousands of events a second for years, far more than one key may seal under
/// random nonces (2^32). So each record has its own key, derived from 16 random bytes beside the
/// record.
pub struct Seal {
    keys: Vec<SealKey>,
}

/// The sealing of records.
#[derive(Debug, Default)]
pub enum Sealing {
    /// No key is configured: new records are not sealed.
    #[default]
    Off,
    /// New records are sealed.
    On(Seal),
    /// A key is configured and cannot be had: no new record is written until the key is there.
    KeyMissing,
}

struct SealKey {
    derive: hmac::Key,
    /// The name of the key in records.
    id: [u8; ID_LENGTH],
}

impl Seal {
    /// Makes a seal of secret keys, the current one first; `None` if there are none.
    #[must_use]
    pub fn new<'k>(keys: impl IntoIterator<Item = &'k [u8; 32]>) -> Option<Self> {
        let keys: Vec<_> = keys
            .into_iter()
            .map(|key| {
                let derive = hmac::Key::new(hmac::HMAC_SHA256, key);
                let name = hmac::sign(&derive, b"keyside spool: name of the key");
                let id = name.as_ref().first_chunk().copied().unwrap_or_default();
                SealKey { derive, id }
            })
            .collect();
        (!keys.is_empty()).then_some(Self { keys })
    }

    /// Appends to a record what `write` appends, sealed; `None` where there is no randomness.
    pub(super) fn seal(
        &self,
        kind: &[u8],
        record: &mut Vec<u8>,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Option<()> {
        let key = self.keys.first()?;
        let mut salt = [0; SALT_LENGTH];
        rand::fill(&mut salt).ok()?;
        record.extend_from_slice(&key.id);
        record.extend_from_slice(&salt);
        let text_at = record.len();
        write(record);
        let cipher = key.cipher(&salt)?;
        let text = record.get_mut(text_at..)?;
        let tag = cipher
            .seal_in_place_separate_tag(no_nonce(), Aad::from(kind), text)
            .ok()?;
        record.extend_from_slice(tag.as_ref());
        Some(())
    }

    /// True if a key of the seal has sealed the record.
    pub(super) fn has_key_of(&self, sealed: &[u8]) -> bool {
        self.key_of(sealed).is_some()
    }

    fn key_of(&self, sealed: &[u8]) -> Option<&SealKey> {
        let id = sealed.first_chunk::<ID_LENGTH>()?;
        self.keys.iter().find(|key| key.id == *id)
    }

    /// Opens a record of a kind; `None` if no key opens it, or the record is damaged.
    pub(super) fn open(&self, kind: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let key = self.key_of(sealed)?;
        let (_, rest) = sealed.split_first_chunk::<ID_LENGTH>()?;
        let (salt, body) = rest.split_first_chunk::<SALT_LENGTH>()?;
        let mut body = body.to_vec();
        let length = key
            .cipher(salt)?
            .open_in_place(no_nonce(), Aad::from(kind), &mut body)
            .ok()?
            .len();
        body.truncate(length);
        Some(body)
    }
}

impl SealKey {
    fn cipher(&self, salt: &[u8; SALT_LENGTH]) -> Option<LessSafeKey> {
        let key = hmac::sign(&self.derive, salt);
        UnboundKey::new(&AES_256_GCM, key.as_ref())
            .ok()
            .map(LessSafeKey::new)
    }
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seal").finish_non_exhaustive()
    }
}

/// The nonce of a key for a single record.
fn no_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

/// The bytes that a seal adds to a text.
pub(super) const SEAL_LENGTH: usize = ID_LENGTH + SALT_LENGTH + MAX_TAG_LEN;
/// The length of the name of a key: with 64 bits, no two keys of an operator have one name by
/// chance.
const ID_LENGTH: usize = 8;
/// The length of the random bytes from which the key of a record is derived: 128 bits never repeat.
const SALT_LENGTH: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_opens_with_its_key_and_kind_and_unchanged_only() {
        let (old, new) = ([1; 32], [2; 32]);
        let before = Seal::new(&[old]).unwrap();
        let mut sealed = Vec::new();
        let write = |record: &mut Vec<u8>| record.extend_from_slice(b"text");
        before.seal(b"head", &mut sealed, write).unwrap();
        assert_eq!(sealed.len(), 4 + SEAL_LENGTH);
        assert!(!sealed.windows(4).any(|bytes| bytes == b"text"));
        let after = Seal::new(&[new, old]).unwrap();
        assert_eq!(after.open(b"head", &sealed).unwrap(), b"text");
        assert_eq!(after.open(b"body", &sealed), None);
        assert_eq!(Seal::new(&[new]).unwrap().open(b"head", &sealed), None);
        for at in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert_eq!(after.open(b"head", &damaged), None, "byte {at}");
        }
        assert!(!Seal::new(&[new]).unwrap().has_key_of(&sealed));
        assert!(Seal::new(&[]).is_none());
    }
}
