//! The faults of a route in words, which the status, `/readyz` and `keyside explain` share.

use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::Instant;

use super::failure::Failure;
use super::track::{Streak, TrackReport};
use super::{Restriction, TrafficReport};
use crate::log::without_numbers;

/// A problem that traffic shows, with the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrafficProblem(pub String);

impl TrafficReport {
    /// Returns the problems at a moment, given as the same time by two clocks.
    #[must_use]
    pub fn problems(&self, now: Instant, clock: SystemTime) -> Vec<TrafficProblem> {
        let at = |moment: Instant| moment_text(clock, now.saturating_duration_since(moment));
        let restrictions = self.restrictions.iter().map(|restriction| {
            let since = at(restriction.since);
            TrafficProblem(restriction_text(restriction, &since))
        });
        let is_restricted = !self.restrictions.is_empty();
        let tracks = [("send", &self.sends), ("request", &self.others)];
        let streaks = tracks.into_iter().filter_map(|(noun, track)| {
            let streak = wrong(track, now)?;
            let is_known = is_restricted
                && self
                    .restrictions
                    .iter()
                    .any(|restriction| restriction.failure.code == streak.failure.code);
            (!is_known).then(|| TrafficProblem(streak_text(noun, streak, &at(streak.since))))
        });
        restrictions.chain(streaks).collect()
    }
}

/// Returns the problem that the failures of a track are at a moment, given as the same time by two
/// clocks.
pub(super) fn streak_problem(
    noun: &str,
    track: &TrackReport,
    now: Instant,
    clock: SystemTime,
) -> Option<TrafficProblem> {
    let streak = wrong(track, now)?;
    let since = moment_text(clock, now.saturating_duration_since(streak.since));
    Some(TrafficProblem(streak_text(noun, streak, &since)))
}

/// Returns the failures of a track, if they are recent and mean more than trouble with single
/// requests.
fn wrong(track: &TrackReport, now: Instant) -> Option<&Streak> {
    let streak = track.streak.as_ref()?;
    let is_recent = now.saturating_duration_since(streak.last) < RECENT;
    (is_recent && streak.count >= streak.failure.class.tolerated()).then_some(streak)
}

fn restriction_text(restriction: &Restriction, since: &str) -> String {
    let Restriction {
        sender,
        failure,
        count,
        ..
    } = restriction;
    let subject = if sender.is_empty() {
        String::new()
    } else {
        format!(" for sender {}", without_numbers(sender))
    };
    let times = counted(*count, "refusal");
    format!(
        "the provider restricts sending{subject} since {since} ({times}), until a message passes: {}",
        explained(failure)
    )
}

fn streak_text(noun: &str, streak: &Streak, since: &str) -> String {
    let failed = counted(streak.count, noun);
    format!(
        "{failed} failed since {since}, and none succeeded: {}",
        explained(&streak.failure)
    )
}

/// Returns the reason with the provider's code, and the remedy.
fn explained(failure: &Failure) -> String {
    let mut text = failure.reason.clone();
    if let Some(code) = &failure.code {
        let subcode = failure.subcode.iter().fold(String::new(), |text, subcode| {
            text + &format!(", subcode {subcode}")
        });
        let trace = failure.trace.iter().fold(String::new(), |text, trace| {
            text + &format!(", trace {trace}")
        });
        text += &format!(" (code {code}{subcode}{trace})");
    }
    if !failure.advice.is_empty() {
        text += &format!("; {}", failure.advice);
    }
    text
}

fn counted(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// Returns the time of day in UTC of a moment some time before `clock`.
fn moment_text(clock: SystemTime, ago: Duration) -> String {
    let moment = clock.checked_sub(ago).unwrap_or(clock);
    let moment = OffsetDateTime::from(moment);
    let whole = moment.replace_nanosecond(0).unwrap_or(moment);
    whole.format(&Rfc3339).unwrap_or_default()
}

/// The time for which failures without a success count: what happened before tells little about
/// now.
const RECENT: Duration = Duration::from_secs(3600);
