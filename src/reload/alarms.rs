//! Alarms about secrets that grow old or near their end, and about certificates near theirs, each
//! raised once.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::Live;
use crate::audit::Audit;
use crate::credential::{Credential, Previous};
use crate::tls::Stage;
use crate::units::DAY;

/// The stage up to which each alarm was raised.
#[derive(Default)]
pub(super) struct Alarms {
    raised: HashMap<String, usize>,
}

impl Alarms {
    /// Raises the alarms of each secret that has reached a new stage since the last call.
    pub(super) fn raise(&mut self, live: &Live, audit: &Audit) {
        for (name, credential) in &live.credentials {
            for (secret, slot) in credential.slots() {
                let age = slot.current.age();
                let stage = age_stage(age, credential.max_age);
                if self.is_later_stage(format!("{name} {secret} age"), stage) {
                    log_age(name, secret, age, stage);
                    record_age(audit, name, secret, age);
                }
            }
            let left = credential
                .verification()
                .and_then(|verification| verification.ends_in());
            if let Some(left) = left
                && self.is_later_stage(format!("{name} expiry"), expiry_stage(left))
            {
                log_expiry(name, left);
                record_expiry(audit, name, left);
            }
        }
        self.raise_certificates(live, SystemTime::now());
    }

    /// Raises the alarm of each certificate of Keyside's own that is near its end, and once more
    /// past the end.
    fn raise_certificates(&mut self, live: &Live, now: SystemTime) {
        for (table, tls) in live.server_tls.each() {
            let Some(validity) = &tls.validity else {
                continue;
            };
            let stage = match validity.stage(now) {
                Stage::Early | Stage::Good => 0,
                Stage::Ending => 1,
                Stage::Expired => 2,
            };
            if self.is_later_stage(format!("{table} certificate"), stage)
                && let Some(concern) = validity.concern(now)
            {
                tracing::error!(listener = table, "{concern}");
            }
        }
    }

    /// Raises the alarms of replaced secrets whose overlap is nearly over, though they are still
    /// needed.
    pub(super) fn raise_overlaps(&mut self, live: &Live) {
        let credentials = live.credentials.iter();
        for (name, credential) in
            credentials.filter(|(_, credential)| !credential.previous().is_empty())
        {
            let concerns = overlap_concerns(live, credential);
            for concern in OVERLAP_CONCERNS {
                let is_there = concerns.contains(&concern);
                if self.is_later_stage(format!("{name} {concern}"), usize::from(is_there)) {
                    tracing::error!(credential = name, "{concern}");
                }
            }
        }
    }

    /// True if the stage is later than the last one of this subject.
    fn is_later_stage(&mut self, subject: String, stage: usize) -> bool {
        // Subjects without an alarm have no entry: most of thousands of tenants.
        let before = match stage {
            0 => self.raised.remove(&subject),
            _ => self.raised.insert(subject, stage),
        };
        before.unwrap_or_default() < stage
    }
}

/// Returns the uses of the previous secrets of a credential near the end of their overlap, each
/// with what to do.
#[must_use]
pub fn overlap_concerns(live: &Live, credential: &Credential) -> Vec<&'static str> {
    let Some(config) = live.config.credentials.get(&credential.name) else {
        return Vec::new();
    };
    let near = config.overlap.mul_f64(OVERLAP_WARNING_SHARE);
    let now = Instant::now();
    let uses = credential.previous().iter().map(|previous| PreviousUse {
        left: previous.until().saturating_duration_since(now),
        is_sent: credential.is_sent(previous),
        last_match: previous.last_match().age(),
    });
    concerns_of(uses, near)
}

/// The use of a previous secret set.
struct PreviousUse {
    /// The time until the end of the overlap.
    left: Duration,
    /// True if requests are sent with the set.
    is_sent: bool,
    /// The time since the last event that was signed with the set.
    last_match: Option<Duration>,
}

/// Returns the uses of the sets that are `near` their end, each with what to do. Each set has an
/// end of its own.
fn concerns_of(uses: impl Iterator<Item = PreviousUse>, near: Duration) -> Vec<&'static str> {
    let mut is_sent = false;
    let mut is_matched = false;
    for ending in uses.filter(|previous| previous.left <= near) {
        is_sent |= ending.is_sent;
        is_matched |= ending.last_match.is_some_and(|age| age < near);
    }
    [is_sent, is_matched]
        .into_iter()
        .zip(OVERLAP_CONCERNS)
        .filter_map(|(is_used, concern)| is_used.then_some(concern))
        .collect()
}

/// Returns the next moment at which an overlap is nearly over; `None` if there is none.
pub(super) fn next_overlap_warning(live: &Live, now: Instant) -> Option<Instant> {
    let warning = |credential: &Credential| {
        let config = live.config.credentials.get(&credential.name)?;
        let near = config.overlap.mul_f64(OVERLAP_WARNING_SHARE);
        let ends = credential.previous().iter().map(Previous::until);
        ends.filter_map(|end| end.checked_sub(near))
            .filter(|warning| *warning > now)
            .min()
    };
    let credentials = live.credentials.values();
    credentials.filter_map(|held| warning(held)).min()
}

