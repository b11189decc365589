//! The server side: the certificate that is shown, and which clients may connect.

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
use super::name::Named;
use super::{TlsError, crypto};
use crate::config::{ClientAuth, InboundTls};

/// What callers are answered with: TLS 1.2 and 1.3, `http/1.1`, no early data. `files` has the content
/// of the files that `config` names. The second part is what is usable and yet worth a warning.
///
/// # Errors
/// Where a file cannot be read or used, or where key and certificate do not belong together.
pub fn server_config(
    config: &InboundTls,
    files: &BTreeMap<PathBuf, io::Result<Vec<u8>>>,
) -> Result<(Arc<ServerConfig>, Vec<String>), TlsError> {
    let chain = chain(&config.cert, read(files, &config.cert)?)?;
    let warnings = warnings(&config.cert, &chain);
    let key = key(&config.key, read(files, &config.key)?)?;
    let crypto = crypto();
    let certified = CertifiedKey::from_der(chain, key, &crypto).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            problem(&config.key, "the key is not that of the certificate; put both in place before reloading")
        }
        other => problem(&config.key, &format!("the key cannot be used: {other}")),
    })?;
    let verifier: Arc<dyn ClientCertVerifier> = match &config.client {
        None => Arc::new(NoClientAuth),
        Some(client) => client_verifier(client, read(files, &client.ca)?)?,
    };
    let mut server = ServerConfig::builder_with_provider(crypto)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Versions)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((Arc::new(server), warnings))
}

fn client_verifier(client: &ClientAuth, pem: &[u8]) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let authorities: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let authorities = authorities.map_err(|_| problem(&client.ca, "it is not valid PEM"))?;
    let roots = roots_of(authorities).map_err(|error| problem(&client.ca, &error.to_string()))?;
    let inner = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), crypto())
        .build()
        .map_err(|error| problem(&client.ca, &error.to_string()))?;
    Ok(match &client.name {
        None => inner,
        Some(name) => Arc::new(Named { inner, name: name.clone() }),
    })
}

fn chain(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err(problem(path, "there is no certificate in it")),
        Ok(chain) => Ok(chain),
        Err(_) => Err(problem(path, "it is not valid PEM; is it still being written?")),
    }
}

fn key(path: &Path, pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    if pem.windows(ENCRYPTED.len()).any(|window| window == ENCRYPTED) {
        return Err(problem(
            path,
            "the key is encrypted; put it there without a passphrase, readable by this user alone",
        ));
    }
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| problem(path, "there is no private key in it, in PEM"))
}

/// A certificate out of its time is shown all the same: what comes is better refused by those who
/// check it than by nobody being there, and a clock may be wrong.
fn warnings(path: &Path, chain: &[CertificateDer<'static>]) -> Vec<String> {
    let parsed: Vec<_> = chain.iter().filter_map(|der| Some(X509Certificate::from_der(der).ok()?.1)).collect();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let mut warnings = Vec::new();
    let mut warn = |text: &str| warnings.push(format!("{}: {text}", path.display()));
    if let Some(leaf) = parsed.first() {
        if leaf.validity().not_after.timestamp() < now {
            warn("the certificate has expired; providers refuse it");
        }
        if leaf.validity().not_before.timestamp() > now {
            warn("the certificate is not valid yet; providers refuse it");
        }
        if parsed.len() == 1 && leaf.issuer() != leaf.subject() {
            warn("there is only the certificate itself, without its chain; most providers need the chain");
        }
    }
    if parsed.windows(2).any(|pair| matches!(pair, [of, by] if of.issuer() != by.subject())) {
        warn("the chain is out of order; each certificate should be followed by that of its issuer");
    }
    warnings
}

fn read<'f>(files: &'f BTreeMap<PathBuf, io::Result<Vec<u8>>>, path: &Path) -> Result<&'f [u8], TlsError> {
    match files.get(path) {
        Some(Ok(content)) => Ok(content),
        Some(Err(error)) => Err(problem(path, &format!("it cannot be read: {}", error.kind()))),
        None => Err(problem(path, "it was not read")),
    }
}

fn problem(path: &Path, text: &str) -> TlsError {
    TlsError::File(path.to_owned(), text.to_owned())
}

const ENCRYPTED: &[u8] = b"ENCRYPTED";
