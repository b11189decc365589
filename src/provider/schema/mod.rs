//! A provider as it is written in TOML, in a preset or under `[provider.NAME]`, and the way to an
//! [`Outline`].
//!
//! | key | meaning |
//! |---|---|
//! | `title`, `evidence` | the name for people; `documented`, `unverified` or `experimental` |
//! | `upstream`, `media_upstream` | the origins of requests and of media, `https://HOST`, perhaps with parameters |
//! | `[upstreams]` | the origins of further hosts, `NAME = "https://HOST"`, which requests choose by name; an extension that sets `upstream` alone moves them there as well |
//! | `[forms]` | the forms of segments of paths, `NAME = "text{...}"`: a text that begins so, then letters, digits, `_`, `-` and `=`; `NAME = "{sender}"`: the sender under a name of another form |
//! | `ca` | the authorities that vouch for the upstreams: `bundled`, `system`, or a PEM file |
//! | `answers` | `graph` if links in answers must lead back to Keyside, else `plain` |
//! | `[secrets.NAME]` | a secret of a credential: `required` by a route; `form`: `text`, `meta-token`, `app-secret`, `private-key` |
//! | `[parameters.NAME]` | a value of an account that is not secret: `default`; `form`: `segment` (of a path), `label` (of a host), `host` |
//! | `[access_token]` | the token made from the secrets and sent instead of the secrets, `{access_token}` in a template |
//! | `inject` | the places of secrets: `header`, `query`, `form` or `json` (a pointer) with a `value` ([`Template`]), or `appsecret_proof` with its `key` |
//! | `[strip]` | `headers`, `query`, `form`: the parts to remove from an application's request, besides injected parts |
//! | `content_types` | the media types of bodies, JSON and forms if absent; a body of another type is refused |
//! | `[operations.NAME]` | requests of one purpose: `kind` (`send`, `receive`, `administration`), `default`, `credential`, `scopes` (the rights that it needs), `requests` |
//! | `paths` | a path `from` applications, and the path `to` the provider, perhaps for one `method`, and with the value of a `query` parameter in it; the first match wins |
//! | `[limits]` | `per_sender`, `apart` (the rate of a sender for messages that the provider counts apart), `per_recipient`, `per_account`, `management`; `sender` and `recipient`: JSON pointers into a message, where `*` is each element of a list; `separators`: the characters between several of them in one text; `sender_before`: the character between the sender and the recipient in a text of a recipient; `receipt`: JSON pointers into a request that is no message; `unpaired`: forms of recipients without a rate; `management_requests`: the requests that `management` counts; `counts_received` |
//! | `[channels]` | the channel of a message, where one request sends several: `at` (JSON pointers), `form` (`word`, or `address` for `whatsapp:+1555`), `words` (pointers to words, where `at` has addresses), `absent` (the channel of a message that names none), `implied` (`CHANNEL = [pointers]`) |
//! | `[errors]` | `code` (a pointer or a header, or several), `subcode`, `message` (a pointer, or several), `trace` (the id of the request); `advice` (a remedy by code); `refused`, `refused_words`, `forbidden`, `throttled` (by `codes`, `status` or `words`), `temporary`, `policy` by code, `policy_words`; `refused_status` and so on without a code |
//! | `[refusal]` | the form of Keyside's own refusals for the provider's SDKs: `body`, a JSON text with words like `$text` ([`RefusalForm`]); `codes`, the provider's codes by HTTP status, and for `other` statuses |
//! | `receipts` | the signs that a user gets by the operation `read`, or by a message that is a receipt: `read` and `typing`. Told by `keyside providers` |
//! | `received_media` | the way to media of received messages: `fetched` with the key, by the operation `media`; `linked` by a URL that needs no key; `named` by a URL, perhaps with the key; absent where nothing is documented |
//! | `[token_answer]` | the answer to an SDK that asks for an access token itself: `request`, and `body`, a JSON text with a placeholder |
//! | `health` | the question about a secret: `graph`, `none`, or `GET /path`, with a success for a good secret |
//! | `[rotation]` | `live_secrets`: the number of secrets that may be alive at once |
//! | `[webhook]` | the signatures of events, and by `[[webhook.event]]` the forms of events: `kind` (`message`, `status`), `when` (a JSON pointer to a value that only these events have) and `is` (its values), `sender` and `user` (JSON pointers to the business's number and to the person) |
//!
//! A request is `METHOD /path`, or a table with `request` and `query` (the allowed parameters),
//! `only` and `without` (the words that parameters may have, and may not have), `body` (the only
//! fields of a JSON body), `media`, `upstream` (the name of a further host), `limited` (a message),
//! `apart` (a message that the rates of senders and of the account leave out), `raw` (the bytes of
//! a file), `content_types`, `channel` (that of every message by this path), `sender` (the query
//! parameter that names the sender) and `inject` of its own. In a path, `{v}` is a version or
//! nothing, `{id}` digits, `{sender}` the sender by an id or by a phone number, `{name}` a segment
//! of the form with this name, or else any segment, and `{...}` at the end any further segments. A
//! segment with the name of a parameter or secret may be anything in an application's request, and
//! leaves with the account's own value: no application reaches another account.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;

