//! One call of the Graph API, let in: what every handler gets.

use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::Value;

use super::auth::Caller;
use super::error::GraphError;
use super::reply::Usage;
use super::state::{ACCOUNT, State};
use super::target::{Query, Target};

/// The largest body that is read whole.
const BODY: usize = 1024 * 1024;

/// A call.
pub(super) struct Call<'a> {
    pub(super) state: &'a State,
    pub(super) method: &'a Method,
    pub(super) headers: &'a HeaderMap,
    pub(super) target: &'a Target,
    pub(super) query: &'a Query,
    pub(super) caller: &'a Caller,
}

impl Call<'_> {
    /// The error for an object that is not there.
    pub(super) fn unknown(&self, id: &str) -> GraphError {
        GraphError::unknown_object(self.method.as_str(), id)
    }

    /// Refuses a number that is not one of this sandbox.
    pub(super) fn needs_sender(&self, id: &str) -> Result<(), GraphError> {
        if self.state.is_sender(id) { Ok(()) } else { Err(self.unknown(id)) }
    }
}

/// The usage of an account, one call more.
pub(super) fn usage(state: &State, kind: &'static str) -> Usage {
    Usage::Account { id: ACCOUNT.to_owned(), kind, percent: state.pace.percent_used(ACCOUNT) }
}

/// Reads a body whole.
pub(super) async fn bytes(body: Incoming, limit: usize) -> Result<Bytes, GraphError> {
    let collected = Limited::new(body, limit).collect().await;
    collected.map(http_body_util::Collected::to_bytes).map_err(|_| GraphError::parameter("Request body too large"))
}

/// Reads a body as a JSON object. Graph takes a body that is none for one without parameters.
pub(super) async fn json(body: Incoming) -> Result<Value, GraphError> {
    let bytes = bytes(body, BODY).await?;
    let value = serde_json::from_slice(&bytes).ok().filter(Value::is_object);
    Ok(value.unwrap_or_else(|| Value::Object(serde_json::Map::new())))
}
