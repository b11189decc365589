//! `[[route]]`.

use std::time::Duration;

use super::credential::{Credentials, Placed};
use super::{check_name_value, duration};
use crate::config::{Route, RouteLimits};
use crate::document::{Field, Position, Reader, choices, shown};
use crate::provider::{Provider, Rates, party};

/// The routes read so far, to compare each with those before it.
pub(super) struct Routes<'d> {
    credentials: &'d Credentials,
    routes: Vec<(Route, Position)>,
}

impl<'d> Routes<'d> {
    pub(super) fn read(readers: Vec<Reader<'_>>, credentials: &'d Credentials) -> Vec<Route> {
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
        let senders = reader.field("senders");
        let named = senders.as_ref().and_then(Field::array).unwrap_or_default();
        let named: Vec<_> = named.into_iter().filter(|field| field.string().is_some()).collect();
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
        if !placed.missing.is_empty() {
            check_parameters(&reader, placed);
            reader.finish();
            return None;
        }
        if provider.upstream.is_none() {
            reader.fault("the provider of its credential only sends events, expected one that takes requests");
            reader.finish();
            return None;
        }
        let rates = limits.rates.or(provider.limits.rates);
        if rates.auto && (rates.per_sender.is_none() || !provider.is_asked_as_graph()) {
            reader.fault("limits.per_sender: the provider tells no rate of a sender, expected one such as \"80/s\"");
        }
        let operations = allowed(&reader, operations.as_ref(), provider);
        if let Some(field) = senders.filter(|_| !named.is_empty() && !provider.names_senders()) {
            field.fault("the provider's requests name no sender, expected []");
        }
        let senders = named.iter().filter_map(|field| field.parse(form_of_senders(provider))).collect();
        let route = Route {
            name: name.as_ref().and_then(Field::string).unwrap_or(&credential).to_owned(),
            credential,
            path: prefix.unwrap_or_default(),
            senders,
            operations,
            limits: RouteLimits { rates, ..limits },
        };
        self.compare(&reader, name.as_ref(), path.as_ref(), &route, provider);
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

    fn compare(
        &self,
        reader: &Reader<'_>,
        name: Option<&Field<'_>>,
        path: Option<&Field<'_>>,
        route: &Route,
        provider: &Provider,
    ) {
        for (other, at) in &self.routes {
            if other.name == route.name {
                let message = format!("the same name as the route at {at}, expected another `name`");
                match name {
                    Some(field) => field.fault(message),
                    None => reader.fault(message),
                }
            }
            // The route is chosen before a body is read.
            let is_apart = provider.limits.sender.is_empty()
                && !route.senders.is_empty()
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

/// As for secrets: without these there is nowhere to send to.
fn check_parameters(reader: &Reader<'_>, placed: &Placed) {
    for parameter in &placed.missing {
        let key = format!("{}.{parameter}", placed.path);
        let message = "missing, expected a value of the account, written here itself: a route uses this credential";
        reader.report().fault(&placed.at, &key, message);
    }
}

/// How senders are written: Meta's are ids, and others are numbers or names, kept in the form in which they are compared.
fn form_of_senders(provider: &Provider) -> fn(&str) -> Result<String, &'static str> {
    let are_ids = provider.graph_answers && provider.limits.sender.is_empty();
    if are_ids { phone_number_id } else { sender }
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
    let retry = reader.field("retry").and_then(|field| field.choice(&[("off", false), ("throttled", true)]));
    let limits = RouteLimits {
        rates: Rates::read(&mut reader),
        max_wait: duration(&mut reader, "max_wait", default.max_wait),
        max_queue: reader
            .field("max_queue")
            .and_then(|field| field.integer::<u32>())
            .and_then(|number| usize::try_from(number).ok())
            .unwrap_or(default.max_queue),
        retry: retry.unwrap_or(default.retry),
    };
    reader.finish();
    limits
}

impl Default for RouteLimits {
    fn default() -> Self {
        Self { rates: Rates::default(), max_wait: Duration::from_secs(2), max_queue: 1000, retry: false }
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

fn phone_number_id(text: &str) -> Result<String, &'static str> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits || text.len() > 40 {
        return Err("not a sender, expected the digits of a phone number id");
    }
    Ok(text.to_owned())
}

fn sender(text: &str) -> Result<String, &'static str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "+-_.:".contains(c);
    if !(1..=64).contains(&text.len()) || !text.chars().all(plain) {
        return Err("not a sender, expected a number such as \"+15550001234\", or the provider's own name of one");
    }
    Ok(party(text).into_owned())
}
