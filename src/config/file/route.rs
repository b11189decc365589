//! `[[route]]`.

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::credential::{Credentials, Placed};
use super::duration;
use super::endpoint::{Earlier, Endpoint};
use super::same_path::{EarlierSamePath, SharedHosts};
use super::{is_path_segment, user};
use crate::config::{OutboundConfig, RouteConfig, RouteLimits};
use crate::document::{Field, Malformed, Reader, choices, shown};
use crate::provider::{
    Extent, Operation, OperationSet, Provider, READING, Rates, RequestPattern, WHATSAPP, party,
    schema,
};

/// Reads all routes.
pub(super) fn routes(
    readers: Vec<Reader<'_>>,
    credentials: &Credentials,
    outbound: &OutboundConfig,
) -> Vec<RouteConfig> {
    let mut earlier = Earlier::default();
    let mut routes: Vec<_> = readers
        .into_iter()
        .filter_map(|reader| route(reader, credentials, outbound, &mut earlier))
        .collect();
    // Routes with equal operations share one set: thousands of routes mostly allow the same.
    let mut sets = HashSet::new();
    for route in &mut routes {
        match sets.get(&route.operations) {
            Some(same) => route.operations = OperationSet::clone(same),
            None => {
                sets.insert(route.operations.clone());
            }
        }
        route.senders.shrink_to_fit();
        route.channels.shrink_to_fit();
    }
    // Thousands of routes would keep room for as many more.
    routes.shrink_to_fit();
    routes
}

fn route(
    mut reader: Reader<'_>,
    credentials: &Credentials,
    outbound: &OutboundConfig,
    earlier: &mut Earlier<EarlierSamePath>,
) -> Option<RouteConfig> {
    let path = reader.field("path");
    let endpoint = Endpoint::read(&mut reader, path);
    let prefix = endpoint.path(route_path);
    let senders = reader.field("senders");
    let named_senders = senders.as_ref().map(strings).unwrap_or_default();
    warn_of_repeats(&named_senders);
    let operations = reader.field("operations");
    let channels = reader.field("channels");
    let allow_uids = allowed_users(&mut reader, outbound);
    let limits = reader.table("limits").map(route_limits).unwrap_or_default();
    reader.finish();
    let (credential, placed) = endpoint.credential(credentials)?;
    let provider = &placed.config.provider;
    if !check_usable(&reader, placed) {
        return None;
    }
    warn_of_idle_rates(&reader, &limits.rates, provider);
    let rates = limits.rates.or(provider.limits.rates);
    if rates.auto && (rates.per_sender.is_none() || !provider.is_asked_as_graph()) {
        reader.fault("limits.per_sender: the provider tells no rate of a sender, expected one such as \"80/s\"");
    }
    if let Some(field) = senders.filter(|_| !named_senders.is_empty() && !provider.names_senders())
    {
        field.fault("the provider's requests name no sender, expected []");
    }
    warn_of_numbers(&named_senders, provider);
    let route = RouteConfig {
        name: endpoint.name_or(&credential),
        path: prefix.unwrap_or_default(),
        senders: named_senders
            .iter()
            .filter_map(|field| field.parse(form_of_senders(provider)))
            .collect(),
        operations: allowed(&reader, operations.as_ref(), provider),
        channels: allowed_channels(channels.as_ref(), provider),
        limits: RouteLimits { rates, ..limits },
        allow_uids,
        credential,
    };
    let shared = SharedHosts { provider, outbound };
    check_against_earlier(&reader, &endpoint, &route, &shared, earlier);
    check_secrets(&reader, &route.credential, placed);
    Some(route)
}

/// Tells of a route with the name of an earlier route, or at a path where requests cannot be told
/// apart.
fn check_against_earlier(
    reader: &Reader<'_>,
    endpoint: &Endpoint<'_>,
    route: &RouteConfig,
    shared: &SharedHosts<'_>,
    earlier: &mut Earlier<EarlierSamePath>,
) {
    if let Some(at) = earlier.take_name(&route.name, reader.at()) {
        endpoint.fault_same_name(reader, "route", &at);
    }
    let same_path = earlier.at_path(route.path.clone()).or_default();
    if let Some(at) = same_path.clash(route, shared) {
        endpoint.fault_at_path(
            reader,
            format!(
                "the same path as the route at {at}, expected another `path`, \
                 or `senders` in both that have none in common"
            ),
        );
    } else if let Some(at) = same_path.of_another_credential(route, shared) {
        let message = format!(
            "the same path as the route at {at} with another credential: requests that name no sender, such as \
             templates, and media without phone_number_id, are refused with 403 sender_not_named"
        );
        reader.report().warn(reader.at(), reader.path(), message);
    }
    same_path.add(route, shared, reader.at());
}

