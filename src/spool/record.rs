//! The records of an event on disk: a head with what lists and filters go by, and a body.

use std::borrow::Cow;

use bytes::Bytes;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::seal::{SEAL_LENGTH, Sealing};
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
    /// The length of the body, in bytes.
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
struct RecordHead<'r> {
    method: Cow<'r, str>,
    query: Option<Cow<'r, str>>,
    headers: Vec<(Cow<'r, str>, Cow<'r, str>)>,
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
        self.close(HEAD, text.len(), |record| record.extend_from_slice(&text))
    }

    pub(super) fn open_head(&self, record: &[u8]) -> Result<EventHead, RecordError> {
        serde_json::from_slice(&self.open(HEAD, record)?).map_err(|_| RecordError::Form)
    }

    pub(super) fn request(&self, request: &Request) -> Result<Vec<u8>, RecordError> {
        let headers = request.headers.iter();
        let parts = RecordHead {
            method: Cow::Borrowed(&request.method),
            query: request.query.as_deref().map(Cow::Borrowed),
            headers: headers
                .map(|(name, value)| (Cow::Borrowed(name.as_str()), characters(value)))
                .collect(),
        };
        let line = serde_json::to_vec(&parts).map_err(|_| RecordError::Form)?;
        let length = u32::try_from(line.len()).map_err(|_| RecordError::Form)?;
        let whole = 4 + line.len() + request.body.len();
        self.close(BODY, whole, |record| {
            record.extend_from_slice(&length.to_le_bytes());
            record.extend_from_slice(&line);
            record.extend_from_slice(&request.body);
        })
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
        let parts: RecordHead<'_> = serde_json::from_slice(line).map_err(|_| RecordError::Form)?;
        let headers = parts.headers.into_iter();
        Ok(Request {
            method: parts.method.into_owned(),
            query: parts.query.map(Cow::into_owned),
            headers: headers
                .map(|(name, value)| (name.into_owned(), bytes_of(value)))
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

    /// Makes a record of the `length` bytes that `write` appends. The record is made in a single
    /// buffer: a large event would otherwise be in memory several times.
    fn close(
        &self,
        kind: &[u8],
        length: usize,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Vec<u8>, RecordError> {
        let mut record = Vec::with_capacity(1 + SEAL_LENGTH.max(SUM_LENGTH) + length);
        match &*self.seal.read() {
            Sealing::On(seal) => {
                record.push(SEALED);
                seal.seal(kind, &mut record, write)
                    .ok_or(RecordError::Cipher)?;
            }
            Sealing::Off => {
                record.push(PLAIN);
                record.extend_from_slice(&[0; SUM_LENGTH]);
                write(&mut record);
                let text = record.get(1 + SUM_LENGTH..).unwrap_or_default();
                let sum = checksum(kind, text);
                if let Some(place) = record.get_mut(1..=SUM_LENGTH) {
                    place.copy_from_slice(&sum);
                }
            }
            Sealing::KeyMissing => return Err(RecordError::NoKey),
        }
        Ok(record)
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

/// Returns bytes as characters, a byte for each.
fn characters(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.is_ascii() => Cow::Borrowed(text),
        _ => bytes.iter().copied().map(char::from).collect(),
    }
}

/// Returns the bytes that [`characters`] stand for.
fn bytes_of(characters: Cow<'_, str>) -> Vec<u8> {
    if characters.is_ascii() {
        return characters.into_owned().into_bytes();
    }
    let byte = |character| u8::try_from(u32::from(character)).unwrap_or(b'?');
    characters.chars().map(byte).collect()
}

fn checksum(kind: &[u8], text: &[u8]) -> [u8; SUM_LENGTH] {
    let digest: [u8; 32] = Sha256::new()
        .chain_update(kind)
        .chain_update(text)
        .finalize()
        .into();
    digest.first_chunk().copied().unwrap_or_default()
}

/// The bytes of the sum of a record that is not sealed.
const SUM_LENGTH: usize = 8;
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
