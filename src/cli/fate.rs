//! The fate of a request if sent now, as the running sidecar tells.

use serde::Deserialize;
use serde_json::Value;

use super::client::{NoStatus, ask_status};
use crate::admin::credential_problems::of_checked;
use crate::admin::problems::{ProblemLine, of_routes};
use crate::admin::status::route_settings;
use crate::json::words::{list, rate, text};
use crate::limit::PauseReason;
use crate::outbound::policy::{LimitSubject, Permit};
use crate::provider::Metering;
use crate::query;
use crate::units::Written;

/// Asks the running sidecar for the state of the limits, and returns the lines for `keyside
/// explain`, each with a title.
pub(super) fn rows_of_sidecar(
    permit: &Permit<'_>,
    subject: &LimitSubject<'_>,
    recipient: Option<&str>,
    admin: &str,
) -> Vec<(&'static str, String)> {
    let status = match ask_sidecar(permit, subject, recipient, admin) {
        Ok(status) => status,
        Err(problem) => return vec![("now", format!("unknown: {problem}"))],
    };
    let differences = not_loaded(permit, &status);
    let mut rows = Vec::new();
    if !differences.is_empty() {
        let what = differences.join(", ");
        let text =
            format!("the sidecar at {admin} has other values of {what}: run `keyside reload`");
        rows.push(("not loaded", text));
    }
    rows.push(("now", now(permit, subject, &status, admin)));
    rows
}

/// Asks the running sidecar for the status, with the limits of the request.
fn ask_sidecar(
    permit: &Permit<'_>,
    subject: &LimitSubject<'_>,
    recipient: Option<&str>,
    admin: &str,
) -> Result<Value, NoStatus> {
    let object = match subject {
        LimitSubject::Administration(object) => Some(*object),
        LimitSubject::Operation(key) => Some(key.as_str()),
        LimitSubject::Message | LimitSubject::Unlimited => None,
    };
    let mut query = String::new();
    for (name, value) in [
        ("route", Some(&*permit.route.name)),
        ("sender", permit.sender.map(|_| permit.counted_sender())),
        ("recipient", recipient),
        ("object", object),
    ] {
        if let Some(value) = value {
            query::begin_pair(&mut query, name);
            query.extend(query::encode(value));
        }
    }
    ask_status(admin, &format!("?{query}"))
}

/// Returns the route of the request in the status of a sidecar.
fn route_of<'s>(permit: &Permit<'_>, status: &'s Value) -> Option<&'s Value> {
    list(&status["routes"]).find(|route| route["name"] == *permit.route.name)
}

/// Returns the fate of the request now, from the status of the running sidecar.
fn now(permit: &Permit<'_>, subject: &LimitSubject<'_>, status: &Value, admin: &str) -> String {
    let Some(route) = route_of(permit, status) else {
        return format!(
            "unknown: the sidecar at {admin} does not have this route; run `keyside reload`"
        );
    };
    let outcome = outcome(permit, subject, &route["limit"]);
    let is_counted = *subject != LimitSubject::Unlimited && permit.route.limiter.sharing.is_some();
    let lost = alone(&status["shared_limits"]).filter(|_| is_counted);
    let problems = of_routes(&Value::Array(vec![route.clone()]))
        .into_iter()
        .chain(of_unusable_credential(permit, status));
    // A refusal has its reasons, and a way out its obstacles.
    let joint = if outcome.starts_with(REFUSED) {
        "; "
    } else {
        "; but "
    };
    std::iter::once(outcome)
        .chain(lost)
        .chain(problems.map(|problem| problem.text))
        .collect::<Vec<_>>()
        .join(joint)
}

/// Returns the problems of a credential that cannot be used, or that the provider refuses.
fn of_unusable_credential(permit: &Permit<'_>, status: &Value) -> Vec<ProblemLine> {
    let mut credentials = list(&status["credentials"]);
    let own = credentials.find(|one| one["name"] == *permit.route.credential.name);
    let is_wrong = |one: &&Value| one["usable"] == false || one["refused_by_provider"] == true;
    own.filter(is_wrong)
        .map(|one| of_checked(&Value::Array(vec![one.clone()])))
        .unwrap_or_default()
}

/// Returns the rule for a sidecar without its shared server.
fn alone(shared: &Value) -> Option<String> {
    let rule = match shared["on_failure"].as_str()? {
        _ if shared["in_use"] != false => return None,
        "local" => format!(
            "this sidecar counts alone, at 1/{} of the rates",
            shared["replicas"]
        ),
        "open" => "nothing is limited".to_owned(),
        _ => "no limited request goes".to_owned(),
    };
    Some(format!("the shared server does not answer: {rule}"))
}

/// Returns the parts of the configuration on disk with other values in the sidecar.
fn not_loaded(permit: &Permit<'_>, status: &Value) -> Vec<String> {
    let Some(loaded) = route_of(permit, status) else {
        return Vec::new();
    };
    let route = permit.route;
    let own = route_settings(route);
    let keys = ["path", "credential", "upstream", "senders", "operations"];
    let of_route = keys
        .into_iter()
        .filter(|key| own.get(key) != loaded.get(key));
    let mut differences: Vec<_> = of_route.map(|key| format!("`{key}`")).collect();
    let credential = &route.credential;
    let mut credentials = list(&status["credentials"]);
    let secrets = credentials.find(|loaded| loaded["name"] == *credential.name);
    for loaded in secrets.iter().flat_map(|loaded| list(&loaded["secrets"])) {
        let name = text(&loaded["name"]);
        let in_sidecar = text(&loaded["fingerprint"]);
        let own = credential.fingerprint_of(&name);
        if own.is_some_and(|own| are_different(&own.to_string(), &in_sidecar)) {
            differences.push(format!("`{name}` ({in_sidecar})"));
        }
    }
    differences
}

