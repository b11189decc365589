//! The health of a route or of a destination, from its traffic: the last success, later failures
//! with the reason, and restrictions of the account. A route whose every send fails is not healthy,
//! however good the credential is.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

mod destination;
mod failure;
mod history;
mod hour;
mod problem;
mod spread;
mod track;

pub use destination::DestinationTraffic;
pub use failure::{Failure, FailureClass};
pub use history::{History, MINUTES, Minute, Outcome};
pub use problem::TrafficProblem;
pub use track::{Streak, TrackReport};

use track::Track;

/// The traffic of one route, kept over reloads. Nothing is stored before the first request.
#[derive(Debug, Default)]
pub struct RouteTraffic {
    state: Mutex<Option<Box<TrafficState>>>,
    /// The last hour for plots.
    pub history: History,
}

/// The purpose of a request, for the health of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrafficKind {
    /// A message.
    Sends,
    /// Any other request: a route that can still read may be locked for sending.
    Others,
}

#[derive(Debug)]
struct TrafficState {
    sends: Track,
    others: Track,
    restrictions: Vec<Restriction>,
    successes: Successes,
}

/// A refusal by the provider's policy, which holds for one sender until a message of the sender
/// passes.
#[derive(Clone, Debug)]
pub struct Restriction {
    /// The sender; empty for requests that name none.
    pub sender: String,
    /// The provider's last refusal.
    pub failure: Failure,
    /// The time of the first refusal.
    pub since: Instant,
    /// The number of refusals.
    pub count: u64,
}

/// The news of a success.
#[derive(Debug, Default)]
pub struct Recovery {
    /// The ended failures, if the log has told of one.
    pub streak: Option<Streak>,
    /// The restriction that ended.
    pub restriction: Option<Restriction>,
    /// True for the first success of all.
    pub is_first: bool,
}

/// Failures of one kind, for a log line.
#[derive(Clone, Debug)]
pub struct Burst {
    /// The last failure.
    pub failure: Failure,
    /// The number of failures since the line before.
    pub count: u64,
}

/// Failures that no log line has told of for a minute.
#[derive(Debug, Default)]
pub struct FailureSummary {
    /// The failures, by kind.
    pub bursts: Vec<Burst>,
    /// The ended failures.
    pub ended: Vec<Streak>,
}

/// The state of a route's traffic at a moment.
#[derive(Clone, Debug)]
pub struct TrafficReport {
    /// Messages.
    pub sends: TrackReport,
    /// Other requests.
    pub others: TrackReport,
    /// The restrictions that hold.
    pub restrictions: Vec<Restriction>,
}

impl RouteTraffic {
    /// Notes a success of a request of `sender`.
    pub fn succeeded(&self, kind: TrafficKind, sender: &str, now: Instant) -> Recovery {
        let mut state = self.state.lock();
        let state = state.get_or_insert_with(|| Box::new(TrafficState::new(now)));
        let streak = state.track(kind).succeeded(now);
        // The provider answers again, whatever the request was for.
        let other = match kind {
            TrafficKind::Sends => TrafficKind::Others,
            TrafficKind::Others => TrafficKind::Sends,
        };
        let reached = state.track(other).reached();
        let restricted = state
            .restrictions
            .iter()
            .position(|restriction| restriction.sender == sender)
            .filter(|_| kind == TrafficKind::Sends);
        Recovery {
            streak: streak.or(reached),
            restriction: restricted.map(|place| state.restrictions.swap_remove(place)),
            is_first: state.successes.note(now),
        }
    }

    /// Notes a failure of a request of `sender`. Returns what to log now, if anything.
    pub fn failed(
        &self,
        kind: TrafficKind,
        sender: &str,
        failure: &Failure,
        now: Instant,
    ) -> Option<Burst> {
        let mut state = self.state.lock();
        let state = state.get_or_insert_with(|| Box::new(TrafficState::new(now)));
        if failure.class == FailureClass::Policy && kind == TrafficKind::Sends {
            state.restrict(sender, failure, now);
        }
        state.track(kind).failed(failure, now)
    }

    /// Returns the failures that no log line has told of for a minute.
    pub fn sum_up(&self, now: Instant) -> FailureSummary {
        let mut state = self.state.lock();
        let tracks = state
            .iter_mut()
            .flat_map(|state| [&mut state.sends, &mut state.others]);
        let mut summary = FailureSummary::default();
        for track in tracks {
            let (bursts, ended) = track.sum_up(now);
            summary.bursts.extend(bursts);
            summary.ended.extend(ended);
        }
        summary
    }

    /// Returns the number of successes that no log line has told of, if the line before is a minute
    /// old.
    pub fn sum_up_successes(&self, now: Instant) -> Option<u64> {
        self.state.lock().as_mut()?.successes.sum_up(now)
    }

    /// Returns the state at a moment; `None` before the first request.
    #[must_use]
    pub fn report(&self, now: Instant) -> Option<TrafficReport> {
        let state = self.state.lock();
        let state = state.as_ref()?;
        Some(TrafficReport {
            sends: state.sends.report(now),
            others: state.others.report(now),
            restrictions: state.restrictions.clone(),
        })
    }
}

impl TrafficState {
    fn new(now: Instant) -> Self {
        Self {
            sends: Track::new(now),
            others: Track::new(now),
            restrictions: Vec::new(),
            successes: Successes::default(),
        }
    }

    fn track(&mut self, kind: TrafficKind) -> &mut Track {
        match kind {
            TrafficKind::Sends => &mut self.sends,
            TrafficKind::Others => &mut self.others,
        }
    }

    fn restrict(&mut self, sender: &str, failure: &Failure, now: Instant) {
        let mut known = self.restrictions.iter_mut();
        if let Some(known) = known.find(|restriction| restriction.sender == sender) {
            known.failure = failure.clone();
            known.count += 1;
        } else if self.restrictions.len() < MAX_RESTRICTIONS {
            self.restrictions.push(Restriction {
                sender: sender.to_owned(),
                failure: failure.clone(),
                since: now,
                count: 1,
            });
        }
    }
}

impl TrafficReport {
    /// Returns the last success of a message; of any other request, if no message was sent.
    #[must_use]
    pub fn last_success(&self) -> Option<Instant> {
        self.sends.last_success.or_else(|| {
            let is_unused = self.sends.streak.is_none();
            self.others.last_success.filter(|_| is_unused)
        })
    }
}

/// The successes since the log line about successes, for a person who watches the log.
#[derive(Debug, Default)]
struct Successes {
    /// The time of the line.
    told: Option<Instant>,
    untold: u64,
}

impl Successes {
    /// Notes a success. Returns true for the first one, which the log tells of at once.
    fn note(&mut self, now: Instant) -> bool {
        if self.told.is_none() {
            self.told = Some(now);
            return true;
        }
        self.untold += 1;
        false
    }

    fn sum_up(&mut self, now: Instant) -> Option<u64> {
        let age = now.saturating_duration_since(self.told?);
        if self.untold == 0 || age < SUMMARY_INTERVAL {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

/// The senders of a route whose restrictions are remembered: with more, the account itself is the
/// matter.
const MAX_RESTRICTIONS: usize = 32;
/// The time between two log lines about failures of one kind: a minute, as for each summary in the
/// log.
const SUMMARY_INTERVAL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
