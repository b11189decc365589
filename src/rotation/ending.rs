//! The end of a rotation: the revocation of the other secrets.

use std::sync::Arc;

use super::decision::Held;
use super::error::{HeldSecret, RotationError};
use super::holders::SecretHolder;
use super::obstacle::Obstacle;
use super::record::{Record, RotationOrigin, RotationStep};
use super::steps::{Rotation, shown};
use super::target::is_revocable;
use super::tokens::revoke;
use crate::credential::Credential;
use crate::secret::{Fingerprint, Secret};

/// The end of a rotation.
#[derive(Debug, PartialEq, Eq)]
pub enum Finished {
    /// The secrets are revoked, and the provider refuses them.
    Revoked {
        /// The old secret, unless it is the one that stays.
        old: Option<Fingerprint>,
        /// A new secret that did not come into use.
        unused: Option<Fingerprint>,
    },
    /// The provider revokes no secrets when asked: a user deletes the unused secrets by hand.
    ByHand {
        /// The old secret, unless it is the one that stays.
        old: Option<Fingerprint>,
        /// A new secret that did not come into use.
        unused: Option<Fingerprint>,
        /// The title of the provider.
        provider: String,
    },
}

impl Rotation<'_> {
    /// Revokes every secret of the journal but the one in place, and removes the journal. Sidecars
    /// must send with the one in place. `others` are further credentials of running sidecars.
    ///
    /// # Errors
    /// If the place holds a different secret by now, a further credential sends with a secret to
    /// revoke, or a revoked secret may be good.
    pub async fn finish(&mut self, others: &[SecretHolder]) -> Result<Finished, RotationError> {
        let (Some(kept), Some(record)) = (self.kept.clone(), self.record()) else {
            return Err(self.unfinished(Obstacle::NotInUse));
        };
        let noted = self
            .change_record(|record| record.step = RotationStep::Revoking)
            .await;
        noted.map_err(|obstacle| self.unfinished(obstacle))?;
        self.must_hold(&kept).await?;
        let credential = self.credential_with(&kept)?;
        if !is_revocable(&self.target, &credential) {
            self.drop_journal().await;
            return Ok(by_hand(&record, &kept, &credential));
        }
        let secrets = to_revoke(&record, &kept);
        self.must_be_unheld(&secrets, others)?;
        let mut old = None;
        let mut unused = None;
        for secret in secrets {
            let app = self.app_of(&credential).await?;
            let query = self.query(credential.newest())?;
            let result = revoke(&query, &app, &secret).await;
            self.record_revocation(&secret, result.as_ref().err());
            if let Err(doubt) = result {
                return Err(RotationError::OldMayBeGood {
                    name: self.target.name.clone(),
                    old: shown(&secret),
                    doubt: Box::new(doubt),
                    journal: self.journal(),
                });
            }
            if record.old.as_ref().is_some_and(|old| secret.same_as(old)) {
                old = Some(shown(&secret));
            } else {
                unused = Some(shown(&secret));
            }
        }
        self.drop_journal().await;
        Ok(Finished::Revoked { old, unused })
    }

    /// Checks for other credentials with a secret to revoke.
    fn must_be_unheld(
        &self,
        secrets: &[Arc<Secret>],
        others: &[SecretHolder],
    ) -> Result<(), RotationError> {
        for secret in secrets {
            let holders = self.holders_of(secret, others);
            if !holders.is_empty() {
                return Err(RotationError::Held(Box::new(HeldSecret {
                    name: self.target.name.clone(),
                    secret: shown(secret),
                    holders,
                    source: self.target.source.clone(),
                    journal: self.journal(),
                })));
            }
        }
        Ok(())
    }

    /// Checks that the place holds a secret, as far as the place can be read.
    async fn must_hold(&self, kept: &Secret) -> Result<(), RotationError> {
        match self.held(Some(kept), None).await {
            Ok((Held::Old | Held::Hidden, _)) => Ok(()),
            Ok(_) => Err(self.unfinished(Obstacle::Moved(self.target.place.to_string()))),
            Err(obstacle) => Err(self.unfinished(obstacle)),
        }
    }
}

/// Returns the end for a provider that revokes no secrets when asked.
fn by_hand(record: &Record, kept: &Secret, credential: &Credential) -> Finished {
    let unless_kept = |secret: &Option<Arc<Secret>>| {
        let secret = secret.as_ref().filter(|secret| !secret.same_as(kept))?;
        Some(shown(secret))
    };
    Finished::ByHand {
        old: unless_kept(&record.old),
        unused: unless_kept(&record.new),
        provider: credential.provider.title.clone(),
    }
}

/// Returns the secrets of a journal to revoke once `kept` is in use. A secret that a user gave is
/// revoked only as the old one: the user may use it elsewhere.
fn to_revoke(record: &Record, kept: &Secret) -> Vec<Arc<Secret>> {
    let new = record
        .new
        .as_ref()
        .filter(|_| record.origin == RotationOrigin::Exchanged);
    let old = record.old.iter();
    old.chain(new)
        .filter(|secret| !secret.same_as(kept))
        .map(Arc::clone)
        .collect()
}
