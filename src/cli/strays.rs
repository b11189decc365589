//! Strays: secrets in use at sidecars, and in no source any more. A rotation cannot end a stray.

use std::collections::BTreeSet;
use std::fmt;

use super::rotate::RotateFailure;
use super::sidecars::{SidecarSecret, sent};
use crate::rotation::{Record, Rotation};
use crate::secret::Fingerprint;

/// The secrets at sidecars, and the secret in the source.
pub(super) struct Strays {
    found: Vec<SidecarSecret>,
    source: Vec<String>,
    /// The secrets that earlier rotations have revoked, as far as the audit file tells.
    revoked: BTreeSet<String>,
}

impl Strays {
    /// Looks at the sidecars before a rotation changes anything, and names the sidecars with a
    /// secret in use that differs from the source.
    pub(super) fn find(admins: &[String], rotation: &Rotation<'_>) -> Self {
        let target = &rotation.target;
        let source = target.current().map(|current| current.to_string());
        let found = sent(admins, target);
        for SidecarSecret { admin, in_use, .. } in &found {
            if source.as_ref() == Some(in_use) {
                continue;
            }
            say!("   the sidecar at {admin} sends with {in_use}, which is not in the source");
        }
        Self {
            found,
            source: source.into_iter().collect(),
            revoked: rotation.revoked_before(),
        }
    }

    /// Leaves out the secrets of a cut-off rotation: the rotation itself ends the two.
    pub(super) fn without(mut self, record: &Record) -> Self {
        self.source
            .extend(record.fingerprints().map(|own| own.to_string()));
        self
    }

    /// Tells at the end of a rotation of living secrets besides `kept`.
    ///
    /// # Errors
    /// If requests were sent with a stray until now.
    pub(super) fn must_be_dead(self, kept: Fingerprint) -> Result<(), RotateFailure> {
        let kept = kept.to_string();
        let is_stray = |version: &String| *version != kept && !self.source.contains(version);
        let mut replaced: Vec<_> = self.found.iter().flat_map(|sent| &sent.replaced).collect();
        let mut in_use: Vec<_> = self.found.iter().map(|sent| &sent.in_use).collect();
        in_use.retain(|version| is_stray(version));
        let is_revoked = |version: &String| self.revoked.contains(version);
        replaced.retain(|version| {
            is_stray(version) && !is_revoked(version) && !in_use.contains(version)
        });
        for list in [&mut in_use, &mut replaced] {
            list.sort();
            list.dedup();
        }
        for version in replaced {
            say!(
                "   an earlier secret, {version}, is within its overlap. This rotation has not revoked it, and no audit file \
                 tells of an earlier one that has: revoke it in the provider's dashboard, unless it is dead already"
            );
        }
        if in_use.is_empty() {
            return Ok(());
        }
        Err(StillAlive {
            in_use: in_use.into_iter().cloned().collect(),
            kept,
        }
        .into())
    }
}

/// The error for strays in use until now.
#[derive(Debug)]
struct StillAlive {
    in_use: Vec<String>,
    kept: String,
}

impl fmt::Display for StillAlive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { in_use, kept } = self;
        write!(
            f,
            "{} was in use until now and may be alive: its source does not hold it any more, so it could not be revoked. \
             Revoke it in the provider's dashboard. Other sidecars that send with it need {kept}: write it to the sources \
             that they read",
            in_use.join(", ")
        )
    }
}

impl std::error::Error for StillAlive {}
