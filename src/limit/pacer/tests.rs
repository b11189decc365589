//! The pacer, stepped through its rules.

use super::*;
use crate::limit::remote::{LocalView, TakeReply};
use crate::limit::tests::rate;

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const LOST: CountedBy = CountedBy::LocalWhileLost(OnFailure::Local);

fn quota(per_second: u32) -> Quota {
    rate(per_second, SECOND).into()
}

/// Most time by which a token may be taken before becoming good.
fn max_ahead() -> Duration {
    Prefetch::ahead(Duration::MAX)
}

/// A token in so many seconds.
fn slow(seconds: u64) -> Quota {
    rate(1, Duration::from_secs(seconds)).into()
}

/// A pacer under test, with the time that the test says.
struct Stepped {
    pacer: Pacer,
    now: Instant,
}

impl Stepped {
    fn new(quota: Option<Quota>, own: Option<Quota>, counted_by: CountedBy) -> Self {
        let now = Instant::now();
        let tokens = Tokens::new(own, now);
        let mut pacer = Pacer::new(Scope::Sender, quota, tokens, now);
        pacer.set_counter(counted_by, now);
        Self { pacer, now }
    }

    fn local(per_second: u32) -> Self {
        let quota = Some(quota(per_second));
        Self::new(quota, quota, CountedBy::Local)
    }

    /// 80 a second for eight sidecars, counted by the shared server; 10 a second alone.
    fn shared() -> Self {
        Self::new(Some(quota(80)), Some(quota(10)), CountedBy::Server)
    }

    fn advance(&mut self, time: Duration) {
        self.now += time;
    }

    fn decide(&mut self) -> Result<Ticket, Next> {
        self.pacer.decide(1, self.now, self.now)
    }

    fn decide_without_waiters(&mut self) -> Result<Ticket, Next> {
        self.pacer.decide(0, self.now, self.now)
    }

    /// Number of requests let through now, and the time until the next turn if known.
    fn drain(&mut self) -> (u32, Option<Duration>) {
        for gone in 0.. {
            match self.decide() {
                Ok(_) => {}
                Err(Next::At(at)) => return (gone, Some(at - self.now)),
                Err(Next::Ask(_)) => return (gone, None),
                Err(other) => panic!("{other:?}"),
            }
        }
        unreachable!()
    }

    /// Tokens of the shared server, good at once, with the bucket full again.
    fn tokens(&self, count: u32) -> TakeReply {
        TakeReply {
            count,
            first: self.now,
            interval: Duration::ZERO,
            left: 0,
            full_in: Duration::ZERO,
            wait: Duration::ZERO,
            account_wait: Duration::ZERO,
            next: Duration::ZERO,
            epoch: 7,
            given_back: Duration::ZERO,
        }
    }

    fn reply(&mut self, count: u32, full_in: Duration) {
        let reply = TakeReply {
            full_in,
            ..self.tokens(count)
        };
        self.pacer.prefetch.add(reply, count, self.now);
    }

    fn change(&mut self, quota: Option<Quota>, own: Option<Quota>) {
        let tokens = Tokens::new(own, self.now);
        self.pacer = self.pacer.with_terms(quota, tokens, self.now);
    }

    fn set_counter(&mut self, counted_by: CountedBy) {
        self.pacer.set_counter(counted_by, self.now);
    }

    fn throttled(&mut self, named: Option<Duration>) -> Option<RemotePause> {
        let length = PauseLength {
            first: SECOND,
            named,
        };
        self.pacer.throttled(length, self.now)
    }

    fn pause(&mut self, length: Duration, reason: PauseReason) {
        self.pacer.pause(length, reason, self.now);
    }

    fn pause_left(&self) -> Option<Duration> {
        let pause = self.pacer.pause_at(self.now);
        pause.map(|pause| pause.until - self.now)
    }

    fn slowed_interval(&self) -> Option<Duration> {
        self.pacer.slowed_interval(self.now)
    }

    fn wait(&self, ahead: usize) -> Duration {
        self.pacer.wait(ahead, self.now)
    }

    fn view(&self) -> LocalView {
        self.pacer.prefetch.view(self.now)
    }
}

#[test]
fn a_burst_goes_and_then_one_in_each_interval() {
    let mut pacer = Stepped::local(10);
    assert_eq!(pacer.drain(), (10, Some(100 * MILLI)));
    pacer.advance(250 * MILLI);
    assert_eq!(pacer.drain(), (2, Some(50 * MILLI)));
}

