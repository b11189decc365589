//! `[[webhook.to]]` and `[spool]`: the destinations of events that wait on disk.

use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroUsize;
use std::time::Duration;

use super::inbound::application;
use super::listen::Addresses;
use super::{
    absolute_path, check_name_value, duration, duration_or_off, items, size, system_or_path,
};
use crate::config::{
    ApplicationUrl, DestinationConfig, DestinationTarget, EventWay, PublishTarget, Reference,
    SpoolConfig, StreamAddress,
};
use crate::document::{Field, Malformed, Position, Reader, choices};
use crate::units::{self, Rate, Written};

/// Reads `[spool]`. `max_body` is the size of the largest event.
pub(super) fn spool(mut reader: Reader<'_>, max_body: u64) -> Option<SpoolConfig> {
    let dir = reader
        .required(
            "dir",
            "the folder in which events wait, such as \"/var/lib/keyside/spool\"",
        )
        .and_then(|field| field.parse(absolute_path));
    let max_size = size(&mut reader, "max_size", MAX_SIZE);
    if max_size < max_body {
        let message = "less than `[inbound] max_body`, expected room for one event at least";
        let key = format!("{}.max_size", reader.path());
        reader.report().fault(reader.at(), &key, message);
    }
    let max_age = duration(&mut reader, "max_age", MAX_AGE);
    let keep = duration_or_off(&mut reader, "keep", Some(KEEP));
    reader.finish();
    Some(SpoolConfig {
        dir: dir?,
        max_size,
        max_age,
        keep: keep.unwrap_or_default(),
    })
}

/// The place or places where the events of a webhook go, before the webhook's name is known.
pub(super) enum EventTargets {
    Forward {
        url: ApplicationUrl,
        reply: bool,
        has_spool: bool,
    },
    To(Vec<DestinationConfig>),
}

impl EventTargets {
    /// Reads `forward` with `reply`, or `to`.
    pub(super) fn read(
        reader: &mut Reader<'_>,
        keep: Option<Duration>,
        addresses: &Addresses,
    ) -> Option<Self> {
        let forward = reader.field("forward");
        let to = reader.field("to");
        let reply = reader.field("reply");
        let is_reply = reply.as_ref().and_then(Field::boolean).unwrap_or(false);
        match (forward, to) {
            (Some(forward), None) => Some(Self::Forward {
                url: application(&forward, addresses)?,
                reply: is_reply,
                has_spool: keep.is_some(),
            }),
            (forward, Some(to)) => {
                let destinations = destinations(&to, keep.unwrap_or(Duration::MAX), addresses);
                if forward.is_some() {
                    to.key_fault("`forward` stands beside it, expected one of them: `forward` for an application alone, [[webhook.to]] for several destinations");
                }
                if keep.is_none() {
                    to.key_fault("there is no [spool] in which events could wait for their destinations, expected one with `dir`, or `forward` in the place of [[webhook.to]]");
                }
                if let Some(reply) = reply.filter(|_| is_reply) {
                    reply.fault("a reply comes from one application, expected `forward` in the place of [[webhook.to]]");
                }
                Some(Self::To(destinations))
            }
            (None, None) => {
                reader.missing(
                    "forward",
                    "where the application accepts events, such as \"http://127.0.0.1:3000/\"",
                );
                None
            }
        }
    }

    /// Returns the way of the events of a webhook, and true if the provider gets the application's
    /// own answer.
    pub(super) fn of_webhook(self, name: &str) -> (EventWay, bool) {
        match self {
            Self::Forward {
                url,
                reply: false,
                has_spool: true,
            } => {
                let target = DestinationTarget::Application(url);
                (
                    EventWay::Spooled(vec![only_destination(name, target)]),
                    false,
                )
            }
            Self::Forward { url, reply, .. } => (EventWay::Direct(url), reply),
            Self::To(to) => (EventWay::Spooled(to), false),
        }
    }
}

/// Reads all `[[webhook.to]]` of a webhook.
fn destinations(
    field: &Field<'_>,
    keep: Duration,
    addresses: &Addresses,
) -> Vec<DestinationConfig> {
    let mut names = HashMap::new();
    field
        .tables()
        .into_iter()
        .filter_map(|reader| destination(reader, keep, addresses, &mut names))
        .collect()
}

/// Returns the destination of a webhook that has `forward` alone. The destination has the name of
/// the webhook.
fn only_destination(name: &str, target: DestinationTarget) -> DestinationConfig {
    DestinationConfig {
        name: name.to_owned(),
        target,
        fields: BTreeSet::new(),
        senders: BTreeSet::new(),
        lanes: LANES,
        rate: None,
        from: Duration::ZERO,
    }
}

