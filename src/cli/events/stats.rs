//! `keyside events stats`

use std::process::ExitCode;

use serde_json::Value;

use super::client::Query;
use super::{AdminArgs, EventsFailure};
use crate::cli::table;
use crate::json::words::{counted, duration, list, size, text};

/// The options of `keyside events stats`.
#[derive(Debug, clap::Args)]
pub(super) struct StatsArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Shows the numbers of the spool.
pub(super) fn run(args: &StatsArgs) -> Result<ExitCode, EventsFailure> {
    let stats = &args.admin.ask("GET", "/events/stats", &Query::default())?;
    if args.json {
        say!("{stats:#}");
        return Ok(ExitCode::SUCCESS);
    }
    let mut alarms = list(&stats["alarms"]).peekable();
    if alarms.peek().is_some() {
        say!("Wrong, and what to do:");
        alarms.for_each(|alarm| say!("  {}", text(&alarm["text"])));
        say!();
    }
    print(stats);
    Ok(ExitCode::SUCCESS)
}

/// Prints the spool, and a table of destinations.
pub(in crate::cli) fn print(spool: &Value) {
    let bytes = spool["bytes"].as_u64().unwrap_or_default();
    let most = spool["max_bytes"].as_u64().unwrap_or_default();
    say!(
        "spool {}: {} of {}, the file has {}",
        text(&spool["dir"]),
        size(bytes),
        size(most),
        size(spool["file_bytes"].as_u64().unwrap_or_default())
    );
    if let Some(unreadable) = spool["unreadable"].as_u64().filter(|count| *count > 0) {
        let events = counted(unreadable, "event");
        say!(
            "{events} in the spool cannot be read: `keyside events drop --unreadable` erases the events whose key is lost"
        );
    }
    table::print(
        [
            "WEBHOOK",
            "DESTINATION",
            "WAITING",
            "OLDEST",
            "UNDER WAY",
            "DELIVERED",
            "DEAD",
            "STATE",
        ],
        list(&spool["destinations"]).map(row),
    );
}

fn row(to: &Value) -> [String; 8] {
    let number = |name: &str| to[name].as_u64().unwrap_or_default().to_string();
    let oldest = to["oldest_seconds"].as_u64();
    let state = match to.pointer("/trouble/kind").and_then(Value::as_str) {
        Some(kind) => kind,
        None if to["configured"] == false => "not configured",
        None if to["setback"].is_object() => "failing",
        None => "ok",
    };
    [
        text(&to["webhook"]),
        text(&to["to"]),
        number("waiting"),
        oldest.map_or_else(|| "-".to_owned(), duration),
        number("under_way"),
        number("delivered"),
        number("dead"),
        state.to_owned(),
    ]
}