#[test]
fn a_lost_server_leaves_no_burst_and_a_server_that_is_back_is_told_what_went() {
    let mut pacer = Stepped::shared();
    assert_eq!(pacer.decide().unwrap_err(), Next::Ask(1));
    pacer.reply(3, 250 * MILLI);
    assert_eq!(pacer.drain(), (3, None));

    pacer.set_counter(LOST);
    assert_eq!(pacer.drain(), (0, Some(100 * MILLI)), "no burst alone");
    pacer.advance(SECOND);
    assert_eq!(pacer.drain(), (10, Some(100 * MILLI)), "its own share");

    pacer.set_counter(CountedBy::Server);
    let view = pacer.view();
    let all = SECOND + LOST_POLL;
    assert_eq!(view.full_in, all, "eight sidecars used ten tokens each");
    assert_eq!(view.full_in_if_lost, all, "of eight sidecars, all of it");
    assert!(
        matches!(pacer.decide(), Err(Next::Ask(1))),
        "nothing is held"
    );
}

#[test]
fn a_single_lost_reply_is_held_against_one_sidecar_alone() {
    let mut pacer = Stepped::shared();
    pacer.set_counter(LOST);
    pacer.advance(99 * MILLI);
    pacer.set_counter(CountedBy::Server);
    let view = pacer.view();
    assert_eq!(view.full_in, 125 * MILLI, "ten tokens of the whole");
    assert_eq!(view.full_in_if_lost, SECOND);
}

#[test]
fn a_server_that_comes_and_goes_leaves_the_share_to_send_with() {
    let mut pacer = Stepped::shared();
    pacer.set_counter(LOST);
    assert_eq!(pacer.drain().0, 0, "no burst alone");
    let mut sent = 0;
    for _ in 0..20 {
        pacer.advance(100 * MILLI);
        pacer.set_counter(CountedBy::Server);
        pacer.set_counter(LOST);
        sent += pacer.drain().0;
    }
    assert_eq!(sent, 20, "ten a second");
    // A loss that stands alone takes a second's tokens again.
    pacer.set_counter(CountedBy::Server);
    pacer.advance(2 * SECOND);
    pacer.set_counter(LOST);
    assert_eq!(pacer.drain().0, 0);
}

#[test]
fn a_loss_takes_no_token_away_and_gives_none_beside_those_held() {
    let mut pacer = Stepped::shared();
    let two = TakeReply {
        first: pacer.now + SECOND,
        interval: SECOND,
        full_in: SECOND,
        next: SECOND,
        ..pacer.tokens(2)
    };
    pacer.pacer.prefetch.add(two, 2, pacer.now);
    pacer.set_counter(LOST);
    assert_eq!(pacer.drain(), (0, Some(SECOND)));
    pacer.advance(SECOND);
    assert_eq!(
        pacer.drain(),
        (1, Some(SECOND)),
        "the own share is not used beside"
    );
    assert_eq!(pacer.wait(0), SECOND);
}

#[test]
fn a_share_of_less_than_a_message_begins_without_one() {
    let mut pacer = Stepped::new(Some(quota(80)), Some(slow(2)), CountedBy::Server);
    pacer.set_counter(LOST);
    assert_eq!(pacer.drain(), (0, Some(2 * SECOND)));
}

#[test]
fn a_share_sent_from_lately_has_no_message_early() {
    let mut pacer = Stepped::new(Some(quota(80)), Some(slow(2)), CountedBy::Server);
    pacer.reply(1, SECOND);
    assert_eq!(pacer.drain(), (1, None));
    pacer.advance(SECOND);
    pacer.set_counter(LOST);
    assert_eq!(pacer.drain(), (0, Some(2 * SECOND)));
}

#[test]
fn a_share_is_whole_while_the_server_has_never_answered() {
    let mut pacer = Stepped::new(Some(quota(80)), Some(quota(10)), LOST);
    assert_eq!(pacer.drain(), (10, Some(100 * MILLI)));
}

#[test]
fn a_lost_server_leaves_the_turns_taken_ahead_before_any_share() {
    for (next, begins) in [(600 * MILLI, 600 * MILLI), (9 * SECOND, max_ahead())] {
        let mut pacer = Stepped::shared();
        let none = TakeReply {
            full_in: SECOND,
            next,
            ..pacer.tokens(0)
        };
        pacer.pacer.prefetch.add(none, 1, pacer.now);
        pacer.advance(300 * MILLI);
        pacer.set_counter(LOST);
        assert_eq!(pacer.drain(), (0, Some(begins)), "other sidecars hold them");
        pacer.advance(begins);
        assert_eq!(pacer.drain(), (0, Some(100 * MILLI)), "no burst then");
        pacer.advance(100 * MILLI);
        assert_eq!(pacer.drain(), (1, Some(100 * MILLI)));
        assert!(pacer.pacer.pause_at(pacer.now).is_none(), "and no pause");
    }
}

