//! Upstream faults: the answers to a client if the provider or the network fails. A POST is never sent twice.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::authority::Certificate;
use crate::support::client::{Answer, Client, NoAnswer, get, post, upload};
use crate::support::keyside::{Keyside, Setup, free_port};
use crate::support::upstream::{After, Request, Upstream, Wire, answer, json};
use crate::support::{MEDIA, MESSAGES, TOKEN, contains, eventually, noise, shown};

/// The expected outcome of a broken answer for a client.
enum Want {
    /// 502 `upstream_protocol`.
    Refused,
    /// The beginning of the answer, and then the end of the connection.
    Cut,
    /// An answer with this status and body.
    Whole(u16, &'static str),
}

/// A broken answer: the bytes, and the fate of the connection.
struct Fault {
    name: &'static str,
    bytes: Vec<u8>,
    after: After,
    want: Want,
}

fn fault(name: &'static str, bytes: impl AsRef<[u8]>, after: After, want: Want) -> Fault {
    Fault {
        name,
        bytes: bytes.as_ref().to_vec(),
        after,
        want,
    }
}

fn faults() -> Vec<Fault> {
    use After::{Close, Cut, Keep, Reset};
    use Want::{Refused, Whole};
    let headers = |count: usize| {
        (0..count)
            .map(|number| format!("X-{number}: a\r\n"))
            .collect::<String>()
    };
    vec![
        fault("nothing, then FIN", "", Cut, Refused),
        fault("nothing, then RST", "", Reset, Refused),
        fault(
            "half a head, then FIN",
            "HTTP/1.1 200 OK\r\nContent-Le",
            Cut,
            Refused,
        ),
        fault(
            "half a head, then RST",
            "HTTP/1.1 200 OK\r\nContent-Le",
            Reset,
            Refused,
        ),
        fault(
            "short body",
            "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
            Cut,
            Refused,
        ),
        fault(
            "short body, then RST",
            "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
            Reset,
            Refused,
        ),
        fault(
            "short picture",
            "HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: 10\r\n\r\nabc",
            Cut,
            Want::Cut,
        ),
        fault(
            "short JSON",
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{}",
            Close,
            Refused,
        ),
        fault(
            "short chunked body",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
            Cut,
            Refused,
        ),
        fault(
            "short chunked JSON",
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
            Close,
            Refused,
        ),
        fault(
            "broken chunk",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
            Keep,
            Refused,
        ),
        fault(
            "length and chunked",
            "HTTP/1.1 200 OK\r\nContent-Length: 30\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            Keep,
            Refused,
        ),
        fault(
            "chunked and length",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 30\r\n\r\n0\r\n\r\n",
            Keep,
            Refused,
        ),
        fault(
            "two different lengths",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
            Keep,
            Refused,
        ),
        fault(
            "two equal lengths",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab",
            Keep,
            Whole(200, "ab"),
        ),
        fault(
            "two equal lengths in one line",
            "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nab",
            Keep,
            Whole(200, "ab"),
        ),
        fault(
            "two different lengths in one line",
            "HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nabc",
            Keep,
            Refused,
        ),
        fault(
            "interim answers without an end",
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(40),
            Keep,
            Refused,
        ),
        fault(
            "trailers without an end",
            format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n{}",
                "X-Trailer: 1\r\n".repeat(6000)
            ),
            Keep,
            Refused,
        ),
        fault(
            "length +2",
            "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nab",
            Keep,
            Refused,
        ),
        fault(
            "length abc",
            "HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\nab",
            Keep,
            Refused,
        ),
        fault(
            "coding gzip",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nab",
            Close,
            Refused,
        ),
        fault(
            "coding gzip, chunked",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
            Keep,
            Refused,
        ),
        fault(
            "coding twice",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
            Keep,
            Refused,
        ),
        fault(
            "101 that nobody asked for",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nrawdata",
            Cut,
            Refused,
        ),
        fault(
            "103, then 200",
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            Keep,
            Whole(200, "ok"),
        ),
        fault(
            "100, then 200",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            Keep,
            Whole(200, "ok"),
        ),
        fault(
            "no reason phrase",
            "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok",
            Keep,
            Whole(200, "ok"),
        ),
        fault(
            "HTTP/1.0",
            "HTTP/1.0 200 OK\r\n\r\nok",
            Close,
            Whole(200, "ok"),
        ),
        fault(
            "body until the end of the connection",
            "HTTP/1.1 200 OK\r\n\r\nok",
            Close,
            Whole(200, "ok"),
        ),
        fault(
            "150 headers",
            format!(
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{}\r\nok",
                headers(150)
            ),
            Keep,
            Refused,
        ),
        fault(
            "500 KB header",
            format!(
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: {}\r\n\r\nok",
                "a".repeat(500_000)
            ),
            Keep,
            Refused,
        ),
        fault(
            "204 with a body",
            "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok",
            Keep,
            Whole(204, ""),
        ),
        fault("garbage", "\0\u{1}garbage\r\n\r\n", Cut, Refused),
        fault(
            "CR in a value",
            "HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 2\r\n\r\nok",
            Keep,
            Refused,
        ),
        fault(
            "NUL in a value",
            "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nok",
            Keep,
            Refused,
        ),
        fault(
            "HTTP/2",
            "HTTP/2 200 OK\r\nContent-Length: 2\r\n\r\nok",
            Keep,
            Refused,
        ),
        fault(
            "lines ended by LF",
            "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
            Keep,
            Whole(200, "ok"),
        ),
    ]
}

