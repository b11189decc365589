//! `/_sandbox/`: what tests ask the sandbox itself. It needs no token.

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;

use super::call;
use super::json::{object, success};
use super::reply::{Reply, control};
use super::state::State;
use super::token::{Grant, now};

/// Where the control endpoints are.
pub(super) const PREFIX: &str = "/_sandbox/";
/// The largest body.
const BODY: usize = 64 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Token {
    token: String,
    scopes: Option<Vec<String>>,
    expires_at: Option<u64>,
}

/// Answers a control request.
pub(super) async fn answer(state: &State, request: Request<Incoming>) -> Response<Reply> {
    let method = request.method().clone();
    let what = request.uri().path().strip_prefix(PREFIX).unwrap_or_default().to_owned();
    match (method, what.as_str()) {
        (Method::GET, "sends") => control(StatusCode::OK, &state.records.sends_json()),
        (Method::DELETE, "sends") => {
            state.records.forget_sends();
            control(StatusCode::OK, &success())
        }
        (Method::GET, "requests") => control(StatusCode::OK, &state.records.requests_json()),
        (method @ (Method::POST | Method::DELETE), "tokens") => {
            let token = call::bytes(request.into_body(), BODY).await.ok();
            match token.and_then(|body| serde_json::from_slice::<Token>(&body).ok()) {
                Some(token) if method == Method::POST => issue(state, token),
                Some(token) => {
                    control(StatusCode::OK, &object([("success", state.tokens.revoke(&token.token).into())]))
                }
                None => refusal(StatusCode::BAD_REQUEST, "expected {\"token\":..,\"scopes\":[..],\"expires_at\":N}"),
            }
        }
        _ => refusal(StatusCode::NOT_FOUND, "there are GET and DELETE sends, GET requests, POST and DELETE tokens"),
    }
}

fn issue(state: &State, token: Token) -> Response<Reply> {
    let grant = Grant {
        scopes: token.scopes.unwrap_or_else(|| Grant::usual().scopes),
        expires_at: token.expires_at.unwrap_or(0),
        issued_at: now(),
    };
    state.tokens.issue(&token.token, grant);
    control(StatusCode::OK, &success())
}

fn refusal(status: StatusCode, text: &str) -> Response<Reply> {
    control(status, &object([("error", text.into())]))
}
