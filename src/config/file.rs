//! `proxy.toml` as it is written, and how it becomes a [`Config`]: every key, its default, its check.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tracing::level_filters::LevelFilter;

use super::error::Faults;
use super::{
    Admin, Config, CredentialConfig, ListenAddress, Log, LogFormat, Outbound, Proof, Reference, Reload, Route,
    RouteLimits,
};
use crate::document::{Document, Fault, Field, Position, Reader, Report, choices, shown};
use crate::provider::{Inject, PRESETS, Provider, preset_document, schema};
use crate::units::{self, UnitError};

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
        match std::fs::read_to_string(path) {
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
    let outbound = outbound(root.section("outbound"), &mut addresses);
    let admin = admin(root.section("admin"), &mut addresses);
    let reload = reload(root.section("reload"));
    let log = log(root.section("log"));
    let mut providers = Providers::read(root.field("provider"), report);
    let credentials = root.field("credential").and_then(|field| field.table());
    let credentials = credentials.map(|table| credentials_of(table, &mut providers));
    let credentials = credentials.unwrap_or_default();
    let routes = match root.field("route") {
        Some(field) => field.tables(),
        None => {
            root.missing("route", "at least one [[route]]");
            Vec::new()
        }
    };
    let routes = Routes::read(routes, &credentials);
    root.finish();
    Config {
        outbound,
        credentials: credentials.into_iter().filter_map(|(name, placed)| Some((name, placed?.config))).collect(),
        routes,
        admin,
        reload,
        log,
        warnings: Vec::new(),
    }
}

fn outbound(mut reader: Reader<'_>, addresses: &mut Addresses) -> Outbound {
    let allow_remote = reader.field("allow_remote").and_then(|f| f.boolean());
    addresses.allow_remote = allow_remote.unwrap_or(false);
    let outbound = Outbound {
        listen: addresses.listen(&mut reader, loopback(8080)),
        allowed_hosts: items(&mut reader, "allowed_hosts", |field| field.parse(host)),
        allow_uids: items(&mut reader, "allow_uids", |field| field.integer()),
        drain: duration(&mut reader, "drain", Duration::from_secs(25)),
    };
    reader.finish();
    outbound
}

fn admin(mut reader: Reader<'_>, addresses: &mut Addresses) -> Admin {
    let admin = Admin { listen: addresses.listen(&mut reader, loopback(9900)) };
    reader.finish();
    admin
}