mod access;
mod channels;
mod errors;
mod event_form;
mod health;
mod inject;
mod limits;
mod names;
mod operations;
mod paths;
mod refusal;
mod request;
mod secrets;
mod signature;
#[cfg(test)]
mod tests;
mod text;
mod token_answer;
mod webhook;

pub(crate) use channels::channel_name;
pub(crate) use limits::rates;

use names::TemplateNames;
use operations::{OperationReader, content_types};
use text::{header_name, list, parameter_name};

use super::access::AccessToken;
use super::channels::Channels;
use super::content_type::ContentType;
use super::definition::Provider;
use super::errors::ErrorRules;
use super::evidence::Evidence;
use super::inject::{Inject, Strip};
use super::limits::ProviderLimits;
use super::operation::{Operation, PathMap};
use super::origin::Ca;
use super::outline::{OriginTemplates, Outline};
use super::path::SegmentForm;
use super::received::{Receipt, ReceivedMedia};
use super::template::Template;
use super::token_answer::TokenAnswer;
use super::variable::is_variable;
use crate::document::{Field, Malformed, Reader};
use crate::refusal_form::RefusalForm;

/// Reads a provider.
///
/// Faults go to the reader's report. A malformed `upstream` or a missing `inject` leaves no
/// provider: `None`.
pub(crate) fn read(name: &str, mut reader: Reader<'_>) -> Option<Outline> {
    let evidence = reader.choice("evidence", &EVIDENCE);
    let title = reader.field("title").and_then(|field| field.string());
    let direction = Direction::of(&reader);
    let secrets = secrets::secrets(&mut reader);
    let parameters = secrets::parameters(&mut reader, &secrets);
    let names = TemplateNames {
        secrets: &secrets,
        parameters: &parameters,
        has_access_token: reader.has("access_token"),
    };
    let mut origins = origins(&mut reader, &names, direction);
    let has_readable_upstream = origins.upstream.is_some() || !reader.has("upstream");
    let access_token = access_token(&mut reader, &names, &mut origins);
    let forms = forms(&mut reader, &names);
    let requests = match direction {
        Direction::EventsOnly => Some(RequestKeys::default()),
        Direction::Requests => RequestKeys::read(&mut reader, &names, &origins, &forms),
    };
    let rules = MessageRules::read(&mut reader, &forms);
    let ca = reader.parse("ca", ca);
    let graph_answers = reader.choice("answers", &[("graph", true), ("plain", false)]);
    let live_secrets = reader.table("rotation").and_then(rotation);
    let receipts = receipts(&mut reader);
    let received_media = reader.choice("received_media", &RECEIVED_MEDIA);
    let health = reader
        .field("health")
        .and_then(|field| health::health(&field, &names));
    let webhook = reader
        .table("webhook")
        .map(|table| webhook::webhook(table, &secrets));
    reader.finish();
    let requests = requests.filter(|_| has_readable_upstream)?;
    let provider = Provider {
        name: name.to_owned(),
        title: title.unwrap_or(name).to_owned(),
        upstream: None,
        media_upstream: None,
        upstreams: Vec::new(),
        ca: ca.unwrap_or(Ca::Bundled),
        secrets,
        access_token,
        inject: requests.inject,
        strip: requests.strip,
        operations: requests.operations,
        paths: requests.paths,
        limits: rules.limits,
        channels: rules.channels,
        errors: rules.errors,
        refusal: rules.refusal.map(Arc::new),
        receipts,
        received_media,
        token_answer: rules.token_answer,
        health,
        live_secrets,
        graph_answers: graph_answers.unwrap_or(false),
        account: None,
        webhook,
    };
    Some(Outline::new(provider, parameters, origins, evidence))
}

