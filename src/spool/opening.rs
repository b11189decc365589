//! The opening of the store: the tables of a new store, and the fate of a damaged file.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::Duration;

use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, TableHandle};
use tokio::time::Instant;

use super::clock::SpoolClock;
use super::error::StoreError;
use super::file::{Medium, StoreCheck};
use super::leaps::{ClockLeaps, ClockStep};
use super::ledger::{BOOT, Counts, LAST, Ledger, Rules, note_time};
use super::record::RecordError;
use super::tables::{
    BYTES, COUNTS, DESTINATIONS, DestinationId, EVENTS, EventRow, KEPT_BYTES, META, SEALS,
    StoredState, known_day,
};
use crate::boot::BootTime;

/// The faults of the store, for operators.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alarm {
    /// The present failure of the store.
    pub failure: Option<String>,
    /// True if the text of the failure says what to do.
    pub has_remedy: bool,
    /// The number of failures since the start.
    pub failures: u64,
    /// The damaged file set aside last.
    pub set_aside: Option<PathBuf>,
    /// The time since which a store that has failed is open again.
    pub(super) open_since: Option<Instant>,
}

/// The evidence that the store works again, by which an alarm ends or stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StoreProof {
    /// The file is open again. On a full disk, the next event fails all the same.
    Opened,
    /// An event was committed.
    Stored,
    /// Time has passed.
    Waited,
}

impl Alarm {
    /// True while the store is closed after a failure.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.failure.is_some() && self.open_since.is_none()
    }

    /// Notes a failure of the store. Returns true if the failure before was none, or another.
    pub(super) fn fail(&mut self, error: &StoreError) -> bool {
        let failure = error.to_string();
        let is_new = self.failure.as_ref() != Some(&failure);
        self.failure = Some(failure);
        self.has_remedy = error.has_remedy();
        self.open_since = None;
        is_new
    }

    /// Takes a proof that the store works. Returns true if the failure has ended: an event was
    /// committed, or the store was open for [`TRIAL`] without a further failure. A load balancer
    /// that believes in the failure sends no event, so that time has to end it.
    pub(super) fn take(&mut self, proof: StoreProof, now: Instant) -> bool {
        if self.failure.is_none() {
            return false;
        }
        if proof == StoreProof::Opened {
            self.open_since = Some(now);
        }
        let is_tried = || self.open_since.is_some_and(|since| now - since >= TRIAL);
        let is_over = proof == StoreProof::Stored || is_tried();
        if is_over {
            self.failure = None;
            self.open_since = None;
        }
        is_over
    }
}

/// A store that is ready.
pub(super) struct Begun {
    pub(super) database: Database,
    pub(super) counts: Counts,
    pub(super) salt: [u8; 16],
}

/// Opens the store. A damaged file is set aside, and a new file begun with the destinations of the
/// old.
pub(super) fn open_or_renew(
    medium: &Medium,
    check: StoreCheck,
    rules: Rules,
    clock: &SpoolClock,
    alarm: &mut Alarm,
    names: &[(String, DestinationId)],
) -> Result<Begun, StoreError> {
    let opened = medium
        .open(check)
        .and_then(|database| begin(database, medium, rules, clock, &[]));
    match opened {
        Err(error) if error.is_damage() => {
            let aside = medium.set_aside(clock.now().wall_ms)?;
            tracing::error!(
                %error,
                file = %aside.display(),
                "the spool's file is damaged: it is set aside, and a new one is begun; the events in it were answered and may be lost"
            );
            alarm.set_aside = Some(aside);
            alarm.failures += 1;
            begin(medium.open(StoreCheck::Usual)?, medium, rules, clock, names)
        }
        other => other,
    }
}

/// Makes the tables of a store, and reads the counts.
fn begin(
    database: Database,
    medium: &Medium,
    rules: Rules,
    clock: &SpoolClock,
    names: &[(String, DestinationId)],
) -> Result<Begun, StoreError> {
    let read = AssertUnwindSafe(|| {
        let mut counts = read_counts(&database)?;
        let now = clock.now();
        let boot = clock.boot(now.at);
        if counts.last_ms > 0 {
            let since = boot.as_ref().zip(counts.last_boot.as_ref());
            let step = ClockStep {
                last_ms: counts.last_ms,
                now_ms: now.wall_ms,
                stopped: since.and_then(|(now, last)| now.since(last)),
            };
            counts.leaps.start(step, rules.max_age);
        }
        counts.last_ms = now.wall_ms;
        let mut salt = [0; 16];
        aws_lc_rs::rand::fill(&mut salt).map_err(|_| RecordError::Cipher)?;
        let mut transaction = database.begin_write()?;
        transaction.set_durability(medium.durability())?;
        transaction.set_quick_repair(medium.length() > QUICK_REPAIR);
        {
            let ledger = Ledger::open(&transaction, counts.clone(), rules)?;
            ledger.close(clock)?;
            let mut meta = transaction.open_table(META)?;
            note_time(&mut meta, now.wall_ms, boot.as_ref())?;
            meta.insert(LEAPS, counts.leaps.encode().as_slice())?;
            let known = meta
                .get(SALT)?
                .and_then(|salt| salt.value().first_chunk().copied());
            match known {
                Some(known) => salt = known,
                None => {
                    meta.insert(SALT, salt.as_slice())?;
                }
            }
            let mut numbers = transaction.open_table(COUNTS)?;
            numbers.insert(KEPT_BYTES, counts.kept_bytes)?;
            let mut table = transaction.open_table(DESTINATIONS)?;
            for (name, id) in names {
                table.insert(name.as_str(), *id)?;
            }
        }
        transaction.commit()?;
        Ok((counts, salt))
    });
    let (counts, salt) = catch_unwind(read).unwrap_or(Err(StoreError::Panic))?;
    Ok(Begun {
        database,
        counts,
        salt,
    })
}

