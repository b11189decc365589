//! The handlers of Meta's two hosts: Graph, and the media host in [`download`].

mod account;
mod answer;
mod app;
mod auth;
mod call;
pub(crate) mod download;
mod error;
mod group;
mod list;
mod made;
mod media;
mod message;
mod number;
mod oauth;
mod page;
mod sample;
mod send;
mod setting;
mod target;
mod template;
mod upload;

use http::{Method, Request};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::ids::{ACCOUNT, is_group_id, is_object_id};
use crate::json::GraphJson;
use crate::query::Query;
use crate::reply::{Outcome, set_header};
use crate::state::State;
use crate::store::record::Arrival;
use crate::store::token::{MANAGEMENT, MESSAGING};

use answer::{Usage, UsageKind};
use auth::PresentedToken;
use call::Call;
use error::GraphError;
use send::Handled;
use setting::Setting;
use target::Target;

/// Answers a request to the Graph host.
pub(crate) async fn answer(state: &State, request: Request<Incoming>) -> Outcome {
    let (head, body) = request.into_parts();
    let query = Query::new(head.uri.query().unwrap_or_default());
    let target = Target::new(head.uri.path());
    let credential = PresentedToken::find(&head.headers, &query)
        .as_ref()
        .map(PresentedToken::describe);
    let number = state
        .records
        .arrived(Arrival::new("graph", &head, credential));
    if !state.rules.latency.is_zero() {
        tokio::time::sleep(state.rules.latency).await;
    }
    let result = handle(state, &head, body, &target, &query).await;
    let outcome = finish(state, result, &target).await;
    if let Outcome::Answer(response) = &outcome {
        state.records.answered(number, response.status());
    }
    outcome
}

/// The result of a call, with the limit of the account that the call counts against, if any.
struct CallResult {
    handled: Result<Handled, GraphError>,
    usage: Option<UsageKind>,
}

async fn handle(
    state: &State,
    head: &http::request::Parts,
    body: Incoming,
    target: &Target,
    query: &Query,
) -> CallResult {
    let segments = target.segments();
    let without_account = |result: Result<GraphJson, GraphError>| CallResult {
        handled: result.map(Handled::from),
        usage: None,
    };
    if let Some(result) = token_call(state, &head.method, &segments, query) {
        return without_account(result);
    }
    let caller = match auth::authenticate(state, &head.headers, query) {
        Ok(caller) => caller,
        Err(error) => return without_account(Err(error)),
    };
    if head.method == Method::GET && segments == ["debug_token"] {
        return without_account(oauth::debug(state, query));
    }
    let call = Call {
        state,
        method: &head.method,
        headers: &head.headers,
        target,
        query,
        caller: &caller,
    };
    let is_messaging = matches!(segments.as_slice(), [_, edge] if MESSAGING_EDGES.contains(edge));
    CallResult {
        handled: route(&call, &segments, body).await,
        usage: Some(if is_messaging {
            UsageKind::Messaging
        } else {
            UsageKind::Management
        }),
    }
}

/// Handles the calls that are authorized by a client secret in the place of a token.
fn token_call(
    state: &State,
    method: &Method,
    segments: &[&str],
    query: &Query,
) -> Option<Result<GraphJson, GraphError>> {
    if method != Method::GET && method != Method::POST {
        return None;
    }
    match segments {
        ["oauth", "access_token"] => Some(oauth::exchange(state, query)),
        ["oauth", "revoke"] => Some(oauth::revoke(state, query)),
        _ => None,
    }
}

