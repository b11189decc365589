//! The framing of requests on every listener: an ambiguous, broken or excessive request is answered
//! once at most, and nothing hidden in it is a request.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use super::echo;
use crate::support::MEDIA;
use crate::support::client::{Client, NoAnswer};
use crate::support::keyside::{Keyside, free_port};
use crate::support::upstream::Upstream;
use crate::support::webhook::{application, beside};

/// A listener, with a path that it answers with 200.
struct Door {
    name: &'static str,
    address: SocketAddr,
    path: &'static str,
    /// The number of connections at a time: a listener for probes has few places.
    at_once: usize,
}

fn doors(keyside: &Keyside, metrics: u16) -> [Door; 4] {
    let door = |name, address, path| Door {
        name,
        address,
        path,
        at_once: if name == "metrics" { 8 } else { 1000 },
    };
    [
        door("outbound", keyside.outbound(), MEDIA),
        door("inbound", keyside.inbound(), "/livez"),
        door("admin", keyside.admin(), "/livez"),
        door("metrics", ([127, 0, 0, 1], metrics).into(), "/livez"),
    ]
}

/// Bytes of one connection, and the statuses of all answers to them.
struct Attack {
    name: &'static str,
    raw: Vec<u8>,
    statuses: Vec<u16>,
    /// The statuses at listeners that look at more than the framing.
    others: Vec<(&'static str, Vec<u16>)>,
    /// True if the connection ends behind the last answer.
    ends: bool,
}

impl Attack {
    fn at(mut self, door: &'static str, statuses: impl Into<Vec<u16>>) -> Self {
        self.others.push((door, statuses.into()));
        self
    }

    fn statuses_at(&self, door: &Door) -> &[u16] {
        let other = self.others.iter().find(|(name, _)| *name == door.name);
        other.map_or(&self.statuses, |(_, statuses)| statuses)
    }

