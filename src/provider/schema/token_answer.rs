//! `[token_answer]`: the answer to an SDK that asks for an access token itself.

use bytes::Bytes;
use serde_json::Value;

use super::request::request_line;
use crate::document::{Malformed, Reader};
use crate::provider::token_answer::TokenAnswer;

/// Reads `[token_answer]`.
pub(super) fn token_answer(mut reader: Reader<'_>) -> Option<TokenAnswer> {
    let line = reader
        .required(
            "request",
            "a method and a path, such as \"POST /oauth2/token\"",
        )
        .and_then(|field| field.parse(request_line));
    let body = reader
        .required("body", "a JSON text like '{\"access_token\": \"keyside\"}'")
        .and_then(|field| field.parse(json));
    reader.finish();
    let ((methods, path), body) = line.zip(body)?;
    Some(TokenAnswer {
        methods,
        path,
        body,
    })
}

fn json(text: &str) -> Result<Bytes, Malformed> {
    match serde_json::from_str::<Value>(text) {
        Ok(body @ Value::Object(_)) => Ok(Bytes::from(body.to_string())),
        _ => Err(Malformed::new(
            "no JSON object, expected a text like '{\"access_token\": \"keyside\"}'",
        )),
    }
}
