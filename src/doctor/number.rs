//! Verdicts about a number at Meta: state, quality, tier, throughput, health.
//!
//! The names and values are those of Meta's reference of phone numbers and of its pages on
//! messaging limits and on health:
//! <https://developers.facebook.com/docs/graph-api/reference/whats-app-business-account-to-number-current-status>.
//! A value that these pages do not have is shown as it is, and never taken for good.

use serde_json::Value;

use super::step::{DoctorStep, StepOutcome};
use crate::health::{QueryError, number_at};
use crate::log::bounded;

/// The answers about one number; each is the provider's JSON, or the reason why there is none.
pub(super) struct NumberAnswers {
    /// State, names, quality and throughput.
    pub(super) state: Result<Value, QueryError>,
    /// The messaging limit.
    pub(super) limit: Result<Value, QueryError>,
    /// The obstacles to messages.
    pub(super) health: Result<Value, QueryError>,
}

/// The fields of [`NumberAnswers::state`].
pub(super) const STATE_FIELDS: &str =
    "display_phone_number,verified_name,status,quality_rating,name_status,throughput,platform_type";
/// The field of [`NumberAnswers::limit`], of version 24 and newer.
pub(super) const LIMIT_FIELD: &str = "whatsapp_business_manager_messaging_limit";
/// The field of [`NumberAnswers::limit`] before version 24.
pub(super) const OLD_LIMIT_FIELD: &str = "messaging_limit_tier";
/// The field of [`NumberAnswers::health`].
pub(super) const HEALTH_FIELD: &str = "health_status";

/// Decides about a number. Each step begins with the id of the number.
pub(super) fn steps(number: &str, answers: &NumberAnswers) -> Vec<DoctorStep> {
    let mut steps = Vec::new();
    match usable(&answers.state) {
        Ok(state) => {
            steps.push(of_status(state));
            steps.push(of_quality(state));
            steps.extend(of_name(state));
            steps.push(of_throughput(state));
        }
        Err(step) => steps.push(step.named("number")),
    }
    match usable(&answers.limit) {
        Ok(limit) => steps.push(of_limit(limit)),
        Err(step) => steps.push(step.named("tier")),
    }
    match usable(&answers.health) {
        Ok(health) => steps.extend(of_health(health)),
        Err(step) => steps.push(step.named("health")),
    }
    for step in &mut steps {
        step.name = format!("{number} {}", step.name);
    }
    steps
}

/// Returns the account of a number, which the answer about health names.
pub(super) fn account_of(answers: &NumberAnswers) -> Option<String> {
    let health = answers.health.as_ref().ok()?.get(HEALTH_FIELD)?;
    let mut entities = health.get("entities")?.as_array()?.iter();
    let is_account = |entity: &&Value| text(entity, "entity_type").as_deref() == Some("WABA");
    text(entities.find(is_account)?, "id")
}

/// An answer that tells nothing about a question.
pub(super) struct Untold {
    outcome: StepOutcome,
    found: String,
    mend: Option<&'static str>,
}

impl Untold {
    pub(super) fn named(self, name: &str) -> DoctorStep {
        DoctorStep {
            name: name.to_owned(),
            outcome: self.outcome,
            found: self.found,
            mend: self.mend.map(str::to_owned),
        }
    }
}

/// Returns an answer that is no error.
pub(super) fn usable(answer: &Result<Value, QueryError>) -> Result<&Value, Untold> {
    let answer = match answer {
        Ok(answer) => answer,
        Err(reason) => {
            return Err(Untold {
                outcome: StepOutcome::Fail,
                found: reason.to_string(),
                mend: Some("run this again: without an answer nothing is known"),
            });
        }
    };
    let Some(error) = answer.get("error") else {
        return Ok(answer);
    };
    let code = number_at(error, "/code");
    let untold = |found: String| Untold {
        outcome: StepOutcome::Skipped,
        found,
        mend: None,
    };
    Err(match code {
        Some(10 | 200..=299) => untold(format!(
            "the token may not ask (code {}): it takes `whatsapp_business_management`",
            shown(code)
        )),
        Some(100) if number_at(error, "/error_subcode") == Some(33) => Untold {
            outcome: StepOutcome::Fail,
            found: "the token cannot see it (code 100, subcode 33)".to_owned(),
            mend: Some("look at the id, and assign the account to the token's System User"),
        },
        _ => untold(format!("not told by the provider (code {})", shown(code))),
    })
}

