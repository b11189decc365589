//! Media: uploaded here, described here, downloaded from the other host.

use std::collections::VecDeque;
use std::sync::Mutex;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use http::header::CONTENT_TYPE;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use sha2::{Digest, Sha256};

use super::call::Call;
use super::error::GraphError;
use super::ids;
use super::json::{Json, object, success};
use super::multipart::{Form, Part};
use super::state::{State, lock};
use super::token::now;

/// The largest upload.
const UPLOAD: usize = 110 * 1024 * 1024;
/// How much is kept; beyond it the oldest goes.
const KEPT: usize = 256 * 1024 * 1024;
/// How long a link works, in seconds.
const LINK_LIFE: u64 = 300;

/// A file that was uploaded.
#[derive(Clone)]
pub(super) struct File {
    pub(super) id: String,
    pub(super) sender: String,
    pub(super) kind: String,
    pub(super) filename: String,
    pub(super) data: Bytes,
    pub(super) sha256: String,
}

/// All files, oldest first.
#[derive(Default)]
pub(super) struct Media(Mutex<VecDeque<File>>);

impl Media {
    /// A file by its id.
    pub(super) fn get(&self, id: &str) -> Option<File> {
        lock(&self.0).iter().find(|file| file.id == id).cloned()
    }

    fn put(&self, file: File) {
        let mut files = lock(&self.0);
        let mut total: usize = files.iter().map(|file| file.data.len()).sum();
        while total + file.data.len() > KEPT {
            let Some(oldest) = files.pop_front() else {
                break;
            };
            total -= oldest.data.len();
        }
        files.push_back(file);
    }

    fn remove(&self, id: &str) {
        lock(&self.0).retain(|file| file.id != id);
    }
}

/// A picture from a user, as a webhook names it: its id, the hash of its bytes in base64 (in an answer to a GET it is in
/// hexadecimal), and a link.
pub(super) fn receive(state: &State, sender: &str) -> (String, String, String) {
    let data = Bytes::from_static(PIXEL);
    let digest = Sha256::digest(&data);
    let file = File {
        id: ids::object_id(),
        sender: sender.to_owned(),
        kind: "image/png".to_owned(),
        filename: "picture.png".to_owned(),
        sha256: HEXLOWER.encode(&digest),
        data,
    };
    let (id, link) = (file.id.clone(), link(state, &file));
    state.media.put(file);
    (id, ids::base64(&digest), link)
}

/// A picture of one transparent point.
const PIXEL: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89\0\0\0\rIDATx\x9cc`\0\x01\0\0\x05\0\x01\r\n-\xb4\0\0\0\0IEND\xaeB`\x82";

/// `POST /{sender}/media`.
pub(super) async fn upload(call: &Call<'_>, sender: &str, body: Incoming) -> Result<Json, GraphError> {
    call.needs_sender(sender)?;
    let mut parts = read(call, body).await?;
    let field = |name: &str| {
        let part = parts.iter().find(|part| part.name == name)?;
        Some(String::from_utf8_lossy(&part.data).into_owned())
    };
    let product = field("messaging_product").or_else(|| call.query.get("messaging_product").map(str::to_owned));
    if !product.ok_or_else(|| GraphError::required("messaging_product"))?.eq_ignore_ascii_case("whatsapp") {
        return Err(GraphError::parameter("Param messaging_product must be one of {WHATSAPP}."));
    }
    let named = field("type");
    let index = parts.iter().position(|part| part.name == "file").ok_or_else(|| GraphError::required("file"))?;
    let Part { filename, content_type, data, .. } = parts.swap_remove(index);
    let kind = content_type.or(named).unwrap_or_else(|| "application/octet-stream".to_owned());
    check(&kind, data.len())?;
    let file = File {
        id: ids::object_id(),
        sender: sender.to_owned(),
        kind,
        filename: filename.unwrap_or_else(|| "file".to_owned()),
        sha256: HEXLOWER.encode(&Sha256::digest(&data)),
        data: Bytes::from(data),
    };
    let id = file.id.clone();
    call.state.media.put(file);
    Ok(object([("id", id.into())]))
}

async fn read(call: &Call<'_>, mut body: Incoming) -> Result<Vec<Part>, GraphError> {
    let content_type = call.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut form = Form::new(content_type).ok_or_else(|| GraphError::required("messaging_product"))?;
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| GraphError::invalid("The upload broke off."))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        length += data.len();
        if length > UPLOAD {
            return Err(GraphError::invalid("The file is too large."));
        }
        form.push(&data).map_err(|_| GraphError::invalid("The upload is not a form."))?;
    }
    form.finish().map_err(|_| GraphError::invalid("The upload is not a form."))
}

