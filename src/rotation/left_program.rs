//! A program that an earlier rotation gave a secret, and that outlives the process of the rotation.

use std::sync::Arc;
use std::time::Duration;

use super::error::RotationError;
use super::notes::on_file_thread;
use super::obstacle::Obstacle;
use super::record::{Record, RotationStep};
use super::steps::Rotation;
use crate::credential::source::{PlaceError, ProgramLife, ProgramTrace, SecretPlace};
use crate::secret::Secret;

/// A program of a killed process, which may still write a secret of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeftProgram {
    /// The program runs, and is ended after this time.
    Running(Duration, ProgramTrace),
    /// The program may run where this process cannot look. The time is the rest of what a rotation
    /// allows a program.
    Unseen(Duration),
}

impl LeftProgram {
    /// Returns the program of a record that was written this time ago; `None` if no write is
    /// expected, as without a new secret.
    async fn of(record: &Record, passed: Duration) -> Option<Self> {
        let is_writing = record.new.is_some()
            && matches!(
                record.step,
                RotationStep::Placing | RotationStep::TakingBack
            );
        let place = SecretPlace::parse(&record.place)
            .ok()
            .filter(|_| is_writing)?;
        let left = place.outlasts_process_by()?.saturating_sub(passed);
        let life = match &record.program {
            Some(trace) => trace.life().await,
            None => ProgramLife::Unseen,
        };
        match (life, &record.program) {
            (ProgramLife::Running, Some(trace)) => Some(Self::Running(left, trace.clone())),
            (ProgramLife::Ended, _) => None,
            _ => Some(Self::Unseen(left)).filter(|_| !left.is_zero()),
        }
    }

    /// Returns the longest wait for the end of the program.
    #[must_use]
    pub fn wait(&self) -> Duration {
        match self {
            Self::Running(left, _) | Self::Unseen(left) => *left,
        }
    }
}

impl Rotation<'_> {
    /// Writes a secret to the place. The journal knows the mark of a program before the program
    /// starts with the secret: a later process finds the program again, and ends it before anything
    /// else is done with the secret.
    ///
    /// # Errors
    /// If the journal cannot be written.
    pub(super) async fn write(
        &self,
        step: RotationStep,
        expected: Option<&Secret>,
        new: &Secret,
    ) -> Result<Result<(), PlaceError>, RotationError> {
        let place = &self.target.place;
        let Some(program) = place.program() else {
            return Ok(place.replace(&self.live.managers, expected, new).await);
        };
        let before = self.record();
        self.note_program(step, program.trace().await).await?;
        let started = match program.start(new).await {
            Ok(started) => started,
            Err(error) => {
                // The journal must not name a program that never ran: a later process would wait
                // for its end.
                if let Some(before) = before {
                    let noted = self.write_journal(before).await;
                    noted.map_err(|obstacle| self.unfinished(obstacle))?;
                }
                return Ok(Err(error));
            }
        };
        // The program has the secret: its work is not cut off for the sake of the journal.
        let noted = match started.trace().await {
            Some(trace) => self.note_program(step, Some(trace)).await,
            None => Ok(()),
        };
        let ended = started.wait(new).await;
        noted.map(|()| ended)
    }

    async fn note_program(
        &self,
        step: RotationStep,
        trace: Option<ProgramTrace>,
    ) -> Result<(), RotationError> {
        let noted = self
            .change_record(|record| {
                record.step = step;
                record.program = trace;
            })
            .await;
        noted.map_err(|obstacle| self.unfinished(obstacle))
    }

    /// Returns the program of a killed process, which may still write a secret of the journal.
    ///
    /// # Errors
    /// If the process ends.
    pub async fn left_program(&self) -> Result<Option<LeftProgram>, RotationError> {
        let journal = Arc::clone(&self.journal);
        let modified = move || Ok::<_, Obstacle>(journal.lock().modified());
        let modified = on_file_thread(modified).await;
        let modified = modified.map_err(|obstacle| self.unfinished(obstacle))?;
        let (Some(modified), Some(record)) = (modified, self.record()) else {
            return Ok(None);
        };
        // A clock that was set back prolongs no wait.
        let passed = modified.elapsed().unwrap_or_default();
        Ok(LeftProgram::of(&record, passed).await)
    }

    /// Waits for the end of a program of a killed process, and ends the program after the time that
    /// every program has.
    ///
    /// # Errors
    /// If the program goes on.
    pub(super) async fn await_left_program(&self) -> Result<(), RotationError> {
        match self.left_program().await? {
            None => Ok(()),
            Some(LeftProgram::Unseen(left)) => {
                tokio::time::sleep(left).await;
                Ok(())
            }
            Some(LeftProgram::Running(left, trace)) => {
                trace.wait(left).await;
                let ended = trace.end().await;
                ended.map_err(|error| self.unfinished(Obstacle::ProgramGoesOn(error)))
            }
        }
    }
}
