//! `[inbound]` and `[[webhook]]`.

use std::borrow::Cow;
use std::collections::hash_map::Entry;
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use percent_encoding::percent_decode_str;

use super::credential::{Credentials, Placed, references};
use super::destination::EventTargets;
use super::endpoint::{Earlier, Endpoint};
use super::listen::{Addresses, MAX_HOST_LENGTH, Reach, loopback};
use super::{absolute_path, certificate, duration, items, size};
use crate::config::{
    ApplicationAddress, ApplicationUrl, ClientAuth, InboundConfig, InboundTls, MAX_SOCKET_PATH,
    WebhookConfig, WebhookPath,
};
use crate::document::{Field, Malformed, Position, Reader};
use crate::provider::Origin;

/// Reads `[inbound]`.
pub(super) fn inbound(mut reader: Reader<'_>, addresses: &mut Addresses) -> InboundConfig {
    let max_body = size(&mut reader, "max_body", MAX_BODY);
    let inbound = InboundConfig {
        listen: addresses.listen(&mut reader, loopback(8081), Reach::Anywhere),
        max_body,
        max_in_flight: size(&mut reader, "max_in_flight", in_flight_for(max_body)),
        trusted_proxies: items(&mut reader, "trusted_proxies", |field| {
            field.parse(str::parse)
        }),
        tls: reader.table("tls").and_then(tls),
    };
    if inbound.max_in_flight < inbound.max_body {
        reader
            .fault("`max_in_flight` is less than `max_body`, expected room for one body at least");
    }
    reader.finish();
    inbound
}

impl Default for InboundConfig {
    /// The values without a webhook: no listener.
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            max_body: MAX_BODY,
            max_in_flight: in_flight_for(MAX_BODY),
            trusted_proxies: Vec::new(),
            tls: None,
        }
    }
}

/// The default of `max_body`, in bytes. Meta's events have up to 3 MB.
const MAX_BODY: u64 = 4 << 20;

/// The default of `max_in_flight`, in bytes: room for an event of the largest size, and for many
/// usual ones beside it. With the default of `max_body` these are 6 MiB; `memory.rs` has the sum of
/// all bounds.
fn in_flight_for(max_body: u64) -> u64 {
    max_body.saturating_add(max_body / 2)
}

fn tls(mut reader: Reader<'_>) -> Option<InboundTls> {
    let certificate = certificate(
        &mut reader,
        "the file with the certificate and its chain, in PEM",
    );
    let client_ca = reader.parse("client_ca", absolute_path);
    let client_name = reader.field("client_name");
    let name = client_name.as_ref().and_then(|field| field.parse(dns_name));
    if let Some(field) = client_name.filter(|_| client_ca.is_none()) {
        field.fault(
            "there is no `client_ca` that could vouch for a client of this name, expected one",
        );
    }
    reader.finish();
    let (cert, key) = certificate?;
    Some(InboundTls {
        cert,
        key,
        client: client_ca.map(|ca| ClientAuth { ca, name }),
    })
}

fn dns_name(text: &str) -> Result<String, Malformed> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-.".contains(c);
    if text.is_empty() || text.len() > MAX_HOST_LENGTH || !text.chars().all(plain) {
        return Err(Malformed::new(
            "not a name that a certificate could have, expected a DNS name",
        ));
    }
    Ok(text.to_ascii_lowercase())
}

/// Reads all webhooks. `keep` is the time of delivered events on disk; `None` without a spool.
pub(super) fn webhooks(
    tables: Option<Vec<Reader<'_>>>,
    credentials: &Credentials,
    keep: Option<Duration>,
    addresses: &Addresses,
) -> Vec<WebhookConfig> {
    let mut earlier = Earlier::default();
    tables
        .into_iter()
        .flatten()
        .filter_map(|reader| webhook(reader, credentials, keep, addresses, &mut earlier))
        .collect()
}

