//! The tables of the store, and the form of their rows.

use std::time::Duration;

use redb::{ReadOnlyTable, TableDefinition};

use super::schedule::Attempts;

/// The number of an event, in the order of arrival; never used again.
pub type Seq = u64;
/// The number of a destination in the store.
pub type DestinationId = u32;
/// The name of a sealing key in records.
pub(super) type KeyName = [u8; 8];
/// The hash of a lane's name.
pub(super) type LaneId = u64;

/// The events: the state at each destination, then the head. Key: number.
pub(super) const EVENTS: TableDefinition<'_, Seq, &[u8]> = TableDefinition::new("events");
/// The requests as they arrived. Key: number.
pub(super) const BODIES: TableDefinition<'_, Seq, &[u8]> = TableDefinition::new("bodies");
/// The known items of a stored event that has new items as well: positions. Key: number.
pub(super) const REPEATS: TableDefinition<'_, Seq, &str> = TableDefinition::new("repeats");
/// The waiting events in the order of delivery, with a [`Row`].
pub(super) const QUEUE: TableDefinition<'_, QueueKey, &[u8]> = TableDefinition::new("queue");
/// The waiting events of each lane, with the class.
pub(super) const LANES: TableDefinition<'_, LaneKey, u8> = TableDefinition::new("lanes");
/// The number of waiting events for each time of an order, by the time in milliseconds since 1970.
pub(super) const ORDERS: TableDefinition<'_, (DestinationId, u64), u64> =
    TableDefinition::new("orders");
/// The dead letters, with a [`DeadRow`].
pub(super) const DEAD: TableDefinition<'_, (DestinationId, Seq), &[u8]> =
    TableDefinition::new("dead");
/// The events that every destination has, by the time of the last delivery in milliseconds.
pub(super) const DONE: TableDefinition<'_, (u64, Seq), ()> = TableDefinition::new("done");
/// The destinations by `webhook`, a line feed, and name.
pub(super) const DESTINATIONS: TableDefinition<'_, &str, DestinationId> =
    TableDefinition::new("destinations");
/// The numbers of events in each state at each destination, and under [`BYTES`] and [`KEPT_BYTES`]
/// sizes.
pub(super) const COUNTS: TableDefinition<'_, (DestinationId, u8), u64> =
    TableDefinition::new("counts");
/// The numbers of events whose head is sealed, by the name of the key.
pub(super) const SEALS: TableDefinition<'_, KeyName, u64> = TableDefinition::new("seals");
/// The salt of hashes, the next number, the version of the form.
pub(super) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

/// The key of a waiting event: destination, class, number.
pub(super) type QueueKey = (DestinationId, u8, Seq);
/// The key of a waiting event in its lane.
pub(super) type LaneKey = (DestinationId, LaneId, Seq);

/// The key of the size of all events in [`COUNTS`].
pub(super) const BYTES: (DestinationId, u8) = (DestinationId::MAX, u8::MAX);
/// The key of the size of all delivered events in [`COUNTS`].
pub(super) const KEPT_BYTES: (DestinationId, u8) = (DestinationId::MAX, u8::MAX - 1);

/// The known items of a day since 1970: the hash of the item, and the hash of its first user.
pub(super) type KnownItems<'a> = TableDefinition<'a, [u8; 16], u64>;

/// The name of the table of a day's known items.
pub(super) fn known_name(day: u64) -> String {
    format!("known-{day}")
}

/// The day of a table of known items.
pub(super) fn known_day(name: &str) -> Option<u64> {
    name.strip_prefix("known-")?.parse().ok()
}

/// The state of an event at a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum StoredState {
    /// The destination will get the event.
    Waiting = 0,
    /// The destination has the event.
    Delivered = 1,
    /// The event is a dead letter.
    Dead = 2,
}

impl StoredState {
    /// The list of states.
    pub const ALL: [Self; 3] = [Self::Waiting, Self::Delivered, Self::Dead];

    /// The word for a state.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
        }
    }

    fn of(number: u8) -> Self {
        match number {
            1 => Self::Delivered,
            2 => Self::Dead,
            _ => Self::Waiting,
        }
    }
}

/// A waiting event at a destination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) attempts: Attempts,
    /// The wall clock's time of the next attempt, in milliseconds since 1970.
    pub(super) due_ms: u64,
    /// The wait that led to `due_ms`.
    pub(super) waited: Duration,
    pub(super) lanes: Vec<LaneId>,
    /// The time of the order behind the wait, in milliseconds since 1970; `None` without an order,
    /// after the arrival alone.
    pub(super) ordered_ms: Option<u64>,
}

