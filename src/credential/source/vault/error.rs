//! The reasons why Vault gives no secret.

use std::fmt;
use std::path::PathBuf;

use http::StatusCode;

use super::super::error::SourceError;
use super::super::place_error::{PlaceError, PlaceFault};
use super::environment::{DEFAULT_ADDRESS, shown_address, variable};

/// The reason why Vault gives no secret.
#[derive(Debug)]
pub(super) enum VaultError {
    /// `VAULT_ADDR` is not a URL.
    Address,
    /// The file that `VAULT_CACERT` names cannot be read.
    Authority(PathBuf, String),
    /// There was no connection.
    Unreachable(String),
    /// The request went out, and the answer did not come.
    Lost(String),
    /// The token has ended, or may not read this path.
    Denied(String, String),
    /// The path holds no secret.
    NotFound(String),
    /// The status is not one of success, with the errors that Vault gives.
    Answered(StatusCode, String),
    /// The answer lacks this part of the documented form.
    Malformed(&'static str),
    /// The mount holds secrets of this kind, which is not KV.
    Engine(String),
    /// There is nothing to log in with, or the login failed.
    Login(String),
}

impl fmt::Display for VaultError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address => {
                f.write_str("VAULT_ADDR is not such as https://vault.example.com:8200")
            }
            Self::Authority(path, problem) => {
                write!(f, "VAULT_CACERT: {}: {problem}", path.display())
            }
            Self::Unreachable(reason) if variable("ADDR").is_none() => {
                write!(
                    f,
                    "VAULT_ADDR is not set, and Vault gave no answer at {DEFAULT_ADDRESS}: {reason}"
                )
            }
            Self::Unreachable(reason) | Self::Lost(reason) => {
                write!(f, "Vault gave no answer at {}: {reason}", shown_address())
            }
            Self::Denied(path, errors) if errors.ends_with("permission denied") => {
                write!(
                    f,
                    "Vault denies permission for `{path}`: its token has ended, or its policy does not allow it"
                )
            }
            Self::Denied(path, errors) => {
                write!(f, "Vault denies permission for `{path}`: {errors}")
            }
            Self::NotFound(path) => write!(f, "Vault has nothing at `{path}`"),
            Self::Answered(status, errors) => {
                write!(f, "Vault answered {}: {errors}", status.as_u16())
            }
            Self::Malformed(part) => write!(f, "Vault's answer has no {part}"),
            Self::Engine(kind) => write!(
                f,
                "the mount is of type `{kind}`; only KV, version 1 or 2, can be read"
            ),
            Self::Login(problem) => write!(f, "cannot log in to Vault: {problem}"),
        }
    }
}

impl From<VaultError> for SourceError {
    fn from(error: VaultError) -> Self {
        Self::Manager(error.to_string())
    }
}

impl VaultError {
    /// Returns the error of a write: an answer that proves nothing leaves the outcome unknown.
    pub(super) fn of_write(self) -> PlaceError {
        let is_unknown = match &self {
            Self::Lost(_) => true,
            Self::Answered(status, _) => status.is_server_error(),
            _ => false,
        };
        let is_conflict = matches!(&self, Self::Answered(StatusCode::BAD_REQUEST, errors) if errors.contains(CONFLICT));
        let fault = PlaceFault::Manager(self.to_string());
        match (is_conflict, is_unknown) {
            (true, _) => PlaceError::Changed,
            (_, true) => PlaceError::Unknown(fault),
            _ => PlaceError::NotWritten(fault),
        }
    }
}

/// The words of a version 2 engine for a version that is not the current one any more.
const CONFLICT: &str = "check-and-set parameter did not match the current version";
