//! The items that the store knows, day by day: an event of known items alone is not stored again.

use redb::ReadableTable;

use super::{Ledger, Prepared};
use crate::spool::error::StoreError;
use crate::spool::tables::{KnownItems, known_name};

impl Ledger<'_> {
    pub(super) fn knows(&self, item: &[u8; 16]) -> Result<bool, StoreError> {
        for (_, table) in &self.known {
            if table.get(item)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) fn know(&mut self, event: &Prepared, today: u64) -> Result<(), StoreError> {
        if self.known.first().is_none_or(|(day, _)| *day < today) {
            let name = known_name(today);
            let table = self.transaction.open_table(KnownItems::new(&name))?;
            self.known.insert(0, (today, table));
            self.counts.days.insert(today);
        }
        if let Some((_, table)) = self.known.first_mut() {
            for (item, user) in &event.items {
                table.insert(item, *user)?;
            }
        }
        Ok(())
    }
}

/// Writes positions as ranges: `0-2,5`.
pub(super) fn positions(known: &[u32]) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for position in known {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *position => *last = *position,
            _ => ranges.push((*position, *position)),
        }
    }
    let texts = ranges.iter().map(|(first, last)| {
        if first == last {
            first.to_string()
        } else {
            format!("{first}-{last}")
        }
    });
    texts.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_written_as_ranges() {
        for (known, text) in [
            (&[0, 1, 2, 5][..], "0-2,5"),
            (&[3], "3"),
            (&[1, 3, 4], "1,3-4"),
        ] {
            assert_eq!(positions(known), text);
        }
    }
}
