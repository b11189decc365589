//! `keyside events replay`

use std::collections::BTreeSet;
use std::process::ExitCode;

use serde_json::json;

use super::client::{More, complain_of};
use super::selection::{Selection, event_id};
use super::{AdminArgs, EventsFailure};
use crate::json::words::{counted, list, text};
use crate::units::Rate;

/// The options of `keyside events replay`.
#[derive(Debug, clap::Args)]
pub(super) struct ReplayArgs {
    /// Ids of events, as in `Keyside-Event-Id`
    #[arg(value_name = "ID", value_parser = event_id)]
    ids: Vec<String>,
    #[command(flatten)]
    selection: Selection,
    /// The rate, such as 50/s or 1/6s. The replay ends with this command, however many events are
    /// left
    #[arg(long, value_name = "RATE")]
    rate: Option<Rate>,
    /// Count the events alone
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Default)]
struct Totals {
    events: u64,
    deliveries: u64,
    replayed: u64,
    unreadable: usize,
    /// The deliveries to destinations that are not configured any more.
    without_address: u64,
    /// The ids that an event has.
    known: BTreeSet<String>,
    /// The arrival of the last event of the last page.
    last_received: Option<String>,
}

/// Lets events go to destinations once more.
pub(super) fn run(args: &ReplayArgs) -> Result<ExitCode, EventsFailure> {
    if args.ids.is_empty() && !args.selection.is_narrow() {
        return Err(EventsFailure::Usage(
            "replay of which events? Name ids, or `--since TIME`, `--state dead`, `--match TEXT`",
        ));
    }
    let mut query = args.selection.query()?;
    for id in &args.ids {
        query = query.with("id", id);
    }
    query = query
        .with_some("rate", args.rate)
        .with_some("effect", args.dry_run.then_some("dry-run"));
    if args.rate.is_some() && !args.dry_run && !args.json {
        complain!("The replay ends with this command: let it run to its end.");
    }
    let mut totals = Totals::default();
    let done = args
        .admin
        .each_page("POST", "/events/replay", &query, 0, |page| {
            let count = |name: &str| page[name].as_u64().unwrap_or_default();
            totals.events += count("events");
            totals.deliveries += count("deliveries");
            totals.replayed += count("replayed");
            totals.without_address += count("without_address");
            totals.known.extend(list(&page["known"]).map(text));
            totals.unreadable += usize::try_from(count("unreadable")).unwrap_or(usize::MAX);
            let last = page["last_received"].as_str();
            totals.last_received = last.map(str::to_owned).or(totals.last_received.take());
            More::Wanted
        });
    // A sidecar that was not asked may have events.
    if done.is_ok() || totals.events > 0 {
        print(args, &totals);
    }
    if let (Err(_), Some(last)) = (&done, &totals.last_received) {
        complain!("keyside: the replay was cut off: go on with `--since {last}`");
    }
    done?;
    complain_of(totals.unreadable);
    let is_known = |id: &&String| totals.known.contains(&id.to_ascii_lowercase());
    let unknown = args.ids.len() - args.ids.iter().filter(is_known).count();
    if unknown > 0 {
        complain!("keyside: no event has {unknown} of the ids named");
    }
    if totals.without_address > 0 {
        complain!(
            "keyside: {} left out, because the destination is not configured any more: configure it again, or erase the \
             events with `keyside events drop`",
            deliveries(totals.without_address)
        );
    }
    let found_none = totals.events == 0 && (!args.ids.is_empty() || totals.without_address > 0);
    Ok(if found_none || unknown > 0 {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn print(args: &ReplayArgs, totals: &Totals) {
    if args.json {
        say!(
            "{}",
            json!({
                "events": totals.events,
                "deliveries": totals.deliveries,
                "replayed": totals.replayed,
                "dry_run": args.dry_run,
            })
        );
    } else if totals.events == 0 {
        say!(
            "There is nothing to replay: no such event is delivered or dead at a destination that is configured. Events \
             that wait at one are delivered anyway."
        );
    } else if args.dry_run {
        say!(
            "{} would be delivered once more, in {}.",
            counted(totals.events, "event"),
            deliveries(totals.deliveries)
        );
    } else {
        say!(
            "{} of {} found wait for delivery again.",
            deliveries(totals.replayed),
            totals.deliveries
        );
    }
}

fn deliveries(count: u64) -> String {
    match count {
        1 => "1 delivery".to_owned(),
        _ => format!("{count} deliveries"),
    }
}
