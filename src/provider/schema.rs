//! A provider as it is written in TOML, in a preset or under `[provider.NAME]`, and how it becomes a [`Provider`].

use std::path::PathBuf;

use http::header::{self, HeaderName, HeaderValue};

use super::parse::{is_variable, pointer, request};
use super::webhook;
use super::{
    Ca, Errors, Health, Inject, Kind, Limits, Operation, Part, PathMap, PathPattern, Provider, Rates, RequestPattern,
    SecretForm, SecretKind, Strip, Template, Throttle, preset_document,
};
use crate::document::{Field, Reader, Report, is_showable};

/// How well founded a preset is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// The vendor's own documents, or recordings of its answers, say so.
    Documented,
    /// Taken from other people's code; try it out before relying on it.
    Unverified,
}

/// How well founded the preset of this name is.
pub fn evidence(preset: &str) -> Option<Evidence> {
    let report = Report::default();
    let document = preset_document(preset, &report)?;
    let field = Reader::new(&document, &report).field("evidence")?;
    field.choice(&EVIDENCE)
}

/// Reads a provider. Faults are in the report; where they leave nothing to go on, there is no provider.
pub fn read(name: &str, mut reader: Reader<'_>) -> Option<Provider> {
    // What a preset says of itself; a provider that extends it inherits the key.
    choice(&mut reader, "evidence", &EVIDENCE);
    let title = reader.field("title").and_then(|field| field.string());
    // A provider without an upstream only sends events.
    let sends_only = reader.has("webhook") && !reader.has("upstream") && !reader.has("operations");
    let upstream = match sends_only {
        true => None,
        false => reader.required("upstream", "where requests go, such as \"https://HOST\""),
    };
    let has_upstream = upstream.is_some();
    let upstream = upstream.and_then(|field| field.parse(str::parse));
    let media_upstream = reader.field("media_upstream");
    let media_upstream = media_upstream.and_then(|field| field.parse(str::parse));
    let ca = reader.field("ca").and_then(|field| field.parse(ca));
    let graph_answers = choice(&mut reader, "answers", &[("graph", true), ("plain", false)]);
    let health = choice(&mut reader, "health", &[("graph", Some(Health::Graph)), ("none", None)]);
    let secrets = secrets(&mut reader);
    let inject = match sends_only {
        true => Some(Vec::new()),
        false => {
            let field = reader.required("inject", "where the secrets go, [] for nowhere but the path");
            field.map(|field| injects(&field, &secrets))
        }
    };
    let strip = reader.table("strip").map(strip).unwrap_or_default();
    let operations = match sends_only {
        true => Vec::new(),
        false => operations(&mut reader, &secrets, media_upstream.is_some()),
    };
    let paths = reader.field("paths").and_then(|field| field.array());
    let paths = paths.unwrap_or_default();
    let paths = paths.iter().filter_map(|field| path_map(field, &secrets));
    let paths = paths.collect();
    let limits = reader.table("limits").map(limits).unwrap_or_default();
    let errors = reader.table("errors").map(errors).unwrap_or_default();
    let webhook = reader.table("webhook").map(|table| webhook::read(table, &secrets));
    reader.finish();
    if has_upstream && upstream.is_none() {
        return None;
    }
    let mut provider = Provider {
        name: name.to_owned(),
        title: title.unwrap_or(name).to_owned(),
        upstream,
        media_upstream,
        ca: ca.unwrap_or(Ca::Bundled),
        secrets,
        inject: inject?,
        strip,
        operations,
        paths,
        limits,
        errors,
        health: health.flatten(),
        graph_answers: graph_answers.unwrap_or(false),
        webhook,
    };
    provider.strip_what_is_injected();
    Some(provider)
}

fn choice<T: Copy>(reader: &mut Reader<'_>, key: &str, words: &[(&str, T)]) -> Option<T> {
    reader.field(key).and_then(|field| field.choice(words))
}

