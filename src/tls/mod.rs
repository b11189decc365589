//! TLS on both sides: which cryptography, which authorities, which certificates.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};

mod client;
mod name;
mod server;

pub use client::client_config;
pub use server::server_config;

/// The cryptography of every connection: aws-lc-rs, whose first key exchange is the hybrid
/// X25519MLKEM768 (rustls' feature `prefer-post-quantum`). Always named, never the process default.
#[must_use]
pub fn crypto() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Why TLS cannot be set up.
#[derive(Debug)]
pub enum TlsError {
    /// The file is not PEM.
    NotPem,
    /// There is no certificate that can be used.
    NoAuthority,
    /// The cryptography has no common version.
    Versions(rustls::Error),
    /// A file of the server side, and what is wrong with it.
    File(PathBuf, String),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPem => f.write_str("the certificates are not valid PEM"),
            Self::NoAuthority => f.write_str("there is no usable certificate of an authority"),
            Self::Versions(error) => write!(f, "TLS cannot be set up: {error}"),
            Self::File(path, problem) => write!(f, "{}: {problem}", path.display()),
        }
    }
}

impl std::error::Error for TlsError {}
