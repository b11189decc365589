//! Several destinations, each at a separate pace, and reloads with other destinations.

use super::*;
use crate::support::keyside::{Keyside, free_port};
use crate::support::webhook::{application, genuine, message, spooled, status, to};

fn send(keyside: &Keyside, id: &str) {
    let answer = keyside.event(&genuine(message(id, id).as_bytes()));
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[test]
fn each_destination_gets_every_event_and_one_that_is_down_holds_nobody_up() {
    let (one, port) = (application(), free_port());
    let hanging = Upstream::plain(|_, wire| {
        wire.hang();
        After::Reset
    });
    let down = format!("[[webhook.to]]\nname = \"down\"\nforward = \"http://127.0.0.1:{port}/\"\n");
    let hangs = to("hangs", &hanging, "");
    let keyside = spooled(&format!("{}{down}{hangs}", to("one", &one, ""))).start();
    let ids: Vec<String> = (0..100).map(|number| format!("m{number}")).collect();
    for id in &ids {
        send(&keyside, id);
    }
    let all: Vec<_> = ids.iter().map(String::as_str).collect();
    must_get(&one, &all);
    let late = Upstream::plain_at(port, |_, wire| {
        answer(wire, 200, "");
        After::Keep
    });
    must_get(&late, &all);
    assert_eq!(one.last().target(), "/one");
}

#[test]
fn a_destination_gets_the_fields_and_numbers_that_it_wants() {
    let (all, messages, other) = (application(), application(), application());
    let lines = [
        to("all", &all, ""),
        to("flows", &messages, "fields = [\"flows\"]"),
        to("other", &other, "senders = [\"1\"]"),
    ];
    let keyside = spooled(&lines.concat()).start();
    send(&keyside, "m1");
    let flows = r#"{"entry":[{"id":"1","changes":[{"field":"flows","value":{"event":"x"}}]}]}"#;
    assert_eq!(keyside.event(&genuine(flows.as_bytes())).status, 200);
    assert!(eventually(SOON, || all.arrivals() == 2 && messages.arrivals() == 1));
    assert_eq!(messages.last().body, flows.as_bytes());
    assert_eq!(other.heads(), 0);
}

#[test]
fn an_odd_item_loses_no_event_and_an_event_that_nobody_wants_is_counted_apart() {
    let number = application();
    let lines = to(
        "number",
        &number,
        "senders = [\"106540352242922\"]\nfields = [\"messages\"]",
    );
    let keyside = spooled(&lines).start();
    let event = |value: &str| {
        format!(
            r#"{{"entry":[{{"id":1,"changes":[{{"field":"messages","value":{{"metadata":{{"phone_number_id":"106540352242922"}},{value}}}}}]}}]}}"#
        )
    };
    let braces = "{".repeat(40_000);
    let bodies = [
        event(r#""messages":[{"id":"a","from":"1","timestamp":1749416383}]"#),
        event(r#""statuses":null,"messages":[{"id":"b","from":null,"from_user_id":"US.1"}]"#),
        event(&format!(
            r#""messages":[{{"id":"c","from":"1","text":{{"body":"{braces}"}}}}]"#
        )),
        format!("\u{feff}{}", event(r#""messages":[{"id":"d","from":"1"}]"#)),
        event(r#""messages":[{"id":"e","from":"1"}"#),
    ];
    for (sent, body) in (1..).zip(&bodies) {
        assert_eq!(keyside.event(&genuine(body.as_bytes())).status, 200);
        assert!(
            eventually(SOON, || number.arrivals() == sent),
            "{body:.200}"
        );
        assert_eq!(number.last().body, body.as_bytes());
    }
    let flows = r#"{"entry":[{"id":"1","changes":[{"field":"flows","value":{"event":"x"}}]}]}"#;
    assert_eq!(keyside.event(&genuine(flows.as_bytes())).status, 200);
    for (outcome, count) in [("stored", 5.0), ("unwanted", 1.0)] {
        let label = format!("outcome=\"{outcome}\"");
        let counted = keyside.metric("keyside_webhooks_total", &[&label]);
        assert!((counted - count).abs() < 0.1, "{outcome}: {counted}");
    }
    let log = keyside.log();
    assert!(log.contains("no destination wants the event"), "{log}");
    assert_eq!(number.arrivals(), 5);
}

#[test]
fn a_pace_bounds_the_deliveries_of_its_destination_alone() {
    let (paced, free) = (application(), application());
    let lines = to("paced", &paced, "rate = \"20/s\"") + &to("free", &free, "");
    let keyside = spooled(&lines).start();
    let began = std::time::Instant::now();
    for number in 0..30 {
        send(&keyside, &format!("m{number}"));
    }
    assert!(eventually(SOON, || free.arrivals() == 30));
    assert!(eventually(SOON, || paced.arrivals() == 30));
    assert!(
        began.elapsed() >= Duration::from_millis(1300),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn lanes_bound_the_conversations_under_way() {
    let most = std::sync::Arc::new((Mutex::new((0, 0)), ()));
    let seen = std::sync::Arc::clone(&most);
    let application = Upstream::plain(move |_, wire| {
        {
            let mut counts = seen.0.lock().unwrap();
            counts.0 += 1;
            counts.1 = counts.1.max(counts.0);
        }
        wire.wait(Duration::from_millis(20));
        seen.0.lock().unwrap().0 -= 1;
        answer(wire, 200, "");
        After::Keep
    });
    let keyside = spooled(&to("few", &application, "lanes = 3")).start();
    for number in 0..30 {
        send(&keyside, &format!("m{number}"));
    }
    assert!(eventually(SOON, || application.arrivals() == 30));
    let most = most.0.lock().unwrap().1;
    assert_eq!(most, 3);
}

#[test]
fn a_reload_adds_a_destination_with_what_is_kept_and_takes_one_away_without_a_loss() {
    let (one, two) = (application(), application());
    let mut keyside = spooled(&to("one", &one, "")).start();
    for id in ["m1", "m2"] {
        send(&keyside, id);
    }
    must_get(&one, &["m1", "m2"]);
    let with = |keyside: &mut Keyside, lines: &str| {
        let path = keyside.dir().join("proxy.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        let (before, rest) = text.split_once("[[webhook.to]]").unwrap();
        let (_, after) = rest.split_once("[spool]").unwrap();
        std::fs::write(&path, format!("{before}{lines}[spool]{after}")).unwrap();
        keyside.reload()
    };
    let both = to("one", &one, "") + &to("two", &two, "from = \"24h\"");
    assert_eq!(with(&mut keyside, &both).status, 200);
    must_get(&two, &["m1", "m2"]);
    send(&keyside, "m3");
    must_get(&one, &["m3"]);
    must_get(&two, &["m3"]);
    assert_eq!(delivered(&two).len(), 3);
    assert_eq!(with(&mut keyside, &to("two", &two, "")).status, 200);
    send(&keyside, "m4");
    must_get(&two, &["m4"]);
    assert_eq!(delivered(&one).len(), 3);
}

#[test]
fn a_reload_gives_waiting_events_another_address() {
    let port = free_port();
    let down = format!("[[webhook.to]]\nname = \"app\"\nforward = \"http://127.0.0.1:{port}/\"\n");
    let keyside = spooled(&down).start();
    send(&keyside, "m1");
    let application = application();
    let path = keyside.dir().join("proxy.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let url = format!("{}/", application.url());
    std::fs::write(
        &path,
        text.replace(&format!("http://127.0.0.1:{port}/"), &url),
    )
    .unwrap();
    assert_eq!(keyside.reload().status, 200);
    must_get(&application, &["m1"]);
}

#[test]
fn another_folder_needs_a_restart_and_other_bounds_do_not() {
    let port = free_port();
    let down = format!("[[webhook.to]]\nname = \"app\"\nforward = \"http://127.0.0.1:{port}/\"\n");
    let keyside = spooled(&down).start();
    let path = keyside.dir().join("proxy.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("/spool\"", "/other\"")).unwrap();
    let refused = keyside.reload();
    assert_eq!(refused.status, 422);
    assert!(
        refused
            .text()
            .contains("spool.dir: changed, which needs a restart"),
        "{}",
        refused.text()
    );
    std::fs::write(
        &path,
        text.replace("/spool\"\n", "/spool\"\nmax_size = \"4MiB\"\n"),
    )
    .unwrap();
    assert_eq!(keyside.reload().status, 200);
    let large = status("s1", "read", "1") + &" ".repeat(3 << 20);
    assert_eq!(keyside.event(&genuine(large.as_bytes())).status, 200);
    let second = status("s2", "read", "1") + &" ".repeat(3 << 20);
    assert_eq!(keyside.event(&genuine(second.as_bytes())).status, 503);
}

#[test]
fn a_reload_with_another_address_goes_there_without_the_pause_of_the_old_one() {
    let refusing = Upstream::plain(|_, wire| {
        answer(wire, 401, "");
        After::Keep
    });
    let keyside = spooled(&to("app", &refusing, "")).start();
    send(&keyside, "m1");
    assert!(eventually(SOON, || keyside.log().contains("is paused")));
    let application = application();
    let path = keyside.dir().join("proxy.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let text = text.replace(&refusing.url(), &application.url());
    std::fs::write(&path, text).unwrap();
    assert_eq!(keyside.reload().status, 200);
    // The next probe of the old address would go out after 30 s.
    let began = std::time::Instant::now();
    must_get(&application, &["m1"]);
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_failed_attempt_is_logged_at_once_and_a_third_is_a_problem() {
    let failing = Upstream::plain(|_, wire| {
        answer(wire, 500, "");
        After::Keep
    });
    let keyside = spooled(&to("app", &failing, "")).start();
    send(&keyside, "m1");
    assert!(eventually(SOON, || {
        keyside
            .log()
            .contains("events are not delivered, and are tried again")
    }));
    assert!(eventually(SOON, || keyside
        .problems()
        .contains("the last: status 500")));
}
