//! Orders of operators and of time: destinations, replay, erasure, expiry, numbers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use redb::ReadableTable;

use super::Spool;
use super::clock::{day, millis};
use super::destination::{Destination, DestinationConfig};
use super::error::{Refused, StoreError};
use super::ids::{item_ids, lane_ids, user_id};
use super::items::{Class, Contents};
use super::ledger::{Place, Step};
use super::opening::Alarm;
use super::query::{self, Filter, Listed, Page};
use super::record::{Head, Request};
use super::tables::{DESTINATIONS, DestinationId, EventRow, LaneId, QUEUE, Seq, State};

/// The numbers of the spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// The events in each state at each destination.
    pub events: BTreeMap<(DestinationId, State), u64>,
    /// The bytes of all events.
    pub bytes: u64,
    /// The bytes of the file.
    pub file: u64,
    /// The faults of the store.
    pub alarm: Alarm,
}

/// The oldest waiting event of a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// The arrival in milliseconds since 1970.
    pub since_ms: u64,
    /// The age.
    pub age: Duration,
}

/// The result for an event that was to be replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// The event waits at the destination again.
    Waits,
    /// The event waits there already, is gone, or is none of this destination's.
    Not,
}

impl Spool {
    /// Puts destinations in place of those before, and returns them. A destination that the store does not
    /// know yet begins now, or with events from as far back as it wants.
    ///
    /// # Errors
    /// If the store cannot take them.
    pub async fn set_destinations(
        &self,
        configs: Vec<DestinationConfig>,
    ) -> Result<Vec<Arc<Destination>>, Refused> {
        let _turn = self.setting.lock().await;
        let keys: Vec<_> = configs.iter().map(DestinationConfig::key).collect();
        let names = keys.clone();
        let ids = self
            .store
            .run(0, move |ledger| ledger.destinations(&names))
            .await?;
        let late = configs
            .iter()
            .zip(&ids)
            .filter(|(config, (_, is_new))| *is_new && !config.from.is_zero());
        let late: Vec<_> = late.map(|(_, (id, _))| *id).collect();
        let ids: Vec<_> = ids.into_iter().map(|(id, _)| id).collect();
        self.destinations
            .set(ids.iter().copied().zip(configs).collect(), &late);
        for (key, id) in keys.into_iter().zip(ids) {
            let destination = self.destinations.get(id).filter(|_| late.contains(&id));
            if let Some(destination) = &destination {
                self.backfill(destination).await?;
            }
            // A crash before this line begins the destination anew.
            self.store
                .run(0, move |ledger| ledger.name_destination(&key, id))
                .await?;
            if let Some(destination) = destination {
                destination.begin();
            }
        }
        Ok(self.destinations.all())
    }

    /// Adds kept events to a new destination, the oldest first.
    async fn backfill(&self, to: &Arc<Destination>) -> Result<(), Refused> {
        let since = self
            .store
            .clock
            .now()
            .wall_ms
            .saturating_sub(millis(to.config().from));
        let filter = Filter {
            webhook: Some(to.webhook().to_owned()),
            since_ms: Some(since),
            ..Filter::default()
        };
        let mut from = Some(0);
        while let Some(at) = from {
            let page = self.list(&filter, at, PAGE)?;
            let mut rows = Vec::new();
            for event in &page.events {
                if !to
                    .config()
                    .wants(event.head.fields.iter(), event.head.senders.iter())
                {
                    continue;
                }
                if let Ok(Some((_, request))) = self.show(event.seq) {
                    let place = Place {
                        destination: to.id,
                        class: Class::of(event.head.class),
                        seq: event.seq,
                    };
                    rows.push((place, self.lanes_of(&event.head, &request)));
                }
            }
            self.store
                .run(0, move |ledger| {
                    rows.iter()
                        .try_for_each(|(place, lanes)| ledger.add_destination(*place, lanes))
                })
                .await?;
            from = page.next;
        }
        Ok(())
    }

