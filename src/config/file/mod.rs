//! `proxy.toml` as it is written, and how it becomes a [`Config`]: every key, its default, its check.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing::level_filters::LevelFilter;

use super::error::Faults;
use super::{Admin, Audit, Config, Inbound, Log, LogFormat, OnFailure, Outbound, Reload, SharedLimits};
use crate::document::{Document, Fault, Field, Position, Reader, Report};
use crate::units::{self, UnitError};

mod credential;
mod inbound;
mod listen;
mod route;

use credential::{Providers, credentials_of};
use inbound::{Webhooks, inbound};
use listen::{Addresses, Reach, host, loopback};
use route::Routes;

impl Config {
    /// Reads and checks a configuration. If anything in it is wrong, there is none, and all its faults are told.
    pub fn parse(text: &str, name: &str) -> Result<Self, Faults> {
        let report = Report::default();
        let document = Document::parse(text, name, &report);
        let config = document.map(|document| read(&document, &report));
        finish(config, report)
    }

    /// Reads and checks the configuration in a file.
    pub fn load(path: &Path) -> Result<Self, Faults> {
        let name = path.display().to_string();
        // Whoever read a FIFO would wait for its writer, and no reload would follow.
        let is_file = std::fs::metadata(path).map(|metadata| metadata.is_file());
        let text = match is_file {
            Ok(false) => Err(std::io::Error::other("it is not a regular file")),
            Ok(true) => std::fs::read_to_string(path),
            Err(error) => Err(error),
        };
        match text {
            Ok(text) => Self::parse(&text, &name),
            Err(error) => Err(Faults(vec![Fault {
                at: Position::whole(&name),
                key: String::new(),
                message: format!("cannot be read: {}", error.kind()),
            }])),
        }
    }
}

fn finish(config: Option<Config>, report: Report) -> Result<Config, Faults> {
    let (faults, warnings) = report.into_parts();
    match config {
        Some(config) if faults.is_empty() => Ok(Config { warnings, ..config }),
        _ => Err(Faults(faults)),
    }
}

pub(super) fn read(document: &Document, report: &Report) -> Config {
    let mut root = Reader::new(document, report);
    let mut addresses = Addresses::default();
    let (outbound, reach) = outbound(root.section("outbound"), &mut addresses);
    let is_inbound = root.has("inbound") || root.has("webhook");
    let section = root.section("inbound");
    let inbound = if is_inbound { inbound(section, &mut addresses) } else { Inbound::default() };
    let admin = admin(root.section("admin"), &mut addresses, reach);
    let limits = root.table("limits").and_then(limits);
    let reload = reload(root.section("reload"));
    let log = log(root.section("log"));
    let audit = root.table("audit").and_then(audit);
    let mut providers = Providers::read(root.field("provider"), report);
    let credentials = root.field("credential").and_then(|field| field.table());
    let credentials = credentials.map(|table| credentials_of(table, &mut providers));
    let credentials = credentials.unwrap_or_default();
    let (routes, webhooks) = (root.field("route"), root.field("webhook"));
    if routes.is_none() && webhooks.is_none() {
        root.missing("route", "at least one [[route]] or [[webhook]]");
    }
    let routes = routes.map(|field| Routes::read(field.tables(), &credentials));
    let webhooks = webhooks.map(|field| Webhooks::read(field.tables(), &credentials));
    root.finish();
    Config {
        outbound,
        credentials: credentials.into_iter().filter_map(|(name, placed)| Some((name, placed?.config))).collect(),
        routes: routes.unwrap_or_default(),
        limits,
        inbound,
        webhooks: webhooks.unwrap_or_default(),
        admin,
        reload,
        log,
        audit,
        warnings: Vec::new(),
    }
}

fn outbound(mut reader: Reader<'_>, addresses: &mut Addresses) -> (Outbound, Reach) {
    let allow_remote = reader.field("allow_remote").and_then(|f| f.boolean());
    let reach = if allow_remote == Some(true) { Reach::Anywhere } else { Reach::Loopback };
    let outbound = Outbound {
        listen: addresses.listen(&mut reader, loopback(8080), reach),
        allowed_hosts: items(&mut reader, "allowed_hosts", |field| field.parse(host)),
        allow_uids: items(&mut reader, "allow_uids", |field| field.integer()),
        drain: duration(&mut reader, "drain", Duration::from_secs(25)),
    };
    reader.finish();
    (outbound, reach)
}

fn admin(mut reader: Reader<'_>, addresses: &mut Addresses, reach: Reach) -> Admin {
    let admin = Admin { listen: addresses.listen(&mut reader, loopback(9900), reach) };
    reader.finish();
    admin
}

