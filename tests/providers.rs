//! Providers as data: every key of `[provider.NAME]` takes effect.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::client::{Answer, MULTIPART, get, with_body};
use crate::support::key::SigningKey;
use crate::support::keyside::{Keyside, Setup};
use crate::support::upstream::{Request, Upstream, answer, json};
use crate::support::webhook::application;
use crate::support::{base64, eventually, hmac_sha256};

const FORM: &str = "application/x-www-form-urlencoded";

/// The beginning of every configuration in these tests.
const FRAME: &str = "[outbound]\nlisten = [\"127.0.0.1:@PORT@\"]\n[admin]\nlisten = [\"127.0.0.1:@ADMIN@\"]\n\
    [reload]\nwatch = \"off\"\n[log]\nlevel = \"debug\"\n";

/// Every key of the schema. The key of `[secrets.signing]` could sign a JWT; here the key must go
/// nowhere.
const WHOLE: &str = r#"
[provider.whole]
title          = "All of it"
evidence       = "experimental"
upstream       = "https://{host}:@UPSTREAM_PORT@"
media_upstream = "@MEDIA@"
ca             = "@DIR@/ca.pem"
answers        = "graph"
health         = "GET /accounts/{account}"
inject = [
  { header = "Authorization", value = "Bearer {access_token}" },
  { header = "X-Login", value = "Basic {account:key}" },
  { query = "auth", value = "{key}" },
  { form = "apikey", value = "{key}" },
  { json = "/auth/key", value = "{key}" },
  { appsecret_proof = "key", key = "app_secret" },
]
paths = [{ from = "/short/{what}", to = "/long/{account}/{key}/{what}" }]

[provider.whole.parameters]
host    = { form = "host" }
account = { default = "A-1", form = "segment" }
region  = { default = "eu", form = "label" }

[provider.whole.secrets]
key        = { required = true, form = "text" }
app_secret = { form = "app-secret" }
signing    = { form = "private-key" }
hook       = {}
challenge  = {}

[provider.whole.access_token]
kind       = "exchange"
upstream   = "@UPSTREAM@"
request    = "POST /token/"
inject     = [{ json = "/login/user", value = "{account}" }, { json = "/login/key", value = "{key}" }, { query = "v", value = "1" }]
token      = "/data/token"
expires_in = "/data/seconds"
lifetime   = "10m"

[provider.whole.rotation]
live_secrets = 2

[provider.whole.strip]
headers = ["X-Other-Key"]
query   = ["other_key"]
form    = ["other_key"]

[provider.whole.operations.messages]
kind     = "send"
default  = true
requests = [
  { request = "POST /accounts/{account}/messages", limited = true },
  { request = "POST /short/{what}", limited = true, query = ["a"] },
]

[provider.whole.operations.media]
kind     = "receive"
default  = true
requests = [
  { request = "GET /media/{...}", media = true, inject = [{ header = "X-Media-Key", value = "{key}" }] },
  { request = "POST /upload:{...}", raw = true },
]

[provider.whole.operations.own]
kind       = "administration"
credential = "caller"
requests   = ["GET /{v}/own/{id}"]

[provider.whole.limits]
per_sender      = "1000/s"
per_recipient   = { rate = "1000/s", burst = 1000 }
per_account     = "1000/s"
management      = "1000/s"
sender          = ["/from", "/messages/*/from"]
recipient       = ["/to"]
counts_received = false

[provider.whole.errors]
code             = "X-Error"
message          = "/message"
refused          = ["bad-key", 7]
refused_status   = [401]
refused_words    = ["bad proof"]
throttled        = [{ codes = ["slow"], limit = "account", pause = "1s" }, { status = [420], limit = "sender", pause = "1s" }]
temporary        = [8]
temporary_status = [503]
policy           = ["blocked"]
policy_status    = [402]
policy_words     = ["not paid"]

[provider.whole.webhook]
challenge       = "challenge"
unsigned_status = 401

[[provider.whole.webhook.verify]]
kind      = "hmac"
secret    = "hook"
header    = "X-Hook"
algorithm = "sha256"

[credential.whole]
provider   = "whole"
host       = "localhost"
key        = "file:@DIR@/key"
app_secret = "file:@DIR@/app_secret"
signing    = "file:@DIR@/signing"
hook       = "file:@DIR@/hook"
challenge  = "file:@DIR@/hook"

