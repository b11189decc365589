//! Resumable uploads: `POST /{app}/uploads` opens a session, `POST /upload:...` fills it.

use hyper::body::Incoming;

use super::call::{self, Call};
use super::error::GraphError;
use super::ids;
use super::json::{Json, object};
use super::state::lock;

/// The largest file.
const FILE: usize = 110 * 1024 * 1024;
/// How many sessions are remembered.
const SESSIONS: usize = 1000;

/// `POST /{app}/uploads`.
pub(super) fn open(call: &Call<'_>) -> Result<Json, GraphError> {
    let length = call.query.get("file_length").ok_or_else(|| GraphError::required("file_length"))?;
    let length: u64 = length.parse().map_err(|_| GraphError::parameter("Param file_length must be an integer."))?;
    if call.query.get("file_type").is_none_or(str::is_empty) {
        return Err(GraphError::required("file_type"));
    }
    let session = format!("upload:{}", ids::base64(format!("attachment:{}", ids::app_secret()).as_bytes()));
    let mut sessions = lock(&call.state.uploads);
    if sessions.len() >= SESSIONS {
        sessions.clear();
    }
    sessions.insert(session.clone(), (length, 0));
    // The question mark is Meta's: the session's name goes on in the query.
    Ok(object([("id", format!("{session}?sig=ARZ{:.16}", ids::app_secret()).into())]))
}

/// `POST /upload:...` with `file_offset` and the bytes.
pub(super) async fn fill(call: &Call<'_>, session: &str, body: Incoming) -> Result<Json, GraphError> {
    let (length, filled) = known(call, session)?;
    let offset = call.headers.get("file_offset").and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let offset = offset.ok_or_else(|| GraphError::required("file_offset"))?;
    if offset != filled {
        return Err(GraphError::parameter(format!("Param file_offset must be {filled}.")));
    }
    let bytes = call::bytes(body, FILE).await?;
    let filled = filled + u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if filled > length {
        return Err(GraphError::parameter("The file is longer than the session allows."));
    }
    lock(&call.state.uploads).insert(session.to_owned(), (length, filled));
    if filled < length {
        return status(call, session);
    }
    let handle = format!("4::{}:ARa{:.32}", ids::base64(session.as_bytes()), ids::app_secret());
    Ok(object([("h", handle.into())]))
}

/// `GET /upload:...`: how far it is.
pub(super) fn status(call: &Call<'_>, session: &str) -> Result<Json, GraphError> {
    let (_, filled) = known(call, session)?;
    Ok(object([("id", session.into()), ("file_offset", filled.into())]))
}

fn known(call: &Call<'_>, session: &str) -> Result<(u64, u64), GraphError> {
    lock(&call.state.uploads).get(session).copied().ok_or_else(|| call.unknown(session))
}
