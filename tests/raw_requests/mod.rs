//! Raw requests: the passing bytes, the form of the leaving bytes, and the refusals.

use std::thread;
use std::time::Duration;

mod credentials;
mod framing;
mod heads;
mod listeners;
mod pipelines;
mod targets;

use crate::support::client::{Answer, NoAnswer};
use crate::support::keyside::Keyside;
use crate::support::upstream::{Request, Upstream, json};
use crate::support::{MEDIA, MESSAGES, TOKEN, contains, shown};

/// A forged credential, sent by the tests in every place of Keyside's own credential.
const EVIL: &str = "evil-caller-secret";
const POST: &str = "POST /v23.0/1234567890/messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
const GET: &str = "GET /v23.0/1234567890 HTTP/1.1\r\nHost: localhost\r\n";

/// A request of the table, and its expected fate.
struct Row {
    name: String,
    raw: Vec<u8>,
    half_close: bool,
    want: Want,
    sent: Vec<Sent>,
}

/// The expected outcome for the client.
enum Want {
    /// A refusal with this status, and no complete request at the upstream.
    Refused(u16),
    /// The end of the connection without an answer, and no complete request at the upstream.
    Closed,
    /// An answer of the upstream for each request of `Row::sent`.
    Forwarded,
}

/// A request, as expected at the upstream.
#[derive(Default)]
struct Sent {
    line: String,
    body: Vec<u8>,
    has: Vec<(String, String)>,
    without: Vec<String>,
}

fn row(name: impl Into<String>, raw: impl AsRef<[u8]>) -> Row {
    Row {
        name: name.into(),
        raw: raw.as_ref().to_vec(),
        half_close: false,
        want: Want::Forwarded,
        sent: Vec::new(),
    }
}

impl Row {
    fn refused(mut self, status: u16) -> Self {
        self.want = Want::Refused(status);
        self
    }

    fn closed(mut self) -> Self {
        self.want = Want::Closed;
        self
    }

    fn half_close(mut self) -> Self {
        self.half_close = true;
        self
    }

    fn arrives(mut self, line: impl Into<String>, body: impl AsRef<[u8]>) -> Self {
        self.sent.push(Sent {
            line: line.into(),
            body: body.as_ref().to_vec(),
            ..Sent::default()
        });
        self
    }

    fn post_arrives(self) -> Self {
        self.arrives(format!("POST {MESSAGES} HTTP/1.1"), "{}")
    }

    fn get_arrives(self) -> Self {
        self.arrives(format!("GET {MEDIA} HTTP/1.1"), "")
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.sent
            .last_mut()
            .expect("after arrives")
            .has
            .push((name.to_owned(), value.to_owned()));
        self
    }

    fn without(mut self, names: &[&str]) -> Self {
        self.sent
            .last_mut()
            .expect("after arrives")
            .without
            .extend(names.iter().map(|&name| name.to_owned()));
        self
    }
}

/// Returns the text by which an answer names its request.
fn echo(request: &Request) -> Vec<u8> {
    json(&format!(r#"{{"asked":{:?}}}"#, request.target()))
}

/// Runs a table against one Keyside; every row has a connection of its own. All failures are
/// reported at once.
fn run(keyside: &Keyside, upstream: &Upstream, rows: Vec<Row>) {
    let mut failures = Vec::new();
    for row in rows {
        upstream.forget();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            check(keyside, upstream, &row)
        }));
        if let Err(panic) = outcome {
            let text = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
            failures.push(format!("{}: {}", row.name, text.unwrap_or_default()));
        }
    }
    assert!(
        failures.is_empty(),
        "{} rows failed:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

fn check(keyside: &Keyside, upstream: &Upstream, row: &Row) {
    let mut client = keyside.connect().patience(Duration::from_secs(3));
    client.send(&row.raw);
    if row.half_close {
        client.half_close();
    }
    let first = if row.raw.starts_with(b"HEAD ") {
        client.answer_without_body()
    } else {
        client.answer()
    };
    match &row.want {
        Want::Refused(status) => {
            let answer = first.unwrap_or_else(|why| panic!("no answer: {why:?}"));
            must_be_refused(row, &answer, *status);
        }
        Want::Closed => assert!(
            matches!(first, Err(NoAnswer::Closed)),
            "instead of the end: {first:?}"
        ),
        Want::Forwarded => {
            let answer = first.unwrap_or_else(|why| panic!("no answer: {why:?}"));
            assert_eq!(answer.status, 200, "answer {answer:?}");
            let is_old = contains(&row.raw, b" HTTP/1.0\r\n");
            assert!(
                answer.version == "HTTP/1.1" || is_old && answer.version == "HTTP/1.0",
                "answer {answer:?}"
            );
            for sent in row.sent.iter().skip(1) {
                let next = client
                    .answer()
                    .unwrap_or_else(|why| panic!("no answer to {:?}: {why:?}", sent.line));
                assert_eq!(next.status, 200, "answer {next:?}");
            }
            let arrived: Vec<_> = upstream.requests();
            assert_eq!(
                arrived.len(),
                row.sent.len(),
                "upstream saw {:?}",
                lines(&arrived)
            );
            for (request, sent) in arrived.iter().zip(&row.sent) {
                as_it_must_leave(request, sent, upstream);
            }
            return;
        }
    }
    // A refused request must not reach the upstream; a stray request has this long to show up.
    drop(client);
    thread::sleep(Duration::from_millis(15));
    let arrived = upstream.requests();
    assert!(
        !arrived.iter().any(|request| request.complete),
        "upstream saw {:?}",
        lines(&arrived)
    );
}

fn must_be_refused(row: &Row, answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{}", answer.text());
    if !row.raw.starts_with(b"HEAD ") {
        answer.must_be_a_refusal(&row.name);
    }
}

fn lines(requests: &[Request]) -> Vec<String> {
    requests.iter().map(|request| shown(&request.raw)).collect()
}

/// Asserts the rules for every request at the upstream, for any request of a client.
fn as_it_must_leave(request: &Request, sent: &Sent, upstream: &Upstream) {
    let raw = shown(&request.raw);
    assert!(request.complete, "it never became whole: {raw}");
    assert_eq!(request.line(), sent.line, "request line");
    assert_eq!(request.body, sent.body, "body of {raw}");
    assert_eq!(
        request.all("authorization"),
        [format!("Bearer {TOKEN}")],
        "credential in {raw}"
    );
    assert_eq!(request.all("host"), [upstream.authority()], "Host in {raw}");
    let framing = request.all("content-length").len() + request.all("transfer-encoding").len();
    assert!(framing <= 1, "framed twice: {raw}");
    for name in [
        "upgrade",
        "expect",
        "te",
        "trailer",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "cookie",
        "origin",
    ] {
        assert!(request.all(name).is_empty(), "{name} in {raw}");
    }
    assert!(request.trailers.is_empty(), "trailers in {raw}");
    assert!(
        !contains(&request.raw, EVIL.as_bytes()),
        "what the caller brought: {raw}"
    );
    for (name, value) in &sent.has {
        assert_eq!(request.all(name), [value.as_str()], "{name} in {raw}");
    }
    for name in &sent.without {
        assert!(request.all(name).is_empty(), "{name} in {raw}");
    }
}

fn keyside_and_upstream() -> (Keyside, Upstream) {
    let upstream = Upstream::answering(echo);
    (Keyside::start(&upstream), upstream)
}
