//! A second new secret for a cut-off rotation, after a bad first secret.

use std::sync::Arc;

use super::decision::Held;
use super::error::RotationError;
use super::obstacle::{Obstacle, WriteFault};
use super::record::{Record, RotationOrigin, RotationStep};
use super::steps::{Rotation, shown};
use crate::secret::{Fingerprint, Secret};

impl Record {
    /// Returns the new secret if `new` may take its part: a secret from a user needs no revocation,
    /// and the end of the old secret has not begun.
    #[must_use]
    pub fn replaceable(&self, new: &Secret) -> Option<&Arc<Secret>> {
        let is_open = self.origin == RotationOrigin::Given && self.step != RotationStep::Revoking;
        let given = self.new.as_ref().filter(|_| is_open)?;
        (!given.same_as(new)).then_some(given)
    }
}

/// The result of placing a user's secret instead of the new secret of the journal.
#[derive(Debug, PartialEq, Eq)]
pub enum Replacement {
    /// The user's secret is in place.
    Placed,
    /// The place holds a secret of somebody else, and nothing was changed: the earlier rotation
    /// ends with that secret.
    HeldByOther,
}

impl Rotation<'_> {
    /// Proves a user's secret, and places the secret instead of the new secret of the journal. The
    /// old secret of the journal stays the secret to end. A secret of somebody else is written over
    /// only if it is `refused`, in a request.
    ///
    /// # Errors
    /// If the provider refuses the secret, or the place does not hold it afterwards.
    pub async fn replace_new(
        &mut self,
        new: Arc<Secret>,
        refused: Option<Fingerprint>,
    ) -> Result<Replacement, RotationError> {
        let Some(record) = self.record() else {
            return Err(self.unfinished(Obstacle::NotInUse));
        };
        self.await_left_program().await?;
        let record = self.follow_place(record).await?;
        let held = self.held(record.old.as_deref(), Some(&new)).await;
        let (held, other) = held.map_err(|obstacle| self.unfinished(obstacle))?;
        let other = other.filter(|_| held == Held::Other);
        let may_go = |other: &Arc<Secret>| {
            let is_of_journal = record.new.as_ref().is_some_and(|own| own.same_as(other));
            is_of_journal || refused == Some(shown(other))
        };
        if !other.iter().all(may_go) {
            return Ok(Replacement::HeldByOther);
        }
        let credential = self.credential_of(&new)?;
        self.prove_given(&credential).await?;
        if let Some(other) = &other {
            self.write_over(other, &new).await?;
        }
        let noted = self
            .change_record(|record| {
                record.new = Some(Arc::clone(&new));
                record.step = RotationStep::Placing;
            })
            .await;
        noted.map_err(|obstacle| self.unfinished(obstacle))?;
        match held {
            Held::New | Held::Other => self.note_placed(&new).await,
            Held::Old | Held::Nothing | Held::Hidden => self.store().await,
        }?;
        Ok(Replacement::Placed)
    }

    /// Writes a secret over an unproved one. The journal is unchanged until then: a cut-off process
    /// leaves a living secret in place either way.
    async fn write_over(&self, other: &Secret, new: &Secret) -> Result<(), RotationError> {
        let place = self.target.place.clone();
        let managers = &self.live.managers;
        let written = place.replace(managers, Some(other), new).await;
        written.map_err(|error| {
            self.unfinished(Obstacle::Write(Box::new(WriteFault { place, error })))
        })
    }
}
