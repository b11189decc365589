//! A deadline that can be moved on every step of an exchange at the cost of a store.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use tokio::task::coop::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

/// Completes when its deadline has passed without being moved.
///
/// The timer below is touched only when it fires or when the deadline comes nearer; a deadline that
/// moves away, as it does with each request and each byte, is noticed when the timer fires too early.
#[derive(Debug)]
pub struct Watchdog {
    deadline: Instant,
    sleep: Pin<Box<Sleep>>,
}

impl Watchdog {
    /// Watches until `deadline`.
    #[must_use]
    pub fn new(deadline: Instant) -> Self {
        Self { deadline, sleep: Box::pin(sleep_until(deadline)) }
    }

    /// Moves the deadline.
    pub fn set(&mut self, deadline: Instant) {
        self.deadline = deadline;
        if deadline < self.sleep.deadline() {
            self.sleep.as_mut().reset(deadline);
        }
    }

    /// Ready once the deadline has passed.
    ///
    /// Outside tokio's budget: a stream that never runs dry is pending only when the budget is used
    /// up, and a timer within it would be pending too, for ever.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while pin!(unconstrained(self.sleep.as_mut())).poll(cx).is_ready() {
            if self.sleep.deadline() >= self.deadline {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(self.deadline);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_deadline_moved_away_or_nearer_is_kept_to() {
        let start = Instant::now();
        for millis in [500, 2000, 10] {
            let mut watchdog = Watchdog::new(start + Duration::from_secs(1));
            let deadline = Instant::now() + Duration::from_millis(millis);
            watchdog.set(deadline);
            poll_fn(|cx| watchdog.poll(cx)).await;
            assert!(Instant::now() >= deadline);
            assert!(Instant::now() <= deadline + Duration::from_millis(2));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_fires_when_the_task_has_used_up_its_budget() {
        let mut watchdog = Watchdog::new(Instant::now());
        tokio::time::advance(Duration::from_secs(1)).await;
        let fired = poll_fn(|cx| {
            while tokio::task::coop::has_budget_remaining() {
                let consumed = std::pin::pin!(tokio::task::coop::consume_budget()).poll(cx);
                assert!(consumed.is_ready());
            }
            Poll::Ready(watchdog.poll(cx).is_ready())
        });
        assert!(fired.await);
    }
}
