//! Limits of senders, with requests that wait, on a stopped clock.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::table::{MAX_LIMITS, MIN_SWEEP};
use super::{Demand, KeyedLimits, LimitKind, LimitTerms, Limited, Patience, PauseReason, Ticket};
use crate::provider::Metering;
use crate::units::Rate;

pub(super) fn rate(count: u32, per: Duration) -> Rate {
    Rate {
        count: NonZeroU32::new(count).unwrap(),
        per,
    }
}

pub(super) fn demand(sender: &str, patience: Patience) -> Demand<'_> {
    Demand {
        sender,
        recipients: &[],
        messages: 1,
        metering: Metering::Common,
        application: 1,
        urgency: 3,
        arrived: Instant::now(),
        patience,
    }
}

pub(super) fn patience(max_wait: Duration, max_queue: usize) -> Patience {
    Patience {
        max_wait,
        max_queue,
    }
}

/// Terms with a single rate for all keys.
fn fixed(rate: Rate) -> LimitTerms {
    LimitTerms {
        rate: Some(rate),
        ..LimitTerms::default()
    }
}

fn senders(rate: Rate) -> KeyedLimits {
    KeyedLimits::new(LimitKind::Sender, fixed(rate))
}

async fn pass(limits: &KeyedLimits, demand: &Demand<'_>) -> Result<Ticket, Limited> {
    limits.pass(demand.sender, demand).await
}

/// Number of requests of the first sender that go at once.
async fn drain(limits: &KeyedLimits) -> u32 {
    let mut passed = 0;
    while pass(limits, &demand("1", IMPATIENT)).await.is_ok() {
        passed += 1;
    }
    passed
}

async fn remaining(limits: &KeyedLimits, sender: &str) -> u32 {
    let ticket = pass(limits, &demand(sender, IMPATIENT)).await.unwrap();
    ticket.allowance.unwrap().remaining
}

const SECOND: Duration = Duration::from_secs(1);
const IMPATIENT: Patience = Patience {
    max_wait: Duration::ZERO,
    max_queue: 10,
};

/// A request of the first sender that waits.
fn waiting(limits: &Arc<KeyedLimits>, patience: Patience) -> JoinHandle<Result<Ticket, Limited>> {
    let limits = Arc::clone(limits);
    tokio::spawn(async move { pass(&limits, &demand("1", patience)).await })
}

#[tokio::test(start_paused = true)]
async fn senders_do_not_share_a_bucket() {
    let limits = senders(rate(2, 60 * SECOND));
    for sender in ["1", "2"] {
        assert_eq!(remaining(&limits, sender).await, 1);
        assert_eq!(remaining(&limits, sender).await, 0);
        let limited = pass(&limits, &demand(sender, IMPATIENT)).await.unwrap_err();
        assert!(limited.retry_after > 29 * SECOND && limited.retry_after <= 30 * SECOND);
    }
}

/// Rows of the old rate in an hour, requests that went, the new rate, and requests that go then.
#[tokio::test(start_paused = true)]
async fn a_changed_rate_gives_nothing_away() {
    const HOUR: Duration = Duration::from_secs(3600);
    for (old, used, new, goes) in [
        (10, 10, 40, 0),
        (40, 40, 10, 0),
        (10, 10, 10, 0),
        (10, 5, 40, 20),
        (100, 50, 10, 5),
    ] {
        let limits = senders(rate(old, HOUR));
        for _ in 0..used {
            pass(&limits, &demand("1", IMPATIENT)).await.unwrap();
        }
        let changed = limits.copy_with_terms(fixed(rate(new, HOUR)));
        assert_eq!(drain(&changed).await, goes, "{old} -> {new}");
        assert_eq!(remaining(&changed, "2").await, new - 1);
    }
}

/// Number of requests let through in half a second, of 30 waiters at a rate changed then, and
/// of newcomers.
async fn gone_after_a_change(old: u32, new: u32) -> usize {
    let limits = Arc::new(senders(rate(old, SECOND)));
    drain(&limits).await;
    let gone = Arc::new(AtomicUsize::new(0));
    let spawn = || {
        let limits = Arc::clone(&limits);
        let gone = Arc::clone(&gone);
        tokio::spawn(async move {
            let patient = patience(30 * SECOND, 100);
            pass(&limits, &demand("1", patient)).await.unwrap();
            gone.fetch_add(1, Ordering::Relaxed);
        })
    };
    let mut tasks: Vec<_> = (0..30).map(|_| spawn()).collect();
    tokio::time::sleep(SECOND / 20).await;
    let before = gone.load(Ordering::Relaxed);
    limits.change(&fixed(rate(new, SECOND)));
    tasks.extend((0..30).map(|_| spawn()));
    tokio::time::sleep(SECOND / 2).await;
    tasks.iter().for_each(JoinHandle::abort);
    gone.load(Ordering::Relaxed) - before
}

