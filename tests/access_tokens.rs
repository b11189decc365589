//! Access tokens in exchange for a secret: one exchange for all requests, and no failed request.

use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::client::{Client, post, with_body};
use crate::support::keyside::{Keyside, Setup};
use crate::support::load::under_load_of;
use crate::support::upstream::{After, Request, Upstream, Wire, answer, json};
use crate::support::{contains, eventually};

const SEND: &str = "/send";
const SECRET: &str = "CANARY-first-secret";
const OTHER: &str = "CANARY-other-secret";

/// An issuer of tokens for secrets, and the provider that accepts the tokens.
#[derive(Clone, Default)]
struct Book(Arc<Mutex<Tokens>>);

#[derive(Default)]
struct Tokens {
    /// The lifetime of new tokens.
    seconds: u64,
    /// The duration of an exchange.
    pause: Duration,
    /// Refused secrets.
    refused: Vec<&'static str>,
    /// Issued tokens, with secret and end.
    given: Vec<(String, String, Instant)>,
}

impl Book {
    fn lasting(seconds: u64) -> Self {
        let book = Self::default();
        book.0.lock().unwrap().seconds = seconds;
        book
    }

    fn exchanges(&self) -> usize {
        self.0.lock().unwrap().given.len()
    }

    fn refuse(&self, secrets: &[&'static str]) {
        self.0.lock().unwrap().refused = secrets.to_vec();
    }

    fn revoke_all(&self) {
        self.0
            .lock()
            .unwrap()
            .given
            .iter_mut()
            .for_each(|(_, _, end)| *end = Instant::now());
    }

    fn answer(&self, request: &Request) -> Vec<u8> {
        if request.target() != "/token" {
            return self.take(request);
        }
        let pause = self.0.lock().unwrap().pause;
        thread::sleep(pause);
        let mut tokens = self.0.lock().unwrap();
        let body = String::from_utf8_lossy(&request.body).into_owned();
        let secret = body.split("secret=").nth(1).unwrap_or_default().to_owned();
        if tokens.refused.contains(&secret.as_str()) {
            return answer("401 Unauthorized", &[], br#"{"error":"invalid_client"}"#);
        }
        let (token, seconds) = (
            format!("CANARY-access-{}", tokens.given.len() + 1),
            tokens.seconds,
        );
        tokens.given.push((
            token.clone(),
            secret,
            Instant::now() + Duration::from_secs(seconds),
        ));
        json(&format!(
            r#"{{"access_token":"{token}","expires_in":{seconds}}}"#
        ))
    }

    fn take(&self, request: &Request) -> Vec<u8> {
        let sent = request.header("authorization").unwrap_or_default();
        let now = Instant::now();
        let is_good = self
            .0
            .lock()
            .unwrap()
            .given
            .iter()
            .any(|(token, _, end)| sent == format!("Bearer {token}") && *end > now);
        if is_good {
            json("{}")
        } else {
            answer("401 Unauthorized", &[], b"{}")
        }
    }
}

fn upstream(book: &Book) -> Upstream {
    let book = book.clone();
    Upstream::answering(move |request| book.answer(request))
}

/// The issuer is configured in the place of the media upstream.
fn setup(upstream: &Upstream, issuer: &str, more: &str) -> Setup {
    Setup::new(upstream).file("secret", SECRET).config(&format!(
        "[outbound]\nlisten = [\"127.0.0.1:@PORT@\"]\n[admin]\nlisten = [\"127.0.0.1:@ADMIN@\"]\n[reload]\nwatch = \"off\"\n\
         [log]\nlevel = \"trace\"\n\
         [provider.mine]\nupstream = \"@UPSTREAM@\"\nca = \"@DIR@/ca.pem\"\n\
         inject = [{{ header = \"Authorization\", value = \"Bearer {{access_token}}\" }}]\n\
         [provider.mine.secrets]\nsecret = {{ required = true }}\n\
         [provider.mine.parameters]\nclient = {{ default = \"client-1\" }}\n\
         [provider.mine.access_token]\nkind = \"exchange\"\nupstream = \"{issuer}\"\nrequest = \"POST /token\"\n\
         inject = [{{ form = \"client\", value = \"{{client}}\" }}, {{ form = \"secret\", value = \"{{secret}}\" }}]\n\
         expires_in = \"/expires_in\"\n\
         [provider.mine.operations.messages]\nkind = \"send\"\ndefault = true\nrequests = [\"POST /send\", {{ request = \"POST /media\", raw = true }}]\n\
         [provider.mine.operations.plain]\nkind = \"receive\"\ndefault = true\n\
         requests = [{{ request = \"GET /plain\", inject = [{{ header = \"X-Secret\", value = \"{{secret}}\" }}] }}]\n\
         [credential.acme]\nprovider = \"mine\"\nsecret = \"file:@DIR@/secret\"\n{more}\n[[route]]\ncredential = \"acme\"\n"
    ))
}

fn start(upstream: &Upstream) -> Keyside {
    setup(upstream, "@UPSTREAM@", "check = \"off\"").start()
}

fn rotate(keyside: &Keyside, secret: &str) -> u16 {
    keyside.dir().write("secret", secret);
    keyside.reload().status
}

/// Sends `count` requests at one moment. Returns the statuses.
fn crowd(keyside: &Keyside, count: usize) -> Vec<u16> {
    let statuses = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..count {
            scope.spawn(|| {
                let mut client = Client::connect(keyside.outbound())
                    .unwrap()
                    .patience(Duration::from_secs(20));
                let status = client.ask(&post(SEND, "{}")).unwrap().status;
                statuses.lock().unwrap().push(status);
            });
        }
    });
    statuses.into_inner().unwrap()
}