fn reload(mut reader: Reader<'_>) -> Reload {
    let watch = duration_or_off(&mut reader, "watch", Some(Duration::from_secs(5)));
    let refresh = duration_or_off(&mut reader, "refresh", Some(Duration::from_secs(300)));
    reader.finish();
    Reload { watch, refresh }
}

fn limits(mut reader: Reader<'_>) -> Option<SharedLimits> {
    let expected = "a reference to the URL of a Redis or Valkey, such as \"env:KEYSIDE_REDIS_URL\"";
    let redis = reader.required("redis", expected).and_then(|field| field.parse(str::parse));
    let ca = reader.field("ca").and_then(|field| field.parse(system_or_path));
    let on_failure = reader.field("on_failure").and_then(|field| {
        field.choice(&[("local", OnFailure::Local), ("open", OnFailure::Open), ("closed", OnFailure::Closed)])
    });
    let replicas = reader.field("replicas").map(|field| {
        let replicas = field.integer().and_then(NonZeroU32::new);
        if replicas.is_none() {
            field.fault("no count, expected how many sidecars share the limits");
        }
        replicas.unwrap_or(NonZeroU32::MIN)
    });
    reader.finish();
    Some(SharedLimits {
        redis: redis?,
        ca: ca.flatten(),
        on_failure: on_failure.unwrap_or(OnFailure::Local),
        replicas: replicas.unwrap_or(NonZeroU32::MIN),
    })
}

/// `None` is "system".
fn system_or_path(text: &str) -> Result<Option<PathBuf>, &'static str> {
    match text {
        "system" => Ok(None),
        text => absolute_path(text).map(Some),
    }
}

fn audit(mut reader: Reader<'_>) -> Option<Audit> {
    let file = reader.required("file", "the file that lines are added to").and_then(|field| field.parse(absolute_path));
    let requests = reader.field("requests").and_then(|field| field.boolean());
    reader.finish();
    Some(Audit { file: file?, requests: requests.unwrap_or(false) })
}

fn log(mut reader: Reader<'_>) -> Log {
    let level = reader.field("level").and_then(|field| {
        field.choice(&[
            ("off", LevelFilter::OFF),
            ("error", LevelFilter::ERROR),
            ("warn", LevelFilter::WARN),
            ("info", LevelFilter::INFO),
            ("debug", LevelFilter::DEBUG),
            ("trace", LevelFilter::TRACE),
        ])
    });
    let format = reader.field("format").and_then(|field| {
        field.choice(&[("auto", LogFormat::Auto), ("text", LogFormat::Text), ("json", LogFormat::Json)])
    });
    reader.finish();
    Log { level: level.unwrap_or(LevelFilter::INFO), format: format.unwrap_or(LogFormat::Auto) }
}

const NAME: &str = "not a name, expected 1 to 64 of a-z A-Z 0-9 _ . -";

fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    (1..=64).contains(&text.len()) && text.chars().all(plain)
}

/// Whether a key that the user chose is a name.
fn check_name(field: &Field<'_>) -> bool {
    if !is_name(field.key) {
        field.key_fault(NAME);
    }
    is_name(field.key)
}

fn check_name_value(field: &Field<'_>) -> bool {
    let text = field.string();
    if text.is_some_and(|text| !is_name(text)) {
        field.fault(NAME);
    }
    text.is_some_and(is_name)
}

fn absolute_path(text: &str) -> Result<PathBuf, &'static str> {
    if !text.starts_with('/') || text.ends_with('/') || text.contains('\0') {
        return Err("not a file, expected an absolute path");
    }
    Ok(PathBuf::from(text))
}

fn duration(reader: &mut Reader<'_>, key: &str, default: Duration) -> Duration {
    let parse = |text| -> Result<Duration, UnitError> { units::duration(text) };
    let given = reader.field(key).and_then(|field| field.parse(parse));
    given.unwrap_or(default)
}

/// `None` is "off".
fn duration_or_off(reader: &mut Reader<'_>, key: &str, default: Option<Duration>) -> Option<Duration> {
    reader.field(key).and_then(|field| field.parse(parse_duration_or_off)).unwrap_or(default)
}

fn parse_duration_or_off(text: &str) -> Result<Option<Duration>, units::UnitError> {
    match text {
        "off" => Ok(None),
        text => units::duration(text).map(Some),
    }
}

fn items<'d, T>(reader: &mut Reader<'d>, key: &str, item: impl Fn(&Field<'d>) -> Option<T>) -> Vec<T> {
    let fields = reader.field(key).and_then(|field| field.array());
    let fields = fields.unwrap_or_default();
    fields.iter().filter_map(item).collect()
}
