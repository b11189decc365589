//! Failures of deliveries, for the health of a destination.

use http::StatusCode;

use crate::spool::{AttemptOutcome, StreamAnswer};
use crate::traffic::{Failure, FailureClass};
use crate::upstream::UpstreamError;

/// Returns the failure that the status of an application at `place` is; `None` for a success.
pub(super) fn of_status(place: &str, status: StatusCode) -> Option<Failure> {
    let (class, advice) = judged(status.as_u16())?;
    let reason = format!("{place} answers with status {}", status.as_u16());
    Some(failure(class, status.as_u16(), reason, advice))
}

/// Returns the failure of an attempt without an answer; `None` where Keyside itself is at fault.
pub(super) fn of_error(place: &str, error: &UpstreamError) -> Option<Failure> {
    let (class, reason, advice) = match error {
        UpstreamError::NoPlace => return None,
        UpstreamError::MalformedRequest => (
            FailureClass::Other,
            format!("the event cannot be sent to {place}"),
            "the event has a line break in its query or a header",
        ),
        UpstreamError::Unreachable(cause) => (
            FailureClass::Unreachable,
            format!("{place} cannot be reached: {cause}"),
            UNREACHABLE,
        ),
        UpstreamError::Proxy(cause) => (
            FailureClass::Unreachable,
            format!("{place} cannot be reached: {cause}"),
            "see `[egress]`: `no_proxy` names hosts that are reached directly",
        ),
        UpstreamError::Tls(cause) => (
            FailureClass::Tls,
            format!("no TLS with {place}: {cause}"),
            "look at the certificate of the application, or write http:// in `forward` if it speaks no TLS",
        ),
        UpstreamError::TimedOut { written: false, .. } => (
            FailureClass::Timeout,
            format!("{place} gave no connection in time"),
            "see that the application listens there, and speaks TLS if `forward` says https://",
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

/// Returns the failure in the outcome of publishing to `place`; `None` for a success. `cause` is
/// the message server's, if any.
pub(super) fn of_published(
    place: &str,
    outcome: AttemptOutcome,
    cause: Option<&str>,
) -> Option<Failure> {
    let cause = cause.unwrap_or("no connection");
    let (class, reason, advice) = match outcome {
        AttemptOutcome::Published(StreamAnswer::Taken) => return None,
        AttemptOutcome::Unreachable => (
            FailureClass::Unreachable,
            format!("the server of {place} cannot be reached: {cause}"),
            SERVER,
        ),
        AttemptOutcome::TimedOut => (
            FailureClass::Timeout,
            format!("the server of {place} did not answer in time"),
            SERVER,
        ),
        AttemptOutcome::Interrupted | AttemptOutcome::Answered { .. } => (
            FailureClass::Protocol,
            format!("the server of {place} gave no answer: {cause}"),
            SERVER,
        ),
        AttemptOutcome::Published(answer) => (of_answer(answer), format!("{place}: {answer}"), ""),
    };
    Some(failure(class, 0, reason, advice))
}

fn of_answer(answer: StreamAnswer) -> FailureClass {
    match answer {
        StreamAnswer::Full | StreamAnswer::Unready => FailureClass::Temporary,
        StreamAnswer::Denied | StreamAnswer::NoDatabase | StreamAnswer::Missing => {
            FailureClass::Refused
        }
        _ => FailureClass::Other,
    }
}

/// Returns the text of a failure for people: the reason, then the remedy.
pub(super) fn told(failure: &Failure) -> String {
    match failure.advice.as_str() {
        "" => failure.reason.clone(),
        advice => format!("{}; {advice}", failure.reason),
    }
}

/// Returns the class of a status with the remedy; `None` for a success.
fn judged(status: u16) -> Option<(FailureClass, &'static str)> {
    Some(match status {
        200..300 => return None,
        401 | 403 | 407 => (
            FailureClass::Refused,
            "mend the secret that the application expects (`sign`) or its access rules",
        ),
        404 => (
            FailureClass::Refused,
            "mend the path in `forward`, or the application",
        ),
        300..=399 => (
            FailureClass::Other,
            "name the address that it redirects to in `forward`",
        ),
        405 | 410 | 421 => (
            FailureClass::Other,
            "mend the path in `forward`, or the application",
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
const SERVER: &str = "start the message server, or mend its URL in `server`";

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
        for (written, reason) in [
            (false, "shop:3000 gave no connection in time"),
            (true, "shop:3000 did not answer in time"),
        ] {
            let what = "answering";
            let error = UpstreamError::TimedOut { what, written };
            assert_eq!(of_error("shop:3000", &error).unwrap().reason, reason);
        }
        assert_eq!(of_error("shop:3000", &UpstreamError::NoPlace), None);
    }

    #[test]
    fn each_failure_of_a_stream_has_its_class_and_names_the_stream() {
        for (outcome, class, reason) in [
            (
                AttemptOutcome::Unreachable,
                FailureClass::Unreachable,
                "the server of nats:orders cannot be reached: refused",
            ),
            (
                AttemptOutcome::Interrupted,
                FailureClass::Protocol,
                "the server of nats:orders gave no answer: refused",
            ),
            (
                AttemptOutcome::TimedOut,
                FailureClass::Timeout,
                "the server of nats:orders did not answer in time",
            ),
            (
                AttemptOutcome::Published(StreamAnswer::Full),
                FailureClass::Temporary,
                "nats:orders: the stream is full",
            ),
            (
                AttemptOutcome::Published(StreamAnswer::Denied),
                FailureClass::Refused,
                "nats:orders: the server lets this user not publish",
            ),
            (
                AttemptOutcome::Published(StreamAnswer::TooLarge),
                FailureClass::Other,
                "nats:orders: larger than the server takes",
            ),
        ] {
            let failure = of_published("nats:orders", outcome, Some("refused")).unwrap();
            assert_eq!(failure.class, class, "{outcome}");
            assert!(failure.reason.starts_with(reason), "{}", failure.reason);
        }
        let taken = AttemptOutcome::Published(StreamAnswer::Taken);
        assert_eq!(of_published("nats:orders", taken, None), None);
    }
}
