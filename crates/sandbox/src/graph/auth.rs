//! Authentication of Graph calls: the token, the place of the token, the scopes, and the proof with
//! the app secret.

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::error::GraphError;
use crate::clock::{graph_date, unix_time};
use crate::ids;
use crate::query::Query;
use crate::state::State;
use crate::store::token::{Grant, TokenState};

/// A token in a request. The type has no `Debug`, so that no token is printed.
pub(crate) struct PresentedToken {
    /// The token.
    pub(crate) token: String,
    /// The place of the token: `Bearer`, `OAuth` or `query`.
    pub(crate) scheme: &'static str,
}

impl PresentedToken {
    /// Finds the token of a request. A token in the query wins, as on Graph.
    pub(crate) fn find(headers: &HeaderMap, query: &Query) -> Option<Self> {
        if let Some(token) = query.get("access_token") {
            return Some(Self {
                token: token.to_owned(),
                scheme: "query",
            });
        }
        let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
        let (scheme, token) = value.split_once(' ')?;
        let scheme = ["Bearer", "OAuth"]
            .into_iter()
            .find(|known| known.eq_ignore_ascii_case(scheme))?;
        Some(Self {
            token: token.trim().to_owned(),
            scheme,
        })
    }

    /// Returns the fingerprint of the token and the place of the token, for records.
    pub(crate) fn describe(&self) -> (String, &'static str) {
        (ids::fingerprint(&self.token), self.scheme)
    }
}

/// A caller with a valid token.
pub(crate) struct Caller {
    /// The token, for links that contain it.
    pub(crate) token: String,
    /// The fingerprint of the token, for records.
    pub(crate) fingerprint: String,
    grant: Grant,
}

impl Caller {
    /// Refuses a caller whose token lacks the scope.
    pub(crate) fn require(&self, scope: &str) -> Result<(), GraphError> {
        if self.grant.has(scope) {
            Ok(())
        } else {
            Err(GraphError::missing_scope(scope))
        }
    }
}

/// Checks the token and the proof of a call.
pub(crate) fn authenticate(
    state: &State,
    headers: &HeaderMap,
    query: &Query,
) -> Result<Caller, GraphError> {
    if headers.get_all(AUTHORIZATION).iter().nth(1).is_some() {
        return Err(GraphError::doubled_authorization());
    }
    let token = PresentedToken::find(headers, query)
        .map(|presented| presented.token)
        .filter(|token| !token.is_empty())
        .ok_or_else(GraphError::no_token)?;
    let grant = if is_app_token(state, &token) {
        Grant::usual()
    } else {
        let grant = valid_grant(state, &token)?;
        check_proof(state, &token, query)?;
        grant
    };
    Ok(Caller {
        fingerprint: ids::fingerprint(&token),
        token,
        grant,
    })
}

fn valid_grant(state: &State, token: &str) -> Result<Grant, GraphError> {
    match state.tokens.state(token) {
        TokenState::Good(grant) => Ok(grant),
        TokenState::Expired(when) => Err(GraphError::expired_token(
            &graph_date(when),
            &graph_date(unix_time()),
        )),
        TokenState::Revoked => Err(GraphError::revoked_token()),
        TokenState::Unknown => Err(GraphError::unknown_token()),
    }
}

/// Returns true for `{app-id}|{app-secret}`, the token of an app.
fn is_app_token(state: &State, token: &str) -> bool {
    let Some((app, secret)) = token.split_once('|') else {
        return false;
    };
    app.bytes().all(|byte| byte.is_ascii_digit()) && state.is_app_secret(secret)
}

/// Checks `appsecret_proof`. Like Graph, refuses a wrong proof even if no proof is required.
fn check_proof(state: &State, token: &str, query: &Query) -> Result<(), GraphError> {
    let Some(secret) = &state.rules.app_secret else {
        return Ok(());
    };
    let Some(proof) = query.get("appsecret_proof") else {
        return if state.rules.require_proof {
            Err(GraphError::no_proof())
        } else {
            Ok(())
        };
    };
    let expected = match query.get("appsecret_time") {
        None => make_proof(secret, token),
        Some(time) => {
            let stamped: u64 = time.parse().map_err(|_| GraphError::wrong_proof())?;
            if stamped.abs_diff(unix_time()) > PROOF_LIFETIME {
                return Err(GraphError::wrong_proof());
            }
            make_proof(secret, &format!("{token}|{time}"))
        }
    };
    if bool::from(expected.as_bytes().ct_eq(proof.as_bytes())) {
        Ok(())
    } else {
        Err(GraphError::wrong_proof())
    }
}

