//! The bodies and the signature of Meta's webhooks.

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use serde::Serialize;
use sha2::Sha256;

use crate::clock::unix_time;
use crate::dialect::{EventToSign, HeaderLines};
use crate::ids;
use crate::json::GraphJson;
use crate::store::media::Picture;

/// A change of an account, as `entry[].changes[].value` of a webhook contains it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Change {
    messaging_product: &'static str,
    metadata: Metadata,
    #[serde(flatten)]
    news: News,
}

/// The contents of a change.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
enum News {
    Message {
        contacts: [UserContact; 1],
        messages: [UserMessage; 1],
    },
    Status {
        statuses: [Status; 1],
    },
}

impl Change {
    /// A message that a user wrote to the number `sender`.
    pub(super) fn message(from: &str, sender: &str, content: Content) -> Self {
        let contact = UserContact {
            profile: UserProfile {
                name: "Sandbox User",
            },
            wa_id: from.to_owned(),
            user_id: user_id(from),
        };
        let message = UserMessage {
            from: from.to_owned(),
            from_user_id: user_id(from),
            id: ids::wamid(from),
            timestamp: unix_time().to_string(),
            kind: content.kind(),
            content,
        };
        Self::new(
            sender,
            News::Message {
                contacts: [contact],
                messages: [message],
            },
        )
    }

    /// A status of a message that was sent: `sent`, `delivered` or `read`.
    pub(super) fn status(sender: &str, recipient: &str, wamid: &str, status: &'static str) -> Self {
        let pricing = Pricing {
            billable: true,
            pricing_model: "PMP",
            kind: "regular",
            category: "service",
        };
        let mut status = Status::new(recipient, wamid, status);
        status.pricing = Some(pricing);
        Self::new(sender, News::Status { statuses: [status] })
    }

    /// The failure of a message that was accepted.
    pub(super) fn failed(sender: &str, recipient: &str, wamid: &str, code: i64) -> Self {
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
        let error = StatusError {
            code,
            title,
            message: title,
            error_data: StatusErrorData { details },
            href: "https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes/",
        };
        let mut status = Status::new(recipient, wamid, "failed");
        status.errors = Some([error]);
        Self::new(sender, News::Status { statuses: [status] })
    }

    fn new(sender: &str, news: News) -> Self {
        Self {
            messaging_product: "whatsapp",
            metadata: Metadata {
                display_phone_number: "15550001234",
                phone_number_id: sender.to_owned(),
            },
            news,
        }
    }
}

/// Writes the body of a webhook.
pub(super) fn envelope(changes: &[Change]) -> GraphJson {
    write_envelope(ids::ACCOUNT, changes)
}

fn write_envelope<T: Serialize>(account: &str, values: &[T]) -> GraphJson {
    let changes = values.iter().map(|value| EntryChange {
        value,
        field: "messages",
    });
    GraphJson::new(&Envelope {
        object: "whatsapp_business_account",
        entry: [Entry {
            id: account,
            changes: changes.collect(),
        }],
    })
}

/// Returns the headers of a webhook.
///
/// The signature covers exactly the bytes of the body. Its key is the text of the secret, not the
/// bytes that the hex digits of the secret stand for.
pub(super) fn headers(event: &EventToSign<'_>) -> HeaderLines {
    // HMAC takes keys of any length, so there is always a signature.
    let mac = Hmac::<Sha256>::new_from_slice(event.secret.as_bytes())
        .map(|mac| mac.chain_update(event.body).finalize());
    let digits = mac.map(|mac| HEXLOWER.encode(&mac.into_bytes()));
    vec![
        ("User-Agent", "facebookexternalua".to_owned()),
        ("Accept", "*/*".to_owned()),
        ("Content-Type", "application/json".to_owned()),
        (
            "X-Hub-Signature-256",
            format!("sha256={}", digits.unwrap_or_default()),
        ),
    ]
}

/// Returns the business-scoped user id of a phone number.
fn user_id(phone: &str) -> String {
    format!("US.1349120865530274{phone}")
}

#[derive(Serialize)]
struct Envelope<'a, T> {
    object: &'static str,
    entry: [Entry<'a, T>; 1],
}

#[derive(Serialize)]
struct Entry<'a, T> {
    id: &'a str,
    changes: Vec<EntryChange<'a, T>>,
}

#[derive(Serialize)]
struct EntryChange<'a, T> {
    value: &'a T,
    field: &'static str,
}

#[derive(Clone, Debug, Serialize)]
struct Metadata {
    display_phone_number: &'static str,
    phone_number_id: String,
}

#[derive(Clone, Debug, Serialize)]
struct UserContact {
    profile: UserProfile,
    wa_id: String,
    user_id: String,
}

#[derive(Clone, Debug, Serialize)]
struct UserProfile {
    name: &'static str,
}

#[derive(Clone, Debug, Serialize)]
struct UserMessage {
    from: String,
    from_user_id: String,
    id: String,
    timestamp: String,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(flatten)]
    content: Content,
}

