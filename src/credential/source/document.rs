//! A document of a secret manager: a value, or a JSON object with one value per field.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::time::SystemTime;

use serde_json::value::RawValue;
use zeroize::{Zeroize, Zeroizing};

use super::error::SourceError;
use super::found::RawSecret;
use crate::secret::{Fingerprint, Secret};

/// The content that a secret manager holds under one name.
pub(super) struct SecretDocument {
    /// The value, or the text of the JSON object.
    pub(super) text: Zeroizing<Vec<u8>>,
    /// The time at which the content was written, if the manager reports a time.
    pub(super) since: Option<SystemTime>,
    /// The time at which the value of each field was last changed, if the manager keeps versions.
    pub(super) fields_since: BTreeMap<String, SystemTime>,
}

impl SecretDocument {
    /// Makes a document that was written as a whole.
    pub(super) fn new(text: Zeroizing<Vec<u8>>, since: Option<SystemTime>) -> Self {
        Self {
            text,
            since,
            fields_since: BTreeMap::new(),
        }
    }

    /// Returns the whole content as the secret.
    pub(super) fn whole(&self) -> RawSecret {
        RawSecret {
            bytes: self.text.clone(),
            since: self.since,
            warnings: Vec::new(),
        }
    }

    /// Returns one field of the object as the secret.
    pub(super) fn field(&self, name: &str) -> Result<RawSecret, SourceError> {
        Ok(RawSecret {
            bytes: self.value_of(name)?,
            since: self.fields_since.get(name).copied().or(self.since),
            warnings: Vec::new(),
        })
    }

    fn value_of(&self, name: &str) -> Result<Zeroizing<Vec<u8>>, SourceError> {
        let not_an_object =
            |_| SourceError::NoValue(format!("it is no JSON object, so it has no field `{name}`"));
        let fields: HashMap<Cow<'_, str>, &RawValue> =
            serde_json::from_slice(&self.text).map_err(not_an_object)?;
        let value = fields
            .get(name)
            .ok_or_else(|| SourceError::NoValue(format!("it has no field `{name}`")))?;
        let text: String = serde_json::from_str(value.get())
            .map_err(|_| SourceError::NoValue(format!("its field `{name}` is not a text")))?;
        Ok(Zeroizing::new(text.into_bytes()))
    }

    /// True if a field has an equal value in another document.
    pub(super) fn has_same(&self, other: &Self, name: &str) -> bool {
        let ours = self.fingerprint_of(name);
        ours.is_some() && ours == other.fingerprint_of(name)
    }

    /// Returns the fingerprint of the value of a field, to compare and not to show.
    pub(super) fn fingerprint_of(&self, name: &str) -> Option<Fingerprint> {
        let secret = Secret::parse_text_or_pem(self.value_of(name).ok()?);
        secret.ok().map(|secret| secret.fingerprint())
    }

    /// Returns the text of the object with a new value in one field; `None` if the content is no
    /// object.
    pub(super) fn with(&self, name: &str, value: &Secret) -> Option<Zeroizing<String>> {
        let mut fields: BTreeMap<Cow<'_, str>, &RawValue> =
            serde_json::from_slice(&self.text).ok()?;
        fields.remove(name);
        #[expect(
            clippy::disallowed_methods,
            reason = "the secret goes to the place that it will be read from"
        )]
        let value = value.expose();
        // Sized once, with room for escapes: a growing buffer leaves copies of secrets behind.
        let size = self.text.len() + 2 * value.len() + 2 * name.len() + 16;
        let mut text = Zeroizing::new(String::with_capacity(size));
        text.push('{');
        text.push_str(&serde_json::to_string(name).ok()?);
        text.push(':');
        text.push_str(&Zeroizing::new(serde_json::to_string(value).ok()?));
        for (name, value) in fields {
            text.push(',');
            text.push_str(&serde_json::to_string(&name).ok()?);
            text.push(':');
            text.push_str(value.get());
        }
        text.push('}');
        Some(text)
    }
}

/// Wipes an answer that has been read. The connection of an answer with a secret is closed by now,
/// so the buffer has no other holder.
pub(super) fn wipe(body: bytes::Bytes) {
    if let Ok(mut body) = body.try_into_mut() {
        body.zeroize();
    }
}
