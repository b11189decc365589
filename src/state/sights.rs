//! First sights of secrets: when a sidecar first used each secret, by a hash under a key.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use aws_lc_rs::rand;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use super::error::StateError;
use super::folder::StateFolder;
use super::key::StateKeys;
use crate::secret::Secret;
use crate::units::DAY;

/// The origin of a secret, which decides the keys for hashing the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SightKind {
    /// A key that a provider made at random: no dictionary finds the key from a hash.
    Random,
    /// A value that a person may have chosen. With hash and key beside each other, the value would
    /// fall to a dictionary, so the hash is kept only with `[state] key`.
    Chosen,
}

/// The keys under which secrets are hashed, the current one first.
///
/// With `[state] key`, the keys are derived from the configured key, and the folder alone betrays
/// no secret. Without `[state] key`, the key is a random salt in the folder: the hash of a random
/// key betrays no secret either.
#[derive(Debug)]
pub(super) struct SightKeys {
    keyed: Vec<hmac::Key>,
}

/// The first sights in the folder, as of one moment.
#[derive(Debug, Default)]
pub struct Sights {
    keyed: Vec<hmac::Key>,
    salted: Option<hmac::Key>,
    sights: BTreeMap<String, SecretSight>,
}

/// The first sight of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SecretSight {
    /// Unix time in seconds.
    since: u64,
    /// Unix time of a day on which the secret was in use.
    used: u64,
}

#[derive(Serialize, Deserialize)]
struct SightsFile {
    sights: BTreeMap<String, SecretSight>,
}

impl SightKeys {
    pub(super) fn new(keys: Option<&StateKeys>) -> Self {
        let keyed = keys.into_iter().flat_map(StateKeys::all);
        Self {
            keyed: keyed.map(|key| key.hash_key().clone()).collect(),
        }
    }

    /// Reads the first sights in a folder.
    pub(super) fn read(&self, folder: &StateFolder) -> Result<Sights, StateError> {
        let salt = folder.read(SALT)?;
        let file = folder.read(FILE)?;
        let sights = match file {
            None => BTreeMap::new(),
            Some(text) => {
                let parsed: Result<SightsFile, _> = serde_json::from_slice(&text);
                parsed
                    .map_err(|_| StateError::Damaged {
                        entry: FILE.to_owned(),
                    })?
                    .sights
            }
        };
        Ok(Sights {
            keyed: self.keyed.clone(),
            salted: salt.map(|salt| hmac::Key::new(hmac::HMAC_SHA256, &salt)),
            sights,
        })
    }

    /// Adds the first sights of secrets in use, each with the time since which it is known. Times
    /// of earlier sights stay.
    pub(super) fn record<'s>(
        &self,
        folder: &StateFolder,
        used: impl Iterator<Item = (&'s Secret, SightKind, SystemTime)>,
        now: SystemTime,
    ) -> Result<(), StateError> {
        let locked = folder.lock()?;
        if self.keyed.is_empty() && folder.read(SALT)?.is_none() {
            let mut salt = [0; 32];
            rand::fill(&mut salt).map_err(|_| StateError::Cipher)?;
            locked.write(SALT, &salt)?;
        }
        let mut sights = match self.read(folder) {
            Err(StateError::Damaged { .. }) => {
                // The damaged file stays, under another name.
                locked.set_aside(FILE)?;
                self.read(folder)?
            }
            read => read?,
        };
        let now = unix(now);
        let before = sights.sights.clone();
        for (secret, value, since) in used {
            let Some(name) = sights.names(secret, value).into_iter().next() else {
                continue;
            };
            let known = sights.find(secret, value);
            let since = known.map_or(unix(since), |known| known.since).min(now);
            let used = known.map_or(now, |known| known.used.min(now));
            let used = if now - used < DAY { used } else { now };
            sights.sights.insert(name, SecretSight { since, used });
        }
        sights
            .sights
            .retain(|_, sight| now.saturating_sub(sight.used) < MAX_UNUSED);
        if sights.sights == before {
            return Ok(());
        }
        let file = SightsFile {
            sights: sights.sights,
        };
        let text = serde_json::to_vec(&file).map_err(|_| StateError::Cipher)?;
        locked.write(FILE, &text)
    }
}

impl Sights {
    /// Returns the time of the first sight of a secret, if it is known; never a time after `now`.
    #[must_use]
    pub fn first(&self, secret: &Secret, value: SightKind, now: SystemTime) -> Option<SystemTime> {
        let sight = self.find(secret, value)?;
        Some((UNIX_EPOCH + Duration::from_secs(sight.since)).min(now))
    }

    /// Returns the earliest sight under any key.
    fn find(&self, secret: &Secret, value: SightKind) -> Option<SecretSight> {
        let names = self.names(secret, value);
        names
            .iter()
            .filter_map(|name| self.sights.get(name).copied())
            .min_by_key(|sight| sight.since)
    }

    /// Returns the names of a secret under all keys that it may be hashed with, the current one
    /// first.
    fn names(&self, secret: &Secret, value: SightKind) -> Vec<String> {
        let salted = self.salted.iter().filter(|_| value == SightKind::Random);
        self.keyed
            .iter()
            .chain(salted)
            .map(|key| name_under(key, secret))
            .collect()
    }
}

