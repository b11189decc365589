//! `inject`: the places in a request where secrets go.

use super::names::{TemplateNames, secret_name};
use super::text::{NOT_HEADER_TEXT, header_name, is_header_template, parameter_name, pointer};
use crate::document::{Field, Reader};
use crate::provider::inject::Inject;
use crate::provider::template::Template;

/// Reads what goes into a request. Every value must contain a secret or a parameter of the account.
pub(super) fn injects(field: &Field<'_>, names: &TemplateNames<'_>) -> Vec<Inject> {
    each(field, names, |field, names| {
        let template = template(field, names)?;
        if template.names().next().is_none() {
            field.fault("no secret in the value, expected the name of a secret in braces; the secret itself never stands here");
            return None;
        }
        Some(template)
    })
}

/// Reads what goes into an exchange. A value may be plain text, as `grant_type` is.
pub(super) fn exchange_injects(field: &Field<'_>, names: &TemplateNames<'_>) -> Vec<Inject> {
    each(field, names, template)
}

type ReadValue = fn(&Field<'_>, &TemplateNames<'_>) -> Option<Template>;

fn each(field: &Field<'_>, names: &TemplateNames<'_>, read_value: ReadValue) -> Vec<Inject> {
    let fields = field.array().unwrap_or_default();
    let tables = fields.iter().filter_map(Field::table);
    tables
        .filter_map(|table| inject(table, names, read_value))
        .collect()
}

fn inject(
    mut reader: Reader<'_>,
    names: &TemplateNames<'_>,
    read_value: ReadValue,
) -> Option<Inject> {
    let places =
        ["header", "query", "form", "json", "appsecret_proof"].map(|key| reader.field(key));
    if places.iter().flatten().count() != 1 {
        reader
            .fault("expected exactly one of `header`, `query`, `form`, `json`, `appsecret_proof`");
    }
    let inject = match places {
        [.., Some(token)] => proof(&mut reader, &token, names),
        [header, query, form, json, None] => {
            let field = reader.required("value", "what goes there, such as \"Bearer {token}\"")?;
            let value = read_value(&field, names)?;
            if let Some(place) = header {
                if !is_header_template(&value) {
                    field.fault(NOT_HEADER_TEXT.to_string());
                }
                place
                    .parse(header_name)
                    .map(|name| Inject::Header { name, value })
            } else if let Some(place) = query {
                place
                    .parse(parameter_name)
                    .map(|name| Inject::Query { name, value })
            } else if let Some(place) = form {
                place
                    .parse(parameter_name)
                    .map(|name| Inject::FormField { name, value })
            } else {
                json.and_then(|place| place.parse(pointer))
                    .map(|pointer| Inject::JsonField { pointer, value })
            }
        }
    };
    reader.finish();
    inject
}

fn proof(reader: &mut Reader<'_>, token: &Field<'_>, names: &TemplateNames<'_>) -> Option<Inject> {
    let key = reader.required("key", "the secret that signs")?;
    Some(Inject::AppSecretProof {
        token: secret_name(token, names.secrets)?,
        key: secret_name(&key, names.secrets)?,
    })
}

/// Reads a template, and reports names without a value in some credential.
fn template(field: &Field<'_>, names: &TemplateNames<'_>) -> Option<Template> {
    let template = field.parse(Template::parse)?;
    for name in template.names() {
        names.check(field, name);
    }
    Some(template)
}
