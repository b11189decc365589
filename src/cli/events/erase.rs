//! `keyside events drop`

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use serde_json::Value;

use super::client::Query;
use super::selection::{event_id, person};
use super::{AdminArgs, EventsFailure};
use crate::json::words::{counted, list, text};

/// The options of `keyside events drop`.
#[derive(Debug, clap::Args)]
pub(super) struct DropArgs {
    /// Ids of events, as in `Keyside-Event-Id`
    #[arg(value_name = "ID", value_parser = event_id, conflicts_with_all = ["user", "unreadable"])]
    ids: Vec<String>,
    /// Erase everything of a person, by phone number or user id: events in every state, and what
    /// tells repeats. An event that has messages of others as well goes as a whole
    #[arg(long, value_name = "NUMBER", value_parser = person)]
    user: Option<String>,
    /// Erase every event that cannot be read: damaged, or sealed with a key that is lost
    #[arg(long, conflicts_with = "user")]
    unreadable: bool,
    /// Do not ask at a terminal; needed for `--unreadable` without a terminal
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
    let mut first_unreadable = Vec::new();
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
        if first_unreadable.is_empty() {
            first_unreadable.extend(list(&answer["first_unreadable"]).cloned());
        }
    }
    if args.json {
        let answer = serde_json::json!({
            "events": events,
            "items": items,
            "unknown": unknown,
            "unreadable": unreadable,
            "first_unreadable": first_unreadable,
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
    complain_of_unread(args, unreadable, &first_unreadable);
    Ok(match unknown + unreadable {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// Names the events that cannot be read, and says how they go: each may be meant.
fn complain_of_unread(args: &DropArgs, count: u64, first: &[Value]) {
    if count == 0 {
        return;
    }
    let whose = match args.user {
        Some(_) => "may be the person's",
        None => "may have an id that was not found",
    };
    complain!(
        "keyside: {} cannot be read and stay in the spool; any of them {whose}:",
        counted(count, "event")
    );
    for event in first {
        let name = match event["id"].as_str() {
            Some(id) => id.to_owned(),
            None => format!("number {}", event["number"]),
        };
        let received = event["received"].as_str().unwrap_or("at an unknown time");
        complain!("  {name}, arrived {received}: {}", text(&event["why"]));
    }
    let told = u64::try_from(first.len()).unwrap_or(u64::MAX);
    if let Some(rest) = count.checked_sub(told).filter(|rest| *rest > 0) {
        complain!("  and {rest} more");
    }
    complain!(
        "`keyside events drop ID` erases an event with an id, `keyside events drop --unreadable` all that cannot be read"
    );
}

/// Asks the person at the terminal. Without a terminal, the words of the command are the consent,
/// since a script has named what it erases; `--unreadable` names nothing, and needs `--yes` there.
fn is_confirmed(args: &DropArgs) -> Result<bool, EventsFailure> {
    if !std::io::stdin().is_terminal() {
        return if args.unreadable {
            Err(EventsFailure::Usage(
                "`--unreadable` erases whatever cannot be read, for good: add `--yes` where no terminal can be asked",
            ))
        } else {
            Ok(true)
        };
    }
    let what = match args.user {
        Some(_) => "All events of this person, whatever their state,".to_owned(),
        None if args.unreadable => "All events that cannot be read".to_owned(),
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
