//! `exec:`: a program prints the secret.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::document::SecretDocument;
use super::error::{MAX_SIZE, SourceError};
use super::place_error::{PlaceError, PlaceFault};
use super::program_error::first_line;

/// Runs `program` and returns its standard output.
///
/// There is no shell, and the environment has only [`PASSED_ON`] and a `PATH`. A dropped future
/// kills the program; a timeout around the future therefore ends the program as well.
pub(super) async fn run(
    program: &Path,
    arguments: &[String],
) -> Result<SecretDocument, SourceError> {
    run_in(RunIn::of_this_process(), program, arguments).await
}

/// The process group that a program runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RunIn {
    /// The group of Keyside: a kill ends the program alone.
    GroupOfCaller,
    /// A group that the program leads: a kill ends all that the program has started.
    GroupOfItsOwn,
}

impl RunIn {
    /// Returns the group for the programs of this process. The terminal stops a program of another
    /// group that asks for a passphrase there.
    pub(super) fn of_this_process() -> Self {
        if io::stdin().is_terminal() || io::stderr().is_terminal() {
            Self::GroupOfCaller
        } else {
            Self::GroupOfItsOwn
        }
    }

    /// Starts a program in the group, on a thread that serves no requests: the system reads the
    /// program from the disk meanwhile.
    pub(super) async fn spawn(self, mut command: Command) -> io::Result<Child> {
        if self == Self::GroupOfItsOwn {
            command.process_group(0);
        }
        let starting = tokio::task::spawn_blocking(move || command.spawn());
        starting.await.unwrap_or_else(|error| Err(error.into()))
    }

    /// Returns the group that a program leads.
    pub(super) fn led_by(self, child: &Child) -> ProgramGroup {
        match self {
            Self::GroupOfItsOwn => ProgramGroup::led_by(child),
            Self::GroupOfCaller => ProgramGroup(None),
        }
    }
}

async fn run_in(
    group: RunIn,
    program: &Path,
    arguments: &[String],
) -> Result<SecretDocument, SourceError> {
    let mut command = command(program, arguments);
    command.stdin(Stdio::null());
    let mut child = group
        .spawn(command)
        .await
        .map_err(SourceError::not_started)?;
    // Dropped before the child: afterwards the id may belong to another process.
    let mut led = group.led_by(&child);
    let ended = output(&mut child, b"").await;
    led.release_after(&ended);
    ended
}

/// A process group that is killed when dropped.
pub(super) struct ProgramGroup(Option<Pid>);

impl ProgramGroup {
    /// Returns the group that a program leads.
    fn led_by(child: &Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self(id.and_then(Pid::from_raw))
    }

    /// Returns the leader.
    pub(super) fn leader(&self) -> Option<Pid> {
        self.0
    }

    /// Lets the group live if the program has ended by itself: the program may have left an agent
    /// for later on purpose.
    pub(super) fn release_after(&mut self, ended: &Result<SecretDocument, SourceError>) {
        if let Ok(_) | Err(SourceError::Failed { .. }) = ended {
            self.0 = None;
        }
    }
}

impl Drop for ProgramGroup {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            kill_process_group(group, Signal::KILL).ok();
        }
    }
}

/// Checks that a program could be started. Only the program knows if a secret could be stored.
///
/// # Errors
/// Always: either the program cannot be started, or only a write can prove the right.
pub(super) fn can_feed(program: &Path) -> Result<(), PlaceError> {
    match accessat(CWD, program, Access::EXEC_OK, AtFlags::EACCESS) {
        Ok(()) => Err(PlaceError::Unknown(PlaceFault::Unchecked(
            "the program can be started, and there is no question that every program would answer",
        ))),
        Err(error) => Err(PlaceError::NotWritten(PlaceFault::Program(
            SourceError::not_started(error.into()),
        ))),
    }
}

