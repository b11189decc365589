//! Calls about media: upload, description with a link, deletion.

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use multer::{Field, Multipart};
use serde::Serialize;

use super::call::Call;
use super::error::GraphError;
use crate::json::GraphJson;
use crate::store::media::File;

/// `POST /{sender}/media`.
pub(crate) async fn upload(
    call: &Call<'_>,
    sender: &str,
    body: Incoming,
) -> Result<GraphJson, GraphError> {
    call.require_sender(sender)?;
    let form = Form::read(call, body).await?;
    let in_query = || call.query.get("messaging_product").map(str::to_owned);
    let product = form.messaging_product.or_else(in_query);
    if !product
        .ok_or_else(|| GraphError::required("messaging_product"))?
        .eq_ignore_ascii_case("whatsapp")
    {
        return Err(GraphError::parameter(
            "Param messaging_product must be one of {WHATSAPP}.",
        ));
    }
    let upload = form.file.ok_or_else(|| GraphError::required("file"))?;
    let media_type = upload
        .content_type
        .or(form.media_type)
        .unwrap_or_else(|| "application/octet-stream".to_owned());
    check_size(&media_type, upload.data.len())?;
    let filename = upload.filename.unwrap_or_else(|| "file".to_owned());
    let file = File::new(sender, media_type, filename, upload.data);
    let answer = GraphJson::new(&Uploaded { id: &file.id });
    call.state.media.add(file);
    Ok(answer)
}

#[derive(Serialize)]
struct Uploaded<'a> {
    id: &'a str,
}

/// The known fields of an upload's form. A repeated field counts once.
#[derive(Default)]
struct Form {
    messaging_product: Option<String>,
    media_type: Option<String>,
    file: Option<UploadedFile>,
}

struct UploadedFile {
    filename: Option<String>,
    content_type: Option<String>,
    data: Bytes,
}

impl Form {
    async fn read(call: &Call<'_>, body: Incoming) -> Result<Self, GraphError> {
        let content_type = call
            .headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        let boundary = multer::parse_boundary(content_type.unwrap_or_default())
            .map_err(|_| GraphError::required("messaging_product"))?;
        let body = Limited::new(body, MAX_UPLOAD).into_data_stream();
        let mut parts = Multipart::new(body, boundary);
        let mut form = Self::default();
        while let Some(part) = parts.next_field().await.map_err(refuse_form)? {
            form.add(part).await?;
        }
        Ok(form)
    }

    async fn add(&mut self, part: Field<'_>) -> Result<(), GraphError> {
        let Some(name) = part.name().map(str::to_owned) else {
            return Err(GraphError::invalid("The upload is not a form."));
        };
        let filename = part.file_name().map(str::to_owned);
        let content_type = part.content_type().map(ToString::to_string);
        let data = read_part(part).await?;
        let text = || Some(String::from_utf8_lossy(&data).into_owned());
        match name.as_str() {
            "messaging_product" if self.messaging_product.is_none() => {
                self.messaging_product = text();
            }
            "type" if self.media_type.is_none() => self.media_type = text(),
            "file" if self.file.is_none() => {
                self.file = Some(UploadedFile {
                    filename,
                    content_type,
                    data,
                });
            }
            _ => {}
        }
        Ok(())
    }
}

async fn read_part(mut part: Field<'_>) -> Result<Bytes, GraphError> {
    let mut data = BytesMut::new();
    while let Some(chunk) = part.chunk().await.map_err(refuse_form)? {
        data.extend_from_slice(&chunk);
    }
    Ok(data.freeze())
}

fn refuse_form(error: multer::Error) -> GraphError {
    GraphError::invalid(match error {
        multer::Error::StreamReadFailed(error)
            if error.is::<http_body_util::LengthLimitError>() =>
        {
            "The file is too large."
        }
        multer::Error::StreamReadFailed(_) => "The upload broke off.",
        _ => "The upload is not a form.",
    })
}

/// Refuses media types that WhatsApp does not take, and files that are larger than their type
/// allows.
fn check_size(media_type: &str, length: usize) -> Result<(), GraphError> {
    let essence = media_type
        .split(';')
        .next()
        .unwrap_or(media_type)
        .trim()
        .to_ascii_lowercase();
    // The limits are those of Meta's table of supported media types.
    let limit = match essence.as_str() {
        "image/webp" => 500 * KIBIBYTE,
        "image/jpeg" | "image/png" => 5 * MEBIBYTE,
        "audio/aac" | "audio/mp4" | "audio/mpeg" | "audio/amr" | "audio/ogg" | "audio/opus"
        | "video/mp4" | "video/3gp" | "video/3gpp" => 16 * MEBIBYTE,
        text if text.starts_with("text/") || text.starts_with("application/") => 100 * MEBIBYTE,
        other => {
            let message = format!(
                "Param file must be a file with one of the supported types. Received file of type '{other}'."
            );
            return Err(GraphError::parameter(message));
        }
    };
    if length > limit {
        return Err(GraphError::invalid(
            "The file is larger than its type allows.",
        ));
    }
    Ok(())
}

/// `GET /{media}`: the description of a file, with a link for download.
pub(crate) fn describe(call: &Call<'_>, file: &File) -> Result<GraphJson, GraphError> {
    check_number(call, file)?;
    Ok(GraphJson::new(&Description {
        url: &file.link(&call.state.rules.media_origin),
        mime_type: &file.media_type,
        sha256: &file.sha256,
        file_size: file.data.len(),
        id: &file.id,
        messaging_product: "whatsapp",
    }))
}

#[derive(Serialize)]
struct Description<'a> {
    url: &'a str,
    mime_type: &'a str,
    sha256: &'a str,
    file_size: usize,
    id: &'a str,
    messaging_product: &'a str,
}

/// `DELETE /{media}`.
pub(crate) fn delete(call: &Call<'_>, file: &File) -> Result<GraphJson, GraphError> {
    check_number(call, file)?;
    call.state.media.remove(&file.id);
    Ok(GraphJson::success())
}

/// With `phone_number_id`, refuses all but the number that uploaded the file.
fn check_number(call: &Call<'_>, file: &File) -> Result<(), GraphError> {
    match call.query.get("phone_number_id") {
        Some(number) if number != file.sender => Err(call.unknown(&file.id)),
        _ => Ok(()),
    }
}

/// The unit of the smaller limits.
const KIBIBYTE: usize = 1024;
/// The unit of the larger limits.
const MEBIBYTE: usize = 1024 * KIBIBYTE;

/// The largest body of an upload: the largest file of 100 MiB, and room for the rest of the form.
const MAX_UPLOAD: usize = 110 * MEBIBYTE;
