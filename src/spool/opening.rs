//! The opening of the store: the tables of a new store, and the fate of a damaged file.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::Duration;

use redb::{Database, ReadableDatabase, ReadableTable, TableHandle};

use super::clock::SpoolClock;
use super::error::StoreError;
use super::file::{Medium, StoreCheck};
use super::ledger::{Counts, Ledger, Rules};
use super::record::RecordError;
use super::tables::{
    BYTES, COUNTS, DESTINATIONS, DestinationId, META, SEALS, StoredState, known_day,
};

/// The faults of the store, for operators.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alarm {
    /// The failure that the store has not recovered from.
    pub failure: Option<String>,
    /// The failures since the start.
    pub failures: u64,
    /// The damaged file that was set aside last.
    pub set_aside: Option<PathBuf>,
}

/// A store that is ready.
pub(super) struct Begun {
    pub(super) database: Database,
    pub(super) counts: Counts,
    pub(super) salt: [u8; 16],
}

/// Opens the store. A damaged file is set aside, and a new file begun with the destinations of the old.
pub(super) fn open_or_renew(
    medium: &Medium,
    check: StoreCheck,
    clock: &SpoolClock,
    alarm: &mut Alarm,
    names: &[(String, DestinationId)],
) -> Result<Begun, StoreError> {
    let opened = medium
        .open(check)
        .and_then(|database| begin(database, medium, &[]));
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
            begin(medium.open(StoreCheck::Usual)?, medium, names)
        }
        other => other,
    }
}

/// Makes the tables of a store, and reads the counts.
fn begin(
    database: Database,
    medium: &Medium,
    names: &[(String, DestinationId)],
) -> Result<Begun, StoreError> {
    let read = AssertUnwindSafe(|| {
        let counts = read_counts(&database)?;
        let mut salt = [0; 16];
        aws_lc_rs::rand::fill(&mut salt).map_err(|_| RecordError::Cipher)?;
        let rules = Rules {
            max_size: 0,
            keep: Duration::ZERO,
        };
        let mut transaction = database.begin_write()?;
        transaction.set_durability(medium.durability())?;
        transaction.set_quick_repair(medium.length() > QUICK_REPAIR);
        {
            let ledger = Ledger::open(&transaction, counts.clone(), rules)?;
            ledger.close()?;
            let mut meta = transaction.open_table(META)?;
            let known = meta
                .get(SALT)?
                .and_then(|salt| salt.value().first_chunk().copied());
            match known {
                Some(known) => salt = known,
                None => {
                    meta.insert(SALT, salt.as_slice())?;
                }
            }
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
    for row in table.iter()? {
        let (key, count) = row?;
        let (destination, state) = key.value();
        if (destination, state) == BYTES {
            counts.bytes = count.value();
        } else if let Some(state) = StoredState::ALL.into_iter().find(|one| *one as u8 == state) {
            counts.events.insert((destination, state), count.value());
        }
    }
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
    if let Some(next) = transaction.open_table(META)?.get("next")? {
        counts.next_seq = next
            .value()
            .first_chunk()
            .copied()
            .map_or(0, u64::from_le_bytes);
    }
    Ok(counts)
}

/// The key of the salt of hashes.
const SALT: &str = "salt";
/// The size of the file from which each commit saves the notes for a start after a crash.
pub(super) const QUICK_REPAIR: u64 = 64 * 1024 * 1024;
