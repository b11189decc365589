//! `keyside explain`

use std::path::PathBuf;
use std::process::ExitCode;

use http::request::Parts;
use http::{Method, Request, Uri};
use serde_json::Value;

use super::client::ask;
use crate::json;
use crate::limit::{Limiter, Why};
use crate::listener::{Caller, Link};
use crate::outbound::error::OutboundError;
use crate::outbound::guard;
use crate::outbound::named::{recipient_of, senders_of};
use crate::outbound::policy::{Permit, Route};
use crate::provider::Kind;
use crate::query;
use crate::reload::Live;
use crate::units::Written;

/// The options of `keyside explain`.
#[derive(Debug, clap::Args)]
pub(super) struct ExplainArgs {
    /// The method of the request
    method: Method,
    /// Its path with its query, as an application would send it
    path: Uri,
    /// A file with its body, which names the recipient
    #[arg(long, value_name = "FILE")]
    body: Option<PathBuf>,
    /// The configuration [default: proxy.toml, then /etc/keyside/proxy.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The admin listener of the running sidecar: HOST:PORT or unix:/path
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9900")]
    admin: String,
}

pub(super) async fn run(args: ExplainArgs) -> ExitCode {
    let live = match super::loaded(args.config.clone()).await {
        Ok(live) => live,
        Err(exit) => return exit,
    };
    let body = match args.body.as_ref().map(std::fs::read_to_string).transpose() {
        Ok(body) => body,
        Err(error) => {
            eprintln!("keyside: --body: {error}");
            return ExitCode::FAILURE;
        }
    };
    println!("{} {}", args.method, args.path);
    let is_json = body.as_ref().is_none_or(|body| body.trim_start().starts_with(['{', '[']));
    let kind = if is_json { "application/json" } else { "application/x-www-form-urlencoded" };
    let request = Request::builder().method(&args.method).uri(&args.path).header("host", "localhost");
    let request = request.header("content-type", kind);
    let Ok((parts, ())) = request.body(()).map(Request::into_parts) else {
        eprintln!("keyside: this is no request");
        return ExitCode::FAILURE;
    };
    let named = judge(&live, &parts).map(|permit| senders_of(&permit, &parts, body.as_deref().unwrap_or_default()));
    let named = named.unwrap_or_default();
    match judge(&live, &parts).and_then(|permit| in_its_name(permit, &named, body.is_some())) {
        Ok(permit) => {
            describe(&permit, body.as_deref());
            let recipient = body.as_deref().and_then(|body| recipient_of(&permit, &parts, body));
            tell_of_now(&permit, recipient.as_deref(), &args.admin);
            ExitCode::SUCCESS
        }
        Err((route, error)) => {
            let refusal = error.refusal(route.map(|route| &*route.name));
            println!("  route       {}", route.map_or("none", |route| &route.name));
            println!("  refused     {} {}: {}", refusal.kind.status.as_u16(), refusal.kind.slug, refusal.message);
            println!("              {}", refusal.details);
            ExitCode::FAILURE
        }
    }
}

/// As a request from this machine is judged.
fn judge<'l>(live: &'l Live, parts: &'l Parts) -> Result<Permit<'l>, (Option<&'l Route>, OutboundError)> {
    let link = Link::new(Caller::Unix { uid: 0 });
    guard::admit(parts, &live.generation.hosts, &link).map_err(|error| (None, error))?;
    live.generation.policy.check(parts)
}

/// With the senders that the body names, where there is one to look at.
fn in_its_name<'l>(
    permit: Permit<'l>,
    named: &'l [String],
    has_body: bool,
) -> Result<Permit<'l>, (Option<&'l Route>, OutboundError)> {
    let route = permit.route;
    match has_body {
        true => permit.with_senders(named).map_err(|error| (Some(route), error)),
        false => Ok(permit),
    }
}

fn describe(permit: &Permit<'_>, body: Option<&str>) {
    let (route, credential) = (permit.route, &permit.route.credential);
    let line = |what: &str, text: String| println!("  {what:<11} {text}");
    line("route", format!("{}, at {}", route.name, if route.path.is_empty() { "/" } else { &route.path }));
    if let Some(operation) = permit.operation() {
        let kind = match operation.kind {
            Kind::Send => "sending",
            Kind::Receive => "receiving",
            Kind::Administration => "administration",
        };
        line("operation", format!("{} ({kind})", operation.name));
    }
    let sent = match credential.fingerprint() {
        _ if permit.operation().is_some_and(|operation| operation.caller_credential) => "the caller's own".to_owned(),
        Some(fingerprint) => format!("{}, {fingerprint}", credential.name),
        None => format!("{}, which has no value: 503", credential.name),
    };
    line("credential", sent);
    line("upstream", format!("{} ({})", permit.host(), credential.provider.title));
    if let Some(sender) = permit.sender {
        line("sender", sender.to_owned());
    }
    for limit in limits(permit, body) {
        line("limit", limit);
    }
}

