//! A secret as its source gave it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use zeroize::Zeroizing;

use super::error::SourceError;
use crate::config::Reference;
use crate::secret::{Secret, has_byte_order_mark};

/// A secret that a reference led to.
#[derive(Clone)]
pub struct FoundSecret {
    /// The value.
    pub secret: Arc<Secret>,
    /// The time at which the value was written, if the source gives the time.
    pub since: Option<SystemTime>,
    /// Oddities of the source that are no reason to refuse the value.
    pub warnings: Vec<&'static str>,
}

/// The result of reading each reference.
pub type Findings = BTreeMap<Reference, Result<FoundSecret, SourceError>>;

/// The bytes that a reference led to.
pub(super) struct RawSecret {
    pub(super) bytes: Zeroizing<Vec<u8>>,
    /// The time at which the bytes were written, if the source gives the time.
    pub(super) since: Option<SystemTime>,
    pub(super) warnings: Vec<&'static str>,
}

impl RawSecret {
    /// Checks that the bytes can be a secret.
    pub(super) fn parse(self) -> Result<FoundSecret, SourceError> {
        let mut warnings = self.warnings;
        if has_byte_order_mark(&self.bytes) {
            warnings.push("it begins with a byte order mark, which was dropped");
        }
        let secret = Secret::parse_text_or_pem(self.bytes).map_err(SourceError::Secret)?;
        Ok(FoundSecret {
            secret: Arc::new(secret),
            since: self.since,
            warnings,
        })
    }
}
