//! `exec:` as a place: a program takes a new secret on standard input.

use std::io::{self, PipeReader, Write};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use tokio::process::Child;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::error::SourceError;
use super::exec::{self, ProgramGroup, RunIn};
use super::place_error::{PlaceError, PlaceFault};
use super::program_trace::{ProgramMark, ProgramTrace};
use crate::secret::Secret;

/// A program that is about to get a secret.
pub struct PlaceProgram<'p> {
    program: &'p Path,
    arguments: &'p [String],
    run_in: RunIn,
    mark: Option<ProgramMark>,
}

/// A started program that has a secret. Dropping kills the program, with the processes that the
/// program started.
pub struct FedProgram {
    // Dropped before the child: afterwards the id may belong to another process.
    group: ProgramGroup,
    child: Child,
    mark: Option<ProgramMark>,
}

impl<'p> PlaceProgram<'p> {
    /// Prepares a program, as the leader of a process group unless the program may ask at a
    /// terminal.
    pub(super) fn new(program: &'p Path, arguments: &'p [String]) -> Self {
        Self {
            program,
            arguments,
            run_in: RunIn::of_this_process(),
            mark: ProgramMark::new(),
        }
    }

    /// Returns the trace of a program that will lead a group, for a process that has to find the
    /// program after a kill of this process.
    #[must_use]
    pub async fn trace(&self) -> Option<ProgramTrace> {
        let mark = self.mark.clone()?;
        match self.run_in {
            RunIn::GroupOfItsOwn => aside(move || ProgramTrace::ahead(mark)).await,
            RunIn::GroupOfCaller => None,
        }
    }

    /// Starts the program with the whole secret on standard input: a kill of this process leaves no
    /// program with a part of the secret, or with none.
    ///
    /// # Errors
    /// If the program cannot be started: the place is as it was.
    pub async fn start(self, secret: &Secret) -> Result<FedProgram, PlaceError> {
        let not_started =
            |error| PlaceError::NotWritten(PlaceFault::Program(SourceError::not_started(error)));
        let input = full_pipe(value_of(secret)).map_err(not_started)?;
        let mut command = exec::command(self.program, self.arguments);
        command.stdin(input);
        command.envs(
            self.mark
                .iter()
                .map(|mark| (ProgramMark::VARIABLE, mark.value())),
        );
        let child = self.run_in.spawn(command).await.map_err(not_started)?;
        Ok(FedProgram {
            group: self.run_in.led_by(&child),
            child,
            mark: self.mark,
        })
    }
}

impl FedProgram {
    /// Returns the trace of a program that leads a group, for a process that has to find it again.
    #[must_use]
    pub async fn trace(&self) -> Option<ProgramTrace> {
        let leader = self.group.leader()?;
        let mark = self.mark.clone()?;
        aside(move || ProgramTrace::of(leader, mark)).await
    }

    /// Waits for the end of the program, within the time of a read. `secret` is the secret that the
    /// program has, which no message repeats.
    ///
    /// # Errors
    /// If the program fails or takes too long: the secret may be in its place.
    pub async fn wait(mut self, secret: &Secret) -> Result<(), PlaceError> {
        let running = exec::output(&mut self.child, value_of(secret));
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

/// Reads the system's facts about a process on a thread that serves no requests.
async fn aside(
    read: impl FnOnce() -> Option<ProgramTrace> + Send + 'static,
) -> Option<ProgramTrace> {
    spawn_blocking(read).await.ok().flatten()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the secret goes to the program that the user has named for it"
)]
fn value_of(secret: &Secret) -> &[u8] {
    secret.expose().as_bytes()
}

/// Returns the end of a pipe that holds a value, and nothing behind the value. The kernel has room
/// for the longest secret, unless the user has thousands of pipes: then the error says so at once.
fn full_pipe(value: &[u8]) -> io::Result<PipeReader> {
    let (reader, mut writer) = io::pipe()?;
    let flags = fcntl_getfl(&writer)?;
    fcntl_setfl(&writer, flags | OFlags::NONBLOCK)?;
    writer.write_all(value)?;
    Ok(reader)
}

/// The time for a program that takes a secret, as long as for a program that prints a secret.
pub(super) const FEED_TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::super::error::MAX_SIZE;
    use super::*;

    #[test]
    fn a_pipe_takes_the_longest_secret_before_its_program_starts() {
        for length in [0, 1, 4096, MAX_SIZE] {
            let value: Vec<u8> = (0..=u8::MAX).cycle().take(length).collect();
            let mut read = Vec::new();
            full_pipe(&value).unwrap().read_to_end(&mut read).unwrap();
            assert!(read == value, "{length}");
        }
    }
}
