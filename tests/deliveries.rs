//! The health of destinations is what deliveries say: the status, `/readyz?webhook=`, the metrics
//! and the log name the destination that takes no events, why, and what to do.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use crate::support::client::get;
use crate::support::eventually;
use crate::support::keyside::{Keyside, finish, free_port};
use crate::support::upstream::{After, Upstream};
use crate::support::webhook::{self, application, genuine, message, spooled};

/// An application that answers with the status of the moment.
fn changing(status: &Arc<AtomicU16>) -> Upstream {
    let status = Arc::clone(status);
    Upstream::plain(move |_, wire| {
        let status = status.load(Ordering::SeqCst);
        wire.write(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n").as_bytes());
        After::Keep
    })
}

fn ready(keyside: &Keyside) -> (u16, String) {
    let answer = keyside.ask_admin(&get("/readyz?webhook=acme"));
    (answer.status, answer.text())
}

fn send(keyside: &Keyside, id: &str) -> u16 {
    keyside.event(&genuine(message(id, "1").as_bytes())).status
}

fn failures(keyside: &Keyside, class: &str) -> f64 {
    let class = format!("class=\"{class}\"");
    keyside.metric(
        "keyside_webhook_delivery_failures_total",
        &["webhook=\"acme\"", "to=\"acme\"", &class],
    )
}

#[test]
fn an_application_that_is_down_is_told_everywhere_and_its_return_as_well() {
    let port = free_port();
    let keyside = webhook::forwarding(&format!("http://127.0.0.1:{port}/events")).start();
    assert_eq!(ready(&keyside), (200, "ready\n".to_owned()));
    for id in ["a", "b"] {
        assert_eq!(send(&keyside, id), 503);
    }
    let said = "webhook acme: 2 events failed since 2";
    let reason = format!("127.0.0.1:{port} cannot be reached: Connection refused");
    let remedy = "start the application, or mend the address in `forward`";
    let (status, text) = ready(&keyside);
    assert_eq!(status, 503);
    for told in [text, keyside.problems()] {
        for part in [said, &*reason, "none succeeded", remedy] {
            assert!(told.contains(part), "{part} in {told}");
        }
    }
    let log = keyside.log();
    assert!(
        log.contains("event not delivered") && log.contains(&reason),
        "{log}"
    );
    assert!((failures(&keyside, "unreachable") - 2.0).abs() < 0.1);
    assert!(failures(&keyside, "timeout").abs() < 0.1);
    let health = keyside.status()["webhooks"][0]["to"][0]["traffic"].clone();
    assert_eq!(health["failing"]["count"], 2);
    assert_eq!(health["failing"]["class"], "unreachable");
    assert!(health["last_success"].is_null());
    assert_eq!(
        keyside.ask_admin(&get("/readyz")).status,
        200,
        "the sidecar itself is ready"
    );

    let _application = Upstream::plain_at(port, |_, wire| {
        wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        After::Keep
    });
    assert_eq!(send(&keyside, "c"), 200);
    assert_eq!(ready(&keyside), (200, "ready\n".to_owned()));
    assert!(!keyside.problems().contains("webhook acme"));
    assert!(
        keyside
            .log()
            .contains("the application accepts events again")
    );
    let since = keyside.metric(
        "keyside_webhook_delivery_last_success_timestamp_seconds",
        &["to=\"acme\""],
    );
    assert!(since > 1.6e9, "{since}");
}

#[test]
fn a_status_other_than_2xx_is_told_with_its_class_and_a_single_one_is_no_trouble() {
    for (answered, class, tolerated) in [
        (404, "refused", 1),
        (500, "temporary", 3),
        (400, "other", 5),
        (429, "throttled", 5),
    ] {
        let status = Arc::new(AtomicU16::new(answered));
        let application = changing(&status);
        let keyside = webhook::setup(&application).start();
        for count in 1..=tolerated {
            let is_ready = ready(&keyside).0 == 200;
            assert!(is_ready, "{answered}, {count}");
            assert_eq!(send(&keyside, &format!("m{count}")), 503);
        }
        let (code, text) = ready(&keyside);
        assert_eq!(code, 503, "{answered}");
        let place = application.url().replace("http://", "");
        assert!(
            text.contains(&format!("{place} answers with status {answered}")),
            "{text}"
        );
        assert!(
            (failures(&keyside, class) - f64::from(tolerated)).abs() < 0.1,
            "{class}"
        );
        status.store(200, Ordering::SeqCst);
        assert_eq!(send(&keyside, "last"), 200);
        assert_eq!(ready(&keyside).0, 200);
    }
}

#[test]
fn a_destination_of_the_spool_has_its_health_and_takes_events_all_the_same() {
    let port = free_port();
    let keyside = spooled(&format!("forward = \"http://127.0.0.1:{port}/events\"")).start();
    assert_eq!(send(&keyside, "a"), 200);
    let health = || keyside.status()["webhooks"][0]["to"][0]["traffic"].clone();
    let fails = || health()["failing"]["class"] == "unreachable";
    assert!(eventually(Duration::from_secs(5), fails), "{}", health());
    assert!(failures(&keyside, "unreachable") >= 1.0);
    assert_eq!(ready(&keyside).0, 200, "events wait on disk");
    // The spool's own alarm tells it, once.
    let told = || keyside.problems();
    assert!(
        eventually(Duration::from_secs(5), || told().contains("webhook acme")),
        "{}",
        told()
    );
    assert_eq!(told().matches("cannot be reached").count(), 1, "{}", told());
    let _application = Upstream::plain_at(port, |_, wire| {
        wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        After::Keep
    });
    let succeeds = || health()["last_success"].is_u64() && health()["failing"].is_null();
    assert!(
        eventually(Duration::from_secs(10), succeeds),
        "{}",
        health()
    );
}

#[test]
fn an_unused_destination_has_no_series_and_the_table_shows_deliveries() {
    let application = application();
    let keyside = webhook::setup(&application).start();
    assert!(
        !keyside
            .metrics()
            .contains("keyside_webhook_delivery_failures_total{")
    );
    assert_eq!(send(&keyside, "a"), 200);
    for class in [
        "unreachable",
        "tls",
        "protocol",
        "timeout",
        "refused",
        "throttled",
        "temporary",
        "other",
    ] {
        let series = format!("class=\"{class}\"}} 0");
        assert!(keyside.metrics().contains(&series), "{class}");
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyside"));
    command.args(["status", "--admin", &keyside.admin().to_string()]);
    let table = finish(&mut command, Duration::from_secs(10)).output;
    let titles = table
        .lines()
        .find(|line| line.starts_with("WEBHOOK"))
        .unwrap();
    assert!(
        titles.contains("LAST DELIVERY  FAILED IN 1H  FORWARD"),
        "{table}"
    );
    assert!(table.contains("0 of 1"), "{table}");
}
