//! `keyside rotate --dry-run`: what can be found out without a change.

use std::fmt;
use std::sync::Arc;

use super::rotate::{RotateArgs, RotateFailure, named, say_found, worker};
use super::sidecars::{holders, sends_with};
use crate::audit::Audit;
use crate::credential::source::PlaceError;
use crate::reload::Live;
use crate::rotation::{JournalPlace, Rotation, RotationError, RotationTarget};
use crate::secret::Secret;

/// Prints the steps, with what stands in the way of each.
///
/// # Errors
/// If the rotation would fail.
pub(super) async fn dry_run(
    args: &RotateArgs,
    live: &Live,
    new: Option<Arc<Secret>>,
) -> Result<(), RotateFailure> {
    let target = RotationTarget::find(live, &args.name, args.place.as_deref())
        .map_err(RotationError::Unchanged)?;
    let journal = JournalPlace::of(live, &target)?;
    if let Some(record) = journal.look()? {
        say_found(&record);
    }
    let silent = worker("rotate", &Audit::default());
    let mut problems = Vec::new();
    let mut rotation = Rotation::open(live, target, JournalPlace::Memory, silent).await?;
    let writable = rotation.target.place.can_write(&live.managers).await;
    match new {
        Some(new) => match rotation.adopt(new).await {
            Ok(()) => say!("1. the new secret: {}", rotation.proof()),
            // The steps after the first would never come.
            Err(error) => return Err(error.to_string().into()),
        },
        None => match rotation.check_exchange().await {
            Ok(()) => {
                say!(
                    "1. the provider accepts the token in use: {}, of app {}",
                    named(&rotation.target),
                    rotation.app()
                );
                say!("2. would be exchanged for a new token");
            }
            Err(error) => return Err(error.to_string().into()),
        },
    }
    let place = &rotation.target.place;
    match writable {
        Ok(()) => say!("3. would be written to {place}, which can be written"),
        Err(reason @ PlaceError::Unknown(_)) => say!("3. would be written to {place}: {reason}"),
        // Said above, as the reason for which nothing would begin.
        Err(_) => {}
    }
    for admin in &args.admin {
        let Some(current) = rotation.target.current() else {
            continue;
        };
        match sends_with(admin, &rotation.target, current) {
            Ok(()) => say!("4. the sidecar at {admin} answers, and sends with the secret in use"),
            Err(problem) => problems.push(problem.to_string()),
        }
    }
    problems.extend(say_end(args, &rotation, &journal));
    if problems.is_empty() {
        return Ok(());
    }
    Err(WouldFail(problems).into())
}

/// The obstacles to a rotation, each a line of its own.
#[derive(Debug)]
struct WouldFail(Vec<String>);

impl fmt::Display for WouldFail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for WouldFail {}

/// Prints the last step. Returns the reason for which the old secret would not be revoked.
fn say_end(args: &RotateArgs, rotation: &Rotation<'_>, journal: &JournalPlace) -> Option<String> {
    let held_by = rotation.holders_of_current(&holders(&args.admin, &rotation.target));
    if held_by.is_empty() {
        say!(
            "5. would reload these sidecars, and then revoke the old secret. The journal: {journal}"
        );
        return None;
    }
    say!("5. would reload these sidecars, and revoke nothing, as below. The journal: {journal}");
    let names: Vec<_> = held_by.iter().map(ToString::to_string).collect();
    Some(format!(
        "other credentials send with the old secret as well: {}. It is not revoked before they are rotated to the new value too",
        names.join(", ")
    ))
}
