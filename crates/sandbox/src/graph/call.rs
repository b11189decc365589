//! An authenticated call of the Graph API, as handlers get it.

use bytes::Bytes;
use http::{HeaderMap, Method};
use hyper::body::Incoming;
use serde_json::Value;

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
}

/// Reads a body of at most `limit` bytes.
pub(crate) async fn read_bytes(body: Incoming, limit: usize) -> Result<Bytes, GraphError> {
    let bytes = body::read(body, limit).await;
    bytes.map_err(|_| GraphError::parameter("Request body too large"))
}

/// Reads a body as a JSON object. Like Graph, takes anything else for a call without parameters.
pub(crate) async fn read_json(body: Incoming) -> Result<Value, GraphError> {
    let bytes = read_bytes(body, MAX_JSON).await?;
    let value = serde_json::from_slice(&bytes).ok().filter(Value::is_object);
    Ok(value.unwrap_or_else(|| Value::Object(serde_json::Map::new())))
}

/// Reads a JSON body that names the product `whatsapp`.
pub(crate) async fn read_product_json(body: Incoming) -> Result<Value, GraphError> {
    let body = read_json(body).await?;
    check_product(&body)?;
    Ok(body)
}

/// The largest JSON body, in bytes: more than any documented call needs.
const MAX_JSON: usize = 1024 * 1024;
