//! `keyside completions` and `keyside man`: the commands and options for a shell and for `man`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

use super::Arguments;
use crate::document::shown_place;

/// The options of `keyside completions`.
#[derive(Debug, clap::Args)]
pub(super) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// The options of `keyside man`.
#[derive(Debug, clap::Args)]
pub(super) struct ManArgs {
    /// The folder for the pages, such as /usr/local/share/man/man1
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

/// Prints a script: the shell then completes commands and options.
pub(super) fn completions(args: &CompletionsArgs) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Arguments::command(), NAME, &mut script);
    say!("{}", String::from_utf8_lossy(&script).trim_end());
    ExitCode::SUCCESS
}

/// Writes the page of Keyside and the page of each command.
pub(super) fn man(args: &ManArgs) -> ExitCode {
    let pages = Arguments::command().disable_help_subcommand(true);
    let written = std::fs::create_dir_all(&args.dir)
        .and_then(|()| clap_mangen::generate_to(pages, &args.dir));
    match written {
        Ok(()) => {
            say!("The pages are in {}", args.dir.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            let dir = shown_place(&args.dir.to_string_lossy()).to_owned();
            complain!("keyside: {dir}: the pages cannot be written: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The name of the program.
const NAME: &str = "keyside";
