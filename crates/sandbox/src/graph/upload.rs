//! Resumable uploads: `POST /{app}/uploads` opens a session, `POST /upload:...` fills it.

use data_encoding::BASE64;
use hyper::body::Incoming;
use serde::Serialize;

use super::call::{Call, read_bytes};
use super::error::GraphError;
use crate::ids;
use crate::json::GraphJson;
use crate::store::upload::Progress;

/// `POST /{app}/uploads`.
pub(crate) fn open(call: &Call<'_>) -> Result<GraphJson, GraphError> {
    let length = call
        .query
        .get("file_length")
        .ok_or_else(|| GraphError::required("file_length"))?
        .parse()
        .map_err(|_| GraphError::parameter("Param file_length must be an integer."))?;
    if call.query.get("file_type").is_none_or(str::is_empty) {
        return Err(GraphError::required("file_type"));
    }
    let name = BASE64.encode(format!("attachment:{}", ids::app_secret()).as_bytes());
    let session = format!("upload:{name}");
    let progress = Progress {
        length,
        received: 0,
    };
    call.state.uploads.set(&session, progress);
    // Graph's ids of sessions contain a question mark, so that a part of the id comes back as a
    // query.
    let id = format!("{session}?sig=ARZ{:.16}", ids::app_secret());
    Ok(GraphJson::new(&Session {
        id: &id,
        file_offset: None,
    }))
}

/// `POST /upload:...` with the header `file_offset` and the bytes.
pub(crate) async fn fill(
    call: &Call<'_>,
    session: &str,
    body: Incoming,
) -> Result<GraphJson, GraphError> {
    let Progress { length, received } = progress(call, session)?;
    let offset = call
        .headers
        .get("file_offset")
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if offset.ok_or_else(|| GraphError::required("file_offset"))? != received {
        return Err(GraphError::parameter(format!(
            "Param file_offset must be {received}."
        )));
    }
    let bytes = read_bytes(body, MAX_FILE).await?;
    let received = received.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    if received > length {
        return Err(GraphError::parameter(
            "The file is longer than the session allows.",
        ));
    }
    call.state
        .uploads
        .set(session, Progress { length, received });
    if received < length {
        return status(call, session);
    }
    let handle = format!(
        "4::{}:ARa{:.32}",
        BASE64.encode(session.as_bytes()),
        ids::app_secret()
    );
    Ok(GraphJson::new(&Handle { h: &handle }))
}

/// `GET /upload:...`: the progress of the session.
pub(crate) fn status(call: &Call<'_>, session: &str) -> Result<GraphJson, GraphError> {
    let received = progress(call, session)?.received;
    Ok(GraphJson::new(&Session {
        id: session,
        file_offset: Some(received),
    }))
}

fn progress(call: &Call<'_>, session: &str) -> Result<Progress, GraphError> {
    call.state
        .uploads
        .get(session)
        .ok_or_else(|| call.unknown(session))
}

#[derive(Serialize)]
struct Session<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_offset: Option<u64>,
}

/// The handle of a complete file, which other calls take.
#[derive(Serialize)]
struct Handle<'a> {
    h: &'a str,
}

/// The largest file: 100 MiB, as for media, and some room.
const MAX_FILE: usize = 110 * 1024 * 1024;
