//! The request for an application, and the consequences of the answers.

use super::*;
use crate::support::webhook::{
    EVENT, application, event, genuine, ids, message, messages, signature, spooled, status,
};
use crate::support::{APP_SECRET, base64, hmac_base64, noise};

fn forward(application: &Upstream) -> String {
    format!("forward = \"{}/events?a=b\"", application.url())
}

#[test]
fn an_application_gets_the_same_bytes_and_headers_as_without_a_spool_and_notes_about_the_delivery()
{
    let application = application();
    let keyside = spooled(&forward(&application)).start();
    let answer = keyside.event(&genuine(EVENT.as_bytes()));
    assert_eq!((answer.status, answer.text().as_str()), (200, ""));
    must_arrive(&application, 1);
    let request = application.last();
    assert_eq!(request.line(), "POST /events?a=b HTTP/1.1");
    assert_eq!(request.body, EVENT.as_bytes());
    let signed = signature(APP_SECRET, EVENT.as_bytes());
    let header = |name: &str| request.header(name).unwrap_or_default();
    assert_eq!(
        format!("X-Hub-Signature-256: {}", header("x-hub-signature-256")),
        signed
    );
    assert_eq!(header("content-type"), "application/json");
    assert_eq!(header("keyside-webhook"), "acme");
    assert_eq!(header("keyside-attempt"), "1");
    assert_eq!(header("keyside-event-id").len(), 32);
    assert!(header("keyside-received").ends_with('Z'));
    assert_eq!(request.header("keyside-repeats"), None);
    let labels = ["webhook=\"acme\"", "outcome=\"stored\""];
    assert!((keyside.metric("keyside_webhooks_total", &labels) - 1.0).abs() < 0.1);
    let labels = ["webhook=\"acme\"", "to=\"acme\""];
    let counted = "keyside_webhook_delivery_seconds_count";
    assert!(eventually(SOON, || (keyside.metric(counted, &labels)
        - 1.0)
        .abs()
        < 0.1));
}

#[test]
fn a_forgery_is_refused_and_nothing_of_it_is_stored() {
    let application = application();
    let keyside = spooled(&forward(&application)).start();
    let forged = event(&[&signature("other", b"{}")], b"{}");
    assert_eq!(keyside.event(&forged).status, 401);
    assert_eq!(
        keyside
            .event(&genuine(message("m1", "1").as_bytes()))
            .status,
        200
    );
    must_get(&application, &["m1"]);
    assert_eq!(application.heads(), 1);
}

#[test]
fn an_application_gets_a_signature_of_standard_webhooks_of_every_key() {
    let application = application();
    let key = format!("whsec_{}", base64(&[7; 32]));
    let lines = format!(
        "{}\nsign = [\"file:@DIR@/sign\", \"file:@DIR@/old\"]",
        forward(&application)
    );
    let old = base64(&[8; 24]);
    let setup = spooled(&lines).file("sign", key).file("old", old);
    let keyside = setup.start();
    for body in [message("m1", "1"), messages(&[("m2", "1"); 400])] {
        application.forget();
        assert_eq!(keyside.event(&genuine(body.as_bytes())).status, 200);
        must_arrive(&application, 1);
        let request = application.last();
        let header = |name: &str| request.header(name).unwrap_or_default();
        let id = header("webhook-id");
        assert_eq!(id, header("keyside-event-id"));
        let signed = format!("{id}.{}.{body}", header("webhook-timestamp"));
        let expected: Vec<_> = [vec![7; 32], vec![8; 24]]
            .iter()
            .map(|key| format!("v1,{}", hmac_base64(key, signed.as_bytes())))
            .collect();
        assert_eq!(header("webhook-signature"), expected.join(" "));
    }
}

#[test]
fn an_application_without_its_signature_gets_no_event_until_the_key_is_there() {
    let application = application();
    let lines = format!("{}\nsign = \"file:@DIR@/sign\"", forward(&application));
    let keyside = spooled(&lines).start();
    assert_eq!(
        keyside
            .event(&genuine(message("m1", "1").as_bytes()))
            .status,
        200
    );
    let log = keyside.log();
    assert!(log.contains("its events wait for the key"), "{log}");
    assert_eq!(application.heads(), 0);
    keyside.dir().write("sign", base64(&[7; 32]));
    assert_eq!(keyside.reload().status, 200);
    must_get(&application, &["m1"]);
    assert!(application.last().header("webhook-signature").is_some());
}

#[test]
fn a_key_from_a_program_leads_to_a_reload_only_when_it_is_another() {
    let (upstream, application) = (Upstream::ok(), application());
    let key = base64(&[7; 32]);
    let webhook = format!(
        "[inbound]\nlisten = [\"127.0.0.1:@INBOUND@\"]\n[[webhook]]\npath = \"/hook\"\ncredential = \"acme\"\n\
         forward = \"{}/\"\nsign = \"exec:/bin/cat @DIR@/sign\"\n[spool]\ndir = \"@DIR@/spool\"\n",
        application.url()
    );
    let setup = crate::support::webhook::beside(&upstream, &application);
    let keyside = setup.more(&webhook).refresh("1s").file("sign", key).start();
    let before = keyside.reloads();
    std::thread::sleep(Duration::from_secs(3));
    assert!(
        (keyside.reloads() - before).abs() < 0.1,
        "the key is in use already"
    );
    keyside.dir().write("sign", base64(&[8; 32]));
    assert!(eventually(SOON, || keyside.reloads() > before));
}

