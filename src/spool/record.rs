//! The records of an event on disk: a head with what lists and filters go by, and a body.

use bytes::Bytes;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::seal::Sealing;
use super::tables::KeyName;

/// The head of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventHead {
    /// The name of the webhook.
    pub webhook: String,
    /// The id of the event, 32 hexadecimal digits.
    pub id: String,
    /// The arrival in milliseconds since 1970.
    pub received_ms: u64,
    /// The event's own time in seconds since 1970, where the provider tells.
    pub time: Option<u64>,
    /// The number of the class.
    pub class: u8,
    /// The fields of the event.
    pub fields: Vec<String>,
    /// The ids of the business's numbers.
    pub senders: Vec<String>,
    /// The names of the persons.
    pub users: Vec<String>,
    /// The number of items.
    pub items: u32,
    /// The length of the body.
    pub length: u64,
    /// The hashes of the lanes, for an event whose body alone does not tell them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lanes: Vec<u64>,
    /// True if an unreadable part may name further fields or numbers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_partial: bool,
}

/// The request as it arrived: all that a delivery needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The query without its secret parameters.
    pub query: Option<String>,
    /// The headers that the application gets.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body, byte for byte.
    pub body: Bytes,
}

impl Request {
    /// A request whose record has not been read.
    pub(super) fn empty() -> Self {
        Self {
            method: String::new(),
            query: None,
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }
}

/// The parts of a request beside its body. Each byte of a header's value is a character.
#[derive(Serialize, Deserialize)]
struct RecordHead {
    method: String,
    query: Option<String>,
    headers: Vec<(String, String)>,
}

/// The form of records, with the seal if there is a key.
#[derive(Debug, Default)]
pub(super) struct Records {
    seal: RwLock<Sealing>,
}

impl Records {
    pub(super) fn new(seal: Sealing) -> Self {
        Self {
            seal: RwLock::new(seal),
        }
    }

    /// Takes another seal. Records that older keys sealed open as long as the seal has these keys.
    pub(super) fn set_seal(&self, seal: Sealing) {
        *self.seal.write() = seal;
    }

    /// True while a key is configured and cannot be had.
    pub(super) fn is_key_missing(&self) -> bool {
        matches!(*self.seal.read(), Sealing::KeyMissing)
    }

    pub(super) fn head(&self, head: &EventHead) -> Result<Vec<u8>, RecordError> {
        let text = serde_json::to_vec(head).map_err(|_| RecordError::Form)?;
        self.close(HEAD, &text)
    }

    pub(super) fn open_head(&self, record: &[u8]) -> Result<EventHead, RecordError> {
        serde_json::from_slice(&self.open(HEAD, record)?).map_err(|_| RecordError::Form)
    }

    pub(super) fn request(&self, request: &Request) -> Result<Vec<u8>, RecordError> {
        let line = RecordHead {
            method: request.method.clone(),
            query: request.query.clone(),
            headers: request
                .headers
                .iter()
                .map(|(name, value)| {
                    (
                        name.clone(),
                        value.iter().copied().map(char::from).collect(),
                    )
                })
                .collect(),
        };
        let line = serde_json::to_vec(&line).map_err(|_| RecordError::Form)?;
        let length = u32::try_from(line.len()).map_err(|_| RecordError::Form)?;
        let mut text = Vec::with_capacity(4 + line.len() + request.body.len());
        text.extend_from_slice(&length.to_le_bytes());
        text.extend_from_slice(&line);
        text.extend_from_slice(&request.body);
        self.close(BODY, &text)
    }

    pub(super) fn open_request(&self, record: &[u8]) -> Result<Request, RecordError> {
        let mut text = Bytes::from(self.open(BODY, record)?);
        let length = text
            .first_chunk()
            .copied()
            .map(u32::from_le_bytes)
            .and_then(|length| usize::try_from(length).ok());
        let body_at = length
            .and_then(|length| length.checked_add(4))
            .filter(|at| *at <= text.len())
            .ok_or(RecordError::Form)?;
        let body = text.split_off(body_at);
        let line = text.get(4..).unwrap_or_default();
        let line: RecordHead = serde_json::from_slice(line).map_err(|_| RecordError::Form)?;
        Ok(Request {
            method: line.method,
            query: line.query,
            headers: line
                .headers
                .into_iter()
                .map(|(name, value)| (name, value.chars().map(byte).collect()))
                .collect(),
            body,
        })
    }

    /// True if a record is sealed with a key that is not there.
    pub(super) fn is_locked(&self, name: KeyName) -> bool {
        match &*self.seal.read() {
            Sealing::On(seal) => !seal.has_key_of(&name),
            Sealing::Off | Sealing::KeyMissing => true,
        }
    }

