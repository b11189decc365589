//! A new app secret before the provider changes over: it goes beside the secret in use, not in its
//! place.
//!
//! The provider signs events with the new secret at a moment of its own, and takes it in the proof
//! of requests from then on. Until then requests need the old secret, after a restart too, so the
//! old one stays first in the list.

use std::sync::Arc;

use super::error::RotationError;
use super::obstacle::{Obstacle, ReadFault, WriteFault};
use super::steps::Rotation;
use crate::config::Reference;
use crate::credential::source::{PlaceError, SecretPlace};
use crate::secret::Secret;

/// The place of a secret that the provider accepts only later.
enum Beside {
    /// The place holds nothing.
    Free(SecretPlace),
    /// The place holds the new secret already.
    Holds(SecretPlace),
}

impl Rotation<'_> {
    /// Writes the new secret to a further reference of the secret that holds nothing yet. Sidecars
    /// accept events that are signed with a secret of any reference. From then on, [`Self::target`]
    /// names that place.
    ///
    /// # Errors
    /// `early`, the refusal by the provider, if every further reference holds another secret, or
    /// there is none. Else if a place cannot be read or written.
    pub async fn place_beside(
        &mut self,
        new: &Arc<Secret>,
        early: RotationError,
    ) -> Result<(), RotationError> {
        let (place, is_there) = match self.beside(new).await.map_err(RotationError::Unchanged)? {
            Some(Beside::Free(place)) => (place, false),
            Some(Beside::Holds(place)) => (place, true),
            None => return Err(early),
        };
        if !is_there {
            let written = place.replace(&self.live.managers, None, new).await;
            written.map_err(|error| {
                let place = place.clone();
                RotationError::Unchanged(Obstacle::Write(Box::new(WriteFault { place, error })))
            })?;
        }
        self.target.place = place;
        self.record_event("placed", new);
        self.kept = Some(Arc::clone(new));
        Ok(())
    }

    /// Returns the place beside the secret in use for a secret that the provider accepts only
    /// later, and changes nothing.
    ///
    /// # Errors
    /// `early`, the refusal by the provider, if there is no such place. Else if a place cannot be
    /// read.
    pub async fn place_of_early(
        &self,
        new: &Secret,
        early: RotationError,
    ) -> Result<SecretPlace, RotationError> {
        match self.beside(new).await.map_err(RotationError::Unchanged)? {
            Some(Beside::Free(place) | Beside::Holds(place)) => Ok(place),
            None => Err(early),
        }
    }

    /// Finds the place among the further references.
    async fn beside(&self, new: &Secret) -> Result<Option<Beside>, Obstacle> {
        for reference in self.further_references() {
            let place = SecretPlace::Source(reference.clone());
            match place.read(&self.live.managers).await {
                Ok(Some(held)) if held.same_as(new) => return Ok(Some(Beside::Holds(place))),
                Ok(_) => {}
                Err(error) if error.is_absence() => {
                    match place.can_write(&self.live.managers).await {
                        Ok(()) | Err(PlaceError::Unknown(_)) => {
                            return Ok(Some(Beside::Free(place)));
                        }
                        Err(_) => {}
                    }
                }
                Err(error) => {
                    return Err(Obstacle::Unreadable(Box::new(ReadFault { place, error })));
                }
            }
        }
        Ok(None)
    }

    /// Returns the references of the secret behind the first.
    fn further_references(&self) -> impl Iterator<Item = &Reference> {
        let configs = &self.live.config.credentials;
        let config = configs.get(&self.target.credential);
        let references = config.and_then(|config| config.secrets.get(&self.target.secret));
        references.into_iter().flatten().skip(1)
    }
}
