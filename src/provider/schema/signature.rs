//! `kind = "hmac"` and `kind = "ed25519"`: a signature over a message that contains the body.

use std::time::Duration;

use super::text::{header_name, header_text, required_header};
use crate::document::{Field, Malformed, Reader};
use crate::provider::webhook::{
    Algorithm, Encoding, KeyForm, List, MessagePart, SchemeKind, Signature, Timestamp,
};
use crate::units;

/// Reads the keys of a signature scheme.
pub(super) fn signature(reader: &mut Reader<'_>, algorithm: Algorithm) -> Option<SchemeKind> {
    let header = required_header(reader);
    let encoding = reader.choice(
        "encoding",
        &[("hex", Encoding::Hex), ("base64", Encoding::Base64)],
    );
    let list = reader
        .choice(
            "list",
            &[("commas", List::Commas), ("spaces", List::Spaces)],
        )
        .unwrap_or(List::Whole);
    let prefix = reader.parse("prefix", header_text).unwrap_or_default();
    let message = reader.field("message");
    let tolerance = reader.field("tolerance");
    let replay = reader.field("replay");
    let signed = message
        .as_ref()
        .and_then(|field| field.parse(message_parts));
    let timestamp = timestamp(reader, list);
    let nonce = reader.parse("nonce", header_name);
    let id = reader.parse("id", header_name);
    let key = reader.choice(
        "key",
        &[("text", KeyForm::Text), ("base64", KeyForm::Base64)],
    );
    let key_prefix = reader.parse("key_prefix", header_text).unwrap_or_default();
    let (usual_encoding, usual_key) = match algorithm {
        Algorithm::Ed25519 => (Encoding::Base64, KeyForm::Base64),
        _ => (Encoding::Hex, KeyForm::Text),
    };
    let mut signature = Signature {
        algorithm,
        header: header?,
        encoding: encoding.unwrap_or(usual_encoding),
        list,
        prefix,
        message: signed.unwrap_or_else(|| vec![MessagePart::Body]),
        timestamp,
        nonce,
        id,
        tolerance: None,
        replay: replay.as_ref().and_then(Field::boolean).unwrap_or(false),
        key: key.unwrap_or(usual_key),
        key_prefix,
    };
    signature.tolerance = match &tolerance {
        // "off" is for a provider that sends an event again with the old time.
        Some(field) => field.parse(units::duration_or_off).flatten(),
        None => has_signed_time(&signature).then_some(DEFAULT_TOLERANCE),
    };
    check_message(&signature, message.as_ref());
    check_tolerance(&signature, tolerance.as_ref());
    check_replay(&signature, replay.as_ref());
    Some(SchemeKind::Signature(signature))
}

/// Returns true if the message has a time that can be compared with the clock.
fn has_signed_time(signature: &Signature) -> bool {
    signature.timestamp.is_some() && signature.message.contains(&MessagePart::Timestamp)
}

fn timestamp(reader: &mut Reader<'_>, list: List) -> Option<Timestamp> {
    let header = reader.parse("timestamp", header_name);
    let part = reader.field("timestamp_part");
    let text = part.as_ref().and_then(|field| field.parse(header_text));
    if let Some(field) = part.filter(|_| list != List::Commas || header.is_some()) {
        field.fault(
            "a part of the value, expected `list = \"commas\"` beside it and no `timestamp`",
        );
    }
    header.map(Timestamp::Header).or(text.map(Timestamp::Part))
}

/// Reports a name in the message that has no place in the request.
fn check_message(signature: &Signature, message: Option<&Field<'_>>) {
    let lacks = |part, is_there: bool| signature.message.contains(&part) && !is_there;
    let is_incomplete = lacks(MessagePart::Timestamp, signature.timestamp.is_some())
        || lacks(MessagePart::Nonce, signature.nonce.is_some())
        || lacks(MessagePart::Id, signature.id.is_some());
    if let Some(field) = message.filter(|_| is_incomplete) {
        field.fault("a name in braces has no place in the request, expected `timestamp`, `nonce` or `id` with its header");
    }
}

/// Reports a tolerance without a signed time. Anybody could change a time that is not signed.
fn check_tolerance(signature: &Signature, tolerance: Option<&Field<'_>>) {
    let Some(field) = tolerance else { return };
    if signature.timestamp.is_none() {
        field.fault(
            "there is no time to compare, expected `timestamp` or `timestamp_part` beside it",
        );
    } else if !signature.message.contains(&MessagePart::Timestamp) {
        field.fault("the time is not signed, expected {timestamp} in `message`");
    }
}

/// Reports a replay check without a signed nonce or id. Anybody could change a nonce that is not
/// signed.
fn check_replay(signature: &Signature, replay: Option<&Field<'_>>) {
    let Some(field) = replay.filter(|_| signature.replay) else {
        return;
    };
    let unique = if signature.nonce.is_some() {
        MessagePart::Nonce
    } else {
        MessagePart::Id
    };
    let has_unique = signature.nonce.is_some() || signature.id.is_some();
    if signature.tolerance.is_none() || !has_unique {
        field.fault(
            "nothing tells a replay apart, expected `tolerance` and `nonce` or `id` beside it",
        );
    } else if !signature.message.contains(&unique) {
        field.fault("the nonce or id is not signed, expected {nonce} or {id} in `message`");
    }
}