/// Makes an `appsecret_proof` over a token, or over a token, `|` and a time.
fn make_proof(secret: &str, message: &str) -> String {
    // HMAC takes keys of any length, so there is always a proof.
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes())
        .map(|mac| mac.chain_update(message).finalize());
    mac.map(|mac| HEXLOWER.encode(&mac.into_bytes()))
        .unwrap_or_default()
}

/// The lifetime of a proof with a time, in seconds, from Meta's documentation.
const PROOF_LIFETIME: u64 = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proofs_equal_recorded_proofs() {
        let classic = "bad6df0b858104754a0ffde2f0c05fe9731f1a5e141ee1bccf316d05f28d5135";
        assert_eq!(make_proof("test_app_secret", "EAATESTTOKEN"), classic);
        let stamped = "5e2cd7acbdafbb2ebd069b0d0d0d245c348d80006b67205fc66411e2c6738bf7";
        assert_eq!(
            make_proof("test_app_secret", "EAATESTTOKEN|1700000000"),
            stamped
        );
    }

    fn state(require_proof: bool) -> State {
        let mut state = State::for_tests();
        state.rules.app_secret = Some("test_app_secret".to_owned());
        state.rules.require_proof = require_proof;
        state.tokens.issue("EAATESTTOKEN", Grant::usual());
        state
    }

    fn error(state: &State, authorization: &[&str], query: &str) -> Option<(i64, String)> {
        let mut headers = HeaderMap::new();
        for value in authorization {
            headers.append(AUTHORIZATION, value.parse().unwrap());
        }
        let result = authenticate(state, &headers, &Query::new(query));
        result.err().map(|error| (error.code, error.message))
    }

    #[test]
    fn a_token_is_found_in_both_schemes_and_in_the_query() {
        let state = state(false);
        assert_eq!(error(&state, &["Bearer EAATESTTOKEN"], ""), None);
        assert_eq!(error(&state, &["OAuth EAATESTTOKEN"], ""), None);
        assert_eq!(error(&state, &[], "access_token=EAATESTTOKEN"), None);
        assert_eq!(
            error(
                &state,
                &[],
                "access_token=634974688087057%7Ctest_app_secret"
            ),
            None
        );
    }

    #[test]
    fn a_missing_doubled_or_wrong_token_is_refused() {
        let state = state(false);
        assert_eq!(error(&state, &[], "").map(|error| error.0), Some(104));
        assert_eq!(
            error(&state, &["Bearer X"], "").map(|error| error.0),
            Some(190)
        );
        assert_eq!(
            error(&state, &["Bearer EAATESTTOKEN", "Bearer EAATESTTOKEN"], "").map(|error| error.0),
            Some(100)
        );
        assert_eq!(
            error(&state, &[], "access_token=1%7Cnot_the_secret").map(|error| error.0),
            Some(190)
        );
    }

    #[test]
    fn a_missing_proof_fails_only_if_proofs_are_required() {
        let message = "API calls from the server require an appsecret_proof argument".to_owned();
        assert_eq!(
            error(&state(true), &["Bearer EAATESTTOKEN"], ""),
            Some((100, message))
        );
        assert_eq!(error(&state(false), &["Bearer EAATESTTOKEN"], ""), None);
    }

    #[test]
    fn a_wrong_proof_fails_even_if_proofs_are_not_required() {
        let message = "Invalid appsecret_proof provided in the API argument".to_owned();
        let wrong = error(
            &state(false),
            &["Bearer EAATESTTOKEN"],
            "appsecret_proof=00",
        );
        assert_eq!(wrong, Some((100, message)));
    }

    #[test]
    fn a_proof_with_a_time_is_valid_for_five_minutes() {
        let query = |age: u64| {
            let time = unix_time() - age;
            let proof = make_proof("test_app_secret", &format!("EAATESTTOKEN|{time}"));
            format!("appsecret_proof={proof}&appsecret_time={time}")
        };
        let state = state(true);
        assert_eq!(error(&state, &["Bearer EAATESTTOKEN"], &query(10)), None);
        assert_eq!(
            error(&state, &["Bearer EAATESTTOKEN"], &query(400)).map(|error| error.0),
            Some(100)
        );
    }
}
