//! The local certificate authority of alias mode: it may vouch for the hosts of the configured
//! providers and for no other name, and it signs the certificate of `[outbound.tls]`.

use std::path::{Path, PathBuf};

use time::OffsetDateTime;

mod authority;
mod bundle;
mod error;
mod files;

pub use authority::NewReason;
use authority::{Authority, Existing};
pub use error::CaError;
use files::{CaFolder, SECRET, SHARED};

/// The files of an authority in one folder, after they were written.
#[derive(Debug)]
pub struct Made {
    /// The authority's certificate, which applications trust.
    pub ca: PathBuf,
    /// The authority's key, which Keyside does not need.
    pub ca_key: PathBuf,
    /// The authority's certificate, after the authorities that this system trusts.
    pub bundle: PathBuf,
    /// The number of authorities of this system in the bundle.
    pub of_system: usize,
    /// The certificate for `[outbound.tls]`.
    pub cert: PathBuf,
    /// The key for `[outbound.tls]`.
    pub key: PathBuf,
    /// The end of the authority.
    pub ca_ends: OffsetDateTime,
    /// The end of the certificate.
    pub ends: OffsetDateTime,
    /// The reason for a new authority; `None` if the authority before stays.
    pub new_ca: Option<NewReason>,
    /// True if other users may have read the key of the authority that stays.
    pub ca_key_was_open: bool,
}

/// Makes or renews the files in `dir`. An authority that is good for `hosts` stays; the certificate
/// is always new.
///
/// # Errors
/// If a file cannot be written, or if a file in the way was not made by this function: such a file
/// is never replaced.
pub fn make(dir: &Path, hosts: &[String], now: OffsetDateTime) -> Result<Made, CaError> {
    if hosts.is_empty() {
        return Err(CaError::NoHosts);
    }
    let folder = CaFolder::open(dir)?;
    for name in [CA, CA_KEY, BUNDLE, CERT, KEY] {
        folder.check_ours(name)?;
    }
    let existing = Existing::read(&folder.read(CA)?, &folder.read(CA_KEY)?);
    let (authority, new_ca) = match existing.judge(hosts, now) {
        Ok(authority) => (authority, None),
        Err(reason) => {
            let authority = Authority::new(hosts, now)?;
            folder.write(CA_KEY, &authority.key_pem(), SECRET)?;
            folder.write(CA, authority.pem(), SHARED)?;
            (authority, Some(reason))
        }
    };
    let (bundle, of_system) = bundle::with_system(authority.pem());
    folder.write(BUNDLE, &bundle, SHARED)?;
    let leaf = authority.issue(hosts, now)?;
    folder.write(KEY, &leaf.key_pem, SECRET)?;
    folder.write(CERT, &leaf.pem, SHARED)?;
    Ok(Made {
        ca: folder.path(CA),
        ca_key: folder.path(CA_KEY),
        bundle: folder.path(BUNDLE),
        of_system,
        cert: folder.path(CERT),
        key: folder.path(KEY),
        ca_ends: authority.ends(),
        ends: leaf.ends,
        ca_key_was_open: new_ca.is_none() && folder.is_open(CA_KEY),
        new_ca,
    })
}

const CA: &str = "ca.pem";
const CA_KEY: &str = "ca.key";
const BUNDLE: &str = "bundle.pem";
const CERT: &str = "alias.pem";
const KEY: &str = "alias.key";
