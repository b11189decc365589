//! Answers about objects that an application has made: templates, files, and sent messages.
//!
//! Unknown ids have the samples of the dialect.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use multer::Multipart;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

use super::request::ProviderRequest;
use crate::dialect::{Dialect, KeptFiles, KeptMessages, KeptObjects};
use crate::ids;
use crate::reply::Reply;
use crate::state::State;
use crate::store::media::File;

/// Answers a request about something that is kept; `None` for every other request.
pub(super) async fn answer(
    state: &State,
    dialect: &Dialect,
    request: &ProviderRequest,
) -> Option<Response<Reply>> {
    let mut of_objects = dialect.kept_objects.iter();
    if let Some(answer) = of_objects.find_map(|kept| object(state, dialect, kept, request)) {
        return Some(answer);
    }
    let of_messages = dialect.kept_messages.as_ref();
    if let Some(answer) = of_messages.and_then(|kept| message(state, dialect, kept, request)) {
        return Some(answer);
    }
    file(state, dialect.kept_files.as_ref()?, request).await
}

fn object(
    state: &State,
    dialect: &Dialect,
    kept: &KeptObjects,
    request: &ProviderRequest,
) -> Option<Response<Reply>> {
    let method = &request.head.method;
    let path = request.head.uri.path();
    let template = dialect.fill(kept.path);
    if request.has_path(&template) {
        return match *method {
            Method::POST => make(state, kept, path, request),
            Method::GET => {
                let all = state.kept.list(path).unwrap_or_default();
                let count = all.len();
                let list = json!({ kept.list: all, "count": count, "total": count });
                Some(in_json(StatusCode::OK, &list))
            }
            Method::DELETE => {
                let key = request.query.get(kept.name)?;
                if state.kept.is_deleted(path, key) {
                    return Some(kept.missing.fill(&[]));
                }
                let is_removed = state.kept.remove(path, key);
                is_removed.then(|| kept.deleted.fill(&[]))
            }
            _ => None,
        };
    }
    if !request.has_path(&format!("{template}/{{name}}")) {
        return None;
    }
    let (list, key) = path.rsplit_once('/')?;
    let key = percent_decode_str(key).decode_utf8_lossy();
    if state.kept.is_deleted(list, &key) {
        return Some(kept.missing.fill(&[]));
    }
    let none = Map::new();
    match *method {
        Method::DELETE => {
            let is_removed = state.kept.remove(list, &key);
            is_removed.then(|| kept.deleted.fill(&[]))
        }
        Method::GET | Method::PUT | Method::PATCH => {
            let changes = request.body.as_object().unwrap_or(&none);
            let found = state.kept.change(list, &key, changes)?;
            Some(in_json(StatusCode::OK, &found))
        }
        _ => None,
    }
}

fn make(
    state: &State,
    kept: &KeptObjects,
    list: &str,
    request: &ProviderRequest,
) -> Option<Response<Reply>> {
    let mut fields = request.body.as_object()?.clone();
    let (id_field, form) = kept.id;
    let id = ids::in_form(form);
    let name = fields
        .get(kept.name)
        .and_then(Value::as_str)
        .unwrap_or(&id)
        .to_owned();
    fields.insert(id_field.to_owned(), id.as_str().into());
    let (field, value) = kept.state;
    fields.insert(field.to_owned(), value.into());
    let answer = Value::Object(fields.clone());
    state.kept.add(list, &id, &name, fields);
    let status = StatusCode::from_u16(kept.made).unwrap_or(StatusCode::OK);
    Some(in_json(status, &answer))
}

fn message(
    state: &State,
    dialect: &Dialect,
    kept: &KeptMessages,
    request: &ProviderRequest,
) -> Option<Response<Reply>> {
    let is_read = request.head.method == Method::GET;
    if !is_read || !request.has_path(&dialect.fill(kept.path)) {
        return None;
    }
    let last = request
        .head
        .uri
        .path()
        .rsplit('/')
        .next()
        .map(|last| last.strip_suffix(".json").unwrap_or(last));
    let id = request.query.get("messageId").or(last)?;
    let accepted = state.records.accepted();
    let found = accepted.iter().find(|message| message.wamid == id)?;
    let own = [
        ("id", found.wamid.as_str()),
        ("from", found.sender.as_str()),
        ("to", found.recipient.as_str()),
    ];
    let values: Vec<_> = own.iter().chain(dialect.parameters).copied().collect();
    Some(kept.answer.fill(&values))
}

async fn file(
    state: &State,
    kept: &KeptFiles,
    request: &ProviderRequest,
) -> Option<Response<Reply>> {
    let method = &request.head.method;
    if method == Method::POST && request.has_path(kept.upload) {
        let file = uploaded(kept, request).await?;
        let answer = kept.uploaded.fill(&[("id", &file.id)]);
        state.media.add(file);
        return Some(answer);
    }
    let last = request.head.uri.path().rsplit('/').next();
    let is_download = request.has_path(kept.download);
    let is_about = request.has_path(kept.about.0);
    let id = if is_about && kept.about.0.ends_with("/info") {
        request.head.uri.path().rsplit('/').nth(1)
    } else {
        request.query.get("mid").or(last)
    }?;
    if state.kept.is_deleted(kept.upload, id) {
        return Some(kept.missing.fill(&[]));
    }
    let found = state.media.get(id)?;
    if method == Method::DELETE && request.has_path(kept.delete) {
        state.media.remove(id);
        state.kept.note_deleted(kept.upload, id);
        return Some(kept.deleted.fill(&[]));
    }
    if method != Method::GET {
        return None;
    }
    if is_about {
        let size = found.data.len().to_string();
        return Some(kept.about.1.fill(&[
            ("id", &found.id),
            ("type", &found.media_type),
            ("sha256", &found.sha256),
            ("size", &size),
        ]));
    }
    is_download.then(|| bytes_of(found))
}

/// Reads the file of an upload: the first file of a form, or the whole body.
async fn uploaded(kept: &KeptFiles, request: &ProviderRequest) -> Option<File> {
    let content_type = request.header(CONTENT_TYPE.as_str()).unwrap_or_default();
    let mut file = match multer::parse_boundary(content_type) {
        Err(_) => {
            let name = "file".to_owned();
            File::new("", content_type.to_owned(), name, request.bytes.clone())
        }
        Ok(boundary) => {
            let body = Full::new(request.bytes.clone()).into_data_stream();
            let mut parts = Multipart::new(body, boundary);
            loop {
                let part = parts.next_field().await.ok()??;
                let Some(name) = part.file_name().map(str::to_owned) else {
                    continue;
                };
                let media_type = part.content_type().map(ToString::to_string);
                let data: Bytes = part.bytes().await.ok()?;
                break File::new("", media_type.unwrap_or_default(), name, data);
            }
        }
    };
    file.id = ids::in_form(kept.id);
    Some(file)
}

fn bytes_of(file: File) -> Response<Reply> {
    let media_type = HeaderValue::from_str(&file.media_type);
    let mut response = Response::new(Reply::new(file.data));
    if let Ok(media_type) = media_type {
        response.headers_mut().insert(CONTENT_TYPE, media_type);
    }
    response
}

fn in_json(status: StatusCode, value: &Value) -> Response<Reply> {
    let mut response = Response::new(Reply::new(value.to_string()));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}