/// A number in the path chooses the fault, so a single Keyside meets all faults.
fn faulty() -> Upstream {
    let faults = faults();
    Upstream::scripted(move |request, wire| {
        let number = request
            .header("x-fault")
            .and_then(|number| number.parse::<usize>().ok());
        let Some(fault) = number.and_then(|number| faults.get(number)) else {
            wire.write(&answer("200 OK", &[], b"fine"));
            return After::Keep;
        };
        wire.write(&fault.bytes);
        if fault.after != After::Keep && !fault.bytes.is_empty() {
            // The bytes arrive before the end.
            thread::sleep(Duration::from_millis(30));
        }
        fault.after
    })
}

fn check_fault(fault: &Fault, is_post: bool, outcome: Result<Answer, NoAnswer>) {
    match (&fault.want, outcome) {
        (Want::Refused, Ok(answer)) => {
            assert_eq!(
                (answer.status, answer.slug()),
                (502, "upstream_protocol"),
                "{answer:?}"
            );
            answer.must_be_a_refusal(fault.name);
            if is_post {
                assert_eq!(
                    answer.json()["error"]["keyside"]["outcome"],
                    "unknown",
                    "a POST was written: {}",
                    answer.text()
                );
            }
        }
        (Want::Cut, Err(NoAnswer::Cut(_))) => {}
        (Want::Cut, Ok(answer)) => panic!("a whole answer: {answer:?}"),
        (Want::Whole(status, body), Ok(answer)) => {
            assert_eq!(
                (
                    answer.version.as_str(),
                    answer.status,
                    answer.text().as_str()
                ),
                ("HTTP/1.1", *status, *body)
            );
            assert!(
                answer.interim.is_empty(),
                "an interim answer of the upstream's came through: {answer:?}"
            );
        }
        (_, Err(why)) => panic!("{why:?}"),
    }
}

fn run_faults(method: &'static str) {
    let upstream = faulty();
    let keyside = Keyside::start(&upstream);
    let mut failures = Vec::new();
    for (number, fault) in faults().iter().enumerate() {
        upstream.forget();
        let request = match method {
            "POST" => format!(
                "POST {MESSAGES} HTTP/1.1\r\nHost: localhost\r\nX-Fault: {number}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
            ),
            _ => format!("GET {MEDIA} HTTP/1.1\r\nHost: localhost\r\nX-Fault: {number}\r\n\r\n"),
        };
        let outcome = keyside
            .connect()
            .patience(Duration::from_secs(5))
            .ask(request.as_bytes());
        let next = keyside.ask(&get(MEDIA));
        let sent = upstream
            .requests()
            .iter()
            .filter(|request| request.header("x-fault").is_some())
            .count();
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            check_fault(fault, method == "POST", outcome);
            assert!(sent == 1, "sent {sent} times");
            assert!(
                next.as_ref().is_ok_and(|answer| answer.text() == "fine"),
                "the next request: {next:?}"
            );
        }));
        if let Err(panic) = checked {
            failures.push(format!(
                "{}: {}",
                fault.name,
                panic.downcast_ref::<String>().cloned().unwrap_or_default()
            ));
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {} failed:\n{}",
        failures.len(),
        faults().len(),
        failures.join("\n")
    );
}

