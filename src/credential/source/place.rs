//! The place of a secret: where a new value is written.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use zeroize::Zeroizing;

use super::by_hand;
use super::error::SourceError;
use super::exec;
use super::fields;
use super::file;
use super::file_write;
use super::found::RawSecret;
use super::managers::Managers;
use super::place_error::{PlaceError, PlaceFault};
use super::place_program::{FEED_TIMEOUT, PlaceProgram};
use crate::config::{Reference, ReferenceError};
use crate::secret::Secret;

/// The place that a new secret is written to. Safe to print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretPlace {
    /// The source that the secret is read from.
    Source(Reference),
    /// A place that a user names: with `exec:`, a program that takes the secret on standard input.
    Named(Reference),
}

impl SecretPlace {
    /// Returns the place that a user names: the text of `place` or of `--place`.
    ///
    /// # Errors
    /// If the text is no reference.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        text.parse().map(Self::Named)
    }

    /// Returns the reference of the place.
    #[must_use]
    pub fn reference(&self) -> &Reference {
        match self {
            Self::Source(reference) | Self::Named(reference) => reference,
        }
    }

    /// Returns the limit of a write that may outlast a killed process; `None` for a write within
    /// the process.
    #[must_use]
    pub fn outlasts_process_by(&self) -> Option<Duration> {
        let is_program = matches!(self.reference(), Reference::Exec { .. });
        is_program.then_some(FEED_TIMEOUT)
    }

    /// True if the present value cannot be read back.
    #[must_use]
    pub fn is_hidden(&self) -> bool {
        matches!(self, Self::Named(Reference::Exec { .. }))
    }

    /// Returns the program of a place, so that its trace can be noted before its start; `None` for
    /// a place without a program.
    #[must_use]
    pub fn program(&self) -> Option<PlaceProgram<'_>> {
        match self {
            Self::Named(Reference::Exec { program, arguments }) => {
                Some(PlaceProgram::new(program, arguments))
            }
            _ => None,
        }
    }

    /// Reads the present value; `None` if the value cannot be read back, as from a program that
    /// takes values.
    ///
    /// # Errors
    /// If the value cannot be read.
    pub async fn read(&self, managers: &Managers) -> Result<Option<Secret>, SourceError> {
        let reference = match self {
            Self::Named(Reference::Exec { .. }) => return Ok(None),
            Self::Source(reference) | Self::Named(reference) => reference,
        };
        let raw = match reference {
            reference if reference.is_asked_for() => managers.read(reference).await?,
            Reference::File(path) => read_file(path).await?,
            Reference::FileField { path, field } => {
                fields::of_file(Some(&Ok(read_file(path).await?)), field)?
            }
            _ => return Ok(None),
        };
        let secret = Secret::parse_text_or_pem(raw.bytes).map_err(SourceError::Secret)?;
        Ok(Some(secret))
    }

    /// Puts a new secret in the place of the expected secret. A place that holds the new secret
    /// already is left alone. Without an expected secret, the place must hold no possible secret.
    ///
    /// # Errors
    /// [`PlaceError::Changed`] if the place holds a different secret; else if the place cannot be
    /// written, or the write is in doubt.
    pub async fn replace(
        &self,
        managers: &Managers,
        expected: Option<&Secret>,
        new: &Secret,
    ) -> Result<(), PlaceError> {
        if let Some(advice) = self.advice() {
            return Err(PlaceError::NotWritten(PlaceFault::ReadOnly(advice)));
        }
        match self.reference() {
            Reference::File(path) | Reference::FileField { path, .. } => {
                let path = path.clone();
                let field = self.field().map(str::to_owned);
                let expected = expected.map(copy).transpose()?;
                let new = copy(new)?;
                let replace = move || {
                    let field = field.as_deref();
                    file_write::replace_expected(&path, field, expected.as_ref(), &new)
                };
                on_other_thread(replace).await
            }
            Reference::Vault { path, field } => {
                managers.vault.replace(path, field, expected, new).await
            }
            Reference::Kubernetes {
                namespace,
                name,
                key,
            } => {
                let kubernetes = &managers.kubernetes;
                let namespace = namespace.as_deref();
                kubernetes
                    .replace(namespace, name, key, expected, new)
                    .await
            }
            Reference::Exec { program, arguments } => {
                let program = PlaceProgram::new(program, arguments);
                program.start(new).await?.wait(new).await
            }
            #[cfg(feature = "aws")]
            Reference::Aws { name, field } => {
                managers
                    .aws
                    .replace(name, field.as_deref(), expected, new)
                    .await
            }
            #[cfg(feature = "azure")]
            Reference::Azure { vault, name } => {
                managers.azure.replace(vault, name, expected, new).await
            }
            #[cfg(feature = "gcp")]
            Reference::Gcp { secret } => managers.gcp.replace(secret, expected, new).await,
            _ => Err(PlaceError::NotWritten(PlaceFault::ReadOnly(UNSUPPORTED))),
        }
    }

    /// Finds out if the place can be written, without a write.
    ///
    /// # Errors
    /// [`PlaceError::NotWritten`] if the place cannot be written; [`PlaceError::Unknown`] if only a
    /// write can prove the right.
    pub async fn can_write(&self, managers: &Managers) -> Result<(), PlaceError> {
        if let Some(advice) = self.advice() {
            return Err(PlaceError::NotWritten(PlaceFault::ReadOnly(advice)));
        }
        match self.reference() {
            Reference::File(path) | Reference::FileField { path, .. } => {
                let path = path.clone();
                let has_fields = self.field().is_some();
                on_other_thread(move || {
                    if has_fields {
                        file_write::must_be_object(&path)?;
                    }
                    file_write::check_writable(&path)
                })
                .await
            }
            Reference::Vault { path, .. } => managers.vault.can_write(path).await,
            Reference::Kubernetes {
                namespace, name, ..
            } => {
                managers
                    .kubernetes
                    .can_write(namespace.as_deref(), name)
                    .await
            }
            Reference::Exec { program, .. } => exec::can_feed(program),
            #[cfg(feature = "aws")]
            Reference::Aws { name, .. } => managers.aws.can_write(name).await,
            #[cfg(feature = "azure")]
            Reference::Azure { vault, name } => managers.azure.can_write(vault, name).await,
            #[cfg(feature = "gcp")]
            Reference::Gcp { secret } => managers.gcp.can_write(secret).await,
            _ => Err(PlaceError::NotWritten(PlaceFault::ReadOnly(UNSUPPORTED))),
        }
    }

    /// Returns the command with which a user writes the new value, read from standard input or from
    /// the file `NEW`, with the place to run it where this process sees a read-only mount. Reads
    /// the mounts.
    #[must_use]
    pub fn by_hand(&self) -> Option<String> {
        by_hand::command(self.reference())
    }

    /// Returns the field of a file with several secrets.
    fn field(&self) -> Option<&str> {
        match self.reference() {
            Reference::FileField { field, .. } => Some(field),
            _ => None,
        }
    }

    /// Returns what to do instead, for a place that Keyside never writes.
    fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Source(Reference::Exec { .. }) => Some(
                "it is what a program prints; name a program that takes the new value on standard input, with \
                 `place = \"exec:/path\"` or --place",
            ),
            _ => self.reference().why_not_a_place(),
        }
    }
}

