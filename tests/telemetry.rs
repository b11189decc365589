//! Traces and metrics by OTLP, against a receiver of the tests' own that speaks OTLP.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use rustix::process::Signal;

use crate::support::client::post;
use crate::support::keyside::{Keyside, Setup, free_port};
use crate::support::otlp::{Receiver, Span, texts};
use crate::support::upstream::Upstream;
use crate::support::webhook::{self, HOOK, application, genuine, message};
use crate::support::{MESSAGES, TOKEN, eventually, stretched};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";
/// The parts of a message that nobody but the provider may see.
const PRIVATE: [&str; 4] = ["4915550001234", "a private text", "1234567890", TOKEN];

fn traced(upstream: &Upstream, receiver: &Receiver) -> Setup {
    Setup::new(upstream).more(&receiver.table())
}

fn sent_with(keyside: &Keyside, traceparent: &str) -> u16 {
    let body = r#"{"messaging_product":"whatsapp","to":"4915550001234","type":"text","text":{"body":"a private text"}}"#;
    let request = String::from_utf8(post(MESSAGES, body)).unwrap();
    let head = format!("\r\ntraceparent: {traceparent}\r\n");
    keyside
        .send(request.replacen("\r\n", &head, 1).as_bytes())
        .status
}

/// Waits for spans with this name, and returns all spans.
fn spans_with(receiver: &Receiver, name: &str, count: usize) -> Vec<Span> {
    let mut spans = Vec::new();
    let all_there = eventually(Duration::from_secs(5), || {
        spans = receiver.spans();
        spans.iter().filter(|span| span.name == name).count() >= count
    });
    assert!(all_there, "not {count} of {name}: {spans:#?}");
    spans
}

fn named<'s>(spans: &'s [Span], name: &str) -> &'s Span {
    let found = spans.iter().find(|span| span.name == name);
    found.unwrap_or_else(|| panic!("no span {name}: {spans:#?}"))
}

fn assert_facts(span: &Span, facts: &[(&str, &str)]) {
    for (key, value) in facts {
        let found = span.attributes.get(*key).map(String::as_str);
        assert_eq!(found, Some(*value), "{key} of {span:#?}");
    }
}

const REQUEST: &str = "POST /{v}/{sender}/messages";

#[test]
fn a_request_continues_the_trace_of_its_caller_and_the_provider_learns_nothing_of_it() {
    let (upstream, receiver) = (Upstream::ok(), Receiver::new());
    let keyside = traced(&upstream, &receiver).start();
    assert_eq!(sent_with(&keyside, &format!("00-{TRACE}-{PARENT}-01")), 200);
    let spans = spans_with(&receiver, REQUEST, 1);
    let request = named(&spans, REQUEST);
    assert_eq!((&*request.trace, &*request.parent), (TRACE, PARENT));
    assert_eq!((request.kind, request.failed), (SpanKind::Server, false));
    let facts = [
        ("http.request.method", "POST"),
        ("http.response.status_code", "200"),
        ("http.route", "/{v}/{sender}/messages"),
        ("keyside.route", "acme"),
        ("keyside.credential", "acme"),
        ("keyside.operation", "messages"),
    ];
    assert_facts(request, &facts);
    for step in ["queue", "credential", "POST"] {
        let step = named(&spans, step);
        assert_eq!((&*step.trace, &*step.parent), (TRACE, &*request.id));
        assert!(step.duration <= request.duration, "{step:#?}");
    }
    let attempt = named(&spans, "POST");
    assert_eq!(attempt.kind, SpanKind::Client);
    let authority = upstream.authority();
    let (host, port) = authority.rsplit_once(':').unwrap();
    let facts = [
        ("http.request.method", "POST"),
        ("http.response.status_code", "200"),
        ("server.address", host),
        ("server.port", port),
    ];
    assert_facts(attempt, &facts);
    assert!(upstream.last_to(MESSAGES).header("traceparent").is_none());
    let all = format!("{spans:?}");
    assert!(
        PRIVATE.iter().all(|private| !all.contains(private)),
        "{all}"
    );
    assert!(keyside.log().contains(&format!("\"trace_id\":\"{TRACE}\"")));
}

