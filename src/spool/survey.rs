//! The state of the spool for operators: the numbers, each destination, and the disk below.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use redb::{ReadTransaction, ReadableTable};

use super::Spool;
use super::aging;
use super::destination::Destination;
use super::error::StoreError;
use super::footing::{self, Footing};
use super::health::Trouble;
use super::items::Class;
use super::lanes::Setback;
use super::opening::Alarm;
use super::record::RecordError;
use super::tables::{DESTINATIONS, DestinationId, EVENTS, EventRow, QUEUE, Seq, StoredState};

/// The numbers of the spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// The events in each state at each destination.
    pub events: BTreeMap<(DestinationId, StoredState), u64>,
    /// The bytes of all events.
    pub bytes: u64,
    /// The part of `bytes` for delivered events: room for new events.
    pub kept_bytes: u64,
    /// The bytes of the file on the disk.
    pub file: u64,
    /// The faults of the store.
    pub alarm: Alarm,
}

/// The oldest waiting event of a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// The beginning of the wait, in milliseconds since 1970.
    pub since_ms: u64,
    /// The age.
    pub age: Duration,
}

/// The state of the spool at a moment.
#[derive(Clone, Debug)]
pub struct Survey {
    /// The folder.
    pub dir: PathBuf,
    /// The bound on bytes of events.
    pub max_size: u64,
    /// The time of delivered events in the spool now, if removals for room shorten `keep`.
    pub kept_for: Option<Duration>,
    /// The numbers.
    pub numbers: Numbers,
    /// The free bytes of the disk, if known.
    pub free: Option<u64>,
    /// True while the disk has no room for a usual event.
    pub is_disk_full: bool,
    /// The kind of file system below the folder.
    pub footing: Footing,
    /// True while a key is configured and cannot be had: no event can be sealed.
    pub is_key_missing: bool,
    /// The events, in every state, sealed with a missing key.
    pub locked: u64,
    /// The destinations, configured or not, the oldest first.
    pub destinations: Vec<Surveyed>,
}

/// The state of a destination.
#[derive(Clone, Debug)]
pub struct Surveyed {
    /// The number of the destination.
    pub id: DestinationId,
    /// The name of the webhook.
    pub webhook: String,
    /// The name of the destination.
    pub name: String,
    /// False for a destination outside the configuration.
    pub is_configured: bool,
    /// The waiting events, the kept events after delivery, and the dead letters.
    pub counts: BTreeMap<StoredState, u64>,
    /// The events under way.
    pub under_way: usize,
    /// The age of the oldest waiting event.
    pub oldest: Option<Duration>,
    /// The reason, if the first waiting event cannot be read.
    pub unreadable: Option<RecordError>,
    /// The trouble of the destination, with the age.
    pub trouble: Option<(Trouble, Duration)>,
    /// The events whose attempts have failed for long or often.
    pub setback: Option<Setback>,
}

impl Survey {
    /// True if an event waits for any destination.
    #[must_use]
    pub fn has_waiting(&self) -> bool {
        let mut destinations = self.destinations.iter();
        destinations.any(|to| to.count(StoredState::Waiting) > 0)
    }
}

impl Surveyed {
    /// Returns the number of events in a state.
    #[must_use]
    pub fn count(&self, state: StoredState) -> u64 {
        self.counts.get(&state).copied().unwrap_or_default()
    }
}

impl Spool {
    /// The numbers of the spool.
    #[must_use]
    pub fn numbers(&self) -> Numbers {
        let counts = self.store.counts();
        Numbers {
            events: counts.events.into_iter().collect(),
            bytes: counts.bytes,
            kept_bytes: counts.kept_bytes,
            file: self.store.medium.on_disk(),
            alarm: self.store.alarm(),
        }
    }

    /// The number of the next event.
    #[must_use]
    pub fn end(&self) -> Seq {
        self.store.counts().next_seq
    }

