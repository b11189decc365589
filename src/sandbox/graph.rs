//! The Graph host: from a request to the handler for it, and from what that came to, to an answer.

use http::{Method, Request};
use hyper::body::Incoming;

use super::account;
use super::auth;
use super::call::{self, Call};
use super::control;
use super::error::GraphError;
use super::ids;
use super::json::success;
use super::media;
use super::oauth;
use super::record::{Seen, header_names};
use super::reply::{self, Outcome, Usage, befall, put};
use super::send::{self, Sent};
use super::state::{State, is_id};
use super::target::{Query, Target, redact};
use super::template;
use super::token::{MANAGEMENT, MESSAGING};
use super::upload;

/// Answers a request to the Graph host.
pub(super) async fn answer(state: &State, request: Request<Incoming>) -> Outcome {
    if request.uri().path().starts_with(control::PREFIX) {
        return Outcome::Answer(control::answer(state, request).await);
    }
    let query = Query::new(request.uri().query().unwrap_or_default());
    let target = Target::new(request.uri().path());
    let number = state.records.see(seen(&request, &query));
    if !state.rules.latency.is_zero() {
        tokio::time::sleep(state.rules.latency).await;
    }
    let result = handle(state, request, &target, &query).await;
    let outcome = finish(state, result, &target).await;
    if let Outcome::Answer(response) = &outcome {
        state.records.answered(number, response.status());
    }
    outcome
}

fn seen(request: &Request<Incoming>, query: &Query) -> Seen {
    let presented = auth::presented(request.headers(), query);
    Seen {
        listener: "graph",
        method: request.method().clone(),
        target: redact(request.uri().path_and_query().map_or("/", |target| target.as_str())),
        headers: header_names(request.headers()),
        token: presented.as_ref().map(|presented| ids::fingerprint(&presented.token)),
        scheme: presented.map(|presented| presented.scheme),
    }
}

async fn handle(
    state: &State,
    request: Request<Incoming>,
    target: &Target,
    query: &Query,
) -> (Result<Sent, GraphError>, Option<&'static str>) {
    let (parts, body) = request.into_parts();
    let segments = target.segments();
    if let Some(answer) = token_calls(state, &parts.method, &segments, query) {
        return (answer, None);
    }
    let caller = match auth::authenticate(state, &parts.headers, query) {
        Ok(caller) => caller,
        Err(error) => return (Err(error), None),
    };
    if parts.method == Method::GET && segments == ["debug_token"] {
        return (oauth::debug(state, query).map(Sent::from), None);
    }
    let call = Call { state, method: &parts.method, headers: &parts.headers, target, query, caller: &caller };
    let messaging = matches!(segments.as_slice(), [_, edge] if MESSAGING_EDGES.contains(edge));
    let usage = if messaging { "whatsapp" } else { "whatsapp_business_management" };
    (route(&call, &segments, body).await, Some(usage))
}

/// The calls that bring a client secret instead of a token.
fn token_calls(state: &State, method: &Method, segments: &[&str], query: &Query) -> Option<Result<Sent, GraphError>> {
    if method != Method::GET && method != Method::POST {
        return None;
    }
    match segments {
        ["oauth", "access_token"] => Some(oauth::exchange(state, query).map(Sent::from)),
        ["oauth", "revoke"] => Some(oauth::revoke(state, query).map(Sent::from)),
        _ => None,
    }
}

/// The edges that need the scope for messaging; all others need the one for management.
const MESSAGING_EDGES: [&str; 6] =
    ["messages", "marketing_messages", "messages_encrypted", "media", "block_users", "calls"];

async fn route(call: &Call<'_>, segments: &[&str], body: Incoming) -> Result<Sent, GraphError> {
    let method = call.method.as_str();
    match segments {
        [session] if session.starts_with("upload:") => upload_session(call, session, body).await.map(Sent::from),
        [id] if is_id(id) => object(call, id).map(Sent::from),
        [id, edge] if is_id(id) => {
            call.caller.needs(if MESSAGING_EDGES.contains(edge) { MESSAGING } else { MANAGEMENT })?;
            match (method, *edge) {
                ("POST", "messages" | "marketing_messages") => send::message(call, id, edge, body).await,
                ("POST", "messages_encrypted") => send::encrypted(call, id, body).await,
                _ => edges(call, id, edge, body).await,
            }
        }
        [id] => Err(GraphError::unknown_object(method, id)),
        _ => Err(GraphError::unknown_path(&call.target.path)),
    }
}

async fn edges(call: &Call<'_>, id: &str, edge: &str, body: Incoming) -> Result<Sent, GraphError> {
    let answer = match (call.method.as_str(), edge) {
        ("POST", "media") => media::upload(call, id, body).await?,
        ("GET", "message_templates") => template::list(call, id),
        ("POST", "message_templates") => template::create(call, id, &call::json(body).await?)?,
        ("DELETE", "message_templates") => template::delete(call, id)?,
        ("GET", "phone_numbers") => account::numbers(call),
        ("GET" | "POST", "whatsapp_business_profile") => account::profile(call, id, body).await?,
        ("POST", "register") => account::register(call, id, body).await?,
        ("POST", "deregister" | "request_code" | "verify_code") => call.needs_sender(id).map(|()| success())?,
        ("GET" | "POST" | "DELETE", "subscribed_apps") => account::subscribed_apps(call),
        ("GET" | "POST" | "DELETE", "block_users") => account::block_users(call, id, body).await?,
        ("POST", "calls") => account::calls(call, id, body).await?,
        ("POST", "uploads") => upload::open(call)?,
        // A path that the sandbox does not know fails loudly: it must not look as if it had worked.
        _ => return Err(GraphError::unknown_path(&format!("/{edge}"))),
    };
    Ok(answer.into())
}

/// A bare id: what it is decides what can be done with it.
fn object(call: &Call<'_>, id: &str) -> Result<super::json::Json, GraphError> {
    let file = call.state.media.get(id);
    call.caller.needs(if file.is_some() { MESSAGING } else { MANAGEMENT })?;
    match (call.method.as_str(), file) {
        ("GET", _) => account::read(call, id),
        ("DELETE", Some(file)) => media::delete(call, &file),
        ("POST", None) => account::read(call, id).map(|_| success()),
        _ => Err(call.unknown(id)),
    }
}

async fn upload_session(call: &Call<'_>, session: &str, body: Incoming) -> Result<super::json::Json, GraphError> {
    call.caller.needs(MANAGEMENT)?;
    match call.method.as_str() {
        "POST" => upload::fill(call, session, body).await,
        "GET" => upload::status(call, session),
        method => Err(GraphError::unknown_object(method, session)),
    }
}

/// What a handler came to, as it goes out, or as it is made to go wrong.
async fn finish(
    state: &State,
    (result, kind): (Result<Sent, GraphError>, Option<&'static str>),
    target: &Target,
) -> Outcome {
    let magic = result.as_ref().ok().and_then(|sent| sent.magic);
    let tied = result.as_ref().err().is_none_or(|error| !error.before_any_account());
    let usage = kind.filter(|_| tied).map_or(Usage::App, |kind| call::usage(state, kind));
    let result = result.map(|sent| sent.answer);
    let mut response = reply::graph(&result, &usage, &target.version);
    if let Some(old) = &target.upgraded_from {
        let warning = format!("The call has been auto-upgraded to {} as {old} has been deprecated.", target.version);
        put(response.headers_mut(), "x-ad-api-version-warning", &warning);
    }
    befall(magic, response).await
}