#[test]
fn who_can_wait_longer_than_turns_reach_asks_seldom() {
    let mut pacer = Stepped::shared();
    let none = TakeReply {
        full_in: 3 * SECOND,
        next: max_ahead(),
        ..pacer.tokens(0)
    };
    pacer.pacer.prefetch.add(none, 1, pacer.now);
    for (patience, asks_in) in [(max_ahead(), 150 * MILLI), (5 * SECOND, SECOND)] {
        let latest = pacer.now + patience;
        let next = pacer.pacer.decide(1, latest, pacer.now).unwrap_err();
        assert_eq!(next, Next::At(pacer.now + asks_in), "{patience:?}");
        assert!(!pacer.pacer.is_in_vain(0, latest + SECOND, pacer.now));
    }
}

#[test]
fn tokens_are_asked_for_as_far_ahead_as_requests_wait() {
    let mut pacer = Stepped::shared();
    let latest = pacer.now + 2 * SECOND;
    assert_eq!(
        pacer.pacer.decide(3, latest, pacer.now).unwrap_err(),
        Next::Ask(3)
    );
    let two = TakeReply {
        first: pacer.now + SECOND,
        interval: 100 * MILLI,
        full_in: 2 * SECOND,
        next: 2100 * MILLI,
        ..pacer.tokens(2)
    };
    pacer.pacer.prefetch.add(two, 3, pacer.now);
    let waits = [0, 1, 2].map(|ahead| pacer.wait(ahead).as_millis());
    assert_eq!(waits, [1000, 1100, 2100]);
    let is_in_vain = |pacer: &Stepped, ahead| pacer.pacer.is_in_vain(ahead, latest, pacer.now);
    assert!(!is_in_vain(&pacer, 1) && is_in_vain(&pacer, 2));
    let next = pacer.pacer.decide(3, latest, pacer.now).unwrap_err();
    assert_eq!(
        next,
        Next::At(pacer.now + 250 * MILLI),
        "no token within their patience before"
    );
    assert_eq!(
        pacer.pacer.decide(2, latest, pacer.now).unwrap_err(),
        Next::At(pacer.now + SECOND)
    );
    pacer.throttled(Some(1050 * MILLI));
    assert_eq!(pacer.drain(), (0, Some(1050 * MILLI)));
    pacer.advance(1100 * MILLI);
    assert!(pacer.decide().is_ok(), "the token after the pause");
    assert!(pacer.decide().is_err(), "that in the pause is lost");
}

#[test]
fn what_goes_while_the_server_is_lost_is_the_operators_choice() {
    for (on_failure, expected) in [
        (OnFailure::Local, (0, Some(100 * MILLI))),
        (OnFailure::Closed, (0, Some(LOST_POLL))),
    ] {
        let mut pacer = Stepped::shared();
        pacer.set_counter(CountedBy::LocalWhileLost(on_failure));
        assert_eq!(pacer.drain(), expected, "{on_failure:?}");
    }
    let mut pacer = Stepped::shared();
    pacer.set_counter(CountedBy::LocalWhileLost(OnFailure::Open));
    assert!((0..1000).all(|_| pacer.decide().is_ok()));
}

#[test]
fn a_server_that_has_forgotten_is_told_of_tokens_that_it_does_not_know() {
    let mut pacer = Stepped::shared();
    pacer.reply(4, 500 * MILLI);
    let view = pacer.view();
    assert_eq!((view.epoch, view.full_in_if_lost), (7, 500 * MILLI));
    pacer.advance(200 * MILLI);
    let view = pacer.view();
    assert_eq!(view.full_in_if_lost, 300 * MILLI, "time fills it");

    pacer.change(Some(quota(40)), Some(quota(5)));
    let view = pacer.view();
    assert_eq!(view.epoch, 7, "a changed quota keeps the epoch");
    assert_eq!(view.full_in_if_lost, 600 * MILLI, "and 24 used tokens");
}

#[test]
fn tokens_that_are_held_and_not_used_are_given_back() {
    let mut pacer = Stepped::shared();
    pacer.reply(5, 100 * MILLI);
    let return_at = pacer.now + 100 * MILLI;
    assert_eq!(
        pacer.decide_without_waiters().unwrap_err(),
        Next::At(return_at)
    );
    pacer.advance(100 * MILLI);
    assert_eq!(
        pacer.decide_without_waiters().unwrap_err(),
        Next::GiveBack(5)
    );
    assert_eq!(pacer.decide_without_waiters().unwrap_err(), Next::Rest);
}

