//! `/_sandbox/`: the control endpoints, with which tests inspect and steer the sandbox. They need
//! no token.

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::body;
use crate::clock::unix_time;
use crate::reply::{Reply, json};
use crate::state::State;
use crate::store::attempt::AttemptRow;
use crate::store::token::Grant;
use crate::webhook::{App, Order, OrderError, Signing, SubscribeError};

/// Returns true for the path of a control endpoint.
pub(crate) fn is_control(path: &str) -> bool {
    path.starts_with(PREFIX)
}

/// Answers a control request.
pub(crate) async fn answer(state: &State, request: Request<Incoming>) -> Response<Reply> {
    let answered = handle(state, request).await;
    answered.unwrap_or_else(|error| {
        let (status, text) = error.describe();
        json(status, &json!({"error": text}))
    })
}

async fn handle(
    state: &State,
    request: Request<Incoming>,
) -> Result<Response<Reply>, ControlError> {
    let (head, body) = request.into_parts();
    let endpoint = head.uri.path().strip_prefix(PREFIX).unwrap_or_default();
    match (head.method.clone(), endpoint) {
        (Method::GET, "sends") => Ok(ok(&state.records.messages_json())),
        (Method::DELETE, "sends") => {
            state.records.clear_messages();
            Ok(success())
        }
        (Method::GET, "requests") => Ok(ok(&state.records.requests_json())),
        (Method::POST, "tokens") => Ok(issue_token(state, read(body, TOKEN_FORM).await?)),
        (Method::DELETE, "tokens") => {
            let token: NewToken = read(body, TOKEN_FORM).await?;
            Ok(ok(&json!({"success": state.tokens.revoke(&token.token)})))
        }
        (Method::GET, "apps") => Ok(list_apps(state)),
        (Method::POST, "apps") => subscribe(state, read(body, APP_FORM).await?).await,
        (Method::DELETE, "apps") => {
            let app: AppName = read(body, APP_NAME_FORM).await?;
            let is_known = state.webhooks.unsubscribe(&app.name);
            is_known.then(success).ok_or(ControlError::NoApp)
        }
        (Method::POST, "secrets") => change_secret(state, read(body, SECRET_FORM).await?),
        (Method::POST, "events") => place_order(state, body).await,
        (Method::GET, "deliveries") => {
            let attempts = state.webhooks.attempts().list();
            let rows: Vec<_> = attempts.iter().map(AttemptRow::from).collect();
            Ok(ok(&rows))
        }
        (Method::DELETE, "deliveries") => {
            state.webhooks.attempts().clear();
            Ok(success())
        }
        _ => Err(ControlError::Endpoint),
    }
}