/// Returns the command for a program whose output is read.
pub(super) fn command(program: &Path, arguments: &[String]) -> Command {
    let passed_on = PASSED_ON.iter().filter_map(|name| {
        let value = std::env::var_os(name)?;
        Some((name, value))
    });
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .envs(passed_on)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Waits for the end of a program, and returns its standard output. `given` is what the program was
/// given and may repeat.
pub(super) async fn output(child: &mut Child, given: &[u8]) -> Result<SecretDocument, SourceError> {
    let error_text = Arc::new(Mutex::new(Zeroizing::new(Vec::new())));
    let mut reading = JoinSet::new();
    if let Some(stderr) = child.stderr.take() {
        reading.spawn(read_begin(stderr, Arc::clone(&error_text)));
    }
    let mut text = Zeroizing::new(Vec::with_capacity(MAX_SIZE + 1));
    if let Some(output) = child.stdout.take() {
        output
            .take(MAX_SIZE as u64 + 1)
            .read_to_end(&mut text)
            .await
            .map_err(SourceError::unreadable)?;
    }
    if text.len() > MAX_SIZE {
        return Err(SourceError::TooLarge);
    }
    let status = child.wait().await.map_err(SourceError::unreadable)?;
    if status.success() {
        return Ok(SecretDocument::new(text, None));
    }
    // A program in the background may hold standard error open.
    timeout(STDERR_TIMEOUT, reading.join_next()).await.ok();
    let complaint = first_line(&error_text.lock(), [&text, given]);
    Err(SourceError::Failed { status, complaint })
}

/// Reads standard error to its end, and keeps the begin. A program with a full pipe would stop.
async fn read_begin(mut stderr: impl AsyncRead + Unpin, begin: Arc<Mutex<Zeroizing<Vec<u8>>>>) {
    let mut buffer = Zeroizing::new([0; MAX_COMPLAINT]);
    while let Ok(length @ 1..) = stderr.read(&mut *buffer).await {
        let mut begin = begin.lock();
        let room = MAX_COMPLAINT - begin.len();
        begin.extend(buffer.iter().take(length.min(room)));
    }
}

/// The variables of the sidecar passed to programs, if set: the names of places and accounts, never
/// a secret. `docs/configuration.md` has the list.
const PASSED_ON: [&str; 41] = [
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TZ",
    "XDG_CONFIG_HOME",
    "XDG_RUNTIME_DIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "CREDENTIALS_DIRECTORY",
    "KUBERNETES_SERVICE_HOST",
    "KUBERNETES_SERVICE_PORT",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_PROFILE",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_CA_BUNDLE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_CLOUD_PROJECT",
    "CLOUDSDK_CONFIG",
    "AZURE_TENANT_ID",
    "AZURE_CLIENT_ID",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_AUTHORITY_HOST",
    "AZURE_CONFIG_DIR",
    "VAULT_ADDR",
    "VAULT_NAMESPACE",
    "VAULT_CACERT",
    "VAULT_CAPATH",
    "VAULT_TOKEN_FILE",
    "BAO_ADDR",
    "BAO_NAMESPACE",
    "BAO_CACERT",
    "BAO_CAPATH",
];
/// The bytes that are kept of standard error: more than the line that is shown.
const MAX_COMPLAINT: usize = 1024;
/// The time for standard error after the end of the program: what the program wrote is in the pipe
/// already.
const STDERR_TIMEOUT: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_out_of_time_ends_with_all_that_it_has_started() {
        let folder = std::env::temp_dir().join(format!("keyside-exec-{}", std::process::id()));
        let script = format!("sleep 60 & echo $! > {}; wait", folder.display());
        let arguments = ["-c".to_owned(), script];
        let running = run_in(RunIn::GroupOfItsOwn, Path::new("/bin/sh"), &arguments);
        let ended = timeout(Duration::from_secs(1), running).await;
        assert!(ended.is_err(), "the program waits");
        let child = std::fs::read_to_string(&folder).unwrap();
        std::fs::remove_file(&folder).unwrap();
        let stat = format!("/proc/{}/stat", child.trim());
        for _ in 0..100 {
            // A process that has ended may wait for its parent's question.
            match std::fs::read_to_string(&stat) {
                Ok(stat) if !stat.contains(") Z ") => {}
                _ => return,
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the child goes on");
    }

    #[test]
    fn the_documentation_lists_each_variable_that_programs_get() {
        let page = include_str!("../../../docs/configuration.md");
        for name in PASSED_ON {
            assert!(page.contains(&format!("`{name}`")), "{name}");
        }
    }
}
