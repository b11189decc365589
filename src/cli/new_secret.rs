//! The new secret that a user gives to `keyside rotate`.

use std::fmt;
use std::io::Read;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::rotate::{RotateArgs, RotateFailure};
use crate::config::{Reference, ReferenceError};
use crate::credential::source::{SecretPlace, SourceError, read_all};
use crate::reload::Live;
use crate::secret::{Secret, SecretError};

/// The source of a new secret that a user gives.
pub(super) enum NewSecret {
    StandardInput,
    Reference(Reference),
}

/// Checks the options, and returns the source of the new secret.
pub(super) fn new_secret(args: &RotateArgs) -> Result<Option<NewSecret>, NotAReference> {
    if let Some(place) = &args.place {
        SecretPlace::parse(place).map_err(NotAReference::Place)?;
    }
    match args.new.as_deref() {
        None => Ok(None),
        Some("-") => Ok(Some(NewSecret::StandardInput)),
        Some(text) => {
            let reference = text.parse().map_err(NotAReference::New)?;
            Ok(Some(NewSecret::Reference(reference)))
        }
    }
}

/// Reads the new secret that a user gives.
pub(super) async fn read_new(
    source: Option<NewSecret>,
    live: &Live,
) -> Result<Option<Arc<Secret>>, RotateFailure> {
    match source {
        None => Ok(None),
        Some(NewSecret::StandardInput) => {
            let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_SECRET + 1));
            let limit = MAX_SECRET as u64 + 1;
            std::io::stdin().take(limit).read_to_end(&mut bytes)?;
            if bytes.len() > MAX_SECRET {
                return Err(UnusableSecret::TooLong.into());
            }
            let secret = Secret::parse_text_or_pem(bytes).map_err(UnusableSecret::StandardInput)?;
            Ok(Some(Arc::new(secret)))
        }
        Some(NewSecret::Reference(reference)) => {
            let mut read = read_all([reference.clone()].into(), &live.managers).await;
            let found = read.findings.remove(&reference);
            match found {
                Some(Ok(found)) => Ok(Some(found.secret)),
                Some(Err(error)) => Err(UnusableSecret::Source(reference, error).into()),
                None => Err(UnusableSecret::NotRead(reference).into()),
            }
        }
    }
}

/// An option whose value is no reference. No message repeats the value: a secret may stand in its
/// place.
#[derive(Debug)]
pub(super) enum NotAReference {
    /// The value of `--place`.
    Place(ReferenceError),
    /// The value of `--new`.
    New(ReferenceError),
}

impl fmt::Display for NotAReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Place(error) => write!(f, "--place: {error}"),
            Self::New(error) => write!(f, "--new: {error}, or - for standard input"),
        }
    }
}

impl std::error::Error for NotAReference {}

/// A new secret that cannot be read, or that cannot be a secret.
#[derive(Debug)]
pub(super) enum UnusableSecret {
    /// Standard input has more bytes than a secret.
    TooLong,
    /// Standard input cannot be a secret.
    StandardInput(SecretError),
    /// The reference gives no secret.
    Source(Reference, SourceError),
    /// The reading of the reference was given up.
    NotRead(Reference),
}

impl fmt::Display for UnusableSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the new secret: ")?;
        match self {
            Self::TooLong => f.write_str("standard input has more than a secret can have"),
            Self::StandardInput(error) => write!(f, "standard input: {error}"),
            Self::Source(reference, error) => write!(f, "{reference}: {error}"),
            Self::NotRead(reference) => write!(f, "{reference}: was not read"),
        }?;
        f.write_str("; nothing was changed")
    }
}

impl std::error::Error for UnusableSecret {}

/// The largest secret that standard input may have, in bytes: as large as that of any other source.
const MAX_SECRET: usize = 64 * 1024;
