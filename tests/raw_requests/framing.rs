//! The framing of requests: a body has a single end, and no byte behind the end becomes a request.

use std::time::Duration;

use super::{EVIL, GET, POST, keyside_and_upstream, lines, row, run};
use crate::support::client::{Client, NoAnswer};
use crate::support::upstream::Request;
use crate::support::{MESSAGES, TOKEN, contains, shown};

#[test]
fn a_body_framed_in_two_ways_never_smuggles_a_second_request() {
    let (keyside, upstream) = keyside_and_upstream();
    let smuggled = "2\r\n{}\r\n0\r\n\r\nGET /v23.0/666 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let length = smuggled.len();
    run(
        &keyside,
        &upstream,
        vec![
            row(
                "CL before TE",
                format!("{POST}Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n{smuggled}"),
            )
            .post_arrives(),
            row(
                "TE before CL",
                format!("{POST}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"),
            )
            .post_arrives(),
            row(
                "TE before CL, smuggled",
                format!("{POST}Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n\r\n{smuggled}"),
            )
            .post_arrives(),
            row("two equal CL", format!("{POST}Content-Length: 2\r\nContent-Length: 2\r\n\r\n{{}}"))
                .post_arrives(),
        ],
    );
}

#[test]
fn a_length_that_is_not_one_number_is_refused() {
    let (keyside, upstream) = keyside_and_upstream();
    let mut rows = vec![
        row(
            "two different CL",
            format!("{POST}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{{}} "),
        )
        .refused(400),
    ];
    for value in [
        "2, 2",
        "2,3",
        "+2",
        "-1",
        "0x2",
        "2 2",
        "2.0",
        "abc",
        "123abc",
        "18446744073709551616",
        "99999999999999999999999999",
        "",
        "\u{0b}2",
        "\u{661}",
    ] {
        rows.push(
            row(
                format!("CL {value:?}"),
                format!("{POST}Content-Length: {value}\r\n\r\n{{}}"),
            )
            .refused(400),
        );
    }
    run(&keyside, &upstream, rows);
}

#[test]
fn a_transfer_coding_other_than_one_chunked_is_refused() {
    let (keyside, upstream) = keyside_and_upstream();
    let mut rows = Vec::new();
    for value in [
        "gzip, chunked",
        "chunked, chunked",
        "chunked, gzip",
        "gzip",
        "xchunked",
        "chunked;q=1",
        "\u{0b}chunked",
        "\"chunked\"",
        "chunked,",
        "",
    ] {
        rows.push(
            row(
                format!("TE {value:?}"),
                format!("{POST}Transfer-Encoding: {value}\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"),
            )
            .refused(400),
        );
    }
    rows.extend([
        row("TE twice", format!("{POST}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n")).refused(400),
        row("TE gzip then chunked", format!("{POST}Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n")).refused(400),
        row("TE identity with CL", format!("{POST}Transfer-Encoding: identity\r\nContent-Length: 2\r\n\r\n{{}}")).refused(400),
        row("TE, space, colon", format!("{POST}Transfer-Encoding : chunked\r\nContent-Length: 2\r\n\r\n{{}}")).refused(400),
        row("TE folded", format!("{POST}Transfer-Encoding:\r\n chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n")).refused(400),
        row("TE on HTTP/1.0", "POST /v23.0/1234567890/messages HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n").refused(400),
        row("TE in upper case", format!("{POST}Transfer-Encoding: CHUNKED\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n")).post_arrives(),
    ]);
    run(&keyside, &upstream, rows);
}

