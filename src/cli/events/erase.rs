//! `keyside events drop`

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use super::client::{Query, complain_of};
use super::selection::{event_id, person};
use super::{AdminArgs, EventsFailure};
use crate::json::words::counted;

/// The options of `keyside events drop`.
#[derive(Debug, clap::Args)]
pub(super) struct DropArgs {
    /// Ids of events, as in `Keyside-Event-Id`
    #[arg(value_name = "ID", value_parser = event_id, conflicts_with_all = ["user", "unreadable"])]
    ids: Vec<String>,
    /// Erase everything of a person, by phone number or user id: events in every state, and what tells repeats. An
    /// event that has messages of others as well goes as a whole
    #[arg(long, value_name = "NUMBER", value_parser = person)]
    user: Option<String>,
    /// Erase every event that cannot be read because the key that sealed it is lost
    #[arg(long, conflicts_with = "user")]
    unreadable: bool,
    /// Do not ask for confirmation
    #[arg(long)]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Erases events.
pub(super) fn run(args: &DropArgs) -> Result<ExitCode, EventsFailure> {
    if args.ids.is_empty() && args.user.is_none() && !args.unreadable {
        return Err(EventsFailure::Usage(
            "nothing to erase is named: name events by ID, a person by `--user NUMBER`, or `--unreadable`",
        ));
    }
    if !args.yes && !is_confirmed(args)? {
        complain!("Nothing is erased.");
        return Ok(ExitCode::FAILURE);
    }
    let mut events = 0;
    let mut items = 0;
    let mut unknown = 0;
    let mut unreadable = 0;
    let few = args.ids.chunks(IDS_AT_ONCE).map(|ids| {
        let query = Query::default();
        ids.iter().fold(query, |query, id| query.with("id", id))
    });
    let user = args
        .user
        .iter()
        .map(|user| Query::default().with("user", user));
    let without_key = args
        .unreadable
        .then(|| Query::default().with("state", "unreadable"));
    for query in few.chain(user).chain(without_key) {
        let answer = &args.admin.ask("POST", "/events/drop", &query)?;
        let count = |name: &str| answer[name].as_u64().unwrap_or_default();
        events += count("events");
        items += count("items");
        unknown += count("unknown");
        // Each answer counts the same events.
        unreadable = unreadable.max(count("unreadable"));
    }
    if args.json {
        let answer = serde_json::json!({
            "events": events,
            "items": items,
            "unknown": unknown,
            "unreadable": unreadable,
        });
        say!("{answer}");
    } else {
        say!(
            "Erased: {}, {}.",
            counted(events, "event"),
            counted(items, "item")
        );
    }
    if unknown > 0 {
        complain!("keyside: no event has {} of the ids named", unknown);
    }
    complain_of(usize::try_from(unreadable).unwrap_or(usize::MAX));
    Ok(match unknown + unreadable {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// Asks the person at the terminal. Without a terminal, `--yes` must be there.
fn is_confirmed(args: &DropArgs) -> Result<bool, EventsFailure> {
    if !std::io::stdin().is_terminal() {
        return Err(EventsFailure::Usage(
            "an erasure cannot be undone: add `--yes` where no terminal can be asked",
        ));
    }
    let what = match args.user {
        Some(_) => "All events of this person, whatever their state,".to_owned(),
        None if args.unreadable => "All events whose key is not there".to_owned(),
        None => counted(u64::try_from(args.ids.len()).unwrap_or(u64::MAX), "event"),
    };
    let mut stderr = std::io::stderr();
    write!(stderr, "{what} will be erased for good. Go on? [y/N] ").ok();
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).ok();
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// The ids of a question: a query line stays below 8 KiB.
const IDS_AT_ONCE: usize = 128;
