//! Redaction: whatever the provider repeats of a secret, in whatever type and spelling, no
//! application sees.

use std::io::Write;
use std::thread;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::support::client::Answer;
use crate::support::keyside::{Keyside, Setup};
use crate::support::upstream::{After, Upstream, answer};
use crate::support::{MEDIA, MESSAGES, base64, noise};

/// A token with characters that every encoding writes in its own way.
const SECRET: &str = "EAAG/m0+PX4_ZCpsBA==";

/// The secret with every letter written by a rule.
fn written(rule: impl Fn(u32) -> String) -> String {
    SECRET.chars().map(|c| rule(u32::from(c))).collect()
}

fn spellings() -> Vec<String> {
    vec![
        SECRET.to_owned(),
        SECRET.replace('/', r"\/"),
        SECRET.replace('/', "%2F").replace('+', "%2b"),
        SECRET.replace('E', r"\u0045").replace('=', r"\u003D"),
        SECRET.replace('+', "&plus;").replace('_', "&lowbar;"),
        SECRET.replace('A', "&#65;").replace('=', "&#x3d;"),
        written(|c| format!("\\u{c:04x}")),
        written(|c| format!("\\u{c:04X}")),
        written(|c| format!("%{c:02x}")),
        written(|c| format!("%25{c:02X}")),
        written(|c| format!("&#{c};")),
        written(|c| format!("&#x{c:X};")),
    ]
}

/// Asks a Keyside for an answer with these headers and this body.
fn asked(headers: &[(&str, &str)], body: &[u8], target: &str) -> Answer {
    let bytes = answer("200 OK", headers, body);
    let upstream = Upstream::answering(move |_| bytes.clone());
    with_secret(&upstream).get(target)
}

fn with_secret(upstream: &Upstream) -> Keyside {
    Setup::new(upstream).file("token", SECRET).start()
}

#[test]
fn a_secret_is_redacted_in_every_spelling() {
    let echo = Upstream::answering(|request| {
        let number: usize = request.header("x-case").unwrap().parse().unwrap();
        let spelling = &spellings()[number];
        let body = format!("{{\"before\":\"\\u0041\",\"echo\":\"{spelling}\",\"after\":1}}");
        let header = [("Content-Type", "application/json"), ("X-Echo", spelling)];
        answer("200 OK", &header, body.as_bytes())
    });
    let keyside = with_secret(&echo);
    for (number, spelling) in spellings().iter().enumerate() {
        let request =
            format!("GET {MEDIA} HTTP/1.1\r\nHost: localhost\r\nX-Case: {number}\r\n\r\n");
        let answer = keyside.send(request.as_bytes());
        let expected = r#"{"before":"\u0041","echo":"[redacted]","after":1}"#;
        assert_eq!(answer.text(), expected, "{spelling}");
        assert_eq!(answer.header("x-echo"), Some("[redacted]"), "{spelling}");
    }
}

/// A text in base64, behind this many other bytes.
fn base64_behind(before: usize, text: &str) -> String {
    base64(format!("{}{text}:x", "u".repeat(before)).as_bytes())
}

#[test]
fn a_secret_is_redacted_in_base64_wherever_its_bytes_fall() {
    for before in 0..6 {
        let standard = base64_behind(before, SECRET);
        let encoded = [
            standard.clone(),
            standard.replace('+', "-").replace('/', "_"),
            standard.replace('/', r"\/"),
            standard
                .replace('/', "%2F")
                .replace('+', "%2B")
                .replace('=', "%3D"),
        ];
        for encoded in encoded {
            let body = format!("{{\"echo\":\"{encoded}\"}}");
            let headers = [("Content-Type", "application/json"), ("X-Echo", &*encoded)];
            let answer = asked(&headers, body.as_bytes(), MEDIA);
            // The letters at both ends belong to the bytes around the secret as well.
            let left = answer.json()["echo"].as_str().unwrap().to_owned();
            let (begin, end) = left.split_once("[redacted]").expect(&left);
            assert!(
                encoded.starts_with(begin) && begin.len() <= before * 4 / 3 + 1,
                "{left}"
            );
            assert!(encoded.ends_with(end) && end.len() <= 10, "{left}");
            assert_eq!(answer.header("x-echo"), Some(&*left));
        }
    }
}

#[test]
fn a_secret_is_redacted_in_every_type_that_may_be_text() {
    for types in [
        &[][..],
        &[""],
        &["application/json"],
        &["Application/Problem+JSON; charset=utf-8"],
        &["application/soap+xml"],
        &["application/xml"],
        &["text/html"],
        &["text/csv"],
        &["text/event-stream"],
        &["application/javascript"],
        &["application/x-www-form-urlencoded"],
        &["image/svg+xml"],
        &["application/octet-stream"],
        &["application/vnd.unknown"],
        &["multipart/mixed; boundary=x"],
        &["image/png", "application/json"],
        &["application/json", "image/png"],
    ] {
        let headers: Vec<_> = types.iter().map(|name| ("Content-Type", *name)).collect();
        let body = format!("a {SECRET} b");
        let answer = asked(&headers, body.as_bytes(), MEDIA);
        assert_eq!(answer.text(), "a [redacted] b", "{types:?}");
    }
}