#[test]
fn a_repeat_is_answered_200_and_counted_and_not_delivered_again() {
    let application = application();
    let keyside = spooled(&forward(&application)).start();
    let body = message("m1", "1");
    for _ in 0..3 {
        assert_eq!(keyside.event(&genuine(body.as_bytes())).status, 200);
    }
    must_get(&application, &["m1"]);
    let both = messages(&[("m1", "1"), ("m2", "1")]);
    assert_eq!(keyside.event(&genuine(both.as_bytes())).status, 200);
    must_get(&application, &["m2"]);
    assert_eq!(application.heads(), 2);
    assert_eq!(application.last().header("keyside-repeats").unwrap(), "0");
    let repeats = keyside.metric("keyside_webhook_repeats_total", &["webhook=\"acme\""]);
    assert!((repeats - 3.0).abs() < 0.1, "{repeats}");
}

#[test]
fn a_slow_application_does_not_slow_the_answer() {
    let slow = Upstream::plain(|_, wire| {
        wire.wait(Duration::from_secs(2));
        answer(wire, 200, "");
        After::Keep
    });
    let keyside = spooled(&forward(&slow)).start();
    let began = std::time::Instant::now();
    for number in 0..100 {
        let body = message(&format!("m{number}"), &number.to_string());
        assert_eq!(keyside.event(&genuine(body.as_bytes())).status, 200);
    }
    assert!(began.elapsed() < crate::support::stretched(Duration::from_secs(2)));
}

#[test]
fn messages_go_before_statuses_once_the_application_is_back() {
    let port = crate::support::keyside::free_port();
    let lines = format!("forward = \"http://127.0.0.1:{port}/\"\n");
    let keyside = spooled(&lines).start();
    for number in 0..40 {
        let body = status(&format!("s{number}"), "read", &number.to_string());
        assert_eq!(keyside.event(&genuine(body.as_bytes())).status, 200);
    }
    let last = message("m1", "99");
    assert_eq!(keyside.event(&genuine(last.as_bytes())).status, 200);
    let application = Upstream::plain_at(port, |_, wire| {
        answer(wire, 200, "");
        After::Keep
    });
    must_get(&application, &["m1", "s39"]);
    let order = delivered(&application);
    let place = order.iter().position(|id| id == "m1").unwrap();
    assert!(place <= 1, "one probe may go before: {order:?}");
}

#[test]
fn the_events_of_a_conversation_keep_their_order_through_random_failures() {
    const USERS: u64 = 200;
    let turn = AtomicU16::new(0);
    let application = Upstream::plain(move |request, wire| {
        // A third of the first attempts fails.
        let fails = turn.fetch_add(1, Ordering::Relaxed).is_multiple_of(3);
        let is_first = request.header("keyside-attempt").as_deref() == Some("1");
        match fails && is_first {
            true => answer(wire, 500, ""),
            false => answer(wire, 200, ""),
        }
        After::Keep
    });
    let keyside = spooled(&forward(&application)).start();
    let mut client = crate::support::client::Client::connect(keyside.inbound()).unwrap();
    for round in 0..3 {
        for user in 0..USERS {
            let body = message(&format!("{user}.{round}"), &user.to_string());
            assert_eq!(client.ask(&genuine(body.as_bytes())).unwrap().status, 200);
        }
    }
    drop(client);
    let counted = "keyside_webhook_delivery_seconds_count";
    let all = eventually(Duration::from_secs(60), || {
        keyside.metric(counted, &[]) >= 3.0 * USERS as f64 - 0.1
    });
    assert!(all, "{}", keyside.metric(counted, &[]));
    let order = delivered(&application);
    for user in 0..USERS {
        let mut rounds: Vec<_> = order
            .iter()
            .filter_map(|id| id.strip_prefix(&format!("{user}.")))
            .collect();
        rounds.dedup();
        assert_eq!(rounds, ["0", "1", "2"], "user {user}");
    }
}

#[test]
fn bodies_of_3_mib_and_a_thousand_items_pass_byte_for_byte() {
    let application = application();
    let keyside = spooled(&forward(&application)).start();
    let mut large = noise(3 << 20);
    large[0] = b'x';
    let many: Vec<_> = (0..1000)
        .map(|n| (format!("m{n}"), (n % 50).to_string()))
        .collect();
    let many: Vec<_> = many.iter().map(|(id, user)| (&**id, &**user)).collect();
    let many = messages(&many).into_bytes();
    for body in [large, many] {
        application.forget();
        assert_eq!(keyside.event(&genuine(&body)).status, 200);
        assert!(eventually(SOON, || application.arrivals() == 1));
        assert!(application.last().body == body, "{} bytes", body.len());
    }
    assert_eq!(ids(&application.last().body).len(), 1000);
}
