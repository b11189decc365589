//! `/{sender}/messages` and its two sisters: checks a message, records it as sent, answers with a wamid.

use std::time::SystemTime;

use hyper::body::Incoming;
use serde_json::Value;
use tokio::time::Instant;

use super::call::{self, Call};
use super::error::GraphError;
use super::ids;
use super::json::{Json, object, success};
use super::magic::Magic;
use super::message::{Message, Recipient, check_product};
use super::record::Accepted;

/// What a send came to: an answer, and whether it is to go wrong on the way.
pub(super) struct Sent {
    pub(super) answer: Json,
    pub(super) magic: Option<Magic>,
}

impl From<Json> for Sent {
    fn from(answer: Json) -> Sent {
        Sent { answer, magic: None }
    }
}

/// `POST /{sender}/messages` and `/marketing_messages`.
pub(super) async fn message(call: &Call<'_>, sender: &str, edge: &str, body: Incoming) -> Result<Sent, GraphError> {
    call.needs_sender(sender)?;
    let body = call::json(body).await?;
    if edge == "messages" && body.get("status").is_some() {
        return receipt(&body).map(Sent::from);
    }
    let message = Message::new(&body)?;
    if edge == "marketing_messages" && message.kind != "template" {
        return Err(GraphError::wrong_part("only templates can be sent as marketing messages".to_owned()));
    }
    deliver(call, sender, &message, body)
}

/// `POST /{sender}/messages_encrypted`: what is inside cannot be seen.
pub(super) async fn encrypted(call: &Call<'_>, sender: &str, body: Incoming) -> Result<Sent, GraphError> {
    call.needs_sender(sender)?;
    let body = call::json(body).await?;
    let digits = body.get("to").and_then(Value::as_str).unwrap_or(sender).to_owned();
    let recipient = Recipient::Phone { input: digits.clone(), digits };
    let message = Message { kind: "encrypted".to_owned(), recipient };
    deliver(call, sender, &message, body)
}

/// Marks a message as read, with or without a typing indicator. It is no message and meets no limit.
fn receipt(body: &Value) -> Result<Json, GraphError> {
    check_product(body)?;
    if body.get("status").and_then(Value::as_str) != Some("read") {
        return Err(GraphError::parameter("Param status must be one of {READ}."));
    }
    let id = body.get("message_id").and_then(Value::as_str).ok_or_else(|| GraphError::required("message_id"))?;
    if !id.starts_with("wamid.") {
        return Err(GraphError::invalid("Please check the message ID you have provided."));
    }
    Ok(success())
}

fn deliver(call: &Call<'_>, sender: &str, message: &Message, body: Value) -> Result<Sent, GraphError> {
    let recipient = message.recipient.id();
    let magic = Magic::of(recipient);
    refuse(call, sender, recipient, magic)?;
    let wamid = ids::wamid(recipient);
    let answer = answer(message, &body, &wamid);
    let send = Accepted {
        sender: sender.to_owned(),
        recipient: message.recipient.input().to_owned(),
        kind: message.kind.clone(),
        wamid,
        token: call.caller.fingerprint.clone(),
        when: SystemTime::now(),
    };
    if magic != Some(Magic::Unavailable) {
        call.state.webhooks.report(sender, recipient, &send.wamid, magic);
        call.state.records.accept(send, body);
    }
    Ok(Sent { answer, magic })
}

fn refuse(call: &Call<'_>, sender: &str, recipient: &str, magic: Option<Magic>) -> Result<(), GraphError> {
    let rules = &call.state.rules;
    match magic {
        Some(Magic::InvalidToken) => return Err(GraphError::unknown_token()),
        Some(Magic::Throughput) => return Err(GraphError::throughput(rules.throttle_status)),
        Some(Magic::Pair) => return Err(GraphError::pair(rules.throttle_status)),
        Some(Magic::Unknown) => return Err(GraphError::unknown()),
        Some(
            Magic::Unavailable | Magic::Hang | Magic::Reset | Magic::Truncated | Magic::Slow | Magic::FailsLater(_),
        )
        | None => {}
    }
    let now = Instant::now();
    if rules.per_sender.is_some_and(|rate| !call.state.pace.sender_may(sender, rate, now)) {
        return Err(GraphError::throughput(rules.throttle_status));
    }
    if rules.pair_limit && !call.state.pace.pair_may(sender, recipient, now) {
        return Err(GraphError::pair(rules.throttle_status));
    }
    Ok(())
}

fn answer(message: &Message, body: &Value, wamid: &str) -> Json {
    let contact = match &message.recipient {
        Recipient::Phone { input, digits } => {
            let contact = object([("input", input.as_str().into()), ("wa_id", digits.as_str().into())]);
            match body.get("recipient").and_then(Value::as_str) {
                Some(user) => contact.with("user_id", user),
                None => contact,
            }
        }
        Recipient::User(id) => object([("input", id.as_str().into()), ("user_id", id.as_str().into())]),
        Recipient::Group(id) => object([("input", id.as_str().into()), ("wa_id", id.as_str().into())]),
    };
    let mut sent = object([("id", wamid.into())]);
    if let Recipient::Group(id) = &message.recipient {
        sent = sent.with("group_id", id.as_str());
    }
    if message.kind == "template" {
        sent = sent.with("message_status", "accepted");
    }
    object([
        ("messaging_product", "whatsapp".into()),
        ("contacts", vec![contact].into()),
        ("messages", vec![sent].into()),
    ])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_accepted_message_is_answered_as_recorded() {
        let body = json!({"messaging_product": "whatsapp", "to": "13437772910", "text": {"body": "x"}});
        let wamid = "wamid.HBgLMTM0Mzc3NzI5MTAVAgARGBIyQzU4M0Q4MDc2NDY4ODgwNjUA";
        let recorded = r#"{"messaging_product":"whatsapp","contacts":[{"input":"13437772910","wa_id":"13437772910"}],"messages":[{"id":"wamid.HBgLMTM0Mzc3NzI5MTAVAgARGBIyQzU4M0Q4MDc2NDY4ODgwNjUA"}]}"#;
        assert_eq!(answer(&Message::new(&body).unwrap(), &body, wamid).graph(), recorded);
    }

    #[test]
    fn reading_is_confirmed_and_a_wrong_id_is_not() {
        let body = |id: &str| json!({"messaging_product": "whatsapp", "status": "read", "message_id": id});
        assert_eq!(receipt(&body("wamid.HBg")).unwrap().graph(), r#"{"success":true}"#);
        assert_eq!(receipt(&body("12345")).unwrap_err().message, "(#100) Invalid parameter");
    }
}
