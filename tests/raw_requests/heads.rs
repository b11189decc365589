//! The head of a request: bytes, bounds, headers of one hop, and browsers.

use std::time::Duration;

use super::{EVIL, GET, POST, keyside_and_upstream, row, run};
use crate::support::{MEDIA, MESSAGES};

#[test]
fn header_bytes_that_are_not_plain_text_are_refused() {
    let (keyside, upstream) = keyside_and_upstream();
    let with = |line: &[u8]| [GET.as_bytes(), line, b"\r\n\r\n"].concat();
    run(
        &keyside,
        &upstream,
        vec![
            row("CR in a value", with(b"X: a\rb")).refused(400),
            row("NUL in a value", with(b"X: a\0b")).refused(400),
            row("control byte in a value", with(b"X: a\x01b")).refused(400),
            row("DEL in a value", with(b"X: a\x7fb")).refused(400),
            row(
                "UTF-8 in a Content-Type",
                with("Content-Type: text/é".as_bytes()),
            )
            .refused(400),
            row(
                "UTF-8 in a Content-Type with another name",
                with("Content_Type: text/é".as_bytes()),
            )
            .refused(400),
            row(
                "UTF-8 in an Idempotency-Key",
                with("Idempotency-Key: é".as_bytes()),
            )
            .refused(400),
            row("UTF-8 in an If-Match", with("If-Match: é".as_bytes())).refused(400),
            row("space in a name", with(b"X Y: ab")).refused(400),
            row("space before the colon", with(b"X : ab")).refused(400),
            row("folded line", with(b"X: a\r\n b")).refused(400),
            row("no colon", with(b"X")).refused(400),
            row("no name", with(b": ab")).refused(400),
            row("tab in a value", with(b"X: a\tb")).get_arrives(),
        ],
    );
}

#[test]
fn a_header_that_is_not_ascii_is_left_out_and_the_request_goes_on() {
    let (keyside, upstream) = keyside_and_upstream();
    for (name, value) in [
        ("X-Name", b"a\xe9b".as_slice()),
        ("X-Name", "Zoë".as_bytes()),
        ("X_Name", "Zoë".as_bytes()),
        ("User-Agent", "Zoë/1".as_bytes()),
        ("Accept-Language", b"\xff"),
        ("Cookie", "é".as_bytes()),
        ("Prefer", "wait=é".as_bytes()),
        ("Priority", "u=é".as_bytes()),
        ("Range", "bytes=é".as_bytes()),
        ("Content-Language", "é".as_bytes()),
        ("Content-Disposition", "attachment; filename=é".as_bytes()),
    ] {
        let line = [name.as_bytes(), b": ", value, b"\r\nX-Kept: 1\r\n\r\n"].concat();
        let answer = keyside.send(&[GET.as_bytes(), &line].concat());
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        let seen = upstream.last();
        assert!(seen.head.is_ascii(), "{name}");
        assert_eq!(seen.all("x-kept"), ["1"], "{name}");
        assert_eq!(seen.all("x-name").len() + seen.all("x_name").len(), 0);
        assert_eq!(seen.all("user-agent").len(), 1, "{name}");
    }
    let log = keyside.log();
    let lines = log.lines().filter(|line| line.contains("not ASCII"));
    assert_eq!(lines.count(), 11, "{log}");
    assert!(!log.contains("Zo"), "{log}");
}

#[test]
fn hop_by_hop_headers_end_here() {
    let (keyside, upstream) = keyside_and_upstream();
    let with = |lines: &str| format!("{GET}{lines}\r\n\r\n");
    run(&keyside, &upstream, vec![
        row("Connection: authorization", with(&format!("Connection: authorization, close\r\nAuthorization: {EVIL}"))).refused(400),
        row("Connection: authorization in a second line", with(&format!("Connection: keep-alive\r\nConnection: authorization\r\nAuthorization: {EVIL}"))).refused(400),
        row("Connection: proxy-authorization", with(&format!("Connection: proxy-authorization\r\nProxy-Authorization: {EVIL}"))).get_arrives(),
        row("Connection names a header", with("Connection: x-foo, X-Bar\r\nX-Foo: 1\r\nX-Bar: 2\r\nX-Baz: 3")).get_arrives().without(&["x-foo", "x-bar"]).with("x-baz", "3"),
        row("a second Connection names a header", with("Connection: keep-alive\r\nConnection: x-foo\r\nX-Foo: 1")).get_arrives().without(&["x-foo"]),
        row("Connection: host", with("Connection: host")).refused(400),
        row("Connection: cookie", with("Connection: cookie\r\nCookie: a=1")).refused(400),
        row("Connection: cache-control", with("Connection: cache-control")).refused(400),
        row("Connection: content-type", format!("{POST}Connection: content-type\r\nContent-Length: 2\r\n\r\n{{}}")).refused(400),
        row("Connection: content-type in a second line", format!("{POST}Connection: close\r\nConnection: x-a, CONTENT-TYPE\r\nContent-Length: 2\r\n\r\n{{}}")).refused(400),
        row("Connection: content_type", format!("{POST}Connection: content_type\r\nContent-Length: 2\r\n\r\n{{}}")).refused(400),
        row("Connection: content-encoding", with("Connection: content-encoding")).refused(400),
        row("Connection: idempotency-key", with("Connection: idempotency-key\r\nIdempotency-Key: a")).refused(400),
        row("Connection: range", with("Connection: range")).refused(400),
        row("Connection: sec-fetch-site", with("Connection: sec-fetch-site")).refused(400),
        row("Connection: user-agent", with("Connection: user-agent")).refused(400),
        row("Connection: accept", with("Connection: keep-alive, accept")).refused(400),
        row("Connection: content-length", format!("{POST}Connection: content-length\r\nContent-Length: 2\r\n\r\n{{}}")).refused(400),
        row("Connection: transfer-encoding", format!("{POST}Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n")).post_arrives(),
        row("the list of RFC 9110", with("Keep-Alive: timeout=5\r\nTE: trailers\r\nTrailer: X\r\nProxy-Connection: keep-alive\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"))
            .get_arrives().without(&["http2-settings"]),
        row("Upgrade, then another request", format!("{GET}Upgrade: foo\r\nConnection: Upgrade\r\n\r\nGET /v23.0/2 HTTP/1.1\r\nHost: localhost\r\n\r\n"))
            .get_arrives().arrives("GET /v23.0/2 HTTP/1.1", ""),
        row("Upgrade: websocket", with("Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13")).get_arrives(),
    ]);
}

