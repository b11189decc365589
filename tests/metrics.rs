//! The metrics: the listeners, and the forms.

use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Stdio};

use crate::support::MESSAGES;
use crate::support::client::{Answer, Client, get, post};
use crate::support::keyside::{Keyside, Setup, free_port};
use crate::support::upstream::Upstream;
use crate::support::webhook;

/// A sidecar whose `[metrics]` is bound to every address of the machine, and the port.
fn watched(setup: Setup) -> (Keyside, u16) {
    let port = free_port();
    let metrics = format!("[metrics]\nlisten = [\"0.0.0.0:{port}\"]");
    (setup.more(&metrics).start(), port)
}

/// Asks the listener of metrics at an address that is not `localhost`, as Prometheus and the
/// kubelet do.
fn ask(port: u16, request: &str) -> Answer {
    let address = SocketAddr::new(IpAddr::from([127, 0, 0, 2]), port);
    let head = format!("{request} HTTP/1.1\r\nHost: 10.1.2.3:{port}\r\nContent-Length: 0\r\n\r\n");
    let mut client = Client::connect(address).unwrap();
    client.ask(head.as_bytes()).unwrap()
}

#[test]
fn metrics_and_probes_are_had_from_other_machines_and_nothing_else_is() {
    let upstream = Upstream::ok();
    let (keyside, port) = watched(Setup::new(&upstream));
    for path in ["/metrics", "/livez", "/readyz", "/readyz?route=acme"] {
        for method in ["GET", "HEAD"] {
            let answer = ask(port, &format!("{method} {path}"));
            assert_eq!(answer.status, 200, "{method} {path}");
        }
    }
    for path in ["/status", "/reload", "/", MESSAGES] {
        for method in ["GET", "POST"] {
            let answer = ask(port, &format!("{method} {path}"));
            assert_eq!(answer.status, 404, "{method} {path}");
        }
    }
    let wrong = ask(port, "POST /metrics");
    assert_eq!(
        (wrong.status, wrong.header("allow")),
        (405, Some("GET, HEAD"))
    );
    assert_eq!(upstream.heads(), 0);
    let open = keyside.metric("keyside_connections", &["listener=\"metrics\""]);
    assert!(open <= 1.0, "{open}");
}

#[test]
fn the_address_of_metrics_needs_a_restart_and_is_no_other_listeners() {
    let upstream = Upstream::ok();
    let (mut keyside, port) = watched(Setup::new(&upstream));
    let setup = keyside.setup();
    let other = format!("[metrics]\nlisten = [\"127.0.0.1:{}\"]", free_port());
    *setup = std::mem::replace(setup, Setup::new(&upstream)).more(&other);
    keyside.setup().write_config();
    let refused = keyside.reload();
    assert_eq!(refused.status, 422);
    assert!(refused.text().contains("metrics"), "{}", refused.text());
    let same = Setup::new(&upstream).more("[metrics]\nlisten = [\"127.0.0.1:@ADMIN@\"]");
    let done = same.finish("check");
    assert_eq!(done.code, Some(78), "{}", done.output);
    assert!(done.output.contains("the same address"), "{}", done.output);
    assert_eq!(ask(port, "GET /livez").status, 200);
}

fn metrics_as(keyside: &Keyside, accept: &str) -> Answer {
    let request = format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n");
    keyside.ask_admin(request.as_bytes())
}

