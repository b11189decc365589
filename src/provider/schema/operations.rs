//! `[operations.NAME]`: what can be asked of a provider.

use http::Method;

use super::channels::channel_name;
use super::inject::injects;
use super::names::TemplateNames;
use super::request::request_line;
use super::text::{list, parameter_name, pointer};
use crate::document::{Field, Reader, choices, reads_as_name};
use crate::provider::content_type::ContentType;
use crate::provider::operation::{Metering, Operation, OperationKind, QueryWords, RequestPattern};
use crate::provider::path::{PathPattern, Segment, SegmentForm};
use crate::provider::template::Template;

/// The reader of `[operations.NAME]`.
pub(super) struct OperationReader<'a> {
    /// The names that may stand in templates.
    pub(super) names: TemplateNames<'a>,
    /// The forms of segments.
    pub(super) forms: &'a [SegmentForm],
    /// True if the provider has a media upstream.
    pub(super) has_media_upstream: bool,
    /// The further hosts, by name.
    pub(super) upstreams: &'a [(String, Template)],
    /// The media types of bodies, for requests that name none of their own.
    pub(super) content_types: &'a [ContentType],
}

impl OperationReader<'_> {
    /// Reads all operations of a provider, in the order written.
    pub(super) fn read(&self, provider: &mut Reader<'_>) -> Vec<Operation> {
        let mut operations = Vec::new();
        let table = provider
            .required(
                "operations",
                "what can be asked, such as [operations.messages]",
            )
            .and_then(|field| field.table());
        let Some(mut table) = table else {
            return operations;
        };
        for field in table.fields() {
            if !reads_as_name(field.key) {
                field.key_fault(
                    "not a name for an operation, expected up to 40 of a-z A-Z 0-9 _ . -",
                );
            } else if let Some(reader) = field.table() {
                operations.push(self.operation(field.key, reader));
            }
        }
        if operations.is_empty() {
            table.fault("empty, expected at least one operation");
        }
        operations
    }

    fn operation(&self, name: &str, mut reader: Reader<'_>) -> Operation {
        let kind = reader
            .required("kind", "\"send\", \"receive\" or \"administration\"")
            .and_then(|field| field.choice(&KINDS));
        let default = reader.field("default");
        let is_default = default.as_ref().and_then(Field::boolean).unwrap_or(false);
        let caller_credential = reader
            .choice("credential", &[("injected", false), ("caller", true)])
            .unwrap_or(false);
        if let Some(field) = default.filter(|_| is_default)
            && (caller_credential || kind == Some(OperationKind::Administration))
        {
            field.fault("a route must name an operation of administration or with the application's own credential, expected false");
        }
        let scopes = list(&mut reader, "scopes", parameter_name);
        let requests = self.requests(&mut reader);
        reader.finish();
        Operation {
            name: name.to_owned(),
            kind: kind.unwrap_or(OperationKind::Administration),
            default: is_default,
            scopes,
            caller_credential,
            requests,
        }
    }

    fn requests(&self, reader: &mut Reader<'_>) -> Vec<RequestPattern> {
        let fields = reader
            .required("requests", "at least one, such as \"POST /messages\"")
            .and_then(|field| field.array());
        if fields.as_ref().is_some_and(Vec::is_empty) {
            reader.fault("no requests, expected at least one");
        }
        fields
            .iter()
            .flatten()
            .filter_map(|field| self.request(field))
            .collect()
    }

    /// Reads a request: a string, or a table if there is more to say.
    fn request(&self, field: &Field<'_>) -> Option<RequestPattern> {
        if field.is_table() {
            return self.request_table(field.table()?);
        }
        let (methods, path) = field.parse(request_line)?;
        self.check_own(field, &path);
        Some(RequestPattern {
            methods,
            path: path.with_forms(self.forms),
            query: None,
            only: Vec::new(),
            without: Vec::new(),
            body: None,
            media: false,
            upstream: None,
            limited: false,
            metering: Metering::Common,
            channel: None,
            raw: false,
            content_types: self.content_types.to_vec(),
            sender: None,
            senders: Vec::new(),
            inject: None,
        })
    }

    fn request_table(&self, mut reader: Reader<'_>) -> Option<RequestPattern> {
        let line = reader
            .required("request", "a method and a path, such as \"GET /{v}/{id}\"")
            .and_then(|field| {
                let (methods, path) = field.parse(request_line)?;
                self.check_own(&field, &path);
                Some((methods, path))
            });
        let query = parameter_names(&mut reader, "query");
        let body = parameter_names(&mut reader, "body");
        let only = query_words(&mut reader, "only");
        let without = query_words(&mut reader, "without");
        let upstream = reader
            .field("upstream")
            .and_then(|field| self.upstream(&field));
        let is_media = self.goes_to_media(&mut reader);
        let limited = reader.boolean("limited");
        let apart = reader.boolean("apart").unwrap_or(false);
        let channel = reader.parse("channel", channel_name);
        let raw = reader.boolean("raw");
        let types = content_types(&mut reader);
        let sender = reader.parse("sender", parameter_name);
        let methods = line.as_ref().map(|(methods, _)| methods.as_slice());
        let senders = own_senders(&mut reader, methods.unwrap_or_default(), body.as_deref());
        let inject = reader
            .field("inject")
            .map(|field| injects(&field, &self.names));
        reader.finish();
        let (methods, path) = line?;
        let is_bound = query.is_some() || !only.is_empty();
        let takes_no_body = is_bound && methods.iter().all(has_parameters_in_query);
        Some(RequestPattern {
            methods,
            path: path.with_forms(self.forms),
            query,
            only,
            without,
            body: body.or_else(|| takes_no_body.then(Vec::new)),
            media: is_media,
            upstream,
            limited: limited.unwrap_or(false),
            metering: if apart {
                Metering::Apart
            } else {
                Metering::Common
            },
            channel,
            raw: raw.unwrap_or(false),
            content_types: types.unwrap_or_else(|| self.content_types.to_vec()),
            sender,
            senders,
            inject,
        })
    }

    /// Reads `media`.
    fn goes_to_media(&self, reader: &mut Reader<'_>) -> bool {
        let media = reader.field("media");
        let is_media = media.as_ref().and_then(Field::boolean).unwrap_or(false);
        if let Some(field) = media.filter(|_| is_media && !self.has_media_upstream) {
            field.fault("there is no `media_upstream` to go to, expected one in the provider");
        }
        is_media
    }

    /// Reads the name of a further host.
    fn upstream(&self, field: &Field<'_>) -> Option<String> {
        let name = field.string()?;
        let names = || self.upstreams.iter().map(|(name, _)| name.as_str());
        if names().any(|own| own == name) {
            return Some(name.to_owned());
        }
        field.fault(match names().next() {
            Some(_) => format!("unknown upstream, {}", choices(name, names())),
            None => "unknown, expected one of the names in [upstreams], of which there are none"
                .to_owned(),
        });
        None
    }

    /// Checks a path with a parameter or secret of the account as a segment.
    ///
    /// Keyside writes the path anew, segment by segment, so every segment must have exactly one
    /// value.
    fn check_own(&self, field: &Field<'_>, path: &PathPattern) {
        let own: Vec<_> = path
            .variables()
            .filter(|name| self.names.is_own(name))
            .collect();
        for name in &own {
            self.names.check(field, name);
        }
        let varies = |segment: &Segment| {
            matches!(
                segment,
                Segment::Version | Segment::Prefix(_) | Segment::Rest
            )
        };
        if !own.is_empty() && path.segments.iter().any(varies) {
            field.fault(
                "`{v}` or `{...}` beside a secret or parameter, expected segments with names",
            );
        }
    }
}