/// The reason for refusing a control request.
enum ControlError {
    /// The endpoint does not exist.
    Endpoint,
    /// The body has a different form than this.
    Form(&'static str),
    /// The body is too large or incomplete.
    Body,
    /// The app has no secret, and the sandbox has none either.
    NoSecret,
    /// No app has the name.
    NoApp,
    /// The handshake with the app failed.
    Subscribe(SubscribeError),
    /// The order for events has a wrong form.
    Order(OrderError),
    /// The order asks for events that only Meta has.
    OnlyMeta,
}

impl ControlError {
    fn describe(&self) -> (StatusCode, String) {
        let text = match self {
            Self::Endpoint => return (StatusCode::NOT_FOUND, ENDPOINTS.to_owned()),
            Self::NoApp => return (StatusCode::NOT_FOUND, "there is no such app".to_owned()),
            Self::Form(form) => format!("expected {form}"),
            Self::Body => "the body is over 64 KiB or broke off".to_owned(),
            Self::NoSecret => {
                "the sandbox has no app secret: expected a `secret` for the app".to_owned()
            }
            Self::Subscribe(error) => error.to_string(),
            Self::Order(error) => error.to_string(),
            Self::OnlyMeta => "expected the type \"text\", or a body".to_owned(),
        };
        (StatusCode::BAD_REQUEST, text)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewToken {
    token: String,
    scopes: Option<Vec<String>>,
    expires_at: Option<u64>,
}

fn issue_token(state: &State, new: NewToken) -> Response<Reply> {
    let grant = Grant {
        scopes: new.scopes.unwrap_or_else(|| Grant::usual().scopes),
        expires_at: new.expires_at.unwrap_or(0),
        issued_at: unix_time(),
    };
    state.tokens.issue(&new.token, grant);
    success()
}

#[derive(Serialize)]
struct AppRow {
    name: String,
    callback: String,
}

fn list_apps(state: &State) -> Response<Reply> {
    let apps = state.webhooks.apps().into_iter();
    let rows: Vec<_> = apps
        .map(|(name, callback)| AppRow { name, callback })
        .collect();
    ok(&rows)
}

/// An app to subscribe. Without a `secret`, the app has the sandbox's app secret.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewApp {
    name: String,
    callback: String,
    verify_token: String,
    secret: Option<String>,
}

async fn subscribe(state: &State, new: NewApp) -> Result<Response<Reply>, ControlError> {
    let secret = new.secret.or_else(|| state.rules.app_secret.clone());
    let app = App {
        name: new.name,
        callback: new.callback,
        verify_token: new.verify_token,
        secret: secret.ok_or(ControlError::NoSecret)?,
    };
    let subscribed = state.webhooks.subscribe(app).await;
    subscribed.map_err(ControlError::Subscribe)?;
    Ok(success())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AppName {
    name: String,
}

/// A change of an app's secret.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewSecret {
    name: String,
    secret: Option<String>,
    signing: SigningName,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum SigningName {
    Old,
    New,
    Both,
}

fn change_secret(state: &State, change: NewSecret) -> Result<Response<Reply>, ControlError> {
    let signing = match change.signing {
        SigningName::Old => Signing::Old,
        SigningName::New => Signing::New,
        SigningName::Both => Signing::Both,
    };
    let webhooks = &state.webhooks;
    let is_known = webhooks.change_secret(&change.name, change.secret, signing);
    is_known.then(success).ok_or(ControlError::NoApp)
}

async fn place_order(state: &State, body: Incoming) -> Result<Response<Reply>, ControlError> {
    let body = body::read(body, MAX_BODY)
        .await
        .map_err(|_| ControlError::Body)?;
    let order = Order::parse(&body).map_err(ControlError::Order)?;
    if !state.webhooks.can_carry_out(&order) {
        return Err(ControlError::OnlyMeta);
    }
    state.place(order);
    Ok(success())
}

async fn read<T: DeserializeOwned>(body: Incoming, form: &'static str) -> Result<T, ControlError> {
    let body = body::read(body, MAX_BODY)
        .await
        .map_err(|_| ControlError::Body)?;
    serde_json::from_slice(&body).map_err(|_| ControlError::Form(form))
}

fn ok<T: Serialize + ?Sized>(value: &T) -> Response<Reply> {
    json(StatusCode::OK, value)
}

fn success() -> Response<Reply> {
    ok(&json!({"success": true}))
}

/// The path of all control endpoints.
const PREFIX: &str = "/_sandbox/";

/// The largest body, in bytes. Orders for events may contain a whole webhook.
const MAX_BODY: usize = 64 * 1024;

const ENDPOINTS: &str = "there are GET and DELETE sends, GET requests, POST and DELETE tokens, GET, POST and DELETE apps, \
                         POST secrets, POST events, GET and DELETE deliveries";

const TOKEN_FORM: &str = r#"{"token":..,"scopes":[..],"expires_at":N}"#;
const APP_FORM: &str = r#"{"name":..,"callback":..,"verify_token":..,"secret":..}"#;
const APP_NAME_FORM: &str = r#"{"name":..}"#;
const SECRET_FORM: &str = r#"{"name":..,"secret":..,"signing":"old", "new" or "both"}"#;
