//! The schedule of warm connections: when a connection is opened ahead of use, and when nobody
//! needs to look.

use std::time::Duration;

use tokio::time::Instant;

/// The state of the connections to one upstream, as a schedule sees them.
#[derive(Debug)]
pub(super) struct PoolView {
    /// The number of idle connections to keep ready.
    pub(super) wanted: usize,
    /// The time of the last exchange.
    pub(super) last_use: Option<Instant>,
    /// The number of connections that are in an exchange or being opened.
    pub(super) at_work: usize,
    /// The time at which each idle connection needs a successor, somewhat before it is too old.
    pub(super) renewals: Vec<Instant>,
}

/// The next step of the keeper of warm connections.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum WarmStep {
    /// Waits until the upstream is used: it was not used for long, or no connection is wanted.
    Rest,
    /// Waits until this time, whatever is sent meanwhile.
    Pause(Instant),
    /// Waits until this time, until a connection closes, or until the upstream is used.
    Watch(Instant),
    /// Opens so many connections.
    Open(usize),
}

/// The memory of a keeper between two steps.
#[derive(Debug)]
pub(super) struct Schedule {
    /// The rounds of opening that may follow each other at once.
    tokens: f64,
    counted: Instant,
    /// The rounds that failed since the last success or use.
    failures: u32,
    not_before: Option<Instant>,
    last_use: Option<Instant>,
}

impl Schedule {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            tokens: MAX_ROUNDS,
            counted: now,
            failures: 0,
            not_before: None,
            last_use: None,
        }
    }

    /// Decides the next step. A step [`WarmStep::Open`] uses up a round.
    pub(super) fn next(&mut self, view: &PoolView, now: Instant) -> WarmStep {
        let Some(used) = view.last_use else {
            return WarmStep::Rest;
        };
        if self.last_use.replace(used) != Some(used) {
            self.failures = 0;
            self.not_before = None;
        }
        if view.at_work > 0 {
            return WarmStep::Pause(now + QUIET);
        }
        if now < used + QUIET {
            return WarmStep::Pause(used + QUIET);
        }
        let end_of_use = used + IN_USE;
        if view.wanted == 0 || now >= end_of_use {
            return WarmStep::Rest;
        }
        let mut renewals: Vec<_> = view
            .renewals
            .iter()
            .copied()
            .filter(|renewal| *renewal > now)
            .collect();
        renewals.sort_unstable();
        let ready = renewals.len();
        if let Some(first) = ready.checked_sub(view.wanted) {
            let renewal = renewals.get(first).copied().unwrap_or(end_of_use);
            return WarmStep::Watch(renewal.min(end_of_use));
        }
        if let Some(later) = self.not_before.filter(|later| *later > now) {
            return WarmStep::Watch(later.min(end_of_use));
        }
        match self.take_round(now) {
            Ok(()) => WarmStep::Open(view.wanted - ready),
            Err(later) => WarmStep::Watch(later.min(end_of_use)),
        }
    }

    /// Notes that connections were opened.
    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
        self.not_before = None;
    }

    /// Notes that no connection could be opened: the next try comes after a growing pause.
    pub(super) fn failed(&mut self, now: Instant) {
        let pause = FIRST_PAUSE * 2_u32.saturating_pow(self.failures.min(10));
        self.not_before = Some(now + pause.min(MAX_PAUSE));
        self.failures = self.failures.saturating_add(1);
    }

    /// Takes a round of opening.
    ///
    /// # Errors
    /// The time of the next round, if too many rounds followed each other.
    fn take_round(&mut self, now: Instant) -> Result<(), Instant> {
        let since = now.saturating_duration_since(self.counted);
        self.tokens = (self.tokens + since.as_secs_f64() / ROUND.as_secs_f64()).min(MAX_ROUNDS);
        self.counted = now;
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        // A further millisecond, because rounding must leave a whole round.
        Err(now + ROUND.mul_f64(1.0 - self.tokens) + Duration::from_millis(1))
    }
}