/// Reads `allow_uids`. Over TCP, users cannot be told apart.
fn allowed_users(reader: &mut Reader<'_>, outbound: &OutboundConfig) -> Vec<u32> {
    let Some(field) = reader.field("allow_uids") else {
        return Vec::new();
    };
    let fields = field.array().unwrap_or_default();
    if !fields.is_empty() && outbound.tcp_addresses().next().is_some() {
        field.warn("the route can be reached over TCP as well, where users cannot be told apart: give [outbound] Unix sockets alone");
    }
    fields.iter().filter_map(user).collect()
}

/// Returns the channels that a route allows: WhatsApp alone, unless the route names others, and any
/// with `["*"]`.
fn allowed_channels(field: Option<&Field<'_>>, provider: &Provider) -> Vec<String> {
    let Some(field) = field else {
        return if provider.names_channels() {
            vec![WHATSAPP.to_owned()]
        } else {
            Vec::new()
        };
    };
    let named = strings(field);
    let other = named.iter().find(|name| !name.is_string(WHATSAPP));
    if let Some(other) = other.filter(|_| !provider.names_channels()) {
        other.fault("the provider's requests name no channel, expected \"whatsapp\"");
    } else if named.is_empty() {
        field.fault("empty, expected channels such as [\"whatsapp\"], or [\"*\"] for all");
    }
    if named.iter().any(|name| name.is_string("*")) {
        return Vec::new();
    }
    let parse = |name: &Field<'_>| name.parse(schema::channel_name);
    named.iter().filter_map(parse).collect()
}

/// Warns of a repeated sender in a list: a different sender was probably meant.
fn warn_of_repeats(senders: &[Field<'_>]) {
    let mut seen = HashSet::new();
    for field in senders.iter().filter(|field| field.is_text()) {
        if !field.string().is_none_or(|sender| seen.insert(sender)) {
            field.warn("the same sender twice, expected each of them once");
        }
    }
}

/// Warns of a sender in the form of a phone number, for a provider with ids of senders.
fn warn_of_numbers(senders: &[Field<'_>], provider: &Provider) {
    if !are_senders_ids(provider) {
        return;
    }
    let is_number = |field: &&Field<'_>| {
        let digits = field
            .string()
            .map_or(0, |sender| if is_digits(sender) { sender.len() } else { 0 });
        PHONE_NUMBER_DIGITS.contains(&digits)
    };
    for field in senders
        .iter()
        .filter(|field| field.is_text())
        .filter(is_number)
    {
        field.warn(
            "looks like a phone number, expected its phone number id, which WhatsApp Manager shows beside the number: \
             requests name the id, and other senders are refused with 403 sender_not_allowed",
        );
    }
}

/// Warns of rates about a party without a name in the provider's requests.
fn warn_of_idle_rates(reader: &Reader<'_>, written: &Rates, provider: &Provider) {
    let warn = |key: &str, message: &str| {
        let path = format!("{}.limits.{key}", reader.path());
        reader.report().warn(reader.at(), &path, message);
    };
    if written.per_recipient.is_some() && !provider.names_recipients() {
        warn(
            "per_recipient",
            "the provider's requests name no recipient at a known place, so the rate never holds a message back: \
             set `recipient` in [provider.NAME.limits], or leave the rate out",
        );
    }
    if written.per_sender.is_some() && !provider.names_senders() {
        warn(
            "per_sender",
            "the provider's requests name no sender at a known place, so the rate holds for all messages of the route together: \
             set `sender` in [provider.NAME.limits], or per_account in its place",
        );
    }
}

/// Returns the elements of an array that are strings.
fn strings<'d>(field: &Field<'d>) -> Vec<Field<'d>> {
    let fields = field.array().unwrap_or_default();
    fields
        .into_iter()
        .filter(|field| field.string().is_some())
        .collect()
}

/// Returns true if requests can be sent with a credential; reports what is missing.
fn check_usable(reader: &Reader<'_>, placed: &Placed) -> bool {
    for parameter in &placed.missing {
        let key = format!("{}.{parameter}", placed.path);
        let message = "missing, expected a value of the account, written here itself: a route uses this credential";
        reader.report().fault(&placed.at, &key, message);
    }
    if !placed.missing.is_empty() {
        return false;
    }
    let takes_requests = placed.config.provider.upstream.is_some();
    if !takes_requests {
        reader.fault(
            "the provider of its credential only sends events, expected one that accepts requests",
        );
    }
    takes_requests
}

/// Reports missing required secrets. A credential without a route may lack secrets, because it may
/// serve webhooks only.
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

/// Returns the parser of a provider's senders: Meta's are ids, others are numbers or names.
fn form_of_senders(provider: &Provider) -> fn(&str) -> Result<String, Malformed> {
    if are_senders_ids(provider) {
        phone_number_id
    } else {
        sender
    }
}

