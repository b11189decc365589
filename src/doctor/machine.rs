//! The examination of what belongs to this machine: certificates, folders, the audit file, the
//! shared server.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustix::fs::{Access, access, statvfs};
use tokio::time::{Instant, sleep, timeout};

use super::step::{DoctorSection, DoctorStep, SectionKind, StepOutcome, StepReporter};
use crate::audit::check_writable;
use crate::reload::{KeptInput, Live};
use crate::spool::check_usable;
use crate::tls::{Stage, Validity};

/// Begins the section.
pub(super) fn section(
    live: &Arc<Live>,
    file: &Path,
    summary: DoctorStep,
    deadline: Instant,
) -> DoctorSection {
    let live = Arc::clone(live);
    let name = file.display().to_string();
    let examine = move |reporter: StepReporter| async move {
        reporter.report(summary);
        reporter.report_all(live.warnings.iter().map(|warning| noted(warning)));
        let unusable = live.kept_inputs.iter().map(KeptInput::line);
        reporter.report_all(unusable.map(|line| noted(&line)));
        let of_disk = Arc::clone(&live);
        // A disk that does not answer must not hold up the other sections.
        let disk = tokio::task::spawn_blocking(move || on_disk(&of_disk));
        if let Ok(steps) = disk.await {
            reporter.report_all(steps);
        }
        if let Some(step) = shared_server(&live).await {
            reporter.report(step);
        }
    };
    DoctorSection::begin(SectionKind::Configuration, name, deadline, examine)
}

/// Returns an oddity, whose text has its remedy.
fn noted(warning: &str) -> DoctorStep {
    DoctorStep {
        name: "configuration".to_owned(),
        outcome: StepOutcome::Warn,
        found: warning.to_owned(),
        mend: None,
    }
}

fn on_disk(live: &Live) -> Vec<DoctorStep> {
    let now = SystemTime::now();
    let certificates = live.server_tls.each().filter_map(|(table, tls)| {
        let validity = tls.validity.as_ref()?;
        Some(certificate(table, validity, now))
    });
    let mut steps: Vec<_> = certificates.collect();
    if let Some(audit) = &live.config.audit {
        let found = audit.file.display().to_string();
        steps.push(match check_writable(&audit.file) {
            Ok(()) => DoctorStep::ok("audit", found),
            Err(error) => DoctorStep::fail(
                "audit",
                format!("{found} cannot be written: {error}"),
                "let the user of the sidecar write the file and its folder",
            ),
        });
    }
    if let Some(state) = &live.state {
        state.check();
        let dir = state.dir().display().to_string();
        let problems = state.problems();
        steps.push(if problems.is_empty() {
            DoctorStep::ok("state", dir)
        } else {
            DoctorStep::fail(
                "state",
                problems.join("; "),
                "let the user of the sidecar read and write the folder, and look at `state.key`",
            )
        });
    }
    if let Some(spool) = &live.config.spool {
        let free = statvfs(&spool.dir).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        // A folder out of reach for `run` is a fault, even while the folder is missing.
        let usable = check_usable(&spool.dir).map_err(io::Error::other);
        let found = || access(&spool.dir, Access::EXISTS).map_err(io::Error::from);
        let writable = usable.and_then(|()| found());
        steps.push(folder(&spool.dir, &writable, free.ok(), spool.max_size));
    }
    steps
}

/// Decides about the certificate of a listener.
fn certificate(table: &str, validity: &Validity, now: SystemTime) -> DoctorStep {
    let name = format!("{table} certificate");
    let Some(concern) = validity.concern(now) else {
        let days = validity.left(now) / 86_400;
        let found = format!("{}: valid for {days} more days", validity.path.display());
        return DoctorStep::ok(name, found);
    };
    let mend = "put the new certificate and its key into the files: a sidecar takes them by itself";
    match validity.stage(now) {
        Stage::Ending | Stage::Good => DoctorStep::warn(name, concern, mend),
        Stage::Early | Stage::Expired => DoctorStep::fail(name, concern, mend),
    }
}

