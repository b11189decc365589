//! `[spool]` and `[[webhook.to]]`, by example.

use std::path::PathBuf;
use std::time::Duration;

use super::webhooks::WEBHOOK;
use super::{faults, parse};
use crate::config::{
    DestinationConfig, DestinationTarget, EventWay, PublishTarget, Reference, SpoolConfig,
    StreamAddress,
};

const SPOOL: &str = "[spool]\ndir = \"/var/lib/keyside/spool\"\n";
const FORWARD: &str = "forward = \"http://127.0.0.1:3000/webhooks/whatsapp\"\n";

/// A configuration with a spool and one destination of these lines.
fn with_destination(lines: &str) -> String {
    let webhook = WEBHOOK.replace(FORWARD, "");
    format!("{webhook}[[webhook.to]]\n{lines}\n{SPOOL}")
}

fn destinations(text: &str) -> Vec<DestinationConfig> {
    match &parse(text).webhooks[0].way {
        EventWay::Spooled(to) => to.clone(),
        EventWay::Direct(_) => Vec::new(),
    }
}

#[test]
fn a_spool_has_the_defaults_of_the_contract() {
    let config = parse(&format!("{WEBHOOK}{SPOOL}"));
    let expected = SpoolConfig {
        dir: PathBuf::from("/var/lib/keyside/spool"),
        max_size: 2 << 30,
        max_age: Duration::from_secs(7 * 86_400),
        keep: Duration::from_secs(86_400),
    };
    assert_eq!(config.spool, Some(expected));
    assert_eq!(parse(WEBHOOK).spool, None);
    let off = parse(&format!("{WEBHOOK}{SPOOL}keep = \"off\"\n"));
    assert_eq!(off.spool.unwrap().keep, Duration::ZERO);
}

#[test]
fn an_application_alone_is_the_one_destination_with_a_spool_and_direct_without() {
    let text = format!("{WEBHOOK}{SPOOL}");
    let [to] = &destinations(&text)[..] else {
        unreachable!()
    };
    let target = to.target.to_string();
    assert_eq!(
        (to.name.as_str(), target.as_str(), to.lanes.get(), to.rate),
        ("acme", "http://127.0.0.1:3000/webhooks/whatsapp", 32, None)
    );
    assert_eq!(destinations(WEBHOOK), []);
    let reply = parse(&format!("{WEBHOOK}reply = true\n{SPOOL}"));
    assert!(matches!(reply.webhooks[0].way, EventWay::Direct(_)));
    assert!(reply.webhooks[0].reply, "a reply cannot wait on disk");
}

#[test]
fn a_destination_has_filters_lanes_a_pace_and_a_beginning() {
    let lines = "name = \"crm\"\nforward = \"http://crm/\"\nfields = [\"messages\"]\nsenders = [\"106540352242922\"]\n\
                 lanes = 8\nrate = \"50/s\"\nfrom = \"24h\"";
    let [to] = &destinations(&with_destination(lines))[..] else {
        unreachable!()
    };
    assert_eq!(to.name, "crm");
    assert!(to.fields.contains("messages") && to.senders.contains("106540352242922"));
    assert_eq!((to.lanes.get(), to.from), (8, Duration::from_secs(86_400)));
    assert_eq!(to.rate.unwrap().to_string(), "50/s");
    let now = with_destination("name = \"crm\"\nforward = \"http://crm/\"\nfrom = \"now\"");
    assert_eq!(destinations(&now)[0].from, Duration::ZERO);
}

#[test]
fn a_beginning_before_what_is_kept_is_a_warning() {
    for (from, keep, is_warned) in [
        ("48h", "", true),
        ("24h", "", false),
        ("48h", "keep = \"2d\"\n", false),
        ("1h", "keep = \"off\"\n", true),
        ("now", "keep = \"off\"\n", false),
    ] {
        let lines = format!("name = \"crm\"\nforward = \"http://crm/\"\nfrom = \"{from}\"");
        let config = parse(&format!("{}{keep}", with_destination(&lines)));
        let warnings: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
        let is_told = |text: &String| text.contains("webhook.to.from: reaches back");
        assert_eq!(
            warnings.iter().any(is_told),
            is_warned,
            "{from} {keep} {warnings:?}"
        );
    }
}