#[test]
fn the_caller_decides_whether_its_trace_is_recorded_and_sample_decides_on_new_ones() {
    let upstream = Upstream::ok();
    let sampled = format!("00-{TRACE}-{PARENT}-01");
    let unsampled = format!("00-{TRACE}-{PARENT}-00");
    for (sample, traceparent, is_recorded) in [
        ("sample = 0.0", &*sampled, true),
        ("sample = 1.0", &*unsampled, false),
        ("sample = 1.0", "00-not-a-parent", true),
        ("sample = 0", "00-not-a-parent", false),
    ] {
        let receiver = Receiver::new();
        let setup = Setup::new(&upstream).more(&format!("{}{sample}", receiver.table()));
        let mut keyside = setup.start();
        assert_eq!(sent_with(&keyside, traceparent), 200);
        keyside.end(Signal::TERM);
        let spans = receiver.spans();
        assert_eq!(!spans.is_empty(), is_recorded, "{sample} {traceparent}");
        if let Some(request) = spans.iter().find(|span| span.name == REQUEST) {
            let is_new = traceparent != sampled;
            assert_eq!(request.parent.is_empty(), is_new, "{traceparent}");
            assert_eq!(request.trace != TRACE, is_new, "{traceparent}");
        }
    }
}

#[test]
fn a_failure_is_told_by_the_request_and_by_the_step_at_fault() {
    let receiver = Receiver::new();
    let keyside = Setup::at(&format!("https://localhost:{}", free_port()))
        .more(&receiver.table())
        .limits("per_sender = \"1/h\"\nmax_wait = \"1ms\"")
        .start();
    assert_eq!(keyside.post(MESSAGES, "{}").status, 502);
    assert_eq!(keyside.post(MESSAGES, "{}").status, 429);
    assert_eq!(keyside.get("/nothing/here").status, 403);
    let spans = spans_with(&receiver, REQUEST, 2);
    let spans = [spans, spans_with(&receiver, "GET", 1)].concat();
    let facts = |name: &str, status: &str| {
        let with_status = |span: &&Span| {
            let found = span.attributes.get("http.response.status_code");
            span.name == name && found.map_or(status.is_empty(), |found| found == status)
        };
        let found = spans
            .iter()
            .find(|span| with_status(span) && span.attributes.contains_key("error.type"));
        let span = found.unwrap_or_else(|| panic!("{name} {status}: {spans:#?}"));
        (&*span.attributes["error.type"], span.failed)
    };
    assert_eq!(facts("POST", ""), ("upstream_unreachable", true));
    assert_eq!(facts(REQUEST, "502"), ("upstream_unreachable", true));
    assert_eq!(facts("queue", ""), ("rate_limited", true));
    // The caller went wrong, and the server did not: by the conventions no failure of the server.
    assert_eq!(facts(REQUEST, "429"), ("rate_limited", false));
    assert_eq!(facts("GET", "403"), ("operation_not_allowed", false));
}

#[test]
fn an_event_is_a_trace_that_the_application_continues() {
    let (application, receiver) = (application(), Receiver::new());
    let forward = format!("forward = \"{}/events\"", application.url());
    let keyside = webhook::configured(&format!("{forward}\n{}", receiver.table()), "").start();
    let body = message("wamid.A", "4915550001234");
    assert_eq!(keyside.event(&genuine(body.as_bytes())).status, 200);
    let name = format!("POST {HOOK}");
    let spans = spans_with(&receiver, &name, 1);
    let (event, delivery) = (named(&spans, &name), named(&spans, "POST"));
    assert_eq!(event.kind, SpanKind::Server);
    assert_facts(
        event,
        &[
            ("http.response.status_code", "200"),
            ("keyside.webhook", "acme"),
        ],
    );
    assert_eq!(
        (&delivery.trace, &delivery.parent),
        (&event.trace, &event.id)
    );
    assert_facts(
        delivery,
        &[
            ("http.response.status_code", "200"),
            ("server.address", "127.0.0.1"),
        ],
    );
    let header = application.last().header("traceparent");
    let expected = format!("00-{}-{}-01", delivery.trace, delivery.id);
    assert_eq!(header, Some(expected));
    assert!(!format!("{spans:?}").contains("4915550001234"));
    // Anybody on the Internet could send forgeries: no span tells of any.
    let forged = webhook::event(&[&webhook::signature("other", b"{}")], b"{}");
    assert_eq!(keyside.event(&forged).status, 401);
    assert_eq!(
        keyside
            .event(&genuine(message("wamid.B", "1").as_bytes()))
            .status,
        200
    );
    let spans = spans_with(&receiver, &name, 2);
    assert_eq!(spans.len(), 4, "{spans:#?}");
}

