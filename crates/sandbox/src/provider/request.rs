//! A request to another provider than Meta, read whole.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use hyper::body::Incoming;
use serde_json::Value;

use crate::body::{self, BodyError};
use crate::magic::Magic;
use crate::query::Query;

/// A request. The type has no `Debug`, since a key may be anywhere in it.
pub(super) struct ProviderRequest {
    pub(super) head: Parts,
    pub(super) query: Query,
    /// The JSON, a form as an object of strings, or null for any other body.
    pub(super) body: Value,
    /// The bytes of the body.
    pub(super) bytes: Bytes,
}

impl ProviderRequest {
    /// Reads a request with a body of at most [`MAX_BODY`].
    pub(super) async fn read(head: Parts, body: Incoming) -> Result<Self, BodyError> {
        let bytes = body::read(body, MAX_BODY).await?;
        let content_type = head
            .headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        let is_form = content_type
            .is_some_and(|value| value.starts_with("application/x-www-form-urlencoded"));
        let body = if is_form {
            read_form(&String::from_utf8_lossy(&bytes))
        } else {
            serde_json::from_slice(&bytes).unwrap_or_default()
        };
        let query = Query::new(head.uri.query().unwrap_or_default());
        Ok(Self {
            head,
            query,
            body,
            bytes,
        })
    }

    /// Returns the value of a header that the request has once.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.head.headers.get_all(name).iter();
        let value = values.next()?;
        if values.next().is_some() {
            return None;
        }
        value.to_str().ok()
    }

    /// Returns the text or number at the first pointer that exists in the body, or else an empty
    /// text.
    pub(super) fn text_at(&self, pointers: &[&str]) -> String {
        let mut values = pointers
            .iter()
            .filter_map(|pointer| self.body.pointer(pointer));
        match values.next() {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            _ => String::new(),
        }
    }

    /// Returns a parameter of the body, or else of the query.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.body
            .get(name)
            .and_then(Value::as_str)
            .or_else(|| self.query.get(name))
    }

    /// Returns true for a path of this form: `{name}` fits any segment, `{name}.json` one with this
    /// ending, and `{...}` at the end whatever follows.
    pub(super) fn has_path(&self, template: &str) -> bool {
        let path = self.head.uri.path();
        if let Some(beginning) = template.strip_suffix("{...}") {
            return path.len() > beginning.len() && path.starts_with(beginning);
        }
        if template.split('/').count() != path.split('/').count() {
            return false;
        }
        let mut pairs = template.split('/').zip(path.split('/'));
        pairs.all(|(expected, segment)| {
            let variable = expected.strip_prefix('{').and_then(|it| it.split_once('}'));
            let fits = |(_, end): (&str, &str)| segment.len() > end.len() && segment.ends_with(end);
            expected == segment || variable.is_some_and(fits)
        })
    }

    /// Returns the effect of a magic recipient, wherever in the body the recipient is.
    pub(super) fn magic(&self) -> Option<Magic> {
        find_magic(&self.body)
    }
}

/// Finds a magic recipient. A number may be written as `+1555...` or `whatsapp:+1555...`.
fn find_magic(value: &Value) -> Option<Magic> {
    match value {
        Value::String(text) => {
            Magic::of(text.trim_start_matches("whatsapp:").trim_start_matches('+'))
        }
        Value::Number(number) => Magic::of(&number.to_string()),
        Value::Array(values) => values.iter().find_map(find_magic),
        Value::Object(entries) => entries.values().find_map(find_magic),
        Value::Null | Value::Bool(_) => None,
    }
}

fn read_form(text: &str) -> Value {
    let form = Query::new(text);
    let fields = form.iter();
    fields
        .map(|(name, value)| (name.to_owned(), Value::from(value)))
        .collect()
}

/// The largest body, in bytes: more than any message without media needs.
const MAX_BODY: usize = 1024 * 1024;
