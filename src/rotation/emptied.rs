//! A place that somebody has emptied: a decision of a person, which a sidecar's own renewal leaves
//! alone.

use std::fmt;
use std::sync::Arc;

use super::decision::Held;
use super::obstacle::Obstacle;
use super::routes::TokenRoutes;
use super::steps::Rotation;
use super::target::RotationTarget;
use super::tokens::form_fault;
use crate::credential::source::SourceError;
use crate::reload::Live;
use crate::secret::SecretError;

/// A place without the secret that it held before.
#[derive(Debug)]
pub struct EmptiedPlace {
    /// The place.
    pub place: String,
    /// The name of the secret for `keyside rotate`.
    pub name: String,
    /// The content of the place.
    pub remains: Remains,
    /// The way out besides a secret in the place.
    pub end: EndOfWait,
}

/// The content of a place without a secret.
#[derive(Debug)]
pub enum Remains {
    /// No value.
    Nothing,
    /// A value that is no secret, for the given reason.
    Unusable(String),
}

/// The way out of a wait for a secret in an emptied place.
#[derive(Debug)]
pub enum EndOfWait {
    /// The credential of this name without `renew`: no renewal has begun.
    NoRenewal(String),
    /// The command alone: the journal of a renewal has tokens that may be alive.
    Command,
}

impl EmptiedPlace {
    fn of(target: &RotationTarget, remains: Remains, end: EndOfWait) -> Obstacle {
        Obstacle::Emptied(Box::new(Self {
            place: target.place.to_string(),
            name: target.name.clone(),
            remains,
            end,
        }))
    }
}

impl fmt::Display for EmptiedPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            place,
            name,
            remains,
            end,
        } = self;
        match remains {
            Remains::Nothing => write!(
                f,
                "{place} holds no secret any more: somebody has taken it out, so the renewal waits"
            )?,
            Remains::Unusable(reason) => write!(
                f,
                "{place} holds no usable token: {reason}. The renewal waits"
            )?,
        }
        write!(
            f,
            " and writes nothing there. Put a secret there, or let `keyside rotate {name}` write one"
        )?;
        match end {
            EndOfWait::NoRenewal(credential) => {
                write!(f, ", or take `renew` out of [credential.{credential}]")
            }
            EndOfWait::Command => Ok(()),
        }
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

    /// Returns the obstacle for a renewal with a journal whose place is emptied.
    pub(super) async fn wait_for_a_secret(&self) -> Obstacle {
        let remains = remains(self.live, &self.routes, &self.target).await;
        // A secret that came back meanwhile is noticed at the next try.
        let remains = remains.unwrap_or(Remains::Nothing);
        EmptiedPlace::of(&self.target, remains, EndOfWait::Command)
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
    let routes = TokenRoutes::of(live, &target).ok()?;
    let remains = remains(live, &routes, &target).await?;
    let end = EndOfWait::NoRenewal(target.credential.clone());
    Some(EmptiedPlace::of(&target, remains, end))
}

/// Returns what a place holds instead of a secret; `None` if the place holds a value with the form
/// of the secret, or cannot be read.
async fn remains(
    live: &Live,
    routes: &TokenRoutes<'_>,
    target: &RotationTarget,
) -> Option<Remains> {
    match target.place.read(&live.managers).await {
        Ok(held) => form_fault(live, routes, target, &Arc::new(held?)).map(Remains::Unusable),
        Err(SourceError::Secret(SecretError::Empty { .. })) => Some(Remains::Nothing),
        Err(SourceError::Secret(error)) => Some(Remains::Unusable(error.to_string())),
        Err(error) => error.is_absence().then_some(Remains::Nothing),
    }
}
