//! A provider as it is written in TOML, in a preset or under `[provider.NAME]`, and how it becomes an [`Outline`].
//!
//! | key | what it says |
//! |---|---|
//! | `title`, `evidence` | its name for people; `documented`, `unverified` or `experimental` |
//! | `upstream`, `media_upstream`, `ca` | where requests and media go, `https://HOST`, with parameters in it; who vouches for them: `bundled`, `system`, a PEM file |
//! | `answers` | `graph` where links in answers must lead back to Keyside, else `plain` |
//! | `[secrets.NAME]` | a secret of a credential: `required` by a route, `form`: `text`, `meta-token`, `app-secret`, `private-key` |
//! | `[parameters.NAME]` | a value of an account that is no secret: `default`; `form`: `segment` (of a path), `label` (of a host), `host` |
//! | `[access_token]` | what is made of the secrets and sent in their place, `{access_token}` in a template: [`super::access`] |
//! | `inject` | where secrets go: `header`, `query`, `form` or `json` (a pointer) with a `value` ([`Template`]), or `appsecret_proof` with its `key` |
//! | `[strip]` | `headers`, `query`, `form`: what is taken from a caller beside what is injected |
//! | `[operations.NAME]` | what can be asked: `kind` (`send`, `receive`, `administration`), `default`, `credential`, `requests` |
//! | `paths` | `from` what applications ask `to` what the provider is asked; the first match wins |
//! | `[limits]` | `per_sender`, `per_recipient`, `per_account`, `management`; `sender` and `recipient`: where a body names them; `counts_received` |
//! | `[errors]` | `code` (a pointer or a header), `message`; `refused`, `refused_words`, `throttled`, `temporary`, `policy` by code; `refused_status`, ... where there is no code |
//! | `health` | how to ask about a secret: `graph`, `none`, or `GET /path`, whose success says that it is good |
//! | `[rotation]` | `live_secrets`: how many may be alive at once |
//! | `[webhook]` | how its events prove that they are genuine: [`webhook`] |
//!
//! A request is `METHOD /path`, or a table with `request` and `query` (the parameters that it may have), `media`, `limited`
//! (a message), `raw` and `inject` of its own. Its path has `{v}` for a version or nothing, `{id}` for digits, `{sender}`,
//! `{name}` for any segment, and `{...}` at the end for all that follows. A segment with the name of a parameter or secret
//! may be anything in a caller's request, and leaves as the account's own: no caller reaches another account.

use std::path::PathBuf;

use http::header::{self, HeaderName, HeaderValue};

mod inject;
mod operations;
#[cfg(test)]
mod tests;

use inject::injects;
pub(super) use inject::{Names, exchanged, secret_name};
use operations::{operations, own_paths, path_map};

use super::access::{self, ACCESS_TOKEN};
use super::errors::Signs;
use super::limits::{codes, statuses};
use super::outline::Places;
use super::parse::{is_variable, pointer};
use super::webhook;
use super::{
    Ca, CodePlace, Errors, Health, Inject, Limits, Operation, Outline, Parameter, ParameterForm, Part, PathMap,
    PathPattern, Provider, Rates, SecretForm, SecretKind, Strip, Template, Throttle, preset_document,
};
use crate::document::{Field, Reader, Report, is_showable};

/// How well founded a preset is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// The vendor's own documents, or recordings of its answers, say so.
    Documented,
    /// Taken in part from other people's code; try it out before relying on it.
    Unverified,
    /// Taken from catalogues and other people's code alone, which disagree here and there.
    Experimental,
}

/// How well founded the preset of this name is.
pub fn evidence(preset: &str) -> Option<Evidence> {
    let report = Report::default();
    let document = preset_document(preset, &report)?;
    let field = Reader::new(&document, &report).field("evidence")?;
    field.choice(&EVIDENCE)
}

