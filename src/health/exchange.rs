//! A new token for an old one, Meta's own way to rotate without downtime: the old one stays good until it
//! is revoked. <https://developers.facebook.com/docs/business-management-apis/system-users/guides/tokens>

use serde_json::Value;
use zeroize::Zeroizing;

use super::{Question, number};
use crate::secret::Secret;

/// Exchanges the token of `question` for a new one of the same app. Where it `ends`, the new one is asked
/// for with 60 days.
///
/// # Errors
/// Why there is no new token.
pub async fn exchange(question: &Question<'_>, app: &str, ends: bool) -> Result<Secret, String> {
    let mut parameters = vec![
        ("grant_type", "fb_exchange_token"),
        ("client_id", app),
        ("client_secret", question.app_secret()?),
        ("fb_exchange_token", question.token()?),
    ];
    if ends {
        parameters.push(("set_token_expires_in_60_days", "true"));
    }
    let mut answer = question.get_with("/oauth/access_token", &parameters).await?;
    match answer.get_mut("access_token").map(Value::take) {
        Some(Value::String(token)) => {
            Secret::parse(Zeroizing::new(token.into_bytes())).map_err(|error| format!("the new token: {error}"))
        }
        _ => Err(refused("the exchange", &answer)),
    }
}

/// Revokes `old` with the token of `question`, which is of the same app.
///
/// # Errors
/// Why the old one is still good.
pub async fn revoke(question: &Question<'_>, app: &str, old: &Secret) -> Result<(), String> {
    #[expect(clippy::disallowed_methods, reason = "the provider must be told which token to revoke")]
    let old = old.expose();
    let parameters = [
        ("client_id", app),
        ("client_secret", question.app_secret()?),
        ("revoke_token", old),
        ("access_token", question.token()?),
    ];
    let answer = question.get_with("/oauth/revoke", &parameters).await?;
    // Meta's documentation has a string there.
    let done = answer.get("success").is_some_and(|success| *success == Value::Bool(true) || *success == "true");
    if done { Ok(()) } else { Err(refused("the revocation", &answer)) }
}

/// Whether a token is good, as debug_token tells the token of `question`, which is of the same app.
///
/// # Errors
/// Why nothing is known of it.
pub async fn is_valid(question: &Question<'_>, token: &Secret) -> Result<bool, String> {
    #[expect(clippy::disallowed_methods, reason = "the provider must be told which token is asked about")]
    let token = token.expose();
    let answer = question.about("/debug_token", "input_token", token).await?;
    let valid = answer.pointer("/data/is_valid").and_then(Value::as_bool);
    valid.ok_or_else(|| refused("the question", &answer))
}

fn refused(what: &str, answer: &Value) -> String {
    format!("{what} was refused (code {})", number(answer, "/error/code"))
}
