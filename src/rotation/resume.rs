//! The way on from a rotation that was cut off.

use std::sync::Arc;

use super::decision::{Decision, Evidence, Held, Intent, Life, decide};
use super::error::{Obstacle, ReadFault, RotationError};
use super::record::Record;
use super::steps::{Rotation, shown};
use super::tokens::life;
use crate::credential::source::Place;
use crate::secret::{Fingerprint, Secret};

/// The result of looking at a journal.
#[derive(Debug, PartialEq, Eq)]
pub enum Resumed {
    /// The place holds a living secret: prove that sidecars send with it, then revoke the others.
    Placed(Fingerprint),
    /// The rotation that was cut off left no secret to place or to revoke.
    NothingLeft,
}

impl Rotation<'_> {
    /// Looks at a rotation that was cut off, and goes on with it up to the point where a living secret is in place.
    ///
    /// # Errors
    /// If the evidence does not tell how to go on, or a step fails.
    pub async fn resume(&mut self, intent: Intent) -> Result<Resumed, RotationError> {
        let Some(record) = self.record() else {
            return Ok(Resumed::NothingLeft);
        };
        self.follow_place(&record)?;
        let (held, other) = match self.held(&record.old, record.new.as_ref()).await {
            Ok(held) => held,
            Err(obstacle) => return Err(self.unfinished(obstacle)),
        };
        let evidence = Evidence {
            held,
            old: self.life(&record.old).await?,
            new: match &record.new {
                Some(new) => Some(self.life(new).await?),
                None => None,
            },
            other: match &other {
                Some(other) => self.life(other).await?,
                None => Life::Unknown,
            },
            step: record.step,
        };
        match decide(evidence, intent) {
            Decision::Keep(held) => {
                let kept = match held {
                    Held::Old => Some(record.old),
                    Held::New | Held::Hidden => record.new,
                    Held::Other => other,
                };
                self.kept = kept;
                let kept = self.kept.as_deref().map(shown);
                kept.map(Resumed::Placed)
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
            Decision::Stop(stop) => Err(self.unfinished(Obstacle::Stopped(stop))),
        }
    }

    /// Goes on with the place of the journal.
    fn follow_place(&mut self, record: &Record) -> Result<(), RotationError> {
        if record.secret != self.target.secret {
            return Err(self.unfinished(Obstacle::OtherPlace(record.place.clone())));
        }
        if record.place != self.target.place_text {
            let Ok(place) = Place::parse(&record.place) else {
                return Err(self.unfinished(Obstacle::OtherPlace(record.place.clone())));
            };
            let source = Place::Source(self.target.source.clone());
            let is_source = place.to_string() == source.to_string();
            self.target.place = if is_source { source } else { place };
            self.target.place_text.clone_from(&record.place);
        }
        Ok(())
    }

    /// Returns which secret the place holds, and the secret if it is neither.
    pub(super) async fn held(
        &self,
        old: &Secret,
        new: Option<&Arc<Secret>>,
    ) -> Result<(Held, Option<Arc<Secret>>), Obstacle> {
        let place = &self.target.place;
        let read = place.read(&self.live.managers).await;
        Ok(match read {
            Ok(None) => (Held::Hidden, None),
            Ok(Some(held)) if held.same_as(old) => (Held::Old, None),
            Ok(Some(held)) if new.is_some_and(|new| held.same_as(new)) => (Held::New, None),
            Ok(Some(held)) => (Held::Other, Some(Arc::new(held))),
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
