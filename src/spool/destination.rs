//! The destinations of all webhooks, each with lanes, health and pace.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use redb::ReadTransaction;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::committer::Store;
use super::contents::EventContents;
use super::error::StoreError;
use super::health::{Gate, Health, HealthChange, Probe, Trouble};
use super::items::Class;
use super::lane_event::Due;
use super::lanes::{Lanes, Now, Setback};
use super::schedule::{AttemptEnd, AttemptVerdict, Attempts};
use super::tables::{DestinationId, LANES, LaneId, QUEUE, Seq, Waiting};

/// A destination as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolDestination {
    /// The name of the webhook.
    pub webhook: String,
    /// The name of the destination.
    pub name: String,
    /// The fields of which an event must have one; empty for any event.
    pub fields: BTreeSet<String>,
    /// The numbers of the business of which an event must have one; empty for any event.
    pub senders: BTreeSet<String>,
    /// The number of events that are under way at a time.
    pub lanes: usize,
    /// The shortest time between two events; `None` for as fast as the destination takes them.
    pub interval: Option<Duration>,
    /// The time back from now at which a new destination begins; zero for now.
    pub from: Duration,
}

impl SpoolDestination {
    /// True if the destination gets events of these fields and numbers.
    pub(super) fn wants<'a>(
        &self,
        mut fields: impl Iterator<Item = &'a String>,
        mut senders: impl Iterator<Item = &'a String>,
    ) -> bool {
        (self.fields.is_empty() || fields.any(|field| self.fields.contains(field)))
            && (self.senders.is_empty() || senders.any(|sender| self.senders.contains(sender)))
    }

    /// The name under which the store knows the destination.
    pub(super) fn key(&self) -> String {
        format!("{}\n{}", self.webhook, self.name)
    }
}

/// A destination: the events under way, the events put off, and the health.
#[derive(Debug)]
pub struct Destination {
    pub(super) id: DestinationId,
    webhook: String,
    name: String,
    config: RwLock<Arc<SpoolDestination>>,
    course: Mutex<Course>,
    /// Rung when something may have become due.
    pub(super) bell: Notify,
    /// False while older events are still being added.
    is_begun: AtomicBool,
}

#[derive(Debug)]
struct Course {
    lanes: Lanes,
    health: Health,
    /// The time before which the pace lets no event out.
    next_at: Option<Instant>,
}

/// The events that go out next.
#[derive(Debug)]
pub(super) struct DueEvents {
    pub(super) events: Vec<Due>,
    pub(super) probe: Probe,
}

/// The time of the next look, for a destination without a further event now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wait {
    /// At once.
    Again,
    /// At this time, or when the destination's bell rings.
    Until(Option<Instant>),
    /// After a short time, whether the bell rings or not: the store cannot be read now.
    #[default]
    Pause,
}

impl Destination {
    fn new(id: DestinationId, config: SpoolDestination) -> Self {
        Self {
            id,
            webhook: config.webhook.clone(),
            name: config.name.clone(),
            course: Mutex::new(Course {
                lanes: Lanes::new(config.lanes),
                health: Health::default(),
                next_at: None,
            }),
            config: RwLock::new(Arc::new(config)),
            bell: Notify::new(),
            is_begun: AtomicBool::new(true),
        }
    }

    /// The number of the destination in the store.
    #[must_use]
    pub fn id(&self) -> DestinationId {
        self.id
    }

    /// The name of the destination.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name of the webhook.
    #[must_use]
    pub fn webhook(&self) -> &str {
        &self.webhook
    }

    /// The configuration in use.
    pub(super) fn config(&self) -> Arc<SpoolDestination> {
        Arc::clone(&self.config.read())
    }

    /// Takes another configuration. Events under way and the health stay.
    fn configure(&self, config: SpoolDestination) {
        let mut course = self.course.lock();
        course.lanes.set_at_once(config.lanes);
        if self.config.read().interval != config.interval {
            course.next_at = None;
        }
        *self.config.write() = Arc::new(config);
        drop(course);
        self.bell.notify_one();
    }

    /// Forgets what attempts have shown, for a different address: the next attempt goes out at
    /// once.
    pub fn begin_anew(&self) {
        let mut course = self.course.lock();
        course.health = Health::default();
        course.lanes.hasten();
        drop(course);
        self.bell.notify_one();
    }

