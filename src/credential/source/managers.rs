//! Programs and secret managers: sources that may fail at any time and recover without a change
//! here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use super::asked::{asked, named};
use super::document::SecretDocument;
use super::edit::value;
use super::error::SourceError;
use super::exec;
use super::found::{Findings, RawSecret};
use super::kubernetes::{Kubernetes, KubernetesSecret};
use super::late::LateReads;
use super::vault::Vault;
use crate::config::Reference;
use crate::egress::Egress;

/// The sessions with secret managers, and the last result for each of their secrets. Both outlive
/// reloads.
#[derive(Default)]
pub struct Managers {
    pub(super) vault: Vault,
    #[cfg(feature = "aws")]
    pub(super) aws: super::aws::Aws,
    #[cfg(feature = "azure")]
    pub(super) azure: super::azure::Azure,
    #[cfg(feature = "gcp")]
    pub(super) gcp: super::gcp::Gcp,
    pub(super) kubernetes: Kubernetes,
    last_reads: Mutex<BTreeMap<Reference, LastRead>>,
}

/// The result of the last time that a secret was read from its manager.
#[derive(Clone, Debug, Default)]
pub struct LastRead {
    /// The time of the last usable answer.
    pub confirmed: Option<SystemTime>,
    /// The reason why the last answer was not usable; `None` after a usable answer.
    pub problem: Option<String>,
    /// The beginning of the read.
    asked: Option<Instant>,
}

impl Managers {
    /// Reads all references at the same time: a silent manager delays no other.
    ///
    /// A document is read once for all fields, so a token and an app secret in a document are of
    /// the same version.
    pub(super) async fn ask(self: &Arc<Self>, references: BTreeSet<Reference>) -> Findings {
        let reads = self.begin(references, Instant::now());
        reads.join_all().await.into_iter().flatten().collect()
    }

    /// Reads as [`Self::ask`] does, and waits for `patience` at most.
    pub(super) async fn ask_for(
        self: &Arc<Self>,
        references: BTreeSet<Reference>,
        patience: Duration,
    ) -> (Findings, LateReads) {
        let asked = Instant::now();
        let mut reads = self.begin(references.clone(), asked);
        let mut findings = Findings::new();
        while let Ok(Some(read)) = timeout_at(asked + patience, reads.join_next()).await {
            findings.extend(read.unwrap_or_default());
        }
        let late = LateReads::new(reads, asked, &findings);
        for reference in references {
            findings.entry(reference).or_insert(Err(SourceError::Late));
        }
        (findings, late)
    }

    /// Begins to read each document.
    fn begin(
        self: &Arc<Self>,
        references: BTreeSet<Reference>,
        asked: Instant,
    ) -> JoinSet<Findings> {
        let mut by_document: BTreeMap<Reference, Vec<Reference>> = BTreeMap::new();
        for reference in references {
            by_document
                .entry(without_field(&reference))
                .or_default()
                .push(reference);
        }
        let mut reads = JoinSet::new();
        for (document, references) in by_document {
            let managers = Arc::clone(self);
            reads.spawn(async move {
                let findings = managers.read_fields(&document, references).await;
                managers.note(&findings, asked);
                findings
            });
        }
        reads
    }

    /// Reads one document, and takes the field of each reference from the document.
    async fn read_fields(&self, document: &Reference, references: Vec<Reference>) -> Findings {
        let fields: Vec<_> = references.iter().filter_map(field).collect();
        let content = self.content(document, &fields).await;
        let mut findings = Findings::new();
        for reference in references {
            let raw = match &content {
                Err(error) => Err(SourceError::Manager(error.to_string())),
                Ok(content) => content.value(&reference),
            };
            findings.insert(reference, raw.and_then(RawSecret::parse));
        }
        findings
    }

    /// Reads one secret, past the memory of last reads.
    pub(super) async fn read(&self, reference: &Reference) -> Result<RawSecret, SourceError> {
        let content = self.content(&without_field(reference), &[]).await?;
        content.value(reference)
    }

    /// Reads the content of a document, of which these fields are wanted.
    async fn content(
        &self,
        document: &Reference,
        fields: &[&str],
    ) -> Result<ManagedContent, SourceError> {
        let reading = async {
            match document {
                Reference::Kubernetes {
                    namespace, name, ..
                } => {
                    let secret = self.kubernetes.read(namespace.as_deref(), name).await;
                    secret.map(ManagedContent::Keys)
                }
                document => self
                    .document(document, fields)
                    .await
                    .map(ManagedContent::Document),
            }
        };
        let read = timeout(READ_TIMEOUT, reading)
            .await
            .unwrap_or(Err(SourceError::TimedOut(READ_TIMEOUT)));
        read.map_err(|error| {
            let asked = asked(document, |name| std::env::var(name).ok());
            named(error, asked.as_deref())
        })
    }

