//! `keyside events show`

use std::process::ExitCode;

use serde_json::Value;

use super::client::{More, Query};
use super::list::state_words;
use super::selection::event_id;
use super::{AdminArgs, EventsFailure};
use crate::json::words::{list, text};

/// The options of `keyside events show`.
#[derive(Debug, clap::Args)]
pub(super) struct ShowArgs {
    /// The id of the event, as in `Keyside-Event-Id`
    #[arg(value_name = "ID", value_parser = event_id)]
    id: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Shows an event. Several events have one id if an event came again after the items were
/// forgotten.
pub(super) fn run(args: &ShowArgs) -> Result<ExitCode, EventsFailure> {
    let query = Query::default()
        .with("id", &args.id)
        .with("part", "whole")
        .with("numbers", "shown");
    let mut count = 0;
    let unreadable = args.admin.each_event(&query, 0, |event| {
        count += 1;
        if args.json {
            say!("{event:#}")
        } else {
            print(event)
        }
        More::Wanted
    })?;
    super::client::complain_of(unreadable);
    match count {
        0 => Err(EventsFailure::Unknown(1)),
        _ => Ok(ExitCode::SUCCESS),
    }
}

fn print(event: &Value) {
    let texts = |name: &str| list(&event[name]).map(text).collect::<Vec<_>>().join(" ");
    say!("id        {}", text(&event["id"]));
    say!("webhook   {}", text(&event["webhook"]));
    say!("received  {}", text(&event["received"]));
    say!("kind      {} ({})", text(&event["kind"]), texts("fields"));
    say!("sender    {}", texts("senders"));
    say!("person    {}", texts("users"));
    for at in list(&event["at"]) {
        say!("to        {}", state_words(at));
        if let Some(next) = at["next_attempt"].as_str() {
            say!("          next attempt {next}");
        }
    }
    let request = &event["request"];
    let query = request["query"]
        .as_str()
        .map(|query| format!(" ?{query}"))
        .unwrap_or_default();
    say!("\n{}{query}", text(&request["method"]));
    for header in list(&request["headers"]) {
        let coded = || text(&header["value_base64"]);
        let value = header["value"].as_str().map_or_else(coded, str::to_owned);
        say!("{}: {value}", text(&header["name"]));
    }
    match request["body"].as_str() {
        Some(body) => say!("\n{body}"),
        None => say!("\n(base64) {}", text(&request["body_base64"])),
    }
}