    /// Forgets the trouble of the destination; returns true if there was one.
    pub(super) fn forget_trouble(&self) -> bool {
        let health = std::mem::take(&mut self.course.lock().health);
        health.trouble().is_some()
    }

    /// The trouble of the destination, if there is one.
    #[must_use]
    pub fn trouble(&self) -> Option<Trouble> {
        self.course.lock().health.trouble()
    }

    /// The events whose attempts have failed for long or often, if there are any.
    pub(super) fn setback(&self) -> Option<Setback> {
        self.course.lock().lanes.setback(Instant::now())
    }

    /// Lets events out, once older ones have been added.
    pub(super) fn begin(&self) {
        self.is_begun.store(true, Ordering::Release);
        self.bell.notify_one();
    }

    /// Takes up to `most` events that health, pace and lanes let out, and gives `then` the store as
    /// the lanes have seen it. Returns the time of the next look, and the result of `then`, if an
    /// event was taken.
    ///
    /// The look at the store begins under the lock of the lanes: a lane is freed after the commit
    /// of an outcome, so a free lane never shows an event whose outcome is on disk.
    pub(super) fn next<T>(
        &self,
        store: &Store,
        now: Now,
        most: usize,
        then: impl FnOnce(&ReadTransaction, DueEvents) -> T,
    ) -> Result<(Wait, Option<T>), StoreError> {
        if !self.is_begun.load(Ordering::Acquire) {
            return Ok((Wait::Until(None), None));
        }
        let mut course = self.course.lock();
        let probe = match course.health.gate(now.at) {
            Gate::Open => Probe::No,
            Gate::Probe => Probe::Yes,
            Gate::Shut(until) => return Ok((Wait::Until(Some(until)), None)),
        };
        if let Some(next_at) = course.next_at
            && next_at > now.at
        {
            return Ok((Wait::Until(Some(next_at)), None));
        }
        let interval = self.config.read().interval;
        let is_single = probe == Probe::Yes || interval.is_some();
        let most = if is_single { 1 } else { most };
        store.read(move |read| {
            let waiting = Waiting {
                destination: self.id,
                queue: read.open_table(QUEUE)?,
                lanes: read.open_table(LANES)?,
            };
            let mut events = Vec::new();
            let taken = course.lanes.take(&waiting, now, most, &mut events);
            let wait = taken.inspect_err(|_| {
                for one in &events {
                    course.lanes.give_back(one.seq, one.attempts);
                }
            })?;
            if events.is_empty() {
                return Ok((wait, None));
            }
            if probe == Probe::Yes {
                course.health.probing(now.at);
            }
            course.pace(interval, now.at);
            drop(course);
            Ok((wait, Some(then(read, DueEvents { events, probe }))))
        })
    }

    /// Takes note of an outcome. What was put off comes back at once when a trouble has ended.
    pub(super) fn note(
        &self,
        seq: Seq,
        end: &AttemptEnd,
        verdict: AttemptVerdict,
        probe: Probe,
        now: Instant,
        random: f64,
    ) -> HealthChange {
        let mut course = self.course.lock();
        let change = course.health.note(end, verdict, probe, now, random);
        if let HealthChange::Ended(_) = change {
            course.lanes.hasten();
        }
        course.lanes.settle(seq);
        if let AttemptVerdict::Again { .. } = verdict {
            course.lanes.fail(seq, end.outcome, now);
        }
        // A trouble has times of its own, which change with every outcome.
        let has_news = course.lanes.has_news()
            || change != HealthChange::None
            || course.health.trouble().is_some();
        drop(course);
        if has_news {
            self.bell.notify_one();
        }
        change
    }

    /// Gives the turn of a look back that found no event to go out.
    pub(super) fn turn_unused(&self) {
        self.course.lock().next_at = None;
    }

    /// Lets the next probe go out, after a probe whose event did not.
    pub(super) fn probe_unused(&self, probe: Probe) {
        if probe == Probe::Yes {
            self.course.lock().health.probe_unused(Instant::now());
            self.bell.notify_one();
        }
    }

    pub(super) fn put_off(&self, seq: Seq, attempts: Attempts, until: Instant) {
        self.course.lock().lanes.put_off(seq, attempts, until);
        self.bell.notify_one();
    }