#[test]
fn a_stream_is_of_redis_nats_or_amqp_and_its_server_is_a_reference() {
    let key = "events".to_owned();
    let subject = "wa.events".to_owned();
    let amqp = |exchange: &str| StreamAddress::Amqp {
        exchange: exchange.to_owned(),
        routing_key: "in".to_owned(),
    };
    for (written, meant, feature) in [
        ("redis-stream:events", StreamAddress::Redis { key }, None),
        (
            "nats:wa.events",
            StreamAddress::Nats { subject },
            Some("nats"),
        ),
        ("amqp:wa/in", amqp("wa"), Some("amqp")),
        ("amqp:/in", amqp(""), Some("amqp")),
    ] {
        let lines = format!("name = \"s\"\npublish = \"{written}\"\nserver = \"file:/url\"");
        let is_built_in = match feature {
            Some("nats") => cfg!(feature = "nats"),
            Some(_) => cfg!(feature = "amqp"),
            None => true,
        };
        if let Some(feature) = feature.filter(|_| !is_built_in) {
            let fault =
                format!("webhook.to.publish: this build has no `{feature}`; build Keyside with");
            assert_faults(&[(&lines, &fault)]);
            continue;
        }
        let config = parse(&with_destination(&lines));
        let server = Reference::File(PathBuf::from("/url"));
        assert_eq!(config.webhooks[0].references().next(), Some(&server));
        let target = DestinationTarget::Stream(PublishTarget {
            stream: meant,
            server,
            ca: None,
        });
        let destinations = destinations(&with_destination(&lines));
        assert_eq!(destinations[0].target, target);
        assert_eq!(destinations[0].target.to_string(), written);
    }
}

#[test]
fn the_server_of_a_stream_may_have_authorities_of_its_own() {
    let stream = "name = \"s\"\npublish = \"redis-stream:events\"\nserver = \"file:/url\"\nca = ";
    let ca = |written: &str| {
        let destinations = destinations(&with_destination(&format!("{stream}\"{written}\"")));
        match &destinations[0].target {
            DestinationTarget::Stream(target) => target.ca.clone(),
            DestinationTarget::Application(_) => panic!("a stream"),
        }
    };
    assert_eq!(ca("/etc/ca.pem"), Some(PathBuf::from("/etc/ca.pem")));
    assert_eq!(ca("system"), None);
    let forward = "name = \"a\"\nforward = \"http://crm/\"\nca = \"/etc/ca.pem\"";
    assert_faults(&[
        (&format!("{stream}\"ca.pem\""), "webhook.to.ca: "),
        (
            forward,
            "webhook.to.ca: only the server of a stream has authorities",
        ),
    ]);
}

/// Asserts that each destination of these lines has this fault, which repeats no value.
#[track_caller]
fn assert_faults(table: &[(&str, &str)]) {
    for (lines, expected) in table {
        let faults = faults(&with_destination(lines)).join("\n");
        assert!(
            faults.contains(expected) && !faults.contains("CANARY"),
            "{lines}: {faults}"
        );
    }
}

#[test]
fn the_faults_of_an_application_have_their_place_and_repeat_no_value() {
    let to = "name = \"crm\"\nforward = \"http://crm/\"\n";
    assert_faults(&[
        (
            "forward = \"http://crm/\"",
            "webhook.to.name: missing, expected the name in logs",
        ),
        (
            "name = \"crm\"",
            "webhook.to.forward: missing, expected where an application accepts events",
        ),
        (&format!("{to}lanes = 0"), "webhook.to.lanes: out of range"),
        (
            &format!("{to}rate = \"fast\""),
            "webhook.to.rate: not a rate",
        ),
        (
            &format!("{to}from = \"CANARY\""),
            "webhook.to.from: not a beginning, expected \"now\", or how far back",
        ),
        (
            &format!("{to}fields = [\"CANARY\"]"),
            "webhook.to.fields: not a field of an event",
        ),
        (
            &format!("{to}senders = [\"CANARY\"]"),
            "webhook.to.senders: not the id of a number",
        ),
        (
            &format!("{to}forwards = 1"),
            "webhook.to.forwards: unknown key, did you mean `forward`?",
        ),
        (
            &format!("{to}[[webhook.to]]\n{to}"),
            "webhook.to.name: the same name as the destination at f:9:1",
        ),
    ]);
}

