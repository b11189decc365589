//! The problems of a sidecar and its credentials, each with the remedy, made from the JSON of `/status`.

use serde_json::Value;

use super::memory_status::memory_problem;
use crate::json::words::{counted, list, moment, seconds, text};

/// A line about a problem, with the remedy.
#[derive(Debug, PartialEq, Eq)]
pub struct ProblemLine {
    /// The text, with the remedy.
    pub text: String,
    /// The weight.
    pub gravity: Gravity,
}

/// The weight of a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gravity {
    /// A notice: there is time left.
    Notice,
    /// Wrong: `keyside status --check` fails.
    Wrong,
}

impl ProblemLine {
    fn wrong(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            gravity: Gravity::Wrong,
        }
    }

    fn notice(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            gravity: Gravity::Notice,
        }
    }
}

/// Returns the problems that the traffic of routes shows.
#[must_use]
pub fn of_routes(routes: &Value) -> Vec<ProblemLine> {
    list(routes).flat_map(of_route).collect()
}

/// Returns the problems that the traffic of a route shows.
#[must_use]
pub fn of_route(route: &Value) -> Vec<ProblemLine> {
    let name = text(&route["name"]);
    let lines = route.pointer("/traffic/problems").unwrap_or(&Value::Null);
    list(lines)
        .map(|line| ProblemLine::wrong(format!("route {name}: {}", text(line))))
        .collect()
}

/// Returns the problems of credentials.
#[must_use]
pub fn of_credentials(credentials: &Value) -> Vec<ProblemLine> {
    let unproved = list(credentials).filter_map(unproved);
    of_checked(credentials)
        .into_iter()
        .chain(unproved)
        .collect()
}

/// Returns the problems of a credential.
#[must_use]
pub fn of_credential(credential: &Value) -> Vec<ProblemLine> {
    let mut problems = checked(credential);
    problems.extend(unproved(credential));
    problems
}

/// Returns the problems of credentials, apart from those that are in use without proof.
#[must_use]
pub fn of_checked(credentials: &Value) -> Vec<ProblemLine> {
    list(credentials).flat_map(checked).collect()
}

/// Returns the problems that concern the whole sidecar: the last reload, the audit file, the shared server.
#[must_use]
pub fn of_sidecar(status: &Value) -> Vec<ProblemLine> {
    let reload = status.get("reload").unwrap_or(&Value::Null);
    let refused = list(&reload["refused_because"])
        .map(|reason| format!("last reload refused, mend this: {}", text(reason)));
    refused
        .chain(audit_problem(&status["audit"]))
        .chain(sharing_problem(&status["shared_limits"]))
        .chain(way_out_problem(&status["egress"]))
        .chain(list(status.pointer("/state/problems").unwrap_or(&Value::Null)).map(text))
        .map(ProblemLine::wrong)
        .chain(memory_problem(&status["memory"]).map(ProblemLine::notice))
        .chain(of_certificates(status))
        .chain(of_webhooks(status))
        .collect()
}

/// Returns the problems that concern webhooks and their events: unusable inputs, silence, lag, destinations, sent messages
/// without a status, events that wait on disk.
#[must_use]
pub fn of_webhooks(status: &Value) -> Vec<ProblemLine> {
    let webhooks = || list(&status["webhooks"]);
    let files = list(&status["unusable_files"]).map(file_problem);
    let silent = webhooks().filter_map(silence_problem);
    let late = webhooks().filter_map(lag_problem);
    let failing = webhooks().flat_map(destination_problems);
    let overdue = list(&status["sends_without_status"]).map(overdue_problem);
    files
        .chain(silent.map(ProblemLine::wrong))
        .chain(late.map(ProblemLine::notice))
        .chain(failing.map(ProblemLine::wrong))
        .chain(overdue.map(ProblemLine::notice))
        .chain(of_spool(status))
        .collect()
}

