//! Who calls: the token, where it came from, its scopes, and the proof that goes with it.

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::date;
use super::error::GraphError;
use super::ids;
use super::state::State;
use super::target::Query;
use super::token::{Grant, Standing, now};

/// How long a time-stamped proof is good, in seconds.
const PROOF_LIFE: u64 = 300;

/// A token as it was presented. It has no `Debug`: nothing prints it.
pub(super) struct Presented {
    /// The token.
    pub(super) token: String,
    /// `Bearer`, `OAuth` or `query`.
    pub(super) scheme: &'static str,
}

/// A caller whose token is good.
pub(super) struct Caller {
    /// The token, for links that carry it.
    pub(super) token: String,
    /// Its name in records.
    pub(super) fingerprint: String,
    grant: Grant,
}

impl Caller {
    /// Refuses a caller whose token lacks the scope.
    pub(super) fn needs(&self, scope: &str) -> Result<(), GraphError> {
        if self.grant.scopes.iter().any(|granted| granted == scope) {
            return Ok(());
        }
        Err(GraphError::missing_scope(scope))
    }
}

/// The token of a request, wherever it is; the query wins, as parameters do on Graph.
pub(super) fn presented(headers: &HeaderMap, query: &Query) -> Option<Presented> {
    if let Some(token) = query.get("access_token") {
        return Some(Presented { token: token.to_owned(), scheme: "query" });
    }
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let scheme = ["Bearer", "OAuth"].into_iter().find(|known| known.eq_ignore_ascii_case(scheme))?;
    Some(Presented { token: token.trim().to_owned(), scheme })
}

/// Lets a request in, or says why not.
pub(super) fn authenticate(state: &State, headers: &HeaderMap, query: &Query) -> Result<Caller, GraphError> {
    if headers.get_all(AUTHORIZATION).iter().nth(1).is_some() {
        return Err(GraphError::doubled_authorization());
    }
    let presented = presented(headers, query).filter(|presented| !presented.token.is_empty());
    let Presented { token, .. } = presented.ok_or_else(GraphError::no_token)?;
    let app_token = is_app_token(state, &token);
    let grant = if app_token { Grant::usual() } else { good_grant(state, &token)? };
    if !app_token {
        check_proof(state, &token, query)?;
    }
    Ok(Caller { fingerprint: ids::fingerprint(&token), token, grant })
}

/// What a token is good for, or how it is not.
fn good_grant(state: &State, token: &str) -> Result<Grant, GraphError> {
    match state.tokens.standing(token) {
        Standing::Good(grant) => Ok(grant),
        Standing::Expired(when) => Err(GraphError::expired_token(&date::graph(when), &date::graph(now()))),
        Standing::Revoked => Err(GraphError::revoked_token()),
        Standing::Unknown => Err(GraphError::unknown_token()),
    }
}

/// `{app-id}|{app-secret}` is a token too.
fn is_app_token(state: &State, token: &str) -> bool {
    let Some((app, secret)) = token.split_once('|') else {
        return false;
    };
    app.bytes().all(|byte| byte.is_ascii_digit()) && state.is_app_secret(secret)
}

/// A wrong proof fails also where none is required.
fn check_proof(state: &State, token: &str, query: &Query) -> Result<(), GraphError> {
    let Some(secret) = &state.rules.app_secret else {
        return Ok(());
    };
    let Some(proof) = query.get("appsecret_proof") else {
        return if state.rules.require_proof { Err(GraphError::no_proof()) } else { Ok(()) };
    };
    let expected = match query.get("appsecret_time") {
        None => self::proof(secret, token),
        Some(time) => {
            let stamped: u64 = time.parse().map_err(|_| GraphError::wrong_proof())?;
            if stamped.abs_diff(now()) > PROOF_LIFE {
                return Err(GraphError::wrong_proof());
            }
            self::proof(secret, &format!("{token}|{time}"))
        }
    };
    if bool::from(expected.as_bytes().ct_eq(proof.as_bytes())) {
        return Ok(());
    }
    Err(GraphError::wrong_proof())
}

/// `appsecret_proof` over a token, or over a token, `|` and a time.
fn proof(secret: &str, message: &str) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else {
        return String::new();
    };
    mac.update(message.as_bytes());
    HEXLOWER.encode(&mac.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proofs_are_those_of_the_facts() {
        let classic = "bad6df0b858104754a0ffde2f0c05fe9731f1a5e141ee1bccf316d05f28d5135";
        assert_eq!(proof("test_app_secret", "EAATESTTOKEN"), classic);
        let stamped = "5e2cd7acbdafbb2ebd069b0d0d0d245c348d80006b67205fc66411e2c6738bf7";
        assert_eq!(proof("test_app_secret", "EAATESTTOKEN|1700000000"), stamped);
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
    fn a_token_is_taken_from_all_three_places() {
        let state = state(false);
        assert_eq!(error(&state, &["Bearer EAATESTTOKEN"], ""), None);
        assert_eq!(error(&state, &["OAuth EAATESTTOKEN"], ""), None);
        assert_eq!(error(&state, &[], "access_token=EAATESTTOKEN"), None);
        assert_eq!(error(&state, &[], "access_token=634974688087057%7Ctest_app_secret"), None);
    }

    #[test]
    fn a_token_that_is_missing_doubled_or_wrong_is_refused() {
        let state = state(false);
        assert_eq!(error(&state, &[], "").map(|error| error.0), Some(104));
        assert_eq!(error(&state, &["Bearer X"], "").map(|error| error.0), Some(190));
        assert_eq!(error(&state, &["Bearer EAATESTTOKEN", "Bearer EAATESTTOKEN"], "").map(|error| error.0), Some(100));
        assert_eq!(error(&state, &[], "access_token=1%7Cnot_the_secret").map(|error| error.0), Some(190));
    }

    #[test]
    fn a_proof_is_required_only_where_the_toggle_is_on() {
        let message = "API calls from the server require an appsecret_proof argument".to_owned();
        assert_eq!(error(&state(true), &["Bearer EAATESTTOKEN"], ""), Some((100, message)));
        assert_eq!(error(&state(false), &["Bearer EAATESTTOKEN"], ""), None);
    }

    #[test]
    fn a_wrong_proof_fails_even_where_none_is_required() {
        let message = "Invalid appsecret_proof provided in the API argument".to_owned();
        let wrong = error(&state(false), &["Bearer EAATESTTOKEN"], "appsecret_proof=00");
        assert_eq!(wrong, Some((100, message)));
    }

    #[test]
    fn a_stamped_proof_is_good_for_five_minutes() {
        let query = |age: u64| {
            let time = now() - age;
            let proof = proof("test_app_secret", &format!("EAATESTTOKEN|{time}"));
            format!("appsecret_proof={proof}&appsecret_time={time}")
        };
        let state = state(true);
        assert_eq!(error(&state, &["Bearer EAATESTTOKEN"], &query(10)), None);
        assert_eq!(error(&state, &["Bearer EAATESTTOKEN"], &query(400)).map(|error| error.0), Some(100));
    }
}
