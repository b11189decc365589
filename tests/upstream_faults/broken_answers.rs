//! Broken answers: the application sees a refusal or a cut, and never a clean end.

use std::thread;
use std::time::Duration;

use crate::support::client::{Answer, NoAnswer, get};
use crate::support::keyside::Keyside;
use crate::support::upstream::{After, Upstream, answer};
use crate::support::{MEDIA, MESSAGES};

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