/// The time since the last exchange after which the keeper looks: a burst opens its own
/// connections.
pub(super) const QUIET: Duration = Duration::from_secs(1);
/// The time for which an upstream counts as in use after an exchange: after an hour of silence,
/// nobody waits for the next message.
const IN_USE: Duration = Duration::from_secs(3600);
/// The rounds of opening that may follow each other at once: a provider that restarts its servers
/// one by one may close several connections in a row. A server that closes every idle connection
/// within seconds gets a round in each [`ROUND`] afterwards.
const MAX_ROUNDS: f64 = 10.0;
/// The time that makes up for a round. Connections that live as long as Keyside lets them need a
/// round each 18 s.
const ROUND: Duration = Duration::from_secs(10);
/// The pause after the first failure: a request within the pause makes its own dial.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// The longest pause after failures: a provider that is down for long is dialled by requests
/// anyway.
const MAX_PAUSE: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn the_next_step_follows_from_use_and_from_the_age_of_connections() {
        use WarmStep::{Open, Pause, Rest, Watch};
        let start = Instant::now();
        let at = |second: u32| start + S * second;
        // Wanted; last use; at work; renewals of idle connections; now: all in seconds from the
        // start.
        for (wanted, used, at_work, renewals, now, expected) in [
            (1, None, 0, &[][..], 0, Rest),
            (1, Some(0), 0, &[20], 0, Pause(at(1))),
            (1, Some(0), 1, &[], 5, Pause(at(6))),
            (0, Some(0), 0, &[20], 0, Pause(at(1))),
            (0, Some(0), 0, &[20], 1, Rest),
            (1, Some(0), 0, &[18], 1, Watch(at(18))),
            (1, Some(0), 0, &[], 1, Open(1)),
            (1, Some(0), 0, &[18], 17, Watch(at(18))),
            (1, Some(0), 0, &[18], 18, Open(1)),
            (2, Some(0), 0, &[18], 1, Open(1)),
            (2, Some(0), 0, &[10, 18], 1, Watch(at(10))),
            (1, Some(0), 0, &[10, 18], 1, Watch(at(18))),
            (1, Some(0), 0, &[18, 10], 1, Watch(at(18))),
            (1, Some(0), 0, &[3610], 3595, Watch(at(3600))),
            (1, Some(0), 0, &[], 3599, Open(1)),
            (1, Some(0), 0, &[], 3600, Rest),
        ] {
            let view = PoolView {
                wanted,
                last_use: used.map(at),
                at_work,
                renewals: renewals.iter().copied().map(at).collect(),
            };
            let step = Schedule::new(start).next(&view, at(now));
            assert_eq!(step, expected, "{view:?} at {now}");
        }
    }

    /// The seconds at which connections are opened within `time` after a message, to a server that
    /// closes each idle connection after `life`.
    fn openings(life: Duration, time: Duration) -> Vec<u64> {
        let start = Instant::now();
        let mut schedule = Schedule::new(start);
        let (mut now, mut end) = (start, start + life);
        let mut opened = Vec::new();
        while now < start + time {
            let view = PoolView {
                wanted: 1,
                last_use: Some(start),
                at_work: 0,
                renewals: (end > now)
                    .then_some(end - life + S * 18)
                    .into_iter()
                    .collect(),
            };
            match schedule.next(&view, now) {
                WarmStep::Open(1) => {
                    opened.push((now - start).as_secs());
                    end = now + life;
                }
                WarmStep::Watch(until) => now = if end > now { until.min(end) } else { until },
                WarmStep::Pause(until) => now = until,
                other => unreachable!("{other:?}"),
            }
        }
        opened
    }

    #[test]
    fn a_connection_is_renewed_before_it_is_too_old_and_a_server_that_closes_soon_is_not_pestered()
    {
        assert_eq!(openings(S * 60, S * 60), [18, 36, 54]);
        assert_eq!(openings(S * 600, S * 3600).len(), 199);
        let hasty = openings(S, S * 3600);
        assert_eq!(hasty.get(..6), Some(&[1, 2, 3, 4, 5, 6][..]), "{hasty:?}");
        assert!(hasty.len() <= 375, "{}", hasty.len());
    }

    #[test]
    fn failures_make_pauses_that_grow_and_that_a_use_ends() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start);
        let view = |used: Instant| PoolView {
            wanted: 1,
            last_use: Some(used),
            at_work: 0,
            renewals: Vec::new(),
        };
        let mut now = start + S;
        let mut pauses = Vec::new();
        for _ in 0..8 {
            assert_eq!(schedule.next(&view(start), now), WarmStep::Open(1));
            schedule.failed(now);
            let WarmStep::Watch(until) = schedule.next(&view(start), now) else {
                unreachable!("a failure is followed by a pause");
            };
            pauses.push((until - now).as_secs());
            now = until;
        }
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 300, 300]);
        schedule.failed(now);
        assert_eq!(schedule.next(&view(now), now + S), WarmStep::Open(1));
    }
}
