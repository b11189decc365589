//! `[inbound]` and `[[webhook]]`.

use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;

use super::credential::{Credentials, Placed};
use super::listen::{Addresses, Reach, loopback};
use super::{absolute_path, check_name_value, duration};
use crate::config::{Application, ClientAuth, Forward, Inbound, InboundTls, Webhook, WebhookPath};
use crate::document::{Field, Position, Reader, choices};
use crate::provider::Origin;
use crate::units;

pub(super) fn inbound(mut reader: Reader<'_>, addresses: &mut Addresses) -> Inbound {
    let inbound = Inbound {
        listen: addresses.listen(&mut reader, loopback(8081), Reach::Anywhere),
        max_body: size(&mut reader, "max_body", MAX_BODY),
        max_in_flight: size(&mut reader, "max_in_flight", MAX_IN_FLIGHT),
        tls: reader.table("tls").and_then(tls),
    };
    if inbound.max_in_flight < inbound.max_body {
        reader.fault("`max_in_flight` is less than `max_body`, expected room for one body at least");
    }
    reader.finish();
    inbound
}

impl Default for Inbound {
    /// Without a webhook, where nothing listens.
    fn default() -> Self {
        Self { listen: Vec::new(), max_body: MAX_BODY, max_in_flight: MAX_IN_FLIGHT, tls: None }
    }
}

/// Meta's events have at most 3 MB.
const MAX_BODY: u64 = 4 << 20;
const MAX_IN_FLIGHT: u64 = 64 << 20;

fn tls(mut reader: Reader<'_>) -> Option<InboundTls> {
    let cert = reader.required("cert", "the file with the certificate and its chain, in PEM");
    let cert = cert.and_then(|field| field.parse(absolute_path));
    let key = reader.required("key", "the file with the certificate's private key, in PEM");
    let key = key.and_then(|field| field.parse(absolute_path));
    let client_ca = reader.field("client_ca").and_then(|field| field.parse(absolute_path));
    let client_name = reader.field("client_name");
    let name = client_name.as_ref().and_then(|field| field.parse(dns_name));
    if let Some(field) = client_name.filter(|_| client_ca.is_none()) {
        field.fault("there is no `client_ca` that could vouch for a client of this name, expected one");
    }
    reader.finish();
    Some(InboundTls { cert: cert?, key: key?, client: client_ca.map(|ca| ClientAuth { ca, name }) })
}

fn dns_name(text: &str) -> Result<String, &'static str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-.".contains(c);
    if text.is_empty() || text.len() > 253 || !text.chars().all(plain) {
        return Err("not a name that a certificate could have, expected a DNS name");
    }
    Ok(text.to_ascii_lowercase())
}

/// The webhooks read so far, to compare each with those before it.
pub(super) struct Webhooks<'d> {
    credentials: &'d Credentials,
    webhooks: Vec<(Webhook, Position)>,
}

impl<'d> Webhooks<'d> {
    pub(super) fn read(readers: Vec<Reader<'_>>, credentials: &'d Credentials) -> Vec<Webhook> {
        let mut webhooks = Self { credentials, webhooks: Vec::new() };
        for reader in readers {
            let at = reader.at().clone();
            if let Some(webhook) = webhooks.webhook(reader) {
                webhooks.webhooks.push((webhook, at));
            }
        }
        webhooks.webhooks.into_iter().map(|(webhook, _)| webhook).collect()
    }

    fn webhook(&self, mut reader: Reader<'_>) -> Option<Webhook> {
        let path = reader.required("path", "where the provider sends its events, such as \"/webhooks/whatsapp\"");
        let own_path = path.as_ref().and_then(|field| field.parse(webhook_path));
        let credential = reader.required("credential", "the NAME of a [credential.NAME]");
        let name = reader.field("name").filter(check_name_value);
        let forward =
            reader.required("forward", "where the application takes events, such as \"http://127.0.0.1:3000/\"");
        let forward = forward.and_then(|field| field.parse(forward_to));
        let timeout = duration(&mut reader, "timeout", Duration::from_secs(10));
        let public_url = reader.field("public_url");
        let url = public_url.as_ref().and_then(|field| field.parse(url));
        let reply = reader.field("reply").and_then(|field| field.boolean());
        let credential = credential.and_then(|field| self.credential(&field));
        let complete = credential.zip(own_path).zip(forward);
        let webhook = complete.map(|(((credential, placed), path), forward)| {
            check_provider(&reader, placed, &path, url.as_deref());
            let name = name.as_ref().and_then(Field::string).unwrap_or(&credential).to_owned();
            Webhook { name, path, credential, forward, timeout, public_url: url, reply: reply.unwrap_or(false) }
        });
        if let Some(webhook) = &webhook {
            self.compare(&reader, name.as_ref(), path.as_ref(), webhook);
        }
        reader.finish();
        webhook
    }

    /// The credential that a webhook names; `None` where there is none, or none that could be understood.
    fn credential(&self, field: &Field<'_>) -> Option<(String, &'d Placed)> {
        let name = field.string()?;
        match self.credentials.get(name) {
            Some(placed) => placed.as_ref().map(|placed| (name.to_owned(), placed)),
            None => {
                let words = self.credentials.keys().map(String::as_str);
                field.fault(format!("no such credential, {}", choices(name, words)));
                None
            }
        }
    }

