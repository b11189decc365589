//! Routes: the operations, senders and paths that choose and allow a request.

use super::{TEXT, is_denied, query, value};
use crate::support::client::{get, with_body};
use crate::support::keyside::{Keyside, Setup};
use crate::support::upstream::Upstream;
use crate::support::{MEDIA, MESSAGES, TOKEN, contains, shown};

#[test]
fn an_operation_that_the_route_does_not_have_is_named_and_refused() {
    let upstream = Upstream::ok();
    let keyside = Keyside::start(&upstream);
    for (method, path, named) in [
        ("DELETE", MEDIA, "media_delete"),
        ("POST", "/v23.0/99/message_templates", "templates"),
        ("GET", "/v23.0/99/message_templates", "templates"),
        ("GET", "/v23.0/99/phone_numbers", "phone_numbers"),
        ("POST", "/v23.0/1234567890/register", "registration"),
        ("POST", "/v23.0/99/subscribed_apps", "account"),
        ("POST", "/v23.0/99/uploads", "uploads"),
        ("POST", "/v23.0/99/flows", "flows"),
        ("POST", "/v23.0/1234567890/block_users", "block_users"),
        (
            "GET",
            "/v23.0/1234567890/whatsapp_business_profile",
            "profile",
        ),
        ("GET", "/v23.0/99/subscriptions", "subscriptions"),
        ("GET", "/v23.0/debug_token?input_token=x", "oauth"),
        ("GET", "/oauth/access_token", "oauth"),
        ("GET", "/v23.0/1234567890?fields=throughput", "objects"),
        ("POST", MEDIA, "phone_numbers"),
        ("POST", MEDIA, "templates"),
        ("GET", "/v23.0/me", "objects"),
        (
            "GET",
            "/v23.0/1234567890/unheard_of",
            "requests = [\\\"GET /{v}/{id}/unheard_of\\\"]",
        ),
        ("PUT", MESSAGES, ""),
        ("GET", "/whatsapp_business/other/", ""),
        ("GET", "/v23.0/abc/messages", ""),
        ("POST", "/v23.0/v23.0/1234567890/messages", ""),
        ("POST", "/v23.0/1234567890/Messages", ""),
    ] {
        let answer = keyside.send(&with_body(method, path, "application/json", b"{}"));
        is_denied(&answer, 403, "operation_not_allowed");
        assert!(
            answer.text().contains(named),
            "{method} {path}: {named} is not named in {}",
            answer.text()
        );
    }
    assert_eq!(upstream.heads(), 0);
}

/// Graph reads the parameters of a GET from its body as well.
#[test]
fn a_body_asks_for_nothing_that_the_bound_query_may_not_ask_for() {
    let upstream = Upstream::ok();
    let keyside = Keyside::start(&upstream);
    let media = "/v23.0/1761991787669262";
    let json = "application/json";
    let form = "application/x-www-form-urlencoded";
    for (method, kind, body, status) in [
        ("GET", json, r#"{"fields":"owner,name"}"#, 403),
        ("HEAD", json, r#"{"fields":"owner,name"}"#, 403),
        ("GET", json, r#"{"metadata":1}"#, 403),
        ("GET", form, "fields=owner,name", 403),
        ("GET", json, "{}", 200),
    ] {
        let answer = keyside.send(&with_body(method, media, kind, body.as_bytes()));
        assert_eq!(answer.status, status, "{method} {body}");
    }
    assert_eq!(upstream.arrivals(), 1);
    let own = keyside.get(&format!("{media}?fields=url,mime_type"));
    assert_eq!(own.status, 200);
}

#[test]
fn an_operation_that_the_route_names_is_allowed() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream)
        .route("operations = [\"templates\", \"media_delete\"]")
        .start();
    assert_eq!(
        keyside
            .send(&with_body("DELETE", MEDIA, "application/json", b"{}"))
            .status,
        200
    );
    assert_eq!(
        keyside
            .get("/v23.0/99/message_templates?limit=3&fields=name")
            .status,
        200
    );
    is_denied(&keyside.post(MESSAGES, TEXT), 403, "operation_not_allowed");
}

#[test]
fn a_star_allows_all_operations_that_there_are() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream).route("operations = [\"*\"]").start();
    for path in [
        MESSAGES,
        "/v23.0/99/message_templates",
        "/v23.0/1234567890/register",
    ] {
        assert_eq!(keyside.post(path, TEXT).status, 200, "{path}");
    }
    is_denied(
        &keyside.post("/v23.0/99/unheard_of", TEXT),
        403,
        "operation_not_allowed",
    );
}

#[test]
fn an_operation_with_the_callers_credential_keeps_it_and_gets_no_other() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream)
        .route("operations = [\"oauth\", \"subscriptions\"]")
        .start();
    let target = "/v23.0/debug_token?input_token=abc&access_token=APP|SECRET";
    assert_eq!(keyside.get(&target.replace('|', "%7C")).status, 200);
    let seen = upstream.last();
    assert_eq!(
        value(&query(&seen.target()), "access_token"),
        Some("APP|SECRET")
    );
    assert!(
        !contains(&seen.raw, TOKEN.as_bytes()),
        "{}",
        shown(&seen.raw)
    );
    let answer = keyside
        .send(b"GET /v23.0/99/subscriptions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer callers-own\r\n\r\n");
    assert_eq!(answer.status, 200);
    assert_eq!(upstream.last().all("authorization"), ["Bearer callers-own"]);
}

#[test]
fn a_sender_outside_the_list_is_named_and_refused() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream)
        .route("senders = [\"1234567890\"]")
        .start();
    assert_eq!(keyside.post(MESSAGES, TEXT).status, 200);
    for path in [
        "/v23.0/666/messages",
        "/666/messages",
        "/v23.0/12345678901/messages",
        "/v23.0/666/media",
    ] {
        let answer = keyside.post(path, TEXT);
        is_denied(&answer, 403, "sender_not_allowed");
    }
    assert_eq!(upstream.heads(), 1);
}