fn destination(
    mut reader: Reader<'_>,
    keep: Duration,
    addresses: &Addresses,
    names: &mut HashMap<String, Position>,
) -> Option<DestinationConfig> {
    let name_field = reader.required("name", "the name in logs, metrics and commands");
    let name = name_field
        .as_ref()
        .filter(|field| check_name_value(field))
        .and_then(Field::string)
        .map(str::to_owned);
    let target = target(&mut reader, addresses);
    let fields = items(&mut reader, "fields", event_field);
    let senders = items(&mut reader, "senders", |field| field.parse(number_id));
    let lanes = reader.field("lanes").and_then(|field| lanes(&field));
    let rate: Option<Rate> = reader.parse("rate", str::parse);
    let from = reader.field("from").and_then(|field| from(&field, keep));
    reader.finish();
    let name = name?;
    match names.get(&name) {
        Some(at) => {
            let message =
                format!("the same name as the destination at {at}, expected another `name`");
            name_field?.fault(message);
        }
        None => {
            names.insert(name.clone(), reader.at().clone());
        }
    }
    Some(DestinationConfig {
        name,
        target: target?,
        fields: fields.into_iter().collect(),
        senders: senders.into_iter().collect(),
        lanes: lanes.unwrap_or(LANES),
        rate,
        from: from.unwrap_or_default(),
    })
}

/// Reads the beginning of a new destination. Delivered events older than `keep` are gone.
fn from(field: &Field<'_>, keep: Duration) -> Option<Duration> {
    let from = field.parse(beginning)?;
    if from > keep {
        field.warn(format!(
            "reaches back further than `[spool] keep` ({}), and delivered events are gone by then: expected that time at most, or a \
             longer `keep`",
            Written(keep)
        ));
    }
    Some(from)
}

/// Reads `forward`, or `publish` with `server` and `ca`.
fn target(reader: &mut Reader<'_>, addresses: &Addresses) -> Option<DestinationTarget> {
    let forward = reader.field("forward");
    let publish = reader.field("publish");
    let server = reader.field("server");
    let ca = reader.field("ca");
    match (forward, publish) {
        (Some(forward), None) => {
            if let Some(server) = server {
                server.fault("only a stream has a server, expected `publish` in the place of `forward`, or no `server`");
            }
            if let Some(ca) = ca {
                ca.fault("only the server of a stream has authorities here, expected `publish` in the place of `forward`, or no `ca`");
            }
            let url = application(&forward, addresses)?;
            Some(DestinationTarget::Application(url))
        }
        (None, Some(publish)) => {
            let stream = publish.parse(stream);
            let ca = ca.and_then(|ca| ca.parse(system_or_path));
            let server: Option<Reference> = match &server {
                Some(server) => server.parse(str::parse),
                None => {
                    let expected =
                        "a reference to the URL of the server, such as \"env:EVENTS_URL\"";
                    reader.missing("server", expected);
                    None
                }
            };
            Some(DestinationTarget::Stream(PublishTarget {
                stream: stream?,
                server: server?,
                ca: ca.flatten(),
            }))
        }
        (Some(_), Some(publish)) => {
            publish.fault("`forward` stands beside it, expected one of them: a destination is an application or a stream");
            None
        }
        (None, None) => {
            reader.missing(
                "forward",
                "where an application accepts events, such as \"http://127.0.0.1:3000/\", or `publish` with a stream",
            );
            None
        }
    }
}

/// Reads the address of a stream that this build can publish to.
fn stream(text: &str) -> Result<StreamAddress, Malformed> {
    let address = stream_address(text)?;
    match address {
        StreamAddress::Nats { .. } if !cfg!(feature = "nats") => Err(Malformed::new(
            "this build has no `nats`; build Keyside with `--features nats`",
        )),
        StreamAddress::Amqp { .. } if !cfg!(feature = "amqp") => Err(Malformed::new(
            "this build has no `amqp`; build Keyside with `--features amqp`",
        )),
        _ => Ok(address),
    }
}