fn reload(mut reader: Reader<'_>) -> Reload {
    let watch = reader.field("watch").and_then(|field| {
        field.parse(|text| match text {
            "off" => Ok(None),
            text => units::duration(text).map(Some),
        })
    });
    reader.finish();
    Reload { watch: watch.unwrap_or(Some(Duration::from_secs(5))) }
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

/// The listeners of all sections: no two may have one address.
#[derive(Default)]
struct Addresses {
    allow_remote: bool,
    taken: Vec<(ListenAddress, String)>,
}

impl Addresses {
    fn listen(&mut self, reader: &mut Reader<'_>, default: ListenAddress) -> Vec<ListenAddress> {
        let Some(field) = reader.field("listen") else {
            let key = format!("{}.listen", reader.path());
            if let Some((_, place)) = self.taken.iter().find(|(taken, _)| *taken == default) {
                let message = format!("its default is taken at {place}, expected another address");
                reader.report().fault(reader.at(), &key, message);
            }
            let place = format!("the default of {key}");
            self.taken.push((default.clone(), place));
            return vec![default];
        };
        let Some(fields) = field.array() else {
            return Vec::new();
        };
        if fields.is_empty() {
            field.fault("empty, expected at least one address");
        }
        let addresses = fields.iter().filter_map(|field| self.address(field));
        addresses.collect()
    }

    fn address(&mut self, field: &Field<'_>) -> Option<ListenAddress> {
        let address = field.parse(listen_address)?;
        if let ListenAddress::Tcp(tcp) = address
            && !tcp.ip().to_canonical().is_loopback()
            && !self.allow_remote
        {
            field.fault(
                "not on loopback, so other machines could use the credential: \
                 expected 127.0.0.1, [::1] or unix:, or allow_remote = true in [outbound]",
            );
        }
        // Port 0 is a new port each time.
        let is_any = matches!(address, ListenAddress::Tcp(tcp) if tcp.port() == 0);
        let earlier = self.taken.iter().find(|(taken, _)| *taken == address);
        if let Some((_, place)) = earlier.filter(|_| !is_any) {
            field.fault(format!("the same address as at {place}, expected another"));
        }
        self.taken.push((address.clone(), field.at().to_string()));
        Some(address)
    }
}

fn loopback(port: u16) -> ListenAddress {
    ListenAddress::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

fn listen_address(text: &str) -> Result<ListenAddress, &'static str> {
    let Some(path) = text.strip_prefix("unix:") else {
        let address: Result<SocketAddr, _> = text.parse();
        return address.map(ListenAddress::Tcp).map_err(
            |_| "not an address, expected IP:PORT such as \"127.0.0.1:8080\" or \"unix:/run/keyside/send.sock\"",
        );
    };
    // The kernel has 108 bytes for the path and the NUL after it.
    if !path.starts_with('/') || path.ends_with('/') || path.len() > 107 || path.contains('\0') {
        return Err("not a socket, expected unix: and an absolute path of at most 107 bytes");
    }
    Ok(ListenAddress::Unix(PathBuf::from(path)))
}

/// The host of a `Host` header, as it will be compared.
fn host(text: &str) -> Result<String, &'static str> {
    let address = text.trim_matches(['[', ']']);
    if let Ok(address) = address.parse::<Ipv6Addr>() {
        return Ok(format!("[{address}]"));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if text.is_empty() || text.len() > 253 || !text.chars().all(plain) {
        return Err("not a host name, expected one without scheme, port and path");
    }
    Ok(text.to_ascii_lowercase())
}

/// The providers of the configuration; behind them the presets, each read once.
struct Providers {
    own: BTreeMap<String, Option<Arc<Provider>>>,
    presets: BTreeMap<String, Arc<Provider>>,
}

impl Providers {
    fn read(field: Option<Field<'_>>, report: &Report) -> Self {
        let mut own = BTreeMap::new();
        let table = field.and_then(|field| field.table());
        for field in table.map(|mut table| table.fields()).unwrap_or_default() {
            if check_name(&field)
                && let Some(reader) = field.table()
            {
                let provider = provider(field.key, reader, report).map(Arc::new);
                own.insert(field.key.to_owned(), provider);
            }
        }
        Self { own, presets: BTreeMap::new() }
    }

    /// The provider that a credential names. `None` where that is a fault, which is then in the report.
    fn find(&mut self, field: &Field<'_>) -> Option<Arc<Provider>> {
        let name = field.string()?;
        if let Some(own) = self.own.get(name) {
            return own.clone();
        }
        if let Some(preset) = self.presets.get(name) {
            return Some(Arc::clone(preset));
        }
        if let Some(preset) = Provider::preset(name).map(Arc::new) {
            self.presets.insert(name.to_owned(), Arc::clone(&preset));
            return Some(preset);
        }
        let presets = PRESETS.iter().map(|(preset, _)| *preset);
        let words = presets.chain(self.own.keys().map(String::as_str));
        field.fault(format!("unknown provider, {}", choices(name, words)));
        None
    }
}

/// `[provider.NAME]`, laid over the preset that it extends.
fn provider(name: &str, mut reader: Reader<'_>, report: &Report) -> Option<Provider> {
    let Some(field) = reader.field("extends") else {
        let preset = PRESETS.iter().find(|(preset, _)| *preset == name);
        if let Some((preset, _)) = preset.filter(|_| !reader.has("upstream")) {
            reader.fault(format!(
                "neither complete nor an extension, expected extends = \"{preset}\" to change the preset"
            ));
            return None;
        }
        return schema::read(name, reader);
    };
    let preset = field.string()?;
    let Some(document) = preset_document(preset, report) else {
        let words = PRESETS.iter().map(|(preset, _)| *preset);
        field.fault(format!("unknown preset, {}", choices(preset, words)));
        return None;
    };
    let mut own = reader.table_itself().clone();
    own.remove("extends");
    let whole = document.root.overlaid(&own);
    let whole = Reader::of_table(&whole, reader.at(), reader.path(), report);
    schema::read(name, whole)
}

/// A credential with what is needed to tell a fault of it where a route uses it.
struct Placed {
    config: CredentialConfig,
    at: Position,
    path: String,
}

/// The credentials by name; `None` where one is too faulty to say more about it.
type Credentials = BTreeMap<String, Option<Placed>>;

fn credentials_of(mut table: Reader<'_>, providers: &mut Providers) -> Credentials {
    let mut credentials = BTreeMap::new();
    for field in table.fields() {
        if check_name(&field)
            && let Some(reader) = field.table()
        {
            credentials.insert(field.key.to_owned(), credential(reader, providers));
        }
    }
    credentials
}

fn credential(mut reader: Reader<'_>, providers: &mut Providers) -> Option<Placed> {
    let expected = "the API that the secrets are for, such as \"meta\"";
    let provider = reader.required("provider", expected);
    let provider = provider.and_then(|field| providers.find(&field));
    let max_age = duration(&mut reader, "max_age", Duration::from_secs(90 * 86_400));
    let proof = reader.field("proof");
    let kind = proof
        .as_ref()
        .and_then(|field| field.choice(&[("auto", Proof::Auto), ("classic", Proof::Classic), ("off", Proof::Off)]));
    // Which keys there are is the provider's to say, so without one the rest cannot be judged.
    let provider = provider?;
    let mut secrets = BTreeMap::new();
    for secret in &provider.secrets {
        if let Some(field) = reader.field(&secret.name) {
            secrets.insert(secret.name.clone(), references(&field));
        }
    }
    if let Some(field) = proof.filter(|_| kind == Some(Proof::Classic)) {
        check_classic_proof(&field, &provider, &secrets);
    }
    let (at, path) = (reader.at().clone(), reader.path().to_owned());
    reader.finish();
    Some(Placed {
        config: CredentialConfig { provider, secrets, max_age, proof: kind.unwrap_or(Proof::Auto) },
        at,
        path,
    })
}

fn references(field: &Field<'_>) -> Vec<Reference> {
    let Some(fields) = field.one_or_more() else {
        return Vec::new();
    };
    if fields.is_empty() {
        field.fault("empty, expected at least one reference");
    }
    let mut references = Vec::new();
    for field in &fields {
        let reference = field.parse(str::parse);
        if let Some(Reference::Env(_)) = reference {
            field.warn(
                "an environment can be read by every process of the same user, and its value cannot be replaced \
                 while running; prefer file: or systemd:",
            );
        }
        references.extend(reference);
    }
    references
}

fn check_classic_proof(field: &Field<'_>, provider: &Provider, secrets: &BTreeMap<String, Vec<Reference>>) {
    let key = provider.inject.iter().find_map(|inject| match inject {
        Inject::AppSecretProof { key, .. } => Some(key),
        _ => None,
    });
    match key {
        None => field.fault("the provider has no appsecret_proof, expected \"auto\" or \"off\""),
        Some(key) if !secrets.contains_key(key) => {
            field.fault(format!("there is no `{key}` to sign with, expected one in this credential"))
        }
        Some(_) => {}
    }
}

/// The routes read so far, to compare each with those before it.
struct Routes<'d> {
    credentials: &'d Credentials,
    routes: Vec<(Route, Position)>,
}