#[test]
fn a_broken_chunk_is_the_callers_fault_and_nothing_whole_leaves() {
    let (keyside, upstream) = keyside_and_upstream();
    let chunked = |body: &str| format!("{POST}Transfer-Encoding: chunked\r\n\r\n{body}");
    run(&keyside, &upstream, vec![
        row("extension", chunked("2;a=b\r\n{}\r\n0\r\n\r\n")).post_arrives(),
        row("size in upper-case hex", chunked("A\r\n{\"a\":1234}\r\n0\r\n\r\n")).arrives(format!("POST {MESSAGES} HTTP/1.1"), r#"{"a":1234}"#),
        row("leading zeros", chunked("0002\r\n{}\r\n000\r\n\r\n")).post_arrives(),
        row("space after the size", chunked("2 \r\n{}\r\n0\r\n\r\n")).post_arrives(),
        row("extension ended by LF", chunked("2;a\n{}\r\n0\r\n\r\n")).refused(400),
        row("lines ended by LF", chunked("2\n{}\n0\n\n")).refused(400),
        row("size 0x2", chunked("0x2\r\n{}\r\n0\r\n\r\n")).refused(400),
        row("size -2", chunked("-2\r\n{}\r\n0\r\n\r\n")).refused(400),
        row("size +2", chunked("+2\r\n{}\r\n0\r\n\r\n")).refused(400),
        row("size of 17 digits", chunked("fffffffffffffffff\r\n{}\r\n0\r\n\r\n")).refused(400),
        row("size empty", chunked("\r\n{}\r\n0\r\n\r\n")).refused(400),
        row("data longer than the size", chunked("2\r\n{}}}\r\n0\r\n\r\n")).refused(400),
        row("end missing", chunked("2\r\n{}\r\n")).half_close().refused(400),
        row("chunk cut short", chunked("a\r\n{}")).half_close().refused(400),
        row("trailers", format!("{POST}Transfer-Encoding: chunked\r\nTrailer: X-T, Authorization\r\n\r\n2\r\n{{}}\r\n0\r\nX-T: 1\r\nAuthorization: {EVIL}\r\n\r\n"))
            .post_arrives().without(&["x-t"]),
    ]);
}

#[test]
fn exactly_one_version_of_http_is_spoken() {
    let (keyside, upstream) = keyside_and_upstream();
    run(&keyside, &upstream, vec![
        row("HTTP/1.0", "GET /v23.0/1234567890 HTTP/1.0\r\nHost: localhost\r\n\r\n").get_arrives(),
        row("HTTP/1.0 with a body", "POST /v23.0/1234567890/messages HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}").post_arrives(),
        row("HTTP/1.2", "GET /v23.0/1234567890 HTTP/1.2\r\nHost: localhost\r\n\r\n").refused(400),
        row("HTTP/0.9", "GET /v23.0/1234567890\r\n\r\n").refused(400),
        row("lower-case http/1.1", "GET /v23.0/1234567890 http/1.1\r\nHost: localhost\r\n\r\n").refused(400),
        row("empty lines first", format!("\r\n\r\n{GET}\r\n")).get_arrives(),
        row("lines ended by LF", "GET /v23.0/1234567890 HTTP/1.1\nHost: localhost\n\n").get_arrives(),
        row("a TLS hello", [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice(), &[0; 100]].concat()).refused(400),
        row("an HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").closed(),
        row("a PROXY line", format!("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n{GET}\r\n")).refused(400),
    ]);
}

#[test]
fn http_1_0_without_keep_alive_ends_after_its_answer() {
    let (keyside, _upstream) = keyside_and_upstream();
    let mut client = keyside.connect();
    let answer = client
        .ask(b"GET /v23.0/1234567890 HTTP/1.0\r\nHost: localhost\r\n\r\n")
        .unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(client.end(Duration::from_secs(2)), Some(NoAnswer::Closed));
}

#[test]
fn requests_on_one_connection_are_answered_in_order() {
    let (keyside, upstream) = keyside_and_upstream();
    let mut client = keyside.connect();
    client.send(b"GET /v23.0/1 HTTP/1.1\r\nHost: localhost\r\n\r\nGET /v23.0/2 HTTP/1.1\r\nHost: localhost\r\n\r\nGET /v23.0/3 HTTP/1.1\r\nHost: localhost\r\n\r\n");
    for id in ["1", "2", "3"] {
        assert_eq!(
            client.answer().unwrap().json()["asked"],
            format!("/v23.0/{id}")
        );
    }
    let asked: Vec<_> = upstream.requests().iter().map(Request::target).collect();
    assert_eq!(asked, ["/v23.0/1", "/v23.0/2", "/v23.0/3"]);
}

#[test]
fn bytes_after_a_body_that_are_no_request_are_refused() {
    let (keyside, upstream) = keyside_and_upstream();
    let mut client = keyside.connect().patience(Duration::from_secs(3));
    client.send(format!("{POST}Content-Length: 2\r\n\r\n{{}}XYZ\r\n\r\n").as_bytes());
    assert_eq!(client.answer().unwrap().status, 200);
    let answer = client.answer().unwrap();
    assert_eq!(answer.status, 400);
    answer.must_be_a_refusal("garbage after a body");
    assert_eq!(upstream.heads(), 1);
}

#[test]
fn an_unread_body_of_a_refused_request_is_never_a_request() {
    let (keyside, upstream) = keyside_and_upstream();
    let hidden = format!("{GET}\r\n");
    for (name, status, refused) in [
        (
            "no operation",
            403,
            format!(
                "POST /v23.0/1234567890/nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{hidden}",
                hidden.len()
            ),
        ),
        (
            "a browser",
            403,
            format!(
                "{POST}Origin: http://evil.test\r\nContent-Length: {}\r\n\r\n{hidden}",
                hidden.len()
            ),
        ),
        (
            "another host",
            421,
            format!(
                "POST {MESSAGES} HTTP/1.1\r\nHost: evil.test\r\nContent-Length: {}\r\n\r\n{hidden}",
                hidden.len()
            ),
        ),
        (
            "a wrong coding",
            400,
            format!(
                "{POST}Transfer-Encoding: gzip, chunked\r\n\r\n{:x}\r\n{hidden}\r\n0\r\n\r\n",
                hidden.len()
            ),
        ),
    ] {
        let mut client = keyside.connect().patience(Duration::from_secs(2));
        let answer = client
            .ask(refused.as_bytes())
            .unwrap_or_else(|why| panic!("{name}: {why:?}"));
        assert_eq!(answer.status, status, "{name}: {answer:?}");
        client.send(b"GET /v23.0/777 HTTP/1.1\r\nHost: localhost\r\n\r\n");
        // The visible request may be answered, or the connection may end; the hidden request never
        // arrives.
        let _ = client.answer();
        assert!(
            upstream
                .requests()
                .iter()
                .all(|request| request.target() == "/v23.0/777"),
            "{name}: {:?}",
            lines(&upstream.requests())
        );
        upstream.forget();
    }
}

#[test]
fn a_caller_that_ends_its_side_after_a_whole_request_is_answered() {
    let (keyside, upstream) = keyside_and_upstream();
    run(
        &keyside,
        &upstream,
        vec![
            row("GET", format!("{GET}\r\n")).half_close().get_arrives(),
            row("POST", format!("{POST}Content-Length: 2\r\n\r\n{{}}"))
                .half_close()
                .post_arrives(),
            row(
                "a body cut short",
                format!("{POST}Content-Length: 10\r\n\r\n{{}}"),
            )
            .half_close()
            .refused(400),
            row(
                "a head cut short",
                "POST /v23.0/1234567890/messages HTTP/1.1\r\nHost: loc",
            )
            .half_close()
            .closed(),
        ],
    );
}

#[test]
fn one_wrong_byte_in_a_head_never_makes_two_requests() {
    let (keyside, upstream) = keyside_and_upstream();
    let body = format!(
        "{{\"a\":\"GET /v23.0/666 HTTP/1.1\r\nHost: localhost\r\nAuthorization: {EVIL}\r\n\r\n\"}}"
    );
    let head = format!(
        "POST {MESSAGES} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAuthorization: Bearer {EVIL}\r\nContent-Length: {}\r\nX-A: b\r\n\r\n",
        body.len()
    );
    let places = head.len() - 4;
    let mut forwarded = 0;
    for at in 0..places {
        for wrong in *b"\0\r\n" {
            let mut request = head.clone().into_bytes();
            if request[at] == wrong {
                continue;
            }
            request[at] = wrong;
            request.extend_from_slice(body.as_bytes());
            upstream.forget();
            let mut client = Client::connect(keyside.outbound())
                .unwrap()
                .patience(Duration::from_secs(2));
            client.send(&request);
            client.half_close();
            while client.answer().is_ok() {}
            let seen = upstream.requests();
            assert!(seen.len() <= 1, "byte {at} = {wrong:?}: {:?}", lines(&seen));
            for request in &seen {
                forwarded += 1;
                assert!(
                    !contains(&request.head, EVIL.as_bytes()),
                    "byte {at} = {wrong:?}: {}",
                    shown(&request.raw)
                );
                assert_eq!(
                    request.all("authorization"),
                    [format!("Bearer {TOKEN}")],
                    "byte {at} = {wrong:?}"
                );
            }
        }
    }
    // Most requests are refused; the rest have a header with a changed name or value.
    assert!(
        forwarded < places,
        "{forwarded} of {} went through",
        places * 3
    );
    assert_eq!(
        keyside.post(MESSAGES, "{}").status,
        200,
        "and it still works"
    );
}
