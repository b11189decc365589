//! TLS on Keyside's own listeners: the certificate, and the required client certificates.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::client::roots_of;
use super::name::NamedClientVerifier;
use super::validity::{Stage, Validity};
use super::{FileFault, TlsError, crypto};
use crate::config::{ClientAuth, InboundTls, OutboundTls};

/// The files of a listener with TLS, and the kind of its clients.
#[derive(Clone, Copy, Debug)]
pub struct ServerFiles<'c> {
    cert: &'c Path,
    key: &'c Path,
    client: Option<&'c ClientAuth>,
    clients: Clients,
}

/// The clients of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clients {
    /// Providers, which trust public authorities.
    Providers,
    /// Applications, which are told what to trust.
    Applications,
}

/// The TLS side of a listener.
#[derive(Clone, Debug)]
pub struct ServerTls {
    /// The configuration for handshakes.
    pub config: Arc<ServerConfig>,
    /// The certificate's file and times; `None` for a certificate that cannot be parsed.
    pub validity: Option<Validity>,
    /// Warnings about usable but doubtful certificates.
    pub warnings: Vec<String>,
    /// The files in whose place the values of the load before stay in use.
    pub unusable: Vec<UnusableFiles>,
    identity: ServerIdentity,
    /// The verifier of client certificates by the authorities alone, before any name; `None`
    /// without `client_ca`.
    clients: Option<Arc<dyn ClientCertVerifier>>,
}

/// Unusable files. Their content from the last good reading stays in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnusableFiles {
    /// The files.
    pub paths: Vec<PathBuf>,
    /// The reason, with the name of the file.
    pub problem: String,
}

/// A certificate with its private key.
#[derive(Clone, Debug)]
struct ServerIdentity {
    certified: Arc<CertifiedKey>,
    validity: Option<Validity>,
    chain_warnings: Vec<String>,
}

impl<'c> ServerFiles<'c> {
    /// Returns the files of `[inbound.tls]`.
    #[must_use]
    pub fn inbound(config: &'c InboundTls) -> Self {
        Self {
            cert: &config.cert,
            key: &config.key,
            client: config.client.as_ref(),
            clients: Clients::Providers,
        }
    }

    /// Returns the files of `[outbound.tls]`.
    #[must_use]
    pub fn outbound(config: &'c OutboundTls) -> Self {
        Self {
            cert: &config.cert,
            key: &config.key,
            client: None,
            clients: Clients::Applications,
        }
    }

    /// Returns the paths.
    pub fn paths(&self) -> impl Iterator<Item = PathBuf> {
        let client = self.client.map(|client| &*client.ca);
        let all = [Some(self.cert), Some(self.key), client];
        all.into_iter().flatten().map(Path::to_owned)
    }

    /// Returns the path of the private key.
    #[must_use]
    pub fn key(&self) -> &'c Path {
        self.key
    }
}

/// Returns the TLS side of a listener: TLS 1.2 and 1.3, ALPN `http/1.1`, no early data. `contents`
/// has the contents of the files.
///
/// A certificate that cannot be used with its key, or that has expired or is not valid yet while
/// the one before is, keeps the certificate `before` in use, and authorities of clients that cannot
/// be used keep the authorities `before`. [`ServerTls::unusable`] says so.
///
/// # Errors
/// A file that cannot be read or used, or a key of another certificate, with nothing before to keep
/// in use.
pub fn server_config(
    files: ServerFiles<'_>,
    contents: &BTreeMap<PathBuf, io::Result<Vec<u8>>>,
    before: Option<&ServerTls>,
) -> Result<ServerTls, TlsError> {
    let mut unusable = Vec::new();
    let now = SystemTime::now();
    let identity_before = before.map(|before| before.identity.clone());
    let new = identity(files, contents)
        .and_then(|new| in_time(new, identity_before.as_ref(), files.cert, now));
    let identity = new.or_else(|error| {
        let paths = vec![files.cert.to_owned(), files.key.to_owned()];
        kept(identity_before, paths, error, &mut unusable)
    })?;
    let clients = match files.client {
        None => None,
        Some(client) => {
            let before = before.and_then(|before| before.clients.clone());
            let clients = authorities(client, contents)
                .or_else(|error| kept(before, vec![client.ca.clone()], error, &mut unusable));
            Some(clients?)
        }
    };
    let name = files.client.and_then(|client| client.name.clone());
    let verifier: Arc<dyn ClientCertVerifier> = match (clients.clone(), name) {
        (None, _) => Arc::new(NoClientAuth),
        (Some(inner), None) => inner,
        (Some(inner), Some(name)) => Arc::new(NamedClientVerifier { inner, name }),
    };
    let resolver = SingleCertAndKey::from(Arc::clone(&identity.certified));
    let mut server = ServerConfig::builder_with_provider(crypto())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Versions)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(resolver));
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    let validity = identity.validity.as_ref();
    let concern = validity.and_then(|validity| validity.concern(now));
    let warnings = concern
        .into_iter()
        .chain(identity.chain_warnings.iter().cloned());
    Ok(ServerTls {
        config: Arc::new(server),
        validity: identity.validity.clone(),
        warnings: warnings.collect(),
        unusable,
        identity,
        clients,
    })
}