impl Row {
    /// A row without an attempt, for a new event.
    pub(super) fn of_lanes(lanes: &[LaneId]) -> Self {
        Self {
            lanes: lanes.to_vec(),
            ..Self::default()
        }
    }

    /// A row without an attempt, for an order.
    pub(super) fn ordered(lanes: &[LaneId], now_ms: u64) -> Self {
        Self {
            ordered_ms: Some(now_ms),
            ..Self::of_lanes(lanes)
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(34 + 8 * self.lanes.len());
        let attempts = self.attempts;
        for count in [attempts.counted, attempts.refusals, attempts.interruptions] {
            bytes.extend_from_slice(&count.to_le_bytes());
        }
        bytes.extend_from_slice(&self.due_ms.to_le_bytes());
        let waited = u64::try_from(self.waited.as_millis()).unwrap_or(u64::MAX);
        bytes.extend_from_slice(&waited.to_le_bytes());
        for lane in &self.lanes {
            bytes.extend_from_slice(&lane.to_le_bytes());
        }
        if let Some(ordered_ms) = self.ordered_ms {
            bytes.extend(ordered_ms.to_le_bytes().into_iter().take(ORDERED_SIZE));
        }
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (counted, bytes) = bytes.split_first_chunk()?;
        let (refusals, bytes) = bytes.split_first_chunk()?;
        let (interruptions, bytes) = bytes.split_first_chunk()?;
        let (due_ms, bytes) = bytes.split_first_chunk()?;
        let (waited, bytes) = bytes.split_first_chunk()?;
        let (lanes, rest) = bytes.as_chunks();
        Some(Self {
            attempts: Attempts {
                counted: u32::from_le_bytes(*counted),
                refusals: u32::from_le_bytes(*refusals),
                interruptions: u32::from_le_bytes(*interruptions),
            },
            due_ms: u64::from_le_bytes(*due_ms),
            waited: Duration::from_millis(u64::from_le_bytes(*waited)),
            lanes: lanes.iter().map(|lane| u64::from_le_bytes(*lane)).collect(),
            ordered_ms: rest
                .first_chunk()
                .map(|&[a, b, c, d, e, f]: &[u8; ORDERED_SIZE]| {
                    u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
                }),
        })
    }
}

/// The beginning of a wait, in milliseconds since 1970: the arrival, or a later order.
pub(super) fn since_ms(ordered_ms: Option<u64>, received_ms: u64) -> u64 {
    ordered_ms.unwrap_or_default().max(received_ms)
}

/// The bytes of the time of an order, enough for 8,000 years. A row without the time ends with a
/// whole lane, as rows of earlier versions do, and earlier versions skip less than a lane.
const ORDERED_SIZE: usize = 6;

/// A dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DeadRow {
    /// The time of death in milliseconds since 1970.
    pub(super) at_ms: u64,
    pub(super) attempts: u32,
    pub(super) why: String,
}

impl DeadRow {
    pub(super) fn encode(&self) -> Vec<u8> {
        let at = self.at_ms.to_le_bytes();
        let attempts = self.attempts.to_le_bytes();
        [at.as_slice(), attempts.as_slice(), self.why.as_bytes()].concat()
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (at_ms, bytes) = bytes.split_first_chunk()?;
        let (attempts, why) = bytes.split_first_chunk()?;
        Some(Self {
            at_ms: u64::from_le_bytes(*at_ms),
            attempts: u32::from_le_bytes(*attempts),
            why: String::from_utf8_lossy(why).into_owned(),
        })
    }
}

/// An event's states at its destinations, and its head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EventRow {
    pub(super) states: Vec<(DestinationId, StoredState)>,
    /// The arrival in milliseconds since 1970: an event whose head cannot be read has an age as
    /// well.
    pub(super) received_ms: u64,
    /// The record of the head.
    pub(super) head: Vec<u8>,
    /// The bytes that the event counts.
    pub(super) size: u64,
}

