//! Whole answers: all parts arrive, without the parts for a single hop.

use std::io::Write;
use std::thread;
use std::time::Duration;

use crate::support::client::{get, post};
use crate::support::keyside::Keyside;
use crate::support::upstream::{After, Upstream, answer, json};
use crate::support::{MEDIA, MESSAGES, TOKEN, contains};

/// The bytes in a content coding.
fn coded(coding: &str, plain: &[u8]) -> Vec<u8> {
    let level = flate2::Compression::best();
    match coding {
        "gzip" => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap()
        }
        "deflate" => {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap()
        }
        _ => plain.to_vec(),
    }
}

#[test]
fn an_accepted_message_stays_accepted_however_its_answer_is_coded() {
    let accepted = format!(r#"{{"messages":[{{"id":"wamid.{TOKEN}"}}]}}"#);
    let plain = accepted.replace(TOKEN, "[redacted]");
    let bomb = vec![b' '; 9 << 20];
    let broken = coded("gzip", &accepted.clone().into_bytes())[..20].to_vec();
    // Coding, status and body of the provider; the body for the application, where it can be read.
    let table: Vec<(&str, &str, Vec<u8>, Option<&str>)> = vec![
        (
            "gzip",
            "200 OK",
            coded("gzip", accepted.as_bytes()),
            Some(&plain),
        ),
        (
            "x-gzip",
            "200 OK",
            coded("gzip", accepted.as_bytes()),
            Some(&plain),
        ),
        (
            "deflate",
            "200 OK",
            coded("deflate", accepted.as_bytes()),
            Some(&plain),
        ),
        (
            "identity",
            "200 OK",
            accepted.clone().into_bytes(),
            Some(&plain),
        ),
        (
            "gzip",
            "400 Bad Request",
            coded("gzip", b"{\"error\":{\"code\":100}}"),
            Some("{\"error\":{\"code\":100}}"),
        ),
        ("br", "200 OK", accepted.clone().into_bytes(), None),
        ("gzip", "200 OK", broken, None),
        ("gzip", "200 OK", coded("gzip", &bomb), None),
        ("identity", "200 OK", bomb, None),
        ("br", "429 Too Many Requests", b"{}".to_vec(), None),
    ];
    for (coding, status, body, expected) in table {
        let upstream = Upstream::answering(move |_| {
            let headers = [
                ("Content-Type", "application/json"),
                ("Content-Encoding", coding),
            ];
            answer(status, &headers, &body)
        });
        let keyside = Keyside::start(&upstream);
        let name = format!("{status} in {coding}");
        let told = keyside.post(MESSAGES, "{\"to\":\"1\"}");
        assert_eq!(told.status.to_string(), status[..3], "{name}: {told:?}");
        assert_eq!(upstream.arrivals(), 1, "{name}");
        assert!(!contains(&told.body, TOKEN.as_bytes()), "{name}: {told:?}");
        let asked = keyside.get(MEDIA);
        match expected {
            Some(body) => {
                assert_eq!((told.text().as_str(), told.slug()), (body, ""), "{name}");
                assert_eq!(
                    told.header("content-encoding").filter(|c| *c != "identity"),
                    None
                );
                assert_eq!(asked.text(), body, "{name}");
            }
            None => {
                assert_eq!(told.slug(), "answer_unread", "{name}");
                assert_eq!(told.json()["keyside"]["slug"], "answer_unread", "{name}");
                // A question can be asked again.
                assert_eq!(
                    (asked.status, asked.slug()),
                    (502, "upstream_protocol"),
                    "{name}"
                );
            }
        }
    }
}

#[test]
fn an_answer_loses_what_was_only_for_this_hop() {
    let upstream = Upstream::answering(|_| {
        answer(
            "200 OK",
            &[
                ("Connection", "x-secret, keep-alive"),
                ("X-Secret", "s"),
                ("Keep-Alive", "timeout=5"),
                ("Proxy-Authenticate", "Basic"),
                ("TE", "x"),
                ("Trailer", "y"),
                ("Upgrade", "h2c"),
                ("Proxy-Connection", "keep-alive"),
                ("X-App-Usage", "{}"),
                ("WWW-Authenticate", "OAuth"),
                ("Retry-After", "7"),
                ("X-Twice", "1"),
                ("X-Twice", "2"),
            ],
            b"ok",
        )
    });
    let keyside = Keyside::start(&upstream);
    let answer = keyside.get(MEDIA);
    for name in [
        "x-secret",
        "keep-alive",
        "proxy-authenticate",
        "te",
        "trailer",
        "upgrade",
        "proxy-connection",
    ] {
        assert_eq!(answer.header(name), None, "{name}");
    }
    assert!(
        answer
            .header("connection")
            .is_none_or(|value| !value.contains("x-secret")),
        "{answer:?}"
    );
    for (name, value) in [
        ("x-app-usage", "{}"),
        ("www-authenticate", "OAuth"),
        ("retry-after", "7"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{name}");
    }
    assert_eq!(
        answer
            .headers
            .iter()
            .filter(|(name, _)| name == "x-twice")
            .count(),
        2
    );
    assert_eq!(answer.text(), "ok");
}

#[test]
fn a_cookie_of_the_provider_never_reaches_the_application() {
    let upstream = Upstream::answering(|_| {
        answer(
            "200 OK",
            &[
                ("Set-Cookie", "session=s3cr3t; Path=/; HttpOnly"),
                ("Set-Cookie", "second=1"),
                ("Access-Control-Allow-Origin", "*"),
                ("Keyside-Error", "no_route"),
            ],
            b"ok",
        )
    });
    let keyside = Keyside::start(&upstream);
    for request in [get(MEDIA), post(MESSAGES, "{}")] {
        let answer = keyside.send(&request);
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
        for name in ["set-cookie", "access-control-allow-origin", "keyside-error"] {
            assert_eq!(answer.header(name), None, "{name}");
        }
    }
}

#[test]
fn an_answer_in_small_pieces_arrives_whole() {
    let upstream = Upstream::scripted(|_, wire| {
        for byte in json(r#"{"messages":[{"id":"wamid.A"}]}"#) {
            wire.write(&[byte]);
            thread::sleep(Duration::from_millis(2));
        }
        After::Keep
    });
    let keyside = Keyside::start(&upstream);
    assert_eq!(
        keyside.post(MESSAGES, "{}").text(),
        r#"{"messages":[{"id":"wamid.A"}]}"#
    );
}

#[test]
fn an_upstream_that_ends_its_side_early_but_answers_is_heard() {
    let upstream = Upstream::scripted(|_, wire| {
        wire.write(&json(r#"{"half":"closed"}"#));
        wire.half_close();
        wire.drain(Duration::from_secs(1));
        After::Cut
    });
    let keyside = Keyside::start(&upstream);
    assert_eq!(keyside.post(MESSAGES, "{}").text(), r#"{"half":"closed"}"#);
}

#[test]
fn errors_of_the_provider_pass_unchanged_and_nothing_is_sent_again() {
    let throttled = r#"{"error":{"message":"(#130429) Rate limit hit","type":"OAuthException","code":130429,"fbtrace_id":"A"}}"#;
    let upstream = Upstream::answering(move |request| {
        let status = request.header("x-status").unwrap_or_default();
        answer(
            &status,
            &[
                ("Content-Type", "application/json"),
                ("Retry-After", "9"),
                ("X-Fb-Trace-Id", "T"),
            ],
            throttled.as_bytes(),
        )
    });
    let keyside = Keyside::start(&upstream);
    // Each status with a sender of its own, since Keyside may learn from a throttle and pause the
    // sender.
    for (number, status) in [
        "400 Bad Request",
        "403 Forbidden",
        "404 Not Found",
        "429 Too Many Requests",
        "500 Oops",
        "503 Unavailable",
        "301 Moved",
    ]
    .iter()
    .enumerate()
    {
        upstream.forget();
        let answer = keyside.send(
            format!("POST /v23.0/500{number}/messages HTTP/1.1\r\nHost: localhost\r\nX-Status: {status}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}").as_bytes(),
        );
        assert_eq!(answer.status.to_string(), status[..3]);
        assert_eq!(answer.text(), throttled, "{status}");
        assert_eq!(
            (answer.header("retry-after"), answer.header("x-fb-trace-id")),
            (Some("9"), Some("T")),
            "{status}"
        );
        assert_eq!(answer.slug(), "", "{status}");
        assert_eq!(upstream.heads(), 1, "{status}");
    }
}

#[test]
fn a_redirect_is_not_followed() {
    let elsewhere = Upstream::ok();
    let to = elsewhere.url();
    let upstream = Upstream::answering(move |_| {
        answer("302 Found", &[("Location", &format!("{to}/v23.0/1"))], b"")
    });
    let keyside = Keyside::start(&upstream);
    let answer = keyside.get(MEDIA);
    assert_eq!(answer.status, 302, "{answer:?}");
    assert_eq!((upstream.heads(), elsewhere.connections()), (1, 0));
}