fn shown(code: Option<i64>) -> String {
    code.map_or_else(|| "unknown".to_owned(), |code| code.to_string())
}

fn of_status(state: &Value) -> DoctorStep {
    let name = "number";
    let status = text(state, "status");
    let called = match (text(state, "verified_name"), text(state, "platform_type")) {
        (Some(verified), Some(platform)) => format!(", named {verified:?}, on {platform}"),
        (Some(verified), None) => format!(", named {verified:?}"),
        _ => String::new(),
    };
    let Some(status) = status else {
        return DoctorStep::skipped(name, format!("its state is not told{called}"));
    };
    let found = format!("{status}{called}");
    match status.as_str() {
        "CONNECTED" => DoctorStep::ok(name, found),
        "PENDING" | "UNVERIFIED" | "OFFLINE" | "DISCONNECTED" | "MIGRATED" | "DELETED" => {
            DoctorStep::fail(
                name,
                found,
                "register the number (POST /{number}/register), or take it out of `senders`",
            )
        }
        "BANNED" | "RESTRICTED" => DoctorStep::fail(
            name,
            found,
            "look at the account's quality in WhatsApp Manager, and ask for a review",
        ),
        "FLAGGED" | "RATE_LIMITED" => DoctorStep::warn(
            name,
            found,
            "send less, and look at what users block and report",
        ),
        _ => DoctorStep::warn(name, format!("{found}: unknown to Keyside"), LOOK),
    }
}

fn of_quality(state: &Value) -> DoctorStep {
    let name = "quality";
    let mend = "look at what users block and report in WhatsApp Manager, before the provider limits the number";
    match text(state, "quality_rating").as_deref() {
        None => DoctorStep::skipped(name, "not told by the provider"),
        Some("GREEN") => DoctorStep::ok(name, "GREEN"),
        Some("UNKNOWN" | "NA") => DoctorStep::ok(name, "not rated yet"),
        Some("YELLOW") => DoctorStep::warn(name, "YELLOW: medium", mend),
        Some("RED") => DoctorStep::fail(name, "RED: low", mend),
        Some(other) => DoctorStep::warn(name, format!("{other}: unknown to Keyside"), LOOK),
    }
}

/// Decides about the display name; `None` for a name that is well.
fn of_name(state: &Value) -> Option<DoctorStep> {
    let status = text(state, "name_status")?;
    let mend = "have the display name approved in WhatsApp Manager";
    match status.as_str() {
        "APPROVED" | "AVAILABLE_WITHOUT_REVIEW" => None,
        "DECLINED" => Some(DoctorStep::fail("display name", status, mend)),
        _ => Some(DoctorStep::warn("display name", status, mend)),
    }
}

fn of_throughput(state: &Value) -> DoctorStep {
    let name = "throughput";
    let level = state.get("throughput").and_then(|one| text(one, "level"));
    match level.as_deref() {
        None => DoctorStep::skipped(name, "not told by the provider"),
        Some("STANDARD") => DoctorStep::ok(name, "STANDARD: 80 messages a second"),
        Some("HIGH") => DoctorStep::ok(name, "HIGH: 1000 messages a second"),
        Some("NOT_APPLICABLE") => DoctorStep::warn(
            name,
            "NOT_APPLICABLE",
            "register the number for the Cloud API",
        ),
        Some(other) => DoctorStep::warn(name, format!("{other}: unknown to Keyside"), LOOK),
    }
}

fn of_limit(answer: &Value) -> DoctorStep {
    let name = "tier";
    let tier = text(answer, LIMIT_FIELD).or_else(|| text(answer, OLD_LIMIT_FIELD));
    let users = |tier: &str| match tier {
        "TIER_50" => Some("50"),
        "TIER_250" => Some("250"),
        "TIER_1K" => Some("1000"),
        "TIER_2K" => Some("2000"),
        "TIER_10K" => Some("10,000"),
        "TIER_100K" => Some("100,000"),
        _ => None,
    };
    match tier {
        None => DoctorStep::skipped(name, "not told by the provider"),
        Some(tier) if tier == "TIER_UNLIMITED" => DoctorStep::ok(name, "TIER_UNLIMITED"),
        Some(tier) => match users(&tier) {
            Some(users) => DoctorStep::ok(
                name,
                format!("{tier}: {users} users in 24 hours for messages that no user has begun"),
            ),
            None => DoctorStep::warn(name, format!("{tier}: unknown to Keyside"), LOOK),
        },
    }
}

