//! `exec:`: a program prints the secret, or takes a new secret.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::fs::{Access, AtFlags, CWD, accessat};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};
use tokio::task::JoinSet;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::document::SecretDocument;
use super::error::{MAX_SIZE, SourceError};
use super::place_error::{PlaceError, PlaceFault};
use super::program_error::first_line;
use crate::secret::Secret;

/// Runs `program` and returns its standard output.
///
/// There is no shell, and the environment has only [`PASSED_ON`] and a `PATH`. A dropped future kills the program; a timeout
/// around the future therefore ends the program as well.
pub(super) async fn run(
    program: &Path,
    arguments: &[String],
) -> Result<SecretDocument, SourceError> {
    output(start(program, arguments, Stdio::null())?, b"").await
}

/// Runs `program` with a new secret on standard input, within the time of a read.
///
/// # Errors
/// If the program cannot be started. If the program fails or takes too long, the secret may be in its place.
pub(super) async fn feed(
    program: &Path,
    arguments: &[String],
    secret: &Secret,
) -> Result<(), PlaceError> {
    let not_started = |error| PlaceError::NotWritten(PlaceFault::Program(error));
    let mut child = start(program, arguments, Stdio::piped()).map_err(not_started)?;
    let input = child.stdin.take();
    #[expect(
        clippy::disallowed_methods,
        reason = "the secret goes to the program that the user has named for it"
    )]
    let value = secret.expose().as_bytes();
    let running = async {
        // At the same time: the program may print before the end of its input.
        let (ended, ()) = tokio::join!(output(child, value), write(input, value));
        ended
    };
    let ended = timeout(FEED_TIMEOUT, running)
        .await
        .unwrap_or(Err(SourceError::TimedOut(FEED_TIMEOUT)));
    match ended {
        Ok(_) => Ok(()),
        Err(error) => Err(PlaceError::Unknown(PlaceFault::Program(error))),
    }
}

/// Writes the secret and closes the pipe. A program that does not read reports success by its status.
async fn write(input: Option<ChildStdin>, value: &[u8]) {
    if let Some(mut input) = input {
        input.write_all(value).await.ok();
        input.shutdown().await.ok();
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

fn start(program: &Path, arguments: &[String], input: Stdio) -> Result<Child, SourceError> {
    let passed_on = PASSED_ON.iter().filter_map(|name| {
        let value = std::env::var_os(name)?;
        Some((name, value))
    });
    Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .envs(passed_on)
        .stdin(input)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(SourceError::not_started)
}

/// Waits for the end of a program, and returns its standard output. `given` is what the program was given and may repeat.
async fn output(mut child: Child, given: &[u8]) -> Result<SecretDocument, SourceError> {
    let complaint = Arc::new(Mutex::new(Zeroizing::new(Vec::new())));
    let mut reading = JoinSet::new();
    if let Some(stderr) = child.stderr.take() {
        reading.spawn(read_begin(stderr, Arc::clone(&complaint)));
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
    let complaint = first_line(&complaint.lock(), [&text, given]);
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

/// The variables of the sidecar passed to programs, if set: the names of places and accounts, never a secret.
/// `docs/configuration.md` has the list.
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
/// The bytes that are kept of standard error.
const MAX_COMPLAINT: usize = 1024;
/// The time for a program that takes a secret, as long as for a program that prints a secret.
pub(super) const FEED_TIMEOUT: Duration = Duration::from_secs(10);
/// The time for standard error after the end of the program.
const STDERR_TIMEOUT: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_lists_each_variable_that_programs_get() {
        let page = include_str!("../../../docs/configuration.md");
        for name in PASSED_ON {
            assert!(page.contains(&format!("`{name}`")), "{name}");
        }
    }
}
