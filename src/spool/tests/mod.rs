//! Tests of the whole spool, on a disk that fails as a test wants it.

mod age;
mod asked;
mod course;
mod disk;
mod failures;
mod keys;
mod order;
mod places;
mod power;
mod stored;

pub(super) use disk::Disk;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use redb::Durability;
use tokio::time::Instant;

use super::file::Medium;
use super::{
    AttemptOutcome, Delivery, Destination, EventContents, Filter, Listed, NewEvent, Request, Seal,
    Sealing, Spool, SpoolClock, SpoolConfig, SpoolDestination,
};

/// A generator of random numbers, the same for the same seed.
#[derive(Clone, Debug)]
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }

    fn seeded(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }
}

fn config() -> SpoolConfig {
    SpoolConfig {
        dir: "/nowhere".into(),
        max_size: 1 << 30,
        max_age: Duration::from_secs(7 * 24 * 60 * 60),
        keep: Duration::from_secs(24 * 60 * 60),
    }
}

fn clock() -> SpoolClock {
    clock_at(SystemTime::now())
}

fn clock_at(wall: SystemTime) -> SpoolClock {
    SpoolClock::start(Instant::now(), wall, None)
}

fn on(disk: &Disk) -> Spool {
    with(disk, Durability::Immediate, config(), Sealing::Off, clock())
}

fn with(
    disk: &Disk,
    durability: Durability,
    config: SpoolConfig,
    seal: Sealing,
    clock: SpoolClock,
) -> Spool {
    Spool::on(Medium::Disk(disk.clone(), durability), config, seal, clock).unwrap()
}

fn destination(name: &str) -> SpoolDestination {
    SpoolDestination {
        webhook: "acme".to_owned(),
        name: name.to_owned(),
        fields: BTreeSet::new(),
        senders: BTreeSet::new(),
        lanes: 32,
        interval: None,
        from: Duration::ZERO,
    }
}

async fn to_app(spool: &Spool) -> Arc<Destination> {
    only_destination(spool, destination("app")).await
}

/// The only destination, which gets an event in each interval.
async fn to_paced(spool: &Spool, interval: Duration) -> Arc<Destination> {
    let mut config = destination("app");
    config.interval = Some(interval);
    only_destination(spool, config).await
}

/// Makes this destination the only one.
async fn only_destination(spool: &Spool, config: SpoolDestination) -> Arc<Destination> {
    spool
        .set_destinations(vec![config])
        .await
        .unwrap()
        .remove(0)
}

/// Accepts an event with a single message, whose id is that of the event.
async fn accept(spool: &Spool, id: &str) {
    let accepted = spool.accept(event(id, &[message(id, "1")])).await;
    accepted.unwrap();
}

fn change(value: &str) -> String {
    format!(
        r#"{{"field":"messages","value":{{"metadata":{{"phone_number_id":"106540352242922"}},{value}}}}}"#
    )
}

fn body(changes: &[String]) -> String {
    format!(
        r#"{{"entry":[{{"id":"102290129340398","changes":[{}]}}]}}"#,
        changes.join(",")
    )
}

fn message(id: &str, from: &str) -> String {
    change(&format!(
        r#""messages":[{{"id":"{id}","from":"{from}","timestamp":"1749416383"}}]"#
    ))
}

fn status(id: &str, to: &str) -> String {
    change(&format!(
        r#""statuses":[{{"id":"{id}","status":"read","recipient_id":"{to}","timestamp":"1749416383"}}]"#
    ))
}

/// An event, with its id as given.
fn event(id: &str, changes: &[String]) -> NewEvent {
    let body = body(changes);
    NewEvent {
        webhook: "acme".to_owned(),
        id: id.to_owned(),
        contents: EventContents::read(body.as_bytes()),
        request: Request {
            method: "POST".to_owned(),
            query: None,
            headers: vec![("content-type".to_owned(), b"application/json".to_vec())],
            body: Bytes::from(body),
        },
    }
}

fn all(spool: &Spool) -> Vec<Listed> {
    matching(spool, &Filter::default())
}

fn matching(spool: &Spool, filter: &Filter) -> Vec<Listed> {
    let mut events = Vec::new();
    let mut from = Some(0);
    while let Some(at) = from {
        let page = spool.list(filter, at, 100).unwrap();
        assert_eq!(page.unreadable, []);
        events.extend(page.events);
        from = page.next;
    }
    events
}

/// Asserts that the kept counts are those of the events.
#[track_caller]
fn assert_counted(spool: &Spool) {
    let mut counted = BTreeMap::new();
    for at in all(spool).iter().flat_map(|event| &event.at) {
        *counted.entry((at.to, at.state)).or_insert(0) += 1;
    }
    let mut kept = spool.numbers().events;
    kept.retain(|_, count| *count > 0);
    assert_eq!(kept, counted);
}

/// The deliveries that may go out now.
async fn due(spool: &Spool, to: &Arc<Destination>) -> Vec<Delivery> {
    let next = spool.next(to, 32);
    tokio::time::timeout(Duration::from_millis(200), next)
        .await
        .map_or(Vec::new(), Result::unwrap)
}

fn ids(deliveries: &[Delivery]) -> Vec<&str> {
    deliveries
        .iter()
        .map(|one| one.event.head.id.as_str())
        .collect()
}

fn answered(status: u16) -> AttemptOutcome {
    AttemptOutcome::Answered {
        status,
        retry_after: None,
    }
}
