//! The items of an event, by which repeats are told.

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use super::cloud_event::Update;

/// The smallest thing that a provider repeats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The text by which a repeat is told.
    pub key: String,
    /// The provider's id of the message; empty for an item that is neither message nor status.
    pub id: String,
    /// True for a message that a person sent to the business.
    pub is_received: bool,
    /// The kind of the item.
    pub class: Class,
    /// The id of the business's number, where the body has one.
    pub sender: Option<String>,
    /// The names of the person: the phone number, the id of the user.
    pub users: Vec<String>,
    /// The item's own time in seconds since 1970.
    pub time: Option<u64>,
}

/// The kind of an item; the urgent one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Class {
    /// A received message, or a message that the business sent with another program.
    Message = 0,
    /// The outcome of a sent message.
    Status = 1,
    /// Anything else.
    Other = 2,
}

impl Class {
    /// The classes, the urgent one first.
    pub const ALL: [Self; 3] = [Self::Message, Self::Status, Self::Other];

    /// The class with this number; an unknown number is the least urgent class.
    #[must_use]
    pub fn of(number: u8) -> Self {
        match number {
            0 => Self::Message,
            1 => Self::Status,
            _ => Self::Other,
        }
    }
}

impl Item {
    /// The item of a message or a status.
    pub(super) fn of(update: &Update<'_>, class: Class, sender: Option<&str>) -> Self {
        let key = match class {
            Class::Status => format!(
                "status\n{}\n{}\n{}\n{}",
                &*update.id,
                &*update.status,
                update.person().first().copied().unwrap_or_default(),
                &*update.recipient_participant_id
            ),
            Class::Message | Class::Other => format!("message\n{}", &*update.id),
        };
        Self {
            key,
            id: update.id.to_string(),
            is_received: false,
            class,
            sender: sender.map(str::to_owned),
            users: update.person().into_iter().map(str::to_owned).collect(),
            time: update.timestamp.parse().ok(),
        }
    }

    /// An item that is told by its bytes alone.
    pub(super) fn hashed(kind: &str, parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
        Self {
            key: format!("{kind}\n{}", HEXLOWER.encode(&hash.finalize())),
            id: String::new(),
            is_received: false,
            class: Class::Other,
            sender: None,
            users: Vec::new(),
            time: None,
        }
    }
}
