//! A version of a secret, with source and age.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::source::found::FoundSecret;
use crate::config::Reference;
use crate::provider::SecretOrigin;
use crate::secret::{Fingerprint, Secret};

/// A secret with all that may be shown of it: its source, age and fingerprint.
pub struct SecretVersion {
    secret: Arc<Secret>,
    fingerprint: Fingerprint,
    /// The reference that the secret was read from.
    pub reference: Reference,
    /// The birth of the secret, as far as the source and the process know.
    seen: Birth,
    /// The facts about the age that came later. Versions with an equal secret share them.
    learned: Arc<LearnedAge>,
}

/// The facts about the age of a secret that came after it was read. Most secrets have none.
#[derive(Default)]
struct LearnedAge {
    /// The first sight of the secret, if it was kept over a restart.
    sighted: Mutex<Option<Box<Birth>>>,
    /// The time of issue, if the provider has told.
    issued: OnceLock<Box<Birth>>,
}

/// The time since which a secret has been in place, and the age.
#[derive(Clone, Copy)]
struct Birth {
    since: SystemTime,
    from: SinceFrom,
    /// The age at the moment when the age became known. Ages are counted on the monotonic clock:
    /// setting the system clock makes no secret older or younger.
    age: Duration,
    known_at: Instant,
}

impl Birth {
    /// Makes a birth at the given time, with the age of now.
    fn at(since: SystemTime, from: SinceFrom) -> Self {
        Self {
            since,
            from,
            age: SystemTime::now().duration_since(since).unwrap_or_default(),
            known_at: Instant::now(),
        }
    }
}

/// The way in which the age of a secret is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SinceFrom {
    /// The provider tells the time at which it issued the secret.
    Provider,
    /// A sidecar first saw the secret at that time, and has kept the time over a restart.
    Kept,
    /// The source tells the time at which the secret was written.
    Source,
    /// The process saw the secret replace an earlier one.
    Change,
    /// The secret was in place when the process started, and the source tells no time.
    FirstSight,
}

impl SinceFrom {
    /// Returns the word that status shows.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::Kept => "kept first sight",
            Self::Source => "source",
            Self::Change => "change",
            Self::FirstSight => "first sight",
        }
    }

    /// Returns the way that a word of [`Self::as_str`] names.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        let all = [
            Self::Provider,
            Self::Kept,
            Self::Source,
            Self::Change,
            Self::FirstSight,
        ];
        all.into_iter().find(|from| from.as_str() == word)
    }
}

