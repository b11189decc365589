//! `/_sandbox/`: what tests ask the sandbox itself. It needs no token.

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::call;
use super::json::{object, success};
use super::reply::{Reply, control};
use super::state::State;
use super::token::{Grant, now};
use super::webhook::{App, Order, Signing};

/// Where the control endpoints are.
pub(super) const PREFIX: &str = "/_sandbox/";
/// The largest body.
const BODY: usize = 64 * 1024;

/// An app to subscribe; without a secret of its own it is the sandbox's app.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewApp {
    name: String,
    callback: String,
    verify_token: String,
    secret: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    name: String,
}

/// A change of an app's secret.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewSecret {
    name: String,
    secret: Option<String>,
    signing: Signs,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Signs {
    Old,
    New,
    Both,
}

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
            match read::<Token>(request, "{\"token\":..,\"scopes\":[..],\"expires_at\":N}").await {
                Ok(token) if method == Method::POST => issue(state, token),
                Ok(token) => control(StatusCode::OK, &object([("success", state.tokens.revoke(&token.token).into())])),
                Err(refusal) => refusal,
            }
        }
        (Method::GET, "apps") => control(StatusCode::OK, &state.webhooks.apps_json()),
        (Method::POST, "apps") => {
            match read(request, "{\"name\":..,\"callback\":..,\"verify_token\":..,\"secret\":..}").await {
                Ok(app) => subscribe(state, app).await,
                Err(refusal) => refusal,
            }
        }
        (Method::DELETE, "apps") => match read::<Named>(request, "{\"name\":..}").await {
            Ok(app) => done(state.webhooks.unsubscribe(&app.name)),
            Err(refusal) => refusal,
        },
        (Method::POST, "secrets") => {
            match read(request, "{\"name\":..,\"secret\":..,\"signing\":\"old\", \"new\" or \"both\"}").await {
                Ok(change) => change_secret(state, change),
                Err(refusal) => refusal,
            }
        }
        (Method::POST, "events") => order(state, request).await,
        (Method::GET, "deliveries") => control(StatusCode::OK, &state.webhooks.attempts().json()),
        (Method::DELETE, "deliveries") => {
            state.webhooks.attempts().forget();
            control(StatusCode::OK, &success())
        }
        _ => refusal(StatusCode::NOT_FOUND, THERE_ARE),
    }
}

const THERE_ARE: &str = "there are GET and DELETE sends, GET requests, POST and DELETE tokens, GET, POST and DELETE apps, \
                         POST secrets, POST events, GET and DELETE deliveries";

async fn read<T: DeserializeOwned>(request: Request<Incoming>, expected: &str) -> Result<T, Response<Reply>> {
    let body = call::bytes(request.into_body(), BODY).await.ok();
    let parsed = body.and_then(|body| serde_json::from_slice(&body).ok());
    parsed.ok_or_else(|| refusal(StatusCode::BAD_REQUEST, &format!("expected {expected}")))
}

async fn subscribe(state: &State, new: NewApp) -> Response<Reply> {
    let Some(secret) = new.secret.or_else(|| state.rules.app_secret.clone()) else {
        return refusal(StatusCode::BAD_REQUEST, "the sandbox has no app secret, expected one for the app");
    };
    let app = App { name: new.name, callback: new.callback, verify_token: new.verify_token, secret };
    match state.webhooks.subscribe(app).await {
        Ok(()) => control(StatusCode::OK, &success()),
        Err(error) => refusal(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

fn change_secret(state: &State, change: NewSecret) -> Response<Reply> {
    let signing = match change.signing {
        Signs::Old => Signing::Old,
        Signs::New => Signing::New,
        Signs::Both => Signing::Both,
    };
    done(state.webhooks.change_secret(&change.name, change.secret, signing))
}

async fn order(state: &State, request: Request<Incoming>) -> Response<Reply> {
    let Ok(body) = call::bytes(request.into_body(), BODY).await else {
        return refusal(StatusCode::BAD_REQUEST, "the body did not come whole");
    };
    match Order::parse(&body) {
        Ok(order) if state.webhooks.is_metas_only(&order) => {
            refusal(StatusCode::BAD_REQUEST, "expected the type \"text\", or a body")
        }
        Ok(order) => {
            state.order(order);
            control(StatusCode::OK, &success())
        }
        Err(problem) => refusal(StatusCode::BAD_REQUEST, &problem),
    }
}

fn done(done: bool) -> Response<Reply> {
    if done { control(StatusCode::OK, &success()) } else { refusal(StatusCode::NOT_FOUND, "there is no such app") }
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
