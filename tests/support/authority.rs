//! A certificate authority for tests, with good and bad certificates for upstreams.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate authority with a key.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// The kinds of certificate that an upstream can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// Valid for `localhost`, `127.0.0.1` and `graph.test`, from the authority that Keyside trusts.
    Good,
    /// Expired years ago.
    Expired,
    /// Valid from a far future on.
    NotYetValid,
    /// Valid for `other.test` only.
    WrongHost,
    /// Signed by an authority that Keyside does not trust.
    UnknownAuthority,
    /// Signed by its own key.
    SelfSigned,
}

impl Authority {
    /// The authority that the default configuration trusts.
    pub fn trusted() -> &'static Self {
        static TRUSTED: OnceLock<Authority> = OnceLock::new();
        TRUSTED.get_or_init(Self::new)
    }

    /// Makes an authority that no configuration trusts.
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names are fine");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "Keyside test CA");
        let key = KeyPair::generate().expect("a key");
        Self {
            issuer: CertifiedIssuer::self_signed(params, key).expect("a certificate"),
        }
    }

    /// The certificate of the authority, as PEM.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate for `localhost` and `127.0.0.1` and its key, both as PEM.
    pub fn server_pem(&self) -> (String, String) {
        self.server_pem_of(&["localhost", "127.0.0.1"])
    }

    /// A certificate for these names, and its key.
    pub fn server_pem_of(&self, names: &[&str]) -> (String, String) {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        self.issue_pem(&CertificateParams::new(names).expect("the names are valid"))
    }

    /// A certificate as by [`Self::server_pem`] that was issued 100 days ago and ends after `left`,
    /// and its key.
    pub fn server_pem_for(&self, left: Duration) -> (String, String) {
        let now = SystemTime::now();
        self.server_pem_within(now - 100 * DAY, now + left)
    }

    /// A certificate as by [`Self::server_pem`] with these times, and its key.
    pub fn server_pem_within(&self, begin: SystemTime, end: SystemTime) -> (String, String) {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).expect("the names are valid");
        params.not_before = begin.into();
        params.not_after = end.into();
        self.issue_pem(&params)
    }

    /// The TLS side of an upstream with a certificate for these names.
    pub fn server_config(&self, names: &[&str]) -> Arc<ServerConfig> {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let params = CertificateParams::new(names).expect("the names are valid");
        let (certificate, key) = self.issue(&params);
        serving(certificate, key)
    }

    /// A certificate for a client with this common name and its key, both as PEM.
    pub fn client_pem(&self, name: &str) -> (String, String) {
        let mut params = CertificateParams::new(Vec::new()).expect("no names are fine");
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        self.issue_pem(&params)
    }

    fn issue_pem(&self, params: &CertificateParams) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }

    fn issue(
        &self,
        params: &CertificateParams,
    ) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        (
            certificate.der().clone(),
            PrivateKeyDer::try_from(key.serialize_der()).expect("a PKCS#8 key"),
        )
    }
}

/// The TLS side of a client that trusts `authorities`, and shows a client certificate, if given.
pub fn client_config(
    authorities: &[&str],
    certificate: Option<&(String, String)>,
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for pem in authorities {
        roots
            .add(CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM"))
            .expect("a certificate");
    }
    let config = ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .expect("the provider has the default versions")
    .with_root_certificates(roots);
    Arc::new(match certificate {
        None => config.with_no_client_auth(),
        Some((certificate, key)) => config
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM")],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM"),
            )
            .expect("the key fits the certificate"),
    })
}

/// The TLS side of an upstream with a certificate of this kind.
pub fn server_config(which: Certificate) -> Arc<ServerConfig> {
    let names = match which {
        Certificate::WrongHost => vec!["other.test".to_owned()],
        _ => vec![
            "localhost".to_owned(),
            "127.0.0.1".to_owned(),
            "graph.test".to_owned(),
        ],
    };
    let mut params = CertificateParams::new(names).expect("the names are valid");
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2070, 1, 1);
    match which {
        Certificate::Expired => params.not_after = date_time_ymd(2021, 1, 1),
        Certificate::NotYetValid => params.not_before = date_time_ymd(2069, 1, 1),
        _ => {}
    }
    let (certificate, key) = match which {
        Certificate::UnknownAuthority => Authority::new().issue(&params),
        Certificate::SelfSigned => {
            let key = KeyPair::generate().expect("a key");
            let certificate = params.self_signed(&key).expect("a certificate");
            (
                certificate.der().clone(),
                PrivateKeyDer::try_from(key.serialize_der()).expect("a PKCS#8 key"),
            )
        }
        _ => Authority::trusted().issue(&params),
    };
    serving(certificate, key)
}

/// The TLS side of an upstream with this certificate.
fn serving(certificate: CertificateDer<'static>, key: PrivateKeyDer<'static>) -> Arc<ServerConfig> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .expect("the provider has the default versions")
    .with_no_client_auth()
    .with_single_cert(vec![certificate], key)
    .expect("the key fits the certificate");
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

const DAY: Duration = Duration::from_secs(86_400);
