//! The problems of a sidecar, its routes and its webhooks, each with the remedy, made from the JSON
//! of `/status`.

use serde_json::Value;

use super::memory_status::memory_problem;
use crate::json::words::{counted, list, moment, seconds, text};
use crate::units::DAY;

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
    pub(super) fn wrong(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            gravity: Gravity::Wrong,
        }
    }

    pub(super) fn notice(text: impl Into<String>) -> Self {
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

/// Returns the problems that concern the whole sidecar: the last reload, the audit file, the shared
/// server.
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

/// Returns the problems that concern webhooks and their events: unusable inputs, silence, lag,
/// destinations, sent messages without a status, events that wait on disk.
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

/// Returns a line for each destination of a webhook that accepts no events.
fn destination_problems(webhook: &Value) -> Vec<String> {
    let name = text(&webhook["name"]);
    list(&webhook["to"])
        .filter_map(|to| to.pointer("/traffic/problem")?.as_str())
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
    let days = certificate["ends_in_seconds"].as_u64().unwrap_or_default() / DAY;
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
    let key = text(&file["key"]);
    let problem = text(&file["problem"]);
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

/// The days before the end of a token or a certificate at which `keyside status --check` fails: a
/// renewal by hand takes a working week.
pub(super) const EXPIRY_ALARM_DAYS: u64 = 7;
/// The lag of an event, in seconds, past which an operator should look: a provider delivers within
/// seconds, and a minute is no longer chance.
const LONG_LAG: u64 = 60;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

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
