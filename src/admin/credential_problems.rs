//! The problems of credentials, each with the remedy, made from the JSON of `/status`.

use serde_json::Value;

use super::problems::{EXPIRY_ALARM_DAYS, ProblemLine};
use crate::json::words::{counted, list, moment, seconds, text};
use crate::units::DAY;

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

/// Returns the problem of a token that ends in `left` seconds; `None` long before the end.
fn end_problem(left: u64, name: &str) -> Option<ProblemLine> {
    if left == 0 {
        return Some(ProblemLine::wrong(
            "the token has expired: put a new one in its place and reload",
        ));
    }
    let days = left / DAY;
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

/// The days before the end of a token at which the list and the log begin to warn: twice the
/// working week of a renewal by hand.
const EXPIRY_NOTICE_DAYS: u64 = 14;

#[cfg(test)]
mod tests {
    use super::super::problems::Gravity;
    use super::*;

    #[test]
    fn the_end_of_a_token_is_a_notice_and_then_wrong() {
        for (seconds, gravity, words) in [
            (0, Some(Gravity::Wrong), "has expired"),
            (3600, Some(Gravity::Wrong), "expires within a day"),
            (DAY, Some(Gravity::Wrong), "expires in 1 day:"),
            (7 * DAY - 1, Some(Gravity::Wrong), "in 6 days:"),
            (7 * DAY, Some(Gravity::Notice), "in 7 days:"),
            (14 * DAY, None, ""),
        ] {
            let problem = end_problem(seconds, "acme");
            let found = problem.as_ref().map(|problem| problem.gravity);
            assert_eq!(found, gravity, "{seconds}");
            let text = problem.map(|problem| problem.text).unwrap_or_default();
            assert!(text.contains(words), "{seconds}: {text}");
        }
    }
}
