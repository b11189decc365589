//! What a secret manager holds under one name: a value, or a JSON object with one in each field.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::time::SystemTime;

use serde_json::value::RawValue;
use zeroize::{Zeroize, Zeroizing};

use super::{Raw, SourceError};
use crate::secret::Secret;

/// The text of it.
pub(super) struct Document {
    /// The value, or the JSON object.
    pub(super) text: Zeroizing<Vec<u8>>,
    /// When it was written, where the manager says so.
    pub(super) since: Option<SystemTime>,
}

impl Document {
    /// All of it.
    pub(super) fn whole(&self) -> Raw {
        Raw { bytes: self.text.clone(), since: self.since, warning: None }
    }

    /// One field.
    pub(super) fn field(&self, name: &str) -> Result<Raw, SourceError> {
        let not_an_object = |_| SourceError::Manager(format!("it is no JSON object, so it has no field `{name}`"));
        let fields: HashMap<Cow<'_, str>, &RawValue> = serde_json::from_slice(&self.text).map_err(not_an_object)?;
        let value = fields.get(name).ok_or_else(|| SourceError::Manager(format!("it has no field `{name}`")))?;
        let text: String = serde_json::from_str(value.get())
            .map_err(|_| SourceError::Manager(format!("its field `{name}` is not a text")))?;
        Ok(Raw { bytes: Zeroizing::new(text.into_bytes()), since: self.since, warning: None })
    }

    /// The text of the object with another value in one field; `None` where it is no object.
    pub(super) fn with(&self, name: &str, value: &Secret) -> Option<Zeroizing<String>> {
        let mut fields: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_slice(&self.text).ok()?;
        fields.remove(name);
        #[expect(clippy::disallowed_methods, reason = "the secret goes to where it will be read")]
        let value = value.expose();
        let mut text = Zeroizing::new(String::with_capacity(self.text.len() + 2 * value.len() + 2 * name.len() + 16));
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

/// Wipes what has been read, where nothing else holds it.
pub(super) fn wipe(body: bytes::Bytes) {
    if let Ok(mut body) = body.try_into_mut() {
        body.zeroize();
    }
}