impl Provider {
    /// A caller's own value beside the injected one would let the provider choose between the two.
    fn strip_what_is_injected(&mut self) {
        let own = self.operations.iter().flat_map(|o| &o.requests);
        let own = own.filter_map(|request| request.inject.as_ref()).flatten();
        for inject in self.inject.iter().chain(own) {
            match inject {
                Inject::Header { name, .. } => add(&mut self.strip.headers, name),
                Inject::Query { name, .. } => add(&mut self.strip.query, name),
                Inject::FormField { name, .. } => add(&mut self.strip.form, name),
                // The field is replaced where it stands.
                Inject::JsonField { .. } => {}
                Inject::AppSecretProof { .. } => {
                    add(&mut self.strip.query, &"appsecret_proof".to_owned());
                    add(&mut self.strip.query, &"appsecret_time".to_owned());
                }
            }
        }
    }
}

fn add<T: PartialEq + Clone>(list: &mut Vec<T>, item: &T) {
    if !list.contains(item) {
        list.push(item.clone());
    }
}

const EVIDENCE: [(&str, Evidence); 2] = [("documented", Evidence::Documented), ("unverified", Evidence::Unverified)];

fn ca(text: &str) -> Result<Ca, &'static str> {
    match text {
        "bundled" => Ok(Ca::Bundled),
        "system" => Ok(Ca::System),
        path if path.starts_with('/') => Ok(Ca::File(PathBuf::from(path))),
        _ => Err("unknown, expected \"bundled\", \"system\" or the absolute path of a PEM file"),
    }
}

fn secrets(provider: &mut Reader<'_>) -> Vec<SecretKind> {
    let mut secrets = Vec::new();
    let expected = "the secrets that a credential has, such as [secrets.token]";
    let table = provider.required("secrets", expected);
    let Some(mut table) = table.and_then(|field| field.table()) else {
        return secrets;
    };
    for field in table.fields() {
        if !is_variable(field.key) || !is_showable(field.key) || TAKEN.contains(&field.key) {
            field.key_fault(
                "not a name for a secret, expected lower-case letters, digits and _, \
                 and none of the credential's other keys",
            );
            continue;
        }
        let Some(mut reader) = field.table() else {
            continue;
        };
        let required = reader.field("required").and_then(|f| f.boolean());
        let form = reader.field("form").and_then(|f| {
            f.choice(&[
                ("text", SecretForm::Text),
                ("meta-token", SecretForm::MetaToken),
                ("app-secret", SecretForm::AppSecret),
            ])
        });
        reader.finish();
        secrets.push(SecretKind {
            name: field.key.to_owned(),
            required: required.unwrap_or(false),
            form: form.unwrap_or(SecretForm::Text),
        });
    }
    if secrets.is_empty() {
        table.fault("empty, expected at least one secret");
    }
    secrets
}

/// The other keys of `[credential.NAME]`, also those that the contract has for later, and a pattern's own variables.
const TAKEN: [&str; 9] = ["provider", "max_age", "overlap", "proof", "check", "renew", "v", "id", "sender"];

fn injects(field: &Field<'_>, secrets: &[SecretKind]) -> Vec<Inject> {
    let fields = field.array().unwrap_or_default();
    let readers = fields.iter().filter_map(|field| field.table());
    readers.filter_map(|reader| inject(reader, secrets)).collect()
}