fn webhook(
    mut reader: Reader<'_>,
    credentials: &Credentials,
    keep: Option<Duration>,
    addresses: &Addresses,
    earlier: &mut Earlier<Position>,
) -> Option<WebhookConfig> {
    let path = reader.required(
        "path",
        "where the provider sends its events, such as \"/webhooks/whatsapp\"",
    );
    let endpoint = Endpoint::read(&mut reader, path);
    let own_path = endpoint.path(webhook_path);
    let targets = EventTargets::read(&mut reader, keep, addresses);
    let timeout = duration(&mut reader, "timeout", DEFAULT_TIMEOUT);
    let sign = reader.field("sign").map(|field| references(&field));
    let public_url = reader.parse("public_url", url);
    reader.finish();
    let (credential, placed) = endpoint.credential(credentials)?;
    let name = endpoint.name_or(&credential);
    let (way, reply) = targets?.of_webhook(&name);
    let webhook = WebhookConfig {
        name,
        path: own_path?,
        credential,
        way,
        timeout,
        sign: sign.unwrap_or_default(),
        public_url,
        reply,
    };
    check_provider(&reader, &webhook, placed);
    check_secrets(&reader, placed);
    if let Some(at) = earlier.take_name(&webhook.name, reader.at()) {
        endpoint.fault_same_name(&reader, "webhook", &at);
    }
    match earlier.at_path(webhook.path.to_string()) {
        Entry::Occupied(at) => endpoint.fault_at_path(
            &reader,
            format!(
                "the same path as the webhook at {}, expected another",
                at.get()
            ),
        ),
        Entry::Vacant(free) => {
            free.insert(reader.at().clone());
        }
    }
    Some(webhook)
}

/// Reads a path, which may end in `{token}` for a provider without any other proof. The path is
/// kept decoded, because a provider may percent-encode any character of a request's path.
fn webhook_path(text: &str) -> Result<WebhookPath, Malformed> {
    let (plain, token) = match text.strip_suffix("/{token}") {
        Some(before) => (before, true),
        None => (text, false),
    };
    let decoded = match plain.strip_prefix('/') {
        Some("") if !token => Some("/".to_owned()),
        Some(segments) => segments
            .split('/')
            .map(|segment| Some(format!("/{}", decoded_segment(segment)?)))
            .collect(),
        None => (token && plain.is_empty()).then(String::new),
    };
    let text = decoded.ok_or(Malformed::new(
        "not a path that a provider could ask for, expected a slash and segments without query, \
         encoded slash, backslash or control characters; a percent begins two hex digits; the last may be {token}",
    ))?;
    Ok(WebhookPath { text, token })
}

/// Decodes a segment of a path; `None` for a segment that no request could name.
fn decoded_segment(segment: &str) -> Option<String> {
    let has_hex_digits = |after: &str| {
        let digits = after.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if !segment.split('%').skip(1).all(has_hex_digits) || segment.contains(['?', '#']) {
        return None;
    }
    let decoded = percent_decode_str(segment).decode_utf8().ok()?;
    let is_plain = |c: char| !c.is_control() && !"/\\\"<>{}".contains(c);
    let is_segment = !matches!(&*decoded, "" | "." | "..") && decoded.chars().all(is_plain);
    is_segment.then(|| decoded.into_owned())
}

/// Reads the URL of an application, with a warning where message texts would cross a network in
/// clear text.
pub(super) fn application(field: &Field<'_>, addresses: &Addresses) -> Option<ApplicationUrl> {
    let url = field.parse(application_url)?;
    if let Some(place) = addresses.place_at(&url.application) {
        field.fault(format!(
            "Keyside's own listener ({place}), so that each event would come back as a new one, expected the address of the \
             application"
        ));
    }
    if let ApplicationAddress::Origin(origin) = &url.application
        && origin.is_in_clear()
    {
        field.warn(
            "events, with the text of messages, cross the network in clear text, expected https:// for an application on another \
             machine",
        );
    }
    Some(url)
}

/// Reads `http://HOST:PORT/PATH`, `https://...`, or `unix:/SOCKET:/PATH`.
fn application_url(text: &str) -> Result<ApplicationUrl, Malformed> {
    const EXPECTED: Malformed = Malformed::new(
        "not where an application could listen, expected http://HOST:PORT/PATH, https://HOST/PATH \
         or unix:/SOCKET:/PATH",
    );
    if let Some(rest) = text.strip_prefix("unix:") {
        let (socket, path) = rest.split_once(':').unwrap_or((rest, "/"));
        if !socket.starts_with('/') || socket.len() > MAX_SOCKET_PATH || !is_target(path) {
            return Err(EXPECTED);
        }
        return Ok(ApplicationUrl {
            application: ApplicationAddress::Unix(PathBuf::from(socket)),
            path: path.to_owned(),
        });
    }
    if has_user(text) {
        return Err(USER);
    }
    let (origin, path) = split_url(text).ok_or(EXPECTED)?;
    Ok(ApplicationUrl {
        application: ApplicationAddress::Origin(origin),
        path,
    })
}

/// True for a URL with a user, and perhaps a password, before the host.
pub(super) fn has_user(text: &str) -> bool {
    let uri: Option<Uri> = text.parse().ok();
    uri.as_ref()
        .and_then(Uri::authority)
        .is_some_and(|authority| authority.as_str().contains('@'))
}

/// The fault of a URL with a user. The value is not repeated, because the user may have a password.
pub(super) const USER: Malformed = Malformed::new(
    "a user before the host, expected a URL without a user and a password, which Keyside would not send",
);

/// Splits an absolute URL without user and fragment into its origin, and its path with the query.
pub(super) fn split_url(text: &str) -> Option<(Origin, String)> {
    let uri: Uri = text.parse().ok()?;
    let scheme = uri.scheme()?;
    let authority = uri.authority()?;
    let tls = *scheme == Scheme::HTTPS;
    if !tls && *scheme != Scheme::HTTP {
        return None;
    }
    let host = authority.host().to_ascii_lowercase();
    let port = authority.port_u16();
    // Without a port number, a longer authority has a user, or a port that is no number.
    let is_whole = port.is_some() || host.len() == authority.as_str().len();
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    if host.is_empty() || port == Some(0) || !is_whole || text.contains('#') || !is_target(path) {
        return None;
    }
    let origin = Origin {
        tls,
        host,
        port: port.unwrap_or(if tls { 443 } else { 80 }),
    };
    Some((origin, path.to_owned()))
}

fn is_target(path: &str) -> bool {
    path.starts_with('/')
        && path
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'#')
}