/// Reads `query` or `body`: the allowed names; `None` without the key.
fn parameter_names(reader: &mut Reader<'_>, key: &str) -> Option<Vec<String>> {
    let field = reader.field(key)?;
    let names = field.array().unwrap_or_default();
    Some(
        names
            .iter()
            .filter_map(|name| name.parse(parameter_name))
            .collect(),
    )
}

/// Reads `only` or `without`: the words of query parameters, by the name of the parameter.
fn query_words(reader: &mut Reader<'_>, key: &str) -> Vec<QueryWords> {
    let table = reader.table(key);
    let fields = table.map(|mut table| table.fields()).unwrap_or_default();
    let words = |field: &Field<'_>| {
        let words = field.array().unwrap_or_default();
        QueryWords {
            name: field.key.to_owned(),
            words: words
                .iter()
                .filter_map(|word| word.parse(parameter_name))
                .collect(),
        }
    };
    fields.iter().map(words).collect()
}

/// Reads `senders`: the places of senders in the body of a request. A request without a body could
/// never name a sender there. A request with `body` may be chosen by its body, after senders were
/// looked for at the places of another request.
fn own_senders(
    reader: &mut Reader<'_>,
    methods: &[Method],
    body: Option<&[String]>,
) -> Vec<Vec<String>> {
    let field = reader.field("senders");
    if let Some(field) = field.as_ref().filter(|_| body.is_some()) {
        field.fault("`senders` beside `body`, expected one of the two");
    }
    let mut without_body = methods.iter().filter(|own| has_parameters_in_query(own));
    if let Some((field, method)) = field.as_ref().zip(without_body.next()) {
        field.fault(format!(
            "{method} has no body that names a sender, expected a request of POST, PUT or PATCH alone"
        ));
    }
    let fields = field.and_then(|field| field.array()).unwrap_or_default();
    fields
        .iter()
        .filter_map(|field| field.parse(pointer))
        .collect()
}

/// Reads `content_types`, of a provider or of a request; `None` without the key.
pub(super) fn content_types(reader: &mut Reader<'_>) -> Option<Vec<ContentType>> {
    let field = reader.field("content_types")?;
    let fields = field.array().unwrap_or_default();
    Some(
        fields
            .iter()
            .filter_map(|field| field.parse(ContentType::parse))
            .collect(),
    )
}

const KINDS: [(&str, OperationKind); 3] = [
    ("send", OperationKind::Send),
    ("receive", OperationKind::Receive),
    ("administration", OperationKind::Administration),
];

/// True for a method whose parameters stand in the query. Some servers, Graph's among them, read
/// them from a body as well: a request whose query is bound has no field in its body.
fn has_parameters_in_query(method: &Method) -> bool {
    method.is_safe() || method == Method::DELETE
}
