//! `exec:`: a program prints the secret.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::{MAX_SIZE, Raw, SourceError};

/// How long a program may take.
pub(super) const TIME: Duration = Duration::from_secs(10);

/// Runs `program` without a shell, with nothing in its environment but `PATH`, and takes what it
/// prints. Its standard error is dropped: it might hold the secret.
pub(super) async fn run(program: &Path, arguments: &[String]) -> Result<Raw, SourceError> {
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(SourceError::Start)?;
    let finished = async {
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_SIZE + 1));
        if let Some(output) = child.stdout.take() {
            output.take(MAX_SIZE as u64 + 1).read_to_end(&mut bytes).await.map_err(SourceError::File)?;
        }
        if bytes.len() > MAX_SIZE {
            return Err(SourceError::TooLarge);
        }
        let status = child.wait().await.map_err(SourceError::File)?;
        if status.success() { Ok(bytes) } else { Err(SourceError::Failed(status)) }
    };
    let bytes = timeout(TIME, finished).await.map_err(|_| SourceError::TimedOut)??;
    Ok(Raw { bytes, since: None, warning: None })
}
