//! Several credentials at one path: no request goes out with the credential of another tenant.

use crate::support::client::{Answer, get};
use crate::support::keyside::{Keyside, Setup};
use crate::support::upstream::{Request, Upstream, json};

/// Two tenants at `/a`, with a sender each, and a further route of the first tenant at `/own`.
fn config(second: &str) -> String {
    let credential = |name: &str| {
        format!(
            "[credential.{name}]\nprovider = \"test\"\ncheck = \"off\"\ntoken = \"file:@DIR@/{name}\"\n"
        )
    };
    let route = |name: &str, credential: &str, path: &str, senders: &str| {
        format!(
            "[[route]]\nname = \"{name}\"\ncredential = \"{credential}\"\npath = \"{path}\"\nsenders = {senders}\n\
             operations = [\"messages\", \"media\", \"media_delete\", \"templates\"]\n"
        )
    };
    format!(
        "[outbound]\nlisten = [\"127.0.0.1:@PORT@\"]\n[admin]\nlisten = [\"127.0.0.1:@ADMIN@\"]\n[reload]\nwatch = \"off\"\n\
         [provider.test]\nextends = \"meta\"\nupstream = \"@UPSTREAM@\"\nmedia_upstream = \"@UPSTREAM@\"\nca = \"@DIR@/ca.pem\"\n{}{}{}{}{}",
        credential("one"),
        credential("two"),
        route("first", "one", "/a", "[\"111\"]"),
        route("second", second, "/a", "[\"222\"]"),
        route("alone", "one", "/own", "[]"),
    )
}

fn setup(upstream: &Upstream, second: &str) -> Setup {
    Setup::new(upstream)
        .file("one", "EAAONE")
        .file("two", "EAATWO")
        .config(&config(second))
}

/// An upstream whose media and pages have links to it, as Graph's have.
fn graph() -> Upstream {
    Upstream::answering(|request| {
        let host = request.header("host").unwrap();
        json(&if request.target().contains("message_templates") {
            format!(
                r#"{{"data":[],"paging":{{"next":"https://{host}/v23.0/9/message_templates?after=x"}}}}"#
            )
        } else if request.target().contains("attachments") {
            "{}".to_owned()
        } else {
            format!(
                r#"{{"url":"https:\/\/{host}\/whatsapp_business\/attachments\/?mid=1&hash=h"}}"#
            )
        })
    })
}

fn token(request: &Request) -> String {
    request.header("authorization").unwrap_or_default()
}

fn asked(keyside: &Keyside, method: &str, target: &str) -> Answer {
    keyside.send(format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())
}

#[test]
fn a_request_that_names_no_sender_is_refused_where_credentials_share_a_path() {
    let upstream = graph();
    let keyside = setup(&upstream, "two").start();
    for (method, target) in [
        ("GET", "/a/v23.0/55"),
        ("HEAD", "/a/v23.0/55"),
        ("DELETE", "/a/v23.0/55"),
        ("GET", "/a/v23.0/9/message_templates"),
        ("DELETE", "/a/v23.0/9/message_templates?name=x"),
        ("GET", "/a/whatsapp_business/attachments/?mid=1"),
    ] {
        let answer = match method {
            "HEAD" => {
                let mut client = keyside.connect();
                client
                    .send(format!("HEAD {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
                client.answer_without_body().unwrap()
            }
            _ => asked(&keyside, method, target),
        };
        assert_eq!(
            (answer.status, answer.slug()),
            (403, "sender_not_named"),
            "{method} {target}"
        );
    }
    assert_eq!(upstream.heads(), 0);
    for (method, target, expected) in [
        ("GET", "/a/v23.0/55?phone_number_id=111", "Bearer EAAONE"),
        ("GET", "/a/v23.0/55?phone_number_id=222", "Bearer EAATWO"),
        ("DELETE", "/a/v23.0/55?phone_number_id=222", "Bearer EAATWO"),
        ("GET", "/a/v23.0/222", "Bearer EAATWO"),
        ("GET", "/own/v23.0/55", "Bearer EAAONE"),
        ("GET", "/own/v23.0/9/message_templates", "Bearer EAAONE"),
    ] {
        let answer = asked(&keyside, method, target);
        assert_eq!(answer.status, 200, "{target}: {}", answer.text());
        assert_eq!(token(&upstream.last()), expected, "{method} {target}");
    }
}

#[test]
fn routes_of_one_credential_share_a_path_without_a_named_sender() {
    let upstream = graph();
    let keyside = setup(&upstream, "one").start();
    let answer = keyside.get("/a/v23.0/9/message_templates");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let next = answer.json()["paging"]["next"].as_str().unwrap().to_owned();
    assert_eq!(next, "http://localhost/a/v23.0/9/message_templates?after=x");
}

#[test]
fn a_link_of_an_answer_leads_back_to_its_route_also_after_a_restart() {
    let upstream = graph();
    let keyside = setup(&upstream, "two").start();
    let media = keyside.get("/a/v23.0/55?phone_number_id=222");
    let url = media.json()["url"].as_str().unwrap().to_owned();
    let path = url.strip_prefix("http://localhost").unwrap();
    assert!(
        path.starts_with("/a/") && path.ends_with("/whatsapp_business/attachments/?mid=1&hash=h"),
        "{url}"
    );
    for keyside in [keyside, setup(&upstream, "two").start()] {
        assert_eq!(keyside.send(&get(path)).status, 200);
        let seen = upstream.last();
        assert_eq!(token(&seen), "Bearer EAATWO");
        assert_eq!(
            seen.target(),
            "/whatsapp_business/attachments/?mid=1&hash=h"
        );
    }
}

#[test]
fn a_link_chooses_no_route_that_its_caller_could_not_use() {
    let upstream = graph();
    let keyside = setup(&upstream, "two").start();
    for (target, status, slug) in [
        // A link does not name a sender, and media needs one where a route has senders.
        ("/a/keyside-route/second/v23.0/55", 403, "sender_not_named"),
        (
            "/a/keyside-route/second/v23.0/55?phone_number_id=111",
            403,
            "sender_not_allowed",
        ),
        (
            "/a/keyside-route/first/v23.0/222/whatsapp_business_profile",
            403,
            "operation_not_allowed",
        ),
        (
            "/a/keyside-route/alone/v23.0/9/message_templates",
            404,
            "no_route",
        ),
        (
            "/own/keyside-route/second/v23.0/9/message_templates",
            404,
            "no_route",
        ),
        (
            "/a/keyside-route/nobody/v23.0/9/message_templates",
            404,
            "no_route",
        ),
        (
            "/a/keyside-route//v23.0/9/message_templates",
            400,
            "bad_request",
        ),
        (
            "/keyside-route/second/a/v23.0/9/message_templates",
            404,
            "no_route",
        ),
    ] {
        let answer = keyside.get(target);
        assert_eq!(
            (answer.status, answer.slug()),
            (status, slug),
            "{target}: {}",
            answer.text()
        );
    }
    assert_eq!(upstream.heads(), 0);
}

#[test]
fn check_warns_of_credentials_that_share_a_path() {
    let upstream = graph();
    for (second, is_warned) in [("two", true), ("one", false)] {
        let found = setup(&upstream, second).finish("check");
        assert_eq!(found.code, Some(0), "{}", found.output);
        assert_eq!(
            found.output.contains("sender_not_named"),
            is_warned,
            "{}",
            found.output
        );
    }
}
