//! Orders of operators: destinations, replay, erasure.

use std::sync::Arc;

use super::Spool;
use super::committer::Store;
use super::contents::EventContents;
use super::destination::{Destination, SpoolDestination};
use super::error::{SpoolRefusal, StoreError};
use super::ids::{item_ids, lane_ids, user_id};
use super::items::Class;
use super::ledger::LedgerPlace;
use super::query::{self, Filter, Listed, Page, UnreadEvent};
use super::record::{EventHead, Records, Request};
use super::tables::{DestinationId, LaneId, Seq};

/// The result for an event that was to be replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// The event waits at the destination again.
    Waits,
    /// The event waits there already, is gone, or is none of this destination's.
    Not,
}

/// The numbers of an erasure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    /// The number of erased events.
    pub events: u64,
    /// The number of forgotten items.
    pub items: u64,
    /// The number of unreadable events. Each may be meant, and stays.
    pub unreadable: u64,
    /// The first of the unreadable events.
    pub unread: Vec<UnreadEvent>,
}

impl Erased {
    /// Takes note of events that cannot be read.
    pub fn add_unread(&mut self, unread: Vec<UnreadEvent>) {
        self.unreadable += u64::try_from(unread.len()).unwrap_or(u64::MAX);
        let room = MAX_TOLD.saturating_sub(self.unread.len());
        self.unread.extend(unread.into_iter().take(room));
    }
}

impl std::ops::AddAssign for Erased {
    fn add_assign(&mut self, other: Self) {
        self.events += other.events;
        self.items += other.items;
        self.unreadable += other.unreadable;
        let room = MAX_TOLD.saturating_sub(self.unread.len());
        self.unread.extend(other.unread.into_iter().take(room));
    }
}