#[test]
fn a_delivery_from_the_spool_is_a_trace_with_a_link_to_the_event() {
    let (application, receiver) = (application(), Receiver::new());
    let forward = format!("forward = \"{}/events\"", application.url());
    let keyside = webhook::spooled_with(&forward, &receiver.table()).start();
    let body = message("wamid.A", "4915550001234");
    assert_eq!(keyside.event(&genuine(body.as_bytes())).status, 200);
    let spans = spans_with(&receiver, "POST", 1);
    let (stored, delivery) = (named(&spans, "store"), named(&spans, "POST"));
    assert_eq!(stored.kind, SpanKind::Producer);
    assert_eq!(stored.parent, named(&spans, &format!("POST {HOOK}")).id);
    assert_ne!(delivery.trace, stored.trace);
    assert_eq!(delivery.links, [(stored.trace.clone(), stored.id.clone())]);
    assert_facts(
        delivery,
        &[("keyside.to", "acme"), ("keyside.attempt", "1")],
    );
    let header = application.last().header("traceparent");
    assert_eq!(
        header,
        Some(format!("00-{}-{}-01", delivery.trace, delivery.id))
    );
    // The repeat is stored no second time, and its span takes no id that a delivery links to.
    assert_eq!(keyside.event(&genuine(body.as_bytes())).status, 200);
    let spans = spans_with(&receiver, "store", 2);
    let repeated = spans
        .iter()
        .find(|span| span.attributes.contains_key("keyside.outcome"));
    let repeated = repeated.unwrap();
    assert_eq!(repeated.trace, stored.trace);
    assert_ne!(repeated.id, stored.id);
}