    async fn document(
        &self,
        reference: &Reference,
        fields: &[&str],
    ) -> Result<SecretDocument, SourceError> {
        match reference {
            Reference::Exec { program, arguments } => exec::run(program, arguments).await,
            Reference::Vault { path, .. } => self.vault.read(path, fields).await,
            #[cfg(feature = "aws")]
            Reference::Aws { name, .. } => self.aws.read(name).await,
            #[cfg(feature = "azure")]
            Reference::Azure { vault, name } => self.azure.read(vault, name).await,
            #[cfg(feature = "gcp")]
            Reference::Gcp { secret } => self.gcp.read(secret).await,
            _ => Err(SourceError::Cancelled),
        }
    }

    /// Takes the way out for all further questions. The API of the cluster is never behind a proxy.
    pub fn take_way_out(&self, egress: &Egress) {
        self.vault.take_way_out(egress);
        #[cfg(feature = "aws")]
        self.aws.take_way_out(egress);
    }

    /// Renews the sessions with managers that are due. Returns the time at which the next session
    /// is due.
    pub async fn keep_sessions(&self) -> Option<Instant> {
        self.vault.keep_session().await
    }

    /// Returns the result of the last read of a secret, if the secret was ever read.
    #[must_use]
    pub fn last_read(&self, reference: &Reference) -> Option<LastRead> {
        self.last_reads.lock().get(reference).cloned()
    }

    /// True if a read of the secret, begun after `asked`, has ended.
    #[must_use]
    pub fn has_newer(&self, reference: &Reference, asked: Instant) -> bool {
        let reads = self.last_reads.lock();
        let last = reads.get(reference).and_then(|read| read.asked);
        last.is_some_and(|last| last > asked)
    }

    /// True if the last read of any secret failed.
    #[must_use]
    pub fn any_failed(&self) -> bool {
        self.last_reads
            .lock()
            .values()
            .any(|read| read.problem.is_some())
    }

    /// Forgets the results of all references but these.
    pub fn keep_only(&self, references: &BTreeSet<Reference>) {
        self.last_reads
            .lock()
            .retain(|reference, _| references.contains(reference));
    }

    /// Keeps the result of each reference, and logs changed results. A read older than the last
    /// finished read has no news.
    fn note(&self, findings: &Findings, asked: Instant) {
        let mut reads = self.last_reads.lock();
        for (reference, found) in findings {
            let read = reads.entry(reference.clone()).or_default();
            if read.asked.is_some_and(|last| last > asked) {
                continue;
            }
            read.asked = Some(asked);
            let problem = found.as_ref().err().map(ToString::to_string);
            match &problem {
                None => {
                    if read.problem.is_some() {
                        tracing::info!(%reference, "the secret can be read again");
                    }
                    read.confirmed = Some(SystemTime::now());
                }
                Some(problem) if read.problem.as_ref() != Some(problem) => {
                    tracing::error!(%reference, problem, "the secret cannot be read: the last value that was read, if any, stays in use");
                }
                Some(_) => {}
            }
            read.problem = problem;
        }
    }
}

impl std::fmt::Debug for Managers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Managers")
            .field("last_reads", &self.last_reads)
            .finish_non_exhaustive()
    }
}

/// The content that a manager holds under one name.
enum ManagedContent {
    Document(SecretDocument),
    /// A Secret of Kubernetes, whose keys have ages of their own.
    Keys(KubernetesSecret),
}

impl ManagedContent {
    /// Returns the value that a reference names in this content.
    fn value(&self, reference: &Reference) -> Result<RawSecret, SourceError> {
        match (self, reference) {
            (Self::Document(document), reference) => value(document, field(reference)),
            (Self::Keys(secret), Reference::Kubernetes { key, .. }) => secret.value(key),
            (Self::Keys(_), _) => Err(SourceError::Cancelled),
        }
    }
}

/// Returns the reference to the document of a field, equal for all fields of one document.
fn without_field(reference: &Reference) -> Reference {
    match reference {
        Reference::Vault { path, .. } => Reference::Vault {
            path: path.clone(),
            field: String::new(),
        },
        Reference::Aws { name, .. } => Reference::Aws {
            name: name.clone(),
            field: None,
        },
        Reference::Kubernetes {
            namespace, name, ..
        } => Reference::Kubernetes {
            namespace: namespace.clone(),
            name: name.clone(),
            key: String::new(),
        },
        whole => whole.clone(),
    }
}

/// Returns the field that a reference takes of its document; `None` for the whole document.
fn field(reference: &Reference) -> Option<&str> {
    match reference {
        Reference::Vault { field, .. } => Some(field),
        Reference::Aws { field, .. } => field.as_deref(),
        _ => None,
    }
}

/// The time for one document, a login included. `exec:` promises programs 10 s.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
