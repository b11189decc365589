//! Media and large bodies: streamed byte for byte, and bounded.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use super::{TEXT, is_denied};
use crate::support::client::{
    FORM_BEGINS, FORM_ENDS, MULTIPART, file_form, post, upload, with_body,
};
use crate::support::keyside::{Keyside, Setup};
use crate::support::upstream::{After, Upstream, Wire, answer, json};
use crate::support::{MEDIA, MESSAGES, TOKEN, noise, stretched};

#[test]
fn media_come_down_byte_for_byte() {
    let bytes = noise(20 << 20);
    let expected = bytes.clone();
    let media = Upstream::answering(move |_| {
        answer(
            "200 OK",
            &[
                ("Content-Type", "video/mp4"),
                ("Content-Disposition", "inline;filename=whatsapp.mp4"),
                ("Accept-Ranges", "bytes"),
            ],
            &bytes,
        )
    });
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream).media(&media).start();
    let answer = keyside.get("/whatsapp_business/attachments/?mid=1&ext=2&hash=x");
    assert_eq!(answer.status, 200);
    assert!(
        answer.body == expected,
        "{} of {} bytes",
        answer.body.len(),
        expected.len()
    );
    assert_eq!(
        (
            answer.header("content-type"),
            answer.header("content-disposition")
        ),
        (Some("video/mp4"), Some("inline;filename=whatsapp.mp4"))
    );
    assert_eq!(
        answer.header("content-length"),
        Some((20 << 20).to_string().as_str())
    );
    assert_eq!(upstream.heads(), 0);
}

#[test]
fn media_bytes_that_look_like_the_secret_are_not_touched() {
    let bytes = format!("binary {TOKEN} binary").into_bytes();
    let expected = bytes.clone();
    let upstream = Upstream::answering(move |_| {
        answer(
            "200 OK",
            &[("Content-Type", "application/octet-stream")],
            &bytes,
        )
    });
    let keyside = Keyside::start(&upstream);
    assert_eq!(
        keyside.get("/whatsapp_business/attachments/?mid=1").body,
        expected
    );
}

#[test]
fn an_error_of_the_media_host_is_no_media() {
    let upstream = Upstream::answering(move |_| {
        answer(
            "403 Forbidden",
            &[("Content-Type", "text/html")],
            format!("<p>Bearer {TOKEN}</p>").as_bytes(),
        )
    });
    let keyside = Keyside::start(&upstream);
    let answer = keyside.get("/whatsapp_business/attachments/?mid=1");
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (403, "<p>Bearer [redacted]</p>")
    );
}

#[test]
fn only_media_is_asked_for_in_parts_or_in_any_coding() {
    let upstream = Upstream::ok();
    let keyside = Keyside::start(&upstream);
    let attachment = "/whatsapp_business/attachments/?mid=1";
    for (path, parts, coding) in [(MEDIA, 0, Some("identity")), (attachment, 1, None)] {
        for (range, accept) in [("Range", "Accept-Encoding"), ("range", "Accept_Encoding")] {
            let request = format!(
                "GET {path} HTTP/1.1\r\nHost: localhost\r\n{range}: bytes=0-9\r\n{accept}: gzip\r\n\r\n"
            );
            keyside.send(request.as_bytes());
            let seen = upstream.last();
            assert_eq!(seen.all("range").len(), parts, "{path}");
            assert_eq!(
                seen.header("accept-encoding").as_deref(),
                coding,
                "{path} {accept}"
            );
            assert!(seen.all("accept_encoding").is_empty(), "{path}");
        }
    }
    keyside.post(MESSAGES, "{}");
    assert_eq!(upstream.last().all("accept-encoding"), ["identity"]);
}

#[test]
fn the_bytes_of_a_resumable_upload_pass_whatever_their_type_says() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream)
        .route("operations = [\"uploads\"]")
        .start();
    let bytes = noise(2 << 20);
    let octets = "application/octet-stream";
    for (kind, sent) in [
        ("application/x-www-form-urlencoded", octets),
        ("Application/JSON; charset=utf-8", octets),
        ("multipart/form-data; boundary=b", octets),
        ("text/plain", octets),
        ("video/mp4", "video/mp4"),
        ("application/pdf", "application/pdf"),
    ] {
        let answer = keyside.send(&with_body("POST", "/v23.0/upload:MTphdHRh==", kind, &bytes));
        assert_eq!(answer.status, 200, "{kind}: {}", answer.text());
        assert!(upstream.last().body == bytes, "{kind}");
        assert_eq!(upstream.last().all("content-type"), [sent], "{kind}");
        assert_eq!(
            upstream.last().header("authorization"),
            Some(format!("OAuth {TOKEN}"))
        );
    }
}

