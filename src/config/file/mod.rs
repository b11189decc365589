//! The way from `proxy.toml` to a [`Config`]: every key, its default and its check.

use std::io::ErrorKind;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing::level_filters::LevelFilter;

use super::error::Faults;
use super::{
    Config, ConfigFile, ConfigTexts, InboundConfig, LogConfig, OnFailure, Reference, ReloadConfig,
    SharedLimits, StateConfig, WebhookConfig,
};
use crate::audit::{AuditScope, AuditSettings};
use crate::document::{Document, Fault, FaultReport, Field, Malformed, Position, Reader};
use crate::log::LogFormat;
use crate::units::{self, UnitError};

mod credential;
mod destination;
mod egress;
mod endpoint;
mod files;
mod inbound;
mod listen;
mod operators;
mod outbound;
mod route;
mod same_path;
mod telemetry;
mod trust;

use credential::{Providers, credentials, references, with_uses};
use destination::spool;
use egress::egress;
use files::Files;
use inbound::{inbound, webhooks};
use listen::Addresses;
use operators::{admin, metrics};
use outbound::outbound;
use route::routes;
use telemetry::telemetry;

impl Config {
    /// Reads and checks a configuration.
    ///
    /// # Errors
    /// Every fault of the text. With a single fault, there is no configuration.
    pub fn parse(text: &str, name: &str) -> Result<Self, Faults> {
        let report = FaultReport::default();
        let document = Document::parse(text, name, &report);
        let config = document.map(|document| read(&document, &report));
        finish(config, report)
    }

    /// Reads and checks the configuration in a file, with the files that `include` names, or in the
    /// files of a folder.
    ///
    /// # Errors
    /// An unreadable file, or every fault of the text; and an unnamed file that a different user
    /// could change, if the file names programs to run.
    pub fn load(file: &ConfigFile) -> Result<Self, Faults> {
        Self::load_with_texts(file).map(|(config, _)| config)
    }

    /// Reads and checks a configuration like [`Self::load`], and returns it with what it was read
    /// from.
    ///
    /// # Errors
    /// As for [`Self::load`].
    pub fn load_with_texts(file: &ConfigFile) -> Result<(Self, ConfigTexts), Faults> {
        let report = FaultReport::default();
        let files = Files::read(file, &report)?;
        // The content of a faulty file would be missing in the other files.
        let document = files.document.filter(|_| !report.is_faulty());
        let written = document.map(|document| read(&document, &report));
        let config = finish(written, report)?.trusted(file, &files.texts)?;
        let texts = ConfigTexts {
            texts: files.texts,
            folders: files.folders,
        };
        Ok((config, texts))
    }

    /// Puts the place of its key before each text that begins with a key of the configuration in a
    /// file.
    pub fn with_places(file: &ConfigFile, texts: &mut [String]) {
        let report = FaultReport::default();
        let files = Files::read(file, &report).ok();
        let Some(document) = files.and_then(|files| files.document) else {
            return;
        };
        for text in texts {
            let key = text.split_once(": ").map_or("", |(key, _)| key);
            if let Some(at) = document.place_of(key) {
                *text = format!("{at}: {text}");
            }
        }
    }

    /// Warns about a file with a weakness, and refuses a found file with a weakness and with
    /// programs to run.
    fn trusted(mut self, file: &ConfigFile, texts: &[(PathBuf, String)]) -> Result<Self, Faults> {
        let weak = texts
            .iter()
            .find_map(|(path, _)| Some((path, trust::weakness(path)?)));
        let Some((path, weakness)) = weak else {
            return Ok(self);
        };
        let otherwise = match file {
            ConfigFile::Found(_) => ", or `--config` with the path of the file",
            ConfigFile::Named(_) => "",
        };
        let expected = format!("expected permissions for its owner alone{otherwise}");
        if matches!(file, ConfigFile::Found(_)) && self.runs_programs() {
            let message =
                format!("{weakness}, and its `exec:` references would run programs, {expected}");
            return Err(Faults(vec![whole_fault(path, message)]));
        }
        let warning = whole_fault(path, format!("{weakness}, {expected}"));
        self.warnings.push(warning);
        Ok(self)
    }

