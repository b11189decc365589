//! The way back: the old secret is written to its place again, and an unused new one is revoked.

use super::decision::Held;
use super::error::{NewSecretFate, RotationError};
use super::obstacle::{Obstacle, WriteFault};
use super::record::{Record, RotationOrigin, RotationStep};
use super::steps::{Rotation, shown};
use super::tokens::revoke;

impl Rotation<'_> {
    /// Writes the old secret back in the place of the new one, which did not come into use, or in
    /// an empty place. Sidecars should read the source again before [`Self::take_back`] ends the
    /// new one.
    ///
    /// # Errors
    /// If the place does not hold the old secret afterwards.
    pub async fn write_old(&mut self, obstacle: Obstacle) -> Result<Obstacle, RotationError> {
        let noted = self
            .change_record(|record| record.step = RotationStep::TakingBack)
            .await;
        noted.map_err(|error| self.unfinished(error))?;
        let Some(Record {
            old: Some(old),
            new,
            ..
        }) = self.record()
        else {
            return Ok(obstacle);
        };
        let place = self.target.place.clone();
        let expected = match self.held(Some(&old), new.as_ref()).await {
            Ok((Held::Nothing, found)) => found,
            _ if new.is_none() => return Ok(obstacle),
            _ => new.clone(),
        };
        let written = self.write(RotationStep::TakingBack, expected.as_deref(), &old);
        let Err(error) = written.await? else {
            return Ok(obstacle);
        };
        // Somebody else may have written the old secret or another one meanwhile: the new one is
        // not in place either way. Of an empty place, the journal alone may hold the old secret.
        match self.held(Some(&old), new.as_ref()).await {
            Ok((Held::Old | Held::Other, _)) => Ok(obstacle),
            Ok((Held::New | Held::Hidden | Held::Nothing, _)) | Err(_) => {
                let fault = Box::new(WriteFault { place, error });
                Err(self.unfinished(Obstacle::WriteBack(Box::new(obstacle), fault)))
            }
        }
    }

    /// Revokes the new secret, which provably is not in its place. Returns the error to report.
    pub async fn take_back(
        &mut self,
        obstacle: Obstacle,
        restored: Option<String>,
    ) -> RotationError {
        if let Err(error) = self
            .change_record(|record| record.step = RotationStep::TakingBack)
            .await
        {
            tracing::error!(%error, "the journal of a rotation that is taken back cannot be written");
        }
        let Some(Record {
            old: Some(old),
            new: Some(new),
            origin: RotationOrigin::Exchanged,
            ..
        }) = self.record()
        else {
            self.drop_journal().await;
            return RotationError::TakenBack {
                obstacle,
                restored,
                fate: NewSecretFate::Untouched,
            };
        };
        let credential = match self.credential_with(&old) {
            Ok(credential) => credential,
            Err(error) => return error,
        };
        let app = match self.app_of(&credential).await {
            Ok(app) => app,
            Err(error) => return error,
        };
        let query = match self.query(credential.newest()) {
            Ok(query) => query,
            Err(error) => return error,
        };
        let result = revoke(&query, &app, &new).await;
        self.record_revocation(&new, result.as_ref().err());
        match result {
            Ok(()) => {
                self.drop_journal().await;
                RotationError::TakenBack {
                    obstacle,
                    restored,
                    fate: NewSecretFate::Revoked,
                }
            }
            Err(doubt) => {
                let new = shown(&new);
                self.unfinished(Obstacle::NotTakenBack(
                    Box::new(obstacle),
                    new,
                    Box::new(doubt),
                ))
            }
        }
    }
}
