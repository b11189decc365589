//! The inputs of a load: the configuration, secrets, and files with certificates.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::aside::{LoadTime, aside};
use super::authorities::{Authorities, all_files, read_authorities};
use super::egress::{LoadedEgress, sdk_warning};
use super::remarks::Remarks;
use super::unchanged::{is_same_text, unchanged_credentials};
use super::{Live, LoadError};
use crate::config::{Config, ConfigFile, ListenAddress, LogConfig, Reference, WebhookConfig};
use crate::credential::source::{
    Findings, LateReads, Managers, ReadSecrets, SeenFiles, path_of, read_all, read_in_time,
};
use crate::egress::Egress;

/// The inputs of a load, before anything is built.
pub(super) struct Inputs {
    pub(super) config: Arc<Config>,
    /// The files and folders of the configuration.
    pub(super) config_files: Arc<[PathBuf]>,
    pub(super) findings: Findings,
    /// The credentials whose secrets cannot have changed since the load before: none of theirs is
    /// among `findings`.
    pub(super) unchanged: BTreeSet<String>,
    /// The oddities of secrets, by reference.
    pub(super) oddities: Oddities,
    pub(super) authorities: Authorities,
    /// The files of this load, for the watch and for the next load.
    pub(super) files: SeenFiles,
    pub(super) managers: Arc<Managers>,
    pub(super) egress: Egress,
    /// The remarks about the way out.
    pub(super) remarks: Remarks,
    /// The reads still under way.
    pub(super) late: LateReads,
}

/// The oddities of secrets, by reference.
pub(super) type Oddities = BTreeMap<Reference, Vec<&'static str>>;

/// The configuration of a first load, read before the log begins: the log has its settings from
/// there.
pub struct FirstConfig {
    pub(super) file: ConfigFile,
    read: ReadConfig,
}

impl FirstConfig {
    /// Reads the configuration in `file`.
    ///
    /// # Errors
    /// If the configuration has faults.
    pub async fn read(file: ConfigFile) -> Result<Self, LoadError> {
        let read = read_config(file.clone(), None).await?;
        Ok(Self { file, read })
    }

    /// Returns `[log]`.
    #[must_use]
    pub fn log(&self) -> LogConfig {
        self.read.config.log
    }
}

/// A configuration with the files that it was read from.
struct ReadConfig {
    config: Arc<Config>,
    config_files: Arc<[PathBuf]>,
    files: SeenFiles,
    /// The credentials whose secrets cannot have changed since the load before.
    unchanged: BTreeSet<String>,
    /// The references of all other credentials, and those that are no credential's.
    references: BTreeSet<Reference>,
}

/// The wait of a load for programs and secret managers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waits {
    /// A command: the load waits for every answer.
    ForAll,
    /// The start: answers for the shared server and the state, and of all others those that come
    /// within [`START_PATIENCE`].
    AtStart,
    /// A reload: answers that come within [`RELOAD_PATIENCE`].
    AtReload,
}

impl Inputs {
    /// Reads the configuration, and then every file and secret that the configuration names.
    ///
    /// # Errors
    /// If the configuration has faults, or differs from `before` in a key that needs a restart.
    pub(super) async fn read(
        file: &ConfigFile,
        before: Option<&Arc<Live>>,
        waits: Waits,
    ) -> Result<Self, LoadError> {
        let read = read_config(file.clone(), before.map(Arc::clone)).await?;
        if let Some(before) = before {
            refuse_restart_needed(&before.config, &read.config)?;
        }
        Self::named_in(read, before, waits).await
    }

    /// Reads every file and secret that the configuration of a first load names.
    ///
    /// # Errors
    /// If a file with authorities cannot be read.
    pub(super) async fn at_start(first: FirstConfig) -> Result<Self, LoadError> {
        Self::named_in(first.read, None, Waits::AtStart).await
    }

    /// Reads every file and secret that a configuration names.
    ///
    /// # Errors
    /// If a file with authorities cannot be read.
    pub(super) async fn of_config(config: Config) -> Result<Self, LoadError> {
        let read = ReadConfig {
            references: references_besides(&config, &BTreeSet::new()),
            config: Arc::new(config),
            config_files: Arc::default(),
            files: SeenFiles::default(),
            unchanged: BTreeSet::new(),
        };
        Self::named_in(read, None, Waits::ForAll).await
    }