/// Checks a whole URL, and keeps its text, because providers sign the text.
fn url(text: &str) -> Result<String, Malformed> {
    match split_url(&without_user(text)) {
        Some(_) => Ok(text.to_owned()),
        None => Err(Malformed::new(
            "not a URL, expected the whole one that the provider was given, such as \"https://HOST/PATH\"",
        )),
    }
}

/// Returns a URL without a user before the host. Twilio signs a URL with the user and password that
/// it was given.
fn without_user(text: &str) -> Cow<'_, str> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Cow::Borrowed(text);
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        Some((_, host)) => Cow::Owned(format!("{scheme}://{host}{path}")),
        None => Cow::Borrowed(text),
    }
}

/// Reports a webhook that does not fit its provider.
fn check_provider(reader: &Reader<'_>, webhook: &WebhookConfig, placed: &Placed) {
    let fault = |key: &str, message: &str| {
        let key = format!("{}.{key}", reader.path());
        reader.report().fault(reader.at(), &key, message);
    };
    let Some(spec) = &placed.config.provider.webhook else {
        fault(
            "credential",
            "its provider sends no webhooks that Keyside can check, expected another",
        );
        return;
    };
    if webhook.public_url.is_none() && spec.needs_url() {
        fault(
            "public_url",
            "missing, expected the whole URL that the provider was given, since it signs it",
        );
    }
    if webhook.path.token && !spec.has_path_token() {
        fault(
            "path",
            "it ends in {token}, and its provider has no token there, expected a plain path",
        );
    }
}

/// Reports a credential without the secrets that its provider's webhooks need.
fn check_secrets(reader: &Reader<'_>, placed: &Placed) {
    let Some(spec) = &placed.config.provider.webhook else {
        return;
    };
    let secrets = &placed.config.secrets;
    let can_check = spec
        .schemes
        .iter()
        .any(|scheme| secrets.contains_key(&scheme.secret));
    if !can_check {
        let names: Vec<_> = spec
            .schemes
            .iter()
            .map(|scheme| format!("`{}`", scheme.secret))
            .collect();
        let message = format!(
            "no secret to check events with, expected {}: a webhook uses this credential",
            names.join(" or ")
        );
        reader.report().fault(&placed.at, &placed.path, message);
    }
    let challenge = spec.challenge.as_ref();
    if let Some(challenge) = challenge.filter(|secret| !secrets.contains_key(secret)) {
        let message =
            format!("no `{challenge}`, so that the provider's handshake cannot be answered");
        reader.report().warn(&placed.at, &placed.path, message);
    }
}

/// The default of `timeout`. Meta documents no bound of its own; other parties report 5 to 20 s.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
