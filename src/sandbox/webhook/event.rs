//! What a webhook says, and how it is signed.

use std::time::SystemTime;

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::sandbox::dialect::{Event, Lines};
use crate::sandbox::ids;
use crate::sandbox::json::{Json, object};
use crate::sandbox::state::ACCOUNT;

/// One change of an account, as an entry of a webhook lists it.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::sandbox) struct Change {
    value: Json,
}

/// A message of a user's, ready to be put into a [`Change`].
#[derive(Clone, Debug)]
pub(in crate::sandbox) struct Inbound {
    /// Who wrote it.
    pub(in crate::sandbox) from: String,
    /// The number that it was written to.
    pub(in crate::sandbox) sender: String,
    /// What it is.
    pub(in crate::sandbox) kind: Kind,
}

/// What a user can send.
#[derive(Clone, Debug)]
pub(in crate::sandbox) enum Kind {
    /// Text.
    Text(String),
    /// A picture that the media endpoints have under this id.
    Image { id: String, sha256: String, url: String },
    /// A button of an interactive message was pressed.
    Button { id: String, title: String },
    /// An entry of a list was chosen.
    List { id: String, title: String },
}

impl Change {
    /// A message of a user's.
    pub(in crate::sandbox) fn message(inbound: &Inbound) -> Change {
        let from = inbound.from.as_str();
        let (name, content) = inbound.kind.content();
        let message = object([
            ("from", from.into()),
            ("from_user_id", user_id(from).into()),
            ("id", ids::wamid(from).into()),
            ("timestamp", now().into()),
            ("type", name.into()),
        ])
        .with(name, content);
        let profile = object([("name", "Sandbox User".into())]);
        let contact = object([("profile", profile), ("wa_id", from.into()), ("user_id", user_id(from).into())]);
        Change { value: value(&inbound.sender).with("contacts", vec![contact]).with("messages", vec![message]) }
    }

    /// How a message fares.
    pub(in crate::sandbox) fn status(sender: &str, recipient: &str, wamid: &str, status: &'static str) -> Change {
        let pricing = object([
            ("billable", Json::Bool(true)),
            ("pricing_model", "PMP".into()),
            ("type", "regular".into()),
            ("category", "service".into()),
        ]);
        let entry = status_entry(recipient, wamid, status).with("pricing", pricing);
        Change { value: value(sender).with("statuses", vec![entry]) }
    }

    /// A message that was accepted and then failed.
    pub(in crate::sandbox) fn failed(sender: &str, recipient: &str, wamid: &str, code: i64) -> Change {
        let (title, details) = match code {
            131_026 => ("Message undeliverable", "Message Undeliverable."),
            131_047 => (
                "Re-engagement message",
                "Message failed to send because more than 24 hours have passed since the customer last replied to this number.",
            ),
            _ => (
                "This message was not delivered to maintain healthy ecosystem engagement.",
                "In order to maintain a healthy ecosystem engagement, the message failed to be delivered.",
            ),
        };
        let error = object([
            ("code", code.into()),
            ("title", title.into()),
            ("message", title.into()),
            ("error_data", object([("details", details.into())])),
            ("href", "https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes/".into()),
        ]);
        let entry = status_entry(recipient, wamid, "failed").with("errors", vec![error]);
        Change { value: value(sender).with("statuses", vec![entry]) }
    }
}

impl Kind {
    fn content(&self) -> (&'static str, Json) {
        match self {
            Kind::Text(text) => ("text", object([("body", text.as_str().into())])),
            Kind::Image { id, sha256, url } => (
                "image",
                object([
                    ("caption", "A picture".into()),
                    ("mime_type", "image/png".into()),
                    ("sha256", sha256.as_str().into()),
                    ("id", id.as_str().into()),
                    ("url", url.as_str().into()),
                ]),
            ),
            Kind::Button { id, title } => ("interactive", reply("button_reply", id, title)),
            Kind::List { id, title } => ("interactive", reply("list_reply", id, title)),
        }
    }
}

fn reply(kind: &'static str, id: &str, title: &str) -> Json {
    object([("type", kind.into())]).with(kind, object([("id", id.into()), ("title", title.into())]))
}