    fn close(&self, kind: &[u8], text: &[u8]) -> Result<Vec<u8>, RecordError> {
        match &*self.seal.read() {
            Sealing::On(seal) => {
                let sealed = seal.seal(kind, text).ok_or(RecordError::Cipher)?;
                Ok([&[SEALED], sealed.as_slice()].concat())
            }
            Sealing::Off => Ok([&[PLAIN], checksum(kind, text).as_slice(), text].concat()),
            Sealing::KeyMissing => Err(RecordError::NoKey),
        }
    }

    fn open(&self, kind: &[u8], record: &[u8]) -> Result<Vec<u8>, RecordError> {
        match record.split_first() {
            Some((&SEALED, sealed)) => {
                let seal = self.seal.read();
                let Sealing::On(seal) = &*seal else {
                    return Err(RecordError::NoKey);
                };
                if !seal.has_key_of(sealed) {
                    return Err(RecordError::NoKey);
                }
                seal.open(kind, sealed).ok_or(RecordError::Damaged)
            }
            Some((&PLAIN, rest)) => match rest.split_first_chunk() {
                Some((sum, text)) if *sum == checksum(kind, text) => Ok(text.to_vec()),
                _ => Err(RecordError::Damaged),
            },
            _ => Err(RecordError::Damaged),
        }
    }
}

/// The reason why a record cannot be read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// The bytes are not those that were written.
    Damaged,
    /// The record is sealed, and the key is not there.
    NoKey,
    /// The record was written by another version.
    Form,
    /// There is no randomness for a seal.
    Cipher,
}

impl std::fmt::Display for RecordError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Damaged => "the record is damaged",
            Self::NoKey => {
                "the key that seals records is not there: look at `[state] key`, and list the key that sealed them"
            }
            Self::Form => "the record has a form that this version does not know",
            Self::Cipher => "the record cannot be sealed: the system has no random bytes",
        })
    }
}

impl std::error::Error for RecordError {}

/// The name of the key with which a record is sealed; `None` for a record in clear.
pub(super) fn key_name(record: &[u8]) -> Option<KeyName> {
    let (&SEALED, sealed) = record.split_first()? else {
        return None;
    };
    sealed.first_chunk().copied()
}

/// The byte that a character stands for.
fn byte(character: char) -> u8 {
    u8::try_from(u32::from(character)).unwrap_or(b'?')
}

fn checksum(kind: &[u8], text: &[u8]) -> [u8; 8] {
    let digest: [u8; 32] = Sha256::new()
        .chain_update(kind)
        .chain_update(text)
        .finalize()
        .into();
    digest.first_chunk().copied().unwrap_or_default()
}

/// The first byte of a record that is not sealed.
const PLAIN: u8 = 0;
/// The first byte of a sealed record.
const SEALED: u8 = 1;
/// The kind of heads.
const HEAD: &[u8] = b"head";
/// The kind of bodies.
const BODY: &[u8] = b"body";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::seal::Seal;

    #[test]
    fn records_come_back_as_they_were_and_damage_is_told() {
        let request = Request {
            method: "POST".to_owned(),
            query: Some("a=1".to_owned()),
            headers: vec![("x-hub-signature-256".to_owned(), b"sha256=\xff".to_vec())],
            body: Bytes::from_static(b"{\"a\":1}"),
        };
        let head = EventHead {
            webhook: "acme".to_owned(),
            id: "0".repeat(32),
            received_ms: 1,
            time: None,
            class: 0,
            fields: vec!["messages".to_owned()],
            senders: Vec::new(),
            users: vec!["16505551234".to_owned()],
            items: 1,
            length: 7,
            lanes: Vec::new(),
            is_partial: true,
        };
        let sealing = || Sealing::On(Seal::new(&[[7; 32]]).unwrap());
        for seal in [Sealing::Off, sealing()] {
            let records = Records::new(seal);
            let mut record = records.request(&request).unwrap();
            assert_eq!(records.open_request(&record).unwrap(), request);
            assert_eq!(
                records.open_head(&records.head(&head).unwrap()).unwrap(),
                head
            );
            assert_eq!(records.open_head(&record), Err(RecordError::Damaged));
            *record.last_mut().unwrap() ^= 1;
            assert_eq!(records.open_request(&record), Err(RecordError::Damaged));
        }
        let sealed = Records::new(sealing()).head(&head).unwrap();
        let other = Sealing::On(Seal::new(&[[8; 32]]).unwrap());
        for seal in [Sealing::Off, Sealing::KeyMissing, other] {
            let records = Records::new(seal);
            assert_eq!(records.open_head(&sealed), Err(RecordError::NoKey));
        }
        let missing = Records::new(Sealing::KeyMissing);
        assert_eq!(
            missing.head(&head),
            Err(RecordError::NoKey),
            "never in clear"
        );
    }
}