    fn runs_programs(&self) -> bool {
        let of_credentials = self
            .credentials
            .values()
            .flat_map(|credential| credential.secrets.values().flatten());
        of_credentials
            .chain(self.limits.iter().map(|limits| &limits.redis))
            .chain(self.state.iter().flat_map(|state| &state.key))
            .chain(self.egress.reference())
            .chain(self.webhooks.iter().flat_map(WebhookConfig::references))
            .any(|reference| matches!(reference, Reference::Exec { .. }))
    }
}

/// Returns the reason why the configuration cannot be read.
fn unreadable(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => {
            "there is no such file; write one, or name another one with --config".to_owned()
        }
        // The error is Keyside's own.
        ErrorKind::Other => error.to_string(),
        kind => kind.to_string(),
    }
}

/// Returns a fault of a file as a whole.
fn whole_fault(path: &Path, message: String) -> Fault {
    Fault {
        at: Position::whole(&path.display().to_string()),
        key: String::new(),
        message,
    }
}

fn finish(config: Option<Config>, report: FaultReport) -> Result<Config, Faults> {
    let (faults, warnings) = report.into_parts();
    match config {
        Some(config) if faults.is_empty() => Ok(Config { warnings, ..config }),
        _ => Err(Faults(faults)),
    }
}

/// Reads every table of a configuration. Faults go to the report.
pub(super) fn read(document: &Document, report: &FaultReport) -> Config {
    let mut root = Reader::new(document, report);
    // Read before, with the files.
    root.field("include");
    let mut addresses = Addresses::default();
    let (outbound, reach) = outbound(root.section("outbound"), &mut addresses);
    let has_inbound = root.has("inbound") || root.has("webhook");
    let inbound_section = root.section("inbound");
    let inbound = if has_inbound {
        inbound(inbound_section, &mut addresses)
    } else {
        InboundConfig::default()
    };
    let admin = admin(root.section("admin"), &mut addresses, reach);
    let metrics = root
        .table("metrics")
        .map(|table| metrics(table, &mut addresses));
    let limits = root.table("limits").and_then(limits);
    let egress = egress(root.section("egress"));
    let reload = reload(root.section("reload"));
    let log = log(root.section("log"));
    let audit = root.table("audit").and_then(audit);
    let state = root.table("state").and_then(state);
    let telemetry = root.table("telemetry").and_then(telemetry);
    let has_spool = root.has("spool");
    let spool = root
        .table("spool")
        .and_then(|table| spool(table, inbound.max_body));
    let keep = has_spool.then(|| spool.as_ref().map_or(Duration::MAX, |spool| spool.keep));
    let providers = Providers::read(root.field("provider"), report);
    let credentials = root
        .table("credential")
        .map(|table| credentials(table, &providers))
        .unwrap_or_default();
    let route_tables = root.field("route").map(|field| field.tables());
    let webhook_tables = root.field("webhook").map(|field| field.tables());
    if route_tables.is_none() && webhook_tables.is_none() {
        root.missing("route", "at least one [[route]] or [[webhook]]");
    }
    root.finish();
    let routes = routes(route_tables.unwrap_or_default(), &credentials, &outbound);
    Config {
        outbound,
        webhooks: webhooks(webhook_tables, &credentials, keep, &addresses),
        credentials: with_uses(credentials, &routes),
        routes,
        limits,
        inbound,
        spool,
        admin,
        metrics,
        egress,
        reload,
        log,
        audit,
        state,
        telemetry,
        warnings: Vec::new(),
    }
}

fn max_connections(reader: &mut Reader<'_>) -> u32 {
    let Some(field) = reader.field("max_connections") else {
        return DEFAULT_MAX_CONNECTIONS;
    };
    let number = field.integer().unwrap_or(DEFAULT_MAX_CONNECTIONS);
    if !(1..=MAX_CONNECTIONS).contains(&number) {
        field.fault("out of range, expected 1 to 100000 connections");
    }
    number
}