async fn route(call: &Call<'_>, segments: &[&str], body: Incoming) -> Result<Handled, GraphError> {
    match segments {
        [id] if is_object_id(id) => object(call, id, body).await.map(Handled::from),
        [id, edge] if is_object_id(id) => {
            let is_messaging = MESSAGING_EDGES.contains(edge) || sample::is_messaging(edge);
            let scope = if is_messaging { MESSAGING } else { MANAGEMENT };
            call.caller.require(scope)?;
            match (call.method.as_str(), *edge) {
                ("POST", "messages" | "marketing_messages") => {
                    send::message(call, id, edge, body).await
                }
                ("POST", "messages_encrypted") => send::encrypted(call, id, body).await,
                _ => edge_call(call, id, edge, body).await.map(Handled::from),
            }
        }
        [id, rest @ ..] if is_group_id(id) => {
            call.caller.require(MESSAGING)?;
            match rest {
                [] => group::object(call, id, body).await,
                [edge] => group::edge(call, id, edge, body).await,
                _ => Err(GraphError::unknown_path(&call.target.path)),
            }
            .map(Handled::from)
        }
        _ => special(call, segments, body).await.map(Handled::from),
    }
}

/// Handles the paths that are neither an object nor an edge of one.
async fn special(
    call: &Call<'_>,
    segments: &[&str],
    body: Incoming,
) -> Result<GraphJson, GraphError> {
    if let ["signups", id] = segments
        && call.state.objects.has(id)
    {
        call.caller.require(MANAGEMENT)?;
        return object(call, id, body).await;
    }
    if let Some(answer) = sample::fixed(call, segments) {
        return call.caller.require(MANAGEMENT).map(|()| answer);
    }
    match (call.method.as_str(), segments) {
        (_, [session]) if session.starts_with("upload:") => {
            upload_session(call, session, body).await
        }
        ("POST", ["app", "uploads"]) => {
            call.caller.require(MANAGEMENT)?;
            upload::open(call)
        }
        ("POST", [id, "message_templates", action @ ("archive" | "unarchive")])
            if is_object_id(id) =>
        {
            call.caller.require(MANAGEMENT)?;
            template::archive(call, action, body).await
        }
        (_, [id, "message_qrdls", code]) if is_object_id(id) => {
            call.caller.require(MANAGEMENT)?;
            made::code(call, id, code, body).await
        }
        ("GET" | "POST", [id, "payment_configuration", name]) if is_object_id(id) => {
            call.caller.require(MANAGEMENT)?;
            list::payment_configuration(call, id, name, body).await
        }
        ("GET", [id, "payments", _, reference]) if is_object_id(id) => {
            call.caller.require(MESSAGING)?;
            Ok(account::payment(reference))
        }
        (method, [id]) => Err(GraphError::unknown_object(method, id)),
        _ => Err(GraphError::unknown_path(&call.target.path)),
    }
}

/// Handles `/{id}/{edge}`, except the edges that send messages.
async fn edge_call(
    call: &Call<'_>,
    id: &str,
    edge: &str,
    body: Incoming,
) -> Result<GraphJson, GraphError> {
    if let Some(setting) = Setting::at(edge) {
        return setting.call(call, id, body).await;
    }
    match (call.method.as_str(), edge) {
        ("POST", "media") => media::upload(call, id, body).await,
        ("GET" | "POST" | "DELETE", "message_templates") => template::handle(call, id, body).await,
        ("POST", "upsert_message_templates") => template::upsert(call, id, body).await,
        ("GET", "phone_numbers") => Ok(number::list(call, id)),
        ("POST", "register" | "deregister" | "request_code" | "verify_code") => {
            number::registration(call, id, edge, body).await
        }
        ("GET" | "POST", "whatsapp_business_profile") => account::profile(call, id, body).await,
        ("GET" | "POST" | "DELETE", "subscriptions") => app::subscriptions(call, id, body).await,
        ("GET" | "POST" | "DELETE", "subscribed_apps") => app::subscribed(call, id, body).await,
        ("GET", "access_token") | ("POST", "system_user_access_tokens" | "access_tokens") => {
            Ok(app::token(call))
        }
        ("GET" | "POST" | "DELETE", "block_users") => account::block_users(call, id, body).await,
        ("POST", "calls") => account::calls(call, id, body).await,
        ("POST", "uploads") => upload::open(call),
        ("GET" | "POST", "groups") => group::of_sender(call, id, body).await,
        ("GET" | "POST", "flows") => or_sample(call, id, edge, made::flows(call, id, body).await?),
        ("GET" | "POST" | "DELETE", "message_qrdls") => {
            or_sample(call, id, edge, made::codes(call, id, body).await?)
        }
        ("POST", "publish" | "deprecate") => Ok(made::flow_status(call, id, edge)),
        _ => {
            let answer = list::answer(call, id, edge, body).await?;
            let answer = answer.or_else(|| list::partner_answer(call, id, edge));
            or_sample(call, id, edge, answer)
        }
    }
}

