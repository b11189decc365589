//! Validation of messages, as Graph does it before acceptance.

use serde_json::Value;

use super::error::GraphError;

/// A valid message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// The type, in lower case.
    pub(crate) kind: String,
    /// The recipient.
    pub(crate) recipient: Recipient,
}

/// The recipient of a message. In a request, `to` wins over `recipient`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Recipient {
    /// A phone number.
    Phone {
        /// The number as the request spells it.
        input: String,
        /// The digits of the number.
        digits: String,
    },
    /// A business-scoped user id.
    User(String),
    /// A group.
    Group(String),
}

impl Recipient {
    /// Returns the recipient as the request spells it.
    pub(crate) fn input(&self) -> &str {
        match self {
            Self::Phone { input, .. } => input,
            Self::User(id) | Self::Group(id) => id,
        }
    }

    /// Returns the recipient in the form that limits and wamids use.
    pub(crate) fn id(&self) -> &str {
        match self {
            Self::Phone { digits, .. } => digits,
            Self::User(id) | Self::Group(id) => id,
        }
    }
}

impl Message {
    /// Validates the body of a request.
    pub(crate) fn new(body: &Value) -> Result<Self, GraphError> {
        check_product(body)?;
        let recipient = parse_recipient(body)?;
        let kind = body
            .get("type")
            .map_or(Ok("text"), |kind| {
                kind.as_str().ok_or_else(|| unknown_type(kind))
            })?
            .to_ascii_lowercase();
        check_payload(&kind, body)?;
        Ok(Self { kind, recipient })
    }
}

/// Refuses a body without `"messaging_product":"whatsapp"`, which every messaging call has.
pub(crate) fn check_product(body: &Value) -> Result<(), GraphError> {
    match body.get("messaging_product") {
        None => Err(GraphError::required("messaging_product")),
        Some(Value::String(product)) if product.eq_ignore_ascii_case("whatsapp") => Ok(()),
        Some(other) => Err(GraphError::parameter(format!(
            "Param messaging_product must be one of {{WHATSAPP}} - got {other}."
        ))),
    }
}

fn parse_recipient(body: &Value) -> Result<Recipient, GraphError> {
    let input = match body.get("to") {
        Some(Value::String(to)) if !to.is_empty() => to.clone(),
        Some(Value::Number(to)) => to.to_string(),
        _ => return parse_user(body),
    };
    if body.get("recipient_type").and_then(Value::as_str) == Some("group") {
        return Ok(Recipient::Group(input));
    }
    let digits: String = input.chars().filter(char::is_ascii_digit).collect();
    let writing = |character: char| character.is_ascii_digit() || "+-(). ".contains(character);
    if digits.is_empty() || digits.len() > MAX_DIGITS || !input.chars().all(writing) {
        return Err(GraphError::parameter(
            "Param to must be a valid WhatsApp ID or phone number.",
        ));
    }
    Ok(Recipient::Phone { input, digits })
}

/// Reads a business-scoped user id: a country code in capitals, a dot, and letters, digits and
/// dots.
fn parse_user(body: &Value) -> Result<Recipient, GraphError> {
    let Some(id) = body.get("recipient").and_then(Value::as_str) else {
        return Err(GraphError::required("to"));
    };
    let valid = id.split_once('.').is_some_and(|(country, user)| {
        country.len() == 2
            && country.bytes().all(|byte| byte.is_ascii_uppercase())
            && (1..=MAX_USER).contains(&user.len())
            && user
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'.')
    });
    if valid {
        Ok(Recipient::User(id.to_owned()))
    } else {
        Err(GraphError::wrong_part(format!("Invalid recipient {id}")))
    }
}

