//! Refusals before a route is known: even there, no SDK takes a refusal for a success.

use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::support::client::{Answer, Client, NoAnswer, post};
use crate::support::keyside::{Keyside, Setup};
use crate::support::upstream::{Upstream, json};

/// A preset, the lines of its credential, and the place of the words in its refusals.
const MESSAGEBIRD: (&str, &str, &str) = (
    "messagebird",
    "access_key = \"file:@DIR@/key\"",
    "/errors/0/description",
);
const TWILIO: (&str, &str, &str) = (
    "twilio",
    "account_sid = \"AC1\"\nauth_token = \"file:@DIR@/key\"",
    "/message",
);
const TELNYX: (&str, &str, &str) = ("telnyx", "api_key = \"file:@DIR@/key\"", "/errors/0/detail");
const META: (&str, &str, &str) = ("meta", "token = \"file:@DIR@/token\"", "/error/message");

fn start(
    upstream: &Upstream,
    outbound: &str,
    routes: &[(&str, (&'static str, &'static str, &'static str))],
) -> Keyside {
    let mut config = format!(
        "[outbound]\nlisten = [\"127.0.0.1:@PORT@\"]\n{outbound}\n[admin]\nlisten = [\"127.0.0.1:@ADMIN@\"]\n[log]\nlevel = \"debug\"\n"
    );
    for (path, (preset, credential, _)) in routes {
        config.push_str(&format!(
            "[provider.{preset}-here]\nextends = \"{preset}\"\nupstream = \"@UPSTREAM@\"\nca = \"@DIR@/ca.pem\"\n\
             [credential.{preset}]\nprovider = \"{preset}-here\"\ncheck = \"off\"\n{credential}\n\
             [[route]]\ncredential = \"{preset}\"\npath = \"{path}\"\n"
        ));
    }
    Setup::new(upstream)
        .file("key", "CANARY0123456789CANARY0123456789")
        .config(&config)
        .start()
}

/// Requests that are refused before a route is known, with the slug.
fn early(path: &str) -> [(String, &'static str); 7] {
    let long = "x".repeat(40 * 1024);
    [
        (
            format!("GET {path}/a HTTP/1.1\r\nHost: evil.test\r\n\r\n"),
            "wrong_host",
        ),
        (
            format!("TRACE {path}/a HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            "method_not_allowed",
        ),
        (
            format!("GET {path}/a HTTP/1.1\r\nHost: localhost\r\nOrigin: http://x\r\n\r\n"),
            "browser_request",
        ),
        (
            format!("GET {path}/a?method=POST HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            "bad_request",
        ),
        (
            format!("GET {path}/a//b HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            "bad_request",
        ),
        (
            format!("GET {path}/a HTTP/1.1\r\nHost: localhost\r\nX: {long}\r\n\r\n"),
            "headers_too_large",
        ),
        (format!("GET {path}/a HTTP/9.9\r\n\r\n"), "bad_request"),
    ]
}

fn ask(keyside: &Keyside, request: &str) -> Answer {
    keyside.send(request.as_bytes())
}

fn words<'a>(body: &'a Value, place: &str) -> &'a str {
    let words = body.pointer(place).and_then(Value::as_str);
    words.unwrap_or_default()
}

#[test]
fn with_one_provider_every_refusal_has_its_form() {
    let upstream = Upstream::ok();
    for provider in [MESSAGEBIRD, TWILIO, META] {
        let keyside = start(&upstream, "", &[("/", provider)]);
        for (request, slug) in early("") {
            let answer = ask(&keyside, &request);
            assert_eq!(answer.slug(), slug, "{}", answer.text());
            let body = answer.json();
            assert!(!words(&body, provider.2).is_empty(), "{slug}: {body}");
            assert_eq!(body.get("error").is_some(), provider == META, "{body}");
        }
    }
    assert_eq!(upstream.heads(), 0);
}

#[test]
fn the_path_of_a_route_tells_the_provider_where_it_can() {
    let upstream = Upstream::ok();
    let keyside = start(
        &upstream,
        "",
        &[("/bird", MESSAGEBIRD), ("/twilio", TWILIO)],
    );
    for (path, provider) in [("/bird", MESSAGEBIRD), ("/twilio", TWILIO)] {
        // The first has a foreign host. The head of the last two is not read.
        for (request, slug) in &early(path)[1..5] {
            let body = ask(&keyside, request).json();
            assert!(!words(&body, provider.2).is_empty(), "{slug}: {body}");
            assert!(body.get("error").is_none(), "{slug}: {body}");
        }
    }
}

/// A page whose name was rebound to this machine can read the answers.
#[test]
fn a_refusal_at_a_foreign_host_tells_nothing_about_paths() {
    let upstream = Upstream::ok();
    let routes = [("/bird", MESSAGEBIRD), ("/twilio", TWILIO)];
    let keyside = start(&upstream, "allowed_hosts = [\"keyside\"]", &routes);
    let told = |host: &str, path: &str| {
        let request = format!("GET {path}/a HTTP/1.1\r\nHost: {host}\r\nOrigin: http://x\r\n\r\n");
        ask(&keyside, &request).json()
    };
    let nowhere = told("evil.test", "/none");
    for (path, provider) in routes {
        assert_eq!(told("evil.test", path), nowhere, "{path}");
        let allowed = told("keyside", path);
        assert!(!words(&allowed, provider.2).is_empty(), "{allowed}");
        assert!(allowed.get("error").is_none(), "{allowed}");
    }
}

#[test]
fn where_the_provider_is_not_known_a_refusal_is_one_to_the_sdk_of_each() {
    let upstream = Upstream::ok();
    for routes in [
        &[("/meta", META), ("/bird", MESSAGEBIRD), ("/twilio", TWILIO)][..],
        &[("/bird", MESSAGEBIRD), ("/twilio", TWILIO)],
        &[("/telnyx", TELNYX), ("/bird", MESSAGEBIRD)],
    ] {
        let keyside = start(&upstream, "", routes);
        let mut requests = early("").to_vec();
        requests.push((
            "GET /none HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
            "no_route",
        ));
        for (request, slug) in requests {
            let answer = ask(&keyside, &request);
            assert_eq!(answer.slug(), slug);
            let body = answer.json();
            // The SDK of MessageBird looks for `errors` alone, whatever the status.
            let errors = body["errors"].as_array().map(Vec::len);
            assert_eq!(errors, Some(1), "{slug}: {body}");
            assert!(!words(&body, META.2).is_empty(), "{slug}: {body}");
        }
    }
}

#[test]
fn a_reload_changes_the_form_of_the_listeners_refusals() {
    let upstream = Upstream::ok();
    let mut keyside = start(&upstream, "", &[("/", TWILIO)]);
    let malformed = "GET / HTTP/9.9\r\n\r\n";
    assert_eq!(ask(&keyside, malformed).json()["code"], 400);
    let config = std::fs::read_to_string(keyside.dir().join("proxy.toml")).unwrap();
    let config = config
        .replace("extends = \"twilio\"", "extends = \"telnyx\"")
        .replace("account_sid = \"AC1\"", "")
        .replace("auth_token", "api_key");
    keyside.setup().dir().write("proxy.toml", config);
    assert_eq!(keyside.reload().status, 200);
    let body = ask(&keyside, malformed).json();
    assert!(!words(&body, TELNYX.2).is_empty(), "{body}");
}

#[test]
fn a_newcomer_without_a_place_gets_503_in_the_form_of_the_provider() {
    let upstream = Upstream::answering(|_| {
        thread::sleep(Duration::from_secs(2));
        json("{}")
    });
    let keyside = start(
        &upstream,
        "max_connections = 2",
        &[("/bird", MESSAGEBIRD), ("/meta", META)],
    );
    let message = post("/bird/v1/send", r#"{"from":"1","to":"2","type":"text"}"#);
    let mut at_work: Vec<Client> = (0..2).map(|_| keyside.connect()).collect();
    for client in &mut at_work {
        assert!(client.send(&message));
    }
    assert!(upstream.wait_for(2, Duration::from_secs(3)));
    let mut newcomer = keyside.connect();
    let answer = newcomer.ask(&message).unwrap();
    assert_eq!((answer.status, answer.slug()), (503, "overloaded"));
    assert!(!words(&answer.json(), MESSAGEBIRD.2).is_empty());
    assert!(answer.json().get("error").is_none(), "{}", answer.text());
    assert_eq!(newcomer.end(Duration::from_secs(3)), Some(NoAnswer::Closed));
    for client in &mut at_work {
        assert_eq!(client.answer().map(|answer| answer.status), Ok(200));
    }
}
