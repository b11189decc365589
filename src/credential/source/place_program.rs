//! `exec:` as a place: a program takes a new secret on standard input.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin};
use tokio::time::timeout;

use super::error::SourceError;
use super::exec::{self, ProgramGroup, RunIn};
use super::place_error::{PlaceError, PlaceFault};
use super::program_trace::{ProgramMark, ProgramTrace};
use crate::secret::Secret;

/// A started program that waits for a secret. Dropping kills the program, with the processes that
/// the program started.
pub struct PlaceProgram {
    // Dropped before the child: afterwards the id may belong to another process.
    group: ProgramGroup,
    child: Child,
    mark: Option<ProgramMark>,
}

impl PlaceProgram {
    /// Starts a program, as the leader of a process group unless the program may ask at a terminal.
    ///
    /// # Errors
    /// If the program cannot be started: the place is as it was.
    pub(super) fn start(program: &Path, arguments: &[String]) -> Result<Self, PlaceError> {
        let mark = ProgramMark::new();
        let group = RunIn::of_this_process();
        let mut command = exec::command(program, arguments);
        command.stdin(Stdio::piped());
        command.envs(
            mark.iter()
                .map(|mark| (ProgramMark::VARIABLE, mark.value())),
        );
        let child = group.spawn(&mut command).map_err(|error| {
            PlaceError::NotWritten(PlaceFault::Program(SourceError::not_started(error)))
        })?;
        Ok(Self {
            group: group.led_by(&child),
            child,
            mark,
        })
    }

    /// Returns the trace of a program that leads a group, for a process that has to find it again.
    #[must_use]
    pub fn trace(&self) -> Option<ProgramTrace> {
        ProgramTrace::of(self.group.leader()?, self.mark.clone()?)
    }

    /// Gives the secret to the program, and waits for its end, within the time of a read.
    ///
    /// # Errors
    /// If the program fails or takes too long: the secret may be in its place.
    pub async fn feed(mut self, secret: &Secret) -> Result<(), PlaceError> {
        let input = self.child.stdin.take();
        #[expect(
            clippy::disallowed_methods,
            reason = "the secret goes to the program that the user has named for it"
        )]
        let value = secret.expose().as_bytes();
        let running = async {
            // At the same time: the program may print before the end of its input.
            let output = exec::output(&mut self.child, value);
            let (ended, ()) = tokio::join!(output, write(input, value));
            ended
        };
        let ended = timeout(FEED_TIMEOUT, running)
            .await
            .unwrap_or(Err(SourceError::TimedOut(FEED_TIMEOUT)));
        self.group.release_after(&ended);
        match ended {
            Ok(_) => Ok(()),
            Err(error) => Err(PlaceError::Unknown(PlaceFault::Program(error))),
        }
    }
}

/// Writes the secret and closes the pipe. A program that does not read reports success by its
/// status.
async fn write(input: Option<ChildStdin>, value: &[u8]) {
    if let Some(mut input) = input {
        input.write_all(value).await.ok();
        input.shutdown().await.ok();
    }
}

/// The time for a program that takes a secret, as long as for a program that prints a secret.
pub(super) const FEED_TIMEOUT: Duration = Duration::from_secs(10);
