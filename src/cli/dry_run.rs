//! `keyside rotate --dry-run`: what can be found out without a change.

use std::fmt;
use std::sync::Arc;

use super::resume::say_found;
use super::rotate::{EARLY, RotateArgs, RotateFailure, check_exchange, named, worker};
use super::sidecars::{holders, sends_with};
use crate::audit::Audit;
use crate::credential::source::{PlaceError, SecretPlace};
use crate::reload::Live;
use crate::rotation::{JournalPlace, Obstacle, Record, Rotation, RotationError, RotationTarget};
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
    // The evidence of the earlier rotation decides the next step, so the steps of a new one would
    // say nothing.
    if let Some(record) = journal.peek()? {
        say_found(&record, next_of(&record, new.as_deref()));
        return Ok(());
    }
    let silent = worker("rotate", &Audit::default());
    let mut rotation = Rotation::open(live, target, JournalPlace::Memory, silent).await?;
    let writable = rotation.target.place.can_write(&live.managers).await;
    // A rotation that would not begin has no further steps.
    match new {
        Some(new) => {
            if let Some(beside) = judge(&mut rotation, &new).await? {
                return say_beside(args, &rotation, &new, &beside);
            }
        }
        None => {
            check_exchange(args, &mut rotation).await?;
            say!("2. would be exchanged for a new token");
        }
    }
    let place = &rotation.target.place;
    match writable {
        Err(reason @ PlaceError::Unknown(_)) => say!("3. would be written to {place}: {reason}"),
        // With any other reason, the rotation would not begin.
        Ok(()) | Err(_) => say!("3. would be written to {place}, which can be written"),
    }
    let mut problems = sidecar_problems(args, &rotation);
    problems.extend(say_end(args, &rotation, &journal));
    result(problems)
}

/// Returns the next step of `rotate` after a cut-off rotation.
fn next_of(record: &Record, new: Option<&Secret>) -> &'static str {
    match new {
        Some(new) if record.replaceable(new).is_some() => {
            "`rotate` would go on with it, and use the given secret for it unless requests succeed with the earlier one"
        }
        _ => "`rotate` would go on with it",
    }
}

/// Judges a secret that a user gives. Returns the place beside the secret in use if the provider
/// accepts the new one only later.
async fn judge(
    rotation: &mut Rotation<'_>,
    new: &Arc<Secret>,
) -> Result<Option<SecretPlace>, RotationError> {
    let (proof, beside) = match rotation.adopt(Arc::clone(new)).await {
        Ok(()) => (rotation.proof(), None),
        Err(early @ RotationError::Unchanged(Obstacle::Early(..))) => {
            let place = rotation.place_of_early(new, early).await?;
            (EARLY, Some(place))
        }
        Err(error) => return Err(error),
    };
    let new = new.fingerprint().of_random_key();
    say!("1. the secret in the source: {}", named(&rotation.target));
    say!("2. would be replaced by {new}, {proof}");
    Ok(beside)
}

/// Prints the steps of a secret that goes beside the one in use.
fn say_beside(
    args: &RotateArgs,
    rotation: &Rotation<'_>,
    new: &Secret,
    place: &SecretPlace,
) -> Result<(), RotateFailure> {
    say!("3. would be written to {place}, beside the secret in use");
    let problems = sidecar_problems(args, rotation);
    let new = new.fingerprint().of_random_key();
    say!("5. would reload these sidecars, so that they accept events signed with {new}");
    result(problems)
}

/// Prints the sidecars that send with the secret in use, and returns the problems of the others.
fn sidecar_problems(args: &RotateArgs, rotation: &Rotation<'_>) -> Vec<String> {
    let Some(current) = rotation.target.current() else {
        return Vec::new();
    };
    let mut problems = Vec::new();
    for admin in &args.admin {
        match sends_with(admin, &rotation.target, current) {
            Ok(()) => say!("4. the sidecar at {admin} answers, and sends with the secret in use"),
            Err(problem) => problems.push(problem.to_string()),
        }
    }
    problems
}

fn result(problems: Vec<String>) -> Result<(), RotateFailure> {
    if problems.is_empty() {
        Ok(())
    } else {
        Err(WouldFail(problems).into())
    }
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
    if !rotation.revokes_old() {
        say!(
            "5. would reload these sidecars. Keyside cannot revoke the old secret: delete it in the provider's dashboard \
             afterwards. The journal: {journal}"
        );
        return None;
    }
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
