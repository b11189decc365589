//! The reasons why the cluster gives no Secret.

use std::fmt;
use std::path::PathBuf;

use http::StatusCode;

use super::super::error::SourceError;
use super::super::place_error::{PlaceError, PlaceFault};

/// The reason why the cluster gives no Secret.
#[derive(Debug)]
pub(super) enum ClusterError {
    /// The environment names no cluster: this process is not in a pod.
    NoCluster,
    /// The address of the cluster in the environment is malformed.
    Address,
    /// A file of the service account cannot be read.
    Account(PathBuf, String),
    /// There was no connection.
    Unreachable(String),
    /// The request went out, and the answer did not come.
    Lost(String),
    /// The cluster does not accept the token of the service account.
    Unauthorized,
    /// The service account may not do this.
    Denied(Rule),
    /// There is no such Secret.
    NotFound(SecretName),
    /// The Secret was changed since it was read.
    Conflict,
    /// The status is not one of success, with the message of the cluster.
    Answered(StatusCode, String),
    /// The answer lacks this part of the documented form.
    Malformed(&'static str),
}

/// The namespace and the name of a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SecretName {
    pub(super) namespace: String,
    pub(super) name: String,
}

/// The rule of a Role that a request needs.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) verb: &'static str,
    pub(super) secret: SecretName,
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Secret `{}` in namespace `{}`",
            self.name, self.namespace
        )
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SecretName { namespace, name } = &self.secret;
        write!(
            f,
            "the service account may not {} the {}: bind it to a Role in `{namespace}` with the rule \
             {{ apiGroups: [\"\"], resources: [\"secrets\"], resourceNames: [\"{name}\"], verbs: [\"{}\"] }}",
            self.verb, self.secret, self.verb
        )
    }
}

impl fmt::Display for ClusterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCluster => f.write_str(
                "KUBERNETES_SERVICE_HOST is not set: a Secret is read from the cluster in a pod only",
            ),
            Self::Address => f.write_str(
                "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are no address of a cluster",
            ),
            Self::Account(path, problem) => write!(
                f,
                "{}: {problem}; mount the token of the pod's service account there",
                path.display()
            ),
            Self::Unreachable(reason) | Self::Lost(reason) => {
                write!(f, "the cluster gave no answer: {reason}")
            }
            Self::Unauthorized => f.write_str(
                "the cluster does not accept the token of the service account (401): it has ended, its service account is gone, \
                 or it is of a different cluster",
            ),
            Self::Denied(rule) => fmt::Display::fmt(rule, f),
            Self::NotFound(secret) => write!(f, "the cluster has no {secret}"),
            Self::Conflict => f.write_str("the Secret was changed meanwhile"),
            Self::Answered(status, message) => {
                write!(f, "the cluster answered {}: {message}", status.as_u16())
            }
            Self::Malformed(part) => write!(f, "the cluster's answer has no {part}"),
        }
    }
}

impl From<ClusterError> for SourceError {
    fn from(error: ClusterError) -> Self {
        Self::Manager(error.to_string())
    }
}

impl ClusterError {
    /// Returns the error of a write: an answer that proves nothing leaves the outcome unknown.
    pub(super) fn of_write(self) -> PlaceError {
        let fault = PlaceFault::Manager(self.to_string());
        match self {
            Self::Conflict => PlaceError::Changed,
            Self::Lost(_) => PlaceError::Unknown(fault),
            Self::Answered(status, _) if status.is_server_error() => PlaceError::Unknown(fault),
            _ => PlaceError::NotWritten(fault),
        }
    }
}
