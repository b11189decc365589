//! `vault:`: a field of a secret in a KV engine of HashiCorp Vault or OpenBao.
//!
//! The address of Vault and the way to log in come from the environment, as for the `vault` and
//! `bao` commands. Requests go through this program's own client: Keyside needs five requests of
//! the protocol, and a library for all of it would add a second HTTP client to the program.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Mutex;
use tokio::time::Instant;

mod client;
pub(super) mod environment;
mod error;
mod kv;
mod session;

use error::VaultError;
use kv::FieldAges;
use session::Session;

use super::document::SecretDocument;
use super::error::SourceError;
use super::place_error::PlaceError;
use crate::egress::Egress;
use crate::secret::Secret;

/// Vault, with the session once there is one.
#[derive(Default)]
pub(super) struct Vault {
    /// A tokio mutex, because opening a session awaits: simultaneous reads share one login.
    session: Mutex<Option<Arc<Session>>>,
    /// The way out for new sessions.
    egress: ArcSwap<Egress>,
    ages: FieldAges,
}

impl Vault {
    /// Takes a way out. A session on another way ends with the next question.
    pub(super) fn take_way_out(&self, egress: &Egress) {
        self.egress.store(Arc::new(egress.clone()));
    }

    /// Reads the secret at a path: the mount, then the path below the mount as the `vault kv`
    /// command takes it; and the age of each of these fields.
    pub(super) async fn read(
        &self,
        path: &str,
        fields: &[&str],
    ) -> Result<SecretDocument, SourceError> {
        let (session, age) = self.session().await?;
        let read = match kv::read(&session, path, fields, &self.ages).await {
            Err(error) if self.should_retry(&session, age, &error).await => {
                let (session, _) = self.session().await?;
                kv::read(&session, path, fields, &self.ages).await
            }
            result => result,
        };
        Ok(read?)
    }

    /// Puts a new value in the place of the expected value, in one field of the secret at a path.
    /// The other fields stay as they are.
    ///
    /// # Errors
    /// If the field holds another value, or Vault refuses.
    pub(super) async fn replace(
        &self,
        path: &str,
        field: &str,
        expected: Option<&Secret>,
        new: &Secret,
    ) -> Result<(), PlaceError> {
        // The first read replaces a session that has ended.
        self.read(path, &[]).await.map_err(PlaceError::unread)?;
        let session = self.session_for_write().await?;
        kv::replace(&session, path, field, expected, new).await
    }

    /// Asks Vault if the token may write the secret at a path.
    ///
    /// # Errors
    /// If the right is missing, or Vault gives no answer.
    pub(super) async fn can_write(&self, path: &str) -> Result<(), PlaceError> {
        self.read(path, &[]).await.map_err(PlaceError::unread)?;
        let session = self.session_for_write().await?;
        kv::can_write(&session, path).await
    }

    async fn session_for_write(&self) -> Result<Arc<Session>, PlaceError> {
        let session = self.session().await;
        let (session, _) = session.map_err(|error| PlaceError::unread(error.into()))?;
        Ok(session)
    }

    /// Renews or replaces the session if its token nears the end. Returns the time at which the
    /// next check is due.
    pub(super) async fn keep_session(&self) -> Option<Instant> {
        let mut current = self.session.lock().await;
        let session = Arc::clone(current.as_ref()?);
        if session.due()? <= Instant::now()
            && let Err(error) = session.renew().await
        {
            if session.can_be_replaced() {
                let opened = Session::open(&self.egress.load_full()).await;
                *current = opened.map(Arc::new).inspect_err(warn).ok();
            } else {
                warn(&error);
                session.put_off(RENEW_RETRY_INTERVAL);
            }
        }
        current.as_ref()?.due()
    }

    /// Drops a session that failed, and says if a new one may do better.
    ///
    /// A refusal may mean that the token of an old session ended before its time. After a failed
    /// connection the address may be different at the next session, but trying again at once makes
    /// no sense.
    async fn should_retry(
        &self,
        session: &Arc<Session>,
        age: SessionAge,
        error: &VaultError,
    ) -> bool {
        let is_denied = matches!(error, VaultError::Denied(..));
        if is_denied || matches!(error, VaultError::Unreachable(_) | VaultError::Lost(_)) {
            let mut current = self.session.lock().await;
            if current
                .as_ref()
                .is_some_and(|current| Arc::ptr_eq(current, session))
            {
                *current = None;
            }
        }
        is_denied && age == SessionAge::Reused && session.can_be_replaced()
    }

    async fn session(&self) -> Result<(Arc<Session>, SessionAge), VaultError> {
        let mut current = self.session.lock().await;
        let egress = self.egress.load_full();
        if let Some(session) = current
            .as_ref()
            .filter(|session| session.client.goes_out_by(&egress))
        {
            return Ok((Arc::clone(session), SessionAge::Reused));
        }
        let session = Arc::new(Session::open(&egress).await?);
        *current = Some(Arc::clone(&session));
        Ok((session, SessionAge::New))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum SessionAge {
    New,
    Reused,
}

fn warn(error: &VaultError) {
    tracing::warn!(%error, "the session with Vault could not be renewed: secrets from Vault stay as they are");
}

/// The time after which a failed renewal is tried again. Renewals start when a third of the lease
/// is left.
const RENEW_RETRY_INTERVAL: Duration = Duration::from_secs(30);