fn inject(mut reader: Reader<'_>, secrets: &[SecretKind]) -> Option<Inject> {
    let header = reader.field("header");
    let query = reader.field("query");
    let form = reader.field("form");
    let json = reader.field("json");
    let proof = reader.field("appsecret_proof");
    let places = [&header, &query, &form, &json, &proof];
    if places.iter().filter(|place| place.is_some()).count() != 1 {
        reader.fault("expected exactly one of `header`, `query`, `form`, `json`, `appsecret_proof`");
    }
    let inject = if let Some(token) = proof {
        let key = reader.required("key", "the secret that signs")?;
        Some(Inject::AppSecretProof { token: secret_name(&token, secrets)?, key: secret_name(&key, secrets)? })
    } else {
        let value = reader.required("value", "what goes there, such as \"Bearer {token}\"")?;
        let template = injected(&value, secrets)?;
        let place = |field: Field<'_>| field.parse(parameter);
        if let Some(field) = header {
            if !is_header_text(&template) {
                value.fault("not text for a header, expected visible ASCII");
            }
            let name = field.parse(header_name);
            name.map(|name| Inject::Header { name, value: template })
        } else if let Some(field) = query {
            place(field).map(|name| Inject::Query { name, value: template })
        } else if let Some(field) = form {
            place(field).map(|name| Inject::FormField { name, value: template })
        } else if let Some(field) = json {
            let keys = field.parse(pointer);
            keys.map(|pointer| Inject::JsonField { pointer, value: template })
        } else {
            None
        }
    };
    reader.finish();
    inject
}

pub(super) fn secret_name(field: &Field<'_>, secrets: &[SecretKind]) -> Option<String> {
    let words: Vec<_> = secrets.iter().map(|s| (s.name.as_str(), ())).collect();
    field.choice(&words)?;
    field.string().map(str::to_owned)
}

/// A template all of whose names are secrets that are always there: nothing may leave half filled in.
fn injected(field: &Field<'_>, secrets: &[SecretKind]) -> Option<Template> {
    let template = field.parse(Template::parse)?;
    if template.names().next().is_none() {
        field.fault("no secret in it, expected the name of one in braces; the secret itself never stands here");
        return None;
    }
    for name in template.names() {
        check_secret(field, name, secrets);
    }
    Some(template)
}

fn check_secret(field: &Field<'_>, name: &str, secrets: &[SecretKind]) {
    match secrets.iter().find(|secret| secret.name == name) {
        Some(secret) if secret.required => {}
        Some(secret) => field
            .fault(format!("`{}` may be missing, expected `required = true` for a secret that is put in", secret.name)),
        None => {
            let known: Vec<&str> = secrets.iter().map(|s| s.name.as_str()).collect();
            field.fault(format!("an unknown name in braces, the secrets are `{}`", known.join("`, `")));
        }
    }
}

fn is_header_text(template: &Template) -> bool {
    template.parts.iter().all(|part| match part {
        Part::Text(text) => is_header_text_str(text),
        Part::Name(_) => true,
    })
}

pub(super) fn is_header_text_str(text: &str) -> bool {
    text.is_ascii() && HeaderValue::from_str(text).is_ok()
}

pub(super) fn header_name(text: &str) -> Result<HeaderName, &'static str> {
    let name = HeaderName::try_from(text).map_err(|_| "not the name of a header")?;
    // Whoever sets these decides where a request goes or where it ends.
    let framing = [
        header::HOST,
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::TE,
        header::TRAILER,
        header::UPGRADE,
        header::EXPECT,
    ];
    if framing.contains(&name) || matches!(name.as_str(), "keep-alive" | "proxy-connection") {
        return Err("a header of the connection, expected one that carries a credential");
    }
    Ok(name)
}

pub(super) fn parameter(text: &str) -> Result<String, &'static str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-[]".contains(c);
    if text.is_empty() || !text.chars().all(plain) {
        return Err("not the name of a parameter, expected letters, digits and _.-[]");
    }
    Ok(text.to_owned())
}

fn strip(mut reader: Reader<'_>) -> Strip {
    let strip = Strip {
        headers: list(&mut reader, "headers", header_name),
        query: list(&mut reader, "query", parameter),
        form: list(&mut reader, "form", parameter),
    };
    reader.finish();
    strip
}

fn list<T, E: std::fmt::Display>(reader: &mut Reader<'_>, key: &str, parse: impl Fn(&str) -> Result<T, E>) -> Vec<T> {
    let fields = reader.field(key).and_then(|field| field.array());
    let fields = fields.unwrap_or_default();
    fields.iter().filter_map(|f| f.parse(&parse)).collect()
}

