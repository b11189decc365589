//! TLS towards upstreams: versions, and the certificate authorities.

use std::sync::{Arc, OnceLock};

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
    config_of(roots(ca, pem)?)
}

/// Returns the TLS configuration for proxies, made once in a process: their certificates are from
/// an authority of the operating system, as those of a site's own, or from a public one.
///
/// # Errors
/// A cryptography without TLS versions.
pub fn proxy_config() -> Result<Arc<ClientConfig>, TlsError> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Ok(Arc::clone(config));
    }
    let mut roots = roots(&Ca::Bundled, None)?;
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let config = config_of(roots)?;
    Ok(Arc::clone(CONFIG.get_or_init(|| config)))
}

fn config_of(roots: RootCertStore) -> Result<Arc<ClientConfig>, TlsError> {
    let mut config = ClientConfig::builder_with_provider(crypto())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Versions)?
        .with_root_certificates(roots)
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