impl SecretVersion {
    /// Creates a version from a secret that was found.
    ///
    /// An equal secret among `known` passes its age on. If there is none, the secret has just taken
    /// the place of `replaced`, whatever time the source tells.
    pub(super) fn new<'h>(
        found: &FoundSecret,
        origin: SecretOrigin,
        reference: &Reference,
        mut known: impl Iterator<Item = &'h Self>,
        replaced: Option<&Self>,
    ) -> Self {
        let secret = Arc::clone(&found.secret);
        let fingerprint = fingerprint_of(&secret, origin);
        let reference = reference.clone();
        if let Some(known) = known.find(|version| version.secret.same_as(&secret)) {
            return Self {
                secret,
                fingerprint,
                reference,
                seen: known.seen,
                learned: Arc::clone(&known.learned),
            };
        }
        let now = SystemTime::now();
        let (since, from) = match found.since {
            _ if replaced.is_some() => (now, SinceFrom::Change),
            Some(since) => (since, SinceFrom::Source),
            None => (now, SinceFrom::FirstSight),
        };
        Self {
            secret,
            fingerprint,
            reference,
            seen: Birth::at(since, from),
            learned: Arc::default(),
        }
    }

    /// Creates the version of a secret that was kept over a restart.
    pub(super) fn kept(
        secret: Arc<Secret>,
        origin: SecretOrigin,
        reference: Reference,
        since: SystemTime,
        from: SinceFrom,
    ) -> Self {
        Self {
            fingerprint: fingerprint_of(&secret, origin),
            secret,
            reference,
            seen: Birth::at(since, from),
            learned: Arc::default(),
        }
    }

    /// Takes the time of issue from the provider, and the age at `known_at` by the provider's
    /// clock. The time of issue never changes, so only the first answer counts.
    pub(super) fn note_issue(&self, since: SystemTime, age: Duration, known_at: Instant) {
        let from = SinceFrom::Provider;
        let birth = Birth {
            since,
            from,
            age,
            known_at,
        };
        self.learned.issued.set(Box::new(birth)).ok();
    }

    /// Takes the kept time of a first sight, by this sidecar over a restart or by a different
    /// sidecar. The earliest time counts.
    pub fn note_first_sight(&self, since: SystemTime) {
        let mut sighted = self.learned.sighted.lock();
        if sighted.as_ref().is_none_or(|known| since < known.since) {
            *sighted = Some(Box::new(Birth::at(since, SinceFrom::Kept)));
        }
    }

    /// Returns the time to keep as the first sight: what the source or the process told, unless a
    /// first sight is kept.
    #[must_use]
    pub fn first_sight(&self) -> SystemTime {
        self.sighted().unwrap_or(self.seen).since
    }

    /// Returns the time since which the secret has been in place.
    #[must_use]
    pub fn since(&self) -> SystemTime {
        self.birth().since
    }

    /// Returns the way in which [`Self::since`] is known.
    #[must_use]
    pub fn since_from(&self) -> SinceFrom {
        self.birth().from
    }

    fn birth(&self) -> Birth {
        let told = self.learned.issued.get().map(|birth| **birth);
        told.or_else(|| self.sighted()).unwrap_or(self.seen)
    }

    fn sighted(&self) -> Option<Birth> {
        self.learned.sighted.lock().as_deref().copied()
    }

    /// Returns the secret.
    #[must_use]
    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    /// Returns a shared handle to the secret, for uses that outlive the version.
    #[must_use]
    pub fn shared(&self) -> Arc<Secret> {
        Arc::clone(&self.secret)
    }

    /// Returns the only form in which the secret is shown.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Returns the length of the secret in bytes.
    #[must_use]
    pub fn length(&self) -> usize {
        #[expect(clippy::disallowed_methods, reason = "only the length is looked at")]
        self.secret.expose().len()
    }

    /// Returns the age of the secret.
    #[must_use]
    pub fn age(&self) -> Duration {
        let birth = self.birth();
        birth.age + birth.known_at.elapsed()
    }
}

/// Returns the form of a fingerprint that may be shown for a secret of this origin.
fn fingerprint_of(secret: &Secret, origin: SecretOrigin) -> Fingerprint {
    match origin {
        SecretOrigin::Random => secret.fingerprint().of_random_key(),
        SecretOrigin::Chosen => secret.fingerprint(),
    }
}

impl fmt::Debug for SecretVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretVersion")
            .field("fingerprint", &self.fingerprint())
            .field("reference", &self.reference)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn found(value: &str, days: u32) -> FoundSecret {
        let secret = Secret::parse(Zeroizing::new(value.as_bytes().to_vec())).unwrap();
        FoundSecret {
            secret: Arc::new(secret),
            since: Some(SystemTime::now() - DAY * days),
            warnings: Vec::new(),
        }
    }

    fn version(found: &FoundSecret, before: Option<&SecretVersion>) -> SecretVersion {
        let reference = Reference::File("/token".into());
        let origin = SecretOrigin::Random;
        SecretVersion::new(found, origin, &reference, before.into_iter(), before)
    }

    fn days(version: &SecretVersion) -> u64 {
        version.age().as_secs() / DAY.as_secs()
    }

    #[test]
    fn an_equal_secret_keeps_its_age_when_the_source_was_written_again() {
        let first = version(&found("EAATOKEN", 40), None);
        let again = version(&found("EAATOKEN", 0), Some(&first));
        assert_eq!((days(&again), again.since_from()), (40, SinceFrom::Source));
        let other = version(&found("EAAOTHER", 3), Some(&again));
        assert_eq!((days(&other), other.since_from()), (0, SinceFrom::Change));
    }

    #[test]
    fn the_time_of_issue_counts_for_every_version_with_an_equal_secret() {
        let first = version(&found("EAATOKEN", 0), None);
        let again = version(&found("EAATOKEN", 0), Some(&first));
        first.note_issue(SystemTime::now() - DAY * 400, DAY * 400, Instant::now());
        for version in [&first, &again] {
            assert_eq!(
                (days(version), version.since_from()),
                (400, SinceFrom::Provider)
            );
        }
        let other = version(&found("EAAOTHER", 0), Some(&again));
        assert_eq!((days(&other), other.since_from()), (0, SinceFrom::Change));
    }
}
