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
    /// A part for so many bytes; `None` where more than `most` would be held then.
    pub fn take(&self, bytes: u64, most: u64) -> Option<Held<'_>> {
        let mut held = Held { room: self, bytes: 0 };
        held.grow(bytes, most).then_some(held)
    }
}

impl Held<'_> {
    /// Makes it larger by so many bytes; false where more than `most` would be held in all then.
    #[must_use]
    pub fn grow(&mut self, bytes: u64, most: u64) -> bool {
        let before = self.room.held.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        before + bytes <= most
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
        let held: Vec<_> = (0..4).map(|_| room.take(16, 64)).collect();
        assert!(held.iter().all(Option::is_some));
        assert!(room.take(1, 64).is_none());
        drop(held);
        let mut held = room.take(60, 64).unwrap();
        assert!(held.grow(4, 64));
        assert!(!held.grow(1, 64));
        drop(held);
        assert!(room.take(64, 64).is_some());
    }
}
