//! TLS towards upstreams: versions, and the certificate authorities.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::{TlsError, crypto};
use crate::provider::Ca;

/// Returns the TLS configuration for an upstream: TLS 1.2 and 1.3, ALPN `http/1.1`, certificate and
/// name checked against the authorities of `ca`.
///
/// `pem` is the content of the file named by [`Ca::File`]. `SSLKEYLOGFILE` is ignored.
///
/// # Errors
/// An unreadable PEM file, or no usable authority.
pub fn client_config(ca: &Ca, pem: Option<&[u8]>) -> Result<Arc<ClientConfig>, TlsError> {
    let mut config = ClientConfig::builder_with_provider(crypto())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Versions)?
        .with_root_certificates(roots(ca, pem)?)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Returns the authorities of `ca`; `pem` is the content of the file named by [`Ca::File`].
///
/// # Errors
/// An unreadable PEM file, or no usable authority.
pub(super) fn roots(ca: &Ca, pem: Option<&[u8]>) -> Result<RootCertStore, TlsError> {
    match (ca, pem) {
        (Ca::Bundled, _) => Ok(RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        }),
        (Ca::System, _) => roots_of(rustls_native_certs::load_native_certs().certs),
        (Ca::File(_), pem) => {
            let certificates: Result<Vec<_>, _> =
                CertificateDer::pem_slice_iter(pem.unwrap_or_default()).collect();
            roots_of(certificates.map_err(|_| TlsError::NotPem)?)
        }
    }
}

/// Returns a store of the usable certificates; unusable ones are skipped.
pub(super) fn roots_of(
    certificates: Vec<CertificateDer<'static>>,
) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let (usable, _) = roots.add_parsable_certificates(certificates);
    if usable == 0 {
        Err(TlsError::NoAuthority)
    } else {
        Ok(roots)
    }
}