    pub(super) fn give_back(&self, seq: Seq, attempts: Attempts) {
        self.course.lock().lanes.give_back(seq, attempts);
        self.bell.notify_one();
    }

    pub(super) fn release(&self, seq: Seq, class: Class, lanes: &[LaneId]) {
        let mut course = self.course.lock();
        course.lanes.release(seq, class, lanes);
        let has_news = course.lanes.has_news();
        drop(course);
        if has_news {
            self.bell.notify_one();
        }
    }

    /// Lets an event that waits again be found.
    pub(super) fn wake(&self, lanes: &[LaneId], class: Class) {
        let mut course = self.course.lock();
        for lane in lanes {
            course.lanes.wake(*lane, class);
        }
        drop(course);
        self.bell.notify_one();
    }

    pub(super) fn is_under_way(&self, seq: Seq) -> bool {
        self.course.lock().lanes.is_under_way(seq)
    }

    /// The number of events under way.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.course.lock().lanes.under_way()
    }
}

impl Course {
    /// Lets the next event wait for its turn, after an event has gone out.
    fn pace(&mut self, interval: Option<Duration>, now: Instant) {
        if let Some(interval) = interval {
            let earliest = now.checked_sub(PACE_SLACK).unwrap_or(now);
            let from = self.next_at.map_or(now, |next_at| next_at.max(earliest));
            self.next_at = Some(from + interval);
        }
    }
}

/// The destinations of all webhooks.
#[derive(Debug, Default)]
pub(super) struct Destinations {
    all: RwLock<HashMap<DestinationId, Arc<Destination>>>,
}

impl Destinations {
    /// Replaces all destinations. A destination that was there before keeps lanes and health.
    pub(super) fn set(
        &self,
        configs: Vec<(DestinationId, SpoolDestination)>,
        late: &[DestinationId],
    ) {
        let mut all = self.all.write();
        let mut next = HashMap::new();
        for (id, config) in configs {
            let destination = match all.get(&id) {
                Some(before) => {
                    before.configure(config);
                    Arc::clone(before)
                }
                None => Arc::new(Destination::new(id, config)),
            };
            destination
                .is_begun
                .store(!late.contains(&id), Ordering::Release);
            next.insert(id, destination);
        }
        *all = next;
    }

    pub(super) fn get(&self, id: DestinationId) -> Option<Arc<Destination>> {
        self.all.read().get(&id).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<Destination>> {
        let mut all: Vec<_> = self.all.read().values().cloned().collect();
        all.sort_by_key(|destination| destination.id);
        all
    }

    /// The destinations of an event; `None` if the webhook has no destination at all.
    pub(super) fn of(&self, webhook: &str, contents: &EventContents) -> Option<Vec<DestinationId>> {
        let all = self.all.read();
        let mut of_webhook = all.values().filter(|one| one.webhook == webhook).peekable();
        of_webhook.peek()?;
        let wants = |one: &SpoolDestination| {
            contents.is_partial || one.wants(contents.fields.iter(), contents.senders.iter())
        };
        let mut ids: Vec<_> = of_webhook
            .filter(|one| wants(&one.config.read()))
            .map(|one| one.id)
            .collect();
        ids.sort_unstable();
        Some(ids)
    }

    /// Rings at destinations that have something new.
    pub(super) fn ring(&self, touched: &BTreeSet<DestinationId>) {
        let all = self.all.read();
        for id in touched {
            if let Some(destination) = all.get(id) {
                destination.bell.notify_one();
            }
        }
    }

    /// Begins all lanes anew, for a new store in which nothing waits.
    pub(super) fn renew(&self) {
        for destination in self.all.read().values() {
            destination.course.lock().lanes = Lanes::new(destination.config().lanes);
            destination.forget_trouble();
            destination.bell.notify_one();
        }
    }

    /// The names and numbers of the destinations, as the store holds them.
    pub(super) fn names(&self) -> Vec<(String, DestinationId)> {
        let all = self.all.read();
        all.values()
            .map(|one| (one.config().key(), one.id))
            .collect()
    }
}

/// The time that a pace may make up for after a pause: timers are late by milliseconds, and a pause
/// must not end in a burst.
const PACE_SLACK: Duration = Duration::from_millis(100);