#[test]
fn a_media_upload_streams_byte_for_byte() {
    let upstream = Upstream::answering(|_| json(r#"{"id":"1"}"#));
    let keyside = Keyside::start(&upstream);
    let (body, kind) = (file_form(&noise(20 << 20)), MULTIPART);
    assert_eq!(
        keyside
            .send(&with_body("POST", "/v23.0/1234567890/media", kind, &body))
            .text(),
        r#"{"id":"1"}"#
    );
    let seen = upstream.last();
    assert!(
        seen.body == body,
        "{} of {} bytes",
        seen.body.len(),
        body.len()
    );
    assert_eq!(seen.all("content-type"), [kind]);

    let mut chunked = format!("POST /v23.0/1234567890/media HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n").into_bytes();
    for part in body.chunks(70_001) {
        write!(chunked, "{:x}\r\n", part.len()).unwrap();
        chunked.extend_from_slice(part);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    upstream.forget();
    assert_eq!(keyside.send(&chunked).status, 200);
    assert!(upstream.last().body == body, "in chunks");
}

#[test]
fn the_end_of_an_upload_reaches_an_upstream_that_reads_late() {
    let upstream = Upstream::raw(|wire: &mut Wire| {
        while wire.request().is_some() {
            wire.write(&json(r#"{"id":"1"}"#));
            thread::sleep(Duration::from_millis(50));
        }
        After::Close
    });
    let keyside = Keyside::start(&upstream);
    keyside.send(&post(MESSAGES, TEXT));
    // Bodies of many sizes: for some size the socket is full just after TLS has taken the last
    // bytes.
    for step in 0..80 {
        let body = noise((1 << 20) + step * 40_000);
        assert_eq!(
            keyside.send(&upload(&body)).status,
            200,
            "{} bytes",
            body.len()
        );
    }
}

#[test]
fn an_upload_begins_before_it_has_arrived_whole() {
    let upstream = Upstream::ok();
    let keyside = Keyside::start(&upstream);
    let mut client = keyside.connect();
    client.send(b"POST /v23.0/1234567890/media HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 4000000\r\n\r\n");
    client.send(FORM_BEGINS);
    client.send(&noise(3_000_000));
    assert!(
        upstream.wait_for(1, Duration::from_secs(3)),
        "it waits for the last byte"
    );
    client.send(&noise(1_000_000 - FORM_BEGINS.len() - FORM_ENDS.len()));
    client.send(FORM_ENDS);
    assert_eq!(client.answer().unwrap().status, 200);
    assert_eq!(upstream.last().body.len(), 4_000_000);
}

#[test]
fn a_json_body_may_have_one_mebibyte_and_no_more() {
    let upstream = Upstream::ok();
    let keyside = Keyside::start(&upstream);
    let body = |length: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(length - 8));
    let chunked = |body: &str| {
        format!(
            "POST {MESSAGES} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
            body.len()
        )
    };
    let (fits, too_big) = (body(1 << 20), body((1 << 20) + 1));
    for (name, request) in [
        ("length", post(MESSAGES, &fits)),
        ("chunked", chunked(&fits).into_bytes()),
    ] {
        upstream.forget();
        assert_eq!(keyside.send(&request).status, 200, "{name}");
        assert_eq!(upstream.last().body, fits.as_bytes(), "{name}");
    }
    for (name, request) in [
        ("length", post(MESSAGES, &too_big)),
        ("chunked", chunked(&too_big).into_bytes()),
    ] {
        upstream.forget();
        is_denied(&keyside.send(&request), 413, "body_too_large");
        assert_eq!(upstream.arrivals(), 0, "{name}");
    }
    let form = with_body(
        "POST",
        MESSAGES,
        "application/x-www-form-urlencoded",
        format!("a={}", "x".repeat(1 << 20)).as_bytes(),
    );
    is_denied(&keyside.send(&form), 413, "body_too_large");
}

#[test]
fn a_crowd_of_small_bodies_without_a_length_is_not_too_much() {
    let upstream = Upstream::scripted(|_, wire| {
        thread::sleep(Duration::from_millis(500));
        wire.write(&json("{}"));
        After::Keep
    });
    let keyside = Keyside::start(&upstream);
    let request = format!(
        "POST {MESSAGES} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"
    );
    let mut clients: Vec<_> = (0..100).map(|_| keyside.connect()).collect();
    assert!(
        clients
            .iter_mut()
            .all(|client| client.send(request.as_bytes()))
    );
    let statuses: Vec<_> = clients
        .iter_mut()
        .map(|client| client.answer().unwrap().status)
        .collect();
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
}

#[test]
fn media_beyond_the_bound_are_refused_by_their_length() {
    let upstream = Upstream::ok();
    let keyside = Keyside::start(&upstream);
    let answer = keyside.send(b"POST /v23.0/1234567890/media HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 130000000\r\n\r\n");
    is_denied(&answer, 413, "body_too_large");
    assert_eq!(upstream.arrivals(), 0);
}

#[test]
fn the_configuration_bounds_the_size_and_the_time_of_media() {
    let upstream = Upstream::scripted(|request, wire| {
        if request.target().contains("/media") && request.body.len() > 3000 {
            thread::sleep(Duration::from_secs(3));
        }
        wire.write(&json("{}"));
        After::Keep
    });
    let keyside = Setup::new(&upstream)
        .outbound("max_media = \"8KiB\"\nmedia_timeout = \"2s\"")
        .start();
    let sent = |size: usize| keyside.send(&upload(&vec![b'x'; size]));
    assert_eq!(sent(1000).status, 200);
    is_denied(&sent(9000), 413, "body_too_large");
    let began = Instant::now();
    assert_eq!(sent(4000).status, 504);
    assert!(began.elapsed() < stretched(Duration::from_secs(2)));
    // A message has its own time.
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
}
