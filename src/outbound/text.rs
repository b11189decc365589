//! The text of an answer, read whole.

use std::sync::Arc;

use bytes::Bytes;
use http::header;
use serde_json::Value;

use super::coding::{self, Coding};
use super::media_type::{Content, content};
use crate::memory::MemoryBudget;
use crate::provider::{Meaning, Provider, ProviderError};
use crate::upstream::{Answer, AnswerBody, Unreadable, UpstreamError};

/// Reads the meaning of an error by the provider's own code, or by the status without a code, and
/// what the error says. A code in the body is found by reading the whole body, and the body stays
/// part of the answer.
///
/// # Errors
/// A body that is cut off.
pub(super) async fn meaning<'p>(
    answer: &mut Answer,
    provider: &'p Provider,
    memory: &Arc<MemoryBudget>,
) -> Result<(Meaning<'p>, ProviderError), UpstreamError> {
    if !answer.status.is_client_error() && !answer.status.is_server_error() {
        return Ok((Meaning::Other, ProviderError::default()));
    }
    let errors = &provider.errors;
    let mut body = Value::Null;
    if errors.is_in_body() && content(&answer.headers) == Content::Text {
        match read_text(answer, memory).await {
            Ok(text) if text.len() <= MAX_ERROR => {
                let plain = || Value::String(String::from_utf8_lossy(&text).into_owned());
                body = serde_json::from_slice(&text).unwrap_or_else(|_| plain());
            }
            Ok(_) | Err(UpstreamError::Unreadable(_)) => {}
            Err(error) => return Err(error),
        }
    }
    let in_header = errors
        .header()
        .and_then(|name| answer.headers.get(name)?.to_str().ok());
    let meaning = errors.meaning(answer.status.as_u16(), in_header, &body);
    Ok((meaning, errors.provider_error(in_header, &body)))
}

/// Reads a text whole and undoes its coding. The answer keeps the plain text, or the reason for its
/// lack, so a second call gives an equal result.
pub(super) async fn read_text(
    answer: &mut Answer,
    memory: &Arc<MemoryBudget>,
) -> Result<Bytes, UpstreamError> {
    let body = std::mem::replace(&mut answer.body, AnswerBody::Whole(Bytes::new()));
    let coding = Coding::of(&answer.headers);
    let reading = async {
        let text = body.whole_in_budget(MAX_TEXT, memory).await?;
        if coding == Coding::Identity || text.is_empty() {
            return Ok(text);
        }
        let plain = coding::decoded(coding, text, MAX_TEXT, memory).await?;
        answer.headers.remove(header::CONTENT_ENCODING);
        answer.headers.remove(header::CONTENT_LENGTH);
        Ok(plain)
    };
    let read: Result<Bytes, UpstreamError> = reading.await;
    match &read {
        Ok(text) => answer.body = AnswerBody::Whole(text.clone()),
        Err(UpstreamError::Unreadable(reason)) => answer.body = AnswerBody::Unreadable(*reason),
        Err(_) => {}
    }
    read
}

/// Reads content of an unknown type whole, and returns the plain content. The answer keeps the
/// coded bytes. `None` for content too large to look through, coded or plain, and for a coding
/// without a way back.
///
/// # Errors
/// A body cut off early, or no room in time.
pub(super) async fn read_unknown(
    answer: &mut Answer,
    memory: &Arc<MemoryBudget>,
) -> Result<Option<Bytes>, UpstreamError> {
    let unread = std::mem::replace(&mut answer.body, AnswerBody::Whole(Bytes::new()));
    let body = unread.whole_or_stream(MAX_UNKNOWN, memory).await?;
    answer.body = body.passing(memory).await?;
    let AnswerBody::Whole(written) = &answer.body else {
        return Ok(None);
    };
    let written = written.clone();
    match Coding::of(&answer.headers) {
        Coding::Identity => Ok(Some(written)),
        Coding::Unknown => Ok(None),
        coding => match coding::decoded(coding, written, MAX_UNKNOWN, memory).await {
            Ok(plain) => Ok(Some(plain)),
            Err(UpstreamError::Unreadable(
                Unreadable::ContentCoding | Unreadable::TooLarge { .. },
            )) => Ok(None),
            Err(error) => Err(error),
        },
    }
}

/// Largest error that is looked into for a code, in bytes: parsed JSON takes many times its length,
/// and providers' errors have some hundred bytes.
const MAX_ERROR: usize = 64 * 1024;
/// Largest text that is looked through, in bytes: the largest answer for which the memory budget
/// keeps room.
const MAX_TEXT: usize = 8 * 1024 * 1024;
/// Largest content of an unknown type to look through, in bytes, coded and plain. Larger content is
/// media under an odd name.
const MAX_UNKNOWN: usize = 1024 * 1024;