/// The rules about messages and answers.
struct MessageRules {
    limits: ProviderLimits,
    channels: Option<Channels>,
    errors: ErrorRules,
    refusal: Option<RefusalForm>,
    token_answer: Option<TokenAnswer>,
}

impl MessageRules {
    fn read(reader: &mut Reader<'_>, forms: &[SegmentForm]) -> Self {
        let limits = reader
            .table("limits")
            .map(|table| limits::limits(table, forms));
        let channels = reader.table("channels").map(channels::channels);
        let errors = reader.table("errors").map(errors::errors);
        let refusal = reader.table("refusal").and_then(refusal::refusal);
        let token_answer = reader
            .table("token_answer")
            .and_then(token_answer::token_answer);
        Self {
            limits: limits.unwrap_or_default(),
            channels,
            errors: errors.unwrap_or_default(),
            refusal,
            token_answer,
        }
    }
}

/// Reads `[access_token]`, and notes the origin of its exchange.
fn access_token(
    reader: &mut Reader<'_>,
    names: &TemplateNames<'_>,
    origins: &mut OriginTemplates,
) -> Option<AccessToken> {
    let table = reader.table("access_token")?;
    let (token, exchange) = access::access_token(table, names)?;
    origins.exchange = exchange.or_else(|| origins.upstream.clone());
    Some(token)
}

/// The directions in which a provider is used.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    /// The provider accepts requests, and perhaps sends events.
    Requests,
    /// The provider only sends events, and has neither an upstream nor operations.
    EventsOnly,
}

impl Direction {
    fn of(reader: &Reader<'_>) -> Self {
        if reader.has("webhook") && !reader.has("upstream") && !reader.has("operations") {
            Self::EventsOnly
        } else {
            Self::Requests
        }
    }
}

fn origins(
    reader: &mut Reader<'_>,
    names: &TemplateNames<'_>,
    direction: Direction,
) -> OriginTemplates {
    let upstream = match direction {
        Direction::EventsOnly => None,
        Direction::Requests => {
            reader.required("upstream", "where requests go, such as \"https://HOST\"")
        }
    };
    OriginTemplates {
        upstream: upstream.and_then(|field| names.origin(&field)),
        media_upstream: reader
            .field("media_upstream")
            .and_then(|field| names.origin(&field)),
        upstreams: further_origins(reader, names),
        exchange: None,
    }
}

/// Reads `[upstreams]`.
fn further_origins(reader: &mut Reader<'_>, names: &TemplateNames<'_>) -> Vec<(String, Template)> {
    let table = reader.table("upstreams");
    let fields = table.map(|mut table| table.fields()).unwrap_or_default();
    fields
        .iter()
        .filter_map(|field| Some((field.key.to_owned(), names.origin(field)?)))
        .collect()
}

/// Reads `[forms]`.
fn forms(reader: &mut Reader<'_>, names: &TemplateNames<'_>) -> Vec<SegmentForm> {
    let table = reader.table("forms");
    let fields = table.map(|mut table| table.fields()).unwrap_or_default();
    let form = |field: &Field<'_>| {
        if !is_variable(field.key)
            || FIXED_VARIABLES.contains(&field.key)
            || names.is_own(field.key)
        {
            field.key_fault("not a name for a form, expected lower-case letters, digits and _, and no name with a meaning in paths");
            return None;
        }
        field.parse(|text| SegmentForm::parse(field.key, text))
    };
    fields.iter().filter_map(form).collect()
}