    async fn named_in(
        read: ReadConfig,
        before: Option<&Arc<Live>>,
        waits: Waits,
    ) -> Result<Self, LoadError> {
        let managers = before
            .map(|before| Arc::clone(&before.managers))
            .unwrap_or_default();
        let paths = all_files(&read.config);
        let (authorities, of_authorities) = read_authorities(paths).await?;
        let live = before.map(Arc::as_ref);
        let egress = LoadedEgress::read(&read.config.egress, live, &managers).await?;
        let reading = read_secrets(&read.config, read.references, &managers, waits);
        let (secrets, late) = reading.await;
        let mut files = read.files;
        for more in [of_authorities, egress.files, secrets.files] {
            files.extend(more);
        }
        let mut oddities = oddities_of(&secrets.findings);
        if let Some(before) = before {
            let seen = before.files.load();
            for reference in references_of(&read.config, &read.unchanged) {
                if let Some(path) = path_of(reference) {
                    files.copy_from(&seen, &path);
                }
                if let Some(known) = before.oddities.get(reference) {
                    oddities.insert(reference.clone(), known.clone());
                }
            }
        }
        Ok(Self {
            config: read.config,
            config_files: read.config_files,
            findings: secrets.findings,
            unchanged: read.unchanged,
            oddities,
            authorities,
            files,
            egress: egress.egress,
            remarks: egress.remarks,
            managers,
            late,
        })
    }

    /// Returns the warnings about the configuration and about secrets, as texts.
    pub(super) fn warnings(&self) -> Vec<String> {
        let of_config = self.config.warnings.iter().map(ToString::to_string);
        let of_egress = sdk_warning(&self.config).into_iter();
        let of_secrets = self.oddities.iter().flat_map(|(reference, oddities)| {
            let texts = oddities.iter();
            texts.map(move |text| format!("`{reference}`: {text}"))
        });
        of_config.chain(of_egress).chain(of_secrets).collect()
    }
}

/// Returns the references with oddities.
fn oddities_of(findings: &Findings) -> Oddities {
    let found = findings
        .iter()
        .filter_map(|(reference, found)| Some((reference, &found.as_ref().ok()?.warnings)));
    found
        .filter(|(_, warnings)| !warnings.is_empty())
        .map(|(reference, warnings)| (reference.clone(), warnings.clone()))
        .collect()
}

/// Returns the references of these credentials.
fn references_of<'c>(
    config: &'c Config,
    names: &'c BTreeSet<String>,
) -> impl Iterator<Item = &'c Reference> {
    let credentials = names.iter().filter_map(|name| config.credentials.get(name));
    credentials.flat_map(|credential| credential.secrets.values().flatten())
}

/// Reads the secrets of a configuration.
async fn read_secrets(
    config: &Config,
    references: BTreeSet<Reference>,
    managers: &Arc<Managers>,
    waits: Waits,
) -> (ReadSecrets, LateReads) {
    let (awaited, patience) = match waits {
        Waits::ForAll => return (read_all(references, managers).await, LateReads::default()),
        // Without the key of the state or the shared server of limits, a start would lose what
        // outlives a restart.
        Waits::AtStart => (references_of_sidecar(config), START_PATIENCE),
        // A late key or shared server stays unchanged.
        Waits::AtReload => return read_in_time(references, managers, RELOAD_PATIENCE).await,
    };
    let in_time = &references - &awaited;
    let (awaited, (mut secrets, late)) = tokio::join!(
        read_all(awaited, managers),
        read_in_time(in_time, managers, patience)
    );
    secrets.findings.extend(awaited.findings);
    secrets.files.extend(awaited.files);
    (secrets, late)
}

/// Returns every reference to a secret that a program or a secret manager has.
pub(super) fn asked_references(config: &Config) -> BTreeSet<Reference> {
    let credentials = config.credentials.values();
    let of_credentials = credentials.flat_map(|credential| credential.secrets.values().flatten());
    of_credentials
        .filter(|reference| reference.is_asked_for())
        .cloned()
        .chain(references_besides_credentials(config))
        .collect()
}

/// Returns every reference to a secret in a configuration, but for those of the `unchanged`
/// credentials.
fn references_besides(config: &Config, unchanged: &BTreeSet<String>) -> BTreeSet<Reference> {
    let credentials = config.credentials.iter();
    let changed = credentials.filter(|(name, _)| !unchanged.contains(*name));
    let of_credentials = changed.flat_map(|(_, credential)| credential.secrets.values().flatten());
    of_credentials
        .cloned()
        .chain(references_besides_credentials(config))
        .collect()
}

/// Returns the references to the secrets that are no credential's.
pub(super) fn references_besides_credentials(config: &Config) -> BTreeSet<Reference> {
    let of_webhooks = config.webhooks.iter().flat_map(WebhookConfig::references);
    let mut all = references_of_sidecar(config);
    all.extend(of_webhooks.cloned());
    all
}

