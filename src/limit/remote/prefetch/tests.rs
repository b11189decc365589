//! Tokens taken ahead, at times that the test says.

use super::*;
use crate::limit::tests::rate;

const MILLI: Duration = Duration::from_millis(1);

fn quota(per_second: u32) -> Quota {
    rate(per_second, Duration::from_secs(1)).into()
}

fn reply(count: u32, now: Instant) -> TakeReply {
    TakeReply {
        count,
        first: now,
        interval: Duration::ZERO,
        left: 5,
        full_in: MILLI,
        wait: Duration::ZERO,
        account_wait: Duration::ZERO,
        next: Duration::ZERO,
        epoch: 1,
        given_back: Duration::ZERO,
    }
}

#[test]
fn a_sidecar_that_sends_seldom_takes_nothing_ahead() {
    let now = Instant::now();
    let mut prefetch = Prefetch::new(now);
    assert_eq!(prefetch.wanted(1, quota(80), now), 1);
    prefetch.add(reply(1, now), 1, now);
    assert_eq!(prefetch.use_token(now), Ok(()));
    assert_eq!(prefetch.use_token(now), Err(None));
    assert_eq!(prefetch.wanted(0, quota(80), now), 0);
    let later = now + 250 * MILLI;
    assert_eq!(prefetch.wanted(0, quota(80), later), 0);
    assert_eq!(prefetch.wanted(1, quota(80), later), 1);
}

#[test]
fn tokens_taken_ahead_are_bounded_by_use_and_by_rate() {
    let now = Instant::now();
    let mut prefetch = Prefetch::new(now);
    prefetch.add(reply(50, now), 50, now);
    (0..50).for_each(|_| prefetch.use_token(now).unwrap());
    for (waiting, per_second, expected, why) in [
        (0, 1000, 50, "as many as were used"),
        (0, 80, 8, "as many as come in a tenth of a second"),
        (3, 80, 11, "and one for each request that waits"),
        (0, 1, 0, "none at a slow rate"),
    ] {
        let wanted = prefetch.wanted(waiting, quota(per_second), now);
        assert_eq!(wanted, expected, "{why}");
    }
    prefetch.add(reply(5, now), 8, now);
    assert_eq!(
        prefetch.wanted(0, quota(80), now),
        0,
        "more than half is there"
    );
}

/// Rows of patience in milliseconds, and the time ahead.
#[test]
fn a_token_is_taken_as_far_ahead_as_a_request_waits_less_the_reply() {
    for (patience_ms, ahead) in [
        (0, ASK_AHEAD),
        (90, ASK_AHEAD),
        (150, 100 * MILLI),
        (2000, 1950 * MILLI),
        (3000, MAX_AHEAD),
    ] {
        assert_eq!(
            Prefetch::ahead(patience_ms * MILLI),
            ahead,
            "{patience_ms} ms"
        );
    }
}

#[test]
fn each_token_is_good_from_its_own_time_on() {
    let now = Instant::now();
    let mut prefetch = Prefetch::new(now);
    let four = TakeReply {
        first: now - 15 * MILLI,
        interval: 10 * MILLI,
        left: 0,
        next: MILLI,
        ..reply(4, now)
    };
    prefetch.add(four, 9, now);
    assert_eq!(prefetch.use_token(now), Ok(()));
    assert_eq!(prefetch.use_token(now), Ok(()));
    assert_eq!(prefetch.use_token(now), Err(Some(now + 5 * MILLI)));
    assert_eq!(prefetch.use_token(now + 5 * MILLI), Ok(()));
    assert_eq!(prefetch.left(), 1);
    assert!(prefetch.is_short());
}

#[test]
fn tokens_that_nobody_used_in_time_are_given_back() {
    let now = Instant::now();
    let mut prefetch = Prefetch::new(now);
    let five = TakeReply {
        interval: 30 * MILLI,
        ..reply(5, now)
    };
    prefetch.add(five, 5, now);
    assert_eq!(prefetch.return_unused(quota(80), now + 99 * MILLI), 0);
    assert_eq!(prefetch.return_at(), Some(now + WINDOW));
    assert_eq!(prefetch.return_unused(quota(80), now + 131 * MILLI), 2);
    assert_eq!(prefetch.left(), 8);
}

#[test]
fn a_token_is_not_unused_for_the_time_before_it_came() {
    let now = Instant::now();
    let mut prefetch = Prefetch::new(now);
    let old = TakeReply {
        first: now - 10 * WINDOW,
        ..reply(1, now)
    };
    prefetch.add(old, 1, now);
    assert_eq!(prefetch.return_unused(quota(80), now + MILLI), 0);
    assert_eq!(prefetch.return_at(), Some(now + WINDOW));
}

#[test]
fn a_reply_in_a_pause_leaves_the_knowledge_of_the_tokens_as_it_was() {
    let now = Instant::now();
    let mut prefetch = Prefetch::new(now);
    let known = TakeReply {
        full_in: 500 * MILLI,
        given_back: MILLI,
        ..reply(3, now)
    };
    prefetch.add(known, 3, now);
    let in_pause = TakeReply {
        left: 0,
        full_in: Duration::ZERO,
        wait: 100 * MILLI,
        account_wait: Duration::ZERO,
        next: 100 * MILLI,
        epoch: 2,
        given_back: Duration::ZERO,
        ..reply(0, now)
    };
    prefetch.add(in_pause, 1, now);
    let view = prefetch.view(now);
    assert_eq!(view.full_in, 500 * MILLI);
    assert_eq!(view.full_in_if_lost, 500 * MILLI);
    assert_eq!((view.epoch, view.given_back), (1, MILLI));
    assert_eq!(prefetch.held(), 0, "tokens of before the pause are lost");
}

/// Rows of seconds since a reply that told of 25 ms between tokens, double the interval by the
/// quota, and the wait of a request behind two others.
#[test]
fn a_slowdown_recovers_without_a_reply() {
    let now = Instant::now();
    let mut prefetch = Prefetch::new(now);
    let slowed = TakeReply {
        interval: 25 * MILLI,
        ..reply(0, now)
    };
    prefetch.add(slowed, 0, now);
    for (after, expected) in [(0, 50), (3, 30), (10, 0)] {
        let now = now + Duration::from_secs(after);
        let (turn, more) = prefetch.turn(2, Some(quota(80)), now).unwrap_err();
        let wait = turn.saturating_duration_since(now).as_millis();
        assert_eq!((wait, more), (expected, 2), "{after} s later");
    }
}