#[test]
fn a_broken_answer_to_a_get_is_a_502_or_cut_but_never_a_clean_end() {
    run_faults("GET");
}

#[test]
fn a_broken_answer_to_a_post_is_told_as_an_unknown_outcome_and_it_is_sent_once() {
    run_faults("POST");
}

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
fn an_upstream_that_refuses_connections_is_unreachable_at_once() {
    let port = free_port();
    let keyside = Setup::at(&format!("https://127.0.0.1:{port}")).start();
    for (request, is_post) in [(get(MEDIA), false), (post(MESSAGES, "{}"), true)] {
        let began = Instant::now();
        let answer = keyside.send(&request);
        assert!(
            began.elapsed() < crate::support::stretched(Duration::from_secs(1)),
            "took {:?}",
            began.elapsed()
        );
        assert_eq!(
            (answer.status, answer.slug()),
            (502, "upstream_unreachable")
        );
        answer.must_be_a_refusal("refused connection");
        if is_post {
            assert_ne!(
                answer.json()["error"]["keyside"]["outcome"],
                "unknown",
                "nothing was written"
            );
        }
    }
}

#[test]
fn what_goes_wrong_is_counted_by_its_class() {
    let upstream = Upstream::plain(|_, wire| {
        wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nab");
        After::Keep
    });
    let keyside = Keyside::start(&upstream);
    let errors = || {
        keyside.metric(
            "keyside_upstream_errors_total",
            &["route=\"acme\"", "class="],
        )
    };
    assert!(errors() < 0.5);
    for _ in 0..3 {
        assert_eq!(keyside.post(MESSAGES, "{}").status, 502);
    }
    assert!((errors() - 3.0).abs() < 0.1, "{}", keyside.metrics());
    let failed = keyside.metric(
        "keyside_requests_total",
        &["route=\"acme\"", "operation=\"messages\""],
    );
    assert!((failed - 3.0).abs() < 0.1, "{}", keyside.metrics());
}

#[test]
fn a_host_without_an_address_is_unreachable() {
    let keyside = Setup::at("https://nowhere.invalid:443").start();
    let answer = keyside
        .connect()
        .patience(Duration::from_secs(8))
        .ask(&get(MEDIA))
        .unwrap();
    assert_eq!(
        (answer.status, answer.slug()),
        (502, "upstream_unreachable")
    );
    answer.must_be_a_refusal("no address");
}

#[test]
fn an_upstream_that_hangs_holds_up_nobody_else() {
    let upstream = Upstream::scripted(|request, wire| {
        if request.header("x-hang").is_some() {
            wire.hang();
            return After::Cut;
        }
        wire.write(&json("{}"));
        After::Keep
    });
    let mut keyside = Keyside::start(&upstream);
    keyside.leave_connections();
    let hanging = format!(
        "POST {MESSAGES} HTTP/1.1\r\nHost: localhost\r\nX-Hang: 1\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
    );
    let mut waiting: Vec<Client> = (0..50).map(|_| keyside.connect()).collect();
    for client in &mut waiting {
        client.send(hanging.as_bytes());
    }
    assert!(
        upstream.wait_for(50, Duration::from_secs(5)),
        "{} of 50 arrived",
        upstream.heads()
    );
    for _ in 0..20 {
        let began = Instant::now();
        assert_eq!(keyside.get(MEDIA).status, 200);
        assert!(
            began.elapsed() < crate::support::stretched(Duration::from_secs(1)),
            "took {:?}",
            began.elapsed()
        );
    }
}

#[test]
fn a_media_download_that_breaks_off_is_seen_to_break_off() {
    for after in [After::Cut, After::Reset] {
        let upstream = Upstream::scripted(move |_, wire| {
            wire.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: 1000000\r\n\r\n",
            );
            wire.write(&noise(300_000));
            thread::sleep(Duration::from_millis(50));
            after
        });
        let keyside = Keyside::start(&upstream);
        let outcome = keyside.ask(&get("/whatsapp_business/attachments/?mid=1"));
        assert!(
            matches!(outcome, Err(NoAnswer::Cut(_))),
            "{after:?}: {:?}",
            outcome.map(|answer| answer.status)
        );
    }
}