fn operations(provider: &mut Reader<'_>, secrets: &[SecretKind], has_media_upstream: bool) -> Vec<Operation> {
    let mut operations = Vec::new();
    let expected = "what can be asked, such as [operations.messages]";
    let table = provider.required("operations", expected);
    let Some(mut table) = table.and_then(|field| field.table()) else {
        return operations;
    };
    for field in table.fields() {
        if !is_showable(field.key) {
            field.key_fault("not a name for an operation, expected up to 40 of a-z A-Z 0-9 _ . -");
        } else if let Some(reader) = field.table() {
            operations.push(operation(field.key, reader, secrets, has_media_upstream));
        }
    }
    if operations.is_empty() {
        table.fault("empty, expected at least one operation");
    }
    operations
}

fn operation(name: &str, mut reader: Reader<'_>, secrets: &[SecretKind], has_media_upstream: bool) -> Operation {
    let kind = reader.required("kind", "\"send\", \"receive\" or \"administration\"");
    let kind = kind.and_then(|field| {
        field.choice(&[("send", Kind::Send), ("receive", Kind::Receive), ("administration", Kind::Administration)])
    });
    let default = reader.field("default");
    let is_default = default.as_ref().and_then(Field::boolean).unwrap_or(false);
    let caller = reader.field("credential");
    let caller = caller.and_then(|f| f.choice(&[("injected", false), ("caller", true)]));
    let caller = caller.unwrap_or(false);
    if let Some(field) = default.filter(|_| is_default)
        && (caller || kind == Some(Kind::Administration))
    {
        field.fault("administration and the caller's own credential must be named by a route, expected false");
    }
    let requests = reader.required("requests", "at least one, such as \"POST /messages\"");
    let fields = requests.as_ref().and_then(Field::array);
    let requests: Vec<_> =
        fields.iter().flatten().filter_map(|field| request_pattern(field, secrets, has_media_upstream)).collect();
    if fields.is_some_and(|fields| fields.is_empty()) {
        reader.fault("no requests, expected at least one");
    }
    reader.finish();
    Operation {
        name: name.to_owned(),
        kind: kind.unwrap_or(Kind::Administration),
        default: is_default,
        caller_credential: caller,
        requests,
    }
}

/// A request: a string, or a table where there is more to say.
fn request_pattern(field: &Field<'_>, secrets: &[SecretKind], has_media_upstream: bool) -> Option<RequestPattern> {
    if !field.is_table() {
        let (methods, path) = field.parse(request)?;
        return Some(RequestPattern {
            methods,
            path,
            query: None,
            media: false,
            limited: false,
            raw: false,
            inject: None,
        });
    }
    let mut reader = field.table()?;
    let line = reader.required("request", "a method and a path, such as \"GET /{v}/{id}\"");
    let line = line.and_then(|field| field.parse(request));
    let query = reader.field("query").map(|field| {
        let fields = field.array().unwrap_or_default();
        fields.iter().filter_map(|f| f.parse(parameter)).collect()
    });
    let media = reader.field("media");
    let is_media = media.as_ref().and_then(Field::boolean).unwrap_or(false);
    if let Some(field) = media.filter(|_| is_media && !has_media_upstream) {
        field.fault("there is no `media_upstream` to go to, expected one in the provider");
    }
    let limited = reader.field("limited").and_then(|field| field.boolean());
    let raw = reader.field("raw").and_then(|field| field.boolean());
    let inject = reader.field("inject").map(|field| injects(&field, secrets));
    reader.finish();
    let (methods, path) = line?;
    Some(RequestPattern {
        methods,
        path,
        query,
        media: is_media,
        limited: limited.unwrap_or(false),
        raw: raw.unwrap_or(false),
        inject,
    })
}