    /// Reads a page of the events that match, from a number on.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn list(&self, filter: &Filter, from: Seq, most: usize) -> Result<Page, Refused> {
        let page = self
            .store
            .read(|read| query::page(read, &self.records, filter, from, most));
        page.map_err(|error| unreadable(&error))
    }

    /// Reads an event as a whole; `None` if there is none with this number.
    ///
    /// # Errors
    /// If the store or the event's record cannot be read.
    pub fn show(&self, seq: Seq) -> Result<Option<(Listed, Request)>, StoreError> {
        self.store
            .read(|read| query::event(read, &self.records, seq))
    }

    /// Lets a dead or delivered event wait at a destination again, ahead of what waits in its lane. Items
    /// that are known do not matter here.
    ///
    /// # Errors
    /// If the store cannot take it.
    pub async fn replay(&self, seq: Seq, to: DestinationId) -> Result<Replay, Refused> {
        let Ok(Some((event, request))) = self.show(seq) else {
            return Ok(Replay::Not);
        };
        if !event.at.iter().any(|at| at.to == to) {
            return Ok(Replay::Not);
        }
        let class = Class::of(event.head.class);
        let lanes = self.lanes_of(&event.head, &request);
        let now_ms = self.store.clock.now().wall_ms;
        let ids = lanes.clone();
        let replayed = self
            .store
            .run(0, move |ledger| ledger.replay(to, class, seq, &ids, now_ms))
            .await?;
        if !replayed {
            return Ok(Replay::Not);
        }
        if let Some(destination) = self.destinations.get(to) {
            destination.wake(&lanes, class);
        }
        Ok(Replay::Waits)
    }

    /// Erases events with their items, wherever they wait; returns how many there were.
    ///
    /// # Errors
    /// If the store cannot take it.
    pub async fn erase(&self, seqs: &[Seq]) -> Result<u64, Refused> {
        let mut count = 0;
        for seq in seqs {
            let Ok(Some((event, request))) = self.show(*seq) else {
                continue;
            };
            let (seq, class) = (*seq, Class::of(event.head.class));
            let contents = Contents::read(&request.body);
            let salt = self.store.salt();
            let items = item_ids(&salt, &event.head.webhook, &contents);
            let items: Vec<_> = items.into_iter().map(|(item, _)| item).collect();
            let erased = self
                .store
                .run(0, move |ledger| ledger.erase(seq, class, &items))
                .await?;
            let lanes = lane_ids(&salt, &event.head.webhook, &contents);
            for destination in self.destinations.all() {
                // An event that is under way ends with its outcome.
                if !destination.is_under_way(seq) {
                    destination.release(seq, class, &lanes);
                }
            }
            count += u64::from(erased);
        }
        Ok(count)
    }

    /// Erases all events of a person and forgets the items; returns the numbers of events and of items.
    ///
    /// # Errors
    /// If the store cannot take it.
    pub async fn erase_user(&self, user: &str) -> Result<(u64, u64), Refused> {
        let filter = Filter {
            user: Some(user.to_owned()),
            ..Filter::default()
        };
        let (mut events, mut from) = (0, Some(0));
        while let Some(at) = from {
            let page = self.list(&filter, at, PAGE)?;
            let seqs: Vec<_> = page.events.iter().map(|event| event.seq).collect();
            events += self.erase(&seqs).await?;
            from = page.next;
        }
        let id = user_id(&self.store.salt(), user);
        let items = self
            .store
            .run(0, move |ledger| ledger.forget_user(id))
            .await?;
        Ok((events, items))
    }

    /// Does what time asks for: old waiting events become dead letters, delivered events, old dead letters
    /// and old items go. To be called every few seconds.
    ///
    /// # Errors
    /// If the store cannot take it.
    pub async fn expire(&self) -> Result<(), Refused> {
        let now_ms = self.store.clock.now().wall_ms;
        let kept_from = now_ms.saturating_sub(millis(self.config.read().keep));
        while self
            .store
            .run(0, move |ledger| ledger.expire_done(kept_from, PAGE))
            .await?
            == PAGE
        {}
        let first_day = day(now_ms).saturating_sub(ITEM_DAYS);
        if self.store.counts().days.iter().any(|day| *day < first_day) {
            self.store
                .run(0, move |ledger| ledger.drop_days(first_day))
                .await?;
        }
        let dead_from = now_ms.saturating_sub(millis(DEAD_KEEP));
        let waiting_from = now_ms.saturating_sub(millis(self.config.read().max_age));
        for id in self
            .known_destinations()
            .map_err(|error| unreadable(&error))?
        {
            while self
                .store
                .run(0, move |ledger| ledger.expire_dead(id, dead_from, PAGE))
                .await?
                == PAGE
            {}
            while self.expire_waiting(id, waiting_from).await? == PAGE {}
        }
        Ok(())
    }

    /// Makes dead letters of a destination's events from before `before_ms`; returns how many. Destinations
    /// that are not configured any more are no exception.
    async fn expire_waiting(&self, id: DestinationId, before_ms: u64) -> Result<usize, Refused> {
        let mut old = Vec::new();
        let mut young = None;
        for place in self
            .store
            .run(0, move |ledger| ledger.oldest(id, PAGE))
            .await?
        {
            // Behind a young event of a class all are young.
            let destination = self.destinations.get(id);
            if young == Some(place.class)
                || destination.is_some_and(|destination| destination.is_under_way(place.seq))
            {
                continue;
            }
            match self.show(place.seq) {
                Ok(Some((event, request))) if event.head.received_ms < before_ms => {
                    let lanes = self.lanes_of(&event.head, &request);
                    old.push((place, event.at, lanes));
                }
                _ => young = Some(place.class),
            }
        }
        let now_ms = self.store.clock.now().wall_ms;
        let count = old.len();
        for (place, at, lanes) in old {
            let attempts = at.iter().find(|at| at.to == id).map_or(0, |at| at.attempts);
            let why = "older than `[spool] max_age`".to_owned();
            let step = Step::Dead { attempts, why };
            self.store
                .run(0, move |ledger| ledger.settle(place, &step, now_ms))
                .await?;
            if let Some(destination) = self.destinations.get(id) {
                destination.release(place.seq, place.class, &lanes);
            }
        }
        Ok(count)
    }

    /// The numbers of the spool.
    #[must_use]
    pub fn numbers(&self) -> Numbers {
        let counts = self.store.counts();
        Numbers {
            events: counts.events.into_iter().collect(),
            bytes: counts.bytes,
            file: self.store.medium.length(),
            alarm: self.store.alarm(),
        }
    }

    /// The oldest waiting event of a destination.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn oldest(&self, to: &Destination) -> Result<Option<Pending>, StoreError> {
        let now_ms = self.store.clock.now().wall_ms;
        self.store.read(|read| {
            let queue = read.open_table(QUEUE)?;
            let events = read.open_table(super::tables::EVENTS)?;
            let mut oldest: Option<u64> = None;
            for class in Class::ALL {
                let keys = (to.id, class as u8, 0)..=(to.id, class as u8, Seq::MAX);
                let Some(found) = queue.range(keys)?.next() else {
                    continue;
                };
                let row = events.get(found?.0.value().2)?;
                let row = row.and_then(|row| EventRow::decode(row.value()));
                if let Some(Ok(head)) = row.map(|row| self.records.open_head(&row.head)) {
                    oldest = Some(oldest.map_or(head.received_ms, |at| at.min(head.received_ms)));
                }
            }
            Ok(oldest.map(|since_ms| Pending {
                since_ms,
                age: Duration::from_millis(now_ms.saturating_sub(since_ms)),
            }))
        })
    }

    /// The destinations of all webhooks, in the order in which they became known.
    #[must_use]
    pub fn destinations(&self) -> Vec<Arc<Destination>> {
        self.destinations.all()
    }

    /// The numbers of all destinations that the store knows, configured or not.
    fn known_destinations(&self) -> Result<Vec<DestinationId>, StoreError> {
        self.store.read(|read| {
            let mut ids = Vec::new();
            for row in read.open_table(DESTINATIONS)?.iter()? {
                ids.push(row?.1.value());
            }
            Ok(ids)
        })
    }

    fn lanes_of(&self, head: &Head, request: &Request) -> Vec<LaneId> {
        lane_ids(
            &self.store.salt(),
            &head.webhook,
            &Contents::read(&request.body),
        )
    }
}

fn unreadable(error: &StoreError) -> Refused {
    tracing::warn!(%error, "the spool cannot be read");
    Refused::Broken
}

/// The events of a page, or of a transaction.
const PAGE: usize = 256;
/// The days for which items are known: providers repeat an event for 7 days.
const ITEM_DAYS: u64 = 8;
/// The time for which dead letters stay: a month for somebody to look at them.
const DEAD_KEEP: Duration = Duration::from_secs(30 * 24 * 60 * 60);