#[test]
fn a_chunked_download_that_breaks_off_is_seen_to_break_off() {
    for after in [After::Close, After::Cut, After::Reset] {
        let upstream = Upstream::scripted(move |_, wire| {
            wire.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nTransfer-Encoding: chunked\r\n\r\n");
            wire.write(
                &[
                    format!("{:x}\r\n", 300_000).into_bytes(),
                    noise(300_000),
                    b"\r\n".to_vec(),
                ]
                .concat(),
            );
            thread::sleep(Duration::from_millis(50));
            after
        });
        let keyside = Keyside::start(&upstream);
        let outcome = keyside.ask(&get("/whatsapp_business/attachments/?mid=1"));
        assert!(
            matches!(outcome, Err(NoAnswer::Cut(_))),
            "{after:?}: {:?}",
            outcome.map(|answer| answer.status)
        );
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
fn bytes_after_an_answer_are_never_the_next_answer() {
    let upstream = Upstream::scripted(|request, wire| {
        if request.header("x-extra").is_some() {
            wire.write(
                b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nEVIL!",
            );
        } else {
            wire.write(&answer("200 OK", &[], b"ok"));
        }
        After::Keep
    });
    let keyside = Keyside::start(&upstream);
    let extra = format!("GET {MEDIA} HTTP/1.1\r\nHost: localhost\r\nX-Extra: 1\r\n\r\n");
    let mut client = keyside.connect();
    for round in 0..200 {
        for request in [extra.as_bytes(), &get(MEDIA)] {
            let answer = client
                .ask(request)
                .unwrap_or_else(|why| panic!("round {round}: {why:?}"));
            assert_eq!(
                (answer.status, answer.text().as_str()),
                (200, "ok"),
                "round {round}"
            );
        }
    }
}

#[test]
fn bytes_that_come_late_after_an_answer_are_never_the_next_answer() {
    let upstream = Upstream::scripted(|request, wire| {
        wire.write(&answer("200 OK", &[], b"ok"));
        if request.header("x-extra").is_some() {
            thread::sleep(Duration::from_millis(100));
            wire.write(&answer("200 OK", &[], b"EVIL!"));
        }
        After::Keep
    });
    let keyside = Keyside::start(&upstream);
    for wait in [150, 200, 300] {
        let answer = keyside.send(
            format!("GET {MEDIA} HTTP/1.1\r\nHost: localhost\r\nX-Extra: 1\r\n\r\n").as_bytes(),
        );
        assert_eq!(answer.text(), "ok");
        thread::sleep(Duration::from_millis(wait));
        let answer = keyside.get(MEDIA);
        assert!(
            !contains(&answer.body, b"EVIL"),
            "after {wait} ms: {answer:?}"
        );
    }
}

#[test]
fn a_post_on_a_connection_that_dies_under_it_is_sent_once() {
    let upstream = Upstream::scripted(|request, wire| {
        if request.method() == "POST" {
            return if request.header("x-reset").is_some() {
                After::Reset
            } else {
                After::Cut
            };
        }
        wire.write(&json("{}"));
        After::Keep
    });
    let keyside = Keyside::start(&upstream);
    let mut client = keyside.connect();
    let mut reused = 0;
    for round in 0..200 {
        upstream.forget();
        assert_eq!(client.ask(&get(MEDIA)).unwrap().status, 200);
        let reset = if round % 2 == 0 { "X-Reset: 1\r\n" } else { "" };
        let answer = client
            .ask(format!("POST {MESSAGES} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{reset}Content-Length: 9\r\n\r\n{{\"n\":{round:3}}}").as_bytes())
            .unwrap_or_else(|why| panic!("round {round}: {why:?}"));
        assert_eq!(answer.status, 502, "round {round}: {answer:?}");
        assert_eq!(
            answer.json()["error"]["keyside"]["outcome"],
            "unknown",
            "round {round}"
        );
        let posts: Vec<Request> = upstream
            .requests()
            .into_iter()
            .filter(|request| request.method() == "POST")
            .collect();
        assert_eq!(posts.len(), 1, "round {round}");
        reused += usize::from(posts[0].turn > 1);
    }
    assert!(
        reused > 100,
        "only {reused} of 200 met a pooled connection: the test tests nothing"
    );
}

#[test]
fn a_post_that_races_with_the_end_of_an_idle_connection_is_sent_at_most_once() {
    let upstream = Upstream::scripted(|request, wire| {
        wire.write(&json("{}"));
        // The connection ends at once, or just as the next request leaves.
        if request.method() == "GET" {
            thread::sleep(Duration::from_micros(
                request
                    .header("x-wait")
                    .and_then(|wait| wait.parse().ok())
                    .unwrap_or(0),
            ));
            return if request.header("x-reset").is_some() {
                After::Reset
            } else {
                After::Cut
            };
        }
        After::Keep
    });
    let keyside = Keyside::start(&upstream);
    let mut client = keyside.connect();
    for round in 0..200_u64 {
        upstream.forget();
        let reset = if round % 2 == 0 { "X-Reset: 1\r\n" } else { "" };
        let warm = format!(
            "GET {MEDIA} HTTP/1.1\r\nHost: localhost\r\nX-Wait: {}\r\n{reset}\r\n",
            round * 10
        );
        assert_eq!(
            client.ask(warm.as_bytes()).unwrap().status,
            200,
            "round {round}"
        );
        let answer = client
            .ask(&post(MESSAGES, "{}"))
            .unwrap_or_else(|why| panic!("round {round}: {why:?}"));
        let posts = upstream
            .requests()
            .iter()
            .filter(|request| request.method() == "POST")
            .count();
        match answer.status {
            200 => assert_eq!(posts, 1, "round {round}"),
            502 => assert!(posts <= 1, "round {round}: sent {posts} times"),
            _ => panic!("round {round}: {answer:?}"),
        }
    }
}

#[test]
fn a_connection_that_ended_while_idle_is_replaced_without_a_word() {
    let upstream = Upstream::scripted(|_, wire| {
        wire.write(&json("{}"));
        thread::sleep(Duration::from_millis(30));
        After::Close
    });
    let keyside = Keyside::start(&upstream);
    for round in 0..10 {
        upstream.forget();
        assert_eq!(keyside.post(MESSAGES, "{}").status, 200, "round {round}");
        assert_eq!(upstream.heads(), 1, "round {round}");
        thread::sleep(Duration::from_millis(80));
    }
}

#[test]
fn an_early_answer_to_an_upload_is_delivered() {
    let upstream = Upstream::raw(|wire: &mut Wire| {
        if wire.head().is_none() {
            return After::Close;
        }
        wire.write(b"HTTP/1.1 413 Payload Too Large\r\nContent-Type: application/json\r\nContent-Length: 13\r\nConnection: close\r\n\r\n{\"too\":\"big\"}");
        wire.drain(Duration::from_secs(3));
        After::Close
    });
    let keyside = Keyside::start(&upstream);
    let mut client = keyside.connect();
    let upload = upload(&noise(20 << 20));
    let mut writer = client.writer();
    let sending = thread::spawn(move || {
        let _ = writer.write_all(&upload);
    });
    let answer = client.answer();
    drop(client);
    let _ = sending.join();
    let answer = answer.unwrap_or_else(|why| panic!("{why:?}"));
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (413, r#"{"too":"big"}"#)
    );
    assert_eq!(answer.slug(), "", "it is the provider's answer, not ours");
    assert_eq!(upstream.heads(), 1);
}

#[test]
fn a_caller_that_sends_all_of_an_upload_before_it_reads_gets_the_early_answer() {
    let upstream = Upstream::raw(|wire: &mut Wire| {
        if wire.head().is_none() {
            return After::Close;
        }
        wire.write(&answer(
            "401 Unauthorized",
            &[("Content-Type", "application/json")],
            b"{}",
        ));
        wire.drain(Duration::from_secs(3));
        After::Close
    });
    let keyside = Keyside::start(&upstream);
    for round in 0..5 {
        let mut client = keyside.connect();
        let upload = upload(&noise(20 << 20));
        assert!(client.send(&upload), "round {round}: cut off while it sent");
        assert_eq!(
            client.answer().map(|answer| answer.status).ok(),
            Some(401),
            "round {round}"
        );
    }
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
    // Each status with a sender of its own, since Keyside may learn from a throttle and pause the sender.
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

#[test]
fn a_certificate_that_does_not_prove_the_upstream_gets_no_byte_of_a_request() {
    use Certificate::{Expired, NotYetValid, SelfSigned, UnknownAuthority, WrongHost};
    for certificate in [
        Expired,
        NotYetValid,
        WrongHost,
        UnknownAuthority,
        SelfSigned,
    ] {
        let upstream = Upstream::with_certificate(certificate);
        let keyside = Keyside::start(&upstream);
        for request in [get(MEDIA), post(MESSAGES, "{}")] {
            let answer = keyside.send(&request);
            assert_eq!(
                (answer.status, answer.slug()),
                (502, "upstream_tls"),
                "{certificate:?}: {}",
                answer.text()
            );
            answer.must_be_a_refusal("certificate");
            assert_ne!(
                answer.json()["error"]["keyside"]["outcome"],
                "unknown",
                "{certificate:?}: nothing was written"
            );
        }
        assert_eq!(upstream.bytes(), 0, "{certificate:?}");
        assert!(
            upstream.connections() > 0,
            "{certificate:?}: it was never tried"
        );
    }
}

#[test]
fn a_good_certificate_is_accepted_by_name_and_by_address() {
    let upstream = Upstream::ok();
    for host in ["localhost", "127.0.0.1"] {
        let keyside = Setup::at(&format!("https://{host}:{}", upstream.port())).start();
        assert_eq!(keyside.post(MESSAGES, "{}").status, 200, "{host}");
        assert_eq!(
            upstream.last().header("host"),
            Some(format!("{host}:{}", upstream.port()))
        );
    }
}

#[test]
fn an_upstream_that_speaks_no_tls_is_a_tls_error() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let keyside = Setup::at(&format!("https://{}", listener.local_addr().unwrap())).start();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(
                b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            );
        }
    });
    let answer = keyside.post(MESSAGES, "{}");
    assert_eq!(
        (answer.status, answer.slug()),
        (502, "upstream_tls"),
        "{}",
        answer.text()
    );
    answer.must_be_a_refusal("no TLS");
}

