//! `keyside events list`

use std::process::ExitCode;

use serde_json::Value;

use super::client::More;
use super::client::complain_of;
use super::selection::Selection;
use super::{AdminArgs, EventsFailure};
use crate::cli::table;
use crate::json::words::{counted, list, text};

/// The options of `keyside events list`.
#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    selection: Selection,
    /// The most events to list
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    /// The number of an event, as the end of a list names it: the list begins there
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    from: u64,
    /// Show phone numbers as they are, and not their last two digits alone
    #[arg(long)]
    show_numbers: bool,
    /// Print JSON lines
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Lists events.
pub(super) fn run(args: &ListArgs) -> Result<ExitCode, EventsFailure> {
    let query = args
        .selection
        .query()?
        .with_some("numbers", args.show_numbers.then_some("shown"))
        // The event after the last shown event is the place to go on.
        .with("most", args.limit.saturating_add(1).min(MAX_PAGE));
    let mut shown = Vec::new();
    let mut count = 0;
    let mut next = None;
    let unreadable = args.admin.each_event(&query, args.from, |event| {
        if count == args.limit {
            next = event["number"].as_u64();
            return More::Enough;
        }
        count += 1;
        if args.json {
            say!("{event}")
        } else {
            shown.push(row(event))
        }
        More::Wanted
    })?;
    if !args.json && shown.is_empty() {
        say!("The spool has no such event.");
    } else if !args.json {
        table::print(TITLES, shown.into_iter());
    }
    if let Some(next) = next {
        complain!("keyside: there are more: add `--from {next}`, or a larger `--limit`");
    }
    complain_of(unreadable);
    Ok(ExitCode::SUCCESS)
}

fn row(event: &Value) -> [String; 7] {
    let texts = |name: &str| list(&event[name]).map(text).collect::<Vec<_>>().join(" ");
    let at: Vec<_> = list(&event["at"]).map(state_words).collect();
    [
        text(&event["id"]),
        text(&event["received"]),
        text(&event["webhook"]),
        text(&event["kind"]),
        texts("senders"),
        texts("users"),
        at.join(", "),
    ]
}

/// Returns the state at a destination in a few words.
pub(super) fn state_words(at: &Value) -> String {
    let attempts = at["attempts"].as_u64().unwrap_or_default();
    let mut words = format!("{} {}", text(&at["to"]), text(&at["state"]));
    if attempts > 0 {
        words += &format!(" after {}", counted(attempts, "attempt"));
    }
    if let Some(why) = at["why"].as_str() {
        words += &format!(" ({why})");
    }
    words
}

const TITLES: [&str; 7] = [
    "ID",
    "RECEIVED",
    "WEBHOOK",
    "KIND",
    "SENDER",
    "PERSON",
    "DESTINATIONS",
];
/// The most events of a page: the bound of the admin listener.
const MAX_PAGE: u64 = 1024;