/// Reads the text of `message`: literal text and names in braces, with the body exactly once.
fn message_parts(text: &str) -> Result<Vec<MessagePart>, Malformed> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        if !before.is_empty() {
            parts.push(MessagePart::Text(before.to_owned()));
        }
        let (name, after) = after.split_once('}').ok_or(UNKNOWN_NAME)?;
        parts.push(match name {
            "body" => MessagePart::Body,
            "sha256:body" => MessagePart::BodyHash,
            "timestamp" => MessagePart::Timestamp,
            "nonce" => MessagePart::Nonce,
            "id" => MessagePart::Id,
            "url" => MessagePart::Url,
            _ => return Err(UNKNOWN_NAME),
        });
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(MessagePart::Text(rest.to_owned()));
    }
    let bodies = parts
        .iter()
        .filter(|part| matches!(part, MessagePart::Body | MessagePart::BodyHash))
        .count();
    if bodies != 1 {
        return Err(Malformed::new(
            "the body is not in the message exactly once, expected {body} or {sha256:body}",
        ));
    }
    Ok(parts)
}

/// The tolerance of a signed time, unless the definition names one: the value of Standard Webhooks
/// and of most providers' samples.
const DEFAULT_TOLERANCE: Duration = Duration::from_secs(5 * 60);
const UNKNOWN_NAME: Malformed = Malformed::new(
    "an unknown name in braces, expected {body}, {sha256:body}, {timestamp}, {nonce}, {id} or {url}",
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Document, FaultReport};
    use crate::provider::schema::webhook::webhook;
    use crate::provider::secret::{SecretForm, SecretKind, SecretOrigin};

    #[test]
    fn a_message_is_split_and_has_the_body_once() {
        let text = |text: &str| MessagePart::Text(text.to_owned());
        assert_eq!(message_parts("{body}"), Ok(vec![MessagePart::Body]));
        let bird = vec![
            MessagePart::Timestamp,
            text("\n"),
            MessagePart::Url,
            text("\n"),
            MessagePart::BodyHash,
        ];
        assert_eq!(message_parts("{timestamp}\n{url}\n{sha256:body}"), Ok(bird));
        for wrong in [
            "",
            "x",
            "{timestamp}",
            "{body}{body}",
            "{body",
            "{Body}",
            "{body}{}",
            "{body}{sha256:body}",
        ] {
            assert!(message_parts(wrong).is_err(), "{wrong}");
        }
    }

    fn key() -> SecretKind {
        SecretKind {
            name: "key".to_owned(),
            required: false,
            form: SecretForm::Text,
            origin: SecretOrigin::Random,
            text: None,
        }
    }

    #[test]
    fn a_compared_time_or_nonce_must_be_in_the_request_and_signed() {
        for (scheme, expected) in [
            ("", None),
            (
                "tolerance = '5m'",
                Some("tolerance: there is no time to compare"),
            ),
            (
                "timestamp = 'X-Time'\ntolerance = '5m'",
                Some("tolerance: the time is not signed"),
            ),
            (
                "timestamp = 'X-Time'\ntolerance = '5m'\nmessage = '{timestamp}.{body}'",
                None,
            ),
            (
                "message = '{timestamp}.{body}'",
                Some("message: a name in braces has no place"),
            ),
            (
                "nonce = 'X-Nonce'\nreplay = true",
                Some("replay: nothing tells a replay apart"),
            ),
            (
                "timestamp = 'X-Time'\ntolerance = '5m'\nnonce = 'X-Nonce'\nreplay = true\nmessage = '{timestamp}.{body}'",
                Some("replay: the nonce or id is not signed"),
            ),
            (
                "timestamp = 'X-Time'\ntolerance = '5m'\nid = 'X-Id'\nreplay = true\nmessage = '{id}.{timestamp}.{body}'",
                None,
            ),
        ] {
            let text = format!(
                "[[verify]]\nkind = 'hmac'\nsecret = 'key'\nheader = 'X-S'\nalgorithm = 'sha256'\n{scheme}"
            );
            let report = FaultReport::default();
            let document = Document::parse(&text, "f", &report).unwrap();
            webhook(Reader::new(&document, &report), &[key()]);
            let (faults, _) = report.into_parts();
            let faults: Vec<_> = faults
                .iter()
                .map(|fault| format!("{}: {}", fault.key, fault.message))
                .collect();
            assert_eq!(
                faults.len(),
                usize::from(expected.is_some()),
                "{scheme}: {faults:?}"
            );
            let begin = expected
                .map(|expected| format!("verify.{expected}"))
                .unwrap_or_default();
            assert!(
                faults.iter().all(|fault| fault.starts_with(&begin)),
                "{scheme}: {faults:?}"
            );
        }
    }
}