impl<'d> Routes<'d> {
    fn read(readers: Vec<Reader<'_>>, credentials: &'d Credentials) -> Vec<Route> {
        let mut routes = Self { credentials, routes: Vec::new() };
        for reader in readers {
            let at = reader.at().clone();
            if let Some(route) = routes.route(reader) {
                routes.routes.push((route, at));
            }
        }
        routes.routes.into_iter().map(|(route, _)| route).collect()
    }

    fn route(&self, mut reader: Reader<'_>) -> Option<Route> {
        let credential = reader.required("credential", "the NAME of a [credential.NAME]");
        let name = reader.field("name").filter(check_name_value);
        let path = reader.field("path");
        let prefix = path.as_ref().and_then(|field| field.parse(route_path));
        let senders = items(&mut reader, "senders", |field| field.parse(sender));
        let operations = reader.field("operations");
        let limits = reader.field("limits").and_then(|field| field.table());
        let limits = limits.map(route_limits).unwrap_or_default();
        let credential = credential.and_then(|field| self.credential(&field));
        let (credential, placed) = match credential {
            Some(found) => found,
            None => {
                reader.finish();
                return None;
            }
        };
        let provider = &placed.config.provider;
        let operations = allowed(&reader, operations.as_ref(), provider);
        let default = provider.limits.per_sender;
        let route = Route {
            name: name.as_ref().and_then(Field::string).unwrap_or(&credential).to_owned(),
            credential,
            path: prefix.unwrap_or_default(),
            senders,
            operations,
            limits: RouteLimits { per_sender: limits.per_sender.or(default), ..limits },
        };
        self.compare(&reader, name.as_ref(), path.as_ref(), &route);
        check_secrets(&reader, &route.credential, placed);
        reader.finish();
        Some(route)
    }

    /// The credential that a route names; `None` where there is none, or none that could be understood.
    fn credential(&self, field: &Field<'_>) -> Option<(String, &'d Placed)> {
        let name = field.string()?;
        match self.credentials.get(name) {
            Some(placed) => placed.as_ref().map(|placed| (name.to_owned(), placed)),
            None => {
                let words = self.credentials.keys().map(String::as_str);
                field.fault(format!("no such credential, {}", choices(name, words)));
                None
            }
        }
    }