/// Returns a line if the URL of the proxy could not be read.
fn way_out_problem(egress: &Value) -> Option<String> {
    let problem = egress["problem"].as_str()?;
    Some(format!(
        "no way out: {problem}; once the URL can be read, `keyside reload` opens the way"
    ))
}

/// Returns the problems of events that wait on disk: each has its remedy already.
#[must_use]
pub fn of_spool(status: &Value) -> Vec<ProblemLine> {
    let alarms = status.pointer("/spool/alarms").unwrap_or(&Value::Null);
    list(alarms)
        .map(|alarm| ProblemLine::wrong(text(&alarm["text"])))
        .collect()
}

/// Returns a line if a webhook has no events for unusually long.
fn silence_problem(webhook: &Value) -> Option<String> {
    let silent = Some(&webhook["silent_seconds"]).filter(|silent| silent.is_u64())?;
    Some(format!(
        "webhook {}: no event for {}, 20 times the usual gap or more: look at the provider's settings of the webhook, and \
         at what stands before this listener",
        text(&webhook["name"]),
        seconds(silent)
    ))
}

/// Returns a line if the last event of a webhook came long after its own time.
fn lag_problem(webhook: &Value) -> Option<String> {
    let lag = &webhook["lag_seconds"];
    lag.as_u64().filter(|seconds| *seconds > LONG_LAG)?;
    Some(format!(
        "webhook {}: the last event came {} after its own time: the provider sends it again after a failure, or what stands \
         before this listener delays it; look at the events before it with `keyside_webhooks_total`",
        text(&webhook["name"]),
        seconds(lag)
    ))
}

/// Returns a line for each destination of a webhook that takes no events.
fn destination_problems(webhook: &Value) -> Vec<String> {
    let name = text(&webhook["name"]);
    let problems = list(&webhook["to"]).filter_map(|to| to.pointer("/traffic/problem")?.as_str());
    problems
        .map(|problem| format!("webhook {name}: {problem}"))
        .collect()
}

/// Returns a line about sent messages without a status.
fn overdue_problem(overdue: &Value) -> String {
    format!(
        "credential {}: no status has come of {}, the oldest sent {} ago: look them up at the provider before sending again",
        text(&overdue["credential"]),
        counted(
            overdue["messages"].as_u64().unwrap_or_default(),
            "sent message"
        ),
        seconds(&overdue["oldest_seconds"])
    )
}

/// Returns a line if the certificate of a listener is near its end or past it.
fn certificate_problem(certificate: &Value) -> Option<ProblemLine> {
    let problem = certificate["problem"].as_str()?;
    let line = format!("{}: {problem}", text(&certificate["listener"]));
    let days = certificate["ends_in_seconds"].as_u64().unwrap_or_default() / SECONDS_PER_DAY;
    Some(match text(&certificate["state"]).as_str() {
        "ending" if days >= EXPIRY_ALARM_DAYS => ProblemLine::notice(line),
        _ => ProblemLine::wrong(line),
    })
}

/// Returns the problems of certificates alone.
fn of_certificates(status: &Value) -> Vec<ProblemLine> {
    list(&status["certificates"])
        .filter_map(certificate_problem)
        .collect()
}

/// Returns a line about unusable files of certificates, or an unusable value, with the remedy.
fn file_problem(file: &Value) -> ProblemLine {
    let (key, problem) = (text(&file["key"]), text(&file["problem"]));
    let since = moment(&file["since"]);
    ProblemLine::wrong(match file["waits"].as_str() {
        Some(waits) => format!("{key}: {problem}; {waits} since {since}: put a good one there"),
        None => format!(
            "{key}: {problem}; what was read before has stayed in use since {since}: put a good one there, as what was \
             read before is gone after a restart"
        ),
    })
}

