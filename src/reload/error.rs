//! Why a load was refused.

use std::fmt;
use std::path::PathBuf;

use crate::audit::Audit;
use crate::config::Faults;
use crate::credential::CredentialFault;
use crate::log::without_numbers;
use crate::secret::Fingerprint;
use crate::tls::TlsError;

/// Why a generation was refused.
#[derive(Debug)]
pub enum LoadError {
    /// The configuration file.
    Config(Faults),
    /// Secrets that cannot be used.
    Secrets(Vec<CredentialFault>),
    /// A file of authorities that cannot be read.
    Authority(PathBuf, String),
    /// Authorities of a provider that cannot be used.
    Tls(String, TlsError),
    /// An upstream of a provider that cannot be used.
    Upstream(String, String),
    /// The server of `[limits]`.
    Limits(String),
    /// The files of `[inbound.tls]`.
    ServerTls(TlsError),
    /// A webhook whose application cannot be connected to.
    Webhook(String, String),
    /// The audit file cannot be written.
    Audit(PathBuf, String),
    /// Credentials that their providers refuse.
    Refused(Vec<Refused>),
    /// The process ends meanwhile.
    Interrupted,
    /// Keys whose change takes effect only after a restart.
    Restart(Vec<&'static str>),
}

impl LoadError {
    /// Each reason on its own.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        match self {
            Self::Config(faults) => faults.iter().map(ToString::to_string).collect(),
            Self::Secrets(faults) => faults.iter().map(ToString::to_string).collect(),
            Self::Authority(path, reason) => vec![format!("ca: {} cannot be read: {reason}", path.display())],
            Self::Tls(provider, error) => vec![format!("provider.{provider}.ca: {error}")],
            Self::Upstream(provider, reason) => vec![format!("provider.{provider}.upstream: {reason}")],
            Self::Limits(problem) => vec![format!("limits.redis: {problem}")],
            Self::ServerTls(error) => vec![format!("inbound.tls: {error}")],
            Self::Webhook(webhook, reason) => vec![format!("webhook {webhook}: {reason}")],
            Self::Audit(path, reason) => vec![format!("audit.file: {} cannot be written: {reason}", path.display())],
            Self::Refused(refused) => refused.iter().map(ToString::to_string).collect(),
            Self::Interrupted => vec!["the sidecar is stopping".to_owned()],
            Self::Restart(keys) => {
                vec![format!("{}: changed, which needs a restart; nothing was applied", keys.join(", "))]
            }
        }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reasons().join("\n"))
    }
}

impl std::error::Error for LoadError {}

/// A secret that its provider refuses.
#[derive(Debug)]
pub struct Refused {
    pub(super) credential: String,
    pub(super) fingerprint: Option<Fingerprint>,
    pub(super) reason: String,
}

impl Refused {
    /// Writes it down.
    pub(super) fn record(&self, audit: &Audit) {
        let fingerprint = self.fingerprint.map(|fingerprint| fingerprint.to_string());
        let fields = [
            ("credential", self.credential.as_str().into()),
            ("fingerprint", fingerprint.into()),
            ("reason", without_numbers(&self.reason).into()),
        ];
        audit.record("secret refused", fields);
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "credential.{}: {}", self.credential, self.reason)
    }
}
