//! The body of a request, read whole up to a bound.

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;

/// Reads a body of at most `limit` bytes.
///
/// # Errors
/// The body is longer, or the connection broke off before its end.
pub(crate) async fn read(body: Incoming, limit: usize) -> Result<Bytes, BodyError> {
    let collected = Limited::new(body, limit)
        .collect()
        .await
        .map_err(|_| BodyError)?;
    Ok(collected.to_bytes())
}

/// A body that is too large or incomplete.
#[derive(Debug)]
pub(crate) struct BodyError;