/// Reads `redis-stream:NAME`, `nats:SUBJECT` or `amqp:EXCHANGE/KEY`.
fn stream_address(text: &str) -> Result<StreamAddress, Malformed> {
    let is_plain = |part: &str| {
        (1..=MAX_STREAM_LENGTH).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_graphic())
    };
    let (kind, place) = text.split_once(':').unwrap_or((text, ""));
    match kind {
        "redis-stream" if is_plain(place) => Ok(StreamAddress::Redis {
            key: place.to_owned(),
        }),
        // Wildcards belong to subscriptions, and subjects that begin with a dollar sign to the
        // server.
        "nats" if is_plain(place) && !place.starts_with('$') => {
            let is_token = |token: &str| !token.is_empty() && !token.contains(['*', '>']);
            if !place.split('.').all(is_token) {
                return Err(Malformed::new(
                    "not a subject to publish to, expected tokens with dots between them and no wildcard",
                ));
            }
            Ok(StreamAddress::Nats {
                subject: place.to_owned(),
            })
        }
        "amqp" => match place.split_once('/') {
            Some((exchange, key))
                if is_plain(key) && (exchange.is_empty() || is_plain(exchange)) =>
            {
                Ok(StreamAddress::Amqp {
                    exchange: exchange.to_owned(),
                    routing_key: key.to_owned(),
                })
            }
            _ => Err(Malformed::new(
                "not an exchange and a routing key, expected \"amqp:EXCHANGE/KEY\", or \"amqp:/QUEUE\" for a queue itself",
            )),
        },
        _ => Err(Malformed::new(
            "not a stream, expected redis-stream:NAME, nats:SUBJECT or amqp:EXCHANGE/KEY",
        )),
    }
}

/// Reads the name of a field of Meta's events. Meta adds fields from time to time, so an unknown
/// name is a warning.
fn event_field(field: &Field<'_>) -> Option<String> {
    let name = field.string()?;
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if name.is_empty() || name.len() > MAX_FIELD_LENGTH || !name.chars().all(is_word) {
        field.fault("not a field of an event, expected a name such as \"messages\"");
        return None;
    }
    if !EVENT_FIELDS.contains(&name) {
        let choices = choices(name, EVENT_FIELDS.into_iter());
        field.warn(format!(
            "no field of Meta's events that Keyside knows, so perhaps no event ever has it: {choices}"
        ));
    }
    Some(name.to_owned())
}

fn number_id(text: &str) -> Result<String, Malformed> {
    let is_id = (1..=MAX_NUMBER_LENGTH).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_id {
        Ok(text.to_owned())
    } else {
        Err(Malformed::new(
            "not the id of a number in events, expected the digits of a phone_number_id",
        ))
    }
}

fn lanes(field: &Field<'_>) -> Option<NonZeroUsize> {
    let lanes = field
        .integer()
        .and_then(NonZeroUsize::new)
        .filter(|lanes| lanes.get() <= MAX_LANES);
    if lanes.is_none() {
        field.fault("out of range, expected 1 to 1024 conversations at a time");
    }
    lanes
}

/// Reads "now", or the time back from now.
fn beginning(text: &str) -> Result<Duration, Malformed> {
    match text {
        "now" => Ok(Duration::ZERO),
        text => units::duration(text).map_err(|_| {
            Malformed::new("not a beginning, expected \"now\", or how far back, such as \"24h\"")
        }),
    }
}

/// The default of `max_size`, in bytes: 1.5 million events of 1 KiB, with 400 bytes beside each. A
/// hundred events a second wait for four hours so.
const MAX_SIZE: u64 = 2 << 30;
/// The default of `max_age`: as long as Meta itself sends an event again.
const MAX_AGE: Duration = Duration::from_secs(7 * 86_400);
/// The default of `keep`: a day, in which a fault of the application is noticed and its events can
/// be replayed.
const KEEP: Duration = Duration::from_secs(86_400);
/// The default of `lanes`: 32 conversations of 50 ms are 640 events a second, and the application
/// has no more requests at a time.
const LANES: NonZeroUsize = NonZeroUsize::new(32).unwrap();
/// The bound on `lanes`: each lane may be a connection to the application.
const MAX_LANES: usize = 1024;
/// The longest name of a stream, a subject, an exchange or a routing key; AMQP has 255 bytes for
/// it.
const MAX_STREAM_LENGTH: usize = 255;
/// The longest name of a field; Meta's longest has 38 bytes.
const MAX_FIELD_LENGTH: usize = 64;
/// The longest id of a number, in digits: as many as a number of 64 bits has.
const MAX_NUMBER_LENGTH: usize = 20;

/// The fields of the events of a WhatsApp Business account that Meta documents:
/// <https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/overview>.
const EVENT_FIELDS: [&str; 34] = [
    "account_alerts",
    "account_review_update",
    "account_settings_update",
    "account_update",
    "automatic_events",
    "business_capability_update",
    "business_status_update",
    "business_username_update",
    "calls",
    "flows",
    "group_lifecycle_update",
    "group_participants_update",
    "group_settings_update",
    "group_status_update",
    "history",
    "message_echoes",
    "message_template_components_update",
    "message_template_quality_update",
    "message_template_status_update",
    "messages",
    "messaging_handovers",
    "partner_solutions",
    "payment_configuration_update",
    "phone_number_name_update",
    "phone_number_quality_update",
    "security",
    "smb_app_state_sync",
    "smb_message_echoes",
    "standby",
    "template_category_update",
    "template_correct_category_detection",
    "tracking_events",
    "user_id_update",
    "user_preferences",
];
