//! `keyside explain`: the rules for a request, and the fate of the request if sent now.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use http::request::Parts;
use http::{Method, Request, Uri};

use super::argument::ArgumentError;
use super::client::admin_address;
use super::config::ConfigArgs;
use super::fate::rows_of_sidecar;
use super::shown_request::{shown_request, without_secrets_of};
use crate::document::shown_place;
use crate::json;
use crate::listener::{Link, Peer};
use crate::outbound::contents::{self, Contents};
use crate::outbound::error::OutboundError;
use crate::outbound::guard;
use crate::outbound::policy::{Denied, LimitSubject, Permit};
use crate::provider::{Metering, OperationKind};
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
    /// A file with the body of the request, or - for standard input: most bodies name a recipient
    #[arg(long, value_name = "FILE|-")]
    body: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
    /// The admin listener of the running sidecar: HOST:PORT or unix:/path [default: `[admin]
    /// listen` of the configuration]
    #[arg(long, value_name = "ADDR", value_parser = admin_address)]
    admin: Option<String>,
}

/// Judges the request by the configuration, and asks the running sidecar about the limits.
pub(super) async fn run(args: ExplainArgs) -> ExitCode {
    let live = match super::load_or_print(args.config.clone()).await {
        Ok(live) => live,
        Err(exit) => return exit,
    };
    let text = match args.body.as_deref().map(body_at).transpose() {
        Ok(text) => text,
        Err(error) => {
            let path = args.body.unwrap_or_default().display().to_string();
            complain!("keyside: --body: {}: {error}", shown_place(&path));
            return ExitCode::FAILURE;
        }
    };
    let body = text.as_deref();
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
    let contents = match judge(&live, &parts).and_then(|permit| contents_of(&permit, &parts, body))
    {
        Ok(contents) => contents,
        Err(denied) => {
            print_denied(&denied, &args.path);
            return ExitCode::FAILURE;
        }
    };
    match judge(&live, &parts).and_then(|permit| with_senders(permit, &contents, body)) {
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
            for (title, text) in rows_of_sidecar(&permit, &subject, recipient, &admin) {
                print_row(title, &text);
            }
            ExitCode::SUCCESS
        }
        Err(denied) => {
            print_denied(&denied, &args.path);
            ExitCode::FAILURE
        }
    }
}

/// Reads the body of the request from a file, or from standard input.
fn body_at(path: &Path) -> io::Result<String> {
    if path == Path::new("-") {
        io::read_to_string(io::stdin().lock())
    } else {
        std::fs::read_to_string(path)
    }
}

/// Reads a path, or a whole URL.
fn target_of(text: &str) -> Result<Uri, ArgumentError> {
    let is_target = text.starts_with('/') || text.contains("://");
    text.parse()
        .ok()
        .filter(|_| is_target)
        .ok_or(ArgumentError::Target)
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

/// Checks the senders named in query and body. A request without a body names its sender in the
/// body to come.
fn with_senders<'l>(
    permit: Permit<'l>,
    contents: &'l Contents,
    body: Option<&str>,
) -> Result<Permit<'l>, Denied<'l>> {
    let permit = match body {
        Some(_) => permit.decided_by(contents.pattern),
        None if permit.request.needs_sender() => return Ok(permit),
        None => permit,
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
        limits.push(
            "counted together with the other sidecars, while the shared server answers".to_owned(),
        );
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
