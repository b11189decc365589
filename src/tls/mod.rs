//! TLS on both sides: cryptography, authorities and certificates.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::VerifierBuilderError;

mod client;
mod name;
mod server;
mod validity;
mod witness;

pub use client::{client_config, proxy_config};
pub use server::{ServerFiles, ServerTls, UnusableFiles, server_config};
pub use validity::{Stage, Validity};
pub use witness::{CertificateFacts, Witness, witnessed_config};

/// Returns the cryptography of every connection: aws-lc-rs, with the hybrid X25519MLKEM768 as the
/// first key exchange (rustls' feature `prefer-post-quantum`). The process default is never used.
#[must_use]
pub fn crypto() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// The reason for refusing a TLS configuration.
#[derive(Debug)]
pub enum TlsError {
    /// The authorities' file is not PEM.
    NotPem,
    /// No certificate of an authority can be used.
    NoAuthority,
    /// The cryptography supports none of the TLS versions.
    Versions(rustls::Error),
    /// The authorities are refused by the TLS library.
    Verifier(VerifierBuilderError),
    /// A file of a listener has a fault.
    File {
        /// The file.
        path: PathBuf,
        /// The fault.
        fault: FileFault,
    },
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPem => f.write_str("the certificates are not valid PEM"),
            Self::NoAuthority => f.write_str("no certificate of an authority can be used"),
            Self::Versions(error) => write!(f, "TLS cannot be set up: {error}"),
            Self::Verifier(error) => write!(f, "the authorities cannot be used: {error}"),
            Self::File { path, fault } => write!(f, "{}: {fault}", path.display()),
        }
    }
}

impl std::error::Error for TlsError {}

/// The fault of a certificate, key or authority file.
#[derive(Debug)]
pub enum FileFault {
    /// The file cannot be read.
    Read(io::ErrorKind),
    /// The load did not read the file.
    NotRead,
    /// The file is not valid PEM.
    NotPem,
    /// The file has no certificate.
    NoCertificate,
    /// No certificate of the file can be used as an authority.
    NoAuthority,
    /// The authorities of client certificates are refused by the TLS library.
    Authorities(VerifierBuilderError),
    /// The file has no private key.
    NoKey,
    /// The private key is encrypted.
    KeyEncrypted,
    /// The private key belongs to another certificate.
    KeyMismatch,
    /// The private key is refused by the TLS library.
    KeyUnusable(rustls::Error),
    /// The certificate is refused by the TLS library.
    CertificateUnusable(rustls::Error),
    /// The certificate has expired, while the one in use has not.
    Expired,
    /// The certificate is not valid yet, while the one in use is.
    Early,
}

impl fmt::Display for FileFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(io::ErrorKind::NotFound) => f.write_str("there is no such file"),
            Self::Read(kind) => write!(f, "the file cannot be read: {kind}"),
            Self::NotRead => f.write_str("the file was not read"),
            Self::NotPem => f.write_str("the file is not valid PEM; is it still being written?"),
            Self::NoCertificate => f.write_str("the file has no certificate in PEM"),
            Self::NoAuthority => f.write_str("no certificate in the file can be an authority"),
            Self::Authorities(error) => write!(f, "the authorities cannot be used: {error}"),
            Self::NoKey => f.write_str("the file has no private key in PEM"),
            Self::KeyEncrypted => f.write_str(
                "the key is encrypted; store the key without a passphrase, readable by this user alone",
            ),
            Self::KeyMismatch => f.write_str(
                "the key does not belong to the certificate; put the key and the certificate of one pair there",
            ),
            Self::KeyUnusable(error) => write!(f, "the key cannot be used: {error}"),
            Self::Expired => f.write_str("the certificate has expired; put one there that is valid now"),
            Self::Early => f.write_str(
                "the certificate is not valid yet; put one there that is valid now, or look at the clock of this machine",
            ),
            Self::CertificateUnusable(error) => write!(
                f,
                "the certificate cannot be used: expected one of X.509 version 3 with a subjectAltName ({error})"
            ),
        }
    }
}

impl std::error::Error for FileFault {}
