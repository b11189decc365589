//! A previous secret set in the form that outlives a restart.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::access::tokens::AccessTokens;
use super::previous::Previous;
use super::version::{SecretVersion, SinceFrom};
use crate::config::Reference;
use crate::named::ByName;
use crate::provider::{Provider, SecretOrigin};
use crate::secret::Secret;
use crate::units::millis;

/// A previous secret set with the secrets themselves, to be sealed.
#[derive(Serialize, Deserialize)]
pub struct KeptSet {
    left_ms: u64,
    secrets: BTreeMap<String, KeptSecret>,
}

#[derive(Serialize, Deserialize)]
struct KeptSecret {
    #[serde(with = "text")]
    value: Arc<Secret>,
    reference: String,
    /// Unix time in seconds.
    since: u64,
    since_from: String,
}

impl KeptSet {
    /// Takes the form of a previous set `now`, to be kept `until` a time.
    #[must_use]
    pub fn of(previous: &Previous, until: Instant, now: Instant) -> Self {
        let secrets = previous.secrets().iter().map(|(name, version)| {
            let since = version.since().duration_since(UNIX_EPOCH);
            let kept = KeptSecret {
                value: version.shared(),
                reference: version.reference.to_string(),
                since: since.unwrap_or_default().as_secs(),
                since_from: version.since_from().as_str().to_owned(),
            };
            (name.clone(), kept)
        });
        Self {
            left_ms: millis(until.saturating_duration_since(now)),
            secrets: secrets.collect(),
        }
    }

    /// Returns what was left of the overlap when the set was kept.
    #[must_use]
    pub fn left(&self) -> Duration {
        Duration::from_millis(self.left_ms)
    }

    /// True if each secret of the set stood behind one of the given references of a credential.
    #[must_use]
    pub fn is_of(&self, secrets: &ByName<Vec<Reference>>) -> bool {
        let stood_there = |(name, kept): (&String, &KeptSecret)| {
            let references = secrets.get(name).into_iter().flatten();
            references
                .map(Reference::to_string)
                .any(|reference| reference == kept.reference)
        };
        !self.secrets.is_empty() && self.secrets.iter().all(stood_there)
    }

    /// Returns the bound on the length of the set as a text, in bytes.
    #[must_use]
    pub fn length(&self) -> usize {
        let of_one = |(name, kept): (&String, &KeptSecret)| {
            #[expect(clippy::disallowed_methods, reason = "only the length is looked at")]
            let value = kept.value.expose().len();
            // Each byte of a value may need an escape of two.
            2 * value + name.len() + kept.reference.len() + MAX_FIXED_TEXT
        };
        MAX_FIXED_TEXT + self.secrets.iter().map(of_one).sum::<usize>()
    }

    /// Makes a previous set of this provider, of whose overlap `left` is left `now`. Secrets that
    /// the provider does not know are dropped.
    ///
    /// The trial of the newer secrets begins anew: a process learns only from requests if their
    /// permissions are too few.
    #[must_use]
    pub fn restore(self, provider: &Arc<Provider>, left: Duration, now: Instant) -> Previous {
        let secrets = self.secrets.into_iter().filter_map(|(name, kept)| {
            let origin = provider
                .secret(&name)
                .map_or(SecretOrigin::Chosen, |secret| secret.origin);
            let reference: Reference = kept.reference.parse().ok()?;
            let since = UNIX_EPOCH + Duration::from_secs(kept.since);
            let from = SinceFrom::parse(&kept.since_from)?;
            let version = SecretVersion::kept(kept.value, origin, reference, since, from);
            Some((name, Arc::new(version)))
        });
        Previous {
            secrets: secrets.collect(),
            provider: Arc::clone(provider),
            access: Arc::new(AccessTokens::default()),
            replaced: now,
            until: now + left,
            last_match: Arc::default(),
        }
    }
}

/// The secret as a text of JSON.
mod text {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serializer, de};
    use zeroize::Zeroizing;

    use crate::secret::Secret;

    pub(super) fn serialize<S: Serializer>(
        secret: &Arc<Secret>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        #[expect(
            clippy::disallowed_methods,
            reason = "the secret goes into an entry that is sealed"
        )]
        serializer.serialize_str(secret.expose())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Arc<Secret>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let secret = Secret::parse_text_or_pem(Zeroizing::new(text.into_bytes()));
        secret.map(Arc::new).map_err(de::Error::custom)
    }
}

/// The bound on the fixed text around a secret and around a set, in bytes: the keys of the JSON,
/// and times.
const MAX_FIXED_TEXT: usize = 160;

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::config::Config;
    use crate::credential::source::found::{Findings, FoundSecret};
    use crate::credential::{Credential, Slot};

    const HOUR: Duration = Duration::from_secs(3600);

    /// Assembles a credential whose token is `value`, after `before`.
    fn credential(value: &str, before: Option<&Credential>) -> Credential {
        let text = "[credential.a]\nprovider = \"meta\"\ntoken = \"file:/t\"\n[[route]]\ncredential = \"a\"\n";
        let config = Config::parse(text, "f").ok().unwrap();
        let config = &config.credentials["a"];
        let secret = Secret::parse(value.as_bytes().to_vec().into())
            .ok()
            .unwrap();
        let found = FoundSecret {
            secret: Arc::new(secret),
            since: Some(SystemTime::now() - HOUR),
            warnings: Vec::new(),
        };
        let findings = Findings::from([(Reference::File("/t".into()), Ok(found))]);
        Credential::assemble("a", config, &findings, before)
    }

    #[test]
    fn a_set_is_the_same_after_a_restart_and_has_only_the_time_that_is_left() {
        let old = credential("EAAOLDOLDOLDOLDOLDOLDOLD", None);
        let before = credential("EAANEWNEWNEWNEWNEWNEWNEW", Some(&old));
        let now = Instant::now();
        let replaced = before.previous()[0].clone();
        let set = KeptSet::of(&replaced, replaced.until(), now);
        let text = serde_json::to_string(&set).unwrap();
        assert!(text.len() < set.length(), "{} {}", text.len(), set.length());

        let set: KeptSet = serde_json::from_str(&text).unwrap();
        let restarted = credential("EAANEWNEWNEWNEWNEWNEWNEW", None);
        let set = set.restore(&restarted.provider, HOUR, now);
        assert_eq!(set.until(), now + HOUR);
        assert_eq!(set.replaced, now, "the newer token is on trial again");
        let restored = restarted.with_previous(vec![set.clone()]).unwrap();
        let token = restored.previous()[0].get("token").unwrap();
        let slot: &Slot = old.slots().get("token").unwrap();
        assert!(token.secret().same_as(slot.current.secret()));
        assert_eq!(token.since_from(), SinceFrom::Source);
        // Neither a second time, nor beside an equal current set.
        assert!(restored.with_previous(vec![set.clone()]).is_none());
        assert!(old.with_previous(vec![set]).is_none());
    }
}
