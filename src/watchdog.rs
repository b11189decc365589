//! A deadline for connections, cheap enough to be moved with every byte.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use tokio::task::coop::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

/// A timer for a deadline that moves often.
///
/// Moving a tokio timer costs much more than storing a time. The timer is therefore reset only when
/// the deadline comes nearer. A deadline usually moves away, with each request and each byte: the
/// timer then fires too early, and is reset at that moment.
#[derive(Debug)]
pub struct Watchdog {
    deadline: Instant,
    sleep: Pin<Box<Sleep>>,
}

impl Watchdog {
    /// Returns a watchdog for a deadline.
    #[must_use]
    pub fn new(deadline: Instant) -> Self {
        Self {
            deadline,
            sleep: Box::pin(sleep_until(deadline)),
        }
    }

    /// Moves the deadline in either direction.
    pub fn set(&mut self, deadline: Instant) {
        self.deadline = deadline;
        if deadline < self.sleep.deadline() {
            self.sleep.as_mut().reset(deadline);
        }
    }

    /// Returns ready once the deadline has passed.
    ///
    /// The timer is polled outside tokio's cooperative budget. A stream with endless input is
    /// pending only when the budget is used up; a timer within the budget would be pending at the
    /// same time, and would never fire.
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
    async fn the_watchdog_fires_at_a_deadline_moved_in_either_direction() {
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
    async fn the_watchdog_fires_when_the_task_has_used_up_its_budget() {
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
