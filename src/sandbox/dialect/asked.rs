//! A request to a provider, read whole.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::Value;

use crate::sandbox::magic::Magic;
use crate::sandbox::target::Query;

/// The largest body.
const BODY: usize = 1024 * 1024;

/// A request. It has no `Debug`: a key may be anywhere in it.
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: Query,
    pub(super) headers: HeaderMap,
    /// A form is an object of strings; a body that is neither form nor JSON is null.
    pub(super) body: Value,
}

impl Asked {
    /// Reads it; nothing where its body is too large or breaks off.
    pub(super) async fn read(request: Request<Incoming>) -> Option<Asked> {
        let (parts, body) = request.into_parts();
        let body = Limited::new(body, BODY).collect().await.ok()?.to_bytes();
        let kind = parts.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let body = if kind.starts_with("application/x-www-form-urlencoded") {
            form(&String::from_utf8_lossy(&body))
        } else {
            serde_json::from_slice(&body).unwrap_or_default()
        };
        Some(Asked {
            method: parts.method,
            path: parts.uri.path().to_owned(),
            query: Query::new(parts.uri.query().unwrap_or_default()),
            headers: parts.headers,
            body,
        })
    }

    /// The value of a header that is there once.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        values.next().filter(|_| values.next().is_none())?.to_str().ok()
    }

    /// What stands at the first of these pointers that leads somewhere; empty where none does.
    pub(super) fn at(&self, pointers: &[&str]) -> String {
        match pointers.iter().find_map(|pointer| self.body.pointer(pointer)) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            _ => String::new(),
        }
    }

    /// A parameter in the body, or else in the query.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.body.get(name).and_then(Value::as_str).or_else(|| self.query.get(name))
    }

    /// Whether its path is one of this form.
    pub(super) fn has_path(&self, template: &str) -> bool {
        let fits =
            |(written, segment): (&str, &str)| written == segment || (written.starts_with('{') && !segment.is_empty());
        let (template, path) = (template.split('/'), self.path.split('/'));
        template.clone().count() == path.clone().count() && template.zip(path).all(fits)
    }

    /// What happens to the message, if its recipient is one for whom something does: wherever he stands in it.
    pub(super) fn magic(&self) -> Option<Magic> {
        magic(&self.body)
    }
}

/// A number may be written as `+1 555...` or `whatsapp:+1555...`.
fn magic(value: &Value) -> Option<Magic> {
    match value {
        Value::String(text) => Magic::of(text.trim_start_matches("whatsapp:").trim_start_matches('+')),
        Value::Number(number) => Magic::of(&number.to_string()),
        Value::Array(values) => values.iter().find_map(magic),
        Value::Object(entries) => entries.values().find_map(magic),
        Value::Null | Value::Bool(_) => None,
    }
}

fn form(text: &str) -> Value {
    Query::new(text)
        .without(&[])
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}