/// The `Accept` header of Prometheus.
const PROMETHEUS: &str = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                          text/plain;version=0.0.4;q=0.5,*/*;q=0.1";

#[test]
fn the_reader_chooses_the_form_of_the_metrics() {
    let upstream = Upstream::ok();
    let keyside = Keyside::start(&upstream);
    keyside.post(MESSAGES, "{}");
    let open = metrics_as(&keyside, PROMETHEUS);
    assert!(
        open.header("content-type")
            .unwrap()
            .starts_with("application/openmetrics-text")
    );
    let text = open.text();
    assert!(text.ends_with("# EOF\n"));
    assert!(text.contains("# TYPE keyside_requests counter\n"), "{text}");
    assert!(text.contains("# TYPE keyside_build info\n"), "{text}");
    for accept in ["text/plain", "*/*", "text/plain;version=0.0.4"] {
        let classic = metrics_as(&keyside, accept);
        assert!(
            classic
                .header("content-type")
                .unwrap()
                .starts_with("text/plain; version=0.0.4")
        );
        let text = classic.text();
        assert!(!text.contains("# EOF"), "{text}");
        assert!(
            text.contains("# TYPE keyside_requests_total counter\n"),
            "{text}"
        );
        assert!(text.contains("# TYPE keyside_build_info gauge\n"), "{text}");
    }
}

#[test]
fn closed_sets_have_their_series_from_the_start_and_the_process_has_the_usual_ones() {
    let upstream = Upstream::ok();
    let keyside = Keyside::start(&upstream);
    let metrics = keyside.metrics();
    for series in [
        "keyside_reloads_total{result=\"refused\"} 0",
        "keyside_connections_refused_total{listener=\"outbound\",reason=\"overloaded\"} 0",
        "keyside_audit_lost_total 0",
        "keyside_rotations_total{credential=\"acme\",result=\"fell_back\"} 0",
        "process_cpu_seconds_total ",
        "process_open_fds ",
        "process_max_fds ",
        "process_resident_memory_bytes ",
        "process_start_time_seconds ",
    ] {
        assert!(metrics.contains(series), "{series} in {metrics}");
    }
    assert!(
        !metrics.contains("keyside_redis_up"),
        "no Redis is configured"
    );
    let open = keyside.metric("process_open_fds", &[]);
    assert!((1.0..1000.0).contains(&open), "{open}");
}

#[test]
fn a_route_and_a_webhook_have_the_series_of_closed_sets_from_their_first_use() {
    let upstream = Upstream::ok();
    let application = webhook::application();
    let keyside = webhook::beside(&upstream, &application).start();
    let routes = [
        "keyside_limited_total{route=\"acme\",limit=\"sender\"} 0",
        "keyside_upstream_errors_total{route=\"acme\",class=\"upstream_unreachable\",code=\"\"} 0",
        "keyside_upstream_errors_total{route=\"acme\",class=\"upstream_timeout\",code=\"\"} 0",
    ];
    let webhooks = [
        "keyside_webhooks_total{webhook=\"acme\",outcome=\"forged\"} 0",
        "keyside_webhook_secret_used_total{webhook=\"acme\",which=\"previous\"} 0",
        "keyside_webhook_secret_used_total{webhook=\"acme\",which=\"accepted\"} 0",
        "keyside_webhook_secret_used_total{webhook=\"acme\",which=\"current\"} 1",
    ];
    let before = keyside.metrics();
    for series in routes.iter().chain(&webhooks) {
        let (name, _) = series.split_once('{').unwrap();
        assert!(!before.contains(name), "{series} in {before}");
    }
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    let event = webhook::genuine(webhook::EVENT.as_bytes());
    assert_eq!(keyside.event(&event).status, 200);
    let after = keyside.metrics();
    for series in routes.iter().chain(&webhooks) {
        assert!(after.contains(series), "{series} in {after}");
    }
}

#[test]
#[ignore = "needs promtool: tests/run servers"]
fn promtool_finds_nothing_to_mend_in_the_metrics() {
    let upstream = Upstream::ok();
    let keyside = Keyside::start(&upstream);
    keyside.post(MESSAGES, "{}");
    keyside.send(&get("/nothing"));
    keyside.ask_admin(&post("/reload", ""));
    let text = metrics_as(&keyside, "text/plain").body;
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed");
    std::io::Write::write_all(&mut promtool.stdin.take().unwrap(), &text).unwrap();
    let done = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success() && said.is_empty(), "{said}");
}