[[route]]
credential = "whole"
senders    = ["+1555"]
operations = ["messages", "media", "own"]

[inbound]
listen = ["127.0.0.1:@INBOUND@"]

[[webhook]]
path       = "/hook"
credential = "whole"
forward    = "@APPLICATION@/events"
"#;

const KEY: &str = "canary-key-0001";

struct Whole {
    upstream: Upstream,
    media: Upstream,
    application: Upstream,
    keyside: Keyside,
}

impl Whole {
    fn start() -> Self {
        let upstream =
            Upstream::answering(|request| match request.target().starts_with("/token/") {
                true => json(r#"{"data":{"token":"canary-access-0001","seconds":600}}"#),
                false => answer(
                    "200 OK",
                    &[("X-Error", "none"), ("Content-Type", "application/json")],
                    b"{}",
                ),
            });
        let (media, application) = (Upstream::ok(), application());
        let config =
            format!("{FRAME}{WHOLE}").replace("@UPSTREAM_PORT@", &upstream.port().to_string());
        let keyside = Setup::new(&upstream)
            .media(&media)
            .file("key", KEY)
            .file("app_secret", "0123456789abcdef0123456789abcdef")
            .file("signing", SigningKey::new().pem())
            .file("hook", "canary-hook-0001")
            .config(&config.replace("@APPLICATION@", &application.url()))
            .start();
        Self {
            upstream,
            media,
            application,
            keyside,
        }
    }

    /// The last request besides exchanges and questions.
    fn last(&self) -> Request {
        let is_ours = |request: &Request| {
            !request.target().starts_with("/token/") && request.target() != "/accounts/A-1"
        };
        self.upstream
            .requests()
            .into_iter()
            .rfind(|request| request.method() == "POST" && is_ours(request))
            .unwrap()
    }
}

#[test]
fn every_key_of_a_provider_takes_effect() {
    let whole = Whole::start();
    let Whole {
        keyside,
        upstream,
        media,
        ..
    } = &whole;
    let login = format!("Basic {}", base64(format!("A-1:{KEY}").as_bytes()));

    let body = r#"{"from":"+1 555","to":"1","auth":{"key":"mine"},"other_key":"mine"}"#;
    let request = format!(
        "POST /accounts/mine/messages?auth=mine&other_key=mine&a=1 HTTP/1.1\r\nHost: localhost\r\nX-Login: mine\r\nX-Other-Key: mine\r\n\
         Authorization: mine\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = keyside.send(request.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = whole.last();
    let (path, query) = seen
        .target()
        .split_once('?')
        .map(|(path, query)| (path.to_owned(), query.to_owned()))
        .unwrap();
    assert_eq!(path, "/accounts/A-1/messages");
    assert!(
        query.starts_with(&format!("a=1&auth={KEY}&appsecret_proof=")),
        "{query}"
    );
    assert_eq!(seen.all("authorization"), ["Bearer canary-access-0001"]);
    assert_eq!(seen.all("x-login"), [login.as_str()]);
    assert_eq!(seen.all("host"), [format!("localhost:{}", upstream.port())]);
    let expected = format!(r#"{{"from":"+1 555","to":"1","auth":{{"key":"{KEY}"}}}}"#);
    assert_eq!(String::from_utf8_lossy(&seen.body), expected);
    assert!(!String::from_utf8_lossy(&seen.raw).contains("mine"));

    let exchange = upstream
        .requests()
        .into_iter()
        .find(|request| request.target() == "/token/?v=1")
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&exchange.body),
        format!(r#"{{"login":{{"user":"A-1","key":"{KEY}"}}}}"#)
    );
    assert!(eventually(Duration::from_secs(2), || {
        upstream
            .requests()
            .iter()
            .any(|request| request.line().starts_with("GET /accounts/A-1?auth="))
    }));
    assert!(eventually(
        Duration::from_secs(2),
        || keyside.status()["credentials"][0]["check"]["result"] == "proved"
    ));

    let form = with_body(
        "POST",
        "/short/thing?a=1",
        FORM,
        b"from=%2B1555&apikey=mine&other_key=mine&text=a%20b",
    );
    assert_eq!(keyside.send(&form).status, 200);
    let seen = whole.last();
    assert!(
        seen.target()
            .starts_with(&format!("/long/A-1/{KEY}/thing?a=1&auth=")),
        "{}",
        seen.target()
    );
    assert_eq!(
        String::from_utf8_lossy(&seen.body),
        format!("from=%2B1555&text=a%20b&apikey={KEY}")
    );

    assert_eq!(
        keyside
            .send(&with_body("POST", "/upload:1", FORM, b"raw bytes"))
            .status,
        200
    );
    assert_eq!(whole.last().body, b"raw bytes");

    assert_eq!(keyside.get("/media/a/b?c").status, 200);
    let seen = media.last();
    assert_eq!(
        (seen.target().as_str(), seen.all("x-media-key")),
        ("/media/a/b?c", vec![KEY.to_owned()])
    );
    assert!(seen.all("authorization").is_empty() && seen.all("x-login").is_empty());

    let own =
        b"GET /v1.0/own/1?auth=theirs HTTP/1.1\r\nHost: localhost\r\nAuthorization: theirs\r\n\r\n";
    assert_eq!(keyside.send(own).status, 200);
    let seen = upstream.last();
    assert_eq!(
        (seen.target().as_str(), seen.all("authorization")),
        ("/v1.0/own/1?auth=theirs", vec!["theirs".to_owned()])
    );
    assert!(!String::from_utf8_lossy(&seen.raw).contains(KEY));
}

#[test]
fn the_events_of_a_custom_provider_are_checked() {
    let whole = Whole::start();
    let event = |signature: &str| {
        format!("POST /hook HTTP/1.1\r\nHost: hooks\r\nX-Hook: {signature}\r\nContent-Length: 2\r\n\r\n{{}}")
            .into_bytes()
    };
    assert_eq!(
        whole
            .keyside
            .event(&event(&hmac_sha256("canary-hook-0001", "{}")))
            .status,
        200
    );
    assert_eq!(
        whole
            .keyside
            .event(&event(&hmac_sha256("another", "{}")))
            .status,
        401
    );
    assert_eq!(whole.application.arrivals(), 1);
}

/// A provider with a key in a header and prepared answers, one after the other.
fn saying(answers: Vec<Vec<u8>>) -> Upstream {
    let left = Mutex::new(
        answers
            .into_iter()
            .collect::<std::collections::VecDeque<_>>(),
    );
    Upstream::answering(move |_| {
        left.lock()
            .unwrap()
            .pop_front()
            .unwrap_or_else(|| json("{}"))
    })
}

/// A small configuration with further lines for provider, credential and route.
fn small(provider: &str, credential: &str, route: &str) -> String {
    format!(
        "{FRAME}[provider.small]\nupstream = \"@UPSTREAM@\"\nca = \"@DIR@/ca.pem\"\n\
         inject = [{{ header = \"X-Key\", value = \"{{key}}\" }}]\n{provider}\n\
         [provider.small.secrets]\nkey = {{ required = true }}\n\
         [provider.small.operations.messages]\nkind = \"send\"\ndefault = true\n\
         requests = [{{ request = \"POST /send\", limited = true }}]\n\
         [credential.acme]\nprovider = \"small\"\nkey = \"file:@DIR@/key\"\n{credential}\n\
         [[route]]\ncredential = \"acme\"\n{route}\n"
    )
}

fn start(upstream: &Upstream, config: &str) -> Keyside {
    Setup::new(upstream).file("key", KEY).config(config).start()
}

const UNCHECKED: &str = "check = \"off\"";

#[test]
fn errors_are_counted_by_their_meaning() {
    let named = |code: &str| answer("400 No", &[("X-Error", code)], b"{}");
    let bare = |status: &str| answer(status, &[], b"{}");
    let words = answer(
        "400 No",
        &[("Content-Type", "application/json")],
        br#"{"message":"a bad proof it is"}"#,
    );
    let table = [
        (named("bad-key"), "refused"),
        (named("7"), "refused"),
        (bare("401 No"), "refused"),
        (words, "refused"),
        (named("slow"), "throttled"),
        (bare("420 Slow"), "throttled"),
        (named("8"), "temporary"),
        (bare("503 Later"), "temporary"),
        (named("blocked"), "policy"),
        (bare("402 Pay"), "policy"),
        (named("else"), ""),
        (bare("404 None"), ""),
        (answer("401 No", &[("X-Error", "else")], b"{}"), ""),
    ];
    let errors = WHOLE
        .split("[provider.whole.errors]")
        .nth(1)
        .unwrap()
        .split("[provider")
        .next()
        .unwrap();
    let config = small(
        &format!("[provider.small.errors]\n{errors}"),
        // A request that waits in the hold is counted with each of its probes.
        &format!("{UNCHECKED}\nhold = \"off\""),
        "limits = { max_wait = \"2s\" }",
    );
    let upstream = saying(table.iter().map(|(answer, _)| answer.clone()).collect());
    let keyside = start(&upstream, &config);
    let count = |class: &str| {
        keyside.metric(
            "keyside_upstream_errors_total",
            &[&format!("class=\"{class}\"")],
        )
    };
    let mut expected = std::collections::HashMap::from([
        ("refused", 0.0),
        ("throttled", 0.0),
        ("temporary", 0.0),
        ("policy", 0.0),
    ]);
    for (said, class) in &table {
        keyside.post("/send", "{}");
        expected.entry(class).and_modify(|count| *count += 1.0);
        for (class, expected) in &expected {
            assert_eq!(
                count(class),
                *expected,
                "{class} after {}",
                String::from_utf8_lossy(said)
            );
        }
    }
    let log = keyside.log();
    let warnings: Vec<_> = log
        .lines()
        .filter(|line| line.contains("requests fail") && line.contains(r#""class":"policy""#))
        .collect();
    assert_eq!(
        warnings.len(),
        2,
        "one with a code, one without: {warnings:?}"
    );
}

const SENDERS: &str = "content_types = [\"application/json\", \"application/x-www-form-urlencoded\", \"multipart/form-data\"]\n\
    limits = { sender = [\"/from\", \"/messages/*/from\"] }";

#[test]
fn a_sender_in_the_body_must_be_a_sender_of_the_route() {
    let upstream = Upstream::ok();
    let keyside = start(
        &upstream,
        &small(SENDERS, UNCHECKED, "senders = [\"+1555\", \"Acme\"]"),
    );
    let ask = |kind: &str, target: &str, body: &str| {
        keyside.send(&with_body("POST", target, kind, body.as_bytes()))
    };
    const JSON: &str = "application/json";
    for (kind, target, body) in [
        (JSON, "/send", r#"{"from":"+1 555"}"#),
        (JSON, "/send", r#"{"from":"1555"}"#),
        (JSON, "/send", r#"{"from":1555}"#),
        (JSON, "/send", r#"{"from":"Acme"}"#),
        (
            JSON,
            "/send",
            r#"{"messages":[{"from":"1555"},{"from":"Acme"}]}"#,
        ),
        (FORM, "/send", "from=whatsapp%3A%2B1555&text=x"),
    ] {
        let answer = ask(kind, target, body);
        assert_eq!(answer.status, 200, "{body}: {}", answer.text());
        assert_eq!(upstream.last().body, body.as_bytes(), "as it came");
    }
    let before = upstream.arrivals();
    for (kind, target, body) in [
        (JSON, "/send", r#"{"from":"+1556"}"#),
        (JSON, "/send", r#"{"from":"1555","from":"1556"}"#),
        (JSON, "/send", r#"{"from":"1556","from":"1555"}"#),
        (JSON, "/send", r#"{"from":"1555","FROM":"1556"}"#),
        (JSON, "/send", r#"{"from":"1555","fr\u006fm":"1556"}"#),
        (JSON, "/send", "\u{feff}{\"from\":\"1556\"}"),
        (
            JSON,
            "/send",
            r#"{"messages":[{"from":"1555"},{"from":"1556"}]}"#,
        ),
        (JSON, "/send?from=1556", r#"{"from":"1555"}"#),
        (FORM, "/send", "from=1555&from=1556"),
        (FORM, "/send", "from=1555&from[]=1556"),
        (FORM, "/send", "fr%6fm=1556"),
        (FORM, "/send", "from=1555;1556"),
        (FORM, "/send", "from=1555&a=1;from=1556"),
        (FORM, "/send", "from=1555&messages[0][from]=1556"),
        (FORM, "/send", "from=1555&messages[0][from]x=1556"),
        (FORM, "/send", "from=1555&messages[0][from][]=1556"),
        (FORM, "/send", "from=1555&from%00x=1556"),
        (FORM, "/send", "from=1555&+from=1556"),
        (JSON, "/send", r#"{"from":"1555","from[]":"1556"}"#),
        (JSON, "/send", r#"{"from":"1555","from\u0000":"1556"}"#),
        (
            JSON,
            "/send",
            r#"{"from":"1555","messages":{"0":{"from":"1556"}}}"#,
        ),
        (JSON, "/send?messages[0][from]=1556", r#"{"from":"1555"}"#),
    ] {
        let answer = ask(kind, target, body);
        assert_eq!(
            (answer.status, answer.slug()),
            (403, "sender_not_allowed"),
            "{body}: {}",
            answer.text()
        );
        answer.must_be_a_refusal(body);
    }
    let multipart = "--b\r\nContent-Disposition: form-data; name=\"from\"\r\n\r\n1555\r\n--b--";
    for (kind, target, body, status, slug) in [
        (
            JSON,
            "/send",
            r#"{"text":"nobody"}"#,
            403,
            "sender_not_named",
        ),
        (
            JSON,
            "/send",
            r#"{"messages":[{"text":"nobody"}]}"#,
            403,
            "sender_not_named",
        ),
        (JSON, "/send", r#"{"from":null}"#, 403, "sender_not_named"),
        (JSON, "/send", r#"{"from":""}"#, 403, "sender_not_named"),
        (JSON, "/send", "", 403, "sender_not_named"),
        (FORM, "/send", "text=nobody", 403, "sender_not_named"),
        // A query only adds to what must be allowed.
        (
            JSON,
            "/send?from=1555",
            r#"{"text":"nobody"}"#,
            403,
            "sender_not_named",
        ),
        (
            FORM,
            "/send?from=1555",
            "text=nobody",
            403,
            "sender_not_named",
        ),
        (JSON, "/send?from=1555", "", 403, "sender_not_named"),
        (JSON, "/send", r#"{"from":["1555"]}"#, 400, "bad_request"),
        (
            JSON,
            "/send",
            r#"{"from":{"a":"1555"}}"#,
            400,
            "bad_request",
        ),
        (JSON, "/send", r#"{"from":1555.0}"#, 400, "bad_request"),
        (JSON, "/send", r#"{"from":true}"#, 400, "bad_request"),
        (
            JSON,
            "/send",
            r#"{"from":"1555","From":[]}"#,
            400,
            "bad_request",
        ),
        (JSON, "/send", "no JSON", 400, "bad_request"),
        (JSON, "/send?from=1555", "{", 400, "bad_request"),
        (MULTIPART, "/send", multipart, 400, "bad_request"),
        (MULTIPART, "/send?from=1555", multipart, 400, "bad_request"),
        (
            "text/plain",
            "/send?from=1555",
            "x",
            415,
            "unsupported_media_type",
        ),
    ] {
        let answer = ask(kind, target, body);
        assert_eq!(
            (answer.status, answer.slug()),
            (status, slug),
            "{target} {body}"
        );
        answer.must_be_a_refusal(body);
    }
    assert_eq!(upstream.arrivals(), before);
}

#[test]
fn each_sender_in_a_body_has_its_own_limit() {
    let upstream = Upstream::ok();
    let limits = "limits = { sender = [\"/from\"], per_sender = \"2/h\" }";
    let keyside = start(
        &upstream,
        &small(limits, UNCHECKED, "limits = { max_wait = \"10ms\" }"),
    );
    let send = |from: &str| {
        keyside
            .post("/send", &format!(r#"{{"from":"{from}"}}"#))
            .status
    };
    assert_eq!([send("1"), send("+1"), send("1")], [200, 200, 429]);
    assert_eq!([send("2"), send("2"), send("2")], [200, 200, 429]);
}

#[test]
fn an_account_has_a_limit_for_all_senders_and_a_reload_does_not_refill_it() {
    let upstream = Upstream::ok();
    let limits = "limits = { sender = [\"/from\"], per_account = \"3/h\", per_sender = \"2/h\" }";
    let keyside = start(
        &upstream,
        &small(limits, UNCHECKED, "limits = { max_wait = \"10ms\" }"),
    );
    let send = |from: &str| keyside.post("/send", &format!(r#"{{"from":"{from}"}}"#));
    let code = |answer: &Answer| answer.json()["error"]["code"].as_i64().unwrap_or_default();
    assert_eq!(
        [send("1"), send("1")].map(|answer| answer.status),
        [200, 200]
    );
    assert_eq!(code(&send("1")), 130_429, "the sender's own");
    assert_eq!(keyside.reload().status, 200);
    assert_eq!(send("2").status, 200);
    let over = send("3");
    assert_eq!((over.status, code(&over)), (429, 80_007), "the account's");
    assert_eq!(keyside.status()["routes"][0]["limit"]["per_account"], "3/h");
}

#[test]
fn a_new_secret_is_checked_with_the_providers_own_question() {
    let good = Arc::new(Mutex::new(vec![KEY]));
    let known = Arc::clone(&good);
    let upstream = Upstream::answering(move |request| {
        let key = request.header("x-key").unwrap_or_default();
        if known.lock().unwrap().contains(&key.as_str()) {
            json("{}")
        } else {
            answer("401 No", &[], b"{}")
        }
    });
    let keyside = start(&upstream, &small("health = \"GET /whoami\"", "", ""));
    let result = || keyside.status()["credentials"][0]["check"]["result"].clone();
    assert!(eventually(Duration::from_secs(2), || result() == "proved"));
    assert_eq!(upstream.last().line(), "GET /whoami HTTP/1.1");
    keyside.dir().write("key", "canary-key-0002");
    let refused = keyside.reload();
    assert_ne!(refused.status, 200);
    assert!(
        refused
            .text()
            .contains("the provider refuses it (status 401)"),
        "{}",
        refused.text()
    );
    assert_eq!(
        keyside.post("/send", "{}").status,
        200,
        "the one before goes on"
    );
    good.lock().unwrap().push("canary-key-0002");
    assert_eq!(keyside.reload().status, 200);
    assert_eq!(result(), "proved");
}

#[test]
fn a_question_that_the_secret_in_use_may_not_ask_blocks_no_rotation() {
    let upstream = Upstream::answering(|request| match request.line().contains("/whoami") {
        true => answer("401 No", &[], b"{}"),
        false => json("{}"),
    });
    let keyside = start(&upstream, &small("health = \"GET /whoami?a=1\"", "", ""));
    let result = || keyside.status()["credentials"][0]["check"]["result"].clone();
    assert!(eventually(Duration::from_secs(2), || result() == "refused"));
    assert_eq!(upstream.last().line(), "GET /whoami?a=1 HTTP/1.1");
    assert_eq!(keyside.post("/send", "{}").status, 200);
    keyside.dir().write("key", "canary-key-0002");
    let reloaded = keyside.reload();
    assert_eq!(reloaded.status, 200, "{}", reloaded.text());
    assert_eq!(result(), "unproved");
    assert_eq!(keyside.post("/send", "{}").status, 200);
    assert_eq!(
        upstream.last().header("x-key").as_deref(),
        Some("canary-key-0002")
    );
}

/// A vendor whose new key ends the old key.
struct Vendor {
    key: Arc<Mutex<&'static str>>,
    keyside: Keyside,
    _upstream: Upstream,
}

impl Vendor {
    fn new(rotation: &str) -> Self {
        let key = Arc::new(Mutex::new(KEY));
        let known = Arc::clone(&key);
        let upstream = Upstream::answering(move |request| {
            let is_it = request.header("x-key").as_deref() == Some(*known.lock().unwrap());
            if is_it {
                json("{}")
            } else {
                answer("401 No", &[], b"{}")
            }
        });
        let keyside = start(&upstream, &small(rotation, UNCHECKED, ""));
        assert_eq!(keyside.post("/send", "{}").status, 200);
        Self {
            key,
            keyside,
            _upstream: upstream,
        }
    }

    /// The status of a message sent after the end of the old key and before the new key is in
    /// place.
    fn swap(&self, new: &'static str, moment: Duration) -> u16 {
        *self.key.lock().unwrap() = new;
        thread::scope(|scope| {
            let request = scope.spawn(|| self.keyside.post("/send", "{}").status);
            thread::sleep(moment);
            self.keyside.dir().write("key", new);
            request.join().unwrap()
        })
    }
}

#[test]
fn requests_wait_without_an_alarm_for_the_new_secret_where_only_one_is_alive() {
    let vendor = Vendor::new("rotation = { live_secrets = 1 }");
    let began = Instant::now();
    let first = vendor.swap("canary-key-0002", Duration::from_secs(3));
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    // The replaced key is at hand by now, and dead as well.
    let second = vendor.swap("canary-key-0003", Duration::from_secs(1));
    let log = vendor.keyside.log();
    assert_eq!(
        (first, second, log.contains("ERROR")),
        (200, 200, false),
        "{log}"
    );
    let vendor = Vendor::new("");
    let status = vendor.swap("canary-key-0002", Duration::from_secs(3));
    assert_eq!(
        (status, vendor.keyside.log().contains("ERROR")),
        (200, true),
        "elsewhere a refusal is an alarm, and requests wait as well"
    );
}

#[test]
fn a_signing_key_must_be_a_private_key() {
    for (name, key, expected) in [
        ("no key", "secret", "not an RSA private key"),
        (
            "another kind",
            "-----BEGIN EC PRIVATE KEY-----\nMHc=\n-----END EC PRIVATE KEY-----",
            "not an RSA private key",
        ),
    ] {
        let config = format!(
            "{FRAME}[credential.v]\nprovider = \"vonage\"\napplication_id = \"a\"\nprivate_key = \"file:@DIR@/key\"\n[[route]]\ncredential = \"v\"\n"
        );
        let finished = Setup::at("http://127.0.0.1:1")
            .file("key", key)
            .config(&config)
            .finish("check");
        assert_eq!(finished.code, Some(78), "{name}: {}", finished.output);
        assert!(
            finished.output.contains(expected),
            "{name}: {}",
            finished.output
        );
    }
    let lines = "first\nsecond";
    for value in [lines, &SigningKey::new().pem()] {
        let finished = Setup::at("http://127.0.0.1:1")
            .file("key", value)
            .config(&small("", UNCHECKED, "").replace("@UPSTREAM@", "https://localhost"))
            .finish("check");
        assert_eq!(finished.code, Some(78), "{}", finished.output);
    }
}

#[test]
fn the_infobip_preset_can_be_changed_to_oauth() {
    let preset = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src/provider/presets/infobip.toml"
    ))
    .unwrap();
    let shown = preset
        .lines()
        .skip_while(|line| !line.contains("[provider.mine]"));
    let shown: Vec<_> = shown
        .take_while(|line| line.starts_with('#'))
        .map(|line| line.trim_start_matches('#'))
        .collect();
    let own = shown.join("\n").replace(
        "extends = \"infobip\"",
        "extends = \"infobip\"\nupstream = \"@UPSTREAM@\"\nca = \"@DIR@/ca.pem\"",
    );
    let upstream = Upstream::answering(|request| match request.target().as_str() {
        "/auth/1/oauth2/token" => {
            json(r#"{"access_token":"canary-access-0001","token_type":"Bearer","expires_in":3600}"#)
        }
        _ => json("{}"),
    });
    let config = format!(
        "{FRAME}{own}\n[credential.i]\nprovider = \"mine\"\ncheck = \"off\"\nbase = \"x\"\nclient_id = \"file:@DIR@/id\"\nclient_secret = \"file:@DIR@/key\"\n[[route]]\ncredential = \"i\"\n"
    );
    let keyside = Setup::new(&upstream)
        .file("id", "client-1")
        .file("key", KEY)
        .config(&config)
        .start();
    assert_eq!(
        keyside
            .post("/whatsapp/1/message/text", r#"{"from":"1"}"#)
            .status,
        200
    );
    assert_eq!(
        upstream.last().header("authorization").as_deref(),
        Some("Bearer canary-access-0001")
    );
    let exchange = &upstream.requests()[0];
    let expected = format!("grant_type=client_credentials&client_id=client-1&client_secret={KEY}");
    assert_eq!(String::from_utf8_lossy(&exchange.body), expected);
    assert_eq!(keyside.send(&get("/whatsapp/1/message/text")).status, 403);
}
