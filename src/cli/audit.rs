//! `keyside audit`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

use crate::audit::{Whole, verify};

/// The options of `keyside audit`.
#[derive(Debug, clap::Args)]
pub(super) struct AuditArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Check that each line of an audit file follows from the one before it
    Verify {
        /// The file
        file: PathBuf,
        /// The hash of a line that must still be there, as an earlier check or the log told it
        #[arg(long, value_name = "HASH")]
        kept: Option<String>,
    },
}

pub(super) fn run(args: &AuditArgs) -> ExitCode {
    let What::Verify { file, kept } = &args.what;
    match verify(file, kept.as_deref()) {
        Ok(Whole { lines, cut, last }) => {
            println!("{}: {lines} lines, unbroken; hash of the last one: {last}", file.display());
            if cut > 0 {
                println!("{cut} of them cut off, each where the process ended while it wrote the line");
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{}: {error}", file.display());
            ExitCode::FAILURE
        }
    }
}
