//! The verdict on the clock of this machine, by the `Date` of an answer.

use std::time::{Duration, SystemTime};

use super::step::DoctorStep;

/// Returns the verdict. `date` is the time of the answer by the other side, `now` the time of this
/// machine, and `took` the time of the exchange: the answer was made at some moment of it, and has
/// whole seconds.
pub(super) fn verdict(date: Option<SystemTime>, now: SystemTime, took: Duration) -> DoctorStep {
    let Some(date) = date else {
        return DoctorStep::skipped("clock", "the answer has no `Date`");
    };
    let (apart, direction) = match now.duration_since(date) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    };
    let apart = apart.saturating_sub(took + GRAIN);
    let found = format!(
        "this machine is {} s {direction} the other side",
        apart.as_secs()
    );
    let mend = "set the clock, and keep it with NTP: signatures of webhooks, proofs and tokens have an age";
    match apart {
        apart if apart > FAIL => DoctorStep::fail("clock", found, mend),
        apart if apart > WARN => DoctorStep::warn("clock", found, mend),
        _ => DoctorStep::ok("clock", "this machine and the other side agree"),
    }
}

/// The resolution of a `Date` header: a whole second.
const GRAIN: Duration = Duration::from_secs(1);
/// The difference past which a clock deserves a look: a clock that NTP keeps is right within a
/// second, so it is not kept.
const WARN: Duration = Duration::from_secs(30);
/// The difference past which signed times are refused: Meta's proofs and most signatures live 5
/// minutes.
const FAIL: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::super::step::StepOutcome;
    use super::*;

    #[test]
    fn a_clock_is_wrong_past_the_age_of_signatures() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        for (seconds, took, outcome, words) in [
            (0, 0, StepOutcome::Ok, "agree"),
            (31, 0, StepOutcome::Ok, "agree"),
            (-31, 0, StepOutcome::Ok, "agree"),
            (33, 0, StepOutcome::Warn, "32 s behind"),
            (-33, 0, StepOutcome::Warn, "32 s ahead of"),
            (33, 5, StepOutcome::Ok, "agree"),
            (400, 0, StepOutcome::Fail, "399 s behind"),
            (-400, 2, StepOutcome::Fail, "397 s ahead of"),
        ] {
            let apart = Duration::from_secs(i64::unsigned_abs(seconds));
            let date = if seconds > 0 {
                now + apart
            } else {
                now - apart
            };
            let step = verdict(Some(date), now, Duration::from_secs(took));
            assert_eq!(step.outcome, outcome, "{seconds} {step:?}");
            assert!(step.found.contains(words), "{seconds} {step:?}");
        }
        assert_eq!(
            verdict(None, now, Duration::ZERO).outcome,
            StepOutcome::Skipped
        );
    }
}