/// Refuses a certificate that no client takes now, while clients take the one `before`.
fn in_time(
    new: ServerIdentity,
    before: Option<&ServerIdentity>,
    cert: &Path,
    now: SystemTime,
) -> Result<ServerIdentity, TlsError> {
    let stage = |identity: &ServerIdentity| Some(identity.validity.as_ref()?.stage(now));
    let is_before_taken = matches!(before.and_then(stage), Some(Stage::Good | Stage::Ending));
    match stage(&new) {
        Some(Stage::Expired) if is_before_taken => Err(fault(cert, FileFault::Expired)),
        Some(Stage::Early) if is_before_taken => Err(fault(cert, FileFault::Early)),
        _ => Ok(new),
    }
}

/// Returns the value before, and notes the files that cannot be used; the error without a value
/// before.
fn kept<T>(
    before: Option<T>,
    paths: Vec<PathBuf>,
    error: TlsError,
    unusable: &mut Vec<UnusableFiles>,
) -> Result<T, TlsError> {
    let Some(before) = before else {
        return Err(error);
    };
    let problem = error.to_string();
    unusable.push(UnusableFiles { paths, problem });
    Ok(before)
}

fn identity(
    files: ServerFiles<'_>,
    contents: &BTreeMap<PathBuf, io::Result<Vec<u8>>>,
) -> Result<ServerIdentity, TlsError> {
    let chain = chain(files.cert, read(contents, files.cert)?)?;
    let validity = Validity::of(files.cert, &chain);
    let chain_warnings = match files.clients {
        Clients::Providers => chain_warnings(files.cert, &chain),
        Clients::Applications => Vec::new(),
    };
    let key = key(files.key, read(contents, files.key)?)?;
    let certified = CertifiedKey::from_der(chain, key, &crypto()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => fault(files.key, FileFault::KeyMismatch),
        other @ rustls::Error::InvalidCertificate(_) => {
            fault(files.cert, FileFault::CertificateUnusable(other))
        }
        other => fault(files.key, FileFault::KeyUnusable(other)),
    })?;
    Ok(ServerIdentity {
        certified: Arc::new(certified),
        validity,
        chain_warnings,
    })
}

/// Returns the verifier of client certificates by the authorities of `client_ca`.
fn authorities(
    client: &ClientAuth,
    contents: &BTreeMap<PathBuf, io::Result<Vec<u8>>>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let authorities = CertificateDer::pem_slice_iter(read(contents, &client.ca)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| fault(&client.ca, FileFault::NotPem))?;
    let roots = roots_of(authorities).map_err(|_| fault(&client.ca, FileFault::NoAuthority))?;
    let inner = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), crypto())
        .build()
        .map_err(|error| fault(&client.ca, FileFault::Authorities(error)))?;
    Ok(inner)
}

fn chain(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err(fault(path, FileFault::NoCertificate)),
        Ok(chain) => Ok(chain),
        Err(_) => Err(fault(path, FileFault::NotPem)),
    }
}

fn key(path: &Path, pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    if pem
        .windows(ENCRYPTED.len())
        .any(|window| window == ENCRYPTED)
    {
        return Err(fault(path, FileFault::KeyEncrypted));
    }
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| fault(path, FileFault::NoKey))
}

/// Returns warnings about the order and the length of a chain.
fn chain_warnings(path: &Path, chain: &[CertificateDer<'static>]) -> Vec<String> {
    let parsed: Vec<_> = chain
        .iter()
        .filter_map(|der| Some(X509Certificate::from_der(der).ok()?.1))
        .collect();
    let mut warnings = Vec::new();
    let mut warn = |text: &str| warnings.push(format!("{}: {text}", path.display()));
    if let [leaf] = &parsed[..]
        && leaf.issuer() != leaf.subject()
    {
        warn("the file has the certificate without its chain; most providers need the chain");
    }
    if parsed
        .windows(2)
        .any(|pair| matches!(pair, [of, by] if of.issuer() != by.subject()))
    {
        warn(
            "the chain is out of order; the certificate of the issuer should follow each certificate",
        );
    }
    warnings
}

fn read<'f>(
    files: &'f BTreeMap<PathBuf, io::Result<Vec<u8>>>,
    path: &Path,
) -> Result<&'f [u8], TlsError> {
    match files.get(path) {
        Some(Ok(content)) => Ok(content),
        Some(Err(error)) => Err(fault(path, FileFault::Read(error.kind()))),
        None => Err(fault(path, FileFault::NotRead)),
    }
}

fn fault(path: &Path, fault: FileFault) -> TlsError {
    TlsError::File {
        path: path.to_owned(),
        fault,
    }
}

/// The mark of an encrypted PEM key, in both forms (PKCS #8 and traditional).
const ENCRYPTED: &[u8] = b"ENCRYPTED";
