//! Exchange and revocation of Meta's tokens. Meta's own way to rotate without downtime: the old
//! token stays good until it is revoked.
//! <https://developers.facebook.com/docs/business-management-apis/system-users/guides/tokens>

use serde_json::Value;
use zeroize::Zeroizing;

use super::error::QueryError;
use super::query::{ProviderQuery, number_at, refuses_proof};
use crate::secret::Secret;

/// The lifetime to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenLifetime {
    /// No end, like the old token.
    Endless,
    /// 60 days, the only end that Meta offers.
    SixtyDays,
}

/// Exchanges the token of the query for a new token of the same app.
///
/// # Errors
/// If there is no answer, or Meta refuses the exchange.
pub async fn exchange_token(
    query: &ProviderQuery<'_>,
    app: &str,
    lifetime: TokenLifetime,
) -> Result<Secret, QueryError> {
    let mut parameters = vec![
        ("grant_type", "fb_exchange_token"),
        ("client_id", app),
        ("client_secret", query.app_secret()?),
        ("fb_exchange_token", query.token()?),
    ];
    if lifetime == TokenLifetime::SixtyDays {
        parameters.push(("set_token_expires_in_60_days", "true"));
    }
    let mut answer = query
        .get_with_parameters("/oauth/access_token", &parameters)
        .await?;
    match answer.get_mut("access_token").map(Value::take) {
        Some(Value::String(token)) => {
            Secret::parse(Zeroizing::new(token.into_bytes())).map_err(QueryError::NewToken)
        }
        _ => Err(QueryError::refused("the exchange", &answer)),
    }
}

/// Revokes a token with the token of the query, which is of the same app.
///
/// # Errors
/// If there is no answer, or Meta refuses: the token may still be good.
pub async fn revoke_token(
    query: &ProviderQuery<'_>,
    app: &str,
    token: &Secret,
) -> Result<(), QueryError> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the provider must be told which token to revoke"
    )]
    let revoked = token.expose();
    let parameters = [
        ("client_id", app),
        ("client_secret", query.app_secret()?),
        ("revoke_token", revoked),
        ("access_token", query.token()?),
    ];
    let answer = query
        .get_with_parameters("/oauth/revoke", &parameters)
        .await?;
    // Meta's documentation shows a string; a boolean is understood as well.
    let is_done = answer
        .get("success")
        .is_some_and(|success| *success == Value::Bool(true) || *success == "true");
    if is_done {
        Ok(())
    } else {
        Err(QueryError::refused("the revocation", &answer))
    }
}

/// Asks `debug_token` if a token is good, with the token of the query, which is of the same app.
///
/// # Errors
/// If there is no answer, or no verdict in the answer.
pub async fn is_token_valid(query: &ProviderQuery<'_>, token: &Secret) -> Result<bool, QueryError> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the provider must be told which token is asked about"
    )]
    let answer = query.debug_token(token.expose()).await?;
    answer
        .pointer("/data/is_valid")
        .and_then(Value::as_bool)
        .ok_or_else(|| QueryError::refused("the question", &answer))
}

/// Asks `debug_token` if the token of the query is good. A refusal of the question because of the
/// token is an answer.
///
/// # Errors
/// If there is no answer, or no verdict in the answer.
pub async fn is_own_token_valid(
    query: &ProviderQuery<'_>,
    token: &Secret,
) -> Result<bool, QueryError> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the provider must be told which token is asked about"
    )]
    let answer = query.debug_token(token.expose()).await?;
    let refused = &query.secrets.credential().provider.errors.refused.codes;
    let is_refused = number_at(&answer, "/error/code")
        .is_some_and(|code| refused.contains(&code.to_string()) && !refuses_proof(&answer));
    match answer.pointer("/data/is_valid").and_then(Value::as_bool) {
        Some(is_valid) => Ok(is_valid),
        None if is_refused => Ok(false),
        None => Err(QueryError::refused("the question", &answer)),
    }
}
