//! The knowledge of a sidecar about a bucket in the shared server. Pure: time is an argument.

use std::time::Duration;

use tokio::time::Instant;

use super::bucket::{LocalView, TakeReply};

/// The knowledge about a bucket: told to the server with each question, so that a server without
/// its old state gives no second burst.
#[derive(Clone, Copy, Debug)]
pub(super) struct KnownBucket {
    /// Earliest time at which the bucket can be full, whatever the server says.
    pub(super) full_at: Instant,
    /// Earliest time at which the bucket can be full, if the server has lost its state.
    full_at_if_lost: Instant,
    /// Epoch of the server; 0 before the first reply.
    epoch: u64,
    /// Worth of the tokens given back by all sidecars that `full_at` has left out already.
    given_back: Duration,
}

impl KnownBucket {
    /// No knowledge: the bucket may be full.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            full_at: now,
            full_at_if_lost: now,
            epoch: 0,
            given_back: Duration::ZERO,
        }
    }

    /// The knowledge by a reply outside of a pause.
    pub(super) fn told(reply: &TakeReply, now: Instant) -> Self {
        Self {
            full_at: now + reply.full_in,
            full_at_if_lost: now + reply.full_in,
            epoch: reply.epoch,
            given_back: reply.given_back,
        }
    }

    /// A bucket full in `full_in` at the earliest, whatever the server knows. What is known of the
    /// server's count stays: the epoch, and the tokens given back.
    pub(super) fn full_in(self, full_in: Duration, now: Instant) -> Self {
        Self {
            full_at: now + full_in,
            full_at_if_lost: now + full_in,
            ..self
        }
    }

    /// Knowledge to tell the server.
    pub(super) fn view(&self, now: Instant) -> LocalView {
        LocalView {
            full_in: self.full_at.saturating_duration_since(now),
            full_in_if_lost: self.full_at_if_lost.saturating_duration_since(now),
            epoch: self.epoch,
            given_back: self.given_back,
        }
    }

    /// Takes note that tokens of this worth are given back. `full_at` is without these tokens from
    /// now on, and `given_back` tells the server so: no token counts as given back twice.
    pub(super) fn give_back(&mut self, worth: Duration) {
        self.full_at = self.full_at.checked_sub(worth).unwrap_or(self.full_at);
        self.full_at_if_lost = self.full_at;
        self.given_back += worth;
    }

    /// Takes note of tokens used beside the server: the bucket is full in `full_in` at the
    /// earliest, or in `full_in_if_lost` if the server has lost its state. The later time counts:
    /// neither a lost reply nor the local count may give a token away twice.
    pub(super) fn used_beside(
        &mut self,
        full_in: Duration,
        full_in_if_lost: Duration,
        now: Instant,
    ) {
        self.full_at = self.full_at.max(now + full_in);
        self.full_at_if_lost = self.full_at.max(now + full_in_if_lost);
    }
}
