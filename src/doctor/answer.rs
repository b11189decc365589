//! Verdicts about the answers to the probes of a webhook.

use super::ask::Answered;
use super::step::DoctorStep;
use crate::upstream::UpstreamError;

/// A probe that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WebhookProbe<'p> {
    /// A handshake with a token that is nobody's.
    WrongToken,
    /// A handshake with the verify token, and with this challenge.
    Handshake(&'p str),
    /// An event with a wrong signature.
    Forged,
    /// A genuine event with this mark.
    Genuine(&'p str),
    /// A genuine event with this mark, as large as events get.
    Large(&'p str),
}

/// The course of the probes after a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProbeCourse {
    /// The next probe is worth sending.
    GoOn,
    /// The probes do not reach Keyside: the next would meet the same.
    Stop,
}

impl WebhookProbe<'_> {
    /// Returns the name of the step.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::WrongToken => "handshake, wrong token",
            Self::Handshake(_) => "handshake",
            Self::Forged => "forged event",
            Self::Genuine(_) => "genuine event",
            Self::Large(_) => "event of 3 MiB",
        }
    }
}

/// Decides about the answer to a probe of a webhook.
pub(super) fn judge(
    probe: WebhookProbe<'_>,
    webhook: &str,
    answer: &Result<Answered, UpstreamError>,
) -> (DoctorStep, ProbeCourse) {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return (of_silence(probe, error), ProbeCourse::Stop),
    };
    if let Some(step) = expected(probe, webhook, answer) {
        return (step, ProbeCourse::GoOn);
    }
    let (found, mend, course) = unexpected(probe, answer);
    (DoctorStep::fail(probe.name(), found, mend), course)
}

/// Decides about a probe without an answer.
fn of_silence(probe: WebhookProbe<'_>, error: &UpstreamError) -> DoctorStep {
    let name = probe.name();
    match (probe, error) {
        (WebhookProbe::Large(_), _) => DoctorStep::fail(
            name,
            format!("small events pass, and this one does not: {error}"),
            INGRESS_BOUND,
        ),
        (_, UpstreamError::TimedOut { .. }) => DoctorStep::fail(
            name,
            "the connection is there, and no answer comes",
            "look at what listens at the public URL: it takes the request and hands it to nobody",
        ),
        (_, UpstreamError::Proxy(failure)) => {
            DoctorStep::fail(name, failure.to_string(), failure.fault.advice())
        }
        (_, error) => DoctorStep::fail(
            name,
            error.to_string(),
            "look at what listens at the public URL",
        ),
    }
}

/// Decides about the answer that a probe should have; `None` for any other answer.
fn expected(probe: WebhookProbe<'_>, webhook: &str, answer: &Answered) -> Option<DoctorStep> {
    let name = probe.name();
    let slug = answer.slug.as_deref();
    match (probe, answer.status) {
        (WebhookProbe::WrongToken, 403) if slug == Some("handshake_refused") => {
            Some(DoctorStep::ok(name, "refused with 403"))
        }
        (WebhookProbe::WrongToken, 429) if slug == Some("too_many_guesses") => {
            Some(DoctorStep::ok(name, "refused with 429, after others"))
        }
        (WebhookProbe::WrongToken, 403) => Some(DoctorStep::warn(
            name,
            "refused with 403, and not by Keyside",
            "look at what stands before Keyside: it refuses what Keyside should judge",
        )),
        (WebhookProbe::Handshake(challenge), 200) if *answer.body == *challenge.as_bytes() => {
            Some(DoctorStep::ok(name, "the challenge comes back"))
        }
        (WebhookProbe::Forged, 401) if slug == Some("not_genuine") => {
            Some(DoctorStep::ok(name, "refused with 401"))
        }
        (WebhookProbe::Forged, 401) => Some(DoctorStep::warn(
            name,
            "refused with 401, and not by Keyside",
            "look at what stands before Keyside: it refuses what Keyside should judge",
        )),
        (WebhookProbe::Genuine(mark) | WebhookProbe::Large(mark), 200) => {
            Some(of_accepted(name, webhook, mark, answer))
        }
        _ => None,
    }
}

/// Decides about a 200 to a genuine probe: only a Keyside that knows probes sends the mark back.
fn of_accepted(name: &str, webhook: &str, mark: &str, answer: &Answered) -> DoctorStep {
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let field = |key: &str| body.get(key).and_then(serde_json::Value::as_str);
    if field("keyside_probe") != Some(mark) {
        return DoctorStep::warn(
            name,
            "answered with 200, and not by a Keyside of this version: the application may have got an event without entries",
            "run this version of Keyside at the public URL",
        );
    }
    match field("webhook") {
        Some(reached) if reached == webhook => {
            DoctorStep::ok(name, "verified, and answered by Keyside")
        }
        _ => DoctorStep::fail(
            name,
            "verified by another webhook of Keyside",
            "give each webhook a path of its own, and let the ingress keep the path",
        ),
    }
}