/// Returns a line if the audit file cannot be written, with the remedy.
fn audit_problem(audit: &Value) -> Option<String> {
    let problem = audit["problem"].as_str()?;
    let lost = audit["lost"].as_u64().unwrap_or_default();
    Some(format!(
        "audit: {} cannot be written since {}: {problem}; lost so far: {}; free space on the disk, and see that the user of the sidecar \
         may write there",
        text(&audit["file"]),
        moment(&audit["unwritable_since"]),
        counted(lost, "event")
    ))
}

/// Returns a line if the shared server of limits is lost, with the rule that applies.
fn sharing_problem(shared: &Value) -> Option<String> {
    if shared["comes_and_goes"] == true {
        return Some(format!(
            "Limits are shared only at times: {}: the server comes and goes, and was lost last because of this: {}. While it \
             is away, on_failure = \"{}\" applies.",
            text(&shared["redis"]),
            text(&shared["problem"]),
            text(&shared["on_failure"])
        ));
    }
    (shared["in_use"] == false).then(|| {
        format!(
            "Limits are NOT shared: {}: {}. Until the server answers, on_failure = \"{}\" applies.",
            text(&shared["redis"]),
            shared["problem"].as_str().unwrap_or("no connection"),
            text(&shared["on_failure"])
        )
    })
}

/// Returns the problems of a credential, each line with the name, apart from the want of a proof.
fn checked(credential: &Value) -> Vec<ProblemLine> {
    let name = text(&credential["name"]);
    let wrong = secret_tasks(credential).into_iter().map(ProblemLine::wrong);
    wrong
        .chain(provider_problems(credential, &name))
        .chain(renewal_problem(credential))
        .chain(list(&credential["unfinished_rotations"]).map(unfinished_rotation))
        .chain(overlap_problems(credential))
        .chain(age_problems(credential))
        .map(|problem| ProblemLine {
            text: format!("{name}: {}", problem.text),
            ..problem
        })
        .collect()
}

/// Returns the problems of reading the secrets.
fn secret_tasks(credential: &Value) -> Vec<String> {
    let mut tasks = Vec::new();
    // Secrets that are kept back have a line of their own.
    let unread = list(&credential["unread"]).filter(|_| credential["kept_back"].is_null());
    for unread in unread {
        let [secret, reference, problem] =
            ["secret", "reference", "problem"].map(|key| text(&unread[key]));
        let is_missing = list(&credential["missing"]).any(|missing| text(missing) == secret);
        let remedy = if is_missing {
            // The line about the missing secret has the remedy.
            ""
        } else {
            "; the value that was read last stays in use until a restart: see that the source answers, and that Keyside \
                 may read there"
        };
        tasks.push(format!(
            "{secret} gets no value from {reference}: {problem}{remedy}"
        ));
    }
    for reason in kept_back_reasons(credential) {
        tasks.push(format!(
            "the source has a secret that cannot be used{}; the secret before it stays in use, and nothing would \
             work after a restart: put a good secret there",
            kept_back_reason(&reason)
        ));
    }
    for missing in list(&credential["missing"]).map(text) {
        tasks.push(format!(
            "{missing} has no usable value, so requests get 503: provide it and reload"
        ));
    }
    tasks
}

/// Returns the reasons for which newer secrets of a credential are kept back.
pub fn kept_back_reasons(credential: &Value) -> impl Iterator<Item = String> {
    let reasons = credential
        .pointer("/kept_back/reasons")
        .unwrap_or(&Value::Null);
    list(reasons).map(text)
}

/// Returns a reason of `kept_back` as the end of a sentence.
fn kept_back_reason(reason: &str) -> String {
    match reason.strip_prefix('.') {
        Some(of_secret) => format!(": {of_secret}"),
        None => reason.to_owned(),
    }
}