fn path_map(field: &Field<'_>, secrets: &[SecretKind]) -> Option<PathMap> {
    let mut reader = field.table()?;
    let from = reader.required("from", "the path that applications ask for");
    let from = from.and_then(|field| field.parse(PathPattern::parse));
    let to = reader.required("to", "the path that the provider is asked for");
    let to = to.and_then(|field| Some((field.parse(Template::parse)?, field)));
    reader.finish();
    let (from, (to, field)) = (from?, to?);
    check_target(&field, &from, &to, secrets);
    Some(PathMap { from, to })
}

fn check_target(field: &Field<'_>, from: &PathPattern, to: &Template, secrets: &[SecretKind]) {
    let first = match to.parts.first() {
        Some(Part::Text(text)) => text.as_str(),
        Some(Part::Name(_)) | None => "",
    };
    if !first.starts_with('/') {
        field.fault("not a path, expected it to begin with a slash");
    }
    let plain = |c: char| c.is_ascii_graphic() && !"%?#\\".contains(c);
    for part in &to.parts {
        match part {
            Part::Text(text) if text.chars().all(plain) => {}
            Part::Text(_) => field.fault("not a path, expected visible ASCII without percent or query"),
            // A version may be absent, and then the path would have an empty segment.
            Part::Name(name) if name == "v" => {
                field.fault("`{v}` may be empty, expected a fixed version");
            }
            Part::Name(name) => match from.variables().any(|variable| variable == name) {
                true if secrets.iter().any(|secret| secret.name == *name) => {
                    field.fault("a variable of `from` has the name of a secret, expected another");
                }
                true => {}
                false => check_secret(field, name, secrets),
            },
        }
    }
}

fn limits(mut reader: Reader<'_>) -> Limits {
    let rates = Rates::read(&mut reader);
    let recipient = list(&mut reader, "recipient", pointer);
    let counts_received = reader.field("counts_received").and_then(|field| field.boolean()).unwrap_or_default();
    reader.finish();
    Limits { rates, recipient, counts_received }
}