#[test]
fn an_expectation_is_answered_here_and_not_forwarded() {
    let (keyside, upstream) = keyside_and_upstream();
    run(
        &keyside,
        &upstream,
        vec![
            row(
                "100-continue with the body at once",
                format!("{POST}Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{{}}"),
            )
            .post_arrives(),
            row(
                "any other",
                format!("{POST}Expect: foo\r\nContent-Length: 2\r\n\r\n{{}}"),
            )
            .refused(400),
            row(
                "100-continue and another",
                format!("{POST}Expect: 100-continue, foo\r\nContent-Length: 2\r\n\r\n{{}}"),
            )
            .refused(400),
        ],
    );
    upstream.forget();
    let mut client = keyside.connect().patience(Duration::from_secs(3));
    client.send(format!("{POST}Expect: 100-continue\r\nContent-Length: 2\r\n\r\n").as_bytes());
    assert_eq!(client.interim(), Ok(100), "100 comes before the body");
    let answer = client.ask(b"{}").unwrap();
    assert_eq!(answer.status, 200);
    assert!(upstream.last().all("expect").is_empty());
}

#[test]
fn a_head_has_a_bound() {
    let (keyside, upstream) = keyside_and_upstream();
    let headers = |count: usize| {
        (0..count)
            .map(|number| format!("X-{number}: a\r\n"))
            .collect::<String>()
    };
    let long = |length: usize| format!("{GET}X: {}\r\n\r\n", "a".repeat(length));
    run(
        &keyside,
        &upstream,
        vec![
            row("90 headers", format!("{GET}{}\r\n", headers(89)))
                .get_arrives()
                .with("x-88", "a"),
            row("101 headers", format!("{GET}{}\r\n", headers(100))).refused(431),
            row("1000 headers", format!("{GET}{}\r\n", headers(999))).refused(431),
            row("20 KB header", long(20_000)).get_arrives(),
            row("40 KB header", long(40_000)).refused(431),
            row(
                "many headers of 40 KB together",
                format!(
                    "{GET}{}\r\n",
                    (0..50)
                        .map(|number| format!("X-{number}: {}\r\n", "a".repeat(800)))
                        .collect::<String>()
                ),
            )
            .refused(431),
            row("300 KB header", long(300_000)).refused(431),
            row("500 KB header", long(500_000)).refused(431),
            row(
                "70 KB target",
                format!(
                    "GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n",
                    "a".repeat(70_000)
                ),
            )
            .refused(431),
            row(
                "GET with a body",
                format!("{GET}Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"),
            )
            .arrives(format!("GET {MEDIA} HTTP/1.1"), "{}"),
        ],
    );
}

#[test]
fn no_browser_is_a_client() {
    let (keyside, upstream) = keyside_and_upstream();
    let mut rows = Vec::new();
    for origin in [
        "null",
        "http://evil.test",
        "http://localhost:3000",
        "http://127.0.0.1",
        "https://graph.facebook.com",
        "",
    ] {
        rows.push(
            row(
                format!("Origin {origin:?}"),
                format!("{GET}Origin: {origin}\r\n\r\n"),
            )
            .refused(403),
        );
    }
    for site in [
        "cross-site",
        "same-site",
        "same-origin",
        "NONE, cross-site",
        "",
    ] {
        rows.push(
            row(
                format!("Sec-Fetch-Site {site:?}"),
                format!("{GET}Sec-Fetch-Site: {site}\r\n\r\n"),
            )
            .refused(403),
        );
    }
    rows.extend([
        row("Sec-Fetch-Site none", format!("{GET}Sec-Fetch-Site: none\r\n\r\n")).get_arrives(),
        row("Sec-Fetch-Site twice", format!("{GET}Sec-Fetch-Site: none\r\nSec-Fetch-Site: cross-site\r\n\r\n")).refused(403),
        row("a preflight", format!("OPTIONS {MESSAGES} HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.test\r\nAccess-Control-Request-Method: POST\r\nAccess-Control-Request-Private-Network: true\r\n\r\n")).refused(403),
        row("a simple POST", format!("POST {MESSAGES} HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost:3999\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{{}}")).refused(403),
        row("an image", format!("{GET}Sec-Fetch-Site: same-site\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: image\r\n\r\n")).refused(403),
    ]);
    run(&keyside, &upstream, rows);
}
