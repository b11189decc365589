//! `keyside audit`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

use super::argument::ArgumentError;
use crate::audit::{VerifiedFiles, verify};
use crate::json::words::counted;

/// The options of `keyside audit`.
#[derive(Debug, clap::Args)]
pub(super) struct AuditArgs {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Check the chain of audit files: each line must carry the hash of the line before, also from
    /// file to file
    Verify {
        /// The audit files, the oldest first
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// The hash of a line that must still be there, from an earlier check or the log
        #[arg(long, value_name = "HASH", value_parser = line_hash)]
        kept: Option<String>,
    },
}

/// Reads the hash of a line.
fn line_hash(text: &str) -> Result<String, ArgumentError> {
    let is_hash = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hash
        .then(|| text.to_ascii_lowercase())
        .ok_or(ArgumentError::LineHash)
}

/// Prints the number of lines and the last hash, or the first break of the chain.
pub(super) fn run(args: &AuditArgs) -> ExitCode {
    let AuditCommand::Verify { files, kept } = &args.command;
    match verify(files, kept.as_deref()) {
        Ok(found) => {
            print(files, &found);
            ExitCode::SUCCESS
        }
        Err(fault) => {
            complain!("{fault}");
            ExitCode::FAILURE
        }
    }
}

fn print(files: &[PathBuf], found: &VerifiedFiles) {
    let names: Vec<_> = files
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    say!(
        "{}: {}, chain unbroken; hash of the last line: {}",
        names.join(", "),
        counted(found.lines, "line"),
        found.last
    );
    if let Some(before) = &found.goes_on_after {
        say!(
            "the first line goes on after the line with the hash {before}, in an older file: name that file first"
        );
    }
    if found.cut > 0 {
        say!(
            "cut off: {}, because the disk was full, or the process ended while it wrote",
            counted(found.cut, "line")
        );
    }
    if found.lost > 0 {
        say!(
            "lost: {}, because the file could not be written",
            counted(found.lost, "event")
        );
    }
}