impl Spool {
    /// Replaces all destinations, and returns the new ones. A destination that the store does not
    /// know yet begins now, or with events from as far back as configured.
    ///
    /// # Errors
    /// If the store fails or is closed.
    pub async fn set_destinations(
        &self,
        configs: Vec<SpoolDestination>,
    ) -> Result<Vec<Arc<Destination>>, SpoolRefusal> {
        let _turn = self.setting.lock().await;
        self.store.begun().await;
        let keys: Vec<_> = configs.iter().map(SpoolDestination::key).collect();
        let names = keys.clone();
        let numbered = self
            .store
            .run(0, move |ledger| ledger.destinations(&names))
            .await?;
        let late: Vec<_> = configs
            .iter()
            .zip(&numbered)
            .filter(|(config, (_, is_new))| *is_new && !config.from.is_zero())
            .map(|(_, (id, _))| *id)
            .collect();
        let ids: Vec<_> = numbered.into_iter().map(|(id, _)| id).collect();
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
    async fn backfill(&self, to: &Arc<Destination>) -> Result<(), SpoolRefusal> {
        let filter = Arc::new(Filter {
            webhook: Some(to.webhook().to_owned()),
            since_ms: Some(self.store.before(to.config().from)),
            ..Filter::default()
        });
        let mut from = Some(0);
        while let Some(at) = from {
            let to = Arc::clone(to);
            let filter = Arc::clone(&filter);
            let records = Arc::clone(&self.records);
            let LatePage { rows, next } = self
                .store
                .aside(move |store| late_page(store, &records, &to, &filter, at))
                .await?;
            from = next;
            let now_ms = self.store.clock.now().wall_ms;
            self.store
                .run(0, move |ledger| {
                    rows.iter().try_for_each(|(place, lanes)| {
                        ledger.add_destination(*place, lanes, now_ms)
                    })
                })
                .await?;
        }
        Ok(())
    }

    /// Reads a page of the events that match, from a number on.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn list(&self, filter: &Filter, from: Seq, most: usize) -> Result<Page, SpoolRefusal> {
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

    /// Lets a dead or delivered event wait at a destination again, ahead of what waits in its lane.
    /// The event has the whole of `max_age` once more. Items that are known do not matter here.
    ///
    /// # Errors
    /// If the store fails or is closed.
    pub async fn replay(&self, seq: Seq, to: DestinationId) -> Result<Replay, SpoolRefusal> {
        Ok(match self.replay_all(&[(seq, to)]).await? {
            0 => Replay::Not,
            _ => Replay::Waits,
        })
    }

    /// [Replays](Self::replay) events in one transaction; returns how many wait again.
    ///
    /// # Errors
    /// If the store fails or is closed.
    pub async fn replay_all(&self, wanted: &[(Seq, DestinationId)]) -> Result<u64, SpoolRefusal> {
        let salt = self.store.salt();
        let mut ready = Vec::with_capacity(wanted.len());
        for (seq, to) in wanted {
            let Ok(Some((event, request))) = self.show(*seq) else {
                continue;
            };
            if event.at.iter().any(|at| at.to == *to) {
                let place = LedgerPlace {
                    destination: *to,
                    class: Class::of(event.head.class),
                    seq: *seq,
                };
                ready.push((place, lanes_of(&salt, &event.head, &request)));
            }
        }
        let now_ms = self.store.clock.now().wall_ms;
        let replayed = self
            .store
            .run(0, move |ledger| {
                let mut replayed = Vec::with_capacity(ready.len());
                for (place, lanes) in ready {
                    if ledger.replay(place, &lanes, now_ms)? {
                        replayed.push((place, lanes));
                    }
                }
                Ok(replayed)
            })
            .await?;
        for (place, lanes) in &replayed {
            if let Some(destination) = self.destinations.get(place.destination) {
                destination.wake(lanes, place.class);
            }
        }
        Ok(u64::try_from(replayed.len()).unwrap_or(u64::MAX))
    }

    /// Erases events with their items, in every queue, in one transaction; returns the number of
    /// events.
    ///
    /// # Errors
    /// If the store fails or is closed.
    pub async fn erase(&self, seqs: &[Seq]) -> Result<Erased, SpoolRefusal> {
        let salt = self.store.salt();
        let mut found = Vec::with_capacity(seqs.len());
        for seq in seqs {
            // An event that cannot be read goes as well; its items are forgotten in time.
            let items = match self.show(*seq) {
                Ok(Some((event, request))) => {
                    let contents = EventContents::read(&request.body);
                    let ids = item_ids(&salt, &event.head.webhook, &contents).into_iter();
                    ids.map(|(item, _)| item).collect()
                }
                Ok(None) | Err(_) => Vec::new(),
            };
            found.push((*seq, items));
        }
        let erased = self
            .store
            .run(0, move |ledger| {
                let mut erased = Vec::with_capacity(found.len());
                for (seq, items) in found {
                    erased.extend(ledger.erase(seq, &items)?);
                }
                Ok(erased)
            })
            .await?;
        let count = Erased {
            events: u64::try_from(erased.len()).unwrap_or(u64::MAX),
            items: erased.iter().map(|event| event.items).sum(),
            ..Erased::default()
        };
        for (place, lanes) in erased.into_iter().flat_map(|event| event.waited) {
            // An event that is under way ends with its outcome.
            if let Some(destination) = self.destinations.get(place.destination)
                && !destination.is_under_way(place.seq)
            {
                self.let_go(&destination, place, &lanes);
            }
        }
        Ok(count)
    }

    /// Erases all events that cannot be read as a whole: damaged, or sealed with a lost key.
    /// Returns the number of events.
    ///
    /// # Errors
    /// If the store fails, or a configured key is missing now: the key could open the events.
    pub async fn erase_unreadable(&self) -> Result<u64, SpoolRefusal> {
        if self.records.is_key_missing() {
            return Err(SpoolRefusal::NoKey);
        }
        let (mut events, mut from) = (0, Some(0));
        while let Some(at) = from {
            let page = self
                .store
                .read(|read| query::unreadable_page(read, &self.records, at, PAGE))
                .map_err(|error| unreadable(&error))?;
            let seqs: Vec<_> = page.unreadable.iter().map(|event| event.seq).collect();
            events += self.erase(&seqs).await?.events;
            from = page.next;
        }
        Ok(events)
    }

    /// Erases all events of a person and forgets the items; returns how many there were, and how
    /// many events cannot be read.
    ///
    /// # Errors
    /// If the store fails or is closed.
    pub async fn erase_user(&self, user: &str) -> Result<Erased, SpoolRefusal> {
        let filter = Filter {
            user: Some(user.to_owned()),
            ..Filter::default()
        };
        let mut erased = Erased::default();
        let mut from = Some(0);
        while let Some(at) = from {
            let page = self.list(&filter, at, PAGE)?;
            let seqs: Vec<_> = page.events.iter().map(|event| event.seq).collect();
            erased += self.erase(&seqs).await?;
            erased.add_unread(page.unreadable);
            from = page.next;
        }
        erased.items += self.forget(user).await?;
        Ok(erased)
    }

    /// Forgets the items of a person; returns how many there were.
    async fn forget(&self, user: &str) -> Result<u64, SpoolRefusal> {
        let user = user_id(&self.store.salt(), user);
        let days = self.store.counts().days;
        // Millions of items are looked at by a reader: the writer must not be held up.
        let found = self
            .store
            .read(|read| query::items_of(read, &days, user))
            .map_err(|error| unreadable(&error))?;
        let mut count = 0;
        for items in found.chunks(PAGE) {
            let items = items.to_vec();
            count += self
                .store
                .run(0, move |ledger| ledger.forget(&items))
                .await?;
        }
        Ok(count)
    }

    /// The destinations of all webhooks, in the order in which they became known.
    #[must_use]
    pub fn destinations(&self) -> Vec<Arc<Destination>> {
        self.destinations.all()
    }
}

/// A page of the kept events that a new destination gets.
struct LatePage {
    /// The places of the events, each with the event's lanes.
    rows: Vec<(LedgerPlace, Vec<LaneId>)>,
    /// The number of the next page.
    next: Option<Seq>,
}

/// Reads a page of the kept events that a new destination gets.
fn late_page(
    store: &Store,
    records: &Records,
    to: &Destination,
    filter: &Filter,
    from: Seq,
) -> Result<LatePage, StoreError> {
    let config = to.config();
    let salt = store.salt();
    store.read(|read| {
        let page = query::page(read, records, filter, from, PAGE)?;
        let mut rows = Vec::new();
        for event in &page.events {
            let head = &event.head;
            let is_wanted = config.wants(head.fields.iter(), head.senders.iter());
            if !is_wanted && !head.is_partial {
                continue;
            }
            if let Ok(Some((_, request))) = query::event(read, records, event.seq) {
                let place = LedgerPlace {
                    destination: to.id,
                    class: Class::of(head.class),
                    seq: event.seq,
                };
                rows.push((place, lanes_of(&salt, head, &request)));
            }
        }
        Ok(LatePage {
            rows,
            next: page.next,
        })
    })
}

fn lanes_of(salt: &[u8; 16], head: &EventHead, request: &Request) -> Vec<LaneId> {
    if !head.lanes.is_empty() {
        return head.lanes.clone();
    }
    lane_ids(salt, &head.webhook, &EventContents::read(&request.body))
}

/// Returns the refusal after a failed read of the store.
pub(super) fn unreadable(error: &StoreError) -> SpoolRefusal {
    tracing::warn!(%error, "the spool cannot be read");
    SpoolRefusal::Broken
}

/// The events of a page, or of a transaction: either takes milliseconds, and new events come in
/// between.
pub(super) const PAGE: usize = 256;
/// The bound on unreadable events that an erasure names: one screen. All of them are counted.
const MAX_TOLD: usize = 20;