fn reload(mut reader: Reader<'_>) -> ReloadConfig {
    let watch = duration_or_off(&mut reader, "watch", Some(DEFAULT_WATCH));
    let refresh = duration_or_off(&mut reader, "refresh", Some(DEFAULT_REFRESH));
    reader.finish();
    ReloadConfig { watch, refresh }
}

fn limits(mut reader: Reader<'_>) -> Option<SharedLimits> {
    let redis = reader
        .required(
            "redis",
            "a reference to the URL of a Redis or Valkey, such as \"env:KEYSIDE_REDIS_URL\"",
        )
        .and_then(|field| field.parse(str::parse));
    let ca = reader.parse("ca", system_or_path);
    let on_failure = reader.choice(
        "on_failure",
        &[
            ("local", OnFailure::Local),
            ("open", OnFailure::Open),
            ("closed", OnFailure::Closed),
        ],
    );
    let replicas = reader.field("replicas").and_then(|field| {
        let replicas = field.integer().and_then(NonZeroU32::new);
        if replicas.is_none() {
            field.fault("not a count, expected how many sidecars share the limits");
        }
        replicas
    });
    reader.finish();
    Some(SharedLimits {
        redis: redis?,
        ca: ca.flatten(),
        on_failure: on_failure.unwrap_or(OnFailure::Local),
        replicas: replicas.unwrap_or(NonZeroU32::MIN),
    })
}

/// Reads the path of a PEM file; `None` for "system".
pub(super) fn system_or_path(text: &str) -> Result<Option<PathBuf>, Malformed> {
    match text {
        "system" => Ok(None),
        text => absolute_path(text).map(Some),
    }
}

fn audit(mut reader: Reader<'_>) -> Option<AuditSettings> {
    let file = reader
        .required("file", "the file that lines are added to")
        .and_then(|field| field.parse(absolute_path));
    let requests = reader.boolean("requests");
    reader.finish();
    Some(AuditSettings {
        file: file?,
        scope: match requests {
            Some(true) => AuditScope::SecretsAndRequests,
            Some(false) | None => AuditScope::Secrets,
        },
    })
}

fn state(mut reader: Reader<'_>) -> Option<StateConfig> {
    let dir = reader
        .required("dir", "the folder for what outlives a restart")
        .and_then(|field| field.parse(absolute_path));
    let key = reader.field("key").map(|field| references(&field));
    reader.finish();
    Some(StateConfig {
        dir: dir?,
        key: key.unwrap_or_default(),
    })
}

fn log(mut reader: Reader<'_>) -> LogConfig {
    let level = reader.choice(
        "level",
        &[
            ("off", LevelFilter::OFF),
            ("error", LevelFilter::ERROR),
            ("warn", LevelFilter::WARN),
            ("info", LevelFilter::INFO),
            ("debug", LevelFilter::DEBUG),
            ("trace", LevelFilter::TRACE),
        ],
    );
    let format = reader.choice(
        "format",
        &[
            ("auto", LogFormat::Auto),
            ("text", LogFormat::Text),
            ("json", LogFormat::Json),
        ],
    );
    reader.finish();
    LogConfig {
        level: level.unwrap_or(LevelFilter::INFO),
        format: format.unwrap_or(LogFormat::Auto),
    }
}

/// True for a name that a command takes as an argument, and that a path and the name of a file may
/// hold: with a hyphen first it would be an option, and `..` would be a folder.
fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    (1..=MAX_NAME_LENGTH).contains(&text.len())
        && text.chars().all(plain)
        && !text.starts_with(['.', '-'])
}

/// Returns true if a key that the user chose is a name, and reports a fault otherwise.
fn check_name(field: &Field<'_>) -> bool {
    let fits = is_name(field.key);
    if !fits {
        field.key_fault(NOT_A_NAME);
    }
    fits
}