/// The answer, or else the sample of the edge. An unknown path must fail: an answer of success
/// would hide a missing part of the emulation.
fn or_sample(
    call: &Call<'_>,
    id: &str,
    edge: &str,
    answer: Option<GraphJson>,
) -> Result<GraphJson, GraphError> {
    answer
        .or_else(|| sample::answer(call, id, edge))
        .ok_or_else(|| GraphError::unknown_path(&format!("/{edge}")))
}

/// Handles `/{id}`. The kind of the object decides which methods and scopes apply.
async fn object(call: &Call<'_>, id: &str, body: Incoming) -> Result<GraphJson, GraphError> {
    let file = call.state.media.get(id);
    call.caller.require(if file.is_some() {
        MESSAGING
    } else {
        MANAGEMENT
    })?;
    if call.state.objects.has(id) {
        match call.state.kept.list_with(id) {
            Some(list) if made::is_of_flows(&list) => {
                return made::flow(call, id, &list, body).await;
            }
            Some(list) => return list::made(call, id, &list, body).await,
            None => {}
        }
    } else if call.method == Method::POST && call.state.templates.get(id).is_some() {
        return template::edit(call, id, body).await;
    }
    match (call.method.as_str(), file) {
        (method, None) if call.state.objects.has(id) => Ok(match method {
            "GET" => sample::object(id),
            _ => {
                if method == "DELETE" {
                    call.state.objects.remove(id);
                }
                GraphJson::success()
            }
        }),
        ("GET", _) => account::read(call, id),
        ("DELETE", Some(file)) => media::delete(call, &file),
        ("POST", None) => account::change(call, id, body).await,
        _ => Err(call.unknown(id)),
    }
}

async fn upload_session(
    call: &Call<'_>,
    session: &str,
    body: Incoming,
) -> Result<GraphJson, GraphError> {
    call.caller.require(MANAGEMENT)?;
    match call.method.as_str() {
        "POST" => upload::fill(call, session, body).await,
        "GET" => upload::status(call, session),
        method => Err(GraphError::unknown_object(method, session)),
    }
}

/// Makes the answer to a call, or the failure that a magic recipient causes.
async fn finish(state: &State, result: CallResult, target: &Target) -> Outcome {
    let handled = result.handled.as_ref();
    let concerns_account = handled.err().is_none_or(|error| !error.is_before_account());
    let usage = match result.usage {
        Some(kind) if concerns_account => Usage::Account {
            kind,
            percent: state.pace.count_call(ACCOUNT, Instant::now()),
        },
        _ => Usage::App,
    };
    let magic = handled.ok().and_then(|handled| handled.magic);
    let answer = result.handled.map(|handled| handled.answer);
    let mut response = answer::answer(&answer, usage, &target.version);
    if let Some(old) = &target.upgraded_from {
        let warning = format!(
            "The call has been auto-upgraded to {} as {old} has been deprecated.",
            target.version
        );
        set_header(response.headers_mut(), "x-ad-api-version-warning", &warning);
    }
    Outcome::new(magic, response).await
}

/// The edges that need the scope for messaging. All others need the scope for management.
const MESSAGING_EDGES: [&str; 7] = [
    "messages",
    "marketing_messages",
    "messages_encrypted",
    "media",
    "block_users",
    "calls",
    "groups",
];