#[test]
fn media_pass_untouched_and_so_does_large_content_of_an_unknown_type() {
    let mut large = noise(1 << 20);
    large.extend_from_slice(SECRET.as_bytes());
    let small = format!("a {SECRET} b").into_bytes();
    for (content_type, body) in [
        ("image/png", &small),
        ("audio/ogg", &small),
        ("application/pdf", &small),
        ("application/octet-stream", &large),
    ] {
        let answer = asked(&[("Content-Type", content_type)], body, MEDIA);
        assert!(answer.body == *body, "{content_type}");
        let length = body.len().to_string();
        assert_eq!(answer.header("content-length"), Some(&*length));
    }
}

#[test]
fn a_secret_is_redacted_in_every_header() {
    let echo = [
        ("Location", format!("https://other.test/?t={SECRET}&a=1")),
        (
            "Link",
            format!(
                "<https://g.test/x?access_token=abc&after=1>; rel=next, <https://g.test/%45{}>",
                &SECRET[1..]
            ),
        ),
        (
            "Location",
            format!("https://g.test/x?a=1&access_token={SECRET}"),
        ),
        ("WWW-Authenticate", format!("OAuth \"{SECRET}\"")),
        ("X-Any", SECRET.replace('/', "%2f")),
        ("Set-Cookie", format!("session={SECRET}")),
    ];
    let mut headers: Vec<_> = echo.iter().map(|(name, value)| (*name, &**value)).collect();
    headers.push(("Content-Type", "application/json"));
    let answer = asked(&headers, b"{}", MEDIA);
    let values = |name: &str| {
        let named = answer.headers.iter().filter(|(known, _)| known == name);
        named.map(|(_, value)| value.as_str()).collect::<Vec<_>>()
    };
    for (name, expected) in [
        (
            "location",
            &[
                "https://other.test/?t=[redacted]&a=1",
                "https://g.test/x?a=1&",
            ][..],
        ),
        (
            "link",
            &["<https://g.test/x?after=1>; rel=next, <https://g.test/[redacted]>"],
        ),
        ("www-authenticate", &["OAuth \"[redacted]\""]),
        ("x-any", &["[redacted]"]),
        ("set-cookie", &[]),
    ] {
        assert_eq!(values(name), expected, "{name}");
    }
}

#[test]
fn a_secret_between_two_pieces_of_an_answer_is_redacted() {
    let spelling = SECRET.replace('/', r"\u002f");
    let body = format!("{{\"echo\":\"{spelling}\"}}");
    let length = body.len();
    for content_type in ["application/json", "application/octet-stream"] {
        let body = body.clone();
        let upstream = Upstream::scripted(move |request, wire| {
            let cut: usize = request.header("x-cut").unwrap().parse().unwrap();
            wire.write(
                format!("HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n")
                    .as_bytes(),
            );
            for piece in [&body[..cut], &body[cut..]] {
                wire.write(format!("{:x}\r\n{piece}\r\n", piece.len()).as_bytes());
                thread::sleep(Duration::from_millis(2));
            }
            wire.write(b"0\r\n\r\n");
            After::Keep
        });
        let keyside = with_secret(&upstream);
        for cut in 1..length {
            let request = format!(
                "POST {MESSAGES} HTTP/1.1\r\nHost: localhost\r\nX-Cut: {cut}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
            );
            let answer = keyside.send(request.as_bytes());
            assert_eq!(answer.text(), r#"{"echo":"[redacted]"}"#, "cut at {cut}");
        }
    }
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn compressed_content_of_an_unknown_type_is_looked_through() {
    let told = gzip(format!("a {SECRET} b").as_bytes());
    let clean = gzip(b"nothing to see");
    let mut large = noise(1 << 20);
    large.extend_from_slice(SECRET.as_bytes());
    let large = gzip(&large);
    let bomb = gzip(&vec![b'x'; 4 << 20]);
    for (name, coding, sent, got, coded) in [
        ("a secret", "gzip", &told, &b"a [redacted] b"[..], None),
        ("no secret", "gzip", &clean, &clean[..], Some("gzip")),
        ("another coding", "br", &clean, &clean[..], Some("br")),
        (
            "no such coding",
            "gzip",
            &b"plain".to_vec(),
            &b"plain"[..],
            Some("gzip"),
        ),
        ("large", "gzip", &large, &large[..], Some("gzip")),
        ("a bomb", "gzip", &bomb, &bomb[..], Some("gzip")),
    ] {
        let headers = [
            ("Content-Type", "application/octet-stream"),
            ("Content-Encoding", coding),
        ];
        let answer = asked(&headers, sent, MEDIA);
        assert_eq!(answer.status, 200, "{name}");
        assert!(answer.body == got, "{name}: {} bytes", answer.body.len());
        assert_eq!(answer.header("content-encoding"), coded, "{name}");
        let length = got.len().to_string();
        assert_eq!(answer.header("content-length"), Some(&*length), "{name}");
    }
}