/// The content of a message from a user.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Content {
    /// A text.
    Text {
        /// The text.
        body: String,
    },
    /// A picture.
    Image(Image),
    /// A press on a button, or a choice from a list.
    Interactive(Interactive),
}

impl Content {
    /// A picture that the media host serves.
    pub(super) fn picture(picture: &Picture) -> Self {
        Self::Image(Image {
            caption: "A picture",
            mime_type: "image/png",
            sha256: picture.sha256.clone(),
            id: picture.id.clone(),
            url: picture.url.clone(),
        })
    }

    /// A press on a button of an interactive message.
    pub(super) fn button(id: String, title: String) -> Self {
        Self::Interactive(Interactive {
            kind: "button_reply",
            reply: UserChoice::ButtonReply { id, title },
        })
    }

    /// A choice from the list of an interactive message.
    pub(super) fn list(id: String, title: String) -> Self {
        Self::Interactive(Interactive {
            kind: "list_reply",
            reply: UserChoice::ListReply { id, title },
        })
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Text { .. } => "text",
            Self::Image(_) => "image",
            Self::Interactive(_) => "interactive",
        }
    }
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Image {
    caption: &'static str,
    mime_type: &'static str,
    sha256: String,
    id: String,
    url: String,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Interactive {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(flatten)]
    reply: UserChoice,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum UserChoice {
    ButtonReply { id: String, title: String },
    ListReply { id: String, title: String },
}

#[derive(Clone, Debug, Serialize)]
struct Status {
    id: String,
    status: &'static str,
    timestamp: String,
    recipient_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pricing: Option<Pricing>,
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<[StatusError; 1]>,
}

impl Status {
    fn new(recipient: &str, wamid: &str, status: &'static str) -> Self {
        Self {
            id: wamid.to_owned(),
            status,
            timestamp: unix_time().to_string(),
            recipient_id: recipient.to_owned(),
            pricing: None,
            errors: None,
        }
    }
}

#[derive(Clone, Debug, Serialize)]
struct Pricing {
    billable: bool,
    pricing_model: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    category: &'static str,
}

#[derive(Clone, Debug, Serialize)]
struct StatusError {
    code: i64,
    title: &'static str,
    message: &'static str,
    error_data: StatusErrorData,
    href: &'static str,
}

#[derive(Clone, Debug, Serialize)]
struct StatusErrorData {
    details: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The `value` of the recorded webhook, which has no metadata.
    #[derive(Serialize)]
    struct Recorded {
        messaging_product: &'static str,
        messages: [RecordedMessage; 1],
    }

    #[derive(Serialize)]
    struct RecordedMessage {
        text: RecordedText,
    }

    #[derive(Serialize)]
    struct RecordedText {
        body: &'static str,
    }

    #[test]
    fn a_webhook_is_escaped_and_signed_as_meta_does_it() {
        let recorded = r#"{"object":"whatsapp_business_account","entry":[{"id":"102290129340398","changes":[{"value":{"messaging_product":"whatsapp","messages":[{"text":{"body":"caf\u00e9 a\u0040b.co 50\u0025 \u003C\/x> \ud83d\ude00"}}]},"field":"messages"}]}]}"#;
        let text = RecordedText {
            body: "café a@b.co 50% </x> 😀",
        };
        let value = Recorded {
            messaging_product: "whatsapp",
            messages: [RecordedMessage { text }],
        };
        let body = write_envelope("102290129340398", &[value]);
        assert_eq!(body.as_str(), recorded);
        let event = EventToSign {
            body: recorded.as_bytes(),
            url: "",
            secret: "test_app_secret",
            time: 0,
            nonce: "",
        };
        let (_, signature) = headers(&event).pop().unwrap();
        assert_eq!(
            signature,
            "sha256=489b893a42e2e61e7a7d8bc1f5038f50dfed2511326fe7e7ea94eba980d5ce17"
        );
    }

    #[test]
    fn an_event_has_the_shape_of_the_documentation() {
        let text = Content::Text {
            body: "hi".to_owned(),
        };
        let button = Content::button("yes".to_owned(), "Yes".to_owned());
        for (content, expected) in [
            (text, r#""type":"text","text":{"body":"hi"}"#),
            (
                button,
                r#""interactive":{"type":"button_reply","button_reply":{"id":"yes","title":"Yes"}}"#,
            ),
        ] {
            let change = Change::message("15551234567", "107878721936019", content);
            let body = envelope(&[change]);
            for part in [
                expected,
                r#"{"messaging_product":"whatsapp","metadata":{"display_phone_number":"15550001234","phone_number_id":"107878721936019"},"contacts":["#,
                r#""wa_id":"15551234567""#,
            ] {
                assert!(body.as_str().contains(part), "{part}\n{body:?}");
            }
        }
    }

    #[test]
    fn a_late_failure_has_the_shape_of_the_documentation() {
        let body = envelope(&[Change::failed("1", "2", "wamid.x", 131_047)]);
        for part in [r#""status":"failed""#, r#""errors":[{"code":131047,"#] {
            assert!(body.as_str().contains(part), "{part}\n{body:?}");
        }
    }
}