/// Returns the problems reported by the provider.
fn provider_problems(credential: &Value, name: &str) -> Vec<ProblemLine> {
    let check = &credential["check"];
    let mut problems = Vec::new();
    let reason = reason(check);
    let apply = applying(credential);
    if check["result"] == "refused" || credential["refused_by_provider"] == true {
        problems.push(ProblemLine::wrong(format!(
            "the provider refuses the secret: put a new secret in its place and {apply}{reason}"
        )));
    }
    if credential["sends"] == "previous" {
        problems.push(ProblemLine::wrong(format!(
            "the provider refuses the newest secret, so requests carry the previous one until a good secret is \
             there: put one in its place and {apply}"
        )));
    }
    if let Some(left) = check["ends_in_seconds"].as_u64() {
        problems.extend(end_problem(left, name));
    }
    problems
}

/// Returns how a new value of a credential's secrets comes into use.
fn applying(credential: &Value) -> &'static str {
    let mut secrets = list(&credential["secrets"]);
    if secrets.any(|secret| text(&secret["reference"]).starts_with("env:")) {
        "restart: the environment of a running process never changes"
    } else {
        "reload"
    }
}

/// Returns the failure of the last renewal.
fn renewal_problem(credential: &Value) -> Option<ProblemLine> {
    let problem = &credential["renewal_problem"];
    let reason = problem["reason"].as_str()?;
    Some(ProblemLine::wrong(format!(
        "{} since {}, and tried again by itself: {reason}",
        text(&problem["step"]),
        moment(&problem["since"])
    )))
}

/// Returns a rotation that was cut off, with the commands that bring it to its end.
fn unfinished_rotation(rotation: &Value) -> ProblemLine {
    ProblemLine::wrong(format!(
        "{}; begun {}, and the journal is {}",
        text(&rotation["concern"]),
        moment(&rotation["began"]),
        text(&rotation["journal"])
    ))
}

/// Returns the previous secrets that are still needed near the end of their overlap.
fn overlap_problems(credential: &Value) -> impl Iterator<Item = ProblemLine> {
    list(&credential["overlap_concerns"]).map(|concern| ProblemLine::wrong(text(concern)))
}

/// Returns what to know about secrets that are in use without proof.
fn unproved(credential: &Value) -> Option<ProblemLine> {
    let check = &credential["check"];
    (check["result"] == "unproved").then(|| {
        ProblemLine::notice(format!(
            "{}: the provider has not confirmed the secrets yet: they are in use without proof, and Keyside asks again by \
             itself{}",
            text(&credential["name"]),
            reason(check)
        ))
    })
}

/// Returns the provider's reason in brackets.
fn reason(check: &Value) -> String {
    check["reason"]
        .as_str()
        .map(|reason| format!(" ({reason})"))
        .unwrap_or_default()
}

/// Returns the problem of a token with so many seconds left.
fn end_problem(left: u64, name: &str) -> Option<ProblemLine> {
    if left == 0 {
        return Some(ProblemLine::wrong(
            "the token has expired: put a new one in its place and reload",
        ));
    }
    let days = left / SECONDS_PER_DAY;
    let when = if days == 0 {
        "within a day".to_owned()
    } else {
        format!("in {}", counted(days, "day"))
    };
    let text = format!(
        "the token expires {when}: exchange it with `keyside rotate {name}`, or replace it"
    );
    match days {
        0..EXPIRY_ALARM_DAYS => Some(ProblemLine::wrong(text)),
        EXPIRY_ALARM_DAYS..EXPIRY_NOTICE_DAYS => Some(ProblemLine::notice(text)),
        _ => None,
    }
}

/// Returns the secrets beyond their age, and the concerns about the rights of the token.
fn age_problems(credential: &Value) -> Vec<ProblemLine> {
    let max_age = seconds(&credential["max_age_seconds"]);
    let old = list(&credential["secrets"])
        .filter(|secret| secret["state"] != "ok")
        .map(|secret| {
            let age = seconds(&secret["age_seconds"]);
            let name = text(&secret["name"]);
            let text = format!("{name} is {age} old, and max_age is {max_age}: rotate it");
            if secret["state"] == "overdue" {
                ProblemLine::wrong(text)
            } else {
                ProblemLine::notice(text)
            }
        });
    let concerns = list(&credential["concerns"])
        .map(|concern| ProblemLine::notice(format!("the token {}", text(concern))));
    old.chain(concerns).collect()
}

