//! Orders about events: replay and erasure.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

use super::EventsError;
use super::question::{Effect, Names, Question, Readable};
use super::shown::{moment, shown, unread};
use crate::audit::Audit;
use crate::spool::{DestinationId, Erased, Filter, Listed, Seq, Spool, StoredState};
use crate::units::{Quota, Rate};

/// The earliest time for the next event of a replay with a rate. Replays of several operators share
/// the time.
#[derive(Debug)]
pub(super) struct NextReplay(Mutex<Instant>);

impl NextReplay {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Instant::now()))
    }

    /// Waits for the time, at most a turn; false if the next event may not go back even then.
    async fn allows_soon(&self) -> bool {
        let next_at = *self.0.lock().await;
        let patience = Instant::now() + TURN;
        sleep_until(next_at.min(patience)).await;
        next_at <= patience
    }
}

/// Lets events of a page wait again, and returns the first number of the next page. A cut leaves
/// whole events behind.
pub(super) async fn replay(
    spool: &Spool,
    next_replay: &NextReplay,
    question: &Question,
) -> Result<Value, EventsError> {
    if !question.is_narrow() {
        return Err(EventsError::TooWide);
    }
    let most = match (question.effect, question.rate) {
        (Effect::DryRun, _) => DRY_PAGE,
        (Effect::Real, None) => PAGE,
        (Effect::Real, Some(rate)) => in_time(rate, TURN),
    };
    if question.effect == Effect::Real
        && question.rate.is_some()
        && !next_replay.allows_soon().await
    {
        return Ok(
            json!({ "events": 0, "deliveries": 0, "replayed": 0, "unreadable": 0, "next": question.from }),
        );
    }
    let page = spool.list(&question.filter, question.from, most)?;
    let configured: Vec<_> = spool.destinations().iter().map(|to| to.id()).collect();
    let Choice {
        wanted,
        without_address,
    } = choose(&page.events, &question.filter, &configured);
    let replayed = match question.effect {
        Effect::DryRun => 0,
        Effect::Real => at_rate(spool, next_replay, question.rate, &wanted).await?,
    };
    Ok(json!({
        "events": events_in(&wanted),
        "deliveries": wanted.len(),
        "replayed": replayed,
        "unreadable": page.unreadable.len(),
        "without_address": without_address,
        "known": known(&page.events, &question.filter),
        "last_received": page.events.last().map(|event| moment(event.head.received_ms)),
        "next": page.next,
        "end": spool.end(),
    }))
}

/// The deliveries of a replay.
#[derive(Debug, Default)]
struct Choice {
    /// The deliveries that can be made.
    wanted: Vec<(Seq, DestinationId)>,
    /// The number of deliveries to destinations outside the configuration.
    without_address: usize,
}

fn choose(events: &[Listed], filter: &Filter, configured: &[DestinationId]) -> Choice {
    let mut choice = Choice::default();
    for event in events {
        let asked = event.at.iter().filter(|at| {
            (filter.to.is_empty() || filter.to.contains(&at.to))
                && filter.state.is_none_or(|wanted| wanted == at.state)
        });
        for at in asked {
            if !configured.contains(&at.to) {
                choice.without_address += 1;
            } else if at.state != StoredState::Waiting {
                choice.wanted.push((event.seq, at.to));
            }
        }
    }
    choice
}

/// Returns the ids that events have, of an order that names ids.
fn known<'e>(events: &'e [Listed], filter: &Filter) -> Vec<&'e str> {
    let ids = events.iter().map(|event| event.head.id.as_str());
    ids.filter(|_| !filter.ids.is_empty()).collect()
}

fn events_in(wanted: &[(Seq, DestinationId)]) -> usize {
    let mut events: Vec<_> = wanted.iter().map(|(seq, _)| *seq).collect();
    events.dedup();
    events.len()
}

async fn at_rate(
    spool: &Spool,
    next_replay: &NextReplay,
    rate: Option<Rate>,
    wanted: &[(Seq, DestinationId)],
) -> Result<u64, EventsError> {
    let Some(rate) = rate else {
        return Ok(spool.replay_all(wanted).await?);
    };
    let interval = Quota::from(rate).interval();
    let mut replayed = 0;
    for few in wanted.chunks(in_time(rate, STEP)) {
        let mut next_at = next_replay.0.lock().await;
        sleep_until(*next_at).await;
        let count = spool.replay_all(few).await?;
        let taken = u32::try_from(few.len()).unwrap_or(u32::MAX);
        *next_at = Instant::now().max(*next_at) + interval.saturating_mul(taken);
        replayed += count;
    }
    Ok(replayed)
}

