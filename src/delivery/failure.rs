//! Failures of deliveries, for the health of a destination.

use http::StatusCode;

use crate::spool::{AttemptOutcome, StreamAnswer};
use crate::traffic::{Failure, FailureClass};
use crate::upstream::UpstreamError;

/// Returns the failure that the status of an application at `place` is; `None` for a success.
pub(super) fn of_status(place: &str, status: StatusCode) -> Option<Failure> {
    let reason = format!("{place} answers with status {}", status.as_u16());
    let (class, advice) = judged(status.as_u16())?;
    Some(failure(class, status.as_u16(), reason, advice))
}

/// Returns the failure of an attempt without an answer; `None` where Keyside itself is at fault.
pub(super) fn of_error(place: &str, error: &UpstreamError) -> Option<Failure> {
    let (class, reason, advice) = match error {
        UpstreamError::NoPlace | UpstreamError::MalformedRequest => return None,
        UpstreamError::Unreachable(cause) => (
            FailureClass::Unreachable,
            format!("{place} cannot be reached: {cause}"),
            UNREACHABLE,
        ),
        UpstreamError::Tls(cause) => (
            FailureClass::Tls,
            format!("no TLS with {place}: {cause}"),
            "look at the certificate of the application",
        ),
        UpstreamError::TimedOut { .. } => (
            FailureClass::Timeout,
            format!("{place} did not answer in time"),
            TIMED_OUT,
        ),
        error => (
            FailureClass::Protocol,
            format!("{place} gave no whole answer: {error}"),
            OWN_LOG,
        ),
    };
    Some(failure(class, 0, reason, advice))
}

/// Returns the failure that the outcome of an attempt from the spool is; `None` for a success.
pub(super) fn of_outcome(outcome: AttemptOutcome) -> Option<Failure> {
    let (class, status, advice) = match outcome {
        AttemptOutcome::Answered { status, .. } => {
            let (class, advice) = judged(status)?;
            (class, status, advice)
        }
        AttemptOutcome::Unreachable => (FailureClass::Unreachable, 0, UNREACHABLE),
        AttemptOutcome::Interrupted => (FailureClass::Protocol, 0, OWN_LOG),
        AttemptOutcome::TimedOut => (FailureClass::Timeout, 0, TIMED_OUT),
        AttemptOutcome::Published(StreamAnswer::Taken) => return None,
        AttemptOutcome::Published(StreamAnswer::Full | StreamAnswer::Unready) => {
            (FailureClass::Temporary, 0, "")
        }
        AttemptOutcome::Published(StreamAnswer::Denied | StreamAnswer::Missing) => {
            (FailureClass::Refused, 0, "")
        }
        AttemptOutcome::Published(_) => (FailureClass::Other, 0, ""),
    };
    Some(failure(class, status, outcome.to_string(), advice))
}

/// Returns the class of a status with the remedy; `None` for a success.
fn judged(status: u16) -> Option<(FailureClass, &'static str)> {
    Some(match status {
        200..300 => return None,
        401 | 403 | 404 => (
            FailureClass::Refused,
            "look at the path of `forward`, and at what the application asks of its callers",
        ),
        429 => (FailureClass::Throttled, OWN_LOG),
        500.. => (FailureClass::Temporary, OWN_LOG),
        _ => (FailureClass::Other, OWN_LOG),
    })
}

fn failure(class: FailureClass, status: u16, reason: String, advice: &str) -> Failure {
    Failure {
        class,
        status,
        code: None,
        subcode: None,
        trace: None,
        reason,
        advice: advice.to_owned(),
    }
}

const UNREACHABLE: &str = "start the application, or mend the address in `forward`";
const TIMED_OUT: &str = "see what holds the application up, or raise `timeout` of the webhook";
const OWN_LOG: &str = "the log of the application tells more";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_has_its_class_and_names_the_place_and_the_remedy() {
        let of_status = |status| of_status("shop:3000", StatusCode::from_u16(status).unwrap());
        assert_eq!(of_status(204), None);
        for (status, class) in [
            (302, FailureClass::Other),
            (400, FailureClass::Other),
            (404, FailureClass::Refused),
            (429, FailureClass::Throttled),
            (503, FailureClass::Temporary),
        ] {
            let failure = of_status(status).unwrap();
            assert_eq!(failure.class, class, "{status}");
            assert_eq!(
                failure.reason,
                format!("shop:3000 answers with status {status}")
            );
        }
        let error = UpstreamError::Unreachable("Connection refused".to_owned());
        let failure = of_error("shop:3000", &error).unwrap();
        assert_eq!(
            failure.reason,
            "shop:3000 cannot be reached: Connection refused"
        );
        assert!(failure.advice.contains("start the application"));
        assert_eq!(of_error("shop:3000", &UpstreamError::NoPlace), None);
    }

    #[test]
    fn each_outcome_from_the_spool_has_its_class() {
        let answered = |status| AttemptOutcome::Answered {
            status,
            retry_after: None,
        };
        for (outcome, class) in [
            (answered(200), None),
            (answered(500), Some(FailureClass::Temporary)),
            (AttemptOutcome::Unreachable, Some(FailureClass::Unreachable)),
            (AttemptOutcome::Interrupted, Some(FailureClass::Protocol)),
            (AttemptOutcome::TimedOut, Some(FailureClass::Timeout)),
            (AttemptOutcome::Published(StreamAnswer::Taken), None),
            (
                AttemptOutcome::Published(StreamAnswer::Full),
                Some(FailureClass::Temporary),
            ),
            (
                AttemptOutcome::Published(StreamAnswer::Denied),
                Some(FailureClass::Refused),
            ),
            (
                AttemptOutcome::Published(StreamAnswer::TooLarge),
                Some(FailureClass::Other),
            ),
        ] {
            let found = of_outcome(outcome).map(|failure| failure.class);
            assert_eq!(found, class, "{outcome}");
        }
    }
}
