//! Requests in the readings of PHP, Node and Python: a request that passes Keyside has neither a
//! forbidden name nor a foreign sender in any reading.
//!
//! A seeded generator writes requests that try to hide both, new ones in each run; the output names
//! the seed. The requests at the upstream are read by the parsers of the three languages, each
//! behind a small HTTP server.

mod corpus;
mod shipped;
mod vendors;

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::client::Client;
use crate::support::eventually;
use crate::support::keyside::{Keyside, Setup, free_port, route};
use crate::support::upstream::{Request, Upstream};
use crate::support::{TOKEN, UPLOADS};
use corpus::{Corpus, Sent, seed};
use vendors::VENDORS;

/// The names that no request to Graph may have in any reading.
const FORBIDDEN: [&str; 7] = [
    "batch",
    "method",
    "ids",
    "include_headers",
    "access_token",
    "appsecret_proof",
    "appsecret_time",
];
/// The places of senders of the invented provider.
const SMALL_SENDERS: &str = "from messages/*/from";
/// The number of generated requests for each provider.
const REQUESTS: usize = 2000;

/// A server with the reading of a request by a language. The end of the value kills the server.
struct Reader {
    language: &'static str,
    child: Child,
    address: SocketAddr,
}

impl Reader {
    fn all() -> Vec<Self> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/readings");
        let start = |language, program: &str, arguments: &dyn Fn(u16) -> Vec<String>| {
            let port = free_port();
            let child = Command::new(program)
                .args(arguments(port))
                .current_dir(folder)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap_or_else(|error| panic!("{program}: {error}; run `tests/run servers`"));
            let address = ([127, 0, 0, 1], port).into();
            let reader = Self {
                language,
                child,
                address,
            };
            let serves = || Client::connect(address).is_ok();
            assert!(eventually(Duration::from_secs(10), serves), "{language}");
            reader
        };
        vec![
            start("PHP", "php", &|port| {
                vec![
                    "-S".into(),
                    format!("127.0.0.1:{port}"),
                    "reader.php".into(),
                ]
            }),
            start("Node", "node", &|port| {
                vec!["reader.mjs".into(), port.to_string()]
            }),
            start("Python", "python3", &|port| {
                vec!["reader.py".into(), port.to_string()]
            }),
        ]
    }

    /// The reading of a request with this target, type and body, with the values at these places.
    fn read(&self, target: &str, kind: &str, body: &[u8], places: &str) -> Value {
        let mut client = Client::connect(self.address).unwrap();
        let length = body.len();
        let head = format!(
            "POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nPlaces: {places}\r\n\r\n"
        );
        let answer = client
            .ask(&[head.as_bytes(), body].concat())
            .unwrap_or_else(|why| panic!("{}: {why:?}", self.language));
        answer.json()
    }

    /// The first forbidden name in the reading of a request.
    fn forbidden_name(&self, target: &str, kind: &str, body: &[u8]) -> Option<String> {
        let reading = self.read(target, kind, body, "");
        let mut names = reading["names"].as_array().unwrap().iter();
        names.find_map(|name| {
            let name = name.as_str().unwrap().to_ascii_lowercase();
            FORBIDDEN.contains(&name.trim()).then_some(name)
        })
    }

    /// The first sender in the reading of a request that is not the sender of the route.
    fn foreign_sender(&self, target: &str, kind: &str, body: &[u8]) -> Option<Value> {
        self.first_at(SMALL_SENDERS, (target, kind, body), |sender| {
            !is_allowed(sender)
        })
    }

    /// The first value at one of the places of a request that is `wanted`.
    fn first_at(
        &self,
        places: &str,
        (target, kind, body): (&str, &str, &[u8]),
        wanted: impl Fn(&Value) -> bool,
    ) -> Option<Value> {
        let reading = self.read(target, kind, body, places);
        let mut values = reading["values"].as_array().unwrap().iter();
        values.find(|value| wanted(value)).cloned()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends every request of the corpus, and returns what the upstream saw.
fn pass(
    keyside: &Keyside,
    upstream: &Upstream,
    corpus: impl Iterator<Item = Sent>,
) -> Vec<Request> {
    let mut client = keyside.connect();
    for sent in corpus {
        if client.ask(&sent.bytes()).is_err() {
            client = keyside.connect();
        }
    }
    let whole = upstream.requests().into_iter();
    whole.filter(|request| request.complete).collect()
}

fn told(request: &Request) -> (String, String) {
    let kind = request.header("content-type").unwrap_or_default();
    (request.target(), kind)
}

#[test]
#[ignore = "needs PHP and Node: tests/run servers"]
fn no_parser_finds_a_forbidden_name_in_what_leaves() {
    let readers = Reader::all();
    // The readers do find what must not pass.
    for (kind, body) in [
        ("application/json", r#"{"batch":1}"#),
        ("application/x-www-form-urlencoded", "batch=1"),
        (
            "multipart/form-data; boundary=b",
            "--b\r\nContent-Disposition: form-data; name=\"batch\"\r\n\r\n1\r\n--b--\r\n",
        ),
    ] {
        for reader in &readers {
            for (target, body) in [("/", body), ("/?batch=1", "")] {
                let found = reader.forbidden_name(target, kind, body.as_bytes());
                assert_eq!(
                    found.as_deref(),
                    Some("batch"),
                    "{} {kind}",
                    reader.language
                );
            }
        }
    }
    let upstream = Upstream::ok();
    let keyside = Keyside::start(&upstream);
    let mut corpus = Corpus::new(seed(), &FORBIDDEN);
    let requests =
        (0..REQUESTS).map(|_| corpus.graph_request(&[crate::support::MESSAGES, UPLOADS]));
    let seen = pass(&keyside, &upstream, requests);
    assert!(seen.len() > REQUESTS / 20, "only {} passed", seen.len());
    for request in &seen {
        assert_eq!(request.all("authorization"), [format!("Bearer {TOKEN}")]);
        let (target, kind) = told(request);
        for reader in &readers {
            assert_eq!(
                reader.forbidden_name(&target, &kind, &request.body),
                None,
                "{} in {target} {kind} {}",
                reader.language,
                request.body.escape_ascii()
            );
        }
    }
}

/// A Keyside with a provider whose requests name the sender in the body, and a route with these
/// further settings.
fn with_senders_in_the_body(upstream: &Upstream, route: &str) -> Keyside {
    Setup::new(upstream)
        .file("key", "s3cr3t-k3y-0001")
        .config(&format!(
            "[outbound]\nlisten = [\"127.0.0.1:@PORT@\"]\n[admin]\nlisten = [\"127.0.0.1:@ADMIN@\"]\n[reload]\nwatch = \"off\"\n\
             [provider.small]\nupstream = \"@UPSTREAM@\"\nca = \"@DIR@/ca.pem\"\n\
             inject = [{{ header = \"X-Key\", value = \"{{key}}\" }}]\nlimits = {{ sender = [\"/from\", \"/messages/*/from\"] }}\n\
             [provider.small.secrets]\nkey = {{ required = true }}\n\
             [provider.small.operations.messages]\nkind = \"send\"\ndefault = true\n\
             requests = [{{ request = \"POST /send\", limited = true }}]\n\
             [credential.acme]\nprovider = \"small\"\ncheck = \"off\"\nkey = \"file:@DIR@/key\"\n\
             [[route]]\ncredential = \"acme\"\n{route}"
        ))
        .start()
}

/// The requests of a corpus behind a Keyside with a route.
fn messages_that_leave(route: &str) -> Vec<Request> {
    let upstream = Upstream::ok();
    let keyside = with_senders_in_the_body(&upstream, route);
    let mut corpus = Corpus::new(seed(), &["from", "messages"]);
    let requests = (0..REQUESTS).map(|_| corpus.message("/send"));
    pass(&keyside, &upstream, requests)
}

#[test]
#[ignore = "needs PHP and Node: tests/run servers"]
fn no_parser_finds_a_foreign_sender_in_what_leaves() {
    let readers = Reader::all();
    let seen = messages_that_leave("senders = [\"+1555\"]\n");
    assert!(seen.len() > REQUESTS / 20, "only {} passed", seen.len());
    for request in &seen {
        let (target, kind) = told(request);
        for reader in &readers {
            assert_eq!(
                reader.foreign_sender(&target, &kind, &request.body),
                None,
                "{} in {target} {kind} {}",
                reader.language,
                request.body.escape_ascii()
            );
        }
    }
}

#[test]
#[ignore = "needs PHP and Node: tests/run servers"]
fn every_parser_finds_a_foreign_sender_that_is_let_through() {
    let readers = Reader::all();
    let (json, form) = ("application/json", "application/x-www-form-urlencoded");
    for (target, kind, body) in [
        ("/send?from=1556", json, "{}"),
        ("/send", json, r#"{"from":"1556"}"#),
        ("/send", json, r#"{"\u0066rom":1556}"#),
        ("/send", json, r#"{"from":"1555","from":"1556"}"#),
        (
            "/send",
            json,
            r#"{"messages":[{"from":"1555"},{"from":"Acme"}]}"#,
        ),
        ("/send", form, "from=1556"),
        ("/send", form, "from=1555&%66rom=%2B1556"),
    ] {
        for reader in &readers {
            let found = reader.foreign_sender(target, kind, body.as_bytes());
            assert!(
                found.is_some(),
                "{}: {target} {kind} {body}",
                reader.language
            );
        }
    }
    // A route without `senders` lets the same corpus through.
    let seen = messages_that_leave("");
    for reader in &readers {
        let foreign = seen.iter().filter(|request| {
            let (target, kind) = told(request);
            let sender = reader.foreign_sender(&target, &kind, &request.body);
            sender.is_some()
        });
        let foreign = foreign.count();
        eprintln!(
            "{}: {foreign} of {} have a foreign sender",
            reader.language,
            seen.len()
        );
        assert!(
            foreign > REQUESTS / 100,
            "{}: only {foreign}",
            reader.language
        );
    }
}

/// True for the one sender of the route, in any spelling, and for no sender at all.
fn is_allowed(sender: &Value) -> bool {
    match sender {
        Value::Null => true,
        Value::Number(number) => number.to_string() == "1555",
        Value::String(text) => {
            let bare = text.strip_prefix("whatsapp:").unwrap_or(text);
            let digits = bare.replace(['+', '-', '(', ')', '.', ' '], "");
            digits.is_empty() || digits == "1555"
        }
        // PHP's `from[]=1555`, and a list of equal fields.
        Value::Array(all) => all.iter().all(is_allowed),
        Value::Object(all) => all.values().all(is_allowed),
        Value::Bool(_) => false,
    }
}

/// True for the channel of the route, in any case, and for none.
fn is_whatsapp(channel: &Value) -> bool {
    match channel {
        Value::Null => true,
        Value::String(word) => word.eq_ignore_ascii_case("whatsapp"),
        _ => false,
    }
}

#[test]
#[ignore = "needs PHP and Node: tests/run servers"]
fn no_parser_finds_a_foreign_sender_or_channel_in_what_leaves_for_a_vendor() {
    let readers = Reader::all();
    for vendor in VENDORS {
        for lines in ["senders = [\"1555\"]", ""] {
            let upstream = Upstream::ok();
            let keyside = route(&upstream, vendor.preset, vendor.credential, lines);
            let mut corpus = Corpus::new(seed(), &[]);
            let requests = (0..REQUESTS).map(|_| (vendor.message)(&mut corpus, vendor.target));
            let seen = pass(&keyside, &upstream, requests);
            assert!(
                seen.len() > REQUESTS / 20,
                "{}: {} passed",
                vendor.preset,
                seen.len()
            );
            let mut foreign = 0;
            for request in &seen {
                let (target, kind) = told(request);
                for reader in &readers {
                    let at = |places, wanted: fn(&Value) -> bool| {
                        reader.first_at(places, (&target, &kind, &request.body), wanted)
                    };
                    let sender = at(vendor.senders, |sender| !is_allowed(sender));
                    let channel = at(vendor.channels, |channel| !is_whatsapp(channel));
                    let name = format!(
                        "{} in {target} {}",
                        reader.language,
                        request.body.escape_ascii()
                    );
                    assert_eq!(channel, None, "{name}");
                    if lines.is_empty() {
                        foreign += usize::from(sender.is_some());
                    } else {
                        assert_eq!(sender, None, "{name}");
                    }
                }
            }
            // Without `senders` the same messages leave with the senders that the parsers do find.
            assert!(
                !lines.is_empty() || foreign > REQUESTS / 100,
                "{}: {foreign}",
                vendor.preset
            );
        }
    }
}