fn errors(mut reader: Reader<'_>) -> Errors {
    let code = reader.field("code");
    let message = reader.field("message");
    let is_pointer = |field: &Field<'_>| field.parse(|text| pointer(text).map(|_| text.to_owned()));
    let refused_words = list(&mut reader, "refused_words", |words| Ok::<_, String>(words.to_owned()));
    let mut numbers = |key: &str| {
        let fields = reader.field(key).and_then(|field| field.array());
        fields.map(|fields| fields.iter().filter_map(Field::integer::<i64>).collect::<Vec<_>>())
    };
    let refused = numbers("refused");
    let mut statuses = |key: &str| {
        numbers(key).map(|all| all.into_iter().filter_map(|status| u16::try_from(status).ok()).collect::<Vec<u16>>())
    };
    let (refused_status, throttled_status) = (statuses("refused_status"), statuses("throttled_status"));
    let throttled = reader.field("throttled").map(|field| field.tables()).unwrap_or_default();
    let throttled: Vec<_> = throttled.into_iter().filter_map(Throttle::read).collect();
    if let Some(field) = code.as_ref().filter(|_| refused.is_none()) {
        field.key_fault("without `refused`, expected the codes that mean a refused credential");
    }
    if message.is_none() && !refused_words.is_empty() {
        reader.fault("`refused_words` without `message`, expected a JSON pointer to the text that has them");
    }
    reader.finish();
    Errors {
        code: code.and_then(|field| is_pointer(&field)),
        refused: refused.unwrap_or_default(),
        message: message.and_then(|field| is_pointer(&field)),
        refused_words,
        throttled,
        throttled_status: throttled_status.unwrap_or_else(|| Errors::default().throttled_status),
        refused_status: refused_status.unwrap_or_else(|| Errors::default().refused_status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Document, Fault};
    use crate::provider::{PRESETS, credential_headers};

    /// A small complete provider.
    const SMALL: &str = r#"
upstream = "https://example.com"
inject = [{ header = "X-Key", value = "{key}" }]
[secrets.key]
required = true
[operations.messages]
kind = "send"
requests = ["POST /messages"]
"#;

    fn read_text(text: &str) -> (Option<Provider>, Vec<String>) {
        let report = Report::default();
        let document = Document::parse(text, "f", &report).unwrap();
        let provider = read("mine", Reader::new(&document, &report));
        let (faults, _) = report.into_parts();
        (provider, faults.iter().map(Fault::to_string).collect())
    }

    #[test]
    fn every_preset_is_without_fault() {
        for (name, _) in PRESETS {
            let report = Report::default();
            let document = preset_document(name, &report).unwrap();
            read(name, Reader::new(&document, &report));
            let (faults, _) = report.into_parts();
            assert_eq!(faults, [], "{name}");
            assert!(Provider::preset(name).is_some(), "{name}");
            assert!(evidence(name).is_some(), "{name}");
        }
        assert!(Provider::preset("mate").is_none());
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn meta_has_the_operations_of_the_contract() {
        let meta = Provider::preset("meta").unwrap();
        let lines: Vec<String> = meta.operations.iter().flat_map(lines).collect();
        assert_eq!(
            lines,
            [
                "messages Send default",
                "  POST /{v}/{sender}/messages limited",
                "  POST /{v}/{sender}/marketing_messages limited",
                "  POST /{v}/{sender}/messages_encrypted limited",
                "media Receive default",
                "  POST /{v}/{sender}/media",
                "  GET /{v}/{id} query=phone_number_id",
                "  GET HEAD /whatsapp_business/attachments/{...} media inject=1",
                "media_delete Send",
                "  DELETE /{v}/{id}",
                "calls Send",
                "  POST /{v}/{sender}/calls",
                "  GET /{v}/{sender}/call_permissions",
                "groups Send",
                "  GET POST /{v}/{sender}/groups",
                "  GET POST DELETE /{v}/{id}/participants",
                "  GET POST /{v}/{id}/invite_link",
                "  GET POST DELETE /{v}/{id}/join_requests",
                "block_users Send",
                "  GET POST DELETE /{v}/{sender}/block_users",
                "templates Administration",
                "  GET POST DELETE /{v}/{id}/message_templates",
                "flows Administration",
                "  GET POST /{v}/{id}/flows",
                "  GET POST /{v}/{id}/assets",
                "  POST /{v}/{id}/publish",
                "  POST /{v}/{id}/deprecate",
                "  POST /{v}/{id}/migrate_flows",
                "qr_codes Administration",
                "  GET POST DELETE /{v}/{sender}/message_qrdls",
                "  GET POST DELETE /{v}/{sender}/message_qrdls/{code}",
                "profile Administration",
                "  GET POST /{v}/{sender}/whatsapp_business_profile",
                "  GET POST /{v}/{sender}/whatsapp_commerce_settings",
                "  GET POST /{v}/{sender}/conversational_automation",
                "  GET POST /{v}/{sender}/business_compliance_info",
                "  GET POST /{v}/{sender}/official_business_account",
                "  GET POST DELETE /{v}/{sender}/username",
                "uploads Administration",
                "  POST /{v}/{id}/uploads",
                "  GET POST /{v}/upload:{...} raw inject=1",
                "phone_numbers Administration",
                "  GET POST /{v}/{sender}",
                "  GET POST /{v}/{id}/phone_numbers",
                "  GET POST /{v}/{sender}/settings",
                "  GET POST /{v}/{sender}/whatsapp_business_encryption",
                "  GET /{v}/{sender}/message_history",
                "account Administration",
                "  GET POST DELETE /{v}/{id}/subscribed_apps",
                "  GET POST DELETE /{v}/{id}/assigned_users",
                "  GET /{v}/{id}/owned_whatsapp_business_accounts",
                "  GET /{v}/{id}/client_whatsapp_business_accounts",
                "  GET /{v}/{id}/extendedcredits",
                "registration Administration",
                "  POST /{v}/{sender}/register",
                "  POST /{v}/{sender}/deregister",
                "  POST /{v}/{sender}/request_code",
                "  POST /{v}/{sender}/verify_code",
                "subscriptions Administration caller",
                "  GET POST DELETE /{v}/{id}/subscriptions",
                "oauth Administration caller",
                "  GET POST /{v}/oauth/access_token",
                "  GET /{v}/oauth/revoke",
                "  GET /{v}/debug_token",
                "  POST /{v}/{id}/access_tokens",
            ]
        );
    }

    fn lines(operation: &Operation) -> Vec<String> {
        let mut head = format!("{} {:?}", operation.name, operation.kind);
        if operation.default {
            head.push_str(" default");
        }
        if operation.caller_credential {
            head.push_str(" caller");
        }
        let mut lines = vec![head];
        for request in &operation.requests {
            let methods: Vec<&str> = request.methods.iter().map(|m| m.as_str()).collect();
            let mut line = format!("  {} {}", methods.join(" "), request.path);
            if let Some(query) = &request.query {
                line.push_str(&format!(" query={}", query.join(",")));
            }
            if request.media {
                line.push_str(" media");
            }
            if request.raw {
                line.push_str(" raw");
            }
            if request.limited {
                line.push_str(" limited");
            }
            if let Some(inject) = &request.inject {
                line.push_str(&format!(" inject={}", inject.len()));
            }
            lines.push(line);
        }
        lines
    }

    #[test]
    fn the_media_host_gets_the_token_and_no_proof() {
        let meta = Provider::preset("meta").unwrap();
        let requests = meta.operations.iter().flat_map(|o| &o.requests);
        let media: Vec<_> = requests.filter(|request| request.media).collect();
        assert_eq!(media.len(), 1);
        assert!(matches!(
            media[0].inject.as_deref(),
            Some([Inject::Header { name, value }])
                if name == "authorization" && value.to_string() == "Bearer {token}"
        ));
    }

    #[test]
    fn every_header_that_a_preset_injects_is_stripped_from_every_request() {
        let names: Vec<String> = credential_headers().iter().map(ToString::to_string).collect();
        assert_eq!(names, ["authorization", "d360-api-key", "x-api-key"]);
    }

    #[test]
    fn what_is_injected_is_stripped_without_being_named() {
        let text = SMALL.replace(
            "inject = [",
            r#"inject = [{ query = "k", value = "{key}" }, { form = "f", value = "{key}" }, { appsecret_proof = "key", key = "key" }, "#,
        );
        let (provider, faults) = read_text(&text);
        assert_eq!(faults, [""; 0]);
        let strip = provider.unwrap().strip;
        assert_eq!(strip.headers, ["x-key"]);
        assert_eq!(strip.query, ["k", "appsecret_proof", "appsecret_time"]);
        assert_eq!(strip.form, ["f"]);
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        let (provider, faults) = read_text(SMALL);
        assert_eq!(faults, [""; 0]);
        let provider = provider.unwrap();
        assert_eq!(provider.title, "mine");
        assert_eq!(provider.ca, Ca::Bundled);
        assert_eq!(provider.limits, Limits::default());
        assert!(!provider.graph_answers);
        assert!(provider.media_upstream.is_none());
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn faults_of_a_provider_are_named_with_their_place() {
        for (from, to, expected) in [
            (
                "upstream = \"https://example.com\"",
                "upstream = \"http://example.com\"",
                "f:2:12: upstream: without TLS, expected https:// (http:// only for an upstream on loopback)",
            ),
            (
                "https://example.com",
                "https://example.com/v1",
                "f:2:12: upstream: not an upstream, expected https://HOST or https://HOST:PORT",
            ),
            (
                "upstream = \"https://example.com\"",
                "ca = \"x\"",
                "f:1:1: upstream: missing, expected where requests go, such as \"https://HOST\"",
            ),
            (
                "\ninject",
                "\nca = \"x.pem\"\ninject",
                "f:3:6: ca: unknown, expected \"bundled\", \"system\" or the absolute path of a PEM file",
            ),
            (
                "{key}",
                "EAACANARY",
                "f:3:39: inject.value: no secret in it, expected the name of one in braces; the secret itself never stands here",
            ),
            ("{key}", "{kee}", "f:3:39: inject.value: an unknown name in braces, the secrets are `key`"),
            (
                "{key}",
                "{key",
                "f:3:39: inject.value: not a variable, expected lower-case letters, digits and _ between the braces",
            ),
            (
                "required = true",
                "required = false",
                "f:3:39: inject.value: `key` may be missing, expected `required = true` for a secret that is put in",
            ),
            ("X-Key", "X Key", "f:3:22: inject.header: not the name of a header"),
            (
                "X-Key",
                "Host",
                "f:3:22: inject.header: a header of the connection, expected one that carries a credential",
            ),
            (
                "header =",
                "query = \"a\", header =",
                "f:3:11: inject: expected exactly one of `header`, `query`, `form`, `json`, `appsecret_proof`",
            ),
            (
                "header = \"X-Key\"",
                "json = \"a\"",
                "f:3:20: inject.json: not a JSON pointer, expected one such as \"/apiKey\"",
            ),
            (
                "secrets.key",
                "secrets.provider",
                "f:4:10: secrets.provider: not a name for a secret, expected lower-case letters, digits and _, and none of the credential's other keys",
            ),
            (
                "required = true",
                "form = \"tokn\"",
                "f:5:8: secrets.key.form: unknown word, expected one of `text`, `meta-token`, `app-secret`",
            ),
            (
                "kind = \"send\"",
                "kind = \"sned\"",
                "f:7:8: operations.messages.kind: unknown word, did you mean `send`? expected one of `send`, `receive`, `administration`",
            ),
            (
                "kind = \"send\"",
                "kind = \"administration\"\ndefault = true",
                "f:8:11: operations.messages.default: administration and the caller's own credential must be named by a route, expected false",
            ),
            (
                "kind = \"send\"",
                "knid = \"send\"",
                "f:7:1: operations.messages.knid: unknown key, did you mean `kind`? expected one of `kind`, `default`, `credential`, `requests`",
            ),
            (
                "\"POST /messages\"",
                "\"FETCH /messages\"",
                "f:8:13: operations.messages.requests: no method, expected GET, POST, PUT, PATCH, DELETE, HEAD or OPTIONS before the path",
            ),
            ("\"POST /messages\"", "", "f:6:1: operations.messages: no requests, expected at least one"),
            (
                "\"POST /messages\"",
                "{ request = \"POST /a\", media = true }",
                "f:8:44: operations.messages.requests.media: there is no `media_upstream` to go to, expected one in the provider",
            ),
            (
                "\n[secrets",
                "\npaths = [{ from = \"/{v}/a\", to = \"/{v}/b\" }]\n[secrets",
                "f:4:34: paths.to: `{v}` may be empty, expected a fixed version",
            ),
            (
                "\n[secrets",
                "\npaths = [{ from = \"/{key}\", to = \"/{key}\" }]\n[secrets",
                "f:4:34: paths.to: a variable of `from` has the name of a secret, expected another",
            ),
            (
                "\n[secrets",
                "\npaths = [{ from = \"/a\", to = \"{key}\" }]\n[secrets",
                "f:4:30: paths.to: not a path, expected it to begin with a slash",
            ),
        ] {
            let text = SMALL.replacen(from, to, 1);
            assert_ne!(text, SMALL, "{from}");
            let (_, faults) = read_text(&text);
            assert!(faults.iter().any(|fault| fault == expected), "{expected}\n{faults:#?}");
            assert!(!faults.join("").contains("CANARY"));
        }
    }
}
