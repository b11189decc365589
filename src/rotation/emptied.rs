//! A place that somebody has emptied: a decision of a person, which a sidecar's own renewal leaves
//! alone.

use std::fmt;
use std::sync::Arc;

use super::decision::Held;
use super::obstacle::Obstacle;
use super::routes::TokenRoutes;
use super::steps::Rotation;
use super::target::RotationTarget;
use super::tokens::has_form;
use crate::reload::Live;

/// A place without the secret that it held before.
#[derive(Debug)]
pub struct EmptiedPlace {
    /// The place.
    pub place: String,
    /// The name of the secret for `keyside rotate`.
    pub name: String,
    /// The name of the credential.
    pub credential: String,
}

impl EmptiedPlace {
    pub(super) fn of(target: &RotationTarget) -> Obstacle {
        Obstacle::Emptied(Box::new(Self {
            place: target.place.to_string(),
            name: target.name.clone(),
            credential: target.credential.clone(),
        }))
    }
}

impl fmt::Display for EmptiedPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            place,
            name,
            credential,
        } = self;
        write!(
            f,
            "{place} holds no secret any more: somebody has taken it out, so the renewal waits and writes nothing there. Put a \
             secret there, or let `keyside rotate {name}` write one, or take `renew` out of [credential.{credential}]"
        )
    }
}

impl Rotation<'_> {
    /// True if the place holds none of the secrets that it may hold.
    pub(super) async fn is_emptied(&self) -> bool {
        let Some(record) = self.record() else {
            return false;
        };
        let held = self.held(record.old.as_deref(), record.new.as_ref()).await;
        matches!(held, Ok((Held::Nothing, _)))
    }
}

/// Returns the obstacle for the renewal of a credential whose source holds no secret any more:
/// sidecars send with what the source held before.
///
/// A place besides the source may never have held a secret, so its emptiness tells nothing.
pub(super) async fn emptied_place(live: &Live, credential: &str) -> Option<Obstacle> {
    let target = RotationTarget::find(live, credential, None).ok()?;
    if target.current.is_none() || target.is_written_elsewhere() {
        return None;
    }
    let is_empty = match target.place.read(&live.managers).await {
        Ok(Some(held)) => {
            let routes = TokenRoutes::of(live, &target).ok()?;
            !has_form(live, &routes, &target, &Arc::new(held))
        }
        Ok(None) => false,
        Err(error) => error.is_absence(),
    };
    is_empty.then(|| EmptiedPlace::of(&target))
}