/// Decides about what the provider itself says to stand in the way.
fn of_health(answer: &Value) -> Vec<DoctorStep> {
    let name = "health";
    let Some(health) = answer.get(HEALTH_FIELD) else {
        return vec![DoctorStep::skipped(name, "not told by the provider")];
    };
    let overall = text(health, "can_send_message").unwrap_or_default();
    if overall == "AVAILABLE" {
        return vec![DoctorStep::ok(name, "AVAILABLE: messages can be sent")];
    }
    let outcome = match overall.as_str() {
        "LIMITED" => StepOutcome::Warn,
        "BLOCKED" => StepOutcome::Fail,
        "" => return vec![DoctorStep::skipped(name, "not told by the provider")],
        _ => StepOutcome::Warn,
    };
    let steps: Vec<_> = health
        .get("entities")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter(|entity| text(entity, "can_send_message").as_deref() != Some("AVAILABLE"))
        .flat_map(|entity| of_entity(entity, outcome))
        .take(MAX_OBSTACLES)
        .collect();
    if steps.is_empty() {
        vec![DoctorStep {
            name: name.to_owned(),
            outcome,
            found: overall,
            mend: Some(LOOK.to_owned()),
        }]
    } else {
        steps
    }
}

/// Returns the obstacles at one entity: the number, its account, the business or the app.
fn of_entity(entity: &Value, outcome: StepOutcome) -> Vec<DoctorStep> {
    let kind = text(entity, "entity_type").unwrap_or_default();
    let state = text(entity, "can_send_message").unwrap_or_default();
    let errors = entity.get("errors").and_then(Value::as_array);
    let obstacle = |error: &Value| DoctorStep {
        name: "health".to_owned(),
        outcome,
        found: format!(
            "{kind} {state}: {} (code {})",
            text(error, "error_description").unwrap_or_else(|| "no reason is told".to_owned()),
            shown(number_at(error, "/error_code"))
        ),
        mend: Some(text(error, "possible_solution").unwrap_or_else(|| LOOK.to_owned())),
    };
    let obstacles: Vec<_> = errors.into_iter().flatten().map(obstacle).collect();
    if obstacles.is_empty() {
        vec![DoctorStep {
            name: "health".to_owned(),
            outcome,
            found: format!("{kind} {state}"),
            mend: Some(LOOK.to_owned()),
        }]
    } else {
        obstacles
    }
}

/// Returns a text of an answer, short and without control characters: a terminal must not obey it.
pub(super) fn text(value: &Value, key: &str) -> Option<String> {
    let text = value.get(key)?.as_str()?;
    Some(bounded(text, MAX_TEXT))
}