fn read_counts(database: &Database) -> Result<Counts, StoreError> {
    let transaction = database.begin_read()?;
    let mut counts = Counts::default();
    for table in transaction.list_tables()? {
        counts.days.extend(known_day(table.name()));
    }
    let table = match transaction.open_table(COUNTS) {
        Ok(table) => table,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(counts),
        Err(error) => return Err(error.into()),
    };
    let mut kept_bytes = None;
    for row in table.iter()? {
        let (key, count) = row?;
        let (destination, state) = key.value();
        if (destination, state) == BYTES {
            counts.bytes = count.value();
        } else if (destination, state) == KEPT_BYTES {
            kept_bytes = Some(count.value());
        } else if let Some(state) = StoredState::ALL.into_iter().find(|one| *one as u8 == state) {
            counts.events.insert((destination, state), count.value());
        }
    }
    counts.kept_bytes = match kept_bytes {
        Some(bytes) => bytes,
        None => sum_kept(&transaction)?,
    };
    match transaction.open_table(SEALS) {
        Ok(seals) => {
            for row in seals.iter()? {
                let (key, count) = row?;
                counts.seals.insert(key.value(), count.value());
            }
        }
        // Nothing was ever sealed.
        Err(redb::TableError::TableDoesNotExist(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let meta = transaction.open_table(META)?;
    let number = |key| {
        let value = meta.get(key)?;
        let bytes = value.and_then(|value| value.value().first_chunk().copied());
        Ok::<_, StoreError>(bytes.map_or(0, u64::from_le_bytes))
    };
    counts.next_seq = number("next")?;
    counts.last_ms = number(LAST)?;
    if let Some(boot) = meta.get(BOOT)? {
        counts.last_boot = BootTime::decode(boot.value());
    }
    if let Some(leaps) = meta.get(LEAPS)? {
        counts.leaps = ClockLeaps::decode(leaps.value());
    }
    Ok(counts)
}

/// Adds up the bytes of delivered events, for a file from before the count.
fn sum_kept(transaction: &ReadTransaction) -> Result<u64, StoreError> {
    let mut bytes = 0_u64;
    for row in transaction.open_table(EVENTS)?.iter()? {
        let row = EventRow::decode(row?.1.value()).filter(EventRow::is_done);
        bytes = bytes.saturating_add(row.map_or(0, |row| row.size));
    }
    Ok(bytes)
}

/// The time for which a store that was opened after a failure still counts as failed, unless it
/// accepts an event: longer than two looks of a monitoring system.
const TRIAL: Duration = Duration::from_secs(30);
/// The key of the salt of hashes.
const SALT: &str = "salt";
/// The key of the leaps of the clock.
const LEAPS: &str = "leaps";
/// The size of the file from which each commit saves the notes for a start after a crash. The notes
/// take a second sync; without them a start verifies some 200 MiB a second.
pub(super) const QUICK_REPAIR: u64 = 512 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_ends_with_a_stored_event_or_after_a_while_in_which_the_store_was_open() {
        let start = Instant::now();
        let full = || StoreError::from(std::io::Error::from(std::io::ErrorKind::StorageFull));
        for (steps, ended) in [
            (&[(StoreProof::Opened, 0)][..], false),
            (&[(StoreProof::Opened, 0), (StoreProof::Waited, 29)], false),
            (&[(StoreProof::Opened, 0), (StoreProof::Waited, 30)], true),
            (&[(StoreProof::Opened, 0), (StoreProof::Stored, 1)], true),
            // Without an open store, time proves nothing.
            (&[(StoreProof::Waited, 3600)], false),
        ] {
            let mut alarm = Alarm::default();
            assert!(alarm.fail(&full()), "the first failure is told");
            assert!(!alarm.fail(&full()), "the same failure is not told again");
            let mut is_over = false;
            for (proof, second) in steps {
                is_over = alarm.take(*proof, start + Duration::from_secs(*second));
            }
            assert_eq!(is_over, ended, "{steps:?}");
            assert_eq!(alarm.failure.is_none(), ended, "{steps:?}");
            assert!(
                !alarm.take(StoreProof::Stored, start) || !ended,
                "{steps:?}"
            );
        }
    }
}
