//! The keys that seal entries and hash secrets, derived from the secrets of `[state] key`.

use std::collections::BTreeSet;
use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Okm, Prk, Salt};
use aws_lc_rs::{hmac, rand};
use zeroize::Zeroizing;

use super::entry::EntryName;
use super::error::StateError;
use crate::secret::Secret;

/// The keys derived from a secret. The secret is neither kept nor written.
///
/// A sealed entry is `KSS1`, 8 bytes that name the key, 12 random bytes of nonce, then the text
/// under AES-256-GCM. The name of the entry is authenticated along with the text: an entry does not
/// open under another name.
pub(super) struct StateKey {
    seal: LessSafeKey,
    /// The key for hashes of secrets.
    hash: hmac::Key,
    /// The key from which the spool derives the keys of its records.
    spool: Zeroizing<[u8; 32]>,
    /// The name of the key in entries, to distinguish a different key from damage.
    id: [u8; ID_LENGTH],
}

impl StateKey {
    /// Derives the keys from a secret.
    ///
    /// # Errors
    /// If the secret is too short, or repeats a few characters: such a secret could be guessed.
    pub(super) fn derive(secret: &Secret) -> Result<Self, WeakKey> {
        #[expect(
            clippy::disallowed_methods,
            reason = "the keys of the state are derived from the secret"
        )]
        let value = secret.expose().as_bytes();
        check_strength(value)?;
        let extracted = Salt::new(HKDF_SHA256, DERIVATION).extract(value);
        let mut id = [0; 32];
        expand(&extracted, ID, HKDF_SHA256)?
            .fill(&mut id)
            .map_err(|_| WeakKey::Derivation)?;
        let mut spool = Zeroizing::new([0; 32]);
        expand(&extracted, SPOOL, HKDF_SHA256)?
            .fill(&mut *spool)
            .map_err(|_| WeakKey::Derivation)?;
        let seal = expand(&extracted, SEAL, &AES_256_GCM)?;
        let hash = expand(&extracted, HASH, hmac::HMAC_SHA256)?;
        Ok(Self {
            seal: LessSafeKey::new(UnboundKey::from(seal)),
            hash: hash.into(),
            spool,
            id: id.first_chunk().copied().unwrap_or_default(),
        })
    }

    /// Seals a text under a random nonce. The number of entries is far below the bound for random
    /// nonces, 2^32.
    pub(super) fn seal(&self, name: &EntryName, text: &[u8]) -> Result<Vec<u8>, StateError> {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).map_err(|_| StateError::Cipher)?;
        let mut body = Zeroizing::new(Vec::with_capacity(text.len() + AES_256_GCM.tag_len()));
        body.extend_from_slice(text);
        self.seal
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(authenticated(name)),
                &mut *body,
            )
            .map_err(|_| StateError::Cipher)?;
        let mut sealed = Vec::with_capacity(HEAD_LENGTH + body.len());
        sealed.extend_from_slice(MAGIC);
        sealed.extend_from_slice(&self.id);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&body);
        Ok(sealed)
    }

    /// Returns the key for hashes of secrets.
    pub(super) fn hash_key(&self) -> &hmac::Key {
        &self.hash
    }

    /// Returns the key from which the spool derives the keys of its records.
    pub(super) fn spool_key(&self) -> &[u8; 32] {
        &self.spool
    }

    /// True if an entry names this key as the sealing key.
    fn sealed(&self, entry: &[u8]) -> bool {
        entry.get(MAGIC.len()..MAGIC.len() + ID_LENGTH) == Some(&self.id)
    }

    /// Opens an entry in its own buffer, so that no copy of the text is left behind.
    fn open(
        &self,
        name: &EntryName,
        mut entry: Zeroizing<Vec<u8>>,
    ) -> Result<Zeroizing<Vec<u8>>, StateError> {
        let damaged = || StateError::Damaged {
            entry: name.to_string(),
        };
        let (head, body) = entry
            .split_at_mut_checked(HEAD_LENGTH)
            .ok_or_else(damaged)?;
        let nonce = head
            .last_chunk::<NONCE_LEN>()
            .copied()
            .ok_or_else(damaged)?;
        let nonce = Nonce::assume_unique_for_key(nonce);
        let length = self
            .seal
            .open_in_place(nonce, Aad::from(authenticated(name)), body)
            .map_err(|_| damaged())?
            .len();
        entry.copy_within(HEAD_LENGTH..HEAD_LENGTH + length, 0);
        entry.truncate(length);
        Ok(entry)
    }
}

/// The keys in the order of the configuration. The first seals; every one opens.
pub(super) struct StateKeys {
    pub(super) current: StateKey,
    pub(super) older: Vec<StateKey>,
}

/// An entry that was opened.
pub(super) struct Opened {
    pub(super) text: Zeroizing<Vec<u8>>,
    /// True if an older key had sealed the entry.
    pub(super) is_of_older_key: bool,
}

impl StateKeys {
    /// Opens an entry with the key that sealed it.
    pub(super) fn open(
        &self,
        name: &EntryName,
        entry: Zeroizing<Vec<u8>>,
    ) -> Result<Opened, StateError> {
        if !entry.starts_with(MAGIC) || entry.len() < HEAD_LENGTH {
            return Err(StateError::Damaged {
                entry: name.to_string(),
            });
        }
        if self.current.sealed(&entry) {
            return Ok(Opened {
                text: self.current.open(name, entry)?,
                is_of_older_key: false,
            });
        }
        let older = self.older.iter().find(|older| older.sealed(&entry));
        let key = older.ok_or_else(|| StateError::OtherKey {
            entry: name.to_string(),
        })?;
        Ok(Opened {
            text: key.open(name, entry)?,
            is_of_older_key: true,
        })
    }
}

