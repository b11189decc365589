//! `keyside rotate`: puts a new secret in the place of an old one, step by step.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use super::client::admin_address;
use super::config::ConfigArgs;
use super::dry_run::dry_run;
use super::new_secret::{UnusableSecret, new_secret, read_new};
use super::resume::{Resume, resume};
use super::sidecars::{
    DEFAULT_ADMIN, NotInUse, accepts, bring_into_use, first_success, holders, must_not_fall_back,
    sends_with,
};
use super::strays::Strays;
use crate::audit::metrics::AuditMetrics;
use crate::audit::{Audit, check_writable};
use crate::reload::Live;
use crate::rotation::{
    Author, Finished, JournalPlace, Obstacle, Rotation, RotationError, RotationTarget,
    RotationWorker,
};
use crate::secret::{Fingerprint, Secret};

/// The options of `keyside rotate`.
#[derive(Debug, clap::Args)]
pub(super) struct RotateArgs {
    /// The name of a credential, for the first secret that its requests need; CREDENTIAL.SECRET
    /// names another secret
    pub(super) name: String,
    #[command(flatten)]
    pub(super) config: ConfigArgs,
    /// The admin listener of a running sidecar: HOST:PORT or unix:/path. Repeat it for each sidecar
    /// with the secret
    #[arg(long, value_name = "ADDR", default_value = DEFAULT_ADMIN, value_parser = admin_address)]
    pub(super) admin: Vec<String>,
    /// Take the new secret from a reference, or from standard input (-), in the place of an
    /// exchange
    #[arg(long, value_name = "REF|-")]
    pub(super) new: Option<String>,
    /// Write the new secret there: a reference, or exec:PROGRAM, which gets it on standard input
    #[arg(long, value_name = "REF|exec:PROGRAM")]
    pub(super) place: Option<String>,
    /// Find out what can be found out, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// A failure of the command, as a message.
pub(super) type RotateFailure = Box<dyn std::error::Error>;

/// Runs the rotation, and prints each step afterwards.
pub(super) async fn run(args: RotateArgs) -> ExitCode {
    let source = match new_secret(&args) {
        Ok(source) => source,
        // The text may be a secret, pasted at the wrong place: no message repeats it.
        Err(problem) => {
            complain!("keyside: {problem}");
            return ExitCode::from(2);
        }
    };
    let live = match super::load_or_print(args.config.clone()).await {
        Ok(live) => live,
        Err(exit) => return exit,
    };
    let opened = if args.dry_run {
        check_audit(&live)
    } else {
        open_audit(&live)
    };
    let audit = match opened {
        Ok(audit) => audit,
        Err(exit) => return exit,
    };
    let result = match read_new(source, &live).await {
        Ok(new) if args.dry_run => dry_run(&args, &live, new).await,
        Ok(new) => Box::pin(rotate(&args, live, new, &audit)).await,
        Err(problem) => Err(problem),
    };
    audit.flush();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => fail(&*problem),
    }
}

