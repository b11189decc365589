//! The bytes that a connection moves before other connections get a turn.

use std::io::{self, IoSlice};
use std::pin::pin;
use std::task::{Context, Poll, ready};

use tokio::task::yield_now;

/// The rest of a portion. A connection whose peer is always ready would otherwise move megabytes in
/// one go, encrypted or decrypted, while every other request waits.
#[derive(Debug)]
pub struct Portion {
    left: usize,
}

impl Default for Portion {
    fn default() -> Self {
        Self { left: PORTION }
    }
}

impl Portion {
    /// Returns the bytes that may be moved now, at least one. Pending once the portion is used up:
    /// the next portion begins behind the tasks that are ready now, and behind tasks with news from
    /// the system.
    pub fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        if self.left == 0 {
            *self = Self::default();
            // A task that wakes itself runs up to 61 times before tokio asks the system for events:
            // 15 MiB of portions. Behind `yield_now`, tokio asks first.
            return pin!(yield_now()).poll(cx).map(|()| self.left);
        }
        Poll::Ready(self.left)
    }

    /// Takes note of moved bytes.
    pub fn moves(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(bytes);
    }

    /// Writes as many bytes as the portion has left.
    ///
    /// # Errors
    /// The error of `write`.
    pub fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
        write: impl FnOnce(&mut Context<'_>, &[IoSlice<'_>]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let left = ready!(self.poll_left(cx));
        let mut length = 0;
        let fits = |slice: &&IoSlice<'_>| {
            length += slice.len();
            length <= left
        };
        let fitting = data.iter().take_while(fits).count();
        let written = match data.get(fitting) {
            None => write(cx, data),
            Some(_) if fitting > 0 => write(cx, data.get(..fitting).unwrap_or_default()),
            Some(first) => write(cx, &[IoSlice::new(first.get(..left).unwrap_or_default())]),
        };
        if let Poll::Ready(Ok(bytes)) = written {
            self.moves(bytes);
        }
        written
    }
}

/// The bytes in a portion: the system takes some 100 µs to move them, and encryption twice as long.
const PORTION: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// The lengths of the writes of some slices, with -1 for each turn of others.
    fn writes(lengths: &[usize]) -> Vec<isize> {
        let bytes = vec![0; 1 << 20];
        let mut data: Vec<_> = lengths.iter().map(|length| &bytes[..*length]).collect();
        let mut portion = Portion::default();
        let mut writes = Vec::new();
        let mut cx = Context::from_waker(Waker::noop());
        while !data.is_empty() {
            let slices: Vec<_> = data.iter().map(|slice| IoSlice::new(slice)).collect();
            let written = portion.poll_write(&mut cx, &slices, |_, slices| {
                Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()))
            });
            let Poll::Ready(Ok(mut written)) = written else {
                writes.push(-1);
                continue;
            };
            writes.push(written as isize);
            while let Some(first) = data.first_mut().filter(|_| written > 0) {
                let taken = written.min(first.len());
                (*first, written) = (&first[taken..], written - taken);
                if first.is_empty() {
                    data.remove(0);
                }
            }
        }
        writes
    }

    #[test]
    fn a_portion_is_written_in_few_pieces_and_then_others_have_their_turn() {
        const K: usize = 1024;
        for (lengths, expected) in [
            (&[100][..], &[100][..]),
            (&[100, 200], &[300]),
            (
                &[100 * K, 100 * K, 100 * K],
                &[200 * K as isize, 56 * K as isize, -1, 44 * K as isize],
            ),
            (
                &[600 * K],
                &[256 * K as isize, -1, 256 * K as isize, -1, 88 * K as isize],
            ),
        ] {
            assert_eq!(writes(lengths), expected, "{lengths:?}");
        }
    }
}
