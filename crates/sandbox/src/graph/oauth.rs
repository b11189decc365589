//! Calls about tokens: inspection, exchange, revocation.

use http::StatusCode;
use serde::Serialize;

use super::error::GraphError;
use crate::clock::unix_time;
use crate::ids::{self, APP};
use crate::json::GraphJson;
use crate::query::Query;
use crate::state::State;
use crate::store::token::{Grant, TokenState};

/// `GET /debug_token?input_token=...`.
pub(crate) fn debug(state: &State, query: &Query) -> Result<GraphJson, GraphError> {
    let input = required(query, "input_token")?;
    let data = match state.tokens.state(input) {
        TokenState::Good(grant) => TokenInfo::Valid(ValidToken::new(&grant)),
        TokenState::Expired(_) => TokenInfo::invalid(
            "Error validating access token: Session has expired",
            Some(463),
        ),
        TokenState::Revoked => TokenInfo::invalid(
            "Error validating access token: The session has been invalidated",
            Some(460),
        ),
        TokenState::Unknown => TokenInfo::invalid(
            "Invalid OAuth access token - Cannot parse access token",
            None,
        ),
    };
    Ok(GraphJson::new(&DebugAnswer { data }))
}

#[derive(Serialize)]
struct DebugAnswer {
    data: TokenInfo,
}

#[derive(Serialize)]
#[serde(untagged)]
enum TokenInfo {
    Valid(ValidToken),
    Invalid {
        app_id: &'static str,
        error: TokenError,
        is_valid: bool,
        scopes: [String; 0],
    },
}

impl TokenInfo {
    fn invalid(message: &'static str, subcode: Option<i64>) -> Self {
        Self::Invalid {
            app_id: APP,
            error: TokenError {
                code: 190,
                message,
                subcode,
            },
            is_valid: false,
            scopes: [],
        }
    }
}

#[derive(Serialize)]
struct TokenError {
    code: i64,
    message: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subcode: Option<i64>,
}

/// The description of a valid token, in the documented order.
#[derive(Serialize)]
struct ValidToken {
    app_id: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    application: &'static str,
    data_access_expires_at: u64,
    expires_at: u64,
    is_valid: bool,
    issued_at: u64,
    scopes: Vec<String>,
    granular_scopes: Vec<GranularScope>,
    user_id: &'static str,
}

#[derive(Serialize)]
struct GranularScope {
    scope: String,
}

impl ValidToken {
    fn new(grant: &Grant) -> Self {
        let scopes = grant.scopes.clone();
        let granular = scopes.iter().cloned().map(|scope| GranularScope { scope });
        Self {
            app_id: APP,
            kind: "SYSTEM_USER",
            application: "Sandbox",
            data_access_expires_at: 0,
            expires_at: grant.expires_at,
            is_valid: true,
            issued_at: grant.issued_at,
            granular_scopes: granular.collect(),
            scopes,
            user_id: "104169029247128",
        }
    }
}

/// `/oauth/access_token`: a new token for an old token, which stays valid, or the token of the app.
pub(crate) fn exchange(state: &State, query: &Query) -> Result<GraphJson, GraphError> {
    let (client, secret) = client(state, query)?;
    match query.get("grant_type") {
        Some("client_credentials") => Ok(GraphJson::new(&TokenAnswer {
            access_token: format!("{client}|{secret}"),
            token_type: "bearer",
            expires_in: None,
        })),
        Some("fb_exchange_token") => {
            let old = required(query, "fb_exchange_token")?;
            let TokenState::Good(grant) = state.tokens.state(old) else {
                return Err(GraphError::unknown_token());
            };
            let token = ids::token();
            let grant = Grant {
                expires_at: unix_time() + TOKEN_LIFETIME,
                issued_at: unix_time(),
                ..grant
            };
            state.tokens.issue(&token, grant);
            Ok(GraphJson::new(&TokenAnswer {
                access_token: token,
                token_type: "bearer",
                expires_in: Some(TOKEN_LIFETIME),
            }))
        }
        _ => Err(GraphError::required("grant_type")),
    }
}

#[derive(Serialize)]
struct TokenAnswer {
    access_token: String,
    token_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in: Option<u64>,
}

/// `/oauth/revoke`, with immediate effect.
pub(crate) fn revoke(state: &State, query: &Query) -> Result<GraphJson, GraphError> {
    client(state, query)?;
    let token = required(query, "revoke_token")?;
    if !state.tokens.revoke(token) {
        return Err(GraphError::unknown_token());
    }
    // Meta's documentation has a string here, not a boolean.
    Ok(GraphJson::new(&RevokeAnswer { success: "true" }))
}

#[derive(Serialize)]
struct RevokeAnswer {
    success: &'static str,
}

/// Returns the id and the secret of the app in a call that has no token.
fn client<'a>(state: &State, query: &'a Query) -> Result<(&'a str, &'a str), GraphError> {
    let id = required(query, "client_id")?;
    let secret = required(query, "client_secret")?;
    if !state.is_app_secret(secret) {
        let message = "Error validating client secret.";
        return Err(GraphError::new(StatusCode::BAD_REQUEST, 1, message));
    }
    Ok((id, secret))
}

/// Returns a parameter that a call must have.
fn required<'a>(query: &'a Query, name: &str) -> Result<&'a str, GraphError> {
    query.get(name).ok_or_else(|| GraphError::required(name))
}

/// The lifetime of an exchanged token in seconds, from Meta's documented example: a little under 60
/// days.
const TOKEN_LIFETIME: u64 = 5_183_944;

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        let mut state = State::for_tests();
        state.rules.app_secret = Some("test_app_secret".to_owned());
        state.tokens.issue(
            "EAAOLD",
            Grant {
                expires_at: 0,
                issued_at: 1_712_099_387,
                ..Grant::usual()
            },
        );
        state
    }

    #[test]
    fn a_good_token_is_described_as_documented() {
        let described = debug(&state(), &Query::new("input_token=EAAOLD")).unwrap();
        let documented = r#"{"data":{"app_id":"634974688087057","type":"SYSTEM_USER","application":"Sandbox","data_access_expires_at":0,"expires_at":0,"is_valid":true,"issued_at":1712099387,"scopes":["whatsapp_business_management","whatsapp_business_messaging"],"granular_scopes":[{"scope":"whatsapp_business_management"},{"scope":"whatsapp_business_messaging"}],"user_id":"104169029247128"}}"#;
        assert_eq!(described.as_str(), documented);
    }

    #[test]
    fn an_exchange_leaves_the_old_token_valid() {
        let state = state();
        let query = "grant_type=fb_exchange_token&client_id=1&client_secret=test_app_secret&fb_exchange_token=EAAOLD";
        assert!(
            exchange(&state, &Query::new(query))
                .unwrap()
                .as_str()
                .contains("\"expires_in\":5183944")
        );
        assert!(matches!(state.tokens.state("EAAOLD"), TokenState::Good(_)));
    }

    #[test]
    fn a_revoked_token_is_invalid_at_once() {
        let state = state();
        revoke(
            &state,
            &Query::new("client_id=1&client_secret=test_app_secret&revoke_token=EAAOLD"),
        )
        .unwrap();
        assert_eq!(state.tokens.state("EAAOLD"), TokenState::Revoked);
        let described = debug(&state, &Query::new("input_token=EAAOLD")).unwrap();
        let described = described.as_str();
        assert!(described.contains("\"is_valid\":false") && described.contains("\"subcode\":460"));
    }
}
