//! The way on from a rotation that was cut off.

use std::sync::Arc;

use super::decision::{CutOffEvidence, Decision, Held, Life, RotationIntent, decide};
use super::error::RotationError;
use super::obstacle::{Obstacle, ReadFault};
use super::record::{Record, RotationStep};
use super::steps::{Rotation, shown};
use super::tokens::{form_fault, life};
use crate::credential::source::SecretPlace;
use crate::secret::{Fingerprint, Secret};

/// The result of resuming from a journal.
#[derive(Debug, PartialEq, Eq)]
pub enum Resumed {
    /// The place holds a living secret: prove that sidecars send with it, then revoke the others.
    Placed(Fingerprint),
    /// The rotation that was cut off left no secret to place or to revoke.
    NothingLeft,
}

impl Rotation<'_> {
    /// Goes on with a rotation that was cut off, up to the point where a living secret is in place.
    ///
    /// # Errors
    /// If the evidence allows no decision, or a step fails.
    pub async fn resume(&mut self, intent: RotationIntent) -> Result<Resumed, RotationError> {
        let Some(record) = self.record() else {
            return Ok(Resumed::NothingLeft);
        };
        self.await_left_program().await?;
        let record = self.follow_place(record).await?;
        let record = self.note_lost_exchange(record).await?;
        let old = record.old.as_deref();
        let (held, other) = match self.held(old, record.new.as_ref()).await {
            Ok(held) => held,
            Err(obstacle) => return Err(self.unfinished(obstacle)),
        };
        let unasked = self.unasked(&record, held);
        // A wait does not depend on what is alive.
        if decide(unasked, intent) == Decision::Wait {
            return Err(self.unfinished(self.wait_for_a_secret().await));
        }
        let evidence = self.evidence(&record, unasked, other.as_ref()).await?;
        match decide(evidence, intent) {
            Decision::Keep(held) => {
                self.kept = match held {
                    Held::Old => record.old,
                    Held::New | Held::Hidden | Held::Nothing => record.new,
                    Held::Other => other,
                };
                self.kept
                    .as_deref()
                    .map(shown)
                    .map(Resumed::Placed)
                    .ok_or_else(|| self.unfinished(Obstacle::NotInUse))
            }
            Decision::WriteNew => {
                self.store().await?;
                let kept = self.kept();
                kept.map(Resumed::Placed)
                    .ok_or_else(|| self.unfinished(Obstacle::NotInUse))
            }
            Decision::WriteOld => {
                self.write_old(Obstacle::NotInUse).await?;
                self.drop_journal().await;
                Ok(Resumed::NothingLeft)
            }
            Decision::Drop => {
                self.drop_journal().await;
                Ok(Resumed::NothingLeft)
            }
            Decision::Wait => Err(self.unfinished(self.wait_for_a_secret().await)),
            Decision::Stop(stop) => Err(self.unfinished(Obstacle::Stopped(stop))),
        }
    }

    /// Records an exchange that was cut off, once: the way on may end with a journal that tells of
    /// the exchange no more, or with none.
    async fn note_lost_exchange(&self, record: Record) -> Result<Record, RotationError> {
        if !record.is_exchange_lost() {
            return Ok(record);
        }
        self.record_lost_exchange();
        let noted = self
            .change_record(|record| record.step = RotationStep::TakingBack)
            .await;
        noted.map_err(|obstacle| self.unfinished(obstacle))?;
        Ok(self.record().unwrap_or(record))
    }

    /// Returns the evidence before the provider is asked.
    fn unasked(&self, record: &Record, held: Held) -> CutOffEvidence {
        CutOffEvidence {
            held,
            source: held,
            old: Life::Unknown,
            new: record.new.as_ref().map(|_| Life::Unknown),
            other: Life::Unknown,
            step: record.step,
            worker: self.worker.author,
        }
    }

    /// Asks for the life of each secret of the journal.
    async fn evidence(
        &self,
        record: &Record,
        unasked: CutOffEvidence,
        other: Option<&Arc<Secret>>,
    ) -> Result<CutOffEvidence, RotationError> {
        let held = unasked.held;
        Ok(CutOffEvidence {
            source: self.held_by_source(record.old.as_deref(), held).await,
            old: match &record.old {
                Some(old) => self.life(old).await?,
                None => Life::Dead,
            },
            new: match &record.new {
                Some(new) => Some(self.life(new).await?),
                None => None,
            },
            other: match other {
                Some(other) if held == Held::Other => self.life(other).await?,
                _ => Life::Unknown,
            },
            ..unasked
        })
    }

    /// Goes on with the place of the journal, unless the user names a place now: the place of
    /// before may be out of order.
    pub(super) async fn follow_place(&mut self, record: Record) -> Result<Record, RotationError> {
        if record.secret != self.target.secret {
            return Err(self.unfinished(Obstacle::OtherPlace(record.place.clone())));
        }
        if self.target.is_place_named {
            let text = self.target.place_text.clone();
            let noted = self.change_record(|record| record.place = text).await;
            noted.map_err(|error| self.unfinished(error))?;
        } else if record.place != self.target.place_text {
            let Ok(place) = SecretPlace::parse(&record.place) else {
                return Err(self.unfinished(Obstacle::OtherPlace(record.place.clone())));
            };
            let source = SecretPlace::Source(self.target.source.clone());
            let is_source = place.to_string() == source.to_string();
            self.target.place = if is_source { source } else { place };
            self.target.place_text.clone_from(&record.place);
        }
        Ok(self.record().unwrap_or(record))
    }

    /// Returns the secret in the source for a hidden place; else `held`.
    async fn held_by_source(&self, old: Option<&Secret>, held: Held) -> Held {
        if held != Held::Hidden {
            return held;
        }
        let source = SecretPlace::Source(self.target.source.clone());
        let read = source.read(&self.live.managers).await;
        let is_old = |read: Option<Secret>| {
            let read = read?;
            let old = old?;
            Some(read.same_as(old))
        };
        match read.ok().and_then(is_old) {
            Some(true) => Held::Old,
            _ => Held::Hidden,
        }
    }

    /// Returns the role of the secret in the place, and the value of a secret neither old nor new.
    pub(super) async fn held(
        &self,
        old: Option<&Secret>,
        new: Option<&Arc<Secret>>,
    ) -> Result<(Held, Option<Arc<Secret>>), Obstacle> {
        let place = &self.target.place;
        let read = place.read(&self.live.managers).await;
        Ok(match read {
            Ok(None) => (Held::Hidden, None),
            Ok(Some(held)) if old.is_some_and(|old| held.same_as(old)) => (Held::Old, None),
            Ok(Some(held)) if new.is_some_and(|new| held.same_as(new)) => (Held::New, None),
            Ok(Some(held)) => {
                let held = Arc::new(held);
                let fault = form_fault(self.live, &self.routes, &self.target, &held);
                let kind = fault.map_or(Held::Other, |_| Held::Nothing);
                (kind, Some(held))
            }
            Err(error) if error.is_absence() => (Held::Nothing, None),
            Err(error) => {
                return Err(Obstacle::Unreadable(Box::new(ReadFault {
                    place: place.clone(),
                    error,
                })));
            }
        })
    }

    async fn life(&self, secret: &Arc<Secret>) -> Result<Life, RotationError> {
        let credential = self.credential_with(secret)?;
        Ok(life(&self.routes, &self.target, &credential, secret).await)
    }
}