/// The number of events in a time at a rate; 1 at least.
fn in_time(rate: Rate, time: Duration) -> usize {
    let share = time.as_secs_f64() / rate.per.as_secs_f64();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to a small whole number before"
    )]
    let count = (f64::from(rate.count.get()) * share).clamp(1.0, 512.0) as usize;
    count
}

/// Erases events by ids, or all of a person, and names the client in the audit file.
pub(super) async fn drop_events(
    spool: &Spool,
    audit: &Audit,
    question: &Question,
    client: String,
) -> Result<Value, EventsError> {
    let by_user = Filter {
        user: question.filter.user.clone(),
        ..Filter::default()
    };
    let by_ids = Filter {
        ids: question.filter.ids.clone(),
        ..Filter::default()
    };
    let (erased, unknown) = match &question.filter.user {
        None if question.readable == Readable::No && question.filter == Filter::default() => {
            let events = spool.erase_unreadable().await?;
            let erased = Erased {
                events,
                ..Erased::default()
            };
            (erased, 0)
        }
        _ if question.readable == Readable::No => return Err(EventsError::DropWhat),
        Some(user) if question.filter == by_user => (spool.erase_user(user).await?, 0),
        None if question.filter == by_ids && !by_ids.ids.is_empty() => {
            erase_ids(spool, &by_ids).await?
        }
        _ => return Err(EventsError::DropWhat),
    };
    let Erased {
        events,
        items,
        unreadable,
        unread: first_unread,
    } = erased;
    let first_unread: Vec<_> = first_unread.iter().map(unread).collect();
    let user = question.filter.user.as_deref();
    audit.record(
        "events_dropped",
        [
            ("client", client.into()),
            ("user", user.map(|user| shown(user, Names::Masked)).into()),
            ("events", events.into()),
            ("items", items.into()),
            ("unreadable", unreadable.into()),
        ],
    );
    tracing::info!(
        events,
        items,
        unreadable,
        of_a_person = user.is_some(),
        "events erased"
    );
    Ok(json!({
        "events": events,
        "items": items,
        "unknown": unknown,
        "unreadable": unreadable,
        "first_unreadable": first_unread,
    }))
}

/// Erases events by ids; returns the numbers of the erasure, and the number of unknown ids.
/// Unreadable events count while an id is unknown.
async fn erase_ids(spool: &Spool, filter: &Filter) -> Result<(Erased, usize), EventsError> {
    let mut unknown = filter.ids.clone();
    let mut erased = Erased::default();
    let mut from = Some(0);
    while let Some(at) = from {
        let page = spool.list(filter, at, PAGE)?;
        let seqs: Vec<_> = page.events.iter().map(|event: &Listed| event.seq).collect();
        for event in &page.events {
            unknown.remove(&event.head.id);
        }
        if !seqs.is_empty() {
            erased += spool.erase(&seqs).await?;
        }
        erased.add_unread(page.unreadable);
        from = page.next;
    }
    if unknown.is_empty() {
        erased.unreadable = 0;
        erased.unread.clear();
    }
    Ok((erased, unknown.len()))
}

/// The bound on events of a transaction: the orders of other events wait for one transaction at
/// most.
const PAGE: usize = 256;
/// The bound on events in an answer to a dry run, which writes nothing: as many as the spool looks
/// at for a page.
const DRY_PAGE: usize = 4096;
/// The time of an answer to a paced replay: a command shows progress after each.
const TURN: Duration = Duration::from_secs(1);
/// The time of a step of a paced replay: the events of a step go back together.
const STEP: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_is_steps_of_a_tenth_of_a_second() {
        for (rate, step, turn) in [
            ("50/s", 5, 50),
            ("1/6s", 1, 1),
            ("5/s", 1, 5),
            ("100000/s", 512, 512),
        ] {
            let rate = rate.parse().unwrap();
            assert_eq!((in_time(rate, STEP), in_time(rate, TURN)), (step, turn));
        }
    }
}