fn check_payload(kind: &str, body: &Value) -> Result<(), GraphError> {
    if !KINDS.contains(&kind) {
        return Err(unknown_type(&Value::from(kind)));
    }
    let payload = body
        .get(kind)
        .filter(|payload| !payload.is_null())
        .ok_or_else(|| GraphError::required(kind))?;
    match kind {
        "text" => check_text(payload),
        "template" => {
            need_text(kind, payload, "name")?;
            let language = payload
                .get("language")
                .ok_or_else(|| GraphError::required("template['language']"))?;
            need_text("template['language']", language, "code")
        }
        "image" | "audio" | "video" | "document" | "sticker" => check_media(kind, payload),
        "interactive" => check_interactive(payload),
        "location" => {
            need_number(payload, "latitude")?;
            need_number(payload, "longitude")
        }
        "contacts" => check_contacts(payload),
        "reaction" => need_text(kind, payload, "message_id"),
        _ => Ok(()),
    }
}

fn check_text(text: &Value) -> Result<(), GraphError> {
    need_text("text", text, "body")?;
    let length = text
        .get("body")
        .and_then(Value::as_str)
        .map_or(0, |body| body.chars().count());
    if length > MAX_TEXT {
        let message = format!("Param text['body'] must be at most {MAX_TEXT} characters long.");
        return Err(GraphError::parameter(message));
    }
    Ok(())
}

fn check_media(kind: &str, media: &Value) -> Result<(), GraphError> {
    let has = |key| {
        media
            .get(key)
            .is_some_and(|value| value.as_str().is_some_and(|text| !text.is_empty()))
    };
    match (has("id"), has("link")) {
        (true, false) => Ok(()),
        (false, true) => check_link(kind, media),
        (true, true) => Err(GraphError::wrong_part(format!(
            "{kind}: only one of 'id' and 'link' can be given"
        ))),
        (false, false) => Err(GraphError::missing_part(format!(
            "{kind}: one of 'id' and 'link' must be given"
        ))),
    }
}

fn check_link(kind: &str, media: &Value) -> Result<(), GraphError> {
    let link = media
        .get("link")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if link.starts_with("https://") || link.starts_with("http://") {
        return Ok(());
    }
    Err(GraphError::parameter(format!(
        "Param {kind}['link'] is not a valid URI."
    )))
}

fn check_interactive(interactive: &Value) -> Result<(), GraphError> {
    need_text("interactive", interactive, "type")?;
    if interactive.get("action").is_some_and(Value::is_object) {
        return Ok(());
    }
    Err(GraphError::required("interactive['action']"))
}

fn check_contacts(contacts: &Value) -> Result<(), GraphError> {
    let contacts = contacts
        .as_array()
        .filter(|contacts| !contacts.is_empty())
        .ok_or_else(|| GraphError::parameter("Param contacts must be a non-empty array."))?;
    let named = |contact: &Value| {
        contact
            .pointer("/name/formatted_name")
            .is_some_and(Value::is_string)
    };
    match contacts.iter().position(|contact| !named(contact)) {
        Some(index) => Err(GraphError::required(&format!(
            "contacts[{index}]['name']['formatted_name']"
        ))),
        None => Ok(()),
    }
}

fn need_text(of: &str, object: &Value, key: &str) -> Result<(), GraphError> {
    match object.get(key).and_then(Value::as_str) {
        Some(text) if !text.is_empty() => Ok(()),
        _ => Err(GraphError::required(&format!("{of}['{key}']"))),
    }
}

/// Refuses anything but a number, or a string with a number.
fn need_number(location: &Value, key: &str) -> Result<(), GraphError> {
    let value = location
        .get(key)
        .ok_or_else(|| GraphError::required(&format!("location['{key}']")))?;
    let reads = value
        .as_str()
        .is_some_and(|text| text.parse::<f64>().is_ok());
    if value.is_number() || reads {
        Ok(())
    } else {
        Err(GraphError::wrong_part(format!("location: invalid {key}")))
    }
}

