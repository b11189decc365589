//! Client certificates with a required name.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

/// A verifier that accepts the clients accepted by `inner` if their certificate has the name.
///
/// The common name counts as well as the alternative names. Meta documents its client certificate
/// by common name (`CN=client.webhooks.fbclientcerts.com`) and does not mention an alternative
/// name, and TLS libraries check alternative names only.
#[derive(Debug)]
pub(super) struct NamedClientVerifier {
    pub(super) inner: Arc<dyn ClientCertVerifier>,
    pub(super) name: String,
}

impl ClientCertVerifier for NamedClientVerifier {
    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self
            .inner
            .verify_client_cert(end_entity, intermediates, now)?;
        if has_name(end_entity, &self.name) {
            Ok(verified)
        } else {
            Err(CertificateError::NotValidForName.into())
        }
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
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

fn has_name(certificate: &CertificateDer<'_>, name: &str) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
        return false;
    };
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let alternatives = alternative
        .iter()
        .flat_map(|extension| &extension.value.general_names);
    let mut common = certificate
        .subject()
        .iter_common_name()
        .filter_map(|common| common.as_str().ok());
    let mut dns = alternatives.filter_map(|general| {
        if let GeneralName::DNSName(dns) = general {
            Some(*dns)
        } else {
            None
        }
    });
    dns.any(|dns| dns.eq_ignore_ascii_case(name))
        || common.any(|common| common.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_common_or_alternative_name_is_accepted() {
        let issue = |common: &str, alternatives: &[&str]| {
            let mut params = rcgen::CertificateParams::new(
                alternatives
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>(),
            )
            .unwrap();
            params
                .distinguished_name
                .push(rcgen::DnType::CommonName, common);
            params
                .self_signed(&rcgen::KeyPair::generate().unwrap())
                .unwrap()
                .der()
                .clone()
        };
        let table = [
            ("client.test", vec![], true),
            ("other", vec!["a.test", "Client.Test"], true),
            ("other", vec!["client.test.evil"], false),
            ("xclient.test", vec!["*.test"], false),
        ];
        for (common, alternatives, expected) in table {
            assert_eq!(
                has_name(&issue(common, &alternatives), "client.test"),
                expected,
                "{common} {alternatives:?}"
            );
        }
        assert!(!has_name(
            &CertificateDer::from(vec![0x30, 0]),
            "client.test"
        ));
    }
}
