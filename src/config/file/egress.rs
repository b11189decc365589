//! `[egress]`: the way out of this machine.

use std::fmt;
use std::time::Duration;

use super::{duration, items};
use crate::config::{EgressConfig, ProxyChoice, Reference, ReferenceError};
use crate::document::{Field, Reader};

/// Reads `[egress]`.
pub(super) fn egress(mut reader: Reader<'_>) -> EgressConfig {
    let proxy = reader.field("proxy").and_then(|field| proxy(&field));
    let no_proxy = items(&mut reader, "no_proxy", |field| field.parse(str::parse));
    let warm = reader.field("warm").and_then(|field| {
        let count = field.integer().filter(|count| *count <= MAX_WARM);
        if count.is_none() {
            field.fault("out of range, expected 0 to 16 connections");
        }
        count
    });
    let max_age = duration(&mut reader, "max_age", DEFAULT_MAX_AGE);
    reader.finish();
    EgressConfig {
        proxy: proxy.unwrap_or(ProxyChoice::Environment),
        no_proxy,
        warm: warm.unwrap_or(DEFAULT_WARM),
        max_age,
    }
}

fn proxy(field: &Field<'_>) -> Option<ProxyChoice> {
    let choice = field.parse(choice)?;
    if let ProxyChoice::Reference(reference) = &choice
        && is_behind_proxy(reference)
    {
        field.fault(
            "a secret manager, which would be asked through this very proxy: expected env:NAME, file:/path, systemd:NAME, \
             exec:/program or k8s:NAMESPACE/NAME#KEY",
        );
    }
    Some(choice)
}

fn choice(text: &str) -> Result<ProxyChoice, ProxyChoiceError> {
    match text {
        "auto" => Ok(ProxyChoice::Environment),
        "off" => Ok(ProxyChoice::Off),
        text => match text.parse() {
            Ok(reference) => Ok(ProxyChoice::Reference(reference)),
            Err(ReferenceError::Literal | ReferenceError::Probable(_)) => {
                Err(ProxyChoiceError::Literal)
            }
            Err(error) => Err(ProxyChoiceError::Reference(error)),
        },
    }
}

/// The fault of a text that chooses no proxy.
enum ProxyChoiceError {
    /// The text is no reference.
    Literal,
    /// The text is a malformed reference.
    Reference(ReferenceError),
}

impl fmt::Display for ProxyChoiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal => f.write_str(
                "not a choice, expected \"auto\" (the proxy of the environment), \"off\", or a reference to the URL of a proxy \
                 (env:NAME, file:/path, systemd:NAME, exec:/program or k8s:NAMESPACE/NAME#KEY); a URL may hold a password and never \
                 stands in a configuration",
            ),
            Self::Reference(error) => error.fmt(f),
        }
    }
}

/// Returns true for the sources that are reached through the proxy themselves. The API of a cluster
/// never is.
fn is_behind_proxy(reference: &Reference) -> bool {
    match reference {
        Reference::Vault { .. }
        | Reference::Aws { .. }
        | Reference::Gcp { .. }
        | Reference::Azure { .. } => true,
        Reference::Env(_)
        | Reference::File(_)
        | Reference::FileField { .. }
        | Reference::Systemd(_)
        | Reference::Exec { .. }
        | Reference::Kubernetes { .. } => false,
    }
}

/// The default of `max_age`: a provider that moves to other addresses has all messages there within
/// minutes.
const DEFAULT_MAX_AGE: Duration = Duration::from_secs(300);
/// The default of `warm`: the first message after silence finds one connection, and the others of a
/// burst dial side by side.
const DEFAULT_WARM: usize = 1;
/// The bound on `warm`: providers count idle connections against their clients.
const MAX_WARM: usize = 16;