/// True for a provider with Meta's phone number ids as senders.
fn are_senders_ids(provider: &Provider) -> bool {
    provider.graph_answers && provider.limits.sender.is_empty()
}

/// Returns the allowed operations of a route: the written list, or the provider's defaults.
fn allowed(reader: &Reader<'_>, written: Option<&Field<'_>>, provider: &Provider) -> OperationSet {
    let operations = &provider.operations;
    let names = || operations.iter().map(|operation| operation.name.as_str());
    let Some(field) = written else {
        let defaults: OperationSet = operations
            .iter()
            .filter(|operation| operation.default)
            .collect();
        if defaults.is_empty() {
            let message = format!("missing, {}", choices("", names()));
            let path = format!("{}.operations", reader.path());
            reader.report().fault(reader.at(), &path, message);
        }
        return defaults;
    };
    let Some(fields) = field.array() else {
        return OperationSet::default();
    };
    if fields.is_empty() {
        field.fault("empty, expected at least one operation");
    }
    let mut allowed = OperationSet::default();
    for field in &fields {
        match field.string() {
            None => {}
            Some("*") => {
                field.warn("allows everything that the provider defines, administration too; prefer naming operations");
                for operation in operations {
                    allowed.add(operation, Extent::All);
                }
            }
            Some(written) => {
                let (name, extent) = match written.strip_suffix(READING) {
                    Some(name) => (name, Extent::Reading),
                    None => (written, Extent::All),
                };
                match operations.iter().find(|operation| operation.name == name) {
                    Some(operation) => {
                        check_extent(field, operation, extent);
                        allowed.add(operation, extent);
                    }
                    None => {
                        field.fault(format!("unknown operation, {}", choices(name, names())));
                    }
                }
            }
        }
    }
    allowed
}

/// Reports an operation of which no request would pass.
fn check_extent(field: &Field<'_>, operation: &Operation, extent: Extent) {
    let methods = |request: &RequestPattern| request.methods.iter().any(RequestPattern::is_reading);
    if extent == Extent::Reading && !operation.requests.iter().any(methods) {
        field.fault(format!(
            "no request of `{}` only reads, expected the name of the operation without `{READING}`",
            operation.name
        ));
    }
}

fn route_limits(mut reader: Reader<'_>) -> RouteLimits {
    let default = RouteLimits::default();
    let retry = reader.choice("retry", &[("off", false), ("throttled", true)]);
    let limits = RouteLimits {
        rates: schema::rates(&mut reader),
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
    /// The limits of a route without `[route.limits]`.
    fn default() -> Self {
        Self {
            rates: Rates::default(),
            max_wait: Duration::from_secs(2),
            max_queue: 1000,
            retry: false,
        }
    }
}

/// Reads a path prefix, and removes the slash at the end.
fn route_path(text: &str) -> Result<String, Malformed> {
    let below_root = text.strip_prefix('/').ok_or(Malformed::new(
        "not a path, expected it to begin with a slash",
    ))?;
    let path = below_root.strip_suffix('/').unwrap_or(below_root);
    if path.is_empty() && text.len() <= 1 {
        return Ok(String::new());
    }
    if !path.split('/').all(is_path_segment) {
        return Err(Malformed::new(
            "not a path that a request could have, expected segments of visible ASCII, \
             none of them empty or dots, without percent or query",
        ));
    }
    Ok(format!("/{path}"))
}

/// Reads a phone number id of Meta.
fn phone_number_id(text: &str) -> Result<String, Malformed> {
    if !is_digits(text) || text.len() > MAX_PHONE_NUMBER_ID {
        return Err(Malformed::new(
            "not a sender, expected the digits of a phone number id",
        ));
    }
    Ok(text.to_owned())
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Reads a sender of another provider, and keeps the form in which senders are compared.
fn sender(text: &str) -> Result<String, Malformed> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "+-_.:".contains(c);
    if !(1..=MAX_SENDER).contains(&text.len()) || !text.chars().all(plain) {
        return Err(Malformed::new(
            "not a sender, expected a number such as \"+15550001234\", or the provider's own name of one",
        ));
    }
    Ok(party(text).into_owned())
}

/// The longest phone number id, in digits. Meta's ids are numbers of 64 bits, with 20 digits at
/// most; the rest is reserve.
const MAX_PHONE_NUMBER_ID: usize = 40;
/// The digits of most phone numbers with their country codes. Meta's ids have 15 digits or more.
const PHONE_NUMBER_DIGITS: RangeInclusive<usize> = 8..=13;
/// The longest sender, in characters. UUIDs, by which Bird names senders, have 36.
const MAX_SENDER: usize = 64;