impl FromStr for SecretPlace {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        Self::parse(text)
    }
}

impl fmt::Display for SecretPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.reference(), f)
    }
}

async fn read_file(path: &Path) -> Result<RawSecret, SourceError> {
    let path = path.to_owned();
    let reading = tokio::task::spawn_blocking(move || file::read(&path));
    let read = reading.await.unwrap_or(Err(SourceError::Cancelled))?;
    Ok(read.0)
}

/// Runs what waits for a disk on a thread that serves no requests.
async fn on_other_thread(
    work: impl FnOnce() -> Result<(), PlaceError> + Send + 'static,
) -> Result<(), PlaceError> {
    let lost = PlaceError::Unknown(PlaceFault::Read(SourceError::Cancelled));
    let running = tokio::task::spawn_blocking(work);
    running.await.unwrap_or(Err(lost))
}

/// Returns a copy for a different thread.
fn copy(secret: &Secret) -> Result<Secret, PlaceError> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the secret goes to the thread that writes it"
    )]
    let bytes = Zeroizing::new(secret.expose().as_bytes().to_vec());
    let copy = Secret::parse_text_or_pem(bytes);
    copy.map_err(|error| PlaceError::unread(SourceError::Secret(error)))
}

/// The advice for a manager that is not compiled into this build.
const UNSUPPORTED: &str = "write it by hand, or name a program with `place = \"exec:/path\"`";
