//! Files of certificates and authorities that cannot be used: what was read of them before stays in use, and nothing
//! else waits for them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::authorities::Authorities;
use super::server_tls::{INBOUND, OUTBOUND, ServerCertificates};
use super::streams::streams;
use super::{Live, Reloader};
use crate::config::Config;
use crate::provider::Ca;
use crate::tls::{self, UnusableFiles};

/// Files that cannot be used, with the key of the configuration that names them.
#[derive(Clone, Debug)]
pub struct KeptFiles {
    /// The use of the files.
    pub serves: FileUse,
    /// The files, and the reason.
    pub unusable: UnusableFiles,
    /// The time of the first load that could not use the files for this reason.
    pub since: SystemTime,
}

/// The use of a file with certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileUse {
    /// `[inbound.tls]`.
    Inbound,
    /// `[outbound.tls]`.
    Outbound,
    /// The authorities of the provider of this name.
    Provider(String),
    /// The authorities of the shared server.
    Limits,
    /// The authorities of the server of a stream, a destination of the webhook of this name.
    Stream(String),
}

impl FileUse {
    /// Returns the key of the configuration.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::Inbound => INBOUND.to_owned(),
            Self::Outbound => OUTBOUND.to_owned(),
            Self::Provider(name) => format!("provider.{name}.ca"),
            Self::Limits => "limits.ca".to_owned(),
            Self::Stream(webhook) => format!("webhook {webhook}: to.ca"),
        }
    }
}

impl KeptFiles {
    /// Returns the files as a line: the key, the reason, and what is in use.
    #[must_use]
    pub fn line(&self) -> String {
        let problem = &self.unusable.problem;
        format!(
            "{}: {problem}; what was read before stays in use, and is gone after a restart",
            self.serves.key()
        )
    }

    fn is_same(&self, other: &Self) -> bool {
        self.serves == other.serves && self.unusable == other.unusable
    }
}

impl Live {
    /// True if a file belongs to those that cannot be used: its content has no effect.
    pub(super) fn has_kept_file(&self, path: &Path) -> bool {
        let mut paths = self.kept_files.iter().flat_map(|kept| &kept.unusable.paths);
        paths.any(|kept| kept == path)
    }
}

impl Reloader {
    /// Reports the files that `live` cannot use and `before` could, in log and audit file. Returns true if there are any.
    pub(super) fn report_kept_files(&self, before: &Live, live: &Live) -> bool {
        let is_told = |kept: &KeptFiles| before.kept_files.iter().any(|told| told.is_same(kept));
        let mut has_reported = false;
        for kept in live.kept_files.iter().filter(|kept| !is_told(kept)) {
            has_reported = true;
            let (key, reason) = (kept.serves.key(), kept.unusable.problem.as_str());
            tracing::error!(
                key,
                reason,
                "the file cannot be used: what was read before stays in use; put a good one there, as Keyside would not start with this one"
            );
            let fields = [("key", key.into()), ("reason", reason.into())];
            self.audit.record("file kept back", fields);
        }
        has_reported
    }
}

/// Puts the contents `before` in the place of authorities that cannot be used. Returns these.
pub(super) fn keep_authorities(
    config: &Config,
    contents: &mut Authorities,
    before: Option<&Live>,
) -> Vec<KeptFiles> {
    let Some(before) = before else {
        return Vec::new();
    };
    let mut all = Vec::new();
    for (path, serves) in uses(config) {
        let Some(Ok(usable)) = before.authorities.get(&path) else {
            continue;
        };
        let problem = match contents.get(&path) {
            Some(Ok(content)) if content == usable => continue,
            _ => problem(contents, &path),
        };
        let ca = Ca::File(path.clone());
        if let Some(problem) = problem
            && tls::client_config(&ca, Some(usable)).is_ok()
        {
            let unusable = UnusableFiles {
                paths: vec![path.clone()],
                problem,
            };
            all.push(kept(serves, unusable, before));
            contents.insert(path, Ok(usable.clone()));
        }
    }
    all
}

/// Returns the files of listeners that cannot be used.
pub(super) fn of_listeners(
    certificates: &ServerCertificates,
    before: Option<&Live>,
) -> Vec<KeptFiles> {
    let Some(before) = before else {
        return Vec::new();
    };
    let inbound = certificates
        .inbound
        .iter()
        .map(|tls| (FileUse::Inbound, tls));
    let outbound = certificates
        .outbound
        .iter()
        .map(|tls| (FileUse::Outbound, tls));
    inbound
        .chain(outbound)
        .flat_map(|(serves, tls)| {
            let each = tls.unusable.iter().cloned();
            each.map(move |unusable| kept(serves.clone(), unusable, before))
        })
        .collect()
}

/// True if two loads differ in the contents of files, or in what cannot be used of them.
pub(super) fn differ(before: &Live, contents: &Authorities, kept: &[KeptFiles]) -> bool {
    let is_same_content =
        before.authorities.len() == contents.len()
            && before.authorities.iter().zip(contents).all(
                |((path, before), (other, now))| match (before, now) {
                    (Ok(before), Ok(now)) => path == other && before == now,
                    (Err(_), Err(_)) => path == other,
                    (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
                },
            );
    let is_same_fault = before.kept_files.len() == kept.len()
        && before
            .kept_files
            .iter()
            .zip(kept)
            .all(|(before, now)| before.is_same(now));
    !(is_same_content && is_same_fault)
}

/// Returns the files since the load that first could not use them.
fn kept(serves: FileUse, unusable: UnusableFiles, before: &Live) -> KeptFiles {
    let now = KeptFiles {
        serves,
        unusable,
        since: SystemTime::now(),
    };
    let earlier = before.kept_files.iter().find(|told| told.is_same(&now));
    earlier.cloned().unwrap_or(now)
}

/// Returns the reason for which authorities cannot be used.
fn problem(contents: &Authorities, path: &Path) -> Option<String> {
    let shown = path.display();
    let pem = match contents.get(path)? {
        Ok(pem) => pem,
        Err(error) => return Some(format!("{shown}: the file cannot be read: {error}")),
    };
    let fault = tls::client_config(&Ca::File(path.to_owned()), Some(pem)).err()?;
    Some(format!("{shown}: {fault}"))
}

/// Returns the files of authorities for upstreams, the shared server and the servers of streams, each with its first use.
fn uses(config: &Config) -> BTreeMap<PathBuf, FileUse> {
    let mut all = BTreeMap::new();
    for credential in config.credentials.values() {
        if let Ca::File(path) = &credential.provider.ca {
            let name = credential.provider.name.clone();
            all.entry(path.clone()).or_insert(FileUse::Provider(name));
        }
    }
    if let Some(path) = config.limits.as_ref().and_then(|limits| limits.ca.clone()) {
        all.entry(path).or_insert(FileUse::Limits);
    }
    for webhook in &config.webhooks {
        for path in streams(webhook).filter_map(|(_, target)| target.ca.clone()) {
            let name = webhook.name.clone();
            all.entry(path).or_insert(FileUse::Stream(name));
        }
    }
    all
}