#[test]
fn the_metrics_are_the_families_of_the_metrics_page_and_a_last_report_comes_at_the_end() {
    let (upstream, receiver) = (Upstream::ok(), Receiver::new());
    let mut keyside = traced(&upstream, &receiver)
        .env(
            "OTEL_RESOURCE_ATTRIBUTES",
            "deployment.environment.name=test",
        )
        .start();
    for _ in 0..3 {
        assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    }
    let page = keyside.metrics();
    let families: BTreeSet<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .filter(|name| page.lines().any(|line| line.starts_with(name)))
        .map(str::to_owned)
        .collect();
    keyside.end(Signal::TERM);
    let (resource, metrics) = receiver.metrics();
    assert_eq!(resource["service.name"], "keyside");
    assert_eq!(resource["service.version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(resource["deployment.environment.name"], "test");
    assert_eq!(resource["service.instance.id"].len(), 32);
    let sent: BTreeSet<_> = metrics.iter().map(|metric| metric.name.clone()).collect();
    let missing: Vec<_> = families.difference(&sent).collect();
    assert!(missing.is_empty() && families.len() > 20, "{missing:?}");
    let of = |name: &str| metrics.iter().find(|metric| metric.name == name).unwrap();
    let Some(Data::Sum(requests)) = &of("keyside_requests_total").data else {
        panic!("{:?}", of("keyside_requests_total"));
    };
    assert!(requests.is_monotonic);
    let sent = requests.data_points.iter().find(|point| {
        let labels = texts(&point.attributes);
        labels["operation"] == "messages" && labels["outcome"] == "ok"
    });
    let counted = format!("{:?}", sent.unwrap().value);
    assert_eq!(counted, "Some(AsInt(3))");
    let Some(Data::Histogram(times)) = &of("keyside_request_duration_seconds").data else {
        panic!("{:?}", of("keyside_request_duration_seconds"));
    };
    let point = &times.data_points[0];
    assert_eq!(point.count, 3);
    assert_eq!(point.bucket_counts.iter().sum::<u64>(), 3);
    assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
    assert!(matches!(
        of("process_start_time_seconds").data,
        Some(Data::Gauge(_))
    ));
}

#[test]
fn a_receiver_that_takes_nothing_is_told_once_and_counted_and_holds_up_no_request() {
    let upstream = Upstream::ok();
    let dead = format!("[telemetry]\notlp = \"http://127.0.0.1:{}\"\n", free_port());
    let refusing = Receiver::refusing("400 Bad Request");
    for (table, is_lost) in [(dead, false), (refusing.table(), true)] {
        let keyside = Setup::new(&upstream).more(&table).start();
        let told = || keyside.log().matches("telemetry is not taken").count();
        for _ in 0..3 {
            assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
            std::thread::sleep(Duration::from_millis(1200));
        }
        assert!(
            eventually(Duration::from_secs(5), || told() == 1),
            "{}",
            told()
        );
        assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
        assert!(keyside.metric("keyside_telemetry_up", &[]).abs() < 0.1);
        let lost = || keyside.metric("keyside_telemetry_lost_total", &["traces"]);
        assert!(
            eventually(Duration::from_secs(5), || (lost() > 3.0) == is_lost),
            "{}",
            lost()
        );
        assert_eq!(told(), 1);
    }
}

#[test]
fn a_receiver_that_never_answers_holds_up_neither_requests_nor_the_end() {
    let (upstream, receiver) = (Upstream::ok(), Receiver::silent());
    let mut keyside = traced(&upstream, &receiver).start();
    for _ in 0..20 {
        let began = Instant::now();
        assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
        assert!(began.elapsed() < stretched(Duration::from_millis(500)));
    }
    assert!(eventually(Duration::from_secs(5), || receiver.requests() > 0));
    let began = Instant::now();
    let log = keyside.end(Signal::TERM);
    assert!(began.elapsed() < stretched(Duration::from_secs(3)));
    assert!(
        log.contains("the last traces and metrics are lost"),
        "{log}"
    );
}

#[test]
fn a_receiver_that_comes_back_gets_what_waited() {
    let upstream = Upstream::ok();
    let port = free_port();
    let table = format!("[telemetry]\notlp = \"http://127.0.0.1:{port}\"\n");
    let keyside = Setup::new(&upstream).more(&table).start();
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    let is_told = || keyside.log().contains("telemetry is not taken");
    assert!(eventually(Duration::from_secs(5), is_told));
    let receiver = Receiver::at(port);
    let spans = spans_with(&receiver, REQUEST, 1);
    assert_eq!(spans.iter().filter(|span| span.name == REQUEST).count(), 1);
    let is_told = || keyside.log().contains("telemetry is taken again");
    assert!(eventually(Duration::from_secs(5), is_told));
    assert!((keyside.metric("keyside_telemetry_up", &[]) - 1.0).abs() < 0.1);
}

#[test]
fn a_receiver_may_want_tls_and_is_checked_against_the_system_s_authorities() {
    let (upstream, receiver) = (Upstream::ok(), Receiver::with_tls());
    let setup = traced(&upstream, &receiver);
    let authorities = setup.dir().join("ca.pem").display().to_string();
    let keyside = setup.env("SSL_CERT_FILE", &authorities).start();
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    spans_with(&receiver, REQUEST, 1);
    drop(keyside);
    let keyside = traced(&upstream, &receiver).start();
    let is_told = || keyside.log().contains("telemetry is not taken");
    assert!(eventually(Duration::from_secs(8), is_told));
}

#[test]
fn a_change_of_the_receiver_needs_a_restart_and_says_so() {
    let (upstream, receiver) = (Upstream::ok(), Receiver::new());
    let keyside = traced(&upstream, &receiver).start();
    let file = keyside.dir().join("proxy.toml");
    let changed = std::fs::read_to_string(file).unwrap() + "sample = 0.5\n";
    keyside.dir().write("proxy.toml", changed);
    let answer = keyside.reload();
    assert_eq!(answer.status, 422);
    assert!(
        answer
            .text()
            .contains("telemetry: changed, which needs a restart"),
        "{}",
        answer.text()
    );
}