/// The types that WhatsApp takes, and how much of each.
fn check(kind: &str, length: usize) -> Result<(), GraphError> {
    let essence = kind.split(';').next().unwrap_or(kind).trim().to_ascii_lowercase();
    let megabytes = |count: usize| count * 1024 * 1024;
    let limit = match essence.as_str() {
        "image/webp" => 500 * 1024,
        "image/jpeg" | "image/png" => megabytes(5),
        "audio/aac" | "audio/mp4" | "audio/mpeg" | "audio/amr" | "audio/ogg" | "audio/opus" | "video/mp4"
        | "video/3gp" | "video/3gpp" => megabytes(16),
        text if text.starts_with("text/") || text.starts_with("application/") => megabytes(100),
        other => {
            let message =
                format!("Param file must be a file with one of the supported types. Received file of type '{other}'.");
            return Err(GraphError::parameter(message));
        }
    };
    if length > limit {
        return Err(GraphError::invalid("The file is larger than its type allows."));
    }
    Ok(())
}

/// `GET /{media}`: where it can be downloaded for the next five minutes.
pub(super) fn describe(call: &Call<'_>, file: &File) -> Result<Json, GraphError> {
    of_number(call, file)?;
    let link = link(call.state, file);
    Ok(object([
        ("url", link.into()),
        ("mime_type", file.kind.as_str().into()),
        ("sha256", file.sha256.as_str().into()),
        ("file_size", u64::try_from(file.data.len()).unwrap_or(u64::MAX).into()),
        ("id", file.id.as_str().into()),
        ("messaging_product", "whatsapp".into()),
    ]))
}

fn link(state: &State, file: &File) -> String {
    let expiry = now() + LINK_LIFE;
    let (origin, id) = (&state.rules.media_origin, &file.id);
    format!("{origin}/whatsapp_business/attachments/?mid={id}&ext={expiry}&hash={}", signature(file, expiry))
}

/// `DELETE /{media}`.
pub(super) fn delete(call: &Call<'_>, file: &File) -> Result<Json, GraphError> {
    of_number(call, file)?;
    call.state.media.remove(&file.id);
    Ok(success())
}

/// With `phone_number_id`, only the number that uploaded a file gets it.
fn of_number(call: &Call<'_>, file: &File) -> Result<(), GraphError> {
    match call.query.get("phone_number_id") {
        Some(number) if number != file.sender => Err(call.unknown(&file.id)),
        _ => Ok(()),
    }
}

/// The file that a link stands for, while it does.
pub(super) fn linked(state: &State, id: &str, expiry: &str, hash: &str) -> Option<File> {
    let file = state.media.get(id)?;
    let expiry: u64 = expiry.parse().ok()?;
    (expiry > now() && signature(&file, expiry) == hash).then_some(file)
}

/// The `hash` of a link, so that nobody gives a link a longer life. The token is what protects the file.
fn signature(file: &File, expiry: u64) -> String {
    let digest = Sha256::new().chain_update(&file.id).chain_update(&file.sha256).chain_update(expiry.to_be_bytes());
    format!("ATta{:.40}", HEXLOWER.encode(&digest.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(id: &str, length: usize) -> File {
        let text = String::new;
        let data = Bytes::from(vec![0; length]);
        File { id: id.into(), sender: text(), kind: text(), filename: text(), data, sha256: text() }
    }

    #[test]
    fn the_oldest_file_makes_room() {
        let media = Media::default();
        for id in ["1", "2", "3"] {
            media.put(file(id, 100 * 1024 * 1024));
        }
        assert!(media.get("1").is_none() && media.get("2").is_some() && media.get("3").is_some());
    }

    #[test]
    fn a_link_has_an_end_and_cannot_be_prolonged() {
        let state = State::for_tests();
        let file = file("1", 1);
        let (past, soon) = (now() - 1, now() + 100);
        state.media.put(file.clone());
        assert!(linked(&state, "1", &soon.to_string(), &signature(&file, soon)).is_some());
        assert!(linked(&state, "1", &past.to_string(), &signature(&file, past)).is_none());
        assert!(linked(&state, "1", &soon.to_string(), &signature(&file, past)).is_none());
    }
}