/// Returns the name of a secret under a key: half of an HMAC-SHA256.
fn name_under(key: &hmac::Key, secret: &Secret) -> String {
    let mut context = hmac::Context::with_key(key);
    context.update(b"first sight:");
    #[expect(
        clippy::disallowed_methods,
        reason = "a hash under a key tells nothing of the secret"
    )]
    context.update(secret.expose().as_bytes());
    let tag = context.sign();
    HEXLOWER.encode(tag.as_ref().first_chunk::<16>().unwrap_or(&[0; 16]))
}

fn unix(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

/// The file with the first sights. It holds no secret, and is not sealed.
const FILE: &str = "first-sights.json";
/// The file with the random salt, where there is no key.
const SALT: &str = "salt";
/// The time after which an unused secret is forgotten: longer than any overlap, and than a year's
/// pause.
const MAX_UNUSED: u64 = 400 * DAY;

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;
    use crate::state::sealed::SealedStore;

    const KEY: &str = "3q2+7wABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhs=";
    const OTHER_KEY: &str = "0123456789abcdef0123456789abcdef";

    fn secret(text: &str) -> Secret {
        Secret::parse(Zeroizing::new(text.as_bytes().to_vec())).unwrap()
    }

    fn keys(texts: &[&str]) -> SightKeys {
        let secrets: Vec<_> = texts.iter().map(|text| secret(text)).collect();
        let keys = SealedStore::keys(secrets.iter()).ok().unwrap();
        SightKeys::new(keys.as_ref())
    }

    fn at(days: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(days * DAY)
    }

    struct Stand {
        folder: StateFolder,
        path: std::path::PathBuf,
    }

    impl Stand {
        fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("keyside-sights-{}-{name}", std::process::id()));
            std::fs::remove_dir_all(&path).ok();
            Self {
                folder: StateFolder::new(&path),
                path,
            }
        }

        fn record(&self, keys: &SightKeys, text: &str, value: SightKind, since: u64, now: u64) {
            let used = [(&secret(text), value, at(since))];
            keys.record(&self.folder, used.into_iter(), at(now))
                .unwrap();
        }

        fn first(
            &self,
            keys: &SightKeys,
            text: &str,
            value: SightKind,
            now: u64,
        ) -> Option<SystemTime> {
            keys.read(&self.folder)
                .unwrap()
                .first(&secret(text), value, at(now))
        }
    }

    impl Drop for Stand {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.path).ok();
        }
    }

    #[test]
    fn the_first_sight_stays_whatever_a_later_start_believes() {
        let stand = Stand::new("stays");
        for keys in [keys(&[]), keys(&[KEY])] {
            stand.record(&keys, "EAATOKEN", SightKind::Random, 100, 140);
            stand.record(&keys, "EAATOKEN", SightKind::Random, 150, 150);
            assert_eq!(
                stand.first(&keys, "EAATOKEN", SightKind::Random, 150),
                Some(at(100))
            );
            assert_eq!(stand.first(&keys, "EAAOTHER", SightKind::Random, 150), None);
        }
    }

    #[test]
    fn a_first_sight_under_an_older_key_or_the_salt_counts_under_the_new_key() {
        let stand = Stand::new("keys");
        stand.record(&keys(&[]), "EAATOKEN", SightKind::Random, 100, 100);
        stand.record(&keys(&[KEY]), "EAATOKEN", SightKind::Random, 120, 120);
        stand.record(
            &keys(&[OTHER_KEY, KEY]),
            "EAATOKEN",
            SightKind::Random,
            140,
            140,
        );
        std::fs::remove_file(stand.path.join(SALT)).unwrap();
        let first = stand.first(&keys(&[OTHER_KEY]), "EAATOKEN", SightKind::Random, 150);
        assert_eq!(first, Some(at(100)));
    }

    #[test]
    fn a_value_that_a_person_may_have_chosen_is_kept_under_a_key_alone() {
        let stand = Stand::new("chosen");
        stand.record(&keys(&[]), "password", SightKind::Chosen, 100, 100);
        assert_eq!(
            stand.first(&keys(&[]), "password", SightKind::Chosen, 100),
            None
        );
        stand.record(&keys(&[KEY]), "password", SightKind::Chosen, 100, 100);
        let first = stand.first(&keys(&[KEY]), "password", SightKind::Chosen, 100);
        assert_eq!(first, Some(at(100)));
    }

    #[test]
    fn a_time_in_the_future_is_now_and_a_long_unused_secret_is_forgotten() {
        let stand = Stand::new("times");
        let keys = keys(&[KEY]);
        stand.record(&keys, "EAATOKEN", SightKind::Random, 900, 100);
        assert_eq!(
            stand.first(&keys, "EAATOKEN", SightKind::Random, 50),
            Some(at(50))
        );
        stand.record(&keys, "EAAOTHER", SightKind::Random, 600, 600);
        assert_eq!(stand.first(&keys, "EAATOKEN", SightKind::Random, 600), None);
    }

    #[test]
    fn a_damaged_file_stays_beside_the_new_one() {
        let stand = Stand::new("damaged");
        let keys = keys(&[KEY]);
        std::fs::create_dir(&stand.path).unwrap();
        std::fs::write(stand.path.join(FILE), "{").unwrap();
        assert!(keys.read(&stand.folder).is_err());
        stand.record(&keys, "EAATOKEN", SightKind::Random, 100, 100);
        assert_eq!(
            stand.first(&keys, "EAATOKEN", SightKind::Random, 100),
            Some(at(100))
        );
        let aside = stand.path.join(format!("{FILE}.unread"));
        assert_eq!(std::fs::read(aside).unwrap(), b"{");
    }
}