/// Returns what an unexpected answer means, and what to mend.
fn unexpected(probe: WebhookProbe<'_>, answer: &Answered) -> (String, &'static str, ProbeCourse) {
    let status = answer.status;
    let slug = answer.slug.as_deref();
    let stop = |found: String, mend| (found, mend, ProbeCourse::Stop);
    let go_on = |found: String, mend| (found, mend, ProbeCourse::GoOn);
    match (status, slug) {
        (300..=399, _) => {
            let to = answer.location.as_deref().unwrap_or("an unnamed place");
            stop(
                format!("redirected with {status} to {to}"),
                "name the last URL at the provider and in `public_url`: providers follow no redirect",
            )
        }
        (200..=299, _) => of_success(probe, status),
        (_, Some(slug)) => of_refusal(probe, status, slug),
        (404, None) => stop(
            "404, and not from Keyside".to_owned(),
            "let the ingress hand the path of `public_url` to the inbound listener of Keyside",
        ),
        (413, None) => go_on("413, and not from Keyside".to_owned(), INGRESS_BOUND),
        (401 | 403, None) => stop(
            format!("{status}, and not from Keyside"),
            "let what stands before Keyside (login, firewall) pass the path: the signature proves the provider",
        ),
        (429, None) => stop(
            "429, and not from Keyside".to_owned(),
            "lift the rate limit of what stands before Keyside: providers send in bursts",
        ),
        (502..=504, None) => stop(
            format!("{status}, and not from Keyside: the ingress does not reach it"),
            "start `keyside run`, and look at the address of the inbound listener in the ingress",
        ),
        (status, None) => stop(
            format!("{status}, and not from Keyside"),
            "let the ingress hand the path of `public_url` to the inbound listener of Keyside",
        ),
    }
}

/// Returns the meaning of a success that should not be one.
fn of_success(probe: WebhookProbe<'_>, status: u16) -> (String, &'static str, ProbeCourse) {
    match probe {
        WebhookProbe::WrongToken => (
            format!("a wrong verify token is accepted ({status})"),
            "let the public URL lead to Keyside: what answers there accepts anybody",
            ProbeCourse::GoOn,
        ),
        WebhookProbe::Forged => (
            format!("a forged event is accepted ({status})"),
            "let the public URL lead to Keyside: what answers there checks no signature",
            ProbeCourse::GoOn,
        ),
        WebhookProbe::Handshake(_) => (
            format!("{status}, and the challenge does not come back"),
            "let the public URL lead to Keyside, and let nothing between change the answer",
            ProbeCourse::GoOn,
        ),
        WebhookProbe::Genuine(_) | WebhookProbe::Large(_) => (
            format!("{status}, where Meta takes 200 alone for a success"),
            "let nothing between change the answer",
            ProbeCourse::GoOn,
        ),
    }
}

/// Returns the meaning of a refusal of Keyside's own.
fn of_refusal(
    probe: WebhookProbe<'_>,
    status: u16,
    slug: &str,
) -> (String, &'static str, ProbeCourse) {
    let found = format!("Keyside refuses it with {status} `{slug}`");
    let (mend, course) = match (slug, probe) {
        ("no_webhook", _) => (
            "let the ingress keep the path, or write the path that arrives as `path` of the webhook",
            ProbeCourse::Stop,
        ),
        ("handshake_refused", _) => (
            "the running sidecar has another verify token than this configuration: `keyside reload`",
            ProbeCourse::GoOn,
        ),
        ("not_genuine", _) => (
            "the running sidecar has another secret than this configuration (`keyside reload`), the ingress changes the body, or `public_url` is not the URL that arrives",
            ProbeCourse::GoOn,
        ),
        ("body_too_large", _) => ("raise `inbound.max_body`", ProbeCourse::GoOn),
        ("credential_unavailable", _) => (
            "give the running sidecar the secrets of the webhook: `keyside status` says what is missing",
            ProbeCourse::GoOn,
        ),
        ("unsigned", _) => (
            "let the ingress pass the header with the signature",
            ProbeCourse::GoOn,
        ),
        ("content_coding", _) => ("let the ingress compress no requests", ProbeCourse::GoOn),
        ("overloaded" | "draining", _) => (
            "run this again when the sidecar has room",
            ProbeCourse::Stop,
        ),
        _ => ("look at the log of the sidecar", ProbeCourse::GoOn),
    };
    (found, mend, course)
}