/// Returns the references to the secrets of the sidecar as a whole: the shared server of limits,
/// and the keys of the state.
fn references_of_sidecar(config: &Config) -> BTreeSet<Reference> {
    let redis = config.limits.iter().map(|limits| limits.redis.clone());
    let keys = config.state.iter().flat_map(|state| state.key.clone());
    redis.chain(keys).collect()
}

/// Refuses a change that sockets, the log or the store of events would need a restart for.
fn refuse_restart_needed(before: &Config, config: &Config) -> Result<(), LoadError> {
    let keys = [
        (
            "outbound.listen",
            before.outbound.listen != config.outbound.listen,
        ),
        (
            "outbound.allow_uids",
            before.outbound.allow_uids != config.outbound.allow_uids,
        ),
        (
            "outbound.max_connections",
            before.outbound.max_connections != config.outbound.max_connections,
        ),
        (
            "outbound.tls.listen",
            tls_addresses(before) != tls_addresses(config),
        ),
        (
            "inbound.listen",
            before.inbound.listen != config.inbound.listen,
        ),
        (
            "inbound.tls",
            before.inbound.tls.is_some() != config.inbound.tls.is_some(),
        ),
        ("admin.listen", before.admin.listen != config.admin.listen),
        ("spool.dir", spool_dir(before) != spool_dir(config)),
        ("metrics", before.metrics != config.metrics),
        ("telemetry", before.telemetry != config.telemetry),
        ("log.format", before.log.format != config.log.format),
    ];
    let changed: Vec<_> = keys
        .into_iter()
        .filter_map(|(key, is_changed)| is_changed.then_some(key))
        .collect();
    if changed.is_empty() {
        Ok(())
    } else {
        Err(LoadError::Restart(changed))
    }
}

/// Returns the folder of the spool; `None` without `[spool]`.
fn spool_dir(config: &Config) -> Option<&Path> {
    config.spool.as_ref().map(|spool| &*spool.dir)
}

/// Returns the addresses of `[outbound.tls]`; `None` without the table.
fn tls_addresses(config: &Config) -> Option<&[ListenAddress]> {
    config.outbound.tls.as_ref().map(|tls| &*tls.listen)
}

/// Reads and parses the configuration, for a reload on a thread of its own: parsing a large file
/// takes longer than a request may be held up. A configuration whose files are untouched since
/// `before` is not read again.
async fn read_config(file: ConfigFile, before: Option<Arc<Live>>) -> Result<ReadConfig, LoadError> {
    let time = LoadTime::after(before.as_ref());
    let named = file.clone();
    let read = move || {
        if let Some(before) = before.filter(|before| is_same_text(before)) {
            return Ok(same_config(&before));
        }
        let (config, texts) = Config::load_with_texts(&file).map_err(LoadError::Config)?;
        let config_files: Vec<_> = std::iter::once(file.path().to_owned())
            .chain(texts.texts.iter().map(|(path, _)| path.clone()))
            .chain(texts.folders)
            .collect();
        let mut files = SeenFiles::read(config_files.iter().cloned());
        for (path, text) in texts.texts {
            files.note_content(&path, text.as_bytes());
        }
        Ok(ReadConfig {
            references: references_besides(&config, &BTreeSet::new()),
            config: Arc::new(config),
            config_files: config_files.into(),
            files,
            unchanged: BTreeSet::new(),
        })
    };
    if time == LoadTime::Start {
        // A file hangs with its disk, and the thread of signals must not.
        aside(move || {
            named.reach();
            Ok(())
        })
        .await?;
    }
    time.run(read).await
}

/// Returns the configuration of the load before.
fn same_config(before: &Live) -> ReadConfig {
    let unchanged = unchanged_credentials(before);
    let mut files = SeenFiles::default();
    let seen = before.files.load();
    for path in before.config_files.iter() {
        files.copy_from(&seen, path);
    }
    ReadConfig {
        references: references_besides(&before.config, &unchanged),
        config: Arc::clone(&before.config),
        config_files: Arc::clone(&before.config_files),
        files,
        unchanged,
    }
}

/// The wait of a start for the secrets of credentials and webhooks. A hanging manager keeps its own
/// credentials from sending, and the events of its own webhooks waiting, and no others.
const START_PATIENCE: Duration = Duration::from_secs(2);
/// The time that a reload, and each retry, waits for programs and secret managers: managers in
/// reach answer within some ten milliseconds.
pub(super) const RELOAD_PATIENCE: Duration = Duration::from_millis(500);
