//! The proof of a new secret, before the end of the old secret.

use std::sync::Arc;

use super::decision::Life;
use super::error::{RotationError, UnprovedSecret};
use super::record::RotationOrigin;
use super::steps::{Rotation, shown};
use super::target::is_revocable;
use super::tokens::{life, verify};
use crate::credential::Verdict;
use crate::secret::Secret;

impl Rotation<'_> {
    /// True if questions prove the rights of the secret in place, or the death of the old secret.
    /// Otherwise the proof is a successful request.
    ///
    /// # Errors
    /// If a secret has the wrong form.
    pub async fn is_proved(&self) -> Result<bool, RotationError> {
        match &self.kept {
            Some(kept) => self.proves(kept).await,
            None => Ok(false),
        }
    }

    /// True if questions prove the rights of a secret of the rotation, as for [`Self::is_proved`].
    ///
    /// # Errors
    /// If a secret has the wrong form.
    pub async fn proves(&self, kept: &Arc<Secret>) -> Result<bool, RotationError> {
        let Some(record) = self.record() else {
            return Ok(false);
        };
        // An exchanged token has the rights of the user of the old one.
        let is_exchanged = record.origin == RotationOrigin::Exchanged
            && record.new.is_some_and(|new| new.same_as(kept));
        let Some(old) = record.old.filter(|old| !is_exchanged && !kept.same_as(old)) else {
            return Ok(true);
        };
        let credential = self.credential_with(kept)?;
        // Requests do not carry the secret, so a request is no proof.
        if !self.target.is_carried(&credential) {
            return Ok(true);
        }
        let Verdict::Proved(new) = verify(&self.routes, &credential).await else {
            return Ok(false);
        };
        let is_graph = credential.provider.is_asked_as_graph();
        if !is_graph || (new.sees_senders && self.routes.names_senders) {
            return Ok(true);
        }
        let with_old = self.credential_with(&old)?;
        Ok(match verify(&self.routes, &with_old).await {
            Verdict::Proved(facts) => new.may_do_all_of(&facts),
            _ => life(&self.routes, &self.target, &with_old, &old).await == Life::Dead,
        })
    }

    /// True if the end of the rotation is the revocation of the old secret: else a user deletes it
    /// at the provider.
    #[must_use]
    pub fn revokes_old(&self) -> bool {
        is_revocable(&self.target, self.routes.credential)
    }

    /// Returns the title of the provider.
    #[must_use]
    pub fn provider(&self) -> &str {
        &self.routes.credential.provider.title
    }

    /// Makes the error of a rotation whose new secret is in use, and not proved.
    #[must_use]
    pub fn unproved(&self) -> RotationError {
        let old = self.record().and_then(|record| record.old);
        RotationError::Unproved(Box::new(UnprovedSecret {
            target: self.target.name.clone(),
            new: self.kept(),
            old: old.map(|old| shown(&old)),
            is_revocable: self.revokes_old(),
            journal: self.journal(),
        }))
    }
}