/// The advice where the provider tells a state and no remedy.
const LOOK: &str = "look at the number in WhatsApp Manager";
/// The longest text of a provider that is shown, in characters: a few lines of a terminal.
const MAX_TEXT: usize = 300;
/// The obstacles that are shown of one number: one screen.
const MAX_OBSTACLES: usize = 8;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn outcome(step: &DoctorStep) -> (&str, StepOutcome) {
        (step.name.as_str(), step.outcome)
    }

    #[test]
    fn each_value_of_a_number_has_a_verdict() {
        use StepOutcome::{Fail, Ok, Skipped, Warn};
        type Judge = fn(&Value) -> DoctorStep;
        let table: [(Judge, Value, StepOutcome); 22] = [
            (of_status, json!({"status": "CONNECTED"}), Ok),
            (of_status, json!({"status": "PENDING"}), Fail),
            (of_status, json!({"status": "BANNED"}), Fail),
            (of_status, json!({"status": "FLAGGED"}), Warn),
            (of_status, json!({"status": "NEWER"}), Warn),
            (of_status, json!({}), Skipped),
            (of_quality, json!({"quality_rating": "GREEN"}), Ok),
            (of_quality, json!({"quality_rating": "UNKNOWN"}), Ok),
            (of_quality, json!({"quality_rating": "YELLOW"}), Warn),
            (of_quality, json!({"quality_rating": "RED"}), Fail),
            (of_quality, json!({"quality_rating": "PURPLE"}), Warn),
            (of_quality, json!({}), Skipped),
            (
                of_throughput,
                json!({"throughput": {"level": "STANDARD"}}),
                Ok,
            ),
            (of_throughput, json!({"throughput": {"level": "HIGH"}}), Ok),
            (
                of_throughput,
                json!({"throughput": {"level": "NOT_APPLICABLE"}}),
                Warn,
            ),
            (of_throughput, json!({"throughput": {"level": "X"}}), Warn),
            (of_throughput, json!({}), Skipped),
            (
                of_limit,
                json!({"whatsapp_business_manager_messaging_limit": "TIER_250"}),
                Ok,
            ),
            (of_limit, json!({"messaging_limit_tier": "TIER_1K"}), Ok),
            (
                of_limit,
                json!({"messaging_limit_tier": "TIER_UNLIMITED"}),
                Ok,
            ),
            (of_limit, json!({"messaging_limit_tier": "TIER_X"}), Warn),
            (of_limit, json!({}), Skipped),
        ];
        for (judge, answer, expected) in table {
            let step = judge(&answer);
            assert_eq!(step.outcome, expected, "{answer} {step:?}");
            assert_eq!(step.mend.is_some(), matches!(expected, Warn | Fail));
        }
        for (status, expected) in [
            ("APPROVED", None),
            ("AVAILABLE_WITHOUT_REVIEW", None),
            ("DECLINED", Some(Fail)),
            ("EXPIRED", Some(Warn)),
        ] {
            let step = of_name(&json!({ "name_status": status }));
            assert_eq!(step.map(|step| step.outcome), expected, "{status}");
        }
    }

    #[test]
    fn health_shows_each_obstacle_with_the_remedy_of_the_provider() {
        let blocked = json!({"health_status": {"can_send_message": "BLOCKED", "entities": [
            {"entity_type": "PHONE_NUMBER", "can_send_message": "AVAILABLE"},
            {"entity_type": "WABA", "id": "5", "can_send_message": "BLOCKED", "errors": [
                {"error_code": 141006, "error_description": "There is an error with the payment method.",
                 "possible_solution": "Add\u{1b} a payment method."}]},
            {"entity_type": "BUSINESS", "can_send_message": "LIMITED"},
        ]}});
        let steps = of_health(&blocked);
        let answers = NumberAnswers {
            state: Ok(json!({})),
            limit: Ok(json!({})),
            health: Ok(blocked),
        };
        assert_eq!(account_of(&answers).as_deref(), Some("5"));
        assert_eq!(steps.len(), 2, "{steps:?}");
        assert!(steps[0].found.contains("WABA BLOCKED: There is an error"));
        assert_eq!(steps[0].mend.as_deref(), Some("Add a payment method."));
        assert_eq!(steps[1].found, "BUSINESS LIMITED");
        for (answer, expected) in [
            (
                json!({"health_status": {"can_send_message": "AVAILABLE"}}),
                StepOutcome::Ok,
            ),
            (
                json!({"health_status": {"can_send_message": "LIMITED"}}),
                StepOutcome::Warn,
            ),
            (
                json!({"health_status": {"can_send_message": "BLOCKED"}}),
                StepOutcome::Fail,
            ),
            (json!({"health_status": {}}), StepOutcome::Skipped),
            (json!({}), StepOutcome::Skipped),
        ] {
            assert_eq!(of_health(&answer)[0].outcome, expected, "{answer}");
        }
    }

    #[test]
    fn an_answer_that_tells_nothing_is_skipped_or_wrong() {
        let error = |code: i64, subcode: i64| {
            Ok(json!({"error": {"code": code, "error_subcode": subcode}}))
        };
        for (state, expected) in [
            (Ok(json!({"status": "CONNECTED"})), StepOutcome::Ok),
            (error(10, 0), StepOutcome::Skipped),
            (error(200, 0), StepOutcome::Skipped),
            (error(100, 33), StepOutcome::Fail),
            (error(100, 0), StepOutcome::Skipped),
            (error(2, 0), StepOutcome::Skipped),
            (Err(QueryError::NotJson), StepOutcome::Fail),
        ] {
            let answers = NumberAnswers {
                state,
                limit: Ok(json!({})),
                health: Ok(json!({})),
            };
            let steps = steps("1234", &answers);
            assert_eq!(outcome(&steps[0]), ("1234 number", expected));
        }
    }
}