/// Reads a provider. Faults are in the report; where they leave nothing to go on, there is no provider.
pub fn read(name: &str, mut reader: Reader<'_>) -> Option<Outline> {
    // What a preset says of itself; a provider that extends it inherits the key.
    choice(&mut reader, "evidence", &EVIDENCE);
    let title = reader.field("title").and_then(|field| field.string());
    // A provider without an upstream only sends events.
    let sends_only = reader.has("webhook") && !reader.has("upstream") && !reader.has("operations");
    let secrets = secrets(&mut reader);
    let parameters = parameters(&mut reader, &secrets);
    let has_access_token = reader.has("access_token");
    let names = Names { secrets: &secrets, parameters: &parameters, has_access_token };
    let (mut places, is_whole) = places(&mut reader, &names, sends_only);
    let ca = reader.field("ca").and_then(|field| field.parse(ca));
    let graph_answers = choice(&mut reader, "answers", &[("graph", true), ("plain", false)]);
    let access_token = reader.table("access_token").and_then(|table| access::read(table, &names));
    let access_token = access_token.map(|(token, exchange)| {
        places.exchange = exchange.or_else(|| places.upstream.clone());
        token
    });
    let health = reader.field("health").and_then(|field| health(&field, &names));
    let live_secrets = reader.table("rotation").and_then(rotation);
    let inject = match sends_only {
        true => Some(Vec::new()),
        false => {
            let field = reader.required("inject", "where the secrets go, [] for nowhere but the path");
            field.map(|field| injects(&field, &names))
        }
    };
    let strip = reader.table("strip").map(strip).unwrap_or_default();
    let operations = match sends_only {
        true => Vec::new(),
        false => operations(&mut reader, &names, places.media_upstream.is_some()),
    };
    let paths = paths(&mut reader, &operations, Names { has_access_token: false, ..names });
    let limits = reader.table("limits").map(limits).unwrap_or_default();
    let errors = reader.table("errors").map(errors).unwrap_or_default();
    let webhook = reader.table("webhook").map(|table| webhook::read(table, &secrets));
    reader.finish();
    let mut provider = Provider {
        name: name.to_owned(),
        title: title.unwrap_or(name).to_owned(),
        upstream: None,
        media_upstream: None,
        ca: ca.unwrap_or(Ca::Bundled),
        secrets,
        access_token,
        inject: inject.filter(|_| is_whole)?,
        strip,
        operations,
        paths,
        limits,
        errors,
        health: health.flatten(),
        live_secrets,
        graph_answers: graph_answers.unwrap_or(false),
        webhook,
    };
    provider.strip_what_is_injected();
    Some(Outline::new(provider, parameters, places))
}

/// Where it is, and whether anything can be said of it at all.
fn places(reader: &mut Reader<'_>, names: &Names<'_>, sends_only: bool) -> (Places, bool) {
    let upstream = match sends_only {
        true => None,
        false => reader.required("upstream", "where requests go, such as \"https://HOST\""),
    };
    let is_written = upstream.is_some();
    let upstream = upstream.and_then(|field| names.origin(&field));
    let media_upstream = reader.field("media_upstream").and_then(|field| names.origin(&field));
    let is_whole = upstream.is_some() || !is_written;
    (Places { upstream, media_upstream, exchange: None }, is_whole)
}

