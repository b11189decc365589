//! The memory of events on their way from the disk to destinations.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The room that all destinations share. Each destination also has room for a single event of any size: a destination
/// that hangs with all of the shared room holds no other destination up.
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

/// The room of an event, given back when dropped.
#[derive(Debug)]
pub(super) struct EventPlace {
    _permits: Vec<OwnedSemaphorePermit>,
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
    /// Waits for the room of an event with `bytes` bytes.
    pub(super) async fn enter(&self, bytes: usize) -> EventPlace {
        let kilobytes = bytes.div_ceil(1024).clamp(1, SHARE);
        let kilobytes = u32::try_from(kilobytes).unwrap_or(u32::MAX);
        let shared = async {
            let share = Arc::clone(&self.share)
                .acquire_many_owned(kilobytes)
                .await
                .ok()?;
            let shared = Arc::clone(&self.shared)
                .acquire_many_owned(kilobytes)
                .await
                .ok()?;
            Some(vec![share, shared])
        };
        let own = async { Some(vec![Arc::clone(&self.own).acquire_owned().await.ok()?]) };
        let permits = tokio::select! {
            biased;
            permits = shared => permits,
            permits = own => permits,
        };
        EventPlace {
            _permits: permits.unwrap_or_default(),
        }
    }
}

/// The shared room, in KiB. `memory.rs` has the sum of all bounds.
const SHARED: usize = 8 * 1024;
/// The share of one destination in the shared room, in KiB: the largest usual event, of 4 MiB, has room.
const SHARE: usize = SHARED / 2;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const MIB: usize = 1024 * 1024;

    /// Enters until there is no more room, and returns the places.
    async fn fill(room: &RoomOfOne, bytes: usize) -> Vec<EventPlace> {
        let mut places = Vec::new();
        let soon = Duration::from_millis(1);
        while let Ok(place) = timeout(soon, room.enter(bytes)).await {
            places.push(place);
        }
        places
    }

    #[tokio::test(start_paused = true)]
    async fn a_destination_that_keeps_its_events_leaves_room_to_others() {
        let room = Room::new();
        let hanging = room.of_one();
        let places = fill(&hanging, MIB).await;
        assert_eq!(places.len(), 5, "half of the shared room, and its own");
        let second = fill(&room.of_one(), 4 * MIB).await;
        assert_eq!(second.len(), 2, "the other half, and its own");
        let third = fill(&room.of_one(), 4 * MIB).await;
        assert_eq!(third.len(), 1, "its own in any case");
        drop(places);
        assert_eq!(
            fill(&hanging, 64 * MIB).await.len(),
            2,
            "an event of any size"
        );
    }
}
