//! Programs and secret managers: what is asked for a secret, may fail at any time, and comes back by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::document::Document;
use super::vault::Vault;
use super::{Findings, SourceError, exec, parse};
use crate::config::Reference;
use crate::secret::Secret;

/// The sessions with secret managers, and what is known of each secret that they hold. Outlives reloads.
#[derive(Default)]
pub struct Managers {
    vault: Vault,
    #[cfg(feature = "aws")]
    aws: super::aws::Aws,
    #[cfg(feature = "azure")]
    azure: super::azure::Azure,
    #[cfg(feature = "gcp")]
    gcp: super::gcp::Gcp,
    known: Mutex<BTreeMap<Reference, Known>>,
}

/// How it went when a secret was last asked for.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// When there last was a usable answer.
    pub confirmed: Option<SystemTime>,
    /// Why there was none the last time.
    pub problem: Option<String>,
}

impl Managers {
    /// Asks for all of these at a time: one that does not answer holds up no other. What stands under one name there
    /// is asked for once, so that a token and an app secret in one object are of one version.
    pub(super) async fn ask(self: &Arc<Self>, references: BTreeSet<Reference>) -> Findings {
        let mut of_name: BTreeMap<Reference, Vec<Reference>> = BTreeMap::new();
        for reference in references {
            of_name.entry(without_field(&reference)).or_default().push(reference);
        }
        let mut asking = JoinSet::new();
        for (name, references) in of_name {
            let managers = Arc::clone(self);
            asking.spawn(async move {
                let document = timeout(TIME, managers.document(&name)).await;
                let document = document.unwrap_or(Err(SourceError::TimedOut));
                let found = |reference: Reference| {
                    let raw = match (&document, field(&reference)) {
                        (Err(error), _) => Err(SourceError::Manager(error.to_string())),
                        (Ok(document), Some(field)) => document.field(field),
                        (Ok(document), None) => Ok(document.whole()),
                    };
                    (reference, raw.and_then(parse))
                };
                references.into_iter().map(found).collect::<Vec<_>>()
            });
        }
        let findings: Findings = asking.join_all().await.into_iter().flatten().collect();
        self.note(&findings);
        findings
    }

    async fn document(&self, name: &Reference) -> Result<Document, SourceError> {
        match name {
            Reference::Exec { program, arguments } => exec::run(program, arguments).await,
            Reference::Vault { path, .. } => self.vault.read(path).await,
            #[cfg(feature = "aws")]
            Reference::Aws { name, .. } => self.aws.read(name).await,
            #[cfg(feature = "azure")]
            Reference::Azure { vault, name } => self.azure.read(vault, name).await,
            #[cfg(feature = "gcp")]
            Reference::Gcp { secret } => self.gcp.read(secret).await,
            _ => Err(SourceError::Cancelled),
        }
    }

    /// Puts a secret where a reference leads.
    ///
    /// # Errors
    /// Where that cannot be written: only Vault can.
    pub async fn write(&self, reference: &Reference, secret: &Secret) -> Result<(), SourceError> {
        match reference {
            Reference::Vault { path, field } => self.vault.write(path, field, secret).await,
            _ => Err(SourceError::Manager("only files and Vault can be written".to_owned())),
        }
    }

    /// Keeps sessions alive, and says when to do so again.
    pub async fn keep_sessions(&self) -> Option<Instant> {
        self.vault.keep().await
    }

    /// What is known of a secret; nothing where it was never asked for.
    #[must_use]
    pub fn known(&self, reference: &Reference) -> Option<Known> {
        self.all_known().get(reference).cloned()
    }

    /// Whether any secret could not be had the last time.
    #[must_use]
    pub fn any_failed(&self) -> bool {
        self.all_known().values().any(|known| known.problem.is_some())
    }

    /// Forgets what is not in use any longer.
    pub fn keep_only(&self, references: &BTreeSet<Reference>) {
        self.all_known().retain(|reference, _| references.contains(reference));
    }

    fn note(&self, findings: &Findings) {
        let mut all = self.all_known();
        for (reference, found) in findings {
            let known = all.entry(reference.clone()).or_default();
            let problem = found.as_ref().err().map(ToString::to_string);
            match &problem {
                None => {
                    if known.problem.is_some() {
                        tracing::info!(%reference, "the secret can be read again");
                    }
                    known.confirmed = Some(SystemTime::now());
                }
                // The same twice is no news.
                Some(problem) if known.problem.as_ref() != Some(problem) => {
                    tracing::error!(%reference, problem, "the secret cannot be read: its last value, if any, goes on");
                }
                Some(_) => {}
            }
            known.problem = problem;
        }
    }

    fn all_known(&self) -> MutexGuard<'_, BTreeMap<Reference, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Managers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Managers").field("known", &self.known).finish_non_exhaustive()
    }
}

/// What is asked for: the same for all fields of one object.
fn without_field(reference: &Reference) -> Reference {
    match reference {
        Reference::Vault { path, .. } => Reference::Vault { path: path.clone(), field: String::new() },
        Reference::Aws { name, .. } => Reference::Aws { name: name.clone(), field: None },
        other => other.clone(),
    }
}

fn field(reference: &Reference) -> Option<&str> {
    match reference {
        Reference::Vault { field, .. } => Some(field),
        Reference::Aws { field, .. } => field.as_deref(),
        _ => None,
    }
}

/// For one secret, with a login where that is needed.
pub(super) const TIME: Duration = Duration::from_secs(10);
