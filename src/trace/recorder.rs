//! The queue of ended spans, and the share of traces that is recorded.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::context::TraceId;
use super::span::SpanRecord;

/// The share of traces that is recorded, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleRate {
    /// The number of lots that win, of [`LOTS`].
    winning: u64,
}

impl SampleRate {
    /// Every trace.
    pub const ALL: Self = Self { winning: LOTS };

    /// Returns a share; `None` for a number that is not one.
    #[must_use]
    pub fn of_share(share: f64) -> Option<Self> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "between 0 and 2^56, where a few lots more or less do not matter"
        )]
        let winning = (share * LOTS as f64).round() as u64;
        (0.0..=1.0).contains(&share).then_some(Self { winning })
    }

    /// True for a trace of the share. Every process with the same share, or a larger one, chooses
    /// the trace as well.
    pub(super) fn takes(self, trace: TraceId) -> bool {
        trace.lot() < self.winning
    }
}

/// The queue of the spans that have ended.
#[derive(Debug)]
pub struct Recorder {
    pub(super) rate: SampleRate,
    ended: Mutex<Vec<SpanRecord>>,
    lost: AtomicU64,
    /// Tells the reader of the queue that a batch is there.
    batch: Notify,
}

impl Recorder {
    pub(super) fn new(rate: SampleRate) -> Self {
        Self {
            rate,
            ended: Mutex::default(),
            lost: AtomicU64::new(0),
            batch: Notify::new(),
        }
    }

    /// Adds a span. A span that finds the queue full is lost, and counted.
    pub(super) fn record(&self, span: SpanRecord) {
        let mut ended = self.ended.lock();
        if ended.len() >= MAX_QUEUED {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        ended.push(span);
        if ended.len() == BATCH {
            self.batch.notify_one();
        }
    }

    /// Waits until many spans are in the queue.
    pub async fn batch(&self) {
        self.batch.notified().await;
    }

    /// Takes at most `most` spans out of the queue, the oldest first.
    #[must_use]
    pub fn take(&self, most: usize) -> Vec<SpanRecord> {
        let mut ended = self.ended.lock();
        let count = ended.len().min(most);
        ended.drain(..count).collect()
    }

    /// Returns the number of spans that were lost since the last call.
    #[must_use]
    pub fn take_lost(&self) -> u64 {
        self.lost.swap(0, Ordering::Relaxed)
    }
}

/// The number of lots: seven bytes of a trace id.
const LOTS: u64 = 1 << 56;
/// The bound on queued spans, about 3 MiB: some seconds of a thousand requests a second.
pub(super) const MAX_QUEUED: usize = 8192;
/// The number of queued spans that are worth a request to the receiver: the default of
/// OpenTelemetry's SDKs (`OTEL_BSP_MAX_EXPORT_BATCH_SIZE`).
const BATCH: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    fn lot(first: u8) -> TraceId {
        let mut id = [9; 16];
        id[9] = first;
        TraceId(id)
    }

    #[test]
    fn a_share_is_a_number_from_0_to_1_and_takes_its_part_of_all_traces() {
        for (share, taken) in [
            (0.0, Some(0)),
            (0.25, Some(64)),
            (0.5, Some(128)),
            (1.0, Some(256)),
            (-0.1, None),
            (1.01, None),
            (f64::NAN, None),
            (f64::INFINITY, None),
        ] {
            let rate = SampleRate::of_share(share);
            let count = |rate: SampleRate| (0..=255).filter(|it| rate.takes(lot(*it))).count();
            assert_eq!(rate.map(count), taken, "{share}");
        }
        assert_eq!(SampleRate::of_share(1.0), Some(SampleRate::ALL));
    }
}