fn unknown_type(kind: &Value) -> GraphError {
    let known = KINDS.map(str::to_ascii_uppercase).join(", ");
    GraphError::parameter(format!(
        "Param type must be one of {{{known}}} - got {kind}."
    ))
}

/// The digits of the longest phone number: 15 by E.164, and room for an international prefix.
const MAX_DIGITS: usize = 20;

/// The longest business-scoped user id after the country code: a group prefix and 128 characters.
const MAX_USER: usize = 135;

/// The longest text in characters, from Meta's documentation.
const MAX_TEXT: usize = 4096;

/// The types of messages, in the order in which Graph's error lists them.
const KINDS: [&str; 12] = [
    "audio",
    "contacts",
    "document",
    "image",
    "interactive",
    "location",
    "pin",
    "reaction",
    "sticker",
    "template",
    "text",
    "video",
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn with(mut rest: Value) -> Value {
        rest["messaging_product"] = json!("whatsapp");
        rest["to"] = json!("+1 (555) 012-3456");
        rest
    }

    fn refusal(body: &Value) -> (i64, String) {
        let error = Message::new(body).unwrap_err();
        (error.code, error.message)
    }

    #[test]
    fn every_kind_of_message_that_the_sdks_send_is_accepted() {
        let bodies = [
            json!({"text": {"body": "hello"}}),
            json!({"type": "template", "template": {"name": "hello_world", "language": {"code": "en_US"}}}),
            json!({"type": "image", "image": {"id": "1"}}),
            json!({"type": "document", "document": {"link": "https://example.com/a.pdf"}}),
            json!({"type": "interactive", "interactive": {"type": "button", "body": {"text": "?"}, "action": {}}}),
            json!({"type": "location", "location": {"latitude": 1.5, "longitude": "2.5"}}),
            json!({"type": "contacts", "contacts": [{"name": {"formatted_name": "A"}}]}),
            json!({"type": "reaction", "reaction": {"message_id": "wamid.1", "emoji": ""}}),
        ];
        for body in bodies {
            assert!(Message::new(&with(body.clone())).is_ok(), "{body}");
        }
    }

    #[test]
    fn an_error_names_the_missing_part() {
        let required = |name: &str| (100, format!("(#100) The parameter {name} is required."));
        assert_eq!(refusal(&json!({})), required("messaging_product"));
        assert_eq!(
            refusal(&json!({"messaging_product": "whatsapp"})),
            required("to")
        );
        assert_eq!(refusal(&with(json!({"type": "image"}))), required("image"));
        assert_eq!(
            refusal(&with(json!({"text": {}}))),
            required("text['body']")
        );
        assert_eq!(
            refusal(&with(json!({"type": "image", "image": {}}))).0,
            131_008
        );
        assert_eq!(refusal(&with(json!({"type": "smoke", "smoke": {}}))).0, 100);
    }

    #[test]
    fn a_text_has_at_most_4096_characters() {
        let body = with(json!({"text": {"body": "x".repeat(4097)}}));
        assert_eq!(
            refusal(&body).1,
            "(#100) Param text['body'] must be at most 4096 characters long."
        );
    }

    #[test]
    fn a_recipient_is_a_number_a_user_or_a_group() {
        let id = |body: Value| Message::new(&body).map(|message| message.recipient);
        let text = json!({"messaging_product": "whatsapp", "text": {"body": "x"}});
        let merged = |key: &str, value: Value| {
            let mut body = text.clone();
            body[key] = value;
            body
        };
        let phone = Recipient::Phone {
            input: "56789".into(),
            digits: "56789".into(),
        };
        assert_eq!(id(merged("to", json!(56789))).unwrap(), phone);
        let user = "US.13491208655302741918";
        assert_eq!(
            id(merged("recipient", json!(user))).unwrap(),
            Recipient::User(user.into())
        );
        assert!(id(merged("recipient", json!("nobody"))).is_err());
        assert!(id(merged("to", json!("me"))).is_err());
    }
}