    fn compare(&self, reader: &Reader<'_>, name: Option<&Field<'_>>, path: Option<&Field<'_>>, route: &Route) {
        for (other, at) in &self.routes {
            if other.name == route.name {
                let message = format!("the same name as the route at {at}, expected another `name`");
                match name {
                    Some(field) => field.fault(message),
                    None => reader.fault(message),
                }
            }
            let is_apart = !route.senders.is_empty()
                && !other.senders.is_empty()
                && !route.senders.iter().any(|s| other.senders.contains(s));
            if other.path == route.path && !is_apart {
                let message = format!(
                    "the same path as the route at {at}, expected another `path`, \
                     or `senders` in both that have none in common"
                );
                match path {
                    Some(field) => field.fault(message),
                    None => reader.fault(message),
                }
            }
        }
    }
}

/// A credential that no route uses may be incomplete: it may serve webhooks only.
fn check_secrets(reader: &Reader<'_>, name: &str, placed: &Placed) {
    for secret in &placed.config.provider.secrets {
        if secret.required && !placed.config.secrets.contains_key(&secret.name) {
            reader.report().fault(
                &placed.at,
                &format!("{}.{}", placed.path, secret.name),
                format!(
                    "missing, expected a reference such as \"file:/run/secrets/{}/{}\": a route uses this credential",
                    shown(name),
                    secret.name
                ),
            );
        }
    }
}

/// For each operation of the provider, whether the route may use it.
fn allowed(reader: &Reader<'_>, written: Option<&Field<'_>>, provider: &Provider) -> Vec<bool> {
    let Some(field) = written else {
        let defaults: Vec<bool> = provider.operations.iter().map(|o| o.default).collect();
        if !defaults.contains(&true) {
            let names = provider.operations.iter().map(|o| o.name.as_str());
            let message = format!("missing, {}", choices("", names));
            let path = format!("{}.operations", reader.path());
            reader.report().fault(reader.at(), &path, message);
        }
        return defaults;
    };
    let mut allowed = vec![false; provider.operations.len()];
    let fields = field.array().unwrap_or_default();
    if fields.is_empty() {
        field.fault("empty, expected at least one operation");
    }
    for field in &fields {
        match field.string() {
            None => {}
            Some("*") => {
                field.warn("allows everything that the provider defines, administration too; prefer naming operations");
                allowed.fill(true);
            }
            Some(name) => match provider.operation(name) {
                Some(index) => allowed.iter_mut().skip(index).take(1).for_each(|a| *a = true),
                None => {
                    let names = provider.operations.iter().map(|o| o.name.as_str());
                    field.fault(format!("unknown operation, {}", choices(name, names)));
                }
            },
        }
    }
    allowed
}

fn route_limits(mut reader: Reader<'_>) -> RouteLimits {
    let default = RouteLimits::default();
    let per_sender = reader.field("per_sender");
    let limits = RouteLimits {
        per_sender: per_sender.and_then(|field| field.parse(str::parse)),
        max_wait: duration(&mut reader, "max_wait", default.max_wait),
        max_queue: reader
            .field("max_queue")
            .and_then(|field| field.integer::<u32>())
            .and_then(|number| usize::try_from(number).ok())
            .unwrap_or(default.max_queue),
    };
    reader.finish();
    limits
}

impl Default for RouteLimits {
    fn default() -> Self {
        Self { per_sender: None, max_wait: Duration::from_secs(2), max_queue: 1000 }
    }
}

/// The prefix as it is stored: without a slash at the end.
fn route_path(text: &str) -> Result<String, &'static str> {
    let path = text.strip_prefix('/').ok_or("not a path, expected it to begin with a slash")?;
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() && text.len() <= 1 {
        return Ok(String::new());
    }
    let plain = |c: char| c.is_ascii_graphic() && !"%?#\\\"<>{}".contains(c);
    let is_segment = |s: &str| !s.is_empty() && s != "." && s != ".." && s.chars().all(plain);
    if !path.split('/').all(is_segment) {
        return Err("not a path that a request could have, expected segments of visible ASCII, \
             none of them empty or dots, without percent or query");
    }
    Ok(format!("/{path}"))
}

fn sender(text: &str) -> Result<String, &'static str> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits || text.len() > 40 {
        return Err("not a sender, expected the digits of a phone number id");
    }
    Ok(text.to_owned())
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

fn duration(reader: &mut Reader<'_>, key: &str, default: Duration) -> Duration {
    let parse = |text| -> Result<Duration, UnitError> { units::duration(text) };
    let given = reader.field(key).and_then(|field| field.parse(parse));
    given.unwrap_or(default)
}

fn items<'d, T>(reader: &mut Reader<'d>, key: &str, item: impl Fn(&Field<'d>) -> Option<T>) -> Vec<T> {
    let fields = reader.field(key).and_then(|field| field.array());
    let fields = fields.unwrap_or_default();
    fields.iter().filter_map(item).collect()
}