#[tokio::test(start_paused = true)]
async fn received_messages_are_paid_for_before_a_message_goes() {
    let limits = senders(rate(50, SECOND));
    limits.count_received("1", &[6 * 3600 * SECOND; 800]);
    assert_eq!(
        limits.status("1").remaining,
        50,
        "their tokens came back long ago"
    );
    limits.count_received("1", &[SECOND; 60]);
    let status = limits.status("1");
    assert_eq!(
        (status.remaining, status.pause.map(|pause| pause.reason)),
        (0, Some(PauseReason::Overdrawn))
    );
    assert!(pass(&limits, &demand("1", IMPATIENT)).await.is_err());
    tokio::time::sleep(SECOND * 3 / 10).await;
    assert!(
        limits.status("1").pause.is_none(),
        "it is over though nobody has asked since"
    );
    let passed = drain(&limits).await;
    assert!(
        (3..=8).contains(&passed),
        "{passed} of 15 that came passed, and 10 were owed"
    );
    let slow = KeyedLimits::new(LimitKind::Sender, fixed(rate(5, 60 * SECOND)));
    slow.count_received("1", &[59 * SECOND, SECOND, Duration::ZERO, 61 * SECOND]);
    assert_eq!(slow.status("1").remaining, 2);
}

#[tokio::test(start_paused = true)]
async fn a_changed_rate_applies_to_requests_that_wait_already() {
    let slower = gone_after_a_change(40, 10).await;
    let faster = gone_after_a_change(10, 40).await;
    assert!(
        (4..=6).contains(&slower) && (18..=21).contains(&faster),
        "{slower}, {faster}"
    );
}

#[tokio::test(start_paused = true)]
async fn requests_over_the_limit_wait_in_order_of_arrival() {
    let limits = Arc::new(senders(rate(1, SECOND / 50)));
    let order = Arc::new(Mutex::new(Vec::new()));
    let tasks: Vec<_> = (0..10)
        .map(|turn| {
            let limits = Arc::clone(&limits);
            let order = Arc::clone(&order);
            tokio::spawn(async move {
                pass(&limits, &demand("1", patience(SECOND, 100)))
                    .await
                    .unwrap();
                order.lock().push(turn);
            })
        })
        .collect();
    let start = Instant::now();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(*order.lock(), (0..10).collect::<Vec<_>>());
    assert!(start.elapsed() >= Duration::from_millis(170));
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_would_be_too_long_is_refused_at_once_and_a_full_queue_too() {
    let limits = Arc::new(senders(rate(1, SECOND)));
    let patient = patience(3 * SECOND, 2);
    pass(&limits, &demand("1", patient)).await.unwrap();
    let waiting = [(); 2].map(|()| waiting(&limits, patient));
    tokio::time::sleep(Duration::from_millis(20)).await;
    let start = Instant::now();
    let limited = pass(&limits, &demand("1", patient)).await.unwrap_err();
    assert_eq!(limited.waiting, 2);
    assert!(
        limited.retry_after > 2 * SECOND && limited.retry_after <= 3 * SECOND,
        "{limited:?}"
    );
    let short = demand("1", patience(SECOND, 100));
    assert!(pass(&limits, &short).await.is_err());
    assert!(start.elapsed() < Duration::from_millis(50));
    for task in waiting {
        task.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_leaves_the_queue_makes_room() {
    let limits = Arc::new(senders(rate(1, SECOND / 10)));
    let patient = patience(SECOND, 1);
    pass(&limits, &demand("1", patient)).await.unwrap();
    let gone = waiting(&limits, patient);
    tokio::time::sleep(Duration::from_millis(10)).await;
    gone.abort();
    assert!(gone.await.is_err());
    assert_eq!((limits.usage().in_use, limits.usage().waiting), (1, 0));
    pass(&limits, &demand("1", patient)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn however_many_names_are_used_the_table_has_a_bound() {
    let limits = senders(rate(2, 3600 * SECOND));
    let mut refused = 0;
    for sender in 0..MAX_LIMITS + 100 {
        refused += usize::from(
            pass(&limits, &demand(&sender.to_string(), IMPATIENT))
                .await
                .is_err(),
        );
    }
    assert_eq!((limits.usage().in_use, refused), (MAX_LIMITS + 1, 98));
    assert!(
        pass(&limits, &demand("0", IMPATIENT)).await.is_ok(),
        "one that is known has its own"
    );
}

#[tokio::test(start_paused = true)]
async fn unused_limits_are_forgotten() {
    let limits = senders(rate(1000, SECOND / 100));
    for sender in 0..5000 {
        pass(&limits, &demand(&sender.to_string(), IMPATIENT))
            .await
            .unwrap();
        if sender % 1000 == 0 {
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
    }
    assert!(
        limits.usage().in_use <= 3 * MIN_SWEEP,
        "{:?}",
        limits.usage()
    );
}