#[test]
fn two_hundred_requests_at_the_moment_a_token_ends_make_one_exchange() {
    let book = Book::lasting(2);
    book.0.lock().unwrap().pause = Duration::from_millis(400);
    let upstream = upstream(&book);
    let keyside = start(&upstream);
    assert_eq!(
        crowd(&keyside, 200),
        [200; 200],
        "and when there is none yet"
    );
    assert_eq!(book.exchanges(), 1);
    thread::sleep(Duration::from_millis(2100));
    assert_eq!(crowd(&keyside, 200), [200; 200]);
    assert_eq!(book.exchanges(), 2);
}

#[test]
fn a_token_is_renewed_ahead_of_its_end_and_nobody_waits_for_it() {
    let book = Book::lasting(5);
    book.0.lock().unwrap().pause = Duration::from_millis(800);
    let upstream = upstream(&book);
    let keyside = start(&upstream);
    assert_eq!(keyside.post(SEND, "{}").status, 200);
    thread::sleep(Duration::from_millis(4100));
    for _ in 0..3 {
        let began = Instant::now();
        assert_eq!(keyside.post(SEND, "{}").status, 200);
        assert!(
            began.elapsed() < crate::support::stretched(Duration::from_millis(600)),
            "{:?}",
            began.elapsed()
        );
    }
    assert!(eventually(Duration::from_secs(2), || book.exchanges() == 2));
    assert_eq!(keyside.post(SEND, "{}").status, 200);
    assert_eq!(
        upstream.last().header("authorization").as_deref(),
        Some("Bearer CANARY-access-2")
    );
    assert_eq!(book.exchanges(), 2);
}

#[test]
fn a_token_that_is_refused_is_renewed_once() {
    let book = Book::lasting(3600);
    let upstream = upstream(&book);
    let keyside = start(&upstream);
    assert_eq!(keyside.post(SEND, "{}").status, 200);
    book.revoke_all();
    assert_eq!(
        crowd(&keyside, 20),
        [200; 20],
        "the callers see nothing of it"
    );
    assert_eq!(book.exchanges(), 2);
    assert!(!keyside.log().contains("ERROR"), "{}", keyside.log());
    // From now on every token is refused.
    let (before, began) = (upstream.arrivals(), Instant::now());
    for _ in 0..5 {
        book.revoke_all();
        assert_eq!(keyside.post(SEND, "{}").status, 401);
    }
    // A request that waits for a new secret is a probe once a second.
    let probes = began.elapsed().as_secs() as usize;
    assert!(book.exchanges() <= 3, "{} exchanges", book.exchanges());
    assert!(
        upstream.arrivals() - before <= 7 + probes,
        "{} arrivals, {probes} probes",
        upstream.arrivals() - before
    );
}

fn hang(wire: &mut Wire) -> After {
    wire.hang();
    After::Close
}

fn say(wire: &mut Wire, bytes: &[u8]) -> After {
    wire.write(bytes);
    After::Close
}

#[test]
fn a_body_that_cannot_be_sent_again_leaves_the_new_token_to_the_next_request() {
    let book = Book::lasting(3600);
    let upstream = upstream(&book);
    let keyside = start(&upstream);
    let media = with_body("POST", "/media", "image/png", b"png");
    assert_eq!(keyside.send(&media).status, 200);
    book.revoke_all();
    assert_eq!(
        [keyside.send(&media).status, keyside.send(&media).status],
        [401, 200]
    );
    assert_eq!(book.exchanges(), 2);
}

