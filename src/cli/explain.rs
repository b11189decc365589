//! `keyside explain`: the rules for a request, and the fate of the request if sent now.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use http::request::Parts;
use http::{Method, Request, Uri};
use serde::Deserialize;
use serde_json::Value;

use super::client::{admin_address, ask};
use super::config::ConfigArgs;
use super::shown_request::{shown_request, without_secrets_of};
use crate::admin::problems::of_routes;
use crate::document::shown_place;
use crate::json;
use crate::json::words::rate;
use crate::limit::PauseReason;
use crate::listener::{Link, Peer};
use crate::outbound::contents::{self, Contents};
use crate::outbound::error::OutboundError;
use crate::outbound::guard;
use crate::outbound::policy::{Denied, LimitSubject, Permit};
use crate::provider::{Metering, OperationKind};
use crate::query;
use crate::reload::Live;
use crate::units::Written;

/// The options of `keyside explain`.
#[derive(Debug, clap::Args)]
pub(super) struct ExplainArgs {
    /// The method of the request
    method: Method,
    /// The path of the request with its query, as an application would send it, or the whole URL
    #[arg(value_parser = target_of)]
    path: Uri,
    /// A file with the body of the request: most bodies name a recipient
    #[arg(long, value_name = "FILE")]
    body: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
    /// The admin listener of the running sidecar: HOST:PORT or unix:/path [default: `[admin] listen` of the configuration]
    #[arg(long, value_name = "ADDR", value_parser = admin_address)]
    admin: Option<String>,
}

/// Judges the request by the configuration, and asks the running sidecar about the limits.
pub(super) async fn run(args: ExplainArgs) -> ExitCode {
    let live = match super::load_or_print(args.config.clone()).await {
        Ok(live) => live,
        Err(exit) => return exit,
    };
    let body = match args.body.as_ref().map(std::fs::read_to_string).transpose() {
        Ok(body) => body,
        Err(error) => {
            let path = args.body.unwrap_or_default().display().to_string();
            complain!("keyside: --body: {}: {error}", shown_place(&path));
            return ExitCode::FAILURE;
        }
    };
    let body = body.as_deref();
    if let Some(webhook) = webhook_at(&live, args.path.path()) {
        say!("{}", shown_request(&args.method, &args.path));
        print_row(
            "webhook",
            &format!(
                "{webhook}: providers send events there, to [inbound]; applications send to [outbound]"
            ),
        );
        return ExitCode::SUCCESS;
    }
    let Ok(parts) = request(&args, body) else {
        complain!("keyside: METHOD and PATH do not make an HTTP request");
        return ExitCode::FAILURE;
    };
    say!("{}", shown_request(&args.method, &args.path));
    let contents = judge(&live, &parts).and_then(|permit| contents_of(&permit, &parts, body));
    let contents = match contents {
        Ok(contents) => contents,
        Err(denied) => {
            print_denied(&denied, &args.path);
            return ExitCode::FAILURE;
        }
    };
    match judge(&live, &parts).and_then(|permit| with_senders(permit, &contents, body.is_some())) {
        Ok(permit) => {
            let subject = subject(&permit, &contents);
            print_permit(
                &permit,
                &parts.method,
                &subject,
                body.map(|body| (body, &contents)),
            );
            let recipient = contents.recipients.first().map(String::as_str);
            let admin = args.admin.unwrap_or_else(|| admin_of(&live));
            print_row("now", &now(&permit, &subject, recipient, &admin));
            ExitCode::SUCCESS
        }
        Err(denied) => {
            print_denied(&denied, &args.path);
            ExitCode::FAILURE
        }
    }
}

/// Reads a path, or a whole URL.
fn target_of(text: &str) -> Result<Uri, &'static str> {
    let is_target = text.starts_with('/') || text.contains("://");
    let target = text.parse().ok().filter(|_| is_target);
    target.ok_or(
        "expected a path such as /v23.0/1055/messages, or a whole URL with http:// or https://",
    )
}

/// Returns the first address of the admin listener of a configuration.
fn admin_of(live: &Live) -> String {
    let listen = &live.config.admin.listen;
    listen.first().map(ToString::to_string).unwrap_or_default()
}

/// Returns the name of the webhook at a path.
fn webhook_at<'l>(live: &'l Live, path: &str) -> Option<&'l str> {
    let webhooks = live.config.webhooks.iter();
    let mut at_path = webhooks.filter(|webhook| !webhook.path.token && webhook.path.text == path);
    at_path.next().map(|webhook| webhook.name.as_str())
}

