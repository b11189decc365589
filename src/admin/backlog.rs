//! The waiting events of each destination over the last hour, minute by minute.

use std::collections::HashMap;
use std::sync::LazyLock;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::spool::{StoredState, Survey};
use crate::traffic::MINUTES;

/// The backlogs. A destination without a waiting event in the last hour has no entry; every other
/// entry takes some 300 bytes.
#[derive(Debug, Default)]
pub struct Backlogs(Mutex<HashMap<DestinationName, Ring>>);

/// The names of a webhook and of its destination.
type DestinationName = (String, String);

/// The most waiting events in each minute, each at the place of its number.
#[derive(Debug)]
struct Ring {
    most: [u32; MINUTES as usize],
    /// The minute of the last note.
    last: u64,
    /// The last minute with a waiting event.
    filled: u64,
}

impl Backlogs {
    /// Notes the waiting events, as often as the spool is looked at.
    pub(super) fn note(&self, survey: &Survey, now: Instant) {
        let minute = minute(now);
        let mut rings = self.0.lock();
        for to in &survey.destinations {
            let waiting = u32::try_from(to.count(StoredState::Waiting)).unwrap_or(u32::MAX);
            note(&mut rings, &to.webhook, &to.name, waiting, minute);
        }
        rings.retain(|_, ring| ring.filled + u64::from(MINUTES) > minute);
    }

    /// Returns the backlog of a destination, the oldest minute first; nothing if no event has
    /// waited.
    pub(super) fn of(&self, webhook: &str, to: &str, now: Instant) -> Vec<u64> {
        let rings = self.0.lock();
        let ring = rings.get(&(webhook.to_owned(), to.to_owned()));
        ring.map(|ring| ring.minutes(minute(now)))
            .unwrap_or_default()
    }

    /// Returns the sum of all backlogs, the oldest minute first.
    pub(super) fn total(&self, now: Instant) -> Vec<u64> {
        let minute = minute(now);
        let mut total = vec![0; MINUTES as usize];
        for ring in self.0.lock().values() {
            for (sum, waiting) in total.iter_mut().zip(ring.minutes(minute)) {
                *sum += waiting;
            }
        }
        total
    }
}

/// Notes the waiting events of one destination.
fn note(
    rings: &mut HashMap<DestinationName, Ring>,
    webhook: &str,
    to: &str,
    waiting: u32,
    minute: u64,
) {
    let key = (webhook.to_owned(), to.to_owned());
    match rings.get_mut(&key) {
        Some(ring) => ring.note(waiting, minute),
        None if waiting > 0 => {
            let mut ring = Ring::new(minute);
            ring.note(waiting, minute);
            rings.insert(key, ring);
        }
        None => {}
    }
}

impl Ring {
    fn new(minute: u64) -> Self {
        Self {
            most: [0; MINUTES as usize],
            last: minute,
            filled: minute,
        }
    }

    fn note(&mut self, waiting: u32, minute: u64) {
        self.go_on(minute);
        if waiting > 0 {
            self.filled = minute;
        }
        if let Some(most) = self.most.get_mut(place(minute)) {
            *most = waiting.max(*most);
        }
    }

    /// Empties the places of the minutes since the last note.
    fn go_on(&mut self, minute: u64) {
        let first = self.last.max(minute.saturating_sub(u64::from(MINUTES))) + 1;
        for passed in first..=minute {
            if let Some(most) = self.most.get_mut(place(passed)) {
                *most = 0;
            }
        }
        self.last = self.last.max(minute);
    }

    fn minutes(&self, minute: u64) -> Vec<u64> {
        let first = (minute + 1).saturating_sub(u64::from(MINUTES));
        let before = u64::from(MINUTES) - (minute + 1 - first);
        let empty = (0..before).map(|_| 0);
        let noted = (first..=minute).map(|minute| {
            let is_noted = minute <= self.last && self.last < minute + u64::from(MINUTES);
            let most = self.most.get(place(minute)).filter(|_| is_noted);
            u64::from(most.copied().unwrap_or_default())
        });
        empty.chain(noted).collect()
    }
}

fn place(minute: u64) -> usize {
    usize::try_from(minute % u64::from(MINUTES)).unwrap_or_default()
}

/// Returns the number of the minute since the start of the process.
fn minute(now: Instant) -> u64 {
    static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    now.saturating_duration_since(*ORIGIN).as_secs() / 60
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backlog_of_a_minute_is_its_highest_and_leaves_after_an_hour() {
        let mut ring = Ring::new(3);
        ring.note(5, 3);
        ring.note(9, 3);
        ring.note(7, 5);
        let filled = |minutes: Vec<u64>| {
            assert_eq!(minutes.len(), 60);
            let all = minutes.into_iter().enumerate();
            all.filter(|(_, waiting)| *waiting > 0).collect::<Vec<_>>()
        };
        for (minute, expected) in [
            (5, &[(57, 9), (59, 7)][..]),
            (62, &[(0, 9), (2, 7)]),
            (63, &[(1, 7)]),
            (65, &[]),
            (500, &[]),
        ] {
            assert_eq!(filled(ring.minutes(minute)), expected, "{minute}");
        }
        ring.note(1, 64);
        assert_eq!(filled(ring.minutes(64)), [(0, 7), (59, 1)]);
        ring.note(0, 200);
        assert_eq!(filled(ring.minutes(200)), []);
    }

    #[test]
    fn only_destinations_with_waiting_events_are_kept() {
        let mut rings = HashMap::new();
        note(&mut rings, "hook", "a", 0, 1);
        assert!(rings.is_empty());
        note(&mut rings, "hook", "a", 2, 1);
        note(&mut rings, "hook", "a", 0, 2);
        let ring = &rings[&("hook".to_owned(), "a".to_owned())];
        assert_eq!((ring.filled, ring.last), (1, 2));
    }
}
