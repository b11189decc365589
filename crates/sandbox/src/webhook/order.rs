//! Orders of tests: messages from users, their number and rate, and irregularities of the delivery.

use std::fmt;
use std::num::NonZeroU32;

use serde::Deserialize;

use super::event::{Change, Content, envelope};
use crate::dialect::EventSigning;
use crate::ids::SENDER;
use crate::store::media::Picture;

/// An order for events, as `POST /_sandbox/events` takes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Order {
    /// `text`, `image`, `button` or `list`.
    #[serde(rename = "type")]
    kind: OrderKind,
    /// The phone number of the user.
    from: String,
    /// The phone number id that the user writes to.
    to: String,
    /// The text, or the title of a reply; `{n}` is replaced by the number of the message.
    text: String,
    /// A whole body, sent with `{n}` replaced and no other change.
    body: Option<String>,
    /// The number of messages.
    pub(super) count: u32,
    /// The messages in one webhook; Meta puts up to 1,000 into one.
    pub(super) batch: usize,
    /// The webhooks per second; without a rate all go at once.
    pub(super) rate: Option<NonZeroU32>,
    /// True if each webhook is sent twice.
    pub(super) duplicate: bool,
    /// True if the webhooks come in a different order than the messages.
    pub(super) shuffle: bool,
    /// True if the signature is made with a secret that no app has.
    pub(super) forged: bool,
    /// The picture of an order of type `image`.
    #[serde(skip)]
    pub(crate) picture: Option<Picture>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum OrderKind {
    Text,
    Image,
    Button,
    List,
}

impl Default for Order {
    fn default() -> Self {
        Self {
            kind: OrderKind::Text,
            from: "15551234567".to_owned(),
            to: SENDER.to_owned(),
            text: "Hello".to_owned(),
            body: None,
            count: 1,
            batch: 1,
            rate: None,
            duplicate: false,
            shuffle: false,
            forged: false,
            picture: None,
        }
    }
}

impl Order {
    /// An order for one text message.
    pub(crate) fn text(from: &str, text: &str) -> Self {
        Self {
            from: from.to_owned(),
            text: text.to_owned(),
            ..Self::default()
        }
    }

    /// The order, signed with a secret that no app has.
    pub(crate) fn forged(self) -> Self {
        Self {
            forged: true,
            ..self
        }
    }

    /// The order, with `count` messages at `rate` per second.
    pub(crate) fn repeated(self, count: u32, rate: NonZeroU32) -> Self {
        Self {
            count,
            rate: Some(rate),
            ..self
        }
    }

    /// Reads an order in JSON.
    ///
    /// # Errors
    /// The JSON is no order, or a number is out of bounds.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, OrderError> {
        let order: Self = serde_json::from_slice(json).map_err(OrderError::Json)?;
        if order.count > MAX_COUNT || !(1..=MAX_BATCH).contains(&order.batch) {
            return Err(OrderError::Bounds);
        }
        Ok(order)
    }

    /// Returns true if the users of every provider can send the messages, not only Meta's users.
    pub(crate) fn is_plain(&self) -> bool {
        self.body.is_some() || self.kind == OrderKind::Text
    }

    /// Returns true if the messages contain a picture, which must be stored first.
    pub(crate) fn needs_picture(&self) -> bool {
        self.kind == OrderKind::Image
    }

    /// Makes the bodies of the webhooks for these messages.
    ///
    /// Meta puts all messages into one webhook; other providers send one webhook per message.
    pub(super) fn bodies(&self, numbers: &[u32], signing: Option<&EventSigning>) -> Vec<Vec<u8>> {
        let numbers = numbers.iter().copied();
        match (&self.body, signing) {
            (Some(body), _) => numbers
                .map(|number| numbered(body, number).into_bytes())
                .collect(),
            (None, Some(signing)) => numbers
                .map(|number| signing.body(&self.from, &self.to, &numbered(&self.text, number)))
                .collect(),
            (None, None) => {
                let changes: Vec<_> = numbers.map(|number| self.change(number)).collect();
                vec![envelope(&changes).into_bytes()]
            }
        }
    }

    fn change(&self, number: u32) -> Change {
        let text = numbered(&self.text, number);
        let content = match (self.kind, &self.picture) {
            (OrderKind::Image, Some(picture)) => Content::picture(picture),
            (OrderKind::Button, _) => Content::button(format!("button-{number}"), text),
            (OrderKind::List, _) => Content::list(format!("row-{number}"), text),
            (OrderKind::Text | OrderKind::Image, _) => Content::Text { body: text },
        };
        Change::message(&self.from, &self.to, content)
    }
}

/// Replaces `{n}` by the number of a message.
fn numbered(text: &str, number: u32) -> String {
    text.replace("{n}", &number.to_string())
}

/// The reason for refusing an order.
#[derive(Debug)]
pub(crate) enum OrderError {
    /// The JSON is no order.
    Json(serde_json::Error),
    /// The count or the batch is out of bounds.
    Bounds,
}

impl fmt::Display for OrderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(error) => write!(f, "the body is no order for events: {error}"),
            Self::Bounds => write!(
                f,
                "expected a count of at most {MAX_COUNT}, and a batch of 1 to {MAX_BATCH}"
            ),
        }
    }
}

impl std::error::Error for OrderError {}

/// The messages of one order: enough for a load test.
const MAX_COUNT: u32 = 100_000;

/// The messages of one webhook, from Meta's documentation.
const MAX_BATCH: usize = 1000;
