//! What a test orders: messages of users, how many, how fast, and what is to be odd about them.

use std::num::NonZeroU32;

use serde::Deserialize;

use super::event::{Change, Inbound, Kind, envelope};
use crate::sandbox::dialect::Webhook;
use crate::sandbox::state::SENDER;

/// An order for events.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::sandbox) struct Order {
    /// `text`, `image`, `button` or `list`.
    #[serde(rename = "type")]
    pub(super) kind: Type,
    /// Who writes.
    pub(super) from: String,
    /// The phone number id that is written to.
    pub(super) to: String,
    /// The text, or the title of a reply; `{n}` stands for the number of the event.
    pub(super) text: String,
    /// The whole body, in the place of one that is made up; `{n}` as in the text.
    pub(super) body: Option<String>,
    /// How many messages.
    pub(super) count: u32,
    /// How many of them in one webhook; Meta puts up to 1,000 into one.
    pub(super) batch: usize,
    /// How many webhooks a second; all at once without.
    pub(super) rate: Option<NonZeroU32>,
    /// Whether each webhook is sent twice.
    pub(super) duplicate: bool,
    /// Whether they come in another order than the messages were written in.
    pub(super) shuffle: bool,
    /// Whether they are signed with a secret that is no app's. Forgers do not try again.
    pub(super) forged: bool,
    /// The picture of an `image`.
    #[serde(skip)]
    pub(in crate::sandbox) image: Option<(String, String, String)>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Type {
    Text,
    Image,
    Button,
    List,
}

impl Default for Order {
    fn default() -> Order {
        Order {
            kind: Type::Text,
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
            image: None,
        }
    }
}

impl Order {
    /// A text.
    pub(in crate::sandbox) fn text(from: &str, text: &str) -> Order {
        Order { from: from.to_owned(), text: text.to_owned(), ..Order::default() }
    }

    /// The same, signed by somebody else.
    pub(in crate::sandbox) fn forged(self) -> Order {
        Order { forged: true, ..self }
    }

    /// So many of them, so many a second.
    pub(in crate::sandbox) fn repeated(self, count: u32, rate: NonZeroU32) -> Order {
        Order { count, rate: Some(rate), ..self }
    }

    /// From JSON; what is beyond the bounds is refused in words.
    pub(in crate::sandbox) fn parse(json: &[u8]) -> Result<Order, String> {
        let order: Order = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        if order.count > 100_000 || !(1..=1000).contains(&order.batch) {
            return Err("expected a count of at most 100000, and a batch of 1 to 1000".to_owned());
        }
        Ok(order)
    }

    /// Whether it is one that any provider's user can send.
    pub(in crate::sandbox) fn is_plain(&self) -> bool {
        self.body.is_some() || self.kind == Type::Text
    }

    /// Whether a picture has to be there.
    pub(in crate::sandbox) fn needs_image(&self) -> bool {
        self.kind == Type::Image
    }

    /// The bodies of these events: of Meta's one with all of them, else one for each.
    pub(super) fn bodies(&self, numbers: &[u32], webhook: Option<&Webhook>) -> Vec<Vec<u8>> {
        let numbered = |text: &str, number: &u32| text.replace("{n}", &number.to_string());
        match (&self.body, webhook) {
            (Some(body), _) => numbers.iter().map(|number| numbered(body, number).into_bytes()).collect(),
            (None, Some(webhook)) => {
                let body = |number| webhook.body(&self.from, &self.to, &numbered(&self.text, number));
                numbers.iter().map(body).collect()
            }
            (None, None) => {
                let changes: Vec<_> = numbers.iter().map(|number| self.change(*number)).collect();
                vec![envelope(&changes).graph().into_bytes()]
            }
        }
    }

    fn change(&self, number: u32) -> Change {
        let text = self.text.replace("{n}", &number.to_string());
        let kind = match (self.kind, &self.image) {
            (Type::Image, Some((id, sha256, url))) => {
                Kind::Image { id: id.clone(), sha256: sha256.clone(), url: url.clone() }
            }
            (Type::Button, _) => Kind::Button { id: format!("button-{number}"), title: text },
            (Type::List, _) => Kind::List { id: format!("row-{number}"), title: text },
            (Type::Text | Type::Image, _) => Kind::Text(text),
        };
        Change::message(&Inbound { from: self.from.clone(), sender: self.to.clone(), kind })
    }
}
