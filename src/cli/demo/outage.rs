//! The part of the demo about events on disk.

use std::collections::{BTreeMap, HashSet};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use keyside_sandbox::Sandbox;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::DemoResult;
use super::receiver::{ReceivedEvent, Receiver};
use super::second::Second;
use crate::spool::{Filter, Replay, Spool, StoredState};

/// Kills the application for ten seconds under load, with a poisonous event. Returns true if no
/// event was lost, the order was kept, and the poisonous event arrived after the replay.
pub(super) async fn show_outage(
    spool: &Arc<Spool>,
    sandbox: &Sandbox,
    receiver: &Receiver,
    second: &Second,
) -> DemoResult<bool> {
    say!(
        "8. The application is killed for ten seconds while {USERS} users write {} messages a second together. Another\n   \
         message is one that the application cannot accept. Events are answered when they are on disk, and wait there;\n   \
         {} gets them all the same:\n",
        USERS * RATE.get(),
        second.name()
    );
    // Events of the part before still go to the second destination.
    settle(spool).await;
    let before = EventsBefore {
        first: receiver.events().len(),
        second: second.events().await?.len(),
    };
    let waiting = kill_under_load(spool, sandbox, receiver).await?;
    let total = usize::try_from(USERS * RATE.get() * SECONDS)?;
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end
        && (before.first(receiver).len() < total
            || before.second(second).await?.len() <= total
            || count(spool, StoredState::Dead) < 1)
    {
        sleep(Duration::from_millis(100)).await;
    }
    let first = before.first(receiver);
    let all = before.second(second).await?;
    let has_all = first.len() == total && all.len() == total + 1;
    let is_ordered = in_order(&first, &all);
    let dead = count(spool, StoredState::Dead);
    say!("   {waiting} deliveries waited on disk when the application came back");
    say!(
        "   the application: {} of {total}, {}, and {dead} dead letter: refused three times, and in nobody's way",
        first.len(),
        match (has_all, is_ordered) {
            (true, true) => "in order",
            (true, false) => "out of order, which is wrong",
            (false, _) => "which is not all in time",
        }
    );
    say!("   {}: {} of {}", second.name(), all.len(), total + 1);
    let has_returned = replay(spool, receiver).await?;
    say!(
        "   the application is mended, and the dead letter replayed: {}\n",
        if has_returned {
            "it arrived"
        } else {
            "it did not arrive, which is wrong"
        }
    );
    Ok(has_all && is_ordered && dead == 1 && has_returned)
}

/// Kills the application for a while under load. Returns the number of waiting deliveries at the
/// restart.
async fn kill_under_load(spool: &Spool, sandbox: &Sandbox, receiver: &Receiver) -> DemoResult<u64> {
    for user in 0..USERS {
        let user = format!("1555001{user:04}");
        sandbox.receive_texts(&user, "Message {n}", RATE.get() * SECONDS, RATE);
    }
    sleep(Duration::from_secs(1)).await;
    receiver.refuse(Some(POISON));
    sandbox.receive_text("15550020000", POISON);
    sleep(Duration::from_millis(200)).await;
    receiver.kill();
    sleep(OUTAGE).await;
    let waiting = count(spool, StoredState::Waiting);
    receiver.restart()?;
    Ok(waiting)
}

/// Waits until no event waits.
async fn settle(spool: &Spool) {
    let end = Instant::now() + PATIENCE;
    while count(spool, StoredState::Waiting) > 0 && Instant::now() < end {
        sleep(Duration::from_millis(50)).await;
    }
}

/// Mends the application, and replays the dead letters. Returns true if the poisonous event
/// arrives.
async fn replay(spool: &Spool, receiver: &Receiver) -> DemoResult<bool> {
    receiver.refuse(None);
    let filter = Filter {
        state: Some(StoredState::Dead),
        ..Filter::default()
    };
    for event in spool.list(&filter, 0, MAX_DEAD)?.events {
        let dead = event.at.iter().filter(|at| at.state == StoredState::Dead);
        for at in dead {
            if spool.replay(event.seq, at.to).await? == Replay::Not {
                return Ok(false);
            }
        }
    }
    let end = Instant::now() + PATIENCE;
    let arrived = || {
        receiver
            .events()
            .iter()
            .any(|event| event.body.contains(POISON))
    };
    while !arrived() && Instant::now() < end {
        sleep(Duration::from_millis(50)).await;
    }
    Ok(arrived())
}

/// The number of deliveries in a state, of all destinations together.
fn count(spool: &Spool, state: StoredState) -> u64 {
    let numbers = spool.numbers().events;
    numbers
        .iter()
        .filter(|((_, at), _)| *at == state)
        .map(|(_, count)| count)
        .sum()
}

/// The events before the outage.
struct EventsBefore {
    first: usize,
    second: usize,
}

impl EventsBefore {
    fn first(&self, receiver: &Receiver) -> Vec<ReceivedEvent> {
        once(receiver.events().split_off(self.first))
    }

    async fn second(&self, second: &Second) -> DemoResult<Vec<ReceivedEvent>> {
        Ok(once(second.events().await?.split_off(self.second)))
    }
}

/// Returns the events without repeats.
fn once(events: Vec<ReceivedEvent>) -> Vec<ReceivedEvent> {
    let mut seen = HashSet::new();
    let is_new = |event: &ReceivedEvent| seen.insert(event.id.clone());
    events.into_iter().filter(is_new).collect()
}

/// True if each user's events have an equal order at both destinations.
fn in_order(first: &[ReceivedEvent], second: &[ReceivedEvent]) -> bool {
    let first = by_user(first);
    let second = by_user(second);
    let is_same = |(user, ids): (&String, &Vec<String>)| second.get(user) == Some(ids);
    first.iter().all(is_same)
}

fn by_user(events: &[ReceivedEvent]) -> BTreeMap<String, Vec<String>> {
    let mut users = BTreeMap::<_, Vec<_>>::new();
    for event in events {
        let body: Value = serde_json::from_str(&event.body).unwrap_or_default();
        let from = body
            .pointer("/entry/0/changes/0/value/messages/0/from")
            .and_then(Value::as_str)
            .unwrap_or_default();
        users
            .entry(from.to_owned())
            .or_default()
            .push(event.id.clone());
    }
    users
}

/// The number of users: several conversations, of which each keeps its order.
const USERS: u32 = 10;
/// The messages of a user in a second: with ten users, 200 events a second.
const RATE: NonZeroU32 = NonZeroU32::new(20).unwrap();
/// The duration of the load, in seconds: the outage, and a second on either side.
const SECONDS: u32 = 12;
/// The time without the application: longer than a restart.
const OUTAGE: Duration = Duration::from_secs(10);
/// The time for all events to arrive: far more than a machine that is busy needs.
const PATIENCE: Duration = Duration::from_secs(60);
/// The bound on dead letters in a look: a good demo has none.
const MAX_DEAD: usize = 100;
/// The text of the poisonous event.
const POISON: &str = "a text that the application cannot accept";
