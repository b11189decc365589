//! Late, repeated and absent events: the counts, and the words about each.

use std::time::{SystemTime, UNIX_EPOCH};

use super::*;
use crate::support::MESSAGES;
use crate::support::client::with_body;
use crate::support::keyside::{Keyside, Setup};
use crate::support::webhook::{application, beside, genuine, messages_at};

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap().as_secs()
}

/// A sender with ten messages a second, and a webhook in front of an application, without a spool
/// and with one.
fn setups(application: &Upstream, upstream: &Upstream) -> [Setup; 2] {
    let limits = "per_sender = \"10/m\"\nper_recipient = { rate = \"1000/s\" }\nmax_wait = \"1s\"";
    let direct = || beside(upstream, application).limits(limits);
    let webhook = format!(
        "[inbound]\nlisten = [\"127.0.0.1:@INBOUND@\"]\n[[webhook]]\npath = \"{}\"\ncredential = \"acme\"\nforward = \"{}/events\"\n",
        crate::support::webhook::HOOK,
        application.url()
    );
    let spooled = format!("{webhook}[spool]\ndir = \"@DIR@/spool\"\n");
    [direct(), direct().more(&spooled)]
}

/// Messages of the number that sends, received at a time.
fn received(ids: std::ops::Range<usize>, time: u64) -> Vec<u8> {
    let ids: Vec<_> = ids.map(|id| id.to_string()).collect();
    let all: Vec<_> = ids.iter().map(|id| (&**id, "15550001234")).collect();
    let body = messages_at(&all, time).replace("106540352242922", "1234567890");
    genuine(body.as_bytes())
}

fn remaining(keyside: &Keyside) -> String {
    let answer = keyside.post(MESSAGES, "{}");
    match answer.status {
        200 => answer.header("ratelimit").unwrap_or_default().to_owned(),
        status => status.to_string(),
    }
}

#[test]
fn old_messages_that_come_again_and_again_use_up_no_send_limit() {
    let (upstream, application) = (Upstream::ok(), application());
    for setup in setups(&application, &upstream) {
        let keyside = setup.start();
        for _ in 0..20 {
            let answer = keyside.event(&received(0..40, now() - 6 * 3600));
            assert_eq!(answer.status, 200);
        }
        let left = remaining(&keyside);
        assert!(left.contains("r=9"), "{left}");
    }
}

#[test]
fn a_message_that_comes_twice_counts_once() {
    let (upstream, application) = (Upstream::ok(), application());
    for setup in setups(&application, &upstream) {
        let keyside = setup.start();
        for _ in 0..20 {
            assert_eq!(keyside.event(&received(0..5, now())).status, 200);
        }
        let left = remaining(&keyside);
        assert!(left.contains("r=4"), "{left}");
        assert_eq!(keyside.event(&received(3..12, now())).status, 200);
        let left = remaining(&keyside);
        assert_eq!(left, "429", "seven of nine are new");
    }
}

#[test]
fn the_lag_the_last_event_and_the_time_of_a_delivery_are_told() {
    let (upstream, application) = (Upstream::ok(), application());
    for setup in setups(&application, &upstream) {
        let keyside = setup.start();
        assert_eq!(keyside.event(&received(0..1, now() - 100)).status, 200);
        let of_acme = ["webhook=\"acme\""];
        let lag = keyside.metric("keyside_webhook_lag_seconds_sum", &of_acme);
        assert!((99.0..160.0).contains(&lag), "{lag}");
        let last = keyside.metric("keyside_webhook_last_event_timestamp_seconds", &of_acme);
        assert!((last - now() as f64).abs() < 60.0, "{last}");
        let of_destination = ["webhook=\"acme\"", "to=\"acme\""];
        let counted = "keyside_webhook_delivery_seconds_count";
        let is_counted = || (keyside.metric(counted, &of_destination) - 1.0).abs() < 0.1;
        assert!(eventually(SOON, is_counted));
        let webhook = &keyside.status()["webhooks"][0];
        assert!(webhook["lag_seconds"].as_u64().unwrap() >= 99, "{webhook}");
        assert!(webhook["last_event_seconds_ago"].as_u64().unwrap() < 60);
        assert!(webhook["silent_seconds"].is_null());
        let problems = keyside.problems();
        assert!(problems.contains("the last event came 1m"), "{problems}");
        assert_eq!(keyside.event(&received(1..2, now())).status, 200);
        let problems = keyside.problems();
        assert!(!problems.contains("the last event came"), "{problems}");
    }
}

#[test]
fn a_status_from_the_spool_settles_a_send_of_unknown_outcome() {
    let application = application();
    let forgetful = Upstream::scripted(|_, _| After::Reset);
    let [_, setup] = setups(&application, &forgetful);
    let keyside = setup.start();
    let body = r#"{"messaging_product":"whatsapp","to":"15550001234","type":"text","text":{"body":"x"},"biz_opaque_callback_data":"order-7"}"#;
    let request = with_body("POST", MESSAGES, "application/json", body.as_bytes());
    let request = String::from_utf8(request).unwrap();
    let request = request.replacen("\r\n", "\r\nIdempotency-Key: k\r\n", 1);
    let send = || keyside.send(request.as_bytes());
    assert_eq!(send().status, 502);
    assert_eq!((send().status, send().slug()), (409, "send_under_way"));
    let status = format!(
        r#"{{"entry":[{{"id":"1","changes":[{{"field":"messages","value":{{"metadata":{{"phone_number_id":"1234567890"}},"statuses":[{{"id":"wamid.TOLD","status":"sent","timestamp":"{}","recipient_id":"15550001234","biz_opaque_callback_data":"order-7"}}]}}}}]}}]}}"#,
        now()
    );
    assert_eq!(keyside.event(&genuine(status.as_bytes())).status, 200);
    assert!(eventually(SOON, || send().status == 200));
    assert_eq!(send().json()["messages"][0]["id"], "wamid.TOLD");
    must_get(&application, &["wamid.TOLD"]);
}
