//! `vault:`: a field of a secret in a KV engine of HashiCorp Vault or OpenBao.
//!
//! Where Vault is and how to log in is taken from the environment, as the `vault` and `bao` commands take it. Spoken to
//! through this program's own client: what is needed of the protocol is five questions, and a library for all of it
//! would add another HTTP client to the program.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::value::RawValue;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::Mutex;
use tokio::time::Instant;
use zeroize::Zeroizing;

mod client;
mod session;

use client::{Question, VaultError};
use session::Session;

use super::SourceError;
use super::document::{Document, wipe};
use crate::secret::Secret;

/// Vault, with the session once there is one.
#[derive(Default)]
pub(super) struct Vault {
    session: Mutex<Option<Arc<Session>>>,
}

/// Where a secret is in a KV engine.
struct Place {
    /// The path to ask for.
    path: String,
    /// Whether the engine is of version 2, which keeps versions.
    versioned: bool,
}

/// A secret as the engine holds it.
struct Held {
    document: Document,
    /// Its version, where the engine keeps versions.
    version: Option<u64>,
}

impl Vault {
    /// What is at a path: a mount, and below it the path that the `vault kv` command takes.
    pub(super) async fn read(&self, path: &str) -> Result<Document, SourceError> {
        let (session, is_new) = self.session().await?;
        let result = match read(&session, path).await {
            Err(error) if self.may_fare_better(&session, is_new, &error).await => {
                read(&self.session().await?.0, path).await
            }
            result => result,
        };
        Ok(result?.document)
    }

    /// Puts a value into one field of the secret at a path, and leaves the others as they are.
    ///
    /// # Errors
    /// Also where somebody else wrote it meanwhile, as far as the engine keeps versions.
    pub(super) async fn write(&self, path: &str, field: &str, value: &Secret) -> Result<(), SourceError> {
        Ok(write(&self.session().await?.0, path, field, value).await?)
    }

    /// Keeps the session alive, and says when to do so again.
    pub(super) async fn keep(&self) -> Option<Instant> {
        let mut held = self.session.lock().await;
        let session = Arc::clone(held.as_ref()?);
        if session.due()? <= Instant::now()
            && let Err(error) = session.renew().await
        {
            if session.can_be_replaced() {
                *held = Session::open().await.map(Arc::new).inspect_err(warn).ok();
            } else {
                warn(&error);
                session.put_off(RENEW_AGAIN);
            }
        }
        held.as_ref()?.due()
    }

    /// Whether another session may fare better: a refusal may mean that the token of this one has ended before its
    /// time. What gave no answer may be elsewhere the next time.
    async fn may_fare_better(&self, session: &Arc<Session>, is_new: bool, error: &VaultError) -> bool {
        let is_denied = matches!(error, VaultError::Denied(..));
        if is_denied || matches!(error, VaultError::Unreachable(_)) {
            let mut held = self.session.lock().await;
            if held.as_ref().is_some_and(|held| Arc::ptr_eq(held, session)) {
                *held = None;
            }
        }
        is_denied && !is_new && session.can_be_replaced()
    }

    async fn session(&self) -> Result<(Arc<Session>, bool), VaultError> {
        let mut held = self.session.lock().await;
        if let Some(session) = held.as_ref() {
            return Ok((Arc::clone(session), false));
        }
        let session = Arc::new(Session::open().await?);
        *held = Some(Arc::clone(&session));
        Ok((session, true))
    }
}

/// What Vault tells of the mount above a path, to whomever may use anything in it.
#[derive(Deserialize)]
struct Mount {
    path: String,
    #[serde(rename = "type")]
    kind: String,
    options: Option<MountOptions>,
}

#[derive(Deserialize)]
struct MountOptions {
    version: Option<String>,
}

#[derive(Deserialize)]
struct Answer<T> {
    data: Option<T>,
}

/// What version 2 holds: <https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2>.
#[derive(Deserialize)]
struct Versioned<'a> {
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    version: u64,
    created_time: String,
}

async fn place(session: &Session, path: &str) -> Result<Place, VaultError> {
    let question = format!("sys/internal/ui/mounts/{path}");
    let body = session.client.ask(Question::get(&question, session.token())).await.map_err(|error| match error {
        VaultError::Denied(_, errors) => VaultError::Denied(path.to_owned(), errors),
        error => error,
    })?;
    let answer: Option<Answer<Mount>> = serde_json::from_slice(&body).ok();
    let mount = answer.and_then(|answer| answer.data).ok_or(VaultError::Strange("mount"))?;
    if mount.kind != "kv" && mount.kind != "generic" {
        return Err(VaultError::Engine(mount.kind));
    }
    let versioned = mount.options.and_then(|options| options.version).as_deref() == Some("2");
    let below = path.strip_prefix(&mount.path).ok_or(VaultError::Strange("mount of this path"))?;
    let data = if versioned { "data/" } else { "" };
    Ok(Place { path: format!("{}{data}{below}", mount.path), versioned })
}

async fn read(session: &Session, path: &str) -> Result<Held, VaultError> {
    read_at(session, &place(session, path).await?).await
}

async fn read_at(session: &Session, place: &Place) -> Result<Held, VaultError> {
    let body = session.client.ask(Question::get(&place.path, session.token())).await?;
    let held = if place.versioned { versioned(&body) } else { plain(&body) };
    wipe(body);
    held.ok_or(VaultError::Strange("data"))
}

fn versioned(body: &[u8]) -> Option<Held> {
    let answer: Answer<Versioned<'_>> = serde_json::from_slice(body).ok()?;
    let Versioned { data, metadata } = answer.data?;
    let since = OffsetDateTime::parse(&metadata.created_time, &Rfc3339).ok().map(SystemTime::from);
    Some(Held { document: Document { text: text(data?), since }, version: Some(metadata.version) })
}

fn plain(body: &[u8]) -> Option<Held> {
    let answer: Answer<&RawValue> = serde_json::from_slice(body).ok()?;
    Some(Held { document: Document { text: text(answer.data?), since: None }, version: None })
}

fn text(value: &RawValue) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(value.get().as_bytes().to_vec())
}

async fn write(session: &Session, path: &str, field: &str, value: &Secret) -> Result<(), VaultError> {
    let place = place(session, path).await?;
    let held = read_at(session, &place).await?;
    let data = held.document.with(field, value).ok_or(VaultError::Strange("object that could be changed"))?;
    let body = match held.version {
        // Refused where it is another version by now.
        Some(version) => {
            let mut body = Zeroizing::new(String::with_capacity(data.len() + 64));
            body.push_str(&format!("{{\"options\":{{\"cas\":{version}}},\"data\":"));
            body.push_str(&data);
            body.push('}');
            body
        }
        None => data,
    };
    session.client.ask(Question::post(&place.path, session.token(), body)).await.map(wipe)
}

fn warn(error: &VaultError) {
    tracing::warn!(%error, "the session with Vault could not be kept up: secrets there stay as they are");
}

impl From<VaultError> for SourceError {
    fn from(error: VaultError) -> Self {
        Self::Manager(error.to_string())
    }
}

/// The variable of the environment that both Vault and OpenBao have, by the end of its name: OpenBao's command
/// looks at its own first too.
fn variable(name: &str) -> Option<Zeroizing<String>> {
    ["BAO_", "VAULT_"].iter().find_map(|prefix| {
        let value = std::env::var(format!("{prefix}{name}")).ok().map(Zeroizing::new);
        value.filter(|value| !value.trim().is_empty())
    })
}

const RENEW_AGAIN: Duration = Duration::from_secs(30);
