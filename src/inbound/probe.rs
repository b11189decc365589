//! The probe of `keyside doctor`: a genuine event that Keyside answers itself and hands to nobody.
//!
//! The signed body alone makes an event a probe, never a header. A header is not signed: anybody
//! between the provider and Keyside could add one to a genuine event, and the event would be
//! answered 200 and lost. The whole body has one fixed form, in which no provider writes an event,
//! so a genuine event is never taken for a probe.
//!
//! A probe is looked for after the signature was verified. It counts as no event: no nonce is
//! spent, no item is noted, and neither an application nor the spool gets it. A Keyside without
//! probes takes Meta's form for an event without entries.

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use serde_json::json;

use super::body::Body;
use super::error::InboundError;
use super::forgery::Forgery;
use crate::upstream::AnswerBody;

/// The mark of one probe, which comes back in the answer: 32 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeMark(String);

impl ProbeMark {
    /// Makes a mark of 16 random bytes.
    #[must_use]
    pub fn new(random: [u8; 16]) -> Self {
        Self(data_encoding::HEXLOWER.encode(&random))
    }

    /// Returns the digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the probe as JSON, with spaces at the end up to `length` bytes.
    #[must_use]
    pub fn json(&self, length: usize) -> Bytes {
        let mut body = format!("{JSON_BEGIN}{}{JSON_END}", self.0).into_bytes();
        body.resize(body.len().max(length), b' ');
        body.into()
    }

    /// Returns the probe as a form.
    #[must_use]
    pub fn form(&self) -> Bytes {
        format!("{FORM_BEGIN}{}", self.0).into()
    }

    /// Reads a body; `None` for every body that is no probe to its last byte.
    pub(super) fn of(body: &Body) -> Option<Self> {
        let mut pieces = body.pieces().iter();
        // The segments of a body begin small, so a probe may be spread over the first of them.
        let mut first: Vec<u8> = Vec::with_capacity(MAX_PROBE);
        let mut rest: &[u8] = &[];
        while first.len() < MAX_PROBE {
            let Some(piece) = pieces.next() else { break };
            let (taken, left) = piece.split_at(piece.len().min(MAX_PROBE - first.len()));
            first.extend_from_slice(taken);
            rest = left;
        }
        let (mark, tail) = Self::parse(&first)?;
        let is_blank = |bytes: &[u8]| bytes.iter().all(|byte| *byte == b' ');
        (is_blank(tail) && is_blank(rest) && pieces.all(|piece| is_blank(piece))).then_some(mark)
    }

    /// Returns the mark at the begin of a body, and what follows the fixed form.
    fn parse(body: &[u8]) -> Option<(Self, &[u8])> {
        let (begin, end) = match body.first()? {
            b'{' => (JSON_BEGIN, JSON_END),
            _ => (FORM_BEGIN, ""),
        };
        let (digits, rest) = body
            .strip_prefix(begin.as_bytes())?
            .split_at_checked(MARK_DIGITS)?;
        let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let digits = std::str::from_utf8(digits).ok()?;
        let tail = rest.strip_prefix(end.as_bytes())?;
        let is_whole = digits.as_bytes().iter().all(is_digit);
        is_whole.then(|| (Self(digits.to_owned()), tail))
    }
}

/// Returns the answer to a probe with a verified signature: the mark, and the webhook that the
/// probe has reached.
pub(super) fn answer(mark: &ProbeMark, webhook: &str) -> Response<AnswerBody> {
    let body = json!({
        "keyside_probe": mark.0,
        "webhook": webhook,
        "version": env!("CARGO_PKG_VERSION"),
    });
    let mut response = Response::new(AnswerBody::Whole(body.to_string().into()));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Returns the error of a forged request, with a kind of its own for a probe: `keyside doctor`
/// forges a request to see the refusal, and the probe must raise no alarm about the secrets. The
/// sender gets the same answer.
pub(super) fn told_apart(error: InboundError, body: &Body) -> InboundError {
    let is_wrong = matches!(
        error,
        InboundError::Forged(Forgery::SignatureWrong | Forgery::UrlSignatureWrong)
    );
    if is_wrong && ProbeMark::of(body).is_some() {
        InboundError::ForgedProbe
    } else {
        error
    }
}

const JSON_BEGIN: &str = "{\"keyside_probe\":\"";
/// The end of a probe in JSON: for whoever does not know probes, an event of Meta without entries.
const JSON_END: &str = "\",\"object\":\"whatsapp_business_account\",\"entry\":[]}";
const FORM_BEGIN: &str = "KeysideProbe=";
/// The hex digits of a mark: 128 random bits, so that no two probes have one mark by chance.
const MARK_DIGITS: usize = 32;
/// The bytes of the longer form.
const MAX_PROBE: usize = JSON_BEGIN.len() + MARK_DIGITS + JSON_END.len();

#[cfg(test)]
mod tests {
    use super::*;

    fn mark() -> ProbeMark {
        ProbeMark::new([0xa7; 16])
    }

    /// A body that arrived in pieces of `size` bytes.
    fn arrived(bytes: &[u8], size: usize) -> Body {
        let mut body = Body::default();
        for piece in bytes.chunks(size) {
            body.push(Bytes::copy_from_slice(piece));
        }
        body
    }

    #[test]
    fn a_probe_is_found_however_it_arrives() {
        for bytes in [mark().json(0), mark().json(3 << 20), mark().form()] {
            for size in [1, 7, MAX_PROBE, MAX_PROBE + 1, 64 * 1024] {
                if size == 1 && bytes.len() > 1000 {
                    continue;
                }
                let found = ProbeMark::of(&arrived(&bytes, size));
                assert_eq!(found, Some(mark()), "{} in {size}", bytes.len());
            }
        }
        assert_eq!(mark().json(3 << 20).len(), 3 << 20);
        let value: serde_json::Value = serde_json::from_slice(&mark().json(500)).unwrap();
        assert_eq!(value["entry"], json!([]), "Meta's form without entries");
    }

    #[test]
    fn no_other_body_is_a_probe() {
        let whole = String::from_utf8(mark().json(0).to_vec()).unwrap();
        let text = |from: &str, to: &str| whole.replace(from, to);
        for body in [
            String::new(),
            "{}".to_owned(),
            whole.get(..whole.len() - 1).unwrap().to_owned(),
            format!("{whole}x"),
            format!("{whole}{}x", " ".repeat(200)),
            format!(" {whole}"),
            text("a7a7", "A7A7"),
            text("a7a7", "a7"),
            text("[]", r#"[{"id":"1"}]"#),
            text("keyside_probe", "keyside_probes"),
            format!("KeysideProbe={}&Body=hello", "a".repeat(32)),
            "KeysideProbe=".to_owned(),
            r#"{"object":"whatsapp_business_account","entry":[]}"#.to_owned(),
        ] {
            for size in [5, 1000] {
                let found = ProbeMark::of(&arrived(body.as_bytes(), size));
                assert_eq!(found, None, "{body}");
            }
        }
    }
}