/// Decides about the folder of the spool, with the free bytes of its disk.
fn folder(dir: &Path, writable: &io::Result<()>, free: Option<u64>, max_size: u64) -> DoctorStep {
    let shown = dir.display();
    match (writable, free) {
        (Err(error), _) if error.kind() == io::ErrorKind::NotFound => DoctorStep::warn(
            "spool",
            format!("{shown} is not there yet"),
            "`keyside run` makes the folder: let its user do so",
        ),
        (Err(error), _) => DoctorStep::fail(
            "spool",
            format!("{shown} cannot be written: {error}"),
            "let the user of the sidecar write the folder",
        ),
        (Ok(()), Some(free)) if free < max_size => DoctorStep::warn(
            "spool",
            format!(
                "{shown}: the disk has {} free, and `spool.max_size` is {}",
                mebibytes(free),
                mebibytes(max_size)
            ),
            "make room, or lower `spool.max_size`: past a full disk events are refused with 503",
        ),
        (Ok(()), Some(free)) => {
            DoctorStep::ok("spool", format!("{shown}: {} free", mebibytes(free)))
        }
        (Ok(()), None) => DoctorStep::ok("spool", shown.to_string()),
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

/// Connects to the shared server of `[limits]`.
async fn shared_server(live: &Live) -> Option<DoctorStep> {
    let limits = live.config.limits.as_ref()?;
    let name = "redis";
    let reference = limits.redis.to_string();
    let mend = format!(
        "look at the server and at the URL in `{reference}`; until then each sidecar goes by `on_failure`"
    );
    if let Some(fault) = live.limits_fault() {
        return Some(DoctorStep::fail(name, fault, mend));
    }
    let shared = live.shared()?;
    let connect = async {
        live.connect_shared().await;
        // The first attempt goes on where the wait of a start for it has ended.
        while shared.is_untried() {
            sleep(LOOK_INTERVAL).await;
        }
    };
    let problem = match timeout(CONNECT_TIMEOUT, connect).await {
        Ok(()) => shared.status().problem,
        Err(_) => Some("no answer".to_owned()),
    };
    Some(match problem {
        None => DoctorStep::ok(name, format!("`{reference}` answers")),
        Some(problem) => DoctorStep::fail(name, format!("`{reference}`: {problem}"), mend),
    })
}

/// The longest wait for the shared server: longer than the 4 s for three Sentinels of which two are
/// silent.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(6);
/// The time between two looks for the end of the first attempt: short beside the time of a
/// connection.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_events_is_writable_and_has_room() {
        let denied = || Err(io::ErrorKind::PermissionDenied.into());
        let missing = || Err(io::ErrorKind::NotFound.into());
        for (writable, free, outcome, words) in [
            (Ok(()), Some(4 << 30), StepOutcome::Ok, "4096 MiB free"),
            (
                Ok(()),
                Some(1 << 20),
                StepOutcome::Warn,
                "the disk has 1 MiB free, and `spool.max_size` is 2048 MiB",
            ),
            (Ok(()), None, StepOutcome::Ok, "/spool"),
            (
                denied(),
                Some(4 << 30),
                StepOutcome::Fail,
                "cannot be written",
            ),
            (missing(), None, StepOutcome::Warn, "not there yet"),
        ] {
            let step = folder(Path::new("/spool"), &writable, free, 2 << 30);
            assert_eq!(step.outcome, outcome, "{step:?}");
            assert!(step.found.contains(words), "{step:?}");
        }
    }

    #[test]
    fn a_certificate_is_told_before_and_after_its_end() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        for (left, outcome) in [
            (100, StepOutcome::Ok),
            (3, StepOutcome::Warn),
            (-1, StepOutcome::Fail),
        ] {
            let validity = Validity {
                path: "/c.pem".into(),
                not_before: 1_000_000_000 - 86_400 * 100,
                not_after: 1_000_000_000 + 86_400 * left,
            };
            let step = certificate("inbound.tls", &validity, now);
            assert_eq!(step.outcome, outcome, "{step:?}");
        }
    }
}
