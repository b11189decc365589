//! A look at the certificate chain that a server shows, whether the chain is accepted or not.

use std::sync::Arc;

use parking_lot::Mutex;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Name;

use super::client::roots;
use super::{TlsError, crypto};
use crate::provider::Ca;

/// The public facts of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// The owner: the common name, or else the organization.
    pub subject: String,
    /// The signer: organization and common name.
    pub issuer: String,
    /// True if the owner is the signer.
    pub self_signed: bool,
    /// The DNS names and addresses for which the certificate is valid.
    pub names: Vec<String>,
    /// The first second, in Unix time.
    pub not_before: i64,
    /// The last second, in Unix time.
    pub not_after: i64,
}

/// The chain of the last handshake, the server's own certificate first; empty before a handshake.
#[derive(Debug, Default)]
pub struct Witness(Mutex<Vec<CertificateFacts>>);

impl Witness {
    /// Returns the chain.
    #[must_use]
    pub fn chain(&self) -> Vec<CertificateFacts> {
        self.0.lock().clone()
    }
}

/// Returns the TLS configuration of [`super::client_config`], with a witness of the server's chain.
/// The witness decides nothing: a chain is accepted exactly as by the usual configuration.
///
/// # Errors
/// An unreadable PEM file, or no usable authority.
pub fn witnessed_config(
    ca: &Ca,
    pem: Option<&[u8]>,
) -> Result<(Arc<ClientConfig>, Arc<Witness>), TlsError> {
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots(ca, pem)?), crypto())
        .build()
        .map_err(TlsError::Verifier)?;
    let witness = Arc::new(Witness::default());
    let verifier = WitnessVerifier {
        inner: verifier,
        witness: Arc::clone(&witness),
    };
    let mut config = ClientConfig::builder_with_provider(crypto())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Versions)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((Arc::new(config), witness))
}

/// A verifier that notes each chain, and leaves the decision to the usual verifier.
#[derive(Debug)]
struct WitnessVerifier {
    inner: Arc<WebPkiServerVerifier>,
    witness: Arc<Witness>,
}

impl ServerCertVerifier for WitnessVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain = std::iter::once(end_entity).chain(intermediates);
        *self.witness.0.lock() = chain.take(MAX_CHAIN).filter_map(facts_of).collect();
        self.inner
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

fn facts_of(certificate: &CertificateDer<'_>) -> Option<CertificateFacts> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let names = alternative
        .iter()
        .flat_map(|extension| &extension.value.general_names)
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress([a, b, c, d]) => Some(format!("{a}.{b}.{c}.{d}")),
            _ => None,
        });
    let common = common_name(certificate.subject());
    Some(CertificateFacts {
        subject: common
            .or_else(|| organization(certificate.subject()))
            .unwrap_or_else(|| "a certificate without a name".to_owned()),
        issuer: signer(certificate.issuer()),
        self_signed: certificate.issuer() == certificate.subject(),
        names: names.collect(),
        not_before: certificate.validity().not_before.timestamp(),
        not_after: certificate.validity().not_after.timestamp(),
    })
}

/// Returns the name of a signer: `DigiCert Inc, DigiCert Global G2 TLS RSA SHA256 2020 CA1`.
fn signer(name: &X509Name<'_>) -> String {
    let parts: Vec<_> = [organization(name), common_name(name)]
        .into_iter()
        .flatten()
        .collect();
    if parts.is_empty() {
        "a signer without a name".to_owned()
    } else {
        parts.join(", ")
    }
}

fn common_name(name: &X509Name<'_>) -> Option<String> {
    let value = name.iter_common_name().next()?.as_str().ok()?;
    Some(value.to_owned())
}

fn organization(name: &X509Name<'_>) -> Option<String> {
    let value = name.iter_organization().next()?.as_str().ok()?;
    Some(value.to_owned())
}

/// The longest chain that is looked at: public chains have two to four certificates.
const MAX_CHAIN: usize = 8;