    /// Sends the bytes. Returns the statuses of all answers, and true if the connection ends.
    fn outcome(&self, door: &Door, half_close: bool) -> (Vec<u16>, bool) {
        let mut client = Client::connect(door.address)
            .unwrap()
            .patience(Duration::from_millis(400));
        client.send(&self.raw);
        if half_close {
            client.half_close();
        }
        let mut statuses = Vec::new();
        loop {
            match client.answer() {
                Ok(answer) => statuses.push(answer.status),
                Err(NoAnswer::TimedOut(_)) => return (statuses, false),
                Err(_) => return (statuses, true),
            }
        }
    }
}

/// Bytes behind which the connection goes on.
fn answered(name: &'static str, raw: impl Into<Vec<u8>>, statuses: impl Into<Vec<u16>>) -> Attack {
    Attack {
        name,
        raw: raw.into(),
        statuses: statuses.into(),
        others: Vec::new(),
        ends: false,
    }
}

/// Bytes that end the connection, behind these answers.
fn ended(name: &'static str, raw: impl Into<Vec<u8>>, statuses: impl Into<Vec<u16>>) -> Attack {
    Attack {
        ends: true,
        ..answered(name, raw, statuses)
    }
}

/// Heads that no listener takes, each in front of the end of a chunked body and a whole request.
fn refused(get: &str, whole: &str) -> Vec<Attack> {
    let length = whole.len();
    let two_lengths = format!("Content-Length: 0\r\nContent-Length: {length}");
    let list = format!("Content-Length: 0, {length}");
    let long = format!("X: {}", "a".repeat(100_000));
    let many = ["X: a"; 500].join("\r\n");
    let mut attacks = Vec::new();
    for (name, lines, status) in [
        ("two lengths", &*two_lengths, 400),
        ("a list of lengths", &list, 400),
        ("a signed length", "Content-Length: +0", 400),
        (
            "a length past 64 bits",
            "Content-Length: 18446744073709551617",
            400,
        ),
        ("an unknown coding", "Transfer-Encoding: xchunked", 400),
        (
            "chunked before another coding",
            "Transfer-Encoding: chunked, identity",
            400,
        ),
        (
            "a coding under a name with a space",
            "Transfer-Encoding : chunked",
            400,
        ),
        (
            "a coding behind a vertical tab",
            "Transfer-Encoding: \u{b}chunked",
            400,
        ),
        ("a folded coding", "Transfer-Encoding:\r\n chunked", 400),
        ("a folded line", "X: a\r\n b", 400),
        ("a bare CR", "X: a\rX: b", 400),
        ("a NUL", "X: a\0", 400),
        ("a space before the colon", "X : a", 400),
        ("a line without a colon", "X", 400),
        ("a header of 100 KB", &long, 431),
        ("500 headers", &many, 431),
    ] {
        let raw = format!("{get}{lines}\r\n\r\n0\r\n\r\n{whole}");
        attacks.push(ended(name, raw, [status]));
    }
    let path = get.split(' ').nth(1).unwrap();
    let long = "a".repeat(100_000);
    for (name, line, status) in [
        ("HTTP/0.9", format!("GET {path}"), 400),
        ("HTTP/2.0", format!("GET {path} HTTP/2.0"), 400),
        ("two spaces", format!("GET  {path} HTTP/1.1"), 400),
        (
            "a control byte in the method",
            format!("GE\x01T {path} HTTP/1.1"),
            400,
        ),
        (
            "a folded first line",
            format!("GET {path} HTTP/1.1\r\n X: a"),
            400,
        ),
        ("a target of 100 KB", format!("GET /{long} HTTP/1.1"), 431),
    ] {
        let raw = format!("{line}\r\nHost: localhost\r\n\r\n{whole}");
        attacks.push(ended(name, raw, [status]));
    }
    let old = get.replace("HTTP/1.1", "HTTP/1.0");
    let coded = format!("{old}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{whole}");
    attacks.push(ended("a coding on HTTP/1.0", coded, [400]));
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    attacks.push(ended("the preface of HTTP/2", preface, []));
    attacks
}

/// Requests that are answered, and behind which the connection goes on with the next.
fn answered_in_order(get: &str, whole: &str) -> Vec<Attack> {
    let path = get.split(' ').nth(1).unwrap();
    let line = |line: &str| format!("{line}\r\nHost: localhost\r\n\r\n{whole}");
    let with = |lines: &str| format!("{get}{lines}\r\n\r\n{whole}");
    let chunked = |body: &str| format!("{get}Transfer-Encoding: chunked\r\n\r\n{body}{whole}");
    let length = whole.len();
    vec![
        answered("lines ended by LF", whole.replace("\r\n", "\n"), [200]),
        answered("three requests", whole.repeat(3), [200; 3]),
        answered("a hundred requests", whole.repeat(100), [200; 100]),
        answered(
            "a body as long as a request",
            with(&format!("Content-Length: {length}")),
            [200],
        )
        .at("outbound", [400]),
        answered(
            "a request behind a body",
            format!("{get}Content-Length: 2\r\n\r\n{{}}{whole}"),
            [200; 2],
        ),
        answered(
            "an expectation",
            with(&format!("Expect: 100-continue\r\nContent-Length: {length}")),
            [200],
        )
        .at("outbound", [400]),
        answered(
            "chunk extensions",
            chunked("2;a=b;c=\"d\"\r\n{}\r\n0;e\r\n\r\n"),
            [200; 2],
        ),
        answered(
            "trailers",
            chunked("2\r\n{}\r\n0\r\nHost: evil.test\r\nContent-Length: 9\r\n\r\n"),
            [200; 2],
        ),
        answered(
            "h2c",
            with("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk"),
            [200; 2],
        ),
        answered(
            "a web socket",
            with("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13"),
            [200; 2],
        ),
        answered(
            "an absolute form for another port",
            line(&format!("GET http://localhost{path} HTTP/1.1")),
            [421, 200],
        )
        .at("inbound", [200; 2])
        .at("metrics", [200; 2]),
        // The listeners for webhooks and for metrics take any name: that of a proxy in front, or of
        // a pod, is not known.
        answered(
            "a foreign absolute form",
            line(&format!("GET http://evil.test{path} HTTP/1.1")),
            [421, 200],
        )
        .at("inbound", [200; 2])
        .at("metrics", [200; 2]),
        answered(
            "CONNECT",
            line("CONNECT evil.test:443 HTTP/1.1"),
            [421, 200],
        )
        .at("outbound", [405, 200])
        .at("inbound", [404, 200])
        .at("metrics", [404, 200]),
        answered("OPTIONS *", line("OPTIONS * HTTP/1.1"), [404, 200]).at("outbound", [400, 200]),
        answered("TRACE", line(&format!("TRACE {path} HTTP/1.1")), [405, 200]),
    ]
}

/// Requests with which the connection ends, and whatever stands behind them is no request.
fn answered_once(get: &str, whole: &str) -> Vec<Attack> {
    let old = get.replace("HTTP/1.1", "HTTP/1.0");
    let length = whole.len() + 5;
    let framed_twice = |lines: String| format!("{get}{lines}\r\n\r\n0\r\n\r\n{whole}");
    let chunked = |body: String| format!("{get}Transfer-Encoding: chunked\r\n\r\n{body}{whole}");
    let long = "a".repeat(100_000);
    let large = 10 << 20;
    vec![
        ended(
            "a coding and a length",
            framed_twice(format!(
                "Transfer-Encoding: chunked\r\nContent-Length: {length}"
            )),
            [200],
        ),
        ended(
            "a length and a coding",
            framed_twice(format!(
                "Content-Length: {length}\r\nTransfer-Encoding: chunked"
            )),
            [200],
        ),
        ended(
            "Connection: close",
            format!("{get}Connection: close\r\n\r\n{whole}"),
            [200],
        ),
        ended("HTTP/1.0", format!("{old}\r\n{whole}"), [200]),
        ended(
            "a chunk extension of 100 KB",
            chunked(format!("2;{long}\r\n{{}}\r\n0\r\n\r\n")),
            [200],
        )
        .at("outbound", [400]),
        ended(
            "trailers of 100 KB",
            chunked(format!("0\r\nX: {long}\r\n\r\n")),
            [200],
        )
        .at("outbound", [400]),
        ended(
            "a chunk size past 64 bits",
            chunked("10000000000000002\r\n{}\r\n0\r\n\r\n".to_owned()),
            [200],
        )
        .at("outbound", [400]),
        ended(
            "a chunk longer than its size",
            chunked("1\r\n{}\r\n0\r\n\r\n".to_owned()),
            [200],
        )
        .at("outbound", [400]),
        ended(
            "a body of 10 MiB",
            format!(
                "{get}Content-Length: {large}\r\n\r\n{}{whole}",
                "a".repeat(large)
            ),
            [200],
        )
        .at("outbound", [413]),
    ]
}

#[test]
fn an_attack_on_any_listener_is_answered_as_the_table_says_and_hides_no_request() {
    let upstream = Upstream::answering(echo);
    let application = application();
    let (setup, metrics) = (beside(&upstream, &application), free_port());
    let keyside = setup
        .outbound(&format!("[metrics]\nlisten = [\"127.0.0.1:{metrics}\"]"))
        .start();
    let mut failures = Vec::new();
    for door in doors(&keyside, metrics) {
        let get = format!(
            "GET {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n",
            door.path
        );
        let whole = format!("{get}\r\n");
        let attacks: Vec<Attack> = [
            refused(&get, &whole),
            answered_in_order(&get, &whole),
            answered_once(&get, &whole),
        ]
        .into_iter()
        .flatten()
        .collect();
        let attack = |(attack, half_close): (&Attack, bool)| {
            let (statuses, ends) = attack.outcome(&door, half_close);
            let is_right =
                statuses == attack.statuses_at(&door) && ends == (attack.ends || half_close);
            let found = format!(
                "{}, {}, half-closed: {half_close}: {statuses:?}, ends: {ends}",
                door.name, attack.name
            );
            (!is_right).then_some(found)
        };
        let both = attacks.iter().flat_map(|row| [(row, false), (row, true)]);
        let both: Vec<_> = both.collect();
        // At once: some are over only when nothing more comes.
        for some in both.chunks(door.at_once) {
            thread::scope(|scope| {
                let attack = &attack;
                let outcomes = some.iter().map(|row| scope.spawn(move || attack(*row)));
                let outcomes: Vec<_> = outcomes.collect();
                let outcomes = outcomes.into_iter().map(|outcome| outcome.join().unwrap());
                failures.extend(outcomes.flatten());
            });
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert_eq!(application.heads(), 0);
}
