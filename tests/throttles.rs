//! What the provider says of its limits is learned, and reaches the caller as it came.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::support::client::{Answer, get};
use crate::support::keyside::{Keyside, Setup};
use crate::support::load::sent_in_a_second;
use crate::support::upstream::{After, Upstream, answer, json};
use crate::support::{MESSAGES, eventually};

const HIGH: &str = "per_sender = \"1000/s\"\nper_recipient = { rate = \"1000/s\" }\nmanagement = \"1000/s\"";
const OTHER_SENDER: &str = "/v23.0/9876543210/messages";

/// An upstream that answers with the first of these that are left, and with 200 when none is.
fn upstream(answers: Vec<Vec<u8>>) -> Upstream {
    let left = Mutex::new(answers.into_iter().collect::<std::collections::VecDeque<_>>());
    Upstream::answering(move |_| left.lock().unwrap().pop_front().unwrap_or_else(|| json("{}")))
}

fn start(upstream: &Upstream, more: &str) -> Keyside {
    let route = "operations = [\"messages\", \"templates\"]\n";
    Setup::new(upstream).route(route).limits(&format!("{HIGH}\n{more}")).start()
}

fn error(status: &str, code: i64, headers: &[(&str, &str)]) -> Vec<u8> {
    let body = format!(r#"{{"error":{{"message":"(#{code}) too fast","type":"OAuthException","code":{code}}}}}"#);
    let headers: Vec<_> = [("Content-Type", "application/json")].into_iter().chain(headers.iter().copied()).collect();
    answer(status, &headers, body.as_bytes())
}

fn send(keyside: &Keyside, path: &str, to: &str) -> Answer {
    keyside.post(path, &format!(r#"{{"to":"{to}","type":"text"}}"#))
}

#[test]
fn an_account_that_is_paused_stops_those_who_wait_already() {
    let upstream = Upstream::answering(|request| match String::from_utf8_lossy(&request.body).contains("15550009") {
        true => error("400 Bad Request", 80_007, &[("Retry-After", "60")]),
        false => json("{}"),
    });
    let keyside = Setup::new(&upstream).limits("per_sender = \"2/s\"\nmax_wait = \"20s\"").start();
    thread::scope(|scope| {
        let callers: Vec<_> = (0..8).map(|_| scope.spawn(|| send(&keyside, MESSAGES, "15550001").status)).collect();
        let waiting = || keyside.status()["routes"][0]["limit"]["waiting"].as_u64();
        assert!(eventually(Duration::from_secs(2), || waiting() >= Some(5)));
        assert_eq!(send(&keyside, OTHER_SENDER, "15550009").status, 400);
        let passed = callers.into_iter().map(|caller| caller.join().unwrap());
        let passed = passed.filter(|status| *status == 200).count();
        assert!((2..=4).contains(&passed), "{passed} passed");
    });
}

/// The status, and for a refusal of Keyside's own the code and the seconds to wait.
fn outcome(answer: &Answer) -> (u16, i64, u64) {
    let code = answer.json()["error"]["code"].as_i64().unwrap_or_default();
    let seconds = answer.header("retry-after").and_then(|text| text.parse().ok()).unwrap_or_default();
    (answer.status, code, seconds)
}

#[test]
fn a_throttle_pauses_what_it_is_of_and_nothing_else() {
    let usage = r#"{"102290129340398":[{"type":"whatsapp","call_count":100,"total_cputime":1,"total_time":1,"estimated_time_to_regain_access":3}]}"#;
    let usage = ("X-Business-Use-Case-Usage", usage);
    let (sender, recipient, account) = ((429, 130_429), (429, 131_056), (429, 80_007));
    let passes = (200, 0);
    // What it answers, then what becomes of a message to the same, to another recipient, of another sender; and seconds.
    let table = [
        ("400 Bad Request", 130_429, &[][..], sender, sender, passes, 1..=1),
        ("429 Too Many Requests", 130_429, &[], sender, sender, passes, 1..=1),
        ("400 Bad Request", 130_429, &[("Retry-After", "7")], sender, sender, passes, 6..=7),
        ("400 Bad Request", 131_056, &[], recipient, passes, passes, 1..=1),
        ("429 Too Many Requests", 131_056, &[], recipient, passes, passes, 1..=1),
        ("500 Bad Request", 131_057, &[], sender, sender, passes, 59..=60),
        ("400 Bad Request", 80_007, &[usage], account, account, account, 179..=180),
        ("429 Too Many Requests", 80_008, &[], account, account, account, 59..=60),
        ("400 Bad Request", 4, &[], account, account, account, 59..=60),
        ("403 Forbidden", 4, &[usage], account, account, account, 179..=180),
        ("429 Too Many Requests", 555, &[], sender, sender, passes, 1..=1),
        ("400 Bad Request", 131_048, &[], passes, passes, passes, 0..=0),
        ("400 Bad Request", 100, &[], passes, passes, passes, 0..=0),
    ];
    for (status, code, headers, same, other_recipient, other_sender, seconds) in table {
        let row = format!("{status} {code} {headers:?}");
        let upstream = upstream(vec![error(status, code, headers)]);
        let keyside = start(&upstream, "max_wait = \"100ms\"");
        let first = send(&keyside, MESSAGES, "15550001");
        assert_eq!((first.status.to_string().as_str(), first.slug()), (&status[..3], ""), "{row}: as it came");
        assert_eq!(first.json()["error"]["message"], format!("(#{code}) too fast"), "{row}");
        for (path, to, expected) in [
            (MESSAGES, "15550001", same),
            (MESSAGES, "15550002", other_recipient),
            (OTHER_SENDER, "15550001", other_sender),
        ] {
            let (status, code, after) = outcome(&send(&keyside, path, to));
            assert_eq!((status, code), expected, "{row}: {path} {to}");
            assert!(status == 200 || seconds.contains(&after), "{row}: {after} s");
        }
    }
}

#[test]
fn a_pause_ends_and_each_one_in_a_row_is_longer() {
    let throttled = || error("400 Bad Request", 131_056, &[]);
    let upstream = upstream(vec![throttled(), throttled()]);
    let keyside = start(&upstream, "max_wait = \"100ms\"");
    assert_eq!(send(&keyside, MESSAGES, "15550001").status, 400);
    assert!(eventually(Duration::from_secs(2), || send(&keyside, MESSAGES, "15550001").status == 400));
    let (status, _, seconds) = outcome(&send(&keyside, MESSAGES, "15550001"));
    assert_eq!((status, seconds), (429, 4), "1 second, then 4");
    let limit = keyside.status()["routes"][0]["limit"].clone();
    assert_eq!(limit["recipients_paused"], 1, "{limit}");
    assert!(limit["recipients_paused_seconds"].as_f64() > Some(3.0), "{limit}");
    assert_eq!(keyside.metric("keyside_throttled_total", &["limit=\"recipient\""]), 2.0);
}

#[test]
fn after_a_throttle_a_sender_goes_slower_and_finds_its_pace_again() {
    let upstream = upstream(vec![error("400 Bad Request", 130_429, &[])]);
    let limits = "per_sender = \"100/s\"\nper_recipient = { rate = \"1000/s\" }\nmax_wait = \"5s\"";
    let keyside = Setup::new(&upstream).limits(limits).start();
    assert_eq!(keyside.post(MESSAGES, "{}").status, 400);
    let paused = sent_in_a_second(&keyside);
    assert!(paused <= 5, "{paused} in the second of the pause");
    let slow = sent_in_a_second(&keyside);
    assert!((35..=65).contains(&slow), "{slow} at half the pace");
    thread::sleep(Duration::from_secs(4));
    let recovered = sent_in_a_second(&keyside);
    assert!(recovered >= 95, "{recovered} when it is over");
}

#[test]
fn headers_tell_before_it_is_too_late() {
    let usage = r#"{"102290129340398":[{"type":"whatsapp_business_management","call_count":94,"total_cputime":1,"total_time":1,"estimated_time_to_regain_access":0}]}"#;
    let near = answer("200 OK", &[("Content-Type", "application/json"), ("X-Business-Use-Case-Usage", usage)], b"{}");
    let empty = answer("200 OK", &[("Content-Type", "application/json"), ("RateLimit", "\"a\";r=0;t=9")], b"{}");
    let upstream = upstream(vec![near, empty]);
    let keyside = start(&upstream, "max_wait = \"100ms\"");
    let templates = get("/v23.0/102290129340398/message_templates");
    let first = keyside.send(&templates);
    assert_eq!((first.status, first.header("x-business-use-case-usage")), (200, Some(usage)), "it reaches the caller");
    assert_eq!(outcome(&keyside.send(&templates)), (429, 80_007, 5));
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200, "messages are not concerned");
    let (status, code, seconds) = outcome(&keyside.post(MESSAGES, "{}"));
    assert!((status, code) == (429, 130_429) && (8..=9).contains(&seconds), "{seconds}");
}

#[test]
fn a_throttled_message_goes_out_again_where_the_route_says_so() {
    let arrivals = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&arrivals);
    let upstream = Upstream::scripted(move |_, wire| match counted.fetch_add(1, Ordering::Relaxed) {
        0 => {
            wire.write(&error("400 Bad Request", 130_429, &[]));
            After::Keep
        }
        1 => {
            wire.write(&json(r#"{"messages":[{"id":"wamid.1"}]}"#));
            After::Keep
        }
        // An answer that is lost: nobody knows what became of the message.
        _ => After::Close,
    });
    let keyside = start(&upstream, "retry = \"throttled\"\nmax_wait = \"3s\"");
    let answer = keyside.post(MESSAGES, "{}");
    assert_eq!(answer.text(), r#"{"messages":[{"id":"wamid.1"}]}"#);
    assert_eq!(arrivals.load(Ordering::Relaxed), 2);
    let lost = keyside.post(MESSAGES, "{}");
    assert_eq!((lost.status, arrivals.load(Ordering::Relaxed)), (502, 3), "never where the outcome is unknown");
}

#[test]
fn what_cannot_go_out_again_in_time_is_the_providers_answer() {
    let upstream = upstream(vec![error("429 Too Many Requests", 130_429, &[("Retry-After", "30")])]);
    let keyside = start(&upstream, "retry = \"throttled\"\nmax_wait = \"1s\"");
    let answer = keyside.post(MESSAGES, "{}");
    assert_eq!((answer.status, answer.slug(), answer.header("retry-after")), (429, "", Some("30")));
    assert_eq!(upstream.arrivals(), 1);
}
