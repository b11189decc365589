//! `keyside events export`

use std::process::ExitCode;

use super::client::{More, complain_of};
use super::selection::Selection;
use super::{AdminArgs, EventsFailure};

/// The options of `keyside events export`.
#[derive(Debug, clap::Args)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Prints events as JSON lines, the oldest first.
pub(super) fn run(args: &ExportArgs) -> Result<ExitCode, EventsFailure> {
    let query = args
        .selection
        .query()?
        .with("part", "whole")
        .with("numbers", "shown")
        .with("most", MAX_PAGE);
    let unreadable = args.admin.each_event(&query, 0, |event| {
        say!("{event}");
        More::Wanted
    })?;
    complain_of(unreadable);
    // The lines may be the only copy: missing events are a failure.
    Ok(match unreadable {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// The most events of a page: as many as the sidecar gives at once.
const MAX_PAGE: u64 = 256;