/// Returns 0 for a young secret, 1 from [`AGE_WARNING_SHARE`] of `max_age` on, 2 past `max_age`.
fn age_stage(age: Duration, max_age: Duration) -> usize {
    usize::from(age > max_age.mul_f64(AGE_WARNING_SHARE)) + usize::from(age > max_age)
}

/// Returns the number of [`EXPIRY_DAYS`] that have begun, and one more after the end.
fn expiry_stage(left: Duration) -> usize {
    let begun = EXPIRY_DAYS
        .iter()
        .filter(|days| left < Duration::from_secs(**days * DAY))
        .count();
    begun + usize::from(left.is_zero())
}

fn log_age(credential: &str, secret: &str, age: Duration, stage: usize) {
    let days = age.as_secs() / DAY;
    if stage == 1 {
        tracing::warn!(
            credential,
            secret,
            days,
            "the secret is {days} days old and reaches max_age soon: rotate it"
        );
    } else {
        tracing::error!(
            credential,
            secret,
            days,
            "the secret is {days} days old, which is past max_age: rotate it"
        );
    }
}

fn log_expiry(credential: &str, left: Duration) {
    let days = left.as_secs() / DAY;
    if left.is_zero() {
        tracing::error!(credential, "the token has ended: replace it");
    } else if days == 0 {
        tracing::error!(credential, days, "the token ends within a day: replace it");
    } else {
        let unit = if days == 1 { "day" } else { "days" };
        tracing::error!(
            credential,
            days,
            "the token ends in {days} {unit}: replace it"
        );
    }
}

fn record_age(audit: &Audit, credential: &str, secret: &str, age: Duration) {
    let fields = [
        ("credential", credential.into()),
        ("secret", secret.into()),
        ("days", (age.as_secs() / DAY).into()),
    ];
    audit.record("old secret", fields);
}

fn record_expiry(audit: &Audit, credential: &str, left: Duration) {
    let fields = [
        ("credential", credential.into()),
        ("days_left", (left.as_secs() / DAY).into()),
    ];
    audit.record("token near its end", fields);
}

/// The share of `max_age` after which a secret is warned about: a fifth is left, 18 of 90 days.
pub const AGE_WARNING_SHARE: f64 = 0.8;
/// The uses of previous secrets near the end of their overlap, each with what to do: requests, and
/// signatures of events.
const OVERLAP_CONCERNS: [&str; 2] = [
    "the overlap of the previous secret is nearly over, and requests are still sent with it, because the provider refuses \
     the newer secret: it stays in use until a good secret is in its place",
    "the overlap of the previous secret is nearly over, and events are still signed with it: change the secret at the \
     provider, or list the previous one second in the configuration",
];
/// The share of `overlap` before its end at which a secret that is still needed is an alarm: six of
/// 24 hours.
const OVERLAP_WARNING_SHARE: f64 = 0.25;
/// The numbers of days before the end of a token at which an alarm is raised. A System User token
/// is renewed by hand, which takes a working week.
const EXPIRY_DAYS: [u64; 3] = [14, 7, 2];

#[cfg(test)]
mod tests {
    use super::*;

    fn days(days: u64) -> Duration {
        Duration::from_secs(days * DAY)
    }

    #[test]
    fn an_age_has_two_stages() {
        for (age, expected) in [(0, 0), (80, 0), (81, 1), (100, 1), (101, 2), (1000, 2)] {
            assert_eq!(age_stage(days(age), days(100)), expected, "{age} days");
        }
    }

    #[test]
    fn an_end_has_a_stage_for_each_number_of_days_and_one_when_it_is_there() {
        for (left, expected) in [(15, 0), (14, 0), (13, 1), (6, 2), (1, 3), (0, 4)] {
            assert_eq!(expiry_stage(days(left)), expected, "{left} days");
        }
    }

    /// The time left, the sending, and the last match of a set.
    type Set = (u64, bool, Option<u64>);

    #[test]
    fn each_of_the_previous_sets_is_a_concern_near_its_own_end() {
        let seconds = Duration::from_secs;
        let [sends, signs] = OVERLAP_CONCERNS;
        let cases: [(&[Set], &[&str]); 7] = [
            (&[], &[]),
            (&[(11, true, Some(1))], &[]),
            (&[(10, true, None)], &[sends]),
            (&[(10, false, Some(9))], &[signs]),
            (&[(10, false, Some(10))], &[]),
            (&[(50, false, None), (5, false, Some(1))], &[signs]),
            (&[(50, false, Some(1)), (5, true, None)], &[sends]),
        ];
        for (sets, expected) in cases {
            let uses = sets.iter().map(|&(left, is_sent, last_match)| PreviousUse {
                left: seconds(left),
                is_sent,
                last_match: last_match.map(seconds),
            });
            assert_eq!(concerns_of(uses, seconds(10)), expected, "{sets:?}");
        }
    }

    #[test]
    fn an_alarm_is_raised_once_for_each_stage_and_again_after_a_better_time() {
        let mut alarms = Alarms::default();
        let raised: Vec<_> = [0, 1, 1, 2, 0, 1]
            .iter()
            .map(|stage| alarms.is_later_stage("acme token age".to_owned(), *stage))
            .collect();
        assert_eq!(raised, [false, true, false, true, false, true]);
    }
}
