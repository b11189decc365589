//! How many bytes of bodies are held at a time.

use std::sync::atomic::{AtomicU64, Ordering};

/// The bytes of all bodies that are held whole.
#[derive(Debug, Default)]
pub struct Room {
    held: AtomicU64,
}

/// A part of a [`Room`], given back when dropped.
#[derive(Debug)]
pub struct Held<'a> {
    room: &'a Room,
    bytes: u64,
}

impl Room {
    /// A part with nothing in it yet.
    pub fn take(&self) -> Held<'_> {
        Held { room: self, bytes: 0 }
    }
}

impl Held<'_> {
    /// Makes it large enough for so many bytes; false where more than `most` would be held in all then.
    #[must_use]
    pub fn grow_to(&mut self, bytes: u64, most: u64) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        self.bytes += more;
        self.room.held.fetch_add(more, Ordering::Relaxed) + more <= most
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.room.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_is_given_back() {
        let room = Room::default();
        let mut held: Vec<_> = (0..4).map(|_| room.take()).collect();
        for part in &mut held {
            assert!(part.grow_to(8, 64) && part.grow_to(16, 64) && part.grow_to(4, 64));
        }
        assert!(!room.take().grow_to(1, 64));
        drop(held);
        assert!(room.take().grow_to(64, 64));
    }
}
