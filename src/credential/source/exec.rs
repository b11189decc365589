//! `exec:`: a program prints the secret.

use std::path::Path;
use std::process::Stdio;

use tokio::io::AsyncReadExt;
use tokio::process::Command;
use zeroize::Zeroizing;

use super::document::Document;
use super::{MAX_SIZE, SourceError};

/// Runs `program` without a shell, with nothing in its environment but `PATH`, and takes what it
/// prints. Its standard error is dropped: it might hold the secret. A program that takes too long ends with the
/// future.
pub(super) async fn run(program: &Path, arguments: &[String]) -> Result<Document, SourceError> {
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
    let mut text = Zeroizing::new(Vec::with_capacity(MAX_SIZE + 1));
    if let Some(output) = child.stdout.take() {
        output.take(MAX_SIZE as u64 + 1).read_to_end(&mut text).await.map_err(SourceError::File)?;
    }
    if text.len() > MAX_SIZE {
        return Err(SourceError::TooLarge);
    }
    let status = child.wait().await.map_err(SourceError::File)?;
    if status.success() { Ok(Document { text, since: None }) } else { Err(SourceError::Failed(status)) }
}
