//! The reasons why a load or a reload is refused.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::config::Faults;
use crate::spool::{SpoolError, SpoolRefusal};
use crate::tls::TlsError;

/// The reason why a load is refused. Nothing of the load is published then.
#[derive(Debug)]
pub enum LoadError {
    /// The configuration has faults.
    Config(Faults),
    /// The authorities of this machine cannot be used for a provider.
    Tls {
        /// The name of the provider.
        provider: String,
        /// The reason.
        error: Box<TlsError>,
    },
    /// The upstream of a provider cannot be used.
    Upstream {
        /// The name of the provider.
        provider: String,
        /// The reason.
        problem: String,
    },
    /// The proxy of `[egress]` cannot be used. Holds the reason, without the URL.
    Egress(String),
    /// The files of `[inbound.tls]` or `[outbound.tls]` cannot be used.
    ServerTls {
        /// The table.
        table: &'static str,
        /// The reason.
        error: TlsError,
    },
    /// A webhook cannot be verified or delivered.
    Webhook {
        /// The name of the webhook.
        webhook: String,
        /// The reason.
        problem: String,
    },
    /// The audit file cannot be written.
    Audit {
        /// The file.
        path: PathBuf,
        /// The reason.
        problem: String,
    },
    /// The spool cannot be opened.
    Spool(SpoolError),
    /// The spool does not take the destinations of the webhooks.
    Destinations(SpoolRefusal),
    /// The process ends while the load is under way.
    Interrupted,
    /// Keys whose change takes effect only after a restart were changed.
    Restart(Vec<&'static str>),
}

impl LoadError {
    /// Returns each reason as a line of its own.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        match self {
            Self::Config(faults) => faults.iter().map(ToString::to_string).collect(),
            single => vec![single.to_string()],
        }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(_) => f.write_str(&self.reasons().join("\n")),
            Self::Tls { provider, error } => write!(f, "provider.{provider}.ca: {error}"),
            Self::Upstream { provider, problem } => {
                write!(f, "provider.{provider}.upstream: {problem}")
            }
            Self::Egress(problem) => write!(f, "egress.proxy: {problem}"),
            Self::ServerTls { table, error } => write!(f, "{table}: {error}"),
            Self::Webhook { webhook, problem } => write!(f, "webhook {webhook}: {problem}"),
            Self::Audit { path, problem } => write!(
                f,
                "audit.file: {} cannot be written: {problem}",
                path.display()
            ),
            Self::Spool(error) => write!(f, "spool.dir: {error}"),
            Self::Destinations(refused) => write!(
                f,
                "spool: the destinations of the webhooks are not stored: {refused}; mend the disk of `[spool] dir`, then reload"
            ),
            Self::Interrupted => f.write_str("the sidecar is stopping"),
            Self::Restart(keys) => write!(
                f,
                "{}: changed, which needs a restart; nothing was applied",
                keys.join(", ")
            ),
        }
    }
}

impl std::error::Error for LoadError {}

/// The reason why a requested reload changed nothing.
#[derive(Clone, Debug)]
pub enum ReloadError {
    /// The load was refused.
    Refused {
        /// The reason.
        error: Arc<LoadError>,
        /// The changes of secrets under the configuration in use.
        taken: Arc<[String]>,
    },
    /// The load changed nothing, because new secrets are kept back for these reasons.
    KeptBack(Arc<[String]>),
    /// The process ends, and reloads no more.
    Stopping,
}

impl ReloadError {
    /// Returns each reason as a line of its own.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        match self {
            Self::Refused { error, taken } => {
                let taken = taken
                    .iter()
                    .map(|change| format!("{change}, read by the configuration that stays in use"));
                error.reasons().into_iter().chain(taken).collect()
            }
            Self::KeptBack(reasons) => reasons.to_vec(),
            Self::Stopping => vec![self.to_string()],
        }
    }
}

impl fmt::Display for ReloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { .. } | Self::KeptBack(_) => f.write_str(&self.reasons().join("; ")),
            Self::Stopping => f.write_str("the sidecar is stopping"),
        }
    }
}

impl std::error::Error for ReloadError {}
