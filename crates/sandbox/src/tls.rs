//! A certificate authority made for one run, and the TLS configurations with its certificates.

use std::fmt;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// A certificate authority.
pub(crate) struct Authority {
    pem: String,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// Makes an authority with a new key.
    pub(crate) fn new() -> Result<Self, CertificateError> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
            .distinguished_name
            .push(DnType::CommonName, "Keyside sandbox");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        Ok(Self {
            pem: issuer.pem(),
            issuer,
        })
    }

    /// Returns the authority's certificate in PEM.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// Makes the configuration of a server, with a certificate for [`NAMES`] and for `hosts`.
    pub(crate) fn server<'a>(
        &self,
        hosts: impl Iterator<Item = &'a str>,
    ) -> Result<Arc<ServerConfig>, CertificateError> {
        let names: Vec<_> = NAMES.into_iter().chain(hosts).map(str::to_owned).collect();
        let params = CertificateParams::new(names)?;
        let (certificate, key) = self.issue(
            params,
            "Keyside sandbox server",
            ExtendedKeyUsagePurpose::ServerAuth,
        )?;
        let mut config =
            ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()?
                .with_no_client_auth()
                .with_single_cert(vec![certificate], key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// Makes the configuration of a client, with a client certificate that bears Meta's common
    /// name.
    ///
    /// The client trusts the authorities of `ca` in PEM, or else this authority.
    pub(crate) fn client(&self, ca: Option<&[u8]>) -> Result<Arc<ClientConfig>, CertificateError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca.unwrap_or(self.pem.as_bytes())) {
            roots.add(certificate?)?;
        }
        let (certificate, key) = self.issue(
            CertificateParams::default(),
            META_CLIENT,
            ExtendedKeyUsagePurpose::ClientAuth,
        )?;
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![certificate], key)?;
        Ok(Arc::new(config))
    }

    fn issue(
        &self,
        mut params: CertificateParams,
        common_name: &str,
        usage: ExtendedKeyUsagePurpose,
    ) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), CertificateError> {
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        params.use_authority_key_identifier_extension = true;
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let private_key = PrivatePkcs8KeyDer::from(key.serialize_der());
        Ok((certificate.der().clone(), private_key.into()))
    }
}

/// A certificate or a TLS configuration that could not be made.
#[derive(Debug)]
pub enum CertificateError {
    /// A certificate could not be generated.
    Generate(rcgen::Error),
    /// A configuration was refused by the TLS library.
    Tls(rustls::Error),
    /// The authorities of callback URLs are not certificates in PEM.
    Pem(pem::Error),
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Generate(error) => write!(f, "cannot generate a certificate: {error}"),
            Self::Tls(error) => write!(f, "cannot configure TLS: {error}"),
            Self::Pem(error) => {
                write!(
                    f,
                    "the authorities of callback URLs are no PEM certificates: {error}"
                )
            }
        }
    }
}

impl std::error::Error for CertificateError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Generate(error) => Some(error),
            Self::Tls(error) => Some(error),
            Self::Pem(error) => Some(error),
        }
    }
}

impl From<rcgen::Error> for CertificateError {
    fn from(error: rcgen::Error) -> Self {
        Self::Generate(error)
    }
}

impl From<rustls::Error> for CertificateError {
    fn from(error: rustls::Error) -> Self {
        Self::Tls(error)
    }
}

impl From<pem::Error> for CertificateError {
    fn from(error: pem::Error) -> Self {
        Self::Pem(error)
    }
}

/// The names in the server's certificate: loopback, and Meta's two hosts for clients that resolve
/// them to loopback.
const NAMES: [&str; 5] = [
    "localhost",
    "127.0.0.1",
    "::1",
    "graph.facebook.com",
    "lookaside.fbsbx.com",
];

/// The common name of the client certificate that Meta shows to callback URLs.
const META_CLIENT: &str = "client.webhooks.fbclientcerts.com";