    fn compare(&self, reader: &Reader<'_>, name: Option<&Field<'_>>, path: Option<&Field<'_>>, webhook: &Webhook) {
        let fault = |field: Option<&Field<'_>>, message: String| match field {
            Some(field) => field.fault(message),
            None => reader.fault(message),
        };
        for (other, at) in &self.webhooks {
            if other.name == webhook.name {
                fault(name, format!("the same name as the webhook at {at}, expected another `name`"));
            }
            if other.path == webhook.path {
                fault(path, format!("the same path as the webhook at {at}, expected another"));
            }
        }
    }
}

/// A path, which may end in `{token}` where the provider can prove itself in no other way.
fn webhook_path(text: &str) -> Result<WebhookPath, &'static str> {
    let (plain, token) = match text.strip_suffix("/{token}") {
        Some(before) => (before, true),
        None => (text, false),
    };
    let visible = |c: char| c.is_ascii_graphic() && !"%?#\\\"<>{}".contains(c);
    let is_segment = |s: &str| !s.is_empty() && s != "." && s != ".." && s.chars().all(visible);
    let segments = plain.strip_prefix('/');
    let is_path = match segments {
        Some("") => !token,
        Some(segments) => segments.split('/').all(is_segment),
        None => token && plain.is_empty(),
    };
    if !is_path {
        return Err("not a path that a provider could ask for, expected a slash and segments of visible ASCII, \
             without percent or query; the last may be {token}");
    }
    Ok(WebhookPath { text: plain.to_owned(), token })
}

/// `http://host:port/path`, `https://...`, or `unix:/socket:/path`.
fn forward_to(text: &str) -> Result<Forward, &'static str> {
    const EXPECTED: &str = "not where an application could listen, expected http://HOST:PORT/PATH, https://HOST/PATH \
         or unix:/SOCKET:/PATH";
    if let Some(rest) = text.strip_prefix("unix:") {
        let (socket, path) = rest.split_once(':').unwrap_or((rest, "/"));
        // The kernel has 108 bytes for the path and the NUL after it.
        if !socket.starts_with('/') || socket.len() > 107 || !is_target(path) {
            return Err(EXPECTED);
        }
        return Ok(Forward { application: Application::Unix(PathBuf::from(socket)), path: path.to_owned() });
    }
    let (origin, path) = split_url(text).ok_or(EXPECTED)?;
    Ok(Forward { application: Application::Origin(origin), path })
}

/// Origin and path with query of an absolute URL without user or fragment.
fn split_url(text: &str) -> Option<(Origin, String)> {
    let uri: Uri = text.parse().ok()?;
    let (scheme, authority) = (uri.scheme()?, uri.authority()?);
    let tls = match scheme {
        s if *s == Scheme::HTTPS => true,
        s if *s == Scheme::HTTP => false,
        _ => return None,
    };
    let host = authority.host().to_ascii_lowercase();
    let port = authority.port_u16();
    let is_whole = port.is_some() || host.len() == authority.as_str().len();
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let fits = !host.is_empty() && port != Some(0) && is_whole && !text.contains('#') && is_target(path);
    fits.then(|| (Origin { tls, host, port: port.unwrap_or(if tls { 443 } else { 80 }) }, path.to_owned()))
}

fn is_target(path: &str) -> bool {
    path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
}

fn url(text: &str) -> Result<String, &'static str> {
    match split_url(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err("not a URL, expected the whole one that the provider was given, such as \"https://HOST/PATH\""),
    }
}

fn size(reader: &mut Reader<'_>, key: &str, default: u64) -> u64 {
    reader.field(key).and_then(|field| field.parse(units::size)).unwrap_or(default)
}

/// What the provider must have, and the webhook and its credential must have for it.
fn check_provider(reader: &Reader<'_>, placed: &Placed, path: &WebhookPath, url: Option<&str>) {
    let fault = |key: &str, message: String| {
        let key = format!("{}.{key}", reader.path());
        reader.report().fault(reader.at(), &key, message);
    };
    let Some(webhook) = &placed.config.provider.webhook else {
        fault("credential", "its provider sends no webhooks that Keyside can check, expected another".to_owned());
        return;
    };
    if url.is_none() && webhook.needs_url() {
        fault(
            "public_url",
            "missing, expected the whole URL that the provider was given, since it signs it".to_owned(),
        );
    }
    if path.token && !webhook.has_path_token() {
        fault("path", "it ends in {token}, and its provider has no token there, expected a plain path".to_owned());
    }
    let secrets = &placed.config.secrets;
    if !webhook.schemes.iter().any(|scheme| secrets.contains_key(&scheme.secret)) {
        let names: Vec<_> = webhook.schemes.iter().map(|scheme| format!("`{}`", scheme.secret)).collect();
        reader.report().fault(
            &placed.at,
            &placed.path,
            format!("no secret to check events with, expected {}: a webhook uses this credential", names.join(" or ")),
        );
    }
    if let Some(challenge) = webhook.challenge.as_ref().filter(|secret| !secrets.contains_key(*secret)) {
        let message = format!("no `{challenge}`, so that the provider's handshake cannot be answered");
        reader.report().warn(&placed.at, &placed.path, message);
    }
}