#[test]
fn a_sender_in_the_query_counts_however_it_is_written() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream)
        .route("senders = [\"1234567890\"]\noperations = [\"media\", \"media_delete\", \"phone_numbers\"]")
        .start();
    for query in [
        "phone_number_id=1234567890",
        "phone%5Fnumber_id=123456789%30",
        "",
    ] {
        assert_eq!(
            keyside.get(&format!("{MEDIA}?{query}")).status,
            200,
            "{query}"
        );
    }
    upstream.forget();
    for query in [
        "phone_number_id=666",
        "phone%5Fnumber_id=666",
        "phone_number_id=1234567890&phone_number_id=666",
        "phone_number_id=1234567890;phone_number_id=666",
        "phone_number_id",
    ] {
        for method in ["GET", "DELETE"] {
            let request = format!("{method} /v23.0/55?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n");
            is_denied(&keyside.send(request.as_bytes()), 403, "sender_not_allowed");
        }
    }
    assert_eq!(upstream.heads(), 0);
}

#[test]
fn a_path_without_a_route_is_not_found() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream).route("path = \"/acme\"").start();
    for path in [
        MESSAGES,
        "/acmes/v23.0/1234567890/messages",
        "/ACME/v23.0/1234567890/messages",
        "/",
    ] {
        is_denied(&keyside.post(path, TEXT), 404, "no_route");
    }
    assert_eq!(keyside.post(&format!("/acme{MESSAGES}"), TEXT).status, 200);
    assert_eq!(
        upstream.last().target(),
        MESSAGES,
        "the prefix is taken off"
    );
    assert_eq!(upstream.heads(), 1);
}

#[test]
fn the_longest_prefix_and_then_the_sender_choose_the_route() {
    let upstream = Upstream::ok();
    let route = |name: &str, credential: &str, path: &str, senders: &str| {
        format!(
            "[[route]]\nname = \"{name}\"\ncredential = \"{credential}\"\npath = \"{path}\"\nsenders = {senders}\n"
        )
    };
    let credential = |name: &str| {
        format!(
            "[credential.{name}]\nprovider = \"test\"\ncheck = \"off\"\ntoken = \"file:@DIR@/{name}\"\n"
        )
    };
    let config = format!(
        "[outbound]\nlisten = [\"127.0.0.1:@PORT@\"]\n[admin]\nlisten = [\"127.0.0.1:@ADMIN@\"]\n[reload]\nwatch = \"off\"\n\
         [provider.test]\nextends = \"meta\"\nupstream = \"@UPSTREAM@\"\nmedia_upstream = \"@UPSTREAM@\"\nca = \"@DIR@/ca.pem\"\n{}{}{}{}{}{}{}",
        credential("root"),
        credential("one"),
        credential("two"),
        route("root", "root", "/", "[]"),
        route("deep", "one", "/a/b", "[]"),
        route("first", "one", "/a", "[\"111\"]"),
        route("second", "two", "/a", "[\"222\"]"),
    );
    let keyside = Setup::new(&upstream)
        .file("root", "EAAROOT")
        .file("one", "EAAONE")
        .file("two", "EAATWO")
        .config(&config)
        .start();
    for (path, token, left) in [
        ("/v23.0/111/messages", "EAAROOT", "/v23.0/111/messages"),
        ("/a/b/v23.0/222/messages", "EAAONE", "/v23.0/222/messages"),
        ("/a/v23.0/111/messages", "EAAONE", "/v23.0/111/messages"),
        ("/a/v23.0/222/messages", "EAATWO", "/v23.0/222/messages"),
    ] {
        let answer = keyside.post(path, TEXT);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let seen = upstream.last();
        assert_eq!(
            (seen.target().as_str(), seen.all("authorization")),
            (left, vec![format!("Bearer {token}")]),
            "{path}"
        );
    }
    is_denied(
        &keyside.post("/a/v23.0/333/messages", TEXT),
        403,
        "sender_not_allowed",
    );
}

#[test]
fn a_head_request_passes_where_a_get_does_and_has_no_body() {
    let upstream = Upstream::answering(|request| {
        let body = if request.method() == "HEAD" { "" } else { "{}" };
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{body}"
        )
        .into_bytes()
    });
    let keyside = Setup::new(&upstream)
        .route("operations = [\"messages\", \"media\", \"templates\"]")
        .start();
    let mut client = keyside.connect();
    for target in [
        MEDIA,
        "/v23.0/55?phone_number_id=1",
        "/v23.0/9/message_templates",
        "/whatsapp_business/attachments/?mid=1",
    ] {
        client.send(format!("HEAD {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
        let answer = client.answer_without_body().unwrap();
        assert_eq!((answer.status, answer.slug()), (200, ""), "{target}");
        let seen = upstream.last();
        assert_eq!(
            (seen.method().as_str(), seen.target().as_str()),
            ("HEAD", target)
        );
        assert_eq!(seen.all("authorization"), [format!("Bearer {TOKEN}")]);
    }
    for target in [MESSAGES, "/v23.0/55?fields=name", "/v23.0/1/phone_numbers"] {
        client.send(format!("HEAD {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
        let answer = client.answer_without_body().unwrap();
        assert_eq!(
            (answer.status, answer.slug()),
            (403, "operation_not_allowed"),
            "{target}"
        );
    }
    // The connection is in step: no byte of a body was left behind.
    client.send(&get(MEDIA));
    assert_eq!(client.answer().unwrap().text(), "{}");
}