/// The keys about requests, absent from a provider that only sends events.
#[derive(Default)]
struct RequestKeys {
    inject: Vec<Inject>,
    strip: Strip,
    operations: Vec<Operation>,
    paths: Vec<PathMap>,
}

impl RequestKeys {
    /// Reads the keys. `None` without `inject`.
    fn read(
        reader: &mut Reader<'_>,
        names: &TemplateNames<'_>,
        origins: &OriginTemplates,
        forms: &[SegmentForm],
    ) -> Option<Self> {
        let inject = reader
            .required(
                "inject",
                "where the secrets go, [] for nowhere but the path",
            )
            .map(|field| inject::injects(&field, names));
        let operations = OperationReader {
            names: *names,
            forms,
            has_media_upstream: origins.media_upstream.is_some(),
            upstreams: &origins.upstreams,
            content_types: &content_types(reader).unwrap_or_else(ContentType::usual),
        }
        .read(reader);
        // The path is needed before the access token, so no path can contain the access token.
        let path_names = TemplateNames {
            has_access_token: false,
            ..*names
        };
        let paths = paths::paths(reader, &operations, &path_names, forms);
        let mut strip = reader.table("strip").map(strip).unwrap_or_default();
        strip.add_common();
        let of_requests = operations
            .iter()
            .flat_map(|operation| &operation.requests)
            .filter_map(|request| request.inject.as_ref());
        for injects in inject.iter().chain(of_requests) {
            strip.add_injected(injects);
        }
        Some(Self {
            inject: inject?,
            strip,
            operations,
            paths,
        })
    }
}

fn strip(mut reader: Reader<'_>) -> Strip {
    let strip = Strip {
        headers: list(&mut reader, "headers", header_name),
        query: list(&mut reader, "query", parameter_name),
        form: list(&mut reader, "form", parameter_name),
    };
    reader.finish();
    strip
}

fn rotation(mut reader: Reader<'_>) -> Option<NonZeroU32> {
    let field = reader.field("live_secrets");
    let count = field.as_ref().and_then(|field| field.integer::<u32>());
    if let Some(field) = field.filter(|_| count == Some(0)) {
        field.fault("zero, expected how many secrets may be alive at once");
    }
    reader.finish();
    NonZeroU32::new(count?)
}

/// Reads `receipts`.
fn receipts(reader: &mut Reader<'_>) -> Vec<Receipt> {
    let fields = reader.array("receipts").unwrap_or_default();
    let receipts = fields.iter().filter_map(|field| field.choice(&RECEIPTS));
    receipts.collect()
}

fn ca(text: &str) -> Result<Ca, Malformed> {
    match text {
        "bundled" => Ok(Ca::Bundled),
        "system" => Ok(Ca::System),
        path if path.starts_with('/') => Ok(Ca::File(PathBuf::from(path))),
        _ => Err(Malformed::new(
            "unknown, expected \"bundled\", \"system\" or the absolute path of a PEM file",
        )),
    }
}

/// The variables with a meaning of their own in paths.
const FIXED_VARIABLES: [&str; 3] = ["v", "id", "sender"];

const RECEIPTS: [(&str, Receipt); 2] = [("read", Receipt::Read), ("typing", Receipt::Typing)];

const RECEIVED_MEDIA: [(&str, ReceivedMedia); 3] = [
    ("fetched", ReceivedMedia::Fetched),
    ("linked", ReceivedMedia::Linked),
    ("named", ReceivedMedia::Named),
];

const EVIDENCE: [(&str, Evidence); 3] = [
    ("documented", Evidence::Documented),
    ("unverified", Evidence::Unverified),
    ("experimental", Evidence::Experimental),
];
