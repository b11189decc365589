//! The certificates of the listeners with TLS.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::LoadError;
use super::authorities::Authorities;
use crate::config::Config;
use crate::credential::source::readable_by_all;
use crate::tls::{self, ServerFiles, ServerTls};

/// The certificates of a load, by listener; `None` for a listener without TLS.
#[derive(Clone, Debug, Default)]
pub struct ServerCertificates {
    /// The certificate of `[inbound.tls]`.
    pub inbound: Option<ServerTls>,
    /// The certificate of `[outbound.tls]`.
    pub outbound: Option<ServerTls>,
}

impl ServerCertificates {
    /// Reads the certificates of a configuration from the contents of the files. For an unusable
    /// file, the certificate `before` stays in use.
    ///
    /// # Errors
    /// If a file cannot be used, and no certificate was in use before.
    pub(super) fn read(
        config: &Config,
        contents: &Authorities,
        before: Option<&Self>,
    ) -> Result<Self, LoadError> {
        let inbound = config.inbound.tls.as_ref().map(ServerFiles::inbound);
        let outbound = config.outbound.tls.as_ref().map(ServerFiles::outbound);
        let side = |table, files: Option<ServerFiles<'_>>, before| {
            files
                .map(|files| read(table, files, contents, before))
                .transpose()
        };
        let inbound_before = before.and_then(|before| before.inbound.as_ref());
        let outbound_before = before.and_then(|before| before.outbound.as_ref());
        Ok(Self {
            inbound: side(INBOUND, inbound, inbound_before)?,
            outbound: side(OUTBOUND, outbound, outbound_before)?,
        })
    }

    /// Returns each certificate with its table.
    pub fn each(&self) -> impl Iterator<Item = (&'static str, &ServerTls)> {
        let inbound = self.inbound.iter().map(|tls| (INBOUND, tls));
        let outbound = self.outbound.iter().map(|tls| (OUTBOUND, tls));
        inbound.chain(outbound)
    }

    /// Returns the warnings about all certificates.
    pub(super) fn warnings(&self) -> impl Iterator<Item = String> {
        self.each().flat_map(|(table, tls)| {
            let warnings = tls.warnings.iter();
            warnings.map(move |warning| format!("{table}: {warning}"))
        })
    }
}

fn read(
    table: &'static str,
    files: ServerFiles<'_>,
    contents: &Authorities,
    before: Option<&ServerTls>,
) -> Result<ServerTls, LoadError> {
    let mut tls = tls::server_config(files, contents, before)
        .map_err(|error| LoadError::ServerTls { table, error })?;
    let concern = readable_by_all(files.key());
    tls.warnings
        .extend(concern.map(|concern| format!("{}: {concern}", files.key().display())));
    Ok(tls)
}

/// The certificate for new handshakes of a listener.
pub(super) type ServerTlsCell = Arc<ArcSwap<rustls::ServerConfig>>;

/// The cells with the certificates of the listeners; `None` for a listener without TLS.
#[derive(Debug)]
pub(super) struct ServerTlsCells {
    pub(super) inbound: Option<ServerTlsCell>,
    pub(super) outbound: Option<ServerTlsCell>,
}

impl ServerTlsCells {
    /// Makes cells with the certificates of the first load.
    pub(super) fn new(certificates: &ServerCertificates) -> Self {
        let cell = |tls: &ServerTls| Arc::new(ArcSwap::from(Arc::clone(&tls.config)));
        Self {
            inbound: certificates.inbound.as_ref().map(cell),
            outbound: certificates.outbound.as_ref().map(cell),
        }
    }

    /// Puts the certificates of a later load in use. Whether a listener has TLS never changes in a
    /// running process.
    pub(super) fn store(&self, certificates: &ServerCertificates) {
        for (cell, tls) in [
            (&self.inbound, &certificates.inbound),
            (&self.outbound, &certificates.outbound),
        ] {
            if let (Some(cell), Some(tls)) = (cell, tls) {
                cell.store(Arc::clone(&tls.config));
            }
        }
    }
}

/// The table of the inbound listener's certificate.
pub const INBOUND: &str = "inbound.tls";
/// The table of the outbound listener's certificate.
pub const OUTBOUND: &str = "outbound.tls";