#[test]
fn a_request_without_a_token_needs_no_exchange() {
    let upstream = Upstream::ok();
    let keyside = setup(&upstream, "https://127.0.0.1:1", "check = \"off\"").start();
    assert_eq!(keyside.get("/plain").status, 200);
    assert_eq!(upstream.last().header("x-secret").as_deref(), Some(SECRET));
    assert_eq!(keyside.post(SEND, "{}").status, 503);
}

#[test]
fn an_exchange_that_fails_is_named_and_not_repeated_at_once() {
    type Script = fn(&mut Wire) -> After;
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let scripts: [(&str, Option<Script>, &str); 6] = [
        ("down", None, "cannot be reached"),
        ("slow", Some(hang), "took too long"),
        (
            "an error",
            Some(|wire| say(wire, &answer("500 Oops", &[], b"CANARY"))),
            "it answers 500",
        ),
        (
            "no JSON",
            Some(|wire| say(wire, &answer("200 OK", &[], b"<html>CANARY"))),
            "has no token",
        ),
        (
            "another JSON",
            Some(|wire| say(wire, &json(r#"{"token":"CANARY"}"#))),
            "has no token",
        ),
        (
            "no line",
            Some(|wire| say(wire, &json(r#"{"access_token":"CANARY\r\nX: y"}"#))),
            "cannot be sent in a header",
        ),
    ];
    for (name, script, problem) in scripts {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let issuer = script.map(|script| {
            Upstream::scripted(move |_, wire| {
                count.fetch_add(1, Ordering::Relaxed);
                script(wire)
            })
        });
        let url = issuer
            .as_ref()
            .map_or_else(|| format!("https://{closed}"), Upstream::url);
        let upstream = Upstream::ok();
        let keyside = setup(&upstream, &url, "check = \"off\"").start();
        let mut client = Client::connect(keyside.outbound())
            .unwrap()
            .patience(Duration::from_secs(20));
        let refused = client.ask(&post(SEND, "{}")).unwrap();
        assert_eq!(
            (refused.status, refused.slug()),
            (503, "credential_unavailable"),
            "{name}: {}",
            refused.text()
        );
        refused.must_be_a_refusal(name);
        let message = refused.json()["error"]["message"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(
            message.starts_with(&format!(
                "the exchange at {}",
                url.trim_start_matches("https://")
            )),
            "{name}: {message}"
        );
        assert!(message.contains(problem), "{name}: {message}");
        let again = crowd(&keyside, 20);
        assert_eq!(again, [503; 20], "{name}");
        assert!(
            asked.load(Ordering::Relaxed) <= 2,
            "{name}: asked {} times",
            asked.load(Ordering::Relaxed)
        );
        assert_eq!(
            upstream.arrivals(),
            0,
            "{name}: nothing leaves without a token"
        );
        let said = format!("{}{}", keyside.log(), refused.text());
        assert!(!said.contains("CANARY"), "{name}: {said}");
        let warnings = said
            .lines()
            .filter(|line| line.contains("WARN") && line.contains("for an access token failed"));
        assert_eq!(warnings.count(), 1, "{name}");
    }
}

#[test]
fn after_a_failure_an_exchange_is_tried_again() {
    let book = Book::lasting(3600);
    let down = Arc::new(Mutex::new(true));
    let is_down = Arc::clone(&down);
    let upstream = Upstream::answering(move |request| match *is_down.lock().unwrap() {
        true => answer("503 Busy", &[], b""),
        false => book.answer(request),
    });
    let keyside = start(&upstream);
    let refused = keyside.post(SEND, "{}");
    assert_eq!(
        (refused.status, refused.header("retry-after")),
        (503, Some("1"))
    );
    *down.lock().unwrap() = false;
    assert!(eventually(Duration::from_secs(3), || keyside
        .post(SEND, "{}")
        .status
        == 200));
    assert!(keyside.log().contains("works again"), "{}", keyside.log());
}

#[test]
fn while_a_token_is_good_nobody_notices_that_the_issuer_is_down() {
    let book = Book::lasting(5);
    let (inner, messages) = (book.clone(), upstream(&book));
    let issuer = Upstream::answering(move |request| match inner.exchanges() {
        0 => inner.answer(request),
        _ => answer("500 Oops", &[], b""),
    });
    let keyside = setup(&messages, &issuer.url(), "check = \"off\"").start();
    let (sent, failed) = under_load_of(&keyside, &post(SEND, "{}"), || {
        thread::sleep(Duration::from_millis(3900))
    });
    assert_eq!(failed, [""; 0], "of {sent}");
    assert!(
        (2..=3).contains(&issuer.arrivals()),
        "{} exchanges",
        issuer.arrivals()
    );
}

#[test]
fn an_exchange_goes_on_when_the_request_that_began_it_hangs_up() {
    let book = Book::lasting(3600);
    book.0.lock().unwrap().pause = Duration::from_millis(400);
    let upstream = upstream(&book);
    let keyside = start(&upstream);
    let mut client = keyside.connect();
    client.send(&post(SEND, "{}"));
    assert!(upstream.wait_for(1, Duration::from_secs(2)));
    drop(client);
    assert_eq!(keyside.post(SEND, "{}").status, 200);
    assert_eq!(book.exchanges(), 1);
}

#[test]
fn a_new_secret_makes_a_new_token_and_no_send_fails() {
    let book = Book::lasting(3600);
    let upstream = upstream(&book);
    let keyside = start(&upstream);
    let (sent, failed) = under_load_of(&keyside, &post(SEND, "{}"), || {
        assert_eq!(rotate(&keyside, OTHER), 200);
        thread::sleep(Duration::from_millis(300));
    });
    assert_eq!(failed, [""; 0], "of {sent}");
    assert_eq!(book.exchanges(), 2);
    assert_eq!(book.0.lock().unwrap().given[1].1, OTHER);
    assert_eq!(
        upstream.last().header("authorization").as_deref(),
        Some("Bearer CANARY-access-2")
    );
    assert_eq!(rotate(&keyside, SECRET), 200);
    assert_eq!(keyside.post(SEND, "{}").status, 200);
    assert_eq!(book.exchanges(), 2, "the first secret has its token still");
}

#[test]
fn requests_fall_back_when_the_issuer_refuses_the_new_secret() {
    let book = Book::lasting(3600);
    let upstream = upstream(&book);
    let keyside = start(&upstream);
    book.refuse(&[OTHER]);
    let (sent, failed) = under_load_of(&keyside, &post(SEND, "{}"), || {
        assert_eq!(rotate(&keyside, OTHER), 200);
        thread::sleep(Duration::from_millis(300));
    });
    assert_eq!(failed, [""; 0], "of {sent}");
    assert_eq!(keyside.status()["credentials"][0]["sends"], "previous");
    let alarms = keyside
        .log()
        .lines()
        .filter(|line| line.contains("sending with the one before"))
        .count();
    assert_eq!(alarms, 1);
}

#[test]
fn a_new_secret_is_exchanged_before_it_is_used() {
    let book = Book::lasting(3600);
    let upstream = upstream(&book);
    let keyside = setup(&upstream, "@UPSTREAM@", "").start();
    assert!(
        eventually(Duration::from_secs(2), || book.exchanges() == 1),
        "at the start, in the background"
    );
    book.refuse(&[OTHER]);
    keyside.dir().write("secret", OTHER);
    let refused = keyside.reload();
    assert_ne!(refused.status, 200);
    assert!(
        refused
            .text()
            .contains("for an access token failed: it answers 401"),
        "{}",
        refused.text()
    );
    assert!(!contains(&refused.body, b"CANARY"), "{}", refused.text());
    assert_eq!(keyside.post(SEND, "{}").status, 200);
    book.refuse(&[]);
    assert_eq!(keyside.reload().status, 200);
    let exchanges = book.exchanges();
    assert_eq!(keyside.post(SEND, "{}").status, 200);
    assert_eq!(
        (exchanges, book.exchanges()),
        (2, 2),
        "it is there when the first request comes"
    );
}

#[test]
fn an_access_token_outlives_a_reload_with_equal_secrets() {
    let book = Book::lasting(3600);
    let upstream = upstream(&book);
    let keyside = start(&upstream);
    for _ in 0..3 {
        assert_eq!(keyside.post(SEND, "{}").status, 200);
        assert_eq!(keyside.reload().status, 200);
    }
    assert_eq!(book.exchanges(), 1);
    let config = std::fs::read_to_string(keyside.dir().join("proxy.toml")).unwrap();
    keyside
        .dir()
        .write("proxy.toml", config.replace("client-1", "client-2"));
    assert_eq!(keyside.reload().status, 200);
    assert_eq!(keyside.post(SEND, "{}").status, 200);
    assert_eq!(book.exchanges(), 2);
}