/// The advice against bounds on bodies.
const INGRESS_BOUND: &str = "raise the bound on bodies of what stands before Keyside to 4 MiB (nginx: `client_max_body_size 4m`): events have up to 3 MB";

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::step::StepOutcome;
    use super::*;

    use ProbeCourse::{GoOn, Stop};
    use StepOutcome::{Fail, Ok as Well, Warn};

    const MARK: &str = "aa";
    const WRONG: WebhookProbe<'_> = WebhookProbe::WrongToken;
    const SHAKE: WebhookProbe<'_> = WebhookProbe::Handshake("777");
    const FORGED: WebhookProbe<'_> = WebhookProbe::Forged;
    const GENUINE: WebhookProbe<'_> = WebhookProbe::Genuine(MARK);
    const LARGE: WebhookProbe<'_> = WebhookProbe::Large(MARK);

    fn judged(
        probe: WebhookProbe<'_>,
        status: u16,
        slug: &str,
        body: &str,
    ) -> (DoctorStep, ProbeCourse) {
        let answer = Answered {
            status,
            slug: (!slug.is_empty()).then(|| slug.to_owned()),
            location: Some("https://other.test/login".to_owned()),
            date: None,
            body: Bytes::copy_from_slice(body.as_bytes()),
        };
        judge(probe, "acme", &Ok(answer))
    }

    #[test]
    fn an_answer_is_well_only_if_keyside_gave_it() {
        for (probe, status, slug, outcome, course) in [
            (WRONG, 403, "handshake_refused", Well, GoOn),
            (WRONG, 429, "too_many_guesses", Well, GoOn),
            (WRONG, 403, "", Warn, GoOn),
            (WRONG, 200, "", Fail, GoOn),
            (WRONG, 404, "", Fail, Stop),
            (SHAKE, 403, "handshake_refused", Fail, GoOn),
            (SHAKE, 301, "", Fail, Stop),
            (SHAKE, 404, "no_webhook", Fail, Stop),
            (SHAKE, 502, "", Fail, Stop),
            (SHAKE, 403, "", Fail, Stop),
            (SHAKE, 429, "", Fail, Stop),
            (SHAKE, 500, "", Fail, Stop),
            (FORGED, 401, "not_genuine", Well, GoOn),
            (FORGED, 401, "", Warn, GoOn),
            (FORGED, 200, "", Fail, GoOn),
            (GENUINE, 202, "", Fail, GoOn),
            (GENUINE, 401, "not_genuine", Fail, GoOn),
            (GENUINE, 503, "overloaded", Fail, Stop),
            (GENUINE, 415, "content_coding", Fail, GoOn),
            (LARGE, 413, "", Fail, GoOn),
            (LARGE, 413, "body_too_large", Fail, GoOn),
        ] {
            let (step, found) = judged(probe, status, slug, "");
            assert_eq!(step.outcome, outcome, "{probe:?} {step:?}");
            assert_eq!(found, course, "{probe:?} {step:?}");
            assert_eq!(step.mend.is_some(), outcome != Well, "{step:?}");
        }
    }

    #[test]
    fn a_success_is_well_only_with_what_was_sent() {
        let own = r#"{"keyside_probe":"aa","webhook":"acme"}"#;
        let other = r#"{"keyside_probe":"aa","webhook":"beta"}"#;
        for (probe, body, outcome, words) in [
            (SHAKE, "777", Well, "comes back"),
            (SHAKE, "<html>", Fail, "does not come back"),
            (WRONG, "777", Fail, "wrong verify token is accepted"),
            (GENUINE, own, Well, "verified"),
            (GENUINE, other, Fail, "another webhook"),
            (GENUINE, "", Warn, "not by a Keyside"),
            (LARGE, own, Well, "verified"),
            (FORGED, own, Fail, "forged event is accepted"),
        ] {
            let (step, _) = judged(probe, 200, "", body);
            assert_eq!(step.outcome, outcome, "{probe:?} {step:?}");
            assert!(step.found.contains(words), "{probe:?} {step:?}");
        }
    }

    #[test]
    fn a_failure_says_who_refused_and_what_to_mend() {
        for (status, slug, found, mend) in [
            (301, "", "https://other.test/login", "last URL"),
            (404, "", "not from Keyside", "inbound listener"),
            (404, "no_webhook", "`no_webhook`", "path"),
            (413, "", "not from Keyside", "4 MiB"),
            (413, "body_too_large", "413", "inbound.max_body"),
            (403, "", "not from Keyside", "firewall"),
            (502, "", "does not reach it", "keyside run"),
            (401, "not_genuine", "401", "another secret"),
            (503, "credential_unavailable", "503", "secrets"),
        ] {
            let (step, _) = judged(GENUINE, status, slug, "");
            assert!(step.found.contains(found), "{step:?}");
            assert!(step.mend.as_ref().unwrap().contains(mend), "{step:?}");
        }
    }

    #[test]
    fn silence_is_told_and_a_cut_large_event_blames_the_ingress() {
        let timed_out = || UpstreamError::TimedOut {
            what: "to answer",
            written: true,
        };
        for (probe, error, words, mend) in [
            (
                WebhookProbe::Forged,
                timed_out(),
                "no answer comes",
                "hands it to nobody",
            ),
            (
                WebhookProbe::Large(MARK),
                timed_out(),
                "small events pass",
                "client_max_body_size",
            ),
            (
                WebhookProbe::Large(MARK),
                UpstreamError::NotWritten,
                "small events pass",
                "4 MiB",
            ),
            (
                WebhookProbe::Forged,
                UpstreamError::NotWritten,
                "closed",
                "what listens",
            ),
        ] {
            let (step, course) = judge(probe, "acme", &Err(error));
            assert_eq!((step.outcome, course), (Fail, Stop));
            assert!(step.found.contains(words), "{step:?}");
            assert!(step.mend.unwrap().contains(mend));
        }
    }
}
