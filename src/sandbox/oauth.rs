//! Calls about tokens: what one is good for, a new one for an old one, taking one back.

use super::error::GraphError;
use super::ids;
use super::json::{Json, object};
use super::state::{APP, State};
use super::target::Query;
use super::token::{Grant, Standing, now};

/// What a token issued here lives: the seconds of the documented example, a bit under 60 days.
const LIFE: u64 = 5_183_944;

/// `GET /debug_token?input_token=...`.
pub(super) fn debug(state: &State, query: &Query) -> Result<Json, GraphError> {
    let input = query.get("input_token").ok_or_else(|| GraphError::required("input_token"))?;
    let data = match state.tokens.standing(input) {
        Standing::Good(grant) => good(&grant),
        Standing::Expired(_) => bad("Error validating access token: Session has expired", Some(463)),
        Standing::Revoked => bad("Error validating access token: The session has been invalidated", Some(460)),
        Standing::Unknown => bad("Invalid OAuth access token - Cannot parse access token", None),
    };
    Ok(object([("data", data)]))
}

fn good(grant: &Grant) -> Json {
    let granular = grant.scopes.iter().map(|scope| object([("scope", scope.as_str().into())]));
    object([
        ("app_id", APP.into()),
        ("type", "SYSTEM_USER".into()),
        ("application", "Sandbox".into()),
        ("data_access_expires_at", 0_i64.into()),
        ("expires_at", grant.expires_at.into()),
        ("is_valid", true.into()),
        ("issued_at", grant.issued_at.into()),
        ("scopes", Json::List(grant.scopes.iter().map(|scope| scope.as_str().into()).collect())),
        ("granular_scopes", Json::List(granular.collect())),
        ("user_id", "104169029247128".into()),
    ])
}

fn bad(message: &str, subcode: Option<i64>) -> Json {
    let mut error = object([("code", 190_i64.into()), ("message", message.into())]);
    if let Some(subcode) = subcode {
        error = error.with("subcode", subcode);
    }
    object([("app_id", APP.into()), ("error", error), ("is_valid", false.into()), ("scopes", Json::List(Vec::new()))])
}

/// `/oauth/access_token`: a token for a token, which stays valid, or an app's own token.
pub(super) fn exchange(state: &State, query: &Query) -> Result<Json, GraphError> {
    let (client, secret) = client(state, query)?;
    match query.get("grant_type") {
        Some("client_credentials") => {
            Ok(object([("access_token", format!("{client}|{secret}").into()), ("token_type", "bearer".into())]))
        }
        Some("fb_exchange_token") => {
            let old = query.get("fb_exchange_token").ok_or_else(|| GraphError::required("fb_exchange_token"))?;
            let Standing::Good(grant) = state.tokens.standing(old) else {
                return Err(GraphError::unknown_token());
            };
            let token = ids::token();
            state.tokens.issue(&token, Grant { expires_at: now() + LIFE, issued_at: now(), ..grant });
            Ok(object([("access_token", token.into()), ("token_type", "bearer".into()), ("expires_in", LIFE.into())]))
        }
        _ => Err(GraphError::required("grant_type")),
    }
}

/// `/oauth/revoke`: at once, and for good.
pub(super) fn revoke(state: &State, query: &Query) -> Result<Json, GraphError> {
    client(state, query)?;
    let token = query.get("revoke_token").ok_or_else(|| GraphError::required("revoke_token"))?;
    if !state.tokens.revoke(token) {
        return Err(GraphError::unknown_token());
    }
    // A string: so it stands in the documentation.
    Ok(object([("success", "true".into())]))
}

fn client<'a>(state: &State, query: &'a Query) -> Result<(&'a str, &'a str), GraphError> {
    let id = query.get("client_id").ok_or_else(|| GraphError::required("client_id"))?;
    let secret = query.get("client_secret").ok_or_else(|| GraphError::required("client_secret"))?;
    if !state.is_app_secret(secret) {
        return Err(GraphError::new(http::StatusCode::BAD_REQUEST, 1, "Error validating client secret."));
    }
    Ok((id, secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        let mut state = State::for_tests();
        state.rules.app_secret = Some("test_app_secret".to_owned());
        state.tokens.issue("EAAOLD", Grant { expires_at: 0, issued_at: 1_712_099_387, ..Grant::usual() });
        state
    }

    #[test]
    fn a_good_token_is_described_as_documented() {
        let described = debug(&state(), &Query::new("input_token=EAAOLD")).unwrap().plain();
        let documented = r#"{"data":{"app_id":"634974688087057","type":"SYSTEM_USER","application":"Sandbox","data_access_expires_at":0,"expires_at":0,"is_valid":true,"issued_at":1712099387,"scopes":["whatsapp_business_management","whatsapp_business_messaging"],"granular_scopes":[{"scope":"whatsapp_business_management"},{"scope":"whatsapp_business_messaging"}],"user_id":"104169029247128"}}"#;
        assert_eq!(described, documented);
    }

    #[test]
    fn an_exchange_leaves_the_old_token_valid() {
        let state = state();
        let query = "grant_type=fb_exchange_token&client_id=1&client_secret=test_app_secret&fb_exchange_token=EAAOLD";
        assert!(exchange(&state, &Query::new(query)).unwrap().plain().contains("\"expires_in\":5183944"));
        assert!(matches!(state.tokens.standing("EAAOLD"), Standing::Good(_)));
    }

    #[test]
    fn a_revoked_token_is_dead_at_once() {
        let state = state();
        revoke(&state, &Query::new("client_id=1&client_secret=test_app_secret&revoke_token=EAAOLD")).unwrap();
        assert_eq!(state.tokens.standing("EAAOLD"), Standing::Revoked);
        let described = debug(&state, &Query::new("input_token=EAAOLD")).unwrap().plain();
        assert!(described.contains("\"is_valid\":false") && described.contains("\"subcode\":460"));
    }
}