    /// The oldest waiting event of a destination.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn oldest(&self, to: &Destination) -> Result<Option<Pending>, StoreError> {
        let (pending, _) = self.first(to.id)?;
        Ok(pending)
    }

    /// The whole state. Reads the disk: not for the thread of requests.
    #[must_use]
    pub fn survey(&self) -> Survey {
        self.store.look_after_place();
        let config = self.config.read().clone();
        let numbers = self.numbers();
        let known = self.known();
        let mut destinations = Vec::with_capacity(known.len());
        for (id, webhook, name) in known {
            let live = self.destinations.get(id);
            let count = |state| (state, numbers.events.get(&(id, state)).copied());
            let counts = StoredState::ALL.map(count).into_iter();
            let first = self.first(id).ok();
            let (pending, unreadable) = first.unwrap_or_default();
            // While the store is closed no delivery is tried, and an earlier answer of a
            // destination is no sign.
            let trouble = live
                .as_ref()
                .and_then(|live| live.trouble())
                .filter(|_| !numbers.alarm.is_closed());
            let setback = live
                .as_ref()
                .and_then(|live| live.setback())
                .filter(|_| !numbers.alarm.is_closed());
            destinations.push(Surveyed {
                id,
                webhook,
                name,
                is_configured: live.is_some(),
                counts: counts
                    .filter_map(|(state, count)| Some((state, count?)))
                    .collect(),
                under_way: live.as_ref().map_or(0, |live| live.under_way()),
                oldest: pending.map(|pending| pending.age),
                unreadable,
                trouble: trouble.map(|trouble| {
                    let age = trouble.since.elapsed();
                    (trouble, age)
                }),
                setback,
            });
        }
        let room = self.store.medium.room(&self.store.counts());
        let held = numbers.bytes.saturating_sub(numbers.kept_bytes);
        Survey {
            dir: config.dir.clone(),
            max_size: config.max_size,
            kept_for: self.kept_for(config.keep),
            free: footing::space(&config.dir).map(|space| space.free),
            is_disk_full: !room.has(held, USUAL_SIZE),
            footing: footing::below(&config.dir),
            is_key_missing: self.records.is_key_missing(),
            locked: self.locked(),
            numbers,
            destinations,
        }
    }

    /// The time of delivered events in the spool, if shorter than `keep`.
    fn kept_for(&self, keep: Duration) -> Option<Duration> {
        let removed_ms = self.store.counts().removed_ms?;
        Some(self.store.age(removed_ms)).filter(|kept| *kept < keep)
    }

    /// The number of events sealed with a missing key.
    fn locked(&self) -> u64 {
        let seals = self.store.counts().seals.into_iter();
        let locked = seals.filter(|(key, _)| self.records.is_locked(*key));
        locked.map(|(_, count)| count).sum()
    }

    /// The known destinations, with webhook and name. While the store cannot be read, the
    /// configured destinations.
    #[must_use]
    pub fn known(&self) -> Vec<(DestinationId, String, String)> {
        let named = |key: &str, id| {
            let (webhook, name) = key.split_once('\n').unwrap_or((key, key));
            (id, webhook.to_owned(), name.to_owned())
        };
        let stored = self.store.read(|read| {
            let mut known = Vec::new();
            for row in read.open_table(DESTINATIONS)?.iter()? {
                let (key, id) = row?;
                known.push(named(key.value(), id.value()));
            }
            known.sort();
            Ok(known)
        });
        stored.unwrap_or_else(|_| {
            let names = self.destinations.names().into_iter();
            names.map(|(key, id)| named(&key, id)).collect()
        })
    }

    /// The oldest waiting event, and the reason, if a first event of a class cannot be read.
    fn first(
        &self,
        to: DestinationId,
    ) -> Result<(Option<Pending>, Option<RecordError>), StoreError> {
        if self.store.waiting(to) == 0 {
            return Ok((None, None));
        }
        let mut oldest = self.store.read(|read| aging::oldest_order(read, to))?;
        let mut unreadable = None;
        for class in Class::ALL {
            let without_order = self.passed.first(&self.store, to, class)?;
            self.store.read(|read| {
                let first = first_in_queue(read, to, class)?;
                let events = read.open_table(EVENTS)?;
                for seq in first.into_iter().chain(without_order) {
                    let Some(row) = events.get(seq)? else {
                        continue;
                    };
                    let row = EventRow::decode(row.value());
                    if without_order == Some(seq) {
                        let received_ms = row.as_ref().map(|row| row.received_ms);
                        oldest = oldest.into_iter().chain(received_ms).min();
                    }
                    let head = row.map_or(Err(RecordError::Form), |row| {
                        self.records.open_head(&row.head)
                    });
                    unreadable = head.err().or(unreadable);
                }
                Ok(())
            })?;
        }
        let pending = oldest.map(|since_ms| Pending {
            since_ms,
            age: self.store.age(since_ms),
        });
        Ok((pending, unreadable))
    }
}

/// Returns the number of the first event of a class in the queue of a destination.
fn first_in_queue(
    read: &ReadTransaction,
    to: DestinationId,
    class: Class,
) -> Result<Option<Seq>, StoreError> {
    let queue = read.open_table(QUEUE)?;
    let number = class as u8;
    let mut rows = queue.range((to, number, 0)..=(to, number, Seq::MAX))?;
    Ok(rows.next().transpose()?.map(|(key, _)| key.value().2))
}

/// The size of a usual event in the store, in bytes: a message of some KiB, in a page of its own in
/// each of a few tables. A disk without room for one event more is full.
const USUAL_SIZE: u64 = 16 << 10;