/// Prints a failure. Returns the exit status: a secret that cannot be used is a fault of the
/// configuration.
pub(super) fn fail(problem: &(dyn std::error::Error + 'static)) -> ExitCode {
    complain!("keyside: {problem}");
    let is_bad_secret = matches!(
        problem.downcast_ref(),
        Some(RotationError::Unchanged(
            Obstacle::Faults(_) | Obstacle::NewForm(_)
        ))
    ) || problem.is::<UnusableSecret>();
    if is_bad_secret {
        ExitCode::from(super::BAD_CONFIGURATION)
    } else {
        ExitCode::FAILURE
    }
}

/// Opens the audit file of the configuration. A rotation that cannot be recorded does not begin.
pub(super) fn open_audit(live: &Live) -> Result<Audit, ExitCode> {
    let audit = Audit::start(AuditMetrics::default());
    let opened = audit.follow(live.config.audit.as_ref());
    opened.map(|()| audit).map_err(|error| unwritable(&error))
}

/// Checks that the audit file can be written, without a change to it.
fn check_audit(live: &Live) -> Result<Audit, ExitCode> {
    let settings = live.config.audit.as_ref();
    let checked = settings.map_or(Ok(()), |settings| check_writable(&settings.file));
    checked
        .map(|()| Audit::default())
        .map_err(|error| unwritable(&error))
}

fn unwritable(error: &std::io::Error) -> ExitCode {
    complain!("keyside: audit.file: cannot be written: {error}; nothing was changed");
    ExitCode::from(super::BAD_CONFIGURATION)
}

/// Returns the process as the audit file and the journal name it.
pub(super) fn worker(command: &str, audit: &Audit) -> RotationWorker {
    let user = rustix::process::getuid().as_raw();
    RotationWorker {
        author: Author::Command,
        name: format!("keyside {command}, uid {user}"),
        audit: audit.clone(),
    }
}

async fn rotate(
    args: &RotateArgs,
    live: Live,
    new: Option<Arc<Secret>>,
    audit: &Audit,
) -> Result<(), RotateFailure> {
    if let Resume::Done = resume(args, &live, new.as_ref(), audit).await? {
        return Ok(());
    }
    // The earlier rotation is at its end: the source may hold another secret now.
    let live = super::load(&args.config.clone().file(), &super::unread_metrics()).await?;
    let target = RotationTarget::find(&live, &args.name, args.place.as_deref())
        .map_err(RotationError::Unchanged)?;
    let place = JournalPlace::of(&live, &target)?;
    let mut rotation = Rotation::open(&live, target, place, worker("rotate", audit)).await?;
    if !rotation.is_kept() {
        complain!(
            "keyside: warning: no folder for a journal can be written, so this rotation cannot be gone on with if it is \
             cut off: give the configuration [state] with a key, or this user a HOME"
        );
    }
    match new {
        Some(new) => match adopt(&mut rotation, Arc::clone(&new)).await {
            Err(early @ RotationError::Unchanged(Obstacle::Early(..))) => {
                return place_beside(args, &mut rotation, &new, early).await;
            }
            adopted => adopted?,
        },
        None => exchange(args, &mut rotation).await?,
    }
    let strays = Strays::find(&args.admin, &rotation);
    rotation.store().await?;
    say!("3. written to {}", rotation.target.place);
    finish(args, &mut rotation, strays).await
}

async fn exchange(args: &RotateArgs, rotation: &mut Rotation<'_>) -> Result<(), RotationError> {
    check_exchange(args, rotation).await?;
    rotation.exchange(None).await?;
    if let Some(new) = rotation.kept() {
        say!("2. exchanged for {new}, which the provider accepts");
    }
    Ok(())
}

/// Checks the token in the source for an exchange: the provider accepts the token, and no sidecar
/// has fallen back.
pub(super) async fn check_exchange(
    args: &RotateArgs,
    rotation: &mut Rotation<'_>,
) -> Result<(), RotationError> {
    rotation.check_exchange().await?;
    must_not_fall_back(&args.admin, &rotation.target)
        .map_err(|problem| RotationError::Unchanged(Obstacle::Sidecar(problem.to_string())))?;
    say!(
        "1. the provider accepts the token in use: {}, of app {}",
        named(&rotation.target),
        rotation.app()
    );
    Ok(())
}

async fn adopt(rotation: &mut Rotation<'_>, new: Arc<Secret>) -> Result<(), RotationError> {
    say!("1. the secret in the source: {}", named(&rotation.target));
    rotation.adopt(new).await?;
    if let Some(new) = rotation.kept() {
        say!("2. to be replaced by {new}, {}", rotation.proof());
    }
    Ok(())
}

/// Puts an app secret that the provider accepts only later beside the one in use, and has every
/// sidecar accept events that are signed with it.
async fn place_beside(
    args: &RotateArgs,
    rotation: &mut Rotation<'_>,
    new: &Arc<Secret>,
    early: RotationError,
) -> Result<(), RotateFailure> {
    rotation.place_beside(new, early).await?;
    let new = new.fingerprint().of_random_key();
    say!("2. to be replaced by {new}, {EARLY}");
    say!(
        "3. written to {}, beside the secret in use",
        rotation.target.place
    );
    for admin in &args.admin {
        accepts(admin, &rotation.target, new, RELOAD_TIMEOUT)?;
        say!(
            "4. the sidecar at {admin} accepts events signed with {new}, and sends with the one in use"
        );
    }
    say!(
        "5. run the command again once the provider has changed over: requests need the old secret until then"
    );
    Ok(())
}

/// Returns the fingerprint in the source, or the reason for a source without a usable secret.
pub(super) fn named(target: &RotationTarget) -> String {
    let faults = target.faults.iter().map(|fault| fault.problem.as_str());
    target.current().map_or_else(
        || {
            format!(
                "none that can be used ({})",
                faults.collect::<Vec<_>>().join("; ")
            )
        },
        |current| current.to_string(),
    )
}

/// The rest of a rotation whose new secret is in place: sidecars use it, and the old one is
/// revoked.
async fn finish(
    args: &RotateArgs,
    rotation: &mut Rotation<'_>,
    strays: Strays,
) -> Result<(), RotateFailure> {
    let Some(kept) = rotation.kept() else {
        return Err(rotation.unfinished(Obstacle::NotInUse).into());
    };
    if let Err(problem) = use_everywhere(&args.admin, rotation, kept) {
        let not_in_use = Obstacle::Sidecar(problem.to_string());
        let Some(old) = rotation.old() else {
            return Err(rotation.unfinished(not_in_use).into());
        };
        let obstacle = rotation.write_old(not_in_use).await?;
        // Sidecars that have the new secret already read the old one again, before the new one
        // ends.
        for admin in &args.admin {
            bring_into_use(admin, &rotation.target, old, Duration::ZERO).ok();
        }
        let place = rotation.target.place.to_string();
        return Err(rotation.take_back(obstacle, Some(place)).await.into());
    }
    end_old(args, rotation, kept, strays).await
}

/// Proves the new secret, which sidecars use, and ends the old one.
pub(super) async fn end_old(
    args: &RotateArgs,
    rotation: &mut Rotation<'_>,
    kept: Fingerprint,
    strays: Strays,
) -> Result<(), RotateFailure> {
    prove(args, rotation, kept).await?;
    let others = holders(&args.admin, &rotation.target);
    report(&rotation.finish(&others).await?);
    strays.must_be_dead(kept)
}

/// Waits for the proof of the new secret: a question, or a successful request.
async fn prove(
    args: &RotateArgs,
    rotation: &Rotation<'_>,
    kept: Fingerprint,
) -> Result<(), RotationError> {
    if rotation.is_proved().await? {
        return Ok(());
    }
    match first_success(&args.admin, &rotation.target, kept, SUCCESS_TIMEOUT) {
        Some(admin) => {
            say!("   a request with {kept} has succeeded at {admin}");
            Ok(())
        }
        None => Err(not_proved(args, rotation, kept)),
    }
}

/// Returns the error of a new secret without a successful request: the provider may have refused
/// one.
fn not_proved(args: &RotateArgs, rotation: &Rotation<'_>, kept: Fingerprint) -> RotationError {
    let fallback = args.admin.iter().find_map(|admin| {
        sends_with(admin, &rotation.target, kept)
            .err()
            .filter(NotInUse::is_fallback)
    });
    match fallback {
        Some(fallback) => rotation.unfinished(Obstacle::Sidecar(fallback.to_string())),
        None => rotation.unproved(),
    }
}

/// Reloads every sidecar, and checks that each sends with the secret.
pub(super) fn use_everywhere(
    admins: &[String],
    rotation: &Rotation<'_>,
    secret: Fingerprint,
) -> Result<(), NotInUse> {
    let patience = if rotation.target.is_written_elsewhere() {
        ARRIVAL_TIMEOUT
    } else {
        RELOAD_TIMEOUT
    };
    for admin in admins {
        if rotation.has_route() {
            bring_into_use(admin, &rotation.target, secret, patience)?;
            say!("4. the sidecar at {admin} sends with {secret}");
        } else {
            accepts(admin, &rotation.target, secret, patience)?;
            say!("4. the sidecar at {admin} accepts events signed with {secret}");
        }
    }
    Ok(())
}

/// Prints the end of a rotation.
pub(super) fn report(finished: &Finished) {
    match finished {
        Finished::Revoked { old, unused } => {
            if let Some(old) = old {
                say!("5. the old token is revoked: the provider refuses {old}");
            }
            if let Some(unused) = unused {
                say!("5. the unused token is revoked: the provider refuses {unused}");
            }
        }
        Finished::ByHand {
            old,
            unused,
            provider,
        } => {
            let advice = format!("Keyside cannot revoke it: {}", deletion(provider));
            if let Some(old) = old {
                say!("5. the old secret, {old}, is no longer used by these sidecars. {advice}");
            }
            if let Some(unused) = unused {
                say!("5. the new secret, {unused}, is not used by these sidecars. {advice}");
            }
        }
    }
}

/// Returns the advice for a secret that no rotation ends.
pub(super) fn deletion(provider: &str) -> String {
    format!("delete it in the dashboard of {provider}, once no other program uses it")
}

/// The finding about a new secret that goes beside the one in use.
pub(super) const EARLY: &str = "which the provider does not accept for the proof of requests yet";
/// The time for a sidecar to use a secret that it reads from the place that was written: a reload
/// waits half a second for managers, and another one may be under way.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(5);
/// The time for a secret to arrive where sidecars read it. The kubelet updates a mounted Secret
/// within about a minute and a half.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(120);
/// The time for a request with the new secret to succeed. An account with a message in ten seconds
/// or more proves the secret so; with less traffic, an operator would wait in vain.
const SUCCESS_TIMEOUT: Duration = Duration::from_secs(10);
