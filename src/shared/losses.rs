//! The losses of the shared server: how soon to connect again, and what to tell of them.

use std::time::Duration;

use tokio::time::Instant;

/// The losses that each came soon after the connection was made, one after the other.
#[derive(Default)]
pub(super) struct EarlyLosses {
    count: u32,
    /// The reason of the last one.
    problem: String,
}

impl EarlyLosses {
    /// Takes note of the loss of a connection that `lived` so long.
    pub(super) fn note(&mut self, lived: Duration, problem: &str) {
        self.count = if lived < STEADY { self.count + 1 } else { 0 };
        problem.clone_into(&mut self.problem);
    }

    /// Returns the time to leave before the next connection: none after a connection that lasted,
    /// and twice as long after each that did not.
    pub(super) fn reconnect_delay(&self) -> Duration {
        match self.count {
            0 => Duration::ZERO,
            count => RECONNECT_INTERVAL
                .saturating_mul(2_u32.saturating_pow(count))
                .min(MAX_RECONNECT_DELAY),
        }
    }

    /// Returns the reason of the last loss, while a server that has been up for `since` comes and
    /// goes: from the second early loss on, until the connection lasts.
    pub(super) fn shown_while_up(&self, since: Duration) -> Option<String> {
        self.problem_within(since, STEADY)
    }

    /// Returns the reason of the last loss, while a server that has been down for `since` comes and
    /// goes: from the second early loss on, until the server is down for a while.
    pub(super) fn shown_while_down(&self, since: Duration) -> Option<String> {
        self.problem_within(since, MAX_AWAY)
    }

    fn problem_within(&self, since: Duration, unsettled: Duration) -> Option<String> {
        (self.count > 1 && since < unsettled).then(|| self.problem.clone())
    }
}

/// Takes the told loss away once the connection that was made at `connected` has lasted, and
/// returns the time between the two. A connection that comes and goes is no end: the log would
/// tell more ends than losses.
pub(super) fn end_of_told_loss(
    told: &mut Option<Instant>,
    connected: Instant,
    now: Instant,
) -> Option<Duration> {
    let lost = told.take_if(|_| now.saturating_duration_since(connected) >= STEADY)?;
    Some(connected.saturating_duration_since(lost))
}

/// The time between two attempts to connect: a server that was restarted is back in use before a
/// request has waited long.
pub(super) const RECONNECT_INTERVAL: Duration = Duration::from_millis(100);
/// The longest delay between a loss and the next attempt to connect. A server that accepts and
/// loses connections gets one login in three seconds from each sidecar, and is in use within three
/// seconds of its recovery.
const MAX_RECONNECT_DELAY: Duration = Duration::from_secs(3);
/// The age of a connection whose loss has nothing to do with the loss before: longer than the
/// attempts of a whole incident.
const STEADY: Duration = Duration::from_secs(3);
/// A server that is away for longer is down: the longest delay, and a few attempts to connect.
const MAX_AWAY: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_told_loss_is_told_once_the_connection_lasts() {
        let lost = Instant::now();
        let connected = lost + Duration::from_secs(7);
        for (told, lasted, end) in [
            (None, STEADY, None),
            (Some(lost), Duration::ZERO, None),
            (Some(lost), STEADY / 2, None),
            (Some(lost), STEADY, Some(Duration::from_secs(7))),
        ] {
            let mut open = told;
            let now = connected + lasted;
            assert_eq!(end_of_told_loss(&mut open, connected, now), end);
            assert_eq!(open, told.filter(|_| end.is_none()), "told once");
        }
    }

    #[test]
    fn a_server_that_comes_and_goes_is_asked_less_and_less() {
        let (short, long) = (Duration::from_millis(100), STEADY);
        for (lives, delay_ms, is_shown) in [
            (&[][..], 0, false),
            (&[long], 0, false),
            (&[short], 200, false),
            (&[short, short], 400, true),
            (&[short; 4], 1600, true),
            (&[short; 50], 3000, true),
            (&[short, short, long], 0, false),
            (&[long, short, short], 400, true),
        ] {
            let mut early = EarlyLosses::default();
            for lived in lives {
                early.note(*lived, "no answer");
            }
            assert_eq!(
                early.reconnect_delay(),
                Duration::from_millis(delay_ms),
                "{lives:?}"
            );
            for shown in [
                early.shown_while_up(short),
                early.shown_while_down(short),
                early.shown_while_down(long),
            ] {
                assert_eq!(
                    shown.as_deref(),
                    is_shown.then_some("no answer"),
                    "{lives:?}"
                );
            }
            assert_eq!(early.shown_while_up(long), None, "{lives:?}");
            assert_eq!(early.shown_while_down(MAX_AWAY), None, "{lives:?}");
        }
    }
}
