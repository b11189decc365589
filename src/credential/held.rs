//! One secret in its slot.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::source::Found;
use crate::config::Reference;
use crate::secret::{Fingerprint, Secret};

/// A secret with what may be told about it.
pub struct Held {
    secret: Arc<Secret>,
    /// Where it came from.
    pub reference: Reference,
    /// Since when it is there.
    pub since: SystemTime,
    /// How that is known.
    pub since_from: SinceFrom,
    /// How old it was when this process first saw it, and when that was: a clock that is set does not
    /// make it older or younger.
    first_seen: (Duration, Instant),
}

/// How the age of a secret is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SinceFrom {
    /// The source says when it was written.
    Source,
    /// This process saw it replace another.
    Change,
    /// It was there when this process began, and nothing tells since when.
    FirstSight,
}

impl SinceFrom {
    /// As status shows it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Change => "change",
            Self::FirstSight => "first sight",
        }
    }
}

impl Held {
    /// What was found, with the age of the one among `known` that is the same secret. Where the slot
    /// `had_one` and none is, this one has just replaced it.
    pub(super) fn new<'h>(
        found: &Found,
        reference: &Reference,
        known: impl Iterator<Item = &'h Self>,
        had_one: bool,
    ) -> Self {
        let now = SystemTime::now();
        let secret = Arc::clone(&found.secret);
        let reference = reference.clone();
        if let Some(known) = known.into_iter().find(|held| held.secret.same_as(&secret)) {
            let Self { since, since_from, first_seen, .. } = *known;
            return Self { secret, reference, since, since_from, first_seen };
        }
        let (since, since_from) = match found.since.filter(|_| !had_one) {
            Some(since) => (since, SinceFrom::Source),
            None if had_one => (now, SinceFrom::Change),
            None => (now, SinceFrom::FirstSight),
        };
        let first_seen = (now.duration_since(since).unwrap_or_default(), Instant::now());
        Self { secret, reference, since, since_from, first_seen }
    }

    /// The secret.
    #[must_use]
    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    /// The secret, to be held for longer.
    #[must_use]
    pub fn shared(&self) -> Arc<Secret> {
        Arc::clone(&self.secret)
    }

    /// The only form in which it is shown.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.secret.fingerprint()
    }

    /// How many bytes it has.
    #[must_use]
    pub fn length(&self) -> usize {
        #[expect(clippy::disallowed_methods, reason = "only the length is looked at")]
        self.secret.expose().len()
    }

    /// How old it is.
    #[must_use]
    pub fn age(&self) -> Duration {
        let (age, seen) = self.first_seen;
        age + seen.elapsed()
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held")
            .field("fingerprint", &self.fingerprint())
            .field("reference", &self.reference)
            .finish_non_exhaustive()
    }
}
