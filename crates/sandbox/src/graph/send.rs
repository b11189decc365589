//! `/{sender}/messages` and related edges: a message is checked, recorded as sent, and answered
//! with a wamid.

use std::time::SystemTime;

use hyper::body::Incoming;
use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;

use super::call::{Call, read_json};
use super::error::GraphError;
use super::message::{Message, Recipient, check_product};
use crate::ids;
use crate::json::GraphJson;
use crate::magic::Magic;
use crate::store::record::Accepted;

/// The answer of a handler, and the failure on its way out.
pub(crate) struct Handled {
    pub(crate) answer: GraphJson,
    pub(crate) magic: Option<Magic>,
}

impl From<GraphJson> for Handled {
    fn from(answer: GraphJson) -> Self {
        Self {
            answer,
            magic: None,
        }
    }
}

/// `POST /{sender}/messages` and `/marketing_messages`.
pub(crate) async fn message(
    call: &Call<'_>,
    sender: &str,
    edge: &str,
    body: Incoming,
) -> Result<Handled, GraphError> {
    call.require_sender(sender)?;
    let body = read_json(body).await?;
    if edge == "messages" && body.get("status").is_some() {
        return mark_as_read(&body).map(Handled::from);
    }
    let message = Message::new(&body)?;
    if edge == "marketing_messages" && message.kind != "template" {
        return Err(GraphError::wrong_part(
            "only templates can be sent as marketing messages".to_owned(),
        ));
    }
    accept(call, sender, &message, body)
}

/// `POST /{sender}/messages_encrypted`, whose content cannot be checked.
pub(crate) async fn encrypted(
    call: &Call<'_>,
    sender: &str,
    body: Incoming,
) -> Result<Handled, GraphError> {
    call.require_sender(sender)?;
    let body = read_json(body).await?;
    let recipient = body.get("to").and_then(Value::as_str).unwrap_or(sender);
    let message = Message {
        kind: "encrypted".to_owned(),
        recipient: Recipient::Phone {
            input: recipient.to_owned(),
            digits: recipient.to_owned(),
        },
    };
    accept(call, sender, &message, body)
}

/// Marks a message as read, with or without a typing indicator. Such a call is no message and meets
/// no limit.
fn mark_as_read(body: &Value) -> Result<GraphJson, GraphError> {
    check_product(body)?;
    if body.get("status").and_then(Value::as_str) != Some("read") {
        return Err(GraphError::parameter("Param status must be one of {READ}."));
    }
    let id = body.get("message_id").and_then(Value::as_str);
    if !id
        .ok_or_else(|| GraphError::required("message_id"))?
        .starts_with("wamid.")
    {
        return Err(GraphError::invalid(
            "Please check the message ID you have provided.",
        ));
    }
    Ok(GraphJson::success())
}

fn accept(
    call: &Call<'_>,
    sender: &str,
    message: &Message,
    body: Value,
) -> Result<Handled, GraphError> {
    let recipient = message.recipient.id();
    let magic = Magic::of(recipient);
    check_magic(call, magic)?;
    check_rates(call, sender, recipient)?;
    let wamid = ids::wamid(recipient);
    let answer = answer(message, &body, &wamid);
    // A 503 comes from in front of Graph, which never sees the message.
    if magic != Some(Magic::Unavailable) {
        let webhooks = &call.state.webhooks;
        webhooks.report_status(sender, recipient, &wamid, magic);
        let accepted = Accepted {
            sender: sender.to_owned(),
            recipient: message.recipient.input().to_owned(),
            kind: message.kind.clone(),
            wamid,
            token: call.caller.fingerprint.clone(),
            when: SystemTime::now(),
        };
        call.state.records.accept(accepted, body);
    }
    Ok(Handled { answer, magic })
}

/// Refuses a message to a magic recipient whose messages are never accepted.
fn check_magic(call: &Call<'_>, magic: Option<Magic>) -> Result<(), GraphError> {
    let throttled = call.state.rules.throttle_status;
    match magic {
        Some(Magic::InvalidToken) => Err(GraphError::unknown_token()),
        Some(Magic::Throughput) => Err(GraphError::throughput(throttled)),
        Some(Magic::Pair) => Err(GraphError::pair(throttled)),
        Some(Magic::Unknown) => Err(GraphError::unknown()),
        Some(
            Magic::Unavailable
            | Magic::Hang
            | Magic::Reset
            | Magic::Truncated
            | Magic::Slow
            | Magic::FailsLater(_),
        )
        | None => Ok(()),
    }
}

fn check_rates(call: &Call<'_>, sender: &str, recipient: &str) -> Result<(), GraphError> {
    let rules = &call.state.rules;
    let pace = &call.state.pace;
    let now = Instant::now();
    if let Some(rate) = rules.per_sender
        && !pace.take_sender(sender, rate, now)
    {
        return Err(GraphError::throughput(rules.throttle_status));
    }
    if rules.pair_limit && !pace.take_pair(sender, recipient, now) {
        return Err(GraphError::pair(rules.throttle_status));
    }
    Ok(())
}

fn answer(message: &Message, body: &Value, wamid: &str) -> GraphJson {
    let mut contact = Contact {
        input: message.recipient.input(),
        wa_id: None,
        user_id: None,
    };
    let mut group_id = None;
    match &message.recipient {
        Recipient::Phone { digits, .. } => {
            contact.wa_id = Some(digits);
            contact.user_id = body.get("recipient").and_then(Value::as_str);
        }
        Recipient::User(id) => contact.user_id = Some(id),
        Recipient::Group(id) => {
            contact.wa_id = Some(id);
            group_id = Some(id.as_str());
        }
    }
    GraphJson::new(&SendAnswer {
        messaging_product: "whatsapp",
        contacts: [contact],
        messages: [SentMessage {
            id: wamid,
            group_id,
            message_status: (message.kind == "template").then_some("accepted"),
        }],
    })
}

#[derive(Serialize)]
struct SendAnswer<'a> {
    messaging_product: &'a str,
    contacts: [Contact<'a>; 1],
    messages: [SentMessage<'a>; 1],
}

#[derive(Serialize)]
struct Contact<'a> {
    input: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    wa_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
}

#[derive(Serialize)]
struct SentMessage<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    group_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_status: Option<&'a str>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_accepted_message_is_answered_as_recorded() {
        let body =
            json!({"messaging_product": "whatsapp", "to": "13437772910", "text": {"body": "x"}});
        let wamid = "wamid.HBgLMTM0Mzc3NzI5MTAVAgARGBIyQzU4M0Q4MDc2NDY4ODgwNjUA";
        let recorded = r#"{"messaging_product":"whatsapp","contacts":[{"input":"13437772910","wa_id":"13437772910"}],"messages":[{"id":"wamid.HBgLMTM0Mzc3NzI5MTAVAgARGBIyQzU4M0Q4MDc2NDY4ODgwNjUA"}]}"#;
        let message = Message::new(&body).unwrap();
        assert_eq!(answer(&message, &body, wamid).as_str(), recorded);
    }

    #[test]
    fn a_message_is_marked_as_read_only_by_its_wamid() {
        let body =
            |id: &str| json!({"messaging_product": "whatsapp", "status": "read", "message_id": id});
        let read = mark_as_read(&body("wamid.HBg")).unwrap();
        assert_eq!(read.as_str(), r#"{"success":true}"#);
        let refused = mark_as_read(&body("12345")).unwrap_err();
        assert_eq!(refused.message, "(#100) Invalid parameter");
    }
}
