//! An authenticated call of the Graph API, as handlers get it.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method};
use hyper::body::Incoming;
use serde_json::{Map, Value};

use super::auth::Caller;
use super::error::GraphError;
use super::message::check_product;
use super::target::Target;
use crate::body;
use crate::query::Query;
use crate::state::State;

/// A call.
pub(crate) struct Call<'a> {
    pub(crate) state: &'a State,
    pub(crate) method: &'a Method,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) target: &'a Target,
    pub(crate) query: &'a Query,
    pub(crate) caller: &'a Caller,
}

impl Call<'_> {
    /// Returns the error for an object that does not exist.
    pub(crate) fn unknown(&self, id: &str) -> GraphError {
        GraphError::unknown_object(self.method.as_str(), id)
    }

    /// Refuses a phone number id that the sandbox does not have.
    pub(crate) fn require_sender(&self, id: &str) -> Result<(), GraphError> {
        if self.state.is_sender(id) {
            Ok(())
        } else {
            Err(self.unknown(id))
        }
    }

    /// Reads what a call says: the fields of a JSON object or of a form, and the parameters of the
    /// query. What proves the caller is left out, and so is the product.
    pub(crate) async fn given(&self, body: Incoming) -> Result<Map<String, Value>, GraphError> {
        let bytes = read_bytes(body, MAX_JSON).await?;
        let mut given = match serde_json::from_slice(&bytes) {
            Ok(Value::Object(fields)) => fields,
            _ if is_form(self.headers) => named(&Query::new(&String::from_utf8_lossy(&bytes))),
            _ => Map::new(),
        };
        // In the query, `fields` are the fields of the answer.
        let asked = named(self.query).into_iter();
        given.extend(asked.filter(|(name, _)| name != "fields"));
        given.retain(|name, _| !NOT_SAID.contains(&name.as_str()));
        Ok(given)
    }
}

/// The parameters as the fields of an object. Graph reads truth values, lists and objects from
/// their text.
fn named(parameters: &Query) -> Map<String, Value> {
    let value = |text: &str| match serde_json::from_str(text) {
        Ok(value @ (Value::Bool(_) | Value::Array(_) | Value::Object(_))) => value,
        _ => Value::String(text.to_owned()),
    };
    let pairs = parameters.iter();
    pairs
        .map(|(name, text)| (name.to_owned(), value(text)))
        .collect()
}

fn is_form(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"))
}

/// The parameters of every call, which say nothing about the object.
const NOT_SAID: [&str; 4] = [
    "access_token",
    "appsecret_proof",
    "appsecret_time",
    "messaging_product",
];

/// Reads a body of at most `limit` bytes.
pub(crate) async fn read_bytes(body: Incoming, limit: usize) -> Result<Bytes, GraphError> {
    body::read(body, limit)
        .await
        .map_err(|_| GraphError::parameter("Request body too large"))
}

/// Reads a body as a JSON object. Like Graph, takes anything else for a call without parameters.
pub(crate) async fn read_json(body: Incoming) -> Result<Value, GraphError> {
    let bytes = read_bytes(body, MAX_JSON).await?;
    let value = serde_json::from_slice(&bytes).ok().filter(Value::is_object);
    Ok(value.unwrap_or_else(|| Value::Object(Map::new())))
}

/// Reads a JSON body that names the product `whatsapp`.
pub(crate) async fn read_product_json(body: Incoming) -> Result<Value, GraphError> {
    let body = read_json(body).await?;
    check_product(&body)?;
    Ok(body)
}

/// The largest JSON body, in bytes: more than any documented call needs.
const MAX_JSON: usize = 1024 * 1024;