#[test]
fn a_changed_quota_keeps_the_pause_and_the_slowdown() {
    let mut pacer = Stepped::local(10);
    pacer.throttled(None);
    let new = Some(quota(10));
    pacer.change(new, new);
    assert_eq!(pacer.drain(), (0, Some(SECOND)));
    assert_eq!(pacer.slowed_interval(), Some(200 * MILLI));
    pacer.change(None, None);
    assert_eq!(pacer.drain(), (0, Some(SECOND)), "without a rate too");
}

#[test]
fn a_pause_that_begins_while_others_wait_makes_all_of_them_wait() {
    let mut pacer = Stepped::local(10);
    pacer.drain();
    assert_eq!((pacer.wait(0), pacer.wait(2)), (100 * MILLI, 300 * MILLI));
    pacer.throttled(Some(3 * SECOND));
    assert_eq!(pacer.drain(), (0, Some(3 * SECOND)));
    assert_eq!(pacer.wait(0), 3 * SECOND);
    assert_eq!(pacer.wait(2), 3400 * MILLI, "at half the pace");
}

#[test]
fn the_interval_doubles_after_a_throttle_and_recovers() {
    let mut pacer = Stepped::local(10);
    pacer.throttled(None);
    for (after_ms, interval_ms) in [
        (0, Some(200)),
        (1000, Some(200)),
        (1000, Some(170)),
        (2000, Some(122)),
        (2000, None),
    ] {
        pacer.advance(after_ms * MILLI);
        let interval = pacer.slowed_interval().map(|interval| interval.as_millis());
        assert_eq!(interval, interval_ms, "after {after_ms} ms more");
    }
    pacer.drain();
    pacer.throttled(None);
    pacer.advance(SECOND);
    pacer.throttled(None);
    assert_eq!(pacer.slowed_interval(), Some(400 * MILLI));
}

#[test]
fn requests_that_were_in_flight_do_not_extend_a_pause_unless_a_time_is_named() {
    let mut pacer = Stepped::local(10);
    assert!(pacer.throttled(None).is_some());
    pacer.advance(400 * MILLI);
    assert!(pacer.throttled(None).is_none());
    assert_eq!(pacer.pause_left(), Some(600 * MILLI));
    assert!(pacer.throttled(Some(2 * SECOND)).is_some());
    assert_eq!(pacer.pause_left(), Some(2 * SECOND));
    assert!(pacer.throttled(Some(SECOND)).is_some());
    assert_eq!(pacer.pause_left(), Some(2 * SECOND), "never shorter");
}

#[test]
fn answers_near_the_limit_do_not_prolong_a_running_pause() {
    for (reason, left) in [
        (PauseReason::NearLimit, 4 * SECOND),
        (PauseReason::NothingLeft, 5 * SECOND),
    ] {
        let mut pacer = Stepped::local(10);
        pacer.pause(5 * SECOND, reason);
        pacer.advance(SECOND);
        pacer.pause(5 * SECOND, reason);
        assert_eq!(pacer.pause_left(), Some(left), "{reason:?}");
    }
}

#[test]
fn without_a_rate_nothing_is_counted_and_each_pause_in_a_row_is_longer() {
    let mut pacer = Stepped::new(None, None, CountedBy::Local);
    for _ in 0..1000 {
        assert!(pacer.decide().unwrap().allowance.is_none());
    }
    for seconds in [1, 2, 4] {
        pacer.throttled(None);
        assert_eq!(pacer.drain(), (0, Some(seconds * SECOND)));
        pacer.advance(seconds * SECOND);
    }
    pacer.advance(4 * SECOND);
    pacer.throttled(None);
    assert_eq!(pacer.drain(), (0, Some(SECOND)), "the row has ended");
}

#[test]
fn messages_that_came_in_are_a_debt_that_is_paid_first() {
    let mut pacer = Stepped::local(10);
    pacer
        .pacer
        .charge(UnqueuedMessages::Received(15), pacer.now);
    let pause = pacer.pacer.pause_at(pacer.now).unwrap();
    assert_eq!(pause.reason, PauseReason::Overdrawn);
    assert_eq!(pacer.pause_left(), Some(500 * MILLI));
    assert_eq!(pacer.drain().0, 0);
    pacer.advance(500 * MILLI);
    assert_eq!(pacer.pause_left(), None, "over though nobody asked");
    assert_eq!(pacer.drain().0, 0);
    pacer.advance(100 * MILLI);
    assert_eq!(pacer.drain().0, 1);

    let mut flooded = Stepped::local(10);
    let flood = UnqueuedMessages::Received(1_000_000);
    flooded.pacer.charge(flood, flooded.now);
    assert_eq!(flooded.pause_left(), Some(10 * SECOND));
    let new = Some(quota(10));
    flooded.change(new, new);
    assert_eq!(flooded.pause_left(), Some(10 * SECOND), "a reload keeps it");
}