/// Returns the target of a request: of a URL with a loopback host, the path and the query.
fn target(url: &Uri) -> Uri {
    let is_own = url.host().is_some_and(|host| {
        let host = host.trim_matches(['[', ']']);
        let address = host.parse::<IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    });
    let path = url.path_and_query().filter(|_| is_own);
    path.map_or_else(|| url.clone(), |path| Uri::from(path.clone()))
}

/// Makes the head of the request, with a `Content-Type` guessed from the body.
fn request(args: &ExplainArgs, body: Option<&str>) -> http::Result<Parts> {
    let is_json = body.is_none_or(|body| body.trim_start().starts_with(['{', '[']));
    let content_type = if is_json {
        "application/json"
    } else {
        "application/x-www-form-urlencoded"
    };
    let request = Request::builder()
        .method(&args.method)
        .uri(target(&args.path))
        .header("host", "localhost")
        .header("content-type", content_type)
        .body(())?;
    Ok(request.into_parts().0)
}

/// Judges the request like one from this machine.
fn judge<'l>(live: &'l Live, parts: &'l Parts) -> Result<Permit<'l>, Denied<'l>> {
    let link = Link::new(Peer::Unix { uid: 0 });
    let upstream = guard::admit(parts, &live.generation.hosts, &link)?;
    live.generation.policy.check(parts, upstream.as_ref())
}

/// Reads the query, and the body if a body is given.
fn contents_of<'l>(
    permit: &Permit<'l>,
    parts: &Parts,
    body: Option<&str>,
) -> Result<Contents, Denied<'l>> {
    let contents = match body {
        Some(body) => contents::read_text(permit, parts, body),
        None => contents::read_head(permit, parts),
    };
    contents.map_err(|error| of_route(permit, error))
}

/// Checks the senders named in query and body. A message without a body names its sender in the body to come.
fn with_senders<'l>(
    permit: Permit<'l>,
    contents: &'l Contents,
    has_body: bool,
) -> Result<Permit<'l>, Denied<'l>> {
    if !has_body && permit.request.limited {
        return Ok(permit);
    }
    let permit = if has_body {
        permit.decided_by(contents.pattern)
    } else {
        permit
    };
    permit
        .with_senders(&contents.senders)
        .map_err(|error| of_route(&permit, error))
}

fn of_route<'l>(permit: &Permit<'l>, error: OutboundError) -> Denied<'l> {
    Denied {
        route: Some(permit.route),
        operation: Some(permit.operation),
        error,
    }
}

/// Returns the subject of the limits that the request meets.
fn subject<'l>(permit: &Permit<'l>, contents: &Contents) -> LimitSubject<'l> {
    if contents.is_receipt {
        LimitSubject::Unlimited
    } else {
        permit.limit_subject()
    }
}

/// Prints a refusal, without parts of the path that may be a secret.
fn print_denied(denied: &Denied<'_>, path: &Uri) {
    let route = denied.route.map(|route| &*route.name);
    let refusal = denied.error.refusal(route);
    print_row("route", route.unwrap_or("none"));
    let refused = format!(
        "{} {}: {}",
        refusal.kind.status.as_u16(),
        refusal.kind.slug,
        refusal.message
    );
    print_row("refused", &without_secrets_of(path, &refused));
    print_row("", &without_secrets_of(path, &refusal.details));
}

fn print_permit(
    permit: &Permit<'_>,
    method: &Method,
    subject: &LimitSubject<'_>,
    body: Option<(&str, &Contents)>,
) {
    let route = permit.route;
    let credential = &route.credential;
    let path = if route.path.is_empty() {
        "/"
    } else {
        &route.path
    };
    print_row("route", &format!("{}, at {path}", route.name));
    let kind = match permit.operation.kind {
        OperationKind::Send => "sending",
        OperationKind::Receive => "receiving",
        OperationKind::Administration => "administration",
    };
    print_row("operation", &format!("{} ({kind})", permit.operation.name));
    if !permit.operation.scopes.is_empty() {
        print_row("rights", &permit.operation.scopes.join(" "));
    }
    let sent = match credential.fingerprint() {
        _ if permit.passes_callers_credential() => "the one of the application".to_owned(),
        Some(fingerprint) => format!("{}, {fingerprint}", credential.name),
        None => format!("{}, which has no usable secret: 503", credential.name),
    };
    print_row("credential", &sent);
    print_row(
        "upstream",
        &format!("{} ({})", permit.host(), credential.provider.title),
    );
    if let Some(sender) = permit.sender {
        print_row("sender", shown_place(sender));
    }
    for limit in limits(permit, method, subject, body) {
        print_row("limit", &limit);
    }
}

