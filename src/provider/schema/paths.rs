//! `paths`: paths that change on the way to the provider.

use super::names::TemplateNames;
use super::request::method;
use super::text::parameter_name;
use crate::document::{Field, Reader};
use crate::provider::operation::{Operation, PathMap};
use crate::provider::path::{PathPattern, Segment, SegmentForm};
use crate::provider::template::{Template, TemplatePart};

/// Reads `paths`, and adds a path for each request with a parameter or secret of the account in it.
pub(super) fn paths(
    reader: &mut Reader<'_>,
    operations: &[Operation],
    names: &TemplateNames<'_>,
    forms: &[SegmentForm],
) -> Vec<PathMap> {
    let fields = reader.array("paths").unwrap_or_default();
    let written = fields
        .iter()
        .filter_map(|field| path_map(field, names, forms));
    written.chain(own_paths(operations, names)).collect()
}

fn path_map(
    field: &Field<'_>,
    names: &TemplateNames<'_>,
    forms: &[SegmentForm],
) -> Option<PathMap> {
    let mut reader = field.table()?;
    let method = reader.parse("method", method);
    let query = reader.parse("query", parameter_name);
    let from = reader
        .required("from", "the path that applications ask for")
        .and_then(|field| field.parse(PathPattern::parse))
        .map(|pattern| pattern.with_forms(forms));
    let to = reader
        .required("to", "the path that the provider is asked for")
        .and_then(|field| Some((field.parse(Template::parse)?, field)));
    reader.finish();
    let (from, (to, field)) = from.zip(to)?;
    let map = PathMap {
        method,
        from,
        query,
        to,
    };
    check_target(&field, &map, names);
    Some(map)
}

fn check_target(field: &Field<'_>, map: &PathMap, names: &TemplateNames<'_>) {
    let PathMap {
        from, query, to, ..
    } = map;
    let is_variable = |name: &str| {
        from.variables().any(|variable| variable == name) || query.as_deref() == Some(name)
    };
    if let Some(query) = query
        && !to.names().any(|name| name == query)
    {
        field.fault("no place for the value of `query`, expected its name in braces");
    }
    let begins_with_slash =
        matches!(to.parts.first(), Some(TemplatePart::Text(text)) if text.starts_with('/'));
    if !begins_with_slash {
        field.fault("not a path, expected it to begin with a slash");
    }
    let begins_with_version = matches!(
        to.parts.as_slice(),
        [TemplatePart::Text(slash), TemplatePart::Name(name), TemplatePart::Text(next), ..]
            if slash == "/" && name == "v" && next.starts_with('/')
    );
    let plain = |c: char| c.is_ascii_graphic() && !"%?#\\".contains(c);
    for (position, part) in to.parts.iter().enumerate() {
        match part {
            TemplatePart::Text(text) if text.chars().all(plain) => {}
            TemplatePart::Text(_) => {
                field.fault("not a path, expected visible ASCII without percent or query");
            }
            TemplatePart::Basic(_) => {
                field.fault("not a path, expected one name in braces at a time")
            }
            // Elsewhere, the path would have an empty segment for a request without a version.
            TemplatePart::Name(name) if name == "v" && !(begins_with_version && position == 1) => {
                field.fault(
                    "`{v}` may be empty, expected it as the first segment, or a fixed version",
                );
            }
            TemplatePart::Name(name) if is_variable(name) => {
                if names.is_own(name) {
                    field.fault("a variable of `from` has the name of a secret or parameter, expected another");
                }
            }
            TemplatePart::Name(name) => names.check(field, name),
        }
    }
}

/// Returns a path for each request with a parameter or secret of the account as a segment.
///
/// Whatever an application writes in such a segment, the account's own value goes out: no
/// application reaches another account.
fn own_paths(operations: &[Operation], names: &TemplateNames<'_>) -> Vec<PathMap> {
    operations
        .iter()
        .flat_map(|operation| &operation.requests)
        .map(|request| &request.path)
        .filter(|pattern| pattern.variables().any(|name| names.is_own(name)))
        .map(|pattern| own_path(pattern, names))
        .collect()
}

fn own_path(pattern: &PathPattern, names: &TemplateNames<'_>) -> PathMap {
    let mut from = pattern.clone();
    let mut parts = Vec::new();
    for segment in &mut from.segments {
        let name = match segment {
            Segment::Literal(text) => {
                parts.push(TemplatePart::Text(format!("/{text}")));
                continue;
            }
            Segment::Id => "id".to_owned(),
            Segment::Sender => "sender".to_owned(),
            // `from` matches any text here, under no name: `to` takes the account's value.
            Segment::Any(name) if names.is_own(name) => std::mem::take(name),
            Segment::Formed(SegmentForm { name, .. }) | Segment::Any(name) => name.clone(),
            // A segment without exactly one value was a fault of the request.
            Segment::Version | Segment::Prefix(_) | Segment::Rest => continue,
        };
        parts.extend([TemplatePart::Text("/".to_owned()), TemplatePart::Name(name)]);
    }
    PathMap {
        method: None,
        from,
        query: None,
        to: Template { parts },
    }
}
