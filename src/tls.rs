//! The client side of TLS: which authorities vouch for an upstream, and with what it is spoken to.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::provider::Ca;

/// The cryptography of every connection: aws-lc-rs, whose first key exchange is the hybrid
/// X25519MLKEM768 (rustls' feature `prefer-post-quantum`). Always named, never the process default.
#[must_use]
pub fn crypto() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// What an upstream is connected to with: TLS 1.2 and 1.3, `http/1.1`, certificate and name checked
/// against the authorities of `ca`.
///
/// `pem` is the content of the file that [`Ca::File`] names. `SSLKEYLOGFILE` is not looked at.
///
/// # Errors
/// Where there is no usable authority.
pub fn client_config(ca: &Ca, pem: Option<&[u8]>) -> Result<Arc<ClientConfig>, TlsError> {
    let roots = match (ca, pem) {
        (Ca::Bundled, _) => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
        (Ca::System, _) => roots_of(rustls_native_certs::load_native_certs().certs)?,
        (Ca::File(_), pem) => {
            let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.unwrap_or_default()).collect();
            roots_of(certificates.map_err(|_| TlsError::NotPem)?)?
        }
    };
    let mut config = ClientConfig::builder_with_provider(crypto())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Versions)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn roots_of(certificates: Vec<CertificateDer<'static>>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let (usable, _) = roots.add_parsable_certificates(certificates);
    if usable == 0 { Err(TlsError::NoAuthority) } else { Ok(roots) }
}

/// Why no upstream can be trusted.
#[derive(Debug)]
pub enum TlsError {
    /// The file is not PEM.
    NotPem,
    /// There is no certificate that can be used.
    NoAuthority,
    /// The cryptography has no common version.
    Versions(rustls::Error),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPem => f.write_str("the certificates are not valid PEM"),
            Self::NoAuthority => f.write_str("there is no usable certificate of an authority"),
            Self::Versions(error) => write!(f, "TLS cannot be set up: {error}"),
        }
    }
}

impl std::error::Error for TlsError {}