fn print_row(title: &str, text: &str) {
    say!("  {title:<11} {text}");
}

/// Returns a line for each limit of the request, and the bounds of a wait.
fn limits(
    permit: &Permit<'_>,
    method: &Method,
    subject: &LimitSubject<'_>,
    body: Option<(&str, &Contents)>,
) -> Vec<String> {
    let limiter = &permit.route.limiter;
    let mut limits = Vec::new();
    if *subject == LimitSubject::Message {
        let metering = permit.request.metering;
        if let Some(rate) = limiter.of_senders(metering).rate() {
            limits.push(format!("{rate} for this sender"));
        }
        if let Some((_, contents)) = body.filter(|(_, contents)| contents.messages > 1) {
            limits.push(format!(
                "counts as {} messages, one for each recipient",
                contents.messages
            ));
        }
        if let Some(quota) = limiter.pairs.as_ref().and_then(|pairs| pairs.quota()) {
            let place = place_of_recipient(permit, body);
            limits.push(format!("{quota} for one recipient, {place}"));
        }
        let sends = limiter
            .sends
            .as_ref()
            .filter(|_| metering == Metering::Common);
        if let Some(rate) = sends.and_then(|sends| sends.rate()) {
            limits.push(format!("{rate} for all senders of this account together"));
        }
    } else if matches!(subject, LimitSubject::Administration(_)) && permit.is_counted(method) {
        let management = limiter.management.as_ref();
        if let Some(rate) = management.and_then(|limits| limits.rate()) {
            limits.push(format!("{rate} for administration of this object"));
        }
    }
    if limits.is_empty() {
        return limits;
    }
    if limiter.sharing.is_some() {
        limits.push("counted together with the other sidecars, in the shared server".to_owned());
    }
    limits.push(format!(
        "over a limit, a request waits for up to {} in a queue of up to {}; otherwise 429 rate_limited",
        Written(limiter.patience.max_wait),
        limiter.patience.max_queue
    ));
    limits
}

/// Returns the place of the recipients in the body.
fn place_of_recipient(permit: &Permit<'_>, body: Option<(&str, &Contents)>) -> String {
    let Some((body, contents)) = body else {
        return "named in the body (see --body)".to_owned();
    };
    if !permit.provider().names_recipients() {
        return "which Keyside cannot tell: the provider's requests name none at a known place"
            .to_owned();
    }
    if contents.recipients.len() > 1 {
        return format!("of whom the body names {}", contents.recipients.len());
    }
    let mut paths = permit.provider().limits.recipient.iter();
    match paths.find(|path| json::text_at(body, path).is_some()) {
        Some(path) => format!("named in the body at /{}", path.join("/")),
        None if contents.recipients.is_empty() => "but the body names no recipient".to_owned(),
        None => "named in the body".to_owned(),
    }
}

/// Asks the running sidecar for the state of the limits, and returns the fate of the request now.
fn now(
    permit: &Permit<'_>,
    subject: &LimitSubject<'_>,
    recipient: Option<&str>,
    admin: &str,
) -> String {
    let object = match subject {
        LimitSubject::Administration(object) => Some(*object),
        LimitSubject::Operation(key) => Some(key.as_str()),
        LimitSubject::Message | LimitSubject::Unlimited => None,
    };
    let mut query = String::new();
    for (name, value) in [
        ("route", Some(&*permit.route.name)),
        ("sender", permit.sender.map(|_| permit.counted_sender())),
        ("recipient", recipient),
        ("object", object),
    ] {
        if let Some(value) = value {
            query::begin_pair(&mut query, name);
            query.extend(query::encode(value));
        }
    }
    let status = match ask(admin, "GET", &format!("/status?{query}")) {
        Ok((200, status)) => status,
        Ok((status, _)) => return format!("unknown: the sidecar at {admin} answers {status}"),
        Err(error) => return format!("unknown: {error}"),
    };
    let is_route = |route: &&Value| route["name"] == *permit.route.name;
    let routes = status.get("routes").and_then(Value::as_array);
    match routes.and_then(|routes| routes.iter().find(is_route)) {
        Some(route) => {
            let outcome = outcome(permit, subject, &route["limit"]);
            let problems = of_routes(&Value::Array(vec![route.clone()]));
            let problems = problems.into_iter().map(|problem| problem.text);
            std::iter::once(outcome)
                .chain(problems)
                .collect::<Vec<_>>()
                .join("; but ")
        }
        None => format!(
            "unknown: the sidecar at {admin} does not have this route; run `keyside reload`"
        ),
    }
}