#[test]
fn the_faults_of_a_stream_have_their_place_and_repeat_no_value() {
    let to = "name = \"crm\"\nforward = \"http://crm/\"\n";
    let stream = "name = \"s\"\nserver = \"file:/u\"\n";
    assert_faults(&[
        (
            &format!("{to}publish = \"redis-stream:x\""),
            "webhook.to.publish: `forward` stands beside it",
        ),
        (
            &format!("{to}server = \"file:/u\""),
            "webhook.to.server: only a stream has a server",
        ),
        (
            "name = \"s\"\npublish = \"redis-stream:x\"",
            "webhook.to.server: missing, expected a reference",
        ),
        (
            "name = \"s\"\npublish = \"redis-stream:x\"\nserver = \"redis://:CANARY@h\"",
            "webhook.to.server: not a reference",
        ),
        (
            &format!("{stream}publish = \"kafka:CANARY\""),
            "webhook.to.publish: not a stream, expected redis-stream:NAME, nats:SUBJECT or amqp:EXCHANGE/KEY",
        ),
        (
            &format!("{stream}publish = \"nats:CANARY.>\""),
            "webhook.to.publish: not a subject to publish to",
        ),
        (
            &format!("{stream}publish = \"amqp:CANARY\""),
            "webhook.to.publish: not an exchange and a routing key",
        ),
    ]);
}

#[test]
fn an_unknown_field_of_events_is_a_warning_since_meta_adds_fields() {
    let lines = "name = \"crm\"\nforward = \"https://crm/\"\nfields = [\"mesages\"]";
    let config = parse(&with_destination(lines));
    let [warning] = &config.warnings[..] else {
        unreachable!()
    };
    assert!(
        warning.to_string().contains("did you mean `messages`?"),
        "{warning}"
    );
}

#[test]
fn several_destinations_need_a_spool_and_stand_in_the_place_of_forward_and_reply() {
    let to = "[[webhook.to]]\nname = \"crm\"\nforward = \"http://crm/\"\n";
    let without = WEBHOOK.replace(FORWARD, "");
    for (text, expected) in [
        (
            format!("{without}{to}"),
            "webhook.to: there is no [spool] in which events could wait",
        ),
        (
            format!("{WEBHOOK}{to}{SPOOL}"),
            "webhook.to: `forward` stands beside it, expected one of them",
        ),
        (
            format!("{without}reply = true\n{to}{SPOOL}"),
            "webhook.reply: a reply comes from one application",
        ),
        (
            format!("{without}{SPOOL}"),
            "webhook.forward: missing, expected where the application accepts events",
        ),
        (
            format!("{WEBHOOK}[spool]\nmax_size = \"1MiB\"\n"),
            "spool.max_size: less than `[inbound] max_body`",
        ),
        (
            format!("{WEBHOOK}[spool]\n"),
            "spool.dir: missing, expected the folder in which events wait",
        ),
    ] {
        let faults = faults(&text).join("\n");
        assert!(faults.contains(expected), "{text}: {faults}");
    }
}

#[test]
fn an_application_at_the_address_of_keyside_itself_is_a_fault() {
    let own = "http://localhost:8081/webhooks/whatsapp";
    let direct = WEBHOOK.replace("http://127.0.0.1:3000/webhooks/whatsapp", own);
    let to = with_destination(&format!("name = \"crm\"\nforward = \"{own}\""));
    let admin = WEBHOOK.replace("127.0.0.1:3000", "127.0.0.1:9900");
    for text in [direct, to, admin] {
        let found = faults(&text);
        assert!(
            found.len() == 1 && found[0].contains("Keyside's own listener"),
            "{found:?}"
        );
    }
}