#[test]
fn a_handshake_that_does_not_come_is_a_timeout_with_a_known_outcome() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let keyside = Setup::at(&format!("https://{}", listener.local_addr().unwrap())).start();
    let answer = keyside
        .connect()
        .patience(Duration::from_secs(9))
        .ask(&post(MESSAGES, "{}"))
        .unwrap();
    assert_eq!((answer.status, answer.slug()), (504, "upstream_timeout"));
    answer.must_be_a_refusal("handshake");
    assert_ne!(
        answer.json()["error"]["keyside"]["outcome"],
        "unknown",
        "nothing was written"
    );
}

#[test]
fn sending_recovers_as_soon_as_the_upstream_does() {
    let broken = Arc::new(AtomicBool::new(true));
    let state = Arc::clone(&broken);
    let upstream = Upstream::scripted(move |_, wire| {
        if state.load(Ordering::Relaxed) {
            return After::Reset;
        }
        wire.write(&json("{}"));
        After::Keep
    });
    let keyside = Keyside::start(&upstream);
    for _ in 0..200 {
        assert_eq!(keyside.post(MESSAGES, "{}").status, 502);
    }
    assert_eq!(upstream.heads(), 200, "one try each");
    broken.store(false, Ordering::Relaxed);
    let healed = eventually(Duration::from_secs(1), || {
        keyside
            .ask(&post(MESSAGES, "{}"))
            .is_ok_and(|answer| answer.status == 200)
    });
    assert!(healed, "still broken after a second");
}

#[test]
fn a_send_goes_on_to_its_end_when_the_caller_hangs_up() {
    let upstream = Upstream::scripted(|_, wire| {
        thread::sleep(Duration::from_millis(300));
        wire.write(&json("{}"));
        After::Keep
    });
    let keyside = Keyside::start(&upstream);
    let before = keyside.descriptors();
    for round in 1..=20 {
        let mut client = keyside.connect();
        client.send(&post(MESSAGES, "{}"));
        assert!(upstream.wait_for(round, Duration::from_secs(2)));
        drop(client);
    }
    let calm = eventually(Duration::from_secs(5), || {
        keyside.descriptors() <= before + 40 && keyside.ask(&get(MEDIA)).is_ok()
    });
    assert!(
        calm,
        "{} descriptors, {before} before",
        keyside.descriptors()
    );
    let posts: Vec<_> = upstream
        .requests()
        .into_iter()
        .filter(|request| request.method() == "POST")
        .collect();
    assert_eq!(posts.len(), 20);
    assert!(
        posts.iter().all(|request| request.complete),
        "{}",
        shown(&posts[0].raw)
    );
}