/// Returns the reasons for a delay or a refusal now, from the limits of the route in `/status`.
fn outcome(permit: &Permit<'_>, subject: &LimitSubject<'_>, limit: &Value) -> String {
    if !permit.passes_callers_credential() && permit.route.credential.fingerprint().is_none() {
        return "refused with 503: the credential has no usable secret".to_owned();
    }
    let limits: Vec<_> = counted_limits(permit, subject)
        .iter()
        .filter_map(|(key, subject)| Some((limit.get(*key)?, *subject)))
        .collect();
    let account_pause = limit["account_paused_seconds"]
        .as_f64()
        .filter(|_| *subject == LimitSubject::Message);
    let mut obstacles: Vec<_> = account_pause
        .map(|seconds| pause("this account", seconds, PauseReason::Throttled.explained()))
        .into_iter()
        .chain(
            limits
                .iter()
                .filter_map(|(limit_status, subject)| obstacle(limit_status, subject)),
        )
        .collect();
    let longest_wait = limits
        .iter()
        .filter_map(|(limit_status, _)| limit_status["wait_seconds"].as_f64())
        .chain(account_pause)
        .fold(0.0, f64::max);
    let max_wait = permit.route.limiter.patience.max_wait;
    if longest_wait > max_wait.as_secs_f64() {
        obstacles.push(format!(
            "refused with 429, because max_wait is {}",
            Written(max_wait)
        ));
    }
    let slowed = limits
        .iter()
        .filter_map(|(limit_status, subject)| slowed(limit_status, subject));
    if !obstacles.is_empty() {
        obstacles.extend(slowed);
        return obstacles.join("; ");
    }
    std::iter::once(at_once(
        limits.first().map(|(limit_status, _)| *limit_status),
    ))
    .chain(slowed)
    .collect::<Vec<_>>()
    .join("; ")
}

/// Returns the limits that a request meets, by their keys in `/status` and their names for people.
fn counted_limits(
    permit: &Permit<'_>,
    subject: &LimitSubject<'_>,
) -> &'static [(&'static str, &'static str)] {
    match subject {
        LimitSubject::Message if permit.request.metering == Metering::Apart => &[
            ("of_sender_apart", "this sender"),
            ("of_recipient", "this recipient"),
        ],
        LimitSubject::Message => &[
            ("of_sender", "this sender"),
            ("of_recipient", "this recipient"),
            ("of_account", "this account"),
        ],
        LimitSubject::Administration(_) => &[
            ("of_management", "this account"),
            ("of_object", "this object"),
        ],
        LimitSubject::Operation(_) => &[("of_object", "this object")],
        LimitSubject::Unlimited => &[],
    }
}

/// Returns the fate of a request that nothing delays, by the limit that counts first.
fn at_once(first: Option<&Value>) -> String {
    let left = first.and_then(|first| first["remaining"].as_u64().zip(first["burst"].as_u64()));
    match left {
        Some((left, burst)) => format!("sent at once: {left} of a burst of {burst} are left"),
        None => "sent at once".to_owned(),
    }
}

/// Returns the rate of a limit that throttles have made lower than the quota says.
fn slowed(limit_status: &Value, subject: &str) -> Option<String> {
    let per_second = limit_status["slowed_to_per_second"].as_f64()?;
    Some(format!(
        "{subject} is slowed to {}, because the provider refused requests as too fast",
        rate(per_second)
    ))
}

/// Returns the reason of one limit for a delay or a refusal now.
fn obstacle(limit_status: &Value, subject: &str) -> Option<String> {
    if limit_status["closed"] == true {
        return Some(
            "refused with 429, because the shared server does not answer and on_failure is \"closed\""
                .to_owned(),
        );
    }
    if let Some(seconds) = limit_status["paused_seconds"].as_f64() {
        let why = PauseReason::deserialize(&limit_status["paused_because"])
            .map_or("no reason is known", PauseReason::explained);
        return Some(pause(subject, seconds, why));
    }
    let turn = match limit_status["wait_seconds"].as_f64() {
        Some(wait) => format!("this request could go in {wait:.1} s"),
        None => "this request could go after them".to_owned(),
    };
    match (
        limit_status["waiting"].as_u64(),
        limit_status["remaining"].as_u64(),
    ) {
        (Some(waiting @ 1..), _) => Some(format!(
            "requests in the queue of {subject}: {waiting}; {turn}"
        )),
        (_, Some(0)) => Some(format!("the burst of {subject} is used up; {turn}")),
        _ => None,
    }
}

fn pause(subject: &str, seconds: f64, why: &str) -> String {
    format!("{subject} is paused for {seconds:.1} s: {why}")
}