impl EventRow {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(18 + 5 * self.states.len() + self.head.len());
        bytes.extend_from_slice(&self.size.to_le_bytes());
        bytes.extend_from_slice(&self.received_ms.to_le_bytes());
        bytes.extend_from_slice(&u16::try_from(self.states.len()).unwrap_or(0).to_le_bytes());
        for (id, state) in &self.states {
            bytes.extend_from_slice(&id.to_le_bytes());
            bytes.push(*state as u8);
        }
        bytes.extend_from_slice(&self.head);
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (size, bytes) = bytes.split_first_chunk()?;
        let (received_ms, bytes) = bytes.split_first_chunk()?;
        let (count, bytes) = bytes.split_first_chunk()?;
        let (states, head) = bytes.split_at_checked(5 * usize::from(u16::from_le_bytes(*count)))?;
        Some(Self {
            states: states
                .as_chunks()
                .0
                .iter()
                .map(|[a, b, c, d, state]| {
                    (
                        u32::from_le_bytes([*a, *b, *c, *d]),
                        StoredState::of(*state),
                    )
                })
                .collect(),
            received_ms: u64::from_le_bytes(*received_ms),
            head: head.to_vec(),
            size: u64::from_le_bytes(*size),
        })
    }

    /// A row whose record cannot be read, with the states that other tables tell.
    pub(super) fn unread(states: Vec<(DestinationId, StoredState)>) -> Self {
        Self {
            states,
            received_ms: 0,
            head: Vec::new(),
            size: 0,
        }
    }

    /// Reads the time of arrival alone.
    pub(super) fn received_ms(bytes: &[u8]) -> Option<u64> {
        let (_, bytes) = bytes.split_first_chunk::<8>()?;
        bytes.first_chunk().copied().map(u64::from_le_bytes)
    }

    /// True if no destination waits for the event, and none has it as a dead letter.
    pub(super) fn is_done(&self) -> bool {
        self.states
            .iter()
            .all(|(_, state)| *state == StoredState::Delivered)
    }

    pub(super) fn state_mut(&mut self, at: DestinationId) -> Option<&mut StoredState> {
        self.states
            .iter_mut()
            .find(|(id, _)| *id == at)
            .map(|(_, state)| state)
    }
}

/// The waiting events of one destination at one moment.
pub(super) struct Waiting {
    pub(super) destination: DestinationId,
    pub(super) queue: ReadOnlyTable<QueueKey, &'static [u8]>,
    pub(super) lanes: ReadOnlyTable<LaneKey, u8>,
}

impl Waiting {
    /// The first waiting event of a class at or after a number.
    pub(super) fn next(
        &self,
        class: u8,
        from: Seq,
    ) -> Result<Option<(Seq, Option<Row>)>, redb::StorageError> {
        let keys = (self.destination, class, from)..=(self.destination, class, Seq::MAX);
        let Some(found) = self.queue.range(keys)?.next() else {
            return Ok(None);
        };
        let (key, row) = found?;
        Ok(Some((key.value().2, Row::decode(row.value()))))
    }

    /// The row of a waiting event.
    pub(super) fn row(&self, class: u8, seq: Seq) -> Result<Option<Row>, redb::StorageError> {
        let found = self.queue.get((self.destination, class, seq))?;
        Ok(found.and_then(|row| Row::decode(row.value())))
    }

    /// The oldest waiting event of a lane, with its class.
    pub(super) fn head(&self, lane: LaneId) -> Result<Option<(Seq, u8)>, redb::StorageError> {
        let keys = (self.destination, lane, 0)..=(self.destination, lane, Seq::MAX);
        let Some(found) = self.lanes.range(keys)?.next() else {
            return Ok(None);
        };
        let (key, class) = found?;
        Ok(Some((key.value().2, class.value())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_comes_back_as_it_was_and_a_row_of_an_earlier_version_waits_since_its_arrival() {
        for lanes in [vec![], vec![7], vec![7, u64::MAX]] {
            for (ordered_ms, since) in [
                (None, 5),
                (Some(4), 5),
                (Some(1_749_416_383_042), 1_749_416_383_042),
            ] {
                let row = Row {
                    attempts: Attempts {
                        counted: 1,
                        refusals: 2,
                        interruptions: 3,
                    },
                    due_ms: 8,
                    waited: Duration::from_millis(9),
                    lanes: lanes.clone(),
                    ordered_ms,
                };
                let bytes = row.encode();
                assert_eq!(Row::decode(&bytes), Some(row.clone()), "{row:?}");
                assert_eq!(since_ms(row.ordered_ms, 5), since, "{row:?}");
                let earlier = &bytes[..28 + 8 * lanes.len()];
                let decoded = Row::decode(earlier).unwrap();
                assert_eq!(decoded.ordered_ms, None, "{row:?}");
                assert_eq!(decoded.lanes, lanes);
            }
        }
    }
}
