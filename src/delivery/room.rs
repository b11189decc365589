//! The memory of events on their way from the disk to destinations.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::spool::LookBounds;

/// The room that all destinations share. Each destination also has room for one small event:
/// destinations that hang with all of the shared room hold up no other destination, but for its
/// large events.
#[derive(Debug)]
pub(super) struct Room {
    shared: Arc<Semaphore>,
}

/// The room of one destination.
#[derive(Debug)]
pub(super) struct RoomOfOne {
    shared: Arc<Semaphore>,
    /// The bound on what the destination takes of the shared room.
    share: Arc<Semaphore>,
    own: Arc<Semaphore>,
}

/// The room of a look for events.
#[derive(Debug)]
pub(super) enum LookRoom {
    /// A part of the destination's share, and as much of the shared room.
    Shared(OwnedSemaphorePermit, OwnedSemaphorePermit),
    /// The destination's own place.
    Own(OwnedSemaphorePermit),
}

/// The room of an event, given back when dropped.
#[derive(Debug)]
pub(super) struct EventPlace {
    _permits: [Option<OwnedSemaphorePermit>; 2],
}

impl Room {
    pub(super) fn new() -> Self {
        Self {
            shared: Arc::new(Semaphore::new(SHARED)),
        }
    }

    /// Returns the room of a new destination.
    pub(super) fn of_one(&self) -> RoomOfOne {
        RoomOfOne {
            shared: Arc::clone(&self.shared),
            share: Arc::new(Semaphore::new(SHARE)),
            own: Arc::new(Semaphore::new(1)),
        }
    }
}

impl RoomOfOne {
    /// Waits for the room of an event with `bytes` bytes, and takes more for up to `most` events
    /// where there is more.
    pub(super) async fn enter(&self, bytes: usize, most: usize) -> LookRoom {
        let least = portions(bytes);
        let shared = async {
            let mut room = self.enter_shared(least).await?;
            let free = self
                .share
                .available_permits()
                .min(self.shared.available_permits());
            room.grow(self, free.min(most.saturating_sub(least)));
            Some(room)
        };
        let own = async {
            let place = Arc::clone(&self.own).acquire_owned().await;
            place.ok().map(LookRoom::Own)
        };
        let entered = tokio::select! {
            biased;
            shared = shared => shared,
            own = own, if least == 1 => own,
        };
        match entered {
            Some(room) => room,
            // The semaphores are never closed.
            None => std::future::pending().await,
        }
    }

    async fn enter_shared(&self, portions: usize) -> Option<LookRoom> {
        let portions = u32::try_from(portions).ok()?;
        let own_share = Arc::clone(&self.share);
        let share = own_share.acquire_many_owned(portions).await.ok()?;
        let of_all = Arc::clone(&self.shared);
        let shared = of_all.acquire_many_owned(portions).await.ok()?;
        Some(LookRoom::Shared(share, shared))
    }
}

impl LookRoom {
    /// The events that have room.
    pub(super) fn bounds(&self) -> LookBounds {
        let portions = match self {
            Self::Shared(share, _) => share.num_permits(),
            Self::Own(_) => 1,
        };
        // The largest event takes a whole share, whatever its size.
        let bytes = match portions {
            SHARE => usize::MAX,
            portions => portions * PORTION,
        };
        LookBounds {
            events: portions,
            bytes,
        }
    }

    /// Takes the room of an event out of the room of the look.
    pub(super) fn part(&mut self, bytes: usize) -> EventPlace {
        let permits = match self {
            Self::Shared(share, shared) => {
                let portions = portions(bytes).min(share.num_permits());
                [share.split(portions), shared.split(portions)]
            }
            Self::Own(own) => [own.split(1), None],
        };
        EventPlace { _permits: permits }
    }

    fn grow(&mut self, of: &RoomOfOne, portions: usize) {
        let Self::Shared(share, shared) = self else {
            return;
        };
        let Ok(portions) = u32::try_from(portions) else {
            return;
        };
        let more = Arc::clone(&of.share).try_acquire_many_owned(portions);
        let more_shared = Arc::clone(&of.shared).try_acquire_many_owned(portions);
        if let (Ok(more), Ok(more_shared)) = (more, more_shared) {
            share.merge(more);
            shared.merge(more_shared);
        }
    }
}

/// The portions of room that an event takes.
fn portions(bytes: usize) -> usize {
    bytes.div_ceil(PORTION).clamp(1, SHARE)
}

/// The bytes of a portion. A small event takes a whole portion: its task and its connection need
/// more than its body.
const PORTION: usize = 16 * 1024;
/// The shared room, in portions: as many small events as there are connections to applications, and
/// 8 MiB. `memory.rs` has the sum of all bounds.
const SHARED: usize = 512;
/// The share of one destination in the shared room, in portions: the largest usual event, of 4 MiB,
/// has room.
const SHARE: usize = SHARED / 2;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const MIB: usize = 1024 * 1024;

    /// Enters until there is no more room, an event at a time, and returns the places.
    async fn fill(room: &RoomOfOne, bytes: usize) -> Vec<EventPlace> {
        let mut places = Vec::new();
        let soon = Duration::from_millis(1);
        while let Ok(mut look) = timeout(soon, room.enter(bytes, 1)).await {
            places.push(look.part(bytes));
        }
        places
    }

    #[tokio::test(start_paused = true)]
    async fn destinations_that_keep_their_events_leave_room_to_others() {
        let room = Room::new();
        let hanging = room.of_one();
        let places = fill(&hanging, MIB).await;
        assert_eq!(places.len(), 4, "half of the shared room");
        assert_eq!(fill(&hanging, 1024).await.len(), 1, "its own place");
        let second = fill(&room.of_one(), 4 * MIB).await;
        assert_eq!(second.len(), 1, "the other half");
        let third = room.of_one();
        assert_eq!(fill(&third, 4 * MIB).await.len(), 0, "none is left");
        assert_eq!(fill(&third, 1024).await.len(), 1, "its own in any case");
        drop(places);
        assert_eq!(
            fill(&hanging, 64 * MIB).await.len(),
            1,
            "an event of any size"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_thousand_destinations_that_hang_keep_as_many_small_events_and_the_shared_room() {
        let room = Room::new();
        let mut kept = Vec::new();
        let mut hanging = Vec::new();
        for _ in 0..1000 {
            let one = room.of_one();
            while let Ok(mut look) = timeout(Duration::from_millis(1), one.enter(0, 32)).await {
                let bounds = look.bounds();
                kept.extend((0..bounds.events).map(|_| look.part(1024)));
            }
            hanging.push(one);
        }
        assert_eq!(kept.len(), 1000 + SHARED);
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_has_as_much_room_as_is_free_and_gives_the_rest_back() {
        let room = Room::new();
        let one = room.of_one();
        let mut look = one.enter(100 * 1024, 32).await;
        assert_eq!(look.bounds().events, 32);
        assert_eq!(look.bounds().bytes, 32 * PORTION);
        let large = look.part(100 * 1024);
        drop(look);
        assert_eq!(room.shared.available_permits(), SHARED - 7);
        drop(large);
        assert_eq!(room.shared.available_permits(), SHARED);
        assert_eq!(one.enter(5 * MIB, 32).await.bounds().bytes, usize::MAX);
    }
}
