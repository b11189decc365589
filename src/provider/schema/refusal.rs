//! `[refusal]`: the form in which Keyside's own refusals are written for the provider's SDKs.

use serde_json::Value;

use crate::document::{Field, Reader};
use crate::refusal_form::{RefusalCodes, RefusalForm};

/// Reads `[refusal]`.
pub(super) fn refusal(mut reader: Reader<'_>) -> Option<RefusalForm> {
    let codes = reader.table("codes").map(codes).unwrap_or_default();
    let body = reader.required("body", "a JSON text like '{\"message\": \"$text\"}'");
    let form = body.and_then(|field| field.parse(|text| RefusalForm::parse(text, codes)));
    reader.finish();
    form
}

/// Reads the provider's codes: by HTTP status, and for `other` statuses.
fn codes(mut reader: Reader<'_>) -> RefusalCodes {
    let mut codes = RefusalCodes::default();
    for field in reader.fields() {
        let Some(code) = code(&field) else {
            continue;
        };
        if field.key == "other" {
            codes.other = Some(code);
        } else if let Some(status) = status(&field) {
            codes.by_status.insert(status, code);
        }
    }
    codes
}

fn status(field: &Field<'_>) -> Option<u16> {
    let status = field
        .key
        .parse()
        .ok()
        .filter(|status| (400..600).contains(status));
    if status.is_none() {
        field.key_fault("no status of an error, expected a key like 429, or `other`");
    }
    status
}

fn code(field: &Field<'_>) -> Option<Value> {
    if field.is_text() {
        return field.string().map(Value::from);
    }
    field.integer::<i64>().map(Value::from)
}
