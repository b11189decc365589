//! The rest of a rotation that was cut off.

use std::sync::Arc;
use std::time::Duration;

use super::rotate::{RotateArgs, RotateFailure, deletion, end_old, use_everywhere, worker};
use super::sidecars::{NotInUse, first_success, must_not_fall_back, sends_with};
use super::strays::Strays;
use crate::audit::Audit;
use crate::json::words::moment;
use crate::reload::Live;
use crate::rotation::{
    Author, JournalPlace, LeftProgram, Obstacle, Record, Replacement, Resumed, Rotation,
    RotationError, RotationIntent, RotationTarget, UNKNOWN_TOKEN,
};
use crate::secret::{Fingerprint, Secret};
use crate::units::Written;

/// The next step after a rotation that was cut off was taken up.
pub(super) enum Resume {
    /// The rotation that was asked for is at its end.
    Done,
    /// The rotation that was asked for begins.
    Begin,
}

/// Goes on with a rotation that was cut off.
pub(super) async fn resume(
    args: &RotateArgs,
    live: &Live,
    new: Option<&Arc<Secret>>,
    audit: &Audit,
) -> Result<Resume, RotateFailure> {
    let target = RotationTarget::find(live, &args.name, args.place.as_deref())
        .map_err(RotationError::Unchanged)?;
    let place = JournalPlace::of(live, &target)?;
    let mut rotation = Rotation::open(live, target, place, worker("rotate", audit)).await?;
    let Some(record) = rotation.record() else {
        return Ok(Resume::Begin);
    };
    say_found(&record, "going on with it");
    say_wait(&rotation).await?;
    if let Some(new) = new
        && let Some(given) = given_up(args, &rotation, &record, new).await?
        && replace_new(args, &mut rotation, given, new).await? == Replacement::Placed
    {
        return Ok(Resume::Done);
    }
    match rotation.resume(RotationIntent::Finish).await? {
        Resumed::NothingLeft => {
            say!("   the earlier rotation left no secret to place or to revoke: a new one begins");
            Ok(Resume::Begin)
        }
        Resumed::Placed(kept) => {
            say!("3. {kept} is in {}", rotation.target.place);
            let strays = Strays::find(&args.admin, &rotation);
            go_on(args, &mut rotation, kept, strays.without(&record)).await?;
            let is_other = new.is_some_and(|new| new.fingerprint() != kept);
            // A renewal that waited for its overlap is not the rotation that the user asks for.
            Ok(match record.author {
                Author::Command if !is_other => Resume::Done,
                _ => Resume::Begin,
            })
        }
    }
}

/// The rest of a cut-off rotation whose new secret is in place. Nothing is written back: the old
/// secret may be dead by now.
async fn go_on(
    args: &RotateArgs,
    rotation: &mut Rotation<'_>,
    kept: Fingerprint,
    strays: Strays,
) -> Result<(), RotateFailure> {
    use_everywhere(&args.admin, rotation, kept)
        .map_err(|problem| rotation.unfinished(Obstacle::Sidecar(problem.to_string())))?;
    end_old(args, rotation, kept, strays).await
}

/// Announces the wait for a program.
///
/// # Errors
/// If the process ends.
pub(super) async fn say_wait(rotation: &Rotation<'_>) -> Result<(), RotationError> {
    let Some(program) = rotation.left_program().await? else {
        return Ok(());
    };
    let longest = Written(Duration::from_secs(program.wait().as_secs() + 1));
    let then = match program {
        LeftProgram::Running(..) => "which is killed then",
        LeftProgram::Unseen(_) => {
            "which runs elsewhere or has ended: end it by hand if it runs for longer"
        }
    };
    say!("   waiting {longest} for the end of the program that writes the secret, {then}");
    Ok(())
}

/// Returns the new secret of an earlier rotation if the secret given now takes its part: nothing
/// proves the earlier secret.
///
/// # Errors
/// If a sidecar that does not answer may have sent with the earlier secret.
async fn given_up(
    args: &RotateArgs,
    rotation: &Rotation<'_>,
    record: &Record,
    new: &Secret,
) -> Result<Option<Fingerprint>, RotationError> {
    let Some(given) = record.replaceable(new) else {
        return Ok(None);
    };
    let shown = given.fingerprint().of_random_key();
    if first_success(&args.admin, &rotation.target, shown, Duration::ZERO).is_some() {
        return Ok(None);
    }
    let mut is_sent_everywhere = true;
    for admin in &args.admin {
        match sends_with(admin, &rotation.target, shown) {
            Err(silent @ NotInUse::NoAnswer(_)) => {
                return Err(rotation.unfinished(Obstacle::Sidecar(silent.to_string())));
            }
            sent => is_sent_everywhere &= sent.is_ok(),
        }
    }
    let is_good = is_sent_everywhere && rotation.proves(given).await?;
    Ok((!is_good).then_some(shown))
}

/// Ends an earlier rotation with the secret given now, unless somebody else has written a secret
/// meanwhile.
async fn replace_new(
    args: &RotateArgs,
    rotation: &mut Rotation<'_>,
    given: Fingerprint,
    new: &Arc<Secret>,
) -> Result<Replacement, RotateFailure> {
    let record = rotation.record();
    let mut strays = Strays::find(&args.admin, rotation);
    let refused = must_not_fall_back(&args.admin, &rotation.target)
        .err()
        .and_then(|_| rotation.target.current());
    let replaced = rotation.replace_new(Arc::clone(new), refused).await?;
    if replaced == Replacement::HeldByOther {
        let place = &rotation.target.place;
        say!("   {place} holds a secret of somebody else: the earlier rotation ends with it first");
        return Ok(Replacement::HeldByOther);
    }
    for record in record.iter().chain(&rotation.record()) {
        strays = strays.without(record);
    }
    let new = new.fingerprint().of_random_key();
    say!(
        "2. {new}, {}, takes the part of {given}, which was not proved",
        rotation.proof()
    );
    say!("3. written to {}", rotation.target.place);
    let ended = go_on(args, rotation, new, strays).await;
    // The journal does not have the replaced secret any more, so a failure names it as well.
    say!(
        "5. the replaced secret, {given}, is no part of the rotation any more. Keyside does not revoke it: {}",
        deletion(rotation.provider())
    );
    ended.map(|()| Replacement::Placed)
}

/// Says which rotation was found in the journal, what happens to it, and if its exchange was lost.
pub(super) fn say_found(record: &Record, next: &str) {
    let began = record
        .began
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    say!(
        "A rotation of `{}.{}` that {} began at {} is not at its end: {next}.",
        record.credential,
        record.secret,
        record.author.shown(),
        moment(&began.into())
    );
    if record.may_leave_unknown_token() {
        say!("   the exchange was cut off: {UNKNOWN_TOKEN}.");
    }
}