/// Those that the request counts against.
fn limits(permit: &Permit<'_>, body: Option<&str>) -> Vec<String> {
    let Limiter { senders, pairs, sends, management, patience, .. } = &permit.route.limiter;
    let is_administration = permit.operation().is_some_and(|operation| operation.kind == Kind::Administration);
    let mut limits = Vec::new();
    if permit.request.limited {
        limits.extend(senders.as_ref().map(|budget| format!("{} of this sender", budget.terms().rate)));
        limits.extend(pairs.as_ref().map(|pairs| {
            let paths = &permit.provider().limits.recipient;
            let named = body.and_then(|body| paths.iter().find(|path| json::text_at(body, path).is_some()));
            let where_named = match (body, named) {
                (_, Some(path)) => format!("whom the body names at /{}", path.join("/")),
                (Some(_), None) => "but the body names none".to_owned(),
                (None, None) => "whom its body names".to_owned(),
            };
            format!("{} to one recipient, {where_named}", pairs.quota())
        }));
        limits.extend(sends.as_ref().map(|budget| format!("{} of all senders of this account", budget.terms().rate)));
    } else if is_administration {
        limits.extend(management.as_ref().map(|budget| format!("{} of this account", budget.terms().rate)));
    }
    if !limits.is_empty() {
        if permit.route.limiter.sharing.is_some() {
            limits.push("shared with the other sidecars".to_owned());
        }
        limits.push(format!(
            "over it, it waits {} at most, behind {} others at most; then 429",
            Written(patience.max_wait),
            patience.max_queue
        ));
    }
    limits
}

/// What the running sidecar would do with it.
fn tell_of_now(permit: &Permit<'_>, recipient: Option<&str>, admin: &str) {
    let mut query = String::new();
    for (name, value) in [("sender", permit.sender), ("recipient", recipient)] {
        if let Some(value) = value {
            query::begin_pair(&mut query, name);
            query.extend(query::encode(value));
        }
    }
    let status = match ask(admin, "GET", &format!("/status?{query}")) {
        Ok((200, status)) => status,
        Ok((status, _)) => return println!("  now         the sidecar at {admin} answers {status}"),
        Err(error) => return println!("  now         {error}"),
    };
    let routes = status.get("routes").and_then(Value::as_array);
    let is_it = |route: &&Value| route["name"] == *permit.route.name;
    let Some(route) = routes.and_then(|routes| routes.iter().find(is_it)) else {
        return println!("  now         the sidecar at {admin} has no such route: reload it");
    };
    println!("  now         {}", now(permit, &route["limit"]));
}

/// What is in its way, or that nothing is.
fn now(permit: &Permit<'_>, limit: &Value) -> String {
    let sends_own = !permit.operation().is_some_and(|operation| operation.caller_credential);
    if sends_own && permit.route.credential.fingerprint().is_none() {
        return "its credential has no value, so it would be refused with 503".to_owned();
    }
    let counted: &[(&str, &str)] = match permit.operation().map(|operation| &operation.kind) {
        _ if permit.request.limited => {
            &[("of_sender", "of this sender"), ("of_recipient", "to this recipient"), ("of_account", "of this account")]
        }
        Some(Kind::Administration) => &[("of_management", "of this account")],
        _ => &[],
    };
    let mut said = Vec::new();
    let of_account = limit["account_paused_seconds"].as_f64();
    if let Some(seconds) = of_account {
        said.push(format!("nothing of this account goes for {seconds:.1} s: {}", Why::Throttled.explained()));
    }
    let standings: Vec<_> = counted.iter().filter_map(|(key, what)| Some((limit.get(*key)?, *what))).collect();
    said.extend(standings.iter().filter_map(|(standing, what)| obstacle(standing, what)));
    let left = |(standing, _): &(&Value, &str)| standing["remaining"].as_u64().zip(standing["burst"].as_u64());
    let wait = |(standing, _): &(&Value, &str)| standing["wait_seconds"].as_f64();
    let longest = standings.iter().filter_map(wait).chain(of_account).fold(0.0, f64::max);
    if longest > permit.route.limiter.patience.max_wait.as_secs_f64() {
        said.push("so it would be refused with 429".to_owned());
    }
    match (said.is_empty(), standings.first().and_then(left)) {
        (false, _) => said.join("; "),
        (true, Some((left, burst))) => format!("it would go out at once: {left} of {burst} are left"),
        (true, None) => "it would go out at once".to_owned(),
    }
}

/// What a limit has against it now.
fn obstacle(standing: &Value, what: &str) -> Option<String> {
    if standing["closed"] == true {
        return Some("the limits that many sidecars share cannot be asked, so it would be refused with 429".to_owned());
    }
    if let Some(seconds) = standing["paused_seconds"].as_f64() {
        let why = standing["paused_because"].as_str().and_then(Why::named).map_or("paused", Why::explained);
        return Some(format!("nothing {what} goes for {seconds:.1} s: {why}"));
    }
    let turn = standing["wait_seconds"].as_f64().map_or("in its turn".to_owned(), |wait| format!("in {wait:.1} s"));
    match (standing["waiting"].as_u64(), standing["remaining"].as_u64()) {
        (Some(waiting @ 1..), _) => Some(format!("{waiting} {what} wait already: it could go {turn}")),
        (_, Some(0)) => Some(format!("what may go at once {what} is used: it could go {turn}")),
        _ => None,
    }
}