fn status_entry(recipient: &str, wamid: &str, status: &'static str) -> Json {
    object([
        ("id", wamid.into()),
        ("status", status.into()),
        ("timestamp", now().into()),
        ("recipient_id", recipient.into()),
    ])
}

fn value(sender: &str) -> Json {
    let metadata = object([("display_phone_number", "15550001234".into()), ("phone_number_id", sender.into())]);
    object([("messaging_product", "whatsapp".into()), ("metadata", metadata)])
}

/// The whole of a webhook.
pub(super) fn envelope(changes: &[Change]) -> Json {
    let changes = changes.iter().map(|change| object([("value", change.value.clone()), ("field", "messages".into())]));
    let entry = object([("id", ACCOUNT.into()), ("changes", Json::List(changes.collect()))]);
    object([("object", "whatsapp_business_account".into()), ("entry", vec![entry].into())])
}

/// The headers of a webhook: the signature is over exactly the bytes that are sent, and its key is the text of the
/// secret, not the bytes that its digits stand for.
pub(super) fn headers(event: &Event<'_>) -> Lines {
    let mac = Hmac::<Sha256>::new_from_slice(event.secret.as_bytes());
    let mac = mac.map(|mac| mac.chain_update(event.body).finalize());
    let digits = mac.map(|mac| HEXLOWER.encode(&mac.into_bytes())).unwrap_or_default();
    vec![
        ("User-Agent", "facebookexternalua".to_owned()),
        ("Accept", "*/*".to_owned()),
        ("Content-Type", "application/json".to_owned()),
        ("X-Hub-Signature-256", format!("sha256={digits}")),
    ]
}

/// A business-scoped user id: the same for the same phone.
fn user_id(phone: &str) -> String {
    format!("US.{}{}", "1349120865530274", phone)
}

fn now() -> String {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_is_escaped_and_signed_as_meta_does_it() {
        let text = r#"{"object":"whatsapp_business_account","entry":[{"id":"102290129340398","changes":[{"value":{"messaging_product":"whatsapp","messages":[{"text":{"body":"caf\u00e9 a\u0040b.co 50\u0025 \u003C\/x> \ud83d\ude00"}}]},"field":"messages"}]}]}"#;
        let message = object([("text", object([("body", "café a@b.co 50% </x> 😀".into())]))]);
        let value = object([("messaging_product", "whatsapp".into()), ("messages", vec![message].into())]);
        let body = envelope(&[Change { value }]).graph().replace(ACCOUNT, "102290129340398");
        assert_eq!(body, text);
        let event = Event { body: body.as_bytes(), url: "", secret: "test_app_secret", time: 0, nonce: "" };
        let signed = headers(&event).pop().unwrap();
        assert_eq!(signed.1, "sha256=489b893a42e2e61e7a7d8bc1f5038f50dfed2511326fe7e7ea94eba980d5ce17");
    }

    #[test]
    fn an_event_has_the_shape_of_the_documentation() {
        let kinds = [
            (Kind::Text("hi".to_owned()), r#""text":{"body":"hi"}"#),
            (
                Kind::Button { id: "yes".to_owned(), title: "Yes".to_owned() },
                r#""interactive":{"type":"button_reply","button_reply":{"id":"yes","title":"Yes"}}"#,
            ),
        ];
        for (kind, expected) in kinds {
            let inbound = Inbound { from: "15551234567".to_owned(), sender: "107878721936019".to_owned(), kind };
            let body = envelope(&[Change::message(&inbound)]).plain();
            for part in [
                expected,
                r#""metadata":{"display_phone_number":"15550001234","phone_number_id":"107878721936019"}"#,
                r#""wa_id":"15551234567""#,
            ] {
                assert!(body.contains(part), "{part}\n{body}");
            }
        }
        let failed = envelope(&[Change::failed("1", "2", "wamid.x", 131_047)]).plain();
        assert!(failed.contains(r#""status":"failed""#) && failed.contains(r#""code":131047"#), "{failed}");
    }
}