impl StateKeys {
    /// Returns all keys, the current one first.
    pub(super) fn all(&self) -> impl Iterator<Item = &StateKey> {
        std::iter::once(&self.current).chain(&self.older)
    }
}

/// The reason why a secret cannot be the key of the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeakKey {
    /// Too few bytes.
    Short {
        /// The number of bytes.
        length: usize,
    },
    /// The bytes repeat a few characters.
    Repetitive,
    /// The derivation failed, which no known cause explains.
    Derivation,
}

impl fmt::Display for WeakKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short { length } => write!(
                f,
                "{length} bytes, expected {MIN_KEY_LENGTH} random ones or more, such as `openssl rand -base64 32` makes"
            ),
            Self::Repetitive => write!(
                f,
                "a few characters over and over, expected random ones, such as `openssl rand -base64 32` makes"
            ),
            Self::Derivation => f.write_str("no key can be derived from it"),
        }
    }
}

impl std::error::Error for WeakKey {}

fn check_strength(value: &[u8]) -> Result<(), WeakKey> {
    if value.len() < MIN_KEY_LENGTH {
        return Err(WeakKey::Short {
            length: value.len(),
        });
    }
    let distinct: BTreeSet<_> = value.iter().collect();
    if distinct.len() < MIN_DISTINCT {
        return Err(WeakKey::Repetitive);
    }
    Ok(())
}

/// Expands key material for one use.
fn expand<'a, L: KeyType>(
    extracted: &'a Prk,
    usage: &'a [&'a [u8]],
    length: L,
) -> Result<Okm<'a, L>, WeakKey> {
    extracted
        .expand(usage, length)
        .map_err(|_| WeakKey::Derivation)
}

/// Returns the text that is authenticated with an entry: the version of the form, and the name.
fn authenticated(name: &EntryName) -> String {
    format!("keyside state 1\n{name}")
}

/// The first bytes of a sealed entry: the form and its version.
const MAGIC: &[u8; 4] = b"KSS1";
/// The length of the name of a key: with 64 bits, no two keys of an operator have one name by
/// chance.
const ID_LENGTH: usize = 8;
/// The length of what stands before the text.
const HEAD_LENGTH: usize = MAGIC.len() + ID_LENGTH + NONCE_LEN;
/// The shortest secret that a key is derived from: 128 bits as hex digits, 192 bits as base64.
const MIN_KEY_LENGTH: usize = 32;
/// The least number of different characters. 32 random hex digits have fewer than eight in one of
/// 10^9 cases.
const MIN_DISTINCT: usize = 8;
/// The salt of the derivation: other programs derive different keys from an equal secret.
const DERIVATION: &[u8] = b"keyside state";
const SEAL: &[&[u8]] = &[b"seal"];
const HASH: &[&[u8]] = &[b"hash"];
const ID: &[&[u8]] = &[b"id"];
const SPOOL: &[&[u8]] = &[b"spool"];

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::parse(Zeroizing::new(text.as_bytes().to_vec())).unwrap()
    }

    fn key(text: &str) -> StateKey {
        StateKey::derive(&secret(text)).ok().unwrap()
    }

    fn keys(current: &str, older: &[&str]) -> StateKeys {
        StateKeys {
            current: key(current),
            older: older.iter().map(|older| key(older)).collect(),
        }
    }

    const ONE: &str = "3q2+7wABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhs=";
    const OTHER: &str = "0123456789abcdef0123456789abcdef";

    fn name(owner: &str) -> EntryName {
        EntryName::new("previous", owner)
    }

    fn open(keys: &StateKeys, owner: &str, entry: &[u8]) -> Result<Opened, StateError> {
        keys.open(&name(owner), Zeroizing::new(entry.to_vec()))
    }

    #[test]
    fn an_entry_opens_with_its_key_under_its_name_alone() {
        let sealed = key(ONE).seal(&name("acme"), b"text").unwrap();
        let mine = keys(ONE, &[]);
        assert_eq!(*open(&mine, "acme", &sealed).unwrap().text, b"text");
        assert!(matches!(
            open(&mine, "other", &sealed),
            Err(StateError::Damaged { .. })
        ));
        let others = keys(OTHER, &[]);
        assert!(matches!(
            open(&others, "acme", &sealed),
            Err(StateError::OtherKey { .. })
        ));
        let both = open(&keys(OTHER, &[ONE]), "acme", &sealed).unwrap();
        assert!(both.is_of_older_key && *both.text == b"text");
    }

    #[test]
    fn every_changed_byte_and_every_cut_is_noticed() {
        let sealed = key(ONE).seal(&name("acme"), b"text").unwrap();
        let mine = keys(ONE, &[]);
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(open(&mine, "acme", &changed).is_err(), "byte {at}");
            assert!(open(&mine, "acme", &sealed[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn one_text_is_sealed_differently_each_time() {
        let key = key(ONE);
        let seal = || key.seal(&name("acme"), b"text").unwrap();
        assert_ne!(seal(), seal());
    }

    #[test]
    fn a_secret_that_could_be_guessed_is_no_key() {
        for (text, expected) in [
            ("short", WeakKey::Short { length: 5 }),
            ("abcdabcdabcdabcdabcdabcdabcdabcd", WeakKey::Repetitive),
        ] {
            assert_eq!(StateKey::derive(&secret(text)).err(), Some(expected));
        }
    }
}
