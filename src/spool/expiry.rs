//! The orders of time: what has waited or stayed too long goes.

use std::sync::Arc;
use std::time::Duration;

use redb::{ReadTransaction, ReadableTable};

use super::Spool;
use super::aging;
use super::clock::day;
use super::error::{SpoolRefusal, StoreError};
use super::items::Class;
use super::operate::PAGE;
use super::tables::{DESTINATIONS, DestinationId};

impl Spool {
    /// Does what time asks for: old waiting events become dead letters, delivered events, old dead
    /// letters and old items go. To be called every few seconds.
    ///
    /// # Errors
    /// If the store fails or is closed.
    pub async fn expire(&self) -> Result<(), SpoolRefusal> {
        let kept_from = self.store.before(self.config.read().keep);
        while self
            .store
            .run(0, move |ledger| ledger.expire_done(kept_from, PAGE))
            .await?
            == PAGE
        {}
        let first_day = day(self.store.before(ITEM_TIME));
        if self.store.counts().days.iter().any(|day| *day < first_day) {
            self.store
                .run(0, move |ledger| ledger.drop_days(first_day))
                .await?;
        }
        let dead_from = self.store.before(DEAD_KEEP);
        let waiting_from = self.store.before(self.config.read().max_age);
        let known = self.store.aside(|store| store.read(known_destinations));
        for id in known.await? {
            while self
                .store
                .run(0, move |ledger| ledger.expire_dead(id, dead_from, PAGE))
                .await?
                == PAGE
            {}
            self.expire_waiting(id, waiting_from).await?;
        }
        Ok(())
    }

    /// Makes dead letters of a destination's events with a wait since before `before_ms`.
    /// Destinations that are not configured any more are no exception. The search reads beside the
    /// writer, which gets the events found alone.
    async fn expire_waiting(&self, id: DestinationId, before_ms: u64) -> Result<(), SpoolRefusal> {
        let destination = self.destinations.get(id);
        for class in Class::ALL {
            let passed = Arc::clone(&self.passed);
            let first = self
                .store
                .aside(move |store| aging::first_to_expire(store, &passed, id, class, before_ms));
            let mut from = Some(first.await?);
            while let Some(at) = from {
                let mut found = self
                    .store
                    .aside(move |store| {
                        store.read(|read| aging::old_events(read, id, class, at, before_ms, PAGE))
                    })
                    .await?;
                from = found.next;
                if let Some(to) = &destination {
                    found
                        .events
                        .retain(|event| !to.is_under_way(event.place.seq));
                }
                if found.events.is_empty() {
                    continue;
                }
                let now_ms = self.store.clock.now().wall_ms;
                let expired = self
                    .store
                    .run(0, move |ledger| {
                        ledger.expire_waiting(found.events, before_ms, now_ms)
                    })
                    .await?;
                if let Some(destination) = &destination {
                    for event in expired {
                        self.let_go(destination, event.place, &event.row.lanes);
                    }
                }
            }
        }
        Ok(())
    }

    /// Sets right the numbers of events that wait because of orders of earlier runs. A version
    /// without these numbers has delivered events, or taken orders, and has left the numbers alone.
    /// To be called once after a start.
    ///
    /// # Errors
    /// If the store fails or is closed.
    pub async fn recount_orders(&self) -> Result<(), SpoolRefusal> {
        let wrong = self
            .store
            .aside(|store| store.read(|read| aging::wrong_orders(read, store.clock.started_ms())))
            .await?;
        if wrong.is_empty() {
            return Ok(());
        }
        self.store
            .run(0, move |ledger| ledger.change_orders(&wrong))
            .await
    }
}

/// Reads the numbers of all destinations that the store knows, configured or not.
fn known_destinations(read: &ReadTransaction) -> Result<Vec<DestinationId>, StoreError> {
    let mut ids = Vec::new();
    for row in read.open_table(DESTINATIONS)?.iter()? {
        ids.push(row?.1.value());
    }
    Ok(ids)
}

/// The time for which items are known: providers repeat an event for 7 days.
const ITEM_TIME: Duration = Duration::from_secs(8 * 24 * 60 * 60);
/// The time for which dead letters stay: a month, for a person to look.
const DEAD_KEEP: Duration = Duration::from_secs(30 * 24 * 60 * 60);
