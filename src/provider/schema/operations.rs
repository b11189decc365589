//! What can be asked of a provider, and which paths are changed on the way.

use super::inject::{Names, injects};
use super::parameter;
use crate::document::{Field, Reader, is_showable};
use crate::provider::parse::request;
use crate::provider::{Kind, Operation, Part, PathMap, PathPattern, RequestPattern, Segment, Template};

pub(super) fn operations(provider: &mut Reader<'_>, names: &Names<'_>, has_media_upstream: bool) -> Vec<Operation> {
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
            operations.push(operation(field.key, reader, names, has_media_upstream));
        }
    }
    if operations.is_empty() {
        table.fault("empty, expected at least one operation");
    }
    operations
}

fn operation(name: &str, mut reader: Reader<'_>, names: &Names<'_>, has_media_upstream: bool) -> Operation {
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
        fields.iter().flatten().filter_map(|field| request_pattern(field, names, has_media_upstream)).collect();
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
fn request_pattern(field: &Field<'_>, names: &Names<'_>, has_media_upstream: bool) -> Option<RequestPattern> {
    if !field.is_table() {
        let (methods, path) = field.parse(request)?;
        check_own(field, &path, names);
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
    let line = line.and_then(|field| {
        let line = field.parse(request)?;
        check_own(&field, &line.1, names);
        Some(line)
    });
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
    let inject = reader.field("inject").map(|field| injects(&field, names));
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

pub(super) fn path_map(field: &Field<'_>, names: &Names<'_>) -> Option<PathMap> {
    let mut reader = field.table()?;
    let from = reader.required("from", "the path that applications ask for");
    let from = from.and_then(|field| field.parse(PathPattern::parse));
    let to = reader.required("to", "the path that the provider is asked for");
    let to = to.and_then(|field| Some((field.parse(Template::parse)?, field)));
    reader.finish();
    let (from, (to, field)) = (from?, to?);
    check_target(&field, &from, &to, names);
    Some(PathMap { from, to })
}

fn check_target(field: &Field<'_>, from: &PathPattern, to: &Template, names: &Names<'_>) {
    let first = match to.parts.first() {
        Some(Part::Text(text)) => text.as_str(),
        Some(Part::Name(_) | Part::Basic(_)) | None => "",
    };
    if !first.starts_with('/') {
        field.fault("not a path, expected it to begin with a slash");
    }
    let plain = |c: char| c.is_ascii_graphic() && !"%?#\\".contains(c);
    for part in &to.parts {
        match part {
            Part::Text(text) if text.chars().all(plain) => {}
            Part::Text(_) => field.fault("not a path, expected visible ASCII without percent or query"),
            Part::Basic(_) => field.fault("not a path, expected one name in braces at a time"),
            // A version may be absent, and then the path would have an empty segment.
            Part::Name(name) if name == "v" => {
                field.fault("`{v}` may be empty, expected a fixed version");
            }
            Part::Name(name) => match from.variables().any(|variable| variable == name) {
                true if names.is_own(name) => {
                    field.fault("a variable of `from` has the name of a secret or parameter, expected another");
                }
                true => {}
                false => names.check(field, name),
            },
        }
    }
}

/// A path for each request that has something of the account's own in its place: whatever a caller writes there, the
/// account's goes out.
pub(super) fn own_paths(operations: &[Operation], names: &Names<'_>) -> Vec<PathMap> {
    let patterns = operations.iter().flat_map(|operation| &operation.requests).map(|request| &request.path);
    let owned = patterns.filter(|pattern| pattern.variables().any(|name| names.is_own(name)));
    owned.map(|pattern| own_path(pattern, names)).collect()
}

fn own_path(pattern: &PathPattern, names: &Names<'_>) -> PathMap {
    let mut from = pattern.clone();
    let mut parts = Vec::new();
    for segment in &mut from.segments {
        let name = match segment {
            Segment::Literal(text) => {
                parts.push(Part::Text(format!("/{text}")));
                continue;
            }
            Segment::Id => "id".to_owned(),
            Segment::Sender => "sender".to_owned(),
            Segment::Any(name) if names.is_own(name) => std::mem::take(name),
            Segment::Any(name) => name.clone(),
            // What has no one value was refused where the request was read.
            Segment::Version | Segment::Prefix(_) | Segment::Rest => continue,
        };
        parts.extend([Part::Text("/".to_owned()), Part::Name(name)]);
    }
    PathMap { from, to: Template { parts } }
}

/// A path with something of the account's own is written anew, which needs a value for each of its segments.
fn check_own(field: &Field<'_>, path: &PathPattern, names: &Names<'_>) {
    let own = path.variables().filter(|name| names.is_own(name));
    let own: Vec<_> = own.inspect(|name| names.check(field, name)).collect();
    let varies = |segment: &Segment| matches!(segment, Segment::Version | Segment::Prefix(_) | Segment::Rest);
    if !own.is_empty() && path.segments.iter().any(varies) {
        field.fault("`{v}` or `{...}` beside a value of the account's own, expected segments with names");
    }
}
