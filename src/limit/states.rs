//! Where governor keeps what it knows of many pairs.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::state::keyed::ShrinkableKeyedStateStore;

/// A sender and a recipient, as a hash with a key that nobody outside knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pair(pub(super) NonZeroU64);

/// A table of pairs, each beside its state: among a million of them, what a decision costs most is the look at memory
/// that no cache holds, and governor's own table, a [`std::collections::HashMap`], takes two.
///
/// Clones are the same table: a governor keeps its own to itself.
#[derive(Clone, Debug, Default)]
pub(super) struct States {
    /// A power of two. A pair is in the first free place from the one that its hash names; a quarter stays free, so that
    /// this is near.
    places: Arc<Mutex<Vec<Place>>>,
    taken: Arc<AtomicUsize>,
}

/// A pair, and its state as governor counts it.
type Place = Option<(Pair, u64)>;

impl States {
    /// The state of a pair, in nanoseconds since its governor began: when all its tokens are back.
    pub(super) fn of(&self, pair: Pair) -> Option<u64> {
        place_of(&mut self.places(), pair)?.map(|(_, state)| state)
    }

    /// Puts those that stay into a table with room for as many again.
    fn rebuild(&self, places: &mut Vec<Place>, stays: impl Fn(u64) -> bool) {
        let kept: Vec<_> = places.drain(..).flatten().filter(|(_, state)| stays(*state)).collect();
        places.resize((kept.len() * 2).next_power_of_two().max(SMALLEST), None);
        places.shrink_to_fit();
        self.taken.store(kept.len(), Ordering::Relaxed);
        for (pair, state) in kept {
            if let Some(place) = place_of(places, pair) {
                *place = Some((pair, state));
            }
        }
    }

    fn places(&self) -> MutexGuard<'_, Vec<Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StateStore for States {
    type Key = Pair;

    fn measure_and_replace<T, F, E>(&self, pair: &Pair, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut places = self.places();
        if self.len() >= places.len() / 4 * 3 {
            self.rebuild(&mut places, |_| true);
        }
        // There is a free one.
        let Some(place) = place_of(&mut places, *pair) else { return decide(None).map(|(decision, _)| decision) };
        let (decision, state) = decide(place.map(|(_, state)| state.into()))?;
        if place.replace((*pair, state.as_u64())).is_none() {
            self.taken.fetch_add(1, Ordering::Relaxed);
        }
        Ok(decision)
    }
}

impl ShrinkableKeyedStateStore<Pair> for States {
    fn retain_recent(&self, drop_below: Nanos) {
        self.rebuild(&mut self.places(), |state| state > drop_below.as_u64());
    }

    fn len(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Where a pair is, or would be.
fn place_of(places: &mut [Place], pair: Pair) -> Option<&mut Place> {
    let last = u64::try_from(places.len()).ok()?.checked_sub(1)?;
    let named = usize::try_from(pair.0.get() & last).ok()?;
    let (before, from) = places.split_at_mut_checked(named)?;
    from.iter_mut().chain(before).find(|place| place.is_none_or(|(held, _)| held == pair))
}

/// 1 KiB.
const SMALLEST: usize = 64;

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_table_knows_what_a_map_knows(steps in prop::collection::vec((any::<u16>(), 1_u64..100), 1..2000)) {
            let (states, mut map) = (States::default(), HashMap::new());
            for (number, (hash, state)) in steps.into_iter().enumerate() {
                // Some come again, and many want the same place.
                let pair = Pair(NonZeroU64::new(u64::from(hash) % 500 * 32 + 1).unwrap());
                let known = states.measure_and_replace(&pair, |known| Ok::<_, ()>((known.map(Nanos::as_u64), state.into())));
                prop_assert_eq!(known, Ok(map.insert(pair, state)));
                prop_assert_eq!(states.measure_and_replace(&pair, |_| Err::<((), Nanos), _>("refused")), Err("refused"));
                if number % 300 == 299 {
                    states.retain_recent(50.into());
                    map.retain(|_, state| *state > 50);
                }
                prop_assert_eq!(states.len(), map.len());
            }
        }
    }

    #[test]
    fn a_pair_takes_less_than_43_bytes_however_many_there_are_and_nothing_when_it_is_forgotten() {
        let states = States::default();
        let bytes = || states.places().capacity() * size_of::<Place>();
        for number in 1..200_000_u64 {
            let pair = Pair(NonZeroU64::new(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)).unwrap());
            states.measure_and_replace(&pair, |_| Ok::<_, ()>(((), number.into()))).unwrap();
            let most = (states.len() * 43).max(SMALLEST * size_of::<Place>());
            assert!(bytes() <= most, "{} bytes of {} pairs", bytes(), states.len());
        }
        states.retain_recent(u64::MAX.into());
        assert_eq!((states.len(), bytes()), (0, SMALLEST * size_of::<Place>()));
    }
}