/// True if two fingerprints tell that two processes have different secrets. A keyed fingerprint is
/// of its process alone.
fn are_different(own: &str, in_sidecar: &str) -> bool {
    let is_keyed = [own, in_sidecar]
        .iter()
        .any(|shown| shown.starts_with("keyed:"));
    !is_keyed && own != in_sidecar
}

/// Returns the reasons for a delay or a refusal now, from the limits of the route in `/status`.
fn outcome(permit: &Permit<'_>, subject: &LimitSubject<'_>, limit: &Value) -> String {
    if !permit.passes_callers_credential() && permit.route.credential.fingerprint().is_none() {
        return format!("{REFUSED} with 503: the credential has no usable secret");
    }
    let limits: Vec<_> = counted_limits(permit, subject)
        .iter()
        .filter_map(|(key, subject)| Some((limit.get(*key)?, *subject)))
        .collect();
    let account_pause = limit["account_paused_seconds"]
        .as_f64()
        .filter(|_| *subject == LimitSubject::Message);
    let mut obstacles: Vec<_> = account_pause
        .map(|seconds| pause("this account", seconds, PauseReason::Throttled.explained()))
        .into_iter()
        .chain(
            limits
                .iter()
                .filter_map(|(limit_status, subject)| obstacle(limit_status, subject)),
        )
        .collect();
    let longest_wait = limits
        .iter()
        .filter_map(|(limit_status, _)| limit_status["wait_seconds"].as_f64())
        .chain(account_pause)
        .fold(0.0, f64::max);
    let max_wait = permit.route.limiter.patience.max_wait;
    if longest_wait > max_wait.as_secs_f64() {
        obstacles.push(format!(
            "refused with 429, because max_wait is {}",
            Written(max_wait)
        ));
    }
    let slowed = limits
        .iter()
        .filter_map(|(limit_status, subject)| slowed(limit_status, subject));
    if !obstacles.is_empty() {
        obstacles.extend(slowed);
        return obstacles.join("; ");
    }
    std::iter::once(at_once(
        limits.first().map(|(limit_status, _)| *limit_status),
    ))
    .chain(slowed)
    .collect::<Vec<_>>()
    .join("; ")
}

/// Returns the limits that a request meets, by their keys in `/status` and their names for people.
fn counted_limits(
    permit: &Permit<'_>,
    subject: &LimitSubject<'_>,
) -> &'static [(&'static str, &'static str)] {
    match subject {
        LimitSubject::Message if permit.request.metering == Metering::Apart => &[
            ("of_sender_apart", "this sender"),
            ("of_recipient", "this recipient"),
        ],
        LimitSubject::Message => &[
            ("of_sender", "this sender"),
            ("of_recipient", "this recipient"),
            ("of_account", "this account"),
        ],
        LimitSubject::Administration(_) => &[
            ("of_management", "this account"),
            ("of_object", "this object"),
        ],
        LimitSubject::Operation(_) => &[("of_object", "this object")],
        LimitSubject::Unlimited => &[],
    }
}

/// Returns the fate of a request that nothing delays, by the limit that counts first.
fn at_once(first: Option<&Value>) -> String {
    let left = first.and_then(|first| first["remaining"].as_u64().zip(first["burst"].as_u64()));
    match left {
        Some((left, burst)) => format!("sent at once: {left} of a burst of {burst} are left"),
        None => "sent at once".to_owned(),
    }
}

/// Returns the rate of a limit that throttles have made lower than the quota says.
fn slowed(limit_status: &Value, subject: &str) -> Option<String> {
    let per_second = limit_status["slowed_to_per_second"].as_f64()?;
    Some(format!(
        "{subject} is slowed to {}, because the provider refused requests as too fast",
        rate(per_second)
    ))
}

/// Returns the reason of one limit for a delay or a refusal now.
fn obstacle(limit_status: &Value, subject: &str) -> Option<String> {
    if limit_status["closed"] == true {
        return Some(
            "refused with 429, because the shared server does not answer and on_failure is \"closed\""
                .to_owned(),
        );
    }
    if let Some(seconds) = limit_status["paused_seconds"].as_f64() {
        let why = PauseReason::deserialize(&limit_status["paused_because"])
            .map_or("no reason is known", PauseReason::explained);
        return Some(pause(subject, seconds, why));
    }
    let turn = match limit_status["wait_seconds"].as_f64() {
        Some(wait) => format!("this request could go in {wait:.1} s"),
        None => "this request could go after them".to_owned(),
    };
    match (
        limit_status["waiting"].as_u64(),
        limit_status["remaining"].as_u64(),
    ) {
        (Some(waiting @ 1..), _) => Some(format!(
            "requests in the queue of {subject}: {waiting}; {turn}"
        )),
        (_, Some(0)) => Some(format!("the burst of {subject} is used up; {turn}")),
        _ => None,
    }
}

fn pause(subject: &str, seconds: f64, why: &str) -> String {
    format!("{subject} is paused for {seconds:.1} s: {why}")
}

/// The begin of the fate of a request that does not go.
const REFUSED: &str = "refused";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_that_each_process_makes_otherwise_tell_no_difference() {
        for (own, in_sidecar, expected) in [
            ("0123456789ab", "0123456789ab", false),
            ("0123456789ab", "ba9876543210", true),
            ("keyed:0123456789ab", "keyed:ba9876543210", false),
            ("keyed:0123456789ab", "0123456789ab", false),
        ] {
            assert_eq!(
                are_different(own, in_sidecar),
                expected,
                "{own} {in_sidecar}"
            );
        }
    }
}