/// The days before the end of a token at which the list and the log begin to warn.
const EXPIRY_NOTICE_DAYS: u64 = 14;
/// The days before the end of a token at which `keyside status --check` fails.
const EXPIRY_ALARM_DAYS: u64 = 7;
const SECONDS_PER_DAY: u64 = 86_400;
/// The lag of an event in seconds past which an operator should look.
const LONG_LAG: u64 = 60;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_end_of_a_token_is_a_notice_and_then_wrong() {
        for (seconds, gravity, words) in [
            (0, Some(Gravity::Wrong), "has expired"),
            (3600, Some(Gravity::Wrong), "expires within a day"),
            (SECONDS_PER_DAY, Some(Gravity::Wrong), "expires in 1 day:"),
            (7 * SECONDS_PER_DAY - 1, Some(Gravity::Wrong), "in 6 days:"),
            (7 * SECONDS_PER_DAY, Some(Gravity::Notice), "in 7 days:"),
            (14 * SECONDS_PER_DAY, None, ""),
        ] {
            let problem = end_problem(seconds, "acme");
            let found = problem.as_ref().map(|problem| problem.gravity);
            assert_eq!(found, gravity, "{seconds}");
            let text = problem.map(|problem| problem.text).unwrap_or_default();
            assert!(text.contains(words), "{seconds}: {text}");
        }
    }

    #[test]
    fn a_shared_server_is_in_use_or_lost_or_comes_and_goes() {
        for (in_use, comes_and_goes, words) in [
            (true, false, None),
            (false, false, Some("NOT shared: env:R: no answer.")),
            (true, true, Some("only at times: env:R: ")),
            (false, true, Some("lost last because of this: no answer.")),
        ] {
            let shared = json!({
                "in_use": in_use,
                "comes_and_goes": comes_and_goes,
                "problem": "no answer",
                "redis": "env:R",
                "on_failure": "local",
            });
            let problem = sharing_problem(&shared);
            assert_eq!(problem.is_some(), words.is_some(), "{problem:?}");
            let text = problem.unwrap_or_default();
            assert!(text.contains(words.unwrap_or_default()), "{text}");
        }
    }

    #[test]
    fn a_sidecar_without_a_problem_has_no_line_and_each_problem_has_one() {
        let good = json!({
            "reload": { "refused_because": [] },
            "audit": { "file": "/a", "problem": null, "lost": 3 },
            "shared_limits": { "in_use": true },
        });
        assert_eq!(of_sidecar(&good), []);
        assert_eq!(of_sidecar(&json!({})), []);
        let bad = json!({
            "reload": { "refused_because": ["route: unknown key"] },
            "audit": { "file": "/a", "problem": "full", "unwritable_since": 0, "lost": 1 },
            "shared_limits": { "in_use": false, "redis": "env:R", "on_failure": "local" },
            "egress": { "proxy": null, "problem": "egress.proxy: `file:/p`: no such file" },
            "certificates": [
                { "listener": "inbound.tls", "state": "ok", "problem": null },
                { "listener": "outbound.tls", "state": "ending", "problem": "ends", "ends_in_seconds": 864_000 },
                { "listener": "outbound.tls", "state": "expired", "problem": "over", "ends_in_seconds": 0 },
            ],
        });
        let lines = of_sidecar(&bad);
        assert_eq!(lines.len(), 6, "{lines:?}");
        assert!(lines[3].text.starts_with("no way out: egress.proxy"));
        assert_eq!(lines[4].gravity, Gravity::Notice);
        assert_eq!(lines[5].gravity, Gravity::Wrong);
        assert_eq!(
            lines[1].text,
            "audit: /a cannot be written since 1970-01-01T00:00:00Z: full; lost so far: 1 event; free space on the disk, and \
             see that the user of the sidecar may write there"
        );
    }
}