/// Returns true if a value is a name, and reports a fault otherwise.
fn check_name_value(field: &Field<'_>) -> bool {
    let Some(text) = field.string() else {
        return false;
    };
    let fits = is_name(text);
    if !fits {
        field.fault(NOT_A_NAME);
    }
    fits
}

/// Reads the files with the certificate and the key of a listener.
fn certificate(reader: &mut Reader<'_>, cert: &'static str) -> Option<(PathBuf, PathBuf)> {
    let cert = reader
        .required("cert", cert)
        .and_then(|field| field.parse(absolute_path));
    let key = reader
        .required("key", "the file with the certificate's private key, in PEM")
        .and_then(|field| field.parse(absolute_path));
    cert.zip(key)
}

fn absolute_path(text: &str) -> Result<PathBuf, Malformed> {
    if !text.starts_with('/') || text.ends_with('/') || text.contains('\0') {
        return Err(NOT_ABSOLUTE);
    }
    Ok(PathBuf::from(text))
}

/// Returns true for a segment that a request's path can have; the guard of requests refuses every
/// other segment.
fn is_path_segment(segment: &str) -> bool {
    let plain = |c: char| c.is_ascii_graphic() && !"%?#\\\"<>{}".contains(c);
    !matches!(segment, "" | "." | "..") && segment.chars().all(plain)
}

fn size(reader: &mut Reader<'_>, key: &str, default: u64) -> u64 {
    reader.parse(key, units::size).unwrap_or(default)
}

fn duration(reader: &mut Reader<'_>, key: &str, default: Duration) -> Duration {
    reader.parse(key, units::duration).unwrap_or(default)
}

/// Reads a duration; `None` for "off".
fn duration_or_off(
    reader: &mut Reader<'_>,
    key: &str,
    default: Option<Duration>,
) -> Option<Duration> {
    reader.parse(key, units::duration_or_off).unwrap_or(default)
}

fn duration_or_zero(text: &str) -> Result<Duration, UnitError> {
    match units::duration(text) {
        Err(UnitError::Zero) => Ok(Duration::ZERO),
        result => result,
    }
}

/// Reads the number of a user.
fn user(field: &Field<'_>) -> Option<u32> {
    if field.is_text() {
        field.fault("not the number of a user, expected one such as 1000: `id -u NAME` prints it");
        return None;
    }
    field.integer()
}

/// Reads an array; every unreadable element is a separate fault.
fn items<'d, T>(
    reader: &mut Reader<'d>,
    key: &str,
    item: impl Fn(&Field<'d>) -> Option<T>,
) -> Vec<T> {
    let fields = reader.array(key).unwrap_or_default();
    fields.iter().filter_map(item).collect()
}

/// The fault of a path that does not begin at the root, or names no file or folder.
const NOT_ABSOLUTE: Malformed = Malformed::new(
    "not an absolute path, expected one with / at its beginning and none at its end",
);
/// The fault of a name with other characters, or none, or too many.
const NOT_A_NAME: &str =
    "not a name, expected 1 to 64 of a-z A-Z 0-9 _ . -, the first of them neither . nor -";
/// The longest name, in characters. Names become labels of metrics, where long values are costly.
const MAX_NAME_LENGTH: usize = 64;
/// The default of `drain`: less than the grace period of Kubernetes, 30 s.
const DEFAULT_DRAIN: Duration = Duration::from_secs(25);
/// The default of `max_connections`: each connection costs two file descriptors and some kilobytes.
const DEFAULT_MAX_CONNECTIONS: u32 = 1024;
/// The bound on `max_connections`: more connections than one thread serves.
const MAX_CONNECTIONS: u32 = 100_000;
/// The default of `watch`: soon enough for a person who waits for a changed file to take effect.
const DEFAULT_WATCH: Duration = Duration::from_secs(5);
/// The default of `refresh`: secret managers bill by the call, and secrets change far less often.
const DEFAULT_REFRESH: Duration = Duration::from_secs(300);
