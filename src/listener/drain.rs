//! The end of serving: listeners stop accepting, and connections finish the request under way.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};

/// The receiving end, held by each listener and each connection. The drain ends when the last copy
/// is dropped.
#[derive(Clone, Debug)]
pub struct Drain {
    begun: watch::Receiver<bool>,
    _open: mpsc::Sender<()>,
}

/// The end that begins the drain and waits for the completion.
#[derive(Debug)]
pub struct Drainer {
    begun: watch::Sender<bool>,
    open: mpsc::Receiver<()>,
}

/// Makes the two ends.
#[must_use]
pub fn drain() -> (Drainer, Drain) {
    let (begin, begun) = watch::channel(false);
    let (sender, open) = mpsc::channel(1);
    let drain = Drain {
        begun,
        _open: sender,
    };
    (Drainer { begun: begin, open }, drain)
}

impl Drainer {
    /// Begins the drain: no connection is accepted any more, each connection ends with the next
    /// answer, and those without a request close a moment later. Returns when all connections have
    /// ended.
    pub async fn drain(mut self) {
        self.begun.send_replace(true);
        // No message is ever sent; the channel closes with the last `Drain`.
        while self.open.recv().await.is_some() {}
    }
}

impl Drain {
    /// True from the beginning of the drain on.
    pub(super) fn has_begun(&self) -> bool {
        *self.begun.borrow()
    }

    /// Waits until the drain begins, and longer for a client that is about to send its next
    /// request.
    pub(super) async fn begun_a_while_ago(&mut self) {
        self.begun().await;
        tokio::time::sleep(PARTING).await;
    }

    /// Waits until the drain begins.
    pub(super) async fn begun(&mut self) {
        // An error means that the `Drainer` is gone, and serving ends then too.
        self.begun.wait_for(|begun| *begun).await.ok();
    }
}

/// The end of the time that a drain has. A request that is still under way then is answered by
/// Keyside itself, so that its client learns whether anything was sent.
#[derive(Debug, Default)]
pub struct DrainEnd {
    has_come: AtomicBool,
    waiting: Notify,
}

impl DrainEnd {
    /// Ends the waits of [`Self::come`], those to come as well.
    pub fn announce(&self) {
        self.has_come.store(true, Ordering::Release);
        self.waiting.notify_waiters();
    }

    /// Waits until the time is over.
    pub async fn come(&self) {
        // A wait that begins before the look at the flag hears of an end right after the look.
        let announced = self.waiting.notified();
        if !self.has_come.load(Ordering::Acquire) {
            announced.await;
        }
    }
}

/// The time for which connections stay open when the drain begins. Within this time a busy client
/// sends the next request, and the answer announces the end of the connection (`Connection:
/// close`). Otherwise the next request would meet a closed connection, and the client could not
/// tell if the request was sent on.
const PARTING: Duration = Duration::from_millis(500);
