//! `keyside events`: what the spool of a running sidecar holds, and orders about it.

use std::process::ExitCode;

use clap::Subcommand;

mod client;
mod erase;
mod export;
mod list;
mod moment;
mod replay;
mod selection;
mod show;
mod stats;

use client::{AdminArgs, EventsFailure};
pub(super) use stats::print as print_spool;

/// The options of `keyside events`.
#[derive(Debug, clap::Args)]
pub(super) struct EventsArgs {
    #[command(subcommand)]
    command: EventsCommand,
}

#[derive(Debug, Subcommand)]
enum EventsCommand {
    /// List events, the oldest first, with their state at each destination
    List(list::ListArgs),
    /// Show an event as a whole: headers, body, and its state at each destination
    Show(show::ShowArgs),
    /// Deliver dead or delivered events once more
    Replay(replay::ReplayArgs),
    /// Print events as JSON lines, with all that is needed to make each request again byte for byte
    Export(export::ExportArgs),
    /// Erase events, or all that the spool knows of a person
    Drop(erase::DropArgs),
    /// Show the numbers of each destination, and what is wrong
    Stats(stats::StatsArgs),
}

/// Runs a command about events.
pub(super) fn run(args: &EventsArgs) -> ExitCode {
    let done = match &args.command {
        EventsCommand::List(args) => list::run(args),
        EventsCommand::Show(args) => show::run(args),
        EventsCommand::Replay(args) => replay::run(args),
        EventsCommand::Export(args) => export::run(args),
        EventsCommand::Drop(args) => erase::run(args),
        EventsCommand::Stats(args) => stats::run(args),
    };
    match done {
        Ok(code) => code,
        Err(failure) => {
            complain!("keyside: {failure}");
            match failure {
                EventsFailure::Usage(_) => ExitCode::from(2),
                _ => ExitCode::FAILURE,
            }
        }
    }
}
