//! `keyside audit`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

use crate::audit::verify;

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
    },
}

pub(super) fn run(args: &AuditArgs) -> ExitCode {
    let What::Verify { file } = &args.what;
    match verify(file) {
        Ok((lines, last)) => {
            println!("{}: {lines} lines, unbroken; hash of the last one: {last}", file.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{}: {error}", file.display());
            ExitCode::FAILURE
        }
    }
}