fn paths(reader: &mut Reader<'_>, operations: &[Operation], names: Names<'_>) -> Vec<PathMap> {
    let paths = reader.field("paths").and_then(|field| field.array());
    let paths = paths.unwrap_or_default();
    let paths = paths.iter().filter_map(|field| path_map(field, &names));
    paths.chain(own_paths(operations, &names)).collect()
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

const EVIDENCE: [(&str, Evidence); 3] = [
    ("documented", Evidence::Documented),
    ("unverified", Evidence::Unverified),
    ("experimental", Evidence::Experimental),
];

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
        if !is_name(&field) {
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
                ("private-key", SecretForm::PrivateKey),
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

fn parameters(provider: &mut Reader<'_>, secrets: &[SecretKind]) -> Vec<Parameter> {
    let mut parameters = Vec::new();
    for field in provider.table("parameters").map(|mut table| table.fields()).unwrap_or_default() {
        if !is_name(&field) || secrets.iter().any(|secret| secret.name == field.key) {
            field.key_fault(
                "not a name for a parameter, expected lower-case letters, digits and _, \
                 and none of the secrets or the credential's other keys",
            );
            continue;
        }
        let Some(mut reader) = field.table() else { continue };
        let words =
            [("segment", ParameterForm::Segment), ("label", ParameterForm::Label), ("host", ParameterForm::Host)];
        let form = choice(&mut reader, "form", &words).unwrap_or(ParameterForm::Segment);
        let default = reader.field("default");
        let default = default.and_then(|field| field.parse(|text| form.check(text).map(|()| text.to_owned())));
        reader.finish();
        parameters.push(Parameter { name: field.key.to_owned(), default, form });
    }
    parameters
}

fn is_name(field: &Field<'_>) -> bool {
    is_variable(field.key) && is_showable(field.key) && !TAKEN.contains(&field.key)
}

/// The other keys of `[credential.NAME]`, also those that the contract has for later, and a pattern's own variables.
const TAKEN: [&str; 10] =
    ["provider", "max_age", "overlap", "proof", "check", "renew", "v", "id", "sender", ACCESS_TOKEN];

fn is_header_text(template: &Template) -> bool {
    template.parts.iter().all(|part| match part {
        Part::Text(text) => is_header_text_str(text),
        Part::Name(_) | Part::Basic(_) => true,
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

/// How to ask about a secret.
fn health(field: &Field<'_>, names: &Names<'_>) -> Option<Option<Health>> {
    let Some(line) = field.string().filter(|text| text.contains('/')) else {
        let is_graph = field.choice(&[("graph", true), ("none", false)])?;
        return Some(is_graph.then_some(Health::Graph));
    };
    let path = line.strip_prefix("GET ").unwrap_or_default();
    let path = field.parse(|_| Template::parse(path))?;
    // What would be a path once the names are gone, is one with them.
    let sample = path.names().fold(path.to_string(), |text, name| text.replace(&format!("{{{name}}}"), "x"));
    if let Err(error) = PathPattern::parse(&sample) {
        field.fault(format!("no question, expected \"graph\", \"none\" or \"GET /path\": {error}"));
    }
    names.check_parameters(field, &path);
    Some(Some(Health::Get(path)))
}

fn rotation(mut reader: Reader<'_>) -> Option<std::num::NonZeroU32> {
    let field = reader.field("live_secrets");
    let count = field.as_ref().and_then(|field| field.integer::<u32>());
    if let Some(field) = field.filter(|_| count == Some(0)) {
        field.fault("zero, expected how many secrets may be alive at once");
    }
    reader.finish();
    std::num::NonZeroU32::new(count?)
}

fn limits(mut reader: Reader<'_>) -> Limits {
    let rates = Rates::read(&mut reader);
    let sender = list(&mut reader, "sender", pointer);
    let recipient = list(&mut reader, "recipient", pointer);
    let counts_received = reader.field("counts_received").and_then(|field| field.boolean()).unwrap_or_default();
    reader.finish();
    Limits { rates, sender, recipient, counts_received }
}

fn errors(mut reader: Reader<'_>) -> Errors {
    let default = Errors::default();
    let code = reader.field("code");
    let place = code.as_ref().and_then(|field| field.parse(code_place));
    let message = reader.field("message");
    let message = message.and_then(|field| field.parse(|text| pointer(text).map(|_| text.to_owned())));
    let refused_words = list(&mut reader, "refused_words", |words| Ok::<_, String>(words.to_owned()));
    let mut signs = |key: &str, default: Signs| Signs {
        codes: codes(&mut reader, key).unwrap_or(default.codes),
        statuses: statuses(&mut reader, &format!("{key}_status")).unwrap_or(default.statuses),
    };
    let refused = signs("refused", default.refused);
    let (temporary, policy) = (signs("temporary", default.temporary), signs("policy", default.policy));
    let throttled = reader.field("throttled").map(|field| field.tables()).unwrap_or_default();
    let throttled: Vec<_> = throttled.into_iter().filter_map(Throttle::read).collect();
    if let Some(field) = code.filter(|_| refused.codes.is_empty()) {
        field.key_fault("without `refused`, expected the codes that mean a refused credential");
    }
    if message.is_none() && !refused_words.is_empty() {
        reader.fault("`refused_words` without `message`, expected a JSON pointer to the text that has them");
    }
    reader.finish();
    Errors { code: place, message, refused, refused_words, throttled, temporary, policy }
}

/// A JSON pointer, or the name of a header.
fn code_place(text: &str) -> Result<CodePlace, String> {
    if text.starts_with('/') {
        return pointer(text).map(|_| CodePlace::Body(text.to_owned())).map_err(|error| error.to_string());
    }
    let name = HeaderName::try_from(text);
    name.map(CodePlace::Header)
        .map_err(|_| "neither a JSON pointer such as \"/error/code\" nor the name of a header".to_owned())
}
