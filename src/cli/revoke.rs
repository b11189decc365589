//! `keyside revoke`: ends what a rotation left alive at the provider.

use std::process::ExitCode;
use std::time::Duration;

use super::client::admin_address;
use super::config::ConfigArgs;
use super::resume::{say_found, say_wait};
use super::rotate::{RotateFailure, fail, open_audit, report, use_everywhere, worker};
use super::sidecars::{DEFAULT_ADMIN, first_success, holders};
use crate::audit::Audit;
use crate::reload::Live;
use crate::rotation::{
    JournalPlace, Obstacle, Resumed, Rotation, RotationError, RotationIntent, RotationTarget,
};

/// The options of `keyside revoke`.
#[derive(Debug, clap::Args)]
pub(super) struct RevokeArgs {
    /// The name of the credential, or CREDENTIAL.SECRET, as for `keyside rotate`
    name: String,
    #[command(flatten)]
    config: ConfigArgs,
    /// The admin listener of a running sidecar: HOST:PORT or unix:/path. Repeat it for each sidecar
    /// with the secret
    #[arg(long, value_name = "ADDR", default_value = DEFAULT_ADMIN, value_parser = admin_address)]
    admin: Vec<String>,
}

/// Revokes the secrets in the journal that are not in place.
pub(super) async fn run(args: RevokeArgs) -> ExitCode {
    let live = match super::load_or_print(args.config.clone()).await {
        Ok(live) => live,
        Err(exit) => return exit,
    };
    let audit = match open_audit(&live) {
        Ok(audit) => audit,
        Err(exit) => return exit,
    };
    let result = revoke(&args, &live, &audit).await;
    audit.flush();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => fail(&*problem),
    }
}

async fn revoke(args: &RevokeArgs, live: &Live, audit: &Audit) -> Result<(), RotateFailure> {
    let target = RotationTarget::find(live, &args.name, None).map_err(RotationError::Unchanged)?;
    let place = JournalPlace::of(live, &target)?;
    let nothing = format!("Nothing is left to revoke: no rotation has left a journal at {place}.");
    let mut rotation = Rotation::open(live, target, place, worker("revoke", audit)).await?;
    let Some(record) = rotation.record() else {
        say!("{nothing}");
        return Ok(());
    };
    say_found(&record, "going on with it");
    say_wait(&rotation).await?;
    match rotation.resume(RotationIntent::Revoke).await? {
        Resumed::NothingLeft if record.may_leave_unknown_token() => {
            say!("Nothing is left that can be revoked.");
        }
        Resumed::NothingLeft => say!("Nothing is left to revoke: the new secret is dead."),
        Resumed::Placed(kept) => {
            say!("3. {kept} is in {}", rotation.target.place);
            use_everywhere(&args.admin, &rotation, kept)
                .map_err(|problem| rotation.unfinished(Obstacle::Sidecar(problem.to_string())))?;
            let is_proved = rotation.is_proved().await?;
            if !is_proved
                && first_success(&args.admin, &rotation.target, kept, Duration::ZERO).is_none()
            {
                complain!("keyside: warning: no request with {kept} has succeeded yet");
            }
            let others = holders(&args.admin, &rotation.target);
            report(&rotation.finish(&others).await?);
        }
    }
    Ok(())
}
