//! The way back after a failure of the store: the file is opened again and verified.

use std::time::Duration;

use super::committer::Store;
use super::error::StoreError;
use super::file::StoreCheck;
use super::opening::{Alarm, Begun, StoreProof, open_or_renew};

impl Store {
    /// Notes a failure, and tells of a new failure alone: each event for a full disk fails.
    fn note(&self, error: &StoreError, result: &str) {
        let mut alarm = self.alarm.lock();
        if alarm.fail(error) {
            tracing::error!(%error, "{result}");
        }
    }

    /// Opens the file again, after a removed file is put back.
    fn open_again(&self, alarm: &mut Alarm) -> Result<Begun, StoreError> {
        self.medium.put_back()?;
        let names = self.destinations.names();
        let rules = *self.rules.lock();
        open_or_renew(
            &self.medium,
            StoreCheck::All,
            rules,
            &self.clock,
            alarm,
            &names,
        )
    }

    /// Closes the store after a failure and opens the file again, verified as a whole. No event is
    /// answered meanwhile: a failed sync says little about the content of the disk, and is never
    /// tried again.
    pub(super) fn reopen(&self, error: &StoreError) {
        self.note(error, "the spool's store failed: it is opened again and verified, and no event is answered meanwhile");
        let aside = {
            let mut alarm = self.alarm.lock();
            alarm.failures += 1;
            alarm.set_aside.clone()
        };
        self.orders.lock().is_broken = true;
        drop(self.database.write().take());
        let mut wait = MIN_REOPEN;
        loop {
            // The end of an order refuses the event.
            let refused = {
                let mut orders = self.orders.lock();
                orders.bytes = 0;
                std::mem::take(&mut orders.waiting)
            };
            drop(refused);
            let mut alarm = self.alarm.lock().clone();
            let opened = self.open_again(&mut alarm);
            let is_new = alarm.set_aside != aside;
            *self.alarm.lock() = alarm;
            match opened {
                Ok(Begun {
                    database,
                    mut counts,
                    salt,
                }) => {
                    // The number of an event under way is not given again, even if the file is set
                    // aside.
                    counts.next_seq = counts.next_seq.max(self.counts.lock().next_seq);
                    *self.counts.lock() = counts;
                    *self.salt.lock() = salt;
                    *self.database.write() = Some(database);
                    if is_new {
                        self.destinations.renew();
                    }
                    self.orders.lock().is_broken = false;
                    self.prove(StoreProof::Opened);
                    return;
                }
                Err(error) => self.note(
                    &error,
                    "the spool's store cannot be opened: free or mend the disk of `[spool] dir`",
                ),
            }
            let mut orders = self.orders.lock();
            if !orders.is_closed {
                self.bell.wait_for(&mut orders, wait);
            }
            if orders.is_closed {
                return;
            }
            drop(orders);
            wait = (wait * 2).min(MAX_REOPEN);
        }
    }
}

/// The first wait before a store that cannot be opened is tried again: some faults last for a
/// moment only.
const MIN_REOPEN: Duration = Duration::from_millis(100);
/// The longest wait before a store that cannot be opened is tried again: a mended disk is in use
/// within seconds.
const MAX_REOPEN: Duration = Duration::from_secs(5);
