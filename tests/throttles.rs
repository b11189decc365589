//! Throttles: lessons from the provider's answers. The answers reach the application unchanged.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::support::client::{Answer, get};
use crate::support::keyside::{Keyside, Setup};
use crate::support::load::sent_in_a_second;
use crate::support::upstream::{After, Upstream, answer, json};
use crate::support::{MESSAGES, eventually};

const HIGH: &str =
    "per_sender = \"1000/s\"\nper_recipient = { rate = \"1000/s\" }\nmanagement = \"1000/s\"";
const OTHER_SENDER: &str = "/v23.0/9876543210/messages";

/// An upstream with each of the answers once, then 200.
fn upstream(answers: Vec<Vec<u8>>) -> Upstream {
    let left = Mutex::new(
        answers
            .into_iter()
            .collect::<std::collections::VecDeque<_>>(),
    );
    Upstream::answering(move |_| {
        left.lock()
            .unwrap()
            .pop_front()
            .unwrap_or_else(|| json("{}"))
    })
}

fn start(upstream: &Upstream, more: &str) -> Keyside {
    let route = "operations = [\"messages\", \"templates\"]\n";
    Setup::new(upstream)
        .route(route)
        .limits(&format!("{HIGH}\n{more}"))
        .start()
}

fn error(status: &str, code: i64, headers: &[(&str, &str)]) -> Vec<u8> {
    let body = format!(
        r#"{{"error":{{"message":"(#{code}) too fast","type":"OAuthException","code":{code}}}}}"#
    );
    let headers: Vec<_> = [("Content-Type", "application/json")]
        .into_iter()
        .chain(headers.iter().copied())
        .collect();
    answer(status, &headers, body.as_bytes())
}

fn send(keyside: &Keyside, path: &str, to: &str) -> Answer {
    keyside.post(path, &format!(r#"{{"to":"{to}","type":"text"}}"#))
}

#[test]
fn a_paused_account_stops_requests_that_wait_already() {
    let upstream = Upstream::answering(|request| {
        match String::from_utf8_lossy(&request.body).contains("15550009") {
            true => error("400 Bad Request", 80_007, &[("Retry-After", "60")]),
            false => json("{}"),
        }
    });
    let keyside = Setup::new(&upstream)
        .limits("per_sender = \"2/s\"\nmax_wait = \"20s\"")
        .start();
    thread::scope(|scope| {
        let callers: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| send(&keyside, MESSAGES, "15550001").status))
            .collect();
        let waiting = || keyside.status()["routes"][0]["limit"]["waiting"].as_u64();
        assert!(eventually(Duration::from_secs(2), || waiting() >= Some(5)));
        assert_eq!(send(&keyside, OTHER_SENDER, "15550009").status, 400);
        let passed = callers.into_iter().map(|caller| caller.join().unwrap());
        let passed = passed.filter(|status| *status == 200).count();
        assert!((2..=4).contains(&passed), "{passed} passed");
    });
}

/// Status of an answer; for a refusal by Keyside also the code and the seconds to wait.
fn outcome(answer: &Answer) -> (u16, i64, u64) {
    let code = answer.json()["error"]["code"].as_i64().unwrap_or_default();
    let seconds = answer
        .header("retry-after")
        .and_then(|text| text.parse().ok())
        .unwrap_or_default();
    (answer.status, code, seconds)
}

#[test]
fn a_throttle_pauses_what_it_is_of_and_nothing_else() {
    let usage = r#"{"102290129340398":[{"type":"whatsapp","call_count":100,"total_cputime":1,"total_time":1,"estimated_time_to_regain_access":3}]}"#;
    let usage = ("X-Business-Use-Case-Usage", usage);
    let (sender, recipient, account) = ((429, 130_429), (429, 131_056), (429, 80_007));
    let passes = (200, 0);
    // Answer of the provider; outcomes of a message to the old recipient, to a new one, of a new
    // sender; seconds.
    let table = [
        (
            "400 Bad Request",
            130_429,
            &[][..],
            sender,
            sender,
            passes,
            1..=1,
        ),
        (
            "429 Too Many Requests",
            130_429,
            &[],
            sender,
            sender,
            passes,
            1..=1,
        ),
        (
            "400 Bad Request",
            130_429,
            &[("Retry-After", "7")],
            sender,
            sender,
            passes,
            6..=7,
        ),
        (
            "400 Bad Request",
            131_056,
            &[],
            recipient,
            passes,
            passes,
            1..=1,
        ),
        (
            "429 Too Many Requests",
            131_056,
            &[],
            recipient,
            passes,
            passes,
            1..=1,
        ),
        (
            "500 Bad Request",
            131_057,
            &[],
            sender,
            sender,
            passes,
            59..=60,
        ),
        (
            "400 Bad Request",
            80_007,
            &[usage],
            account,
            account,
            account,
            179..=180,
        ),
        (
            "429 Too Many Requests",
            80_008,
            &[],
            account,
            account,
            account,
            59..=60,
        ),
        (
            "400 Bad Request",
            4,
            &[],
            account,
            account,
            account,
            59..=60,
        ),
        (
            "403 Forbidden",
            4,
            &[usage],
            account,
            account,
            account,
            179..=180,
        ),
        (
            "429 Too Many Requests",
            555,
            &[],
            sender,
            sender,
            passes,
            1..=1,
        ),
        (
            "400 Bad Request",
            131_048,
            &[],
            passes,
            passes,
            passes,
            0..=0,
        ),
        ("400 Bad Request", 100, &[], passes, passes, passes, 0..=0),
    ];
    for (status, code, headers, same, other_recipient, other_sender, seconds) in table {
        let row = format!("{status} {code} {headers:?}");
        let upstream = upstream(vec![error(status, code, headers)]);
        let keyside = start(&upstream, "max_wait = \"100ms\"");
        let first = send(&keyside, MESSAGES, "15550001");
        assert_eq!(
            (first.status.to_string().as_str(), first.slug()),
            (&status[..3], ""),
            "{row}: as it came"
        );
        assert_eq!(
            first.json()["error"]["message"],
            format!("(#{code}) too fast"),
            "{row}"
        );
        for (path, to, expected) in [
            (MESSAGES, "15550001", same),
            (MESSAGES, "15550002", other_recipient),
            (OTHER_SENDER, "15550001", other_sender),
        ] {
            let (status, code, after) = outcome(&send(&keyside, path, to));
            assert_eq!((status, code), expected, "{row}: {path} {to}");
            assert!(
                status == 200 || seconds.contains(&after),
                "{row}: {after} s"
            );
        }
    }
}

#[test]
fn a_pause_ends_and_each_one_in_a_row_is_longer() {
    let throttled = || error("400 Bad Request", 131_056, &[]);
    let upstream = upstream(vec![throttled(), throttled()]);
    let keyside = start(&upstream, "max_wait = \"100ms\"");
    assert_eq!(send(&keyside, MESSAGES, "15550001").status, 400);
    assert!(eventually(Duration::from_secs(2), || send(
        &keyside, MESSAGES, "15550001"
    )
    .status
        == 400));
    let (status, _, seconds) = outcome(&send(&keyside, MESSAGES, "15550001"));
    assert_eq!((status, seconds), (429, 4), "1 second, then 4");
    let limit = keyside.status()["routes"][0]["limit"].clone();
    assert_eq!(limit["recipients_paused"], 1, "{limit}");
    assert!(
        limit["recipients_paused_seconds"].as_f64() > Some(3.0),
        "{limit}"
    );
    assert_eq!(
        keyside.metric("keyside_throttled_total", &["limit=\"recipient\""]),
        2.0
    );
}

#[test]
fn after_a_throttle_the_interval_doubles_and_recovers() {
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
fn headers_near_a_limit_pause_before_the_provider_refuses() {
    let usage = r#"{"102290129340398":[{"type":"whatsapp_business_management","call_count":94,"total_cputime":1,"total_time":1,"estimated_time_to_regain_access":0}]}"#;
    let near = answer(
        "200 OK",
        &[
            ("Content-Type", "application/json"),
            ("X-Business-Use-Case-Usage", usage),
        ],
        b"{}",
    );
    let empty = answer(
        "200 OK",
        &[
            ("Content-Type", "application/json"),
            ("RateLimit", "\"a\";r=0;t=9"),
        ],
        b"{}",
    );
    let upstream = upstream(vec![near, empty]);
    let keyside = start(&upstream, "max_wait = \"100ms\"");
    let templates = get("/v23.0/102290129340398/message_templates");
    let first = keyside.send(&templates);
    assert_eq!(
        (first.status, first.header("x-business-use-case-usage")),
        (200, Some(usage)),
        "it reaches the caller"
    );
    assert_eq!(outcome(&keyside.send(&templates)), (429, 80_007, 5));
    assert_eq!(
        keyside.post(MESSAGES, "{}").status,
        200,
        "messages are not concerned"
    );
    let (status, code, seconds) = outcome(&keyside.post(MESSAGES, "{}"));
    assert!(
        (status, code) == (429, 130_429) && (8..=9).contains(&seconds),
        "{seconds}"
    );
}

#[test]
fn a_throttled_message_goes_out_again_where_the_route_says_so() {
    let arrivals = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&arrivals);
    let upstream =
        Upstream::scripted(
            move |_, wire| match counted.fetch_add(1, Ordering::Relaxed) {
                0 => {
                    wire.write(&error("400 Bad Request", 130_429, &[]));
                    After::Keep
                }
                1 => {
                    wire.write(&json(r#"{"messages":[{"id":"wamid.1"}]}"#));
                    After::Keep
                }
                // A lost answer: the outcome of the message is unknown.
                _ => After::Close,
            },
        );
    let keyside = start(&upstream, "retry = \"throttled\"\nmax_wait = \"3s\"");
    let answer = keyside.post(MESSAGES, "{}");
    assert_eq!(answer.text(), r#"{"messages":[{"id":"wamid.1"}]}"#);
    assert_eq!(arrivals.load(Ordering::Relaxed), 2);
    let lost = keyside.post(MESSAGES, "{}");
    assert_eq!(
        (lost.status, arrivals.load(Ordering::Relaxed)),
        (502, 3),
        "never where the outcome is unknown"
    );
}

#[test]
fn a_message_without_another_turn_in_time_gets_the_providers_answer() {
    let upstream = upstream(vec![error(
        "429 Too Many Requests",
        130_429,
        &[("Retry-After", "30")],
    )]);
    let keyside = start(&upstream, "retry = \"throttled\"\nmax_wait = \"1s\"");
    let answer = keyside.post(MESSAGES, "{}");
    assert_eq!(
        (answer.status, answer.slug(), answer.header("retry-after")),
        (429, "", Some("30"))
    );
    assert_eq!(upstream.arrivals(), 1);
}

/// A provider without any rate, with more lines for the route's limits.
fn without_a_rate(upstream: &Upstream, limits: &str) -> Keyside {
    let config = format!(
        "[outbound]\nlisten = [\"127.0.0.1:@PORT@\"]\n[admin]\nlisten = [\"127.0.0.1:@ADMIN@\"]\n\
         [reload]\nwatch = \"off\"\n[log]\nlevel = \"debug\"\n\
         [provider.bare]\nupstream = \"@UPSTREAM@\"\nca = \"@DIR@/ca.pem\"\n\
         inject = [{{ header = \"X-Key\", value = \"{{key}}\" }}]\n\
         limits = {{ sender = [\"/from\"], recipient = [\"/to\"] }}\n\
         [provider.bare.secrets]\nkey = {{ required = true }}\n\
         [provider.bare.errors]\ncode = \"/code\"\nrefused = [1]\n\
         throttled = [{{ codes = [7], limit = \"recipient\", pause = \"1s\" }}, \
                      {{ status = [429], limit = \"sender\", pause = \"1s\" }}]\n\
         [provider.bare.operations.messages]\nkind = \"send\"\ndefault = true\n\
         requests = [{{ request = \"POST /send\", limited = true }}]\n\
         [provider.bare.operations.calls]\nkind = \"send\"\ndefault = true\n\
         requests = [\"POST /calls/{{id}}\"]\n\
         [credential.acme]\nprovider = \"bare\"\nkey = \"file:@DIR@/key\"\ncheck = \"off\"\n\
         [[route]]\ncredential = \"acme\"\n[route.limits]\n{limits}\n"
    );
    Setup::new(upstream)
        .file("key", "canary-key-0001")
        .config(&config)
        .start()
}

fn too_fast(headers: &[(&str, &str)]) -> Vec<u8> {
    answer("429 Too Many Requests", headers, b"{}")
}

fn from_to(from: &str, to: &str) -> String {
    format!(r#"{{"from":"{from}","to":"{to}"}}"#)
}

#[test]
fn a_throttle_pauses_a_sender_that_has_no_rate() {
    for (headers, seconds) in [
        (&[("Retry-After", "5")][..], 4..=5),
        (&[("x-ratelimit-reset", "8")], 7..=8),
        (
            &[("x-ratelimit-remaining", "12"), ("x-ratelimit-reset", "8")],
            7..=8,
        ),
        (&[], 1..=1),
    ] {
        let upstream = upstream(vec![too_fast(headers)]);
        let keyside = without_a_rate(&upstream, "max_wait = \"100ms\"");
        let send = |from: &str| keyside.post("/send", &from_to(from, "1"));
        assert_eq!(send("111").slug(), "", "{headers:?}: as it came");
        let (status, code, after) = outcome(&send("111"));
        assert_eq!((status, code), (429, 130_429), "{headers:?}");
        assert!(seconds.contains(&after), "{headers:?}: {after} s");
        assert_eq!(send("222").status, 200, "{headers:?}: another sender");
        assert_eq!(upstream.arrivals(), 2, "{headers:?}");
        let limit = keyside.status()["routes"][0]["limit"].clone();
        assert_eq!(limit["senders_paused"], 1, "{limit}");
        assert!(limit["per_sender"].is_null(), "{limit}");
    }
}

#[test]
fn a_throttle_pauses_a_pair_that_has_no_rate_and_each_pause_in_a_row_is_longer() {
    let slow = || {
        answer(
            "400 Slow",
            &[("Content-Type", "application/json")],
            b"{\"code\":7}",
        )
    };
    let upstream = upstream(vec![slow(), slow()]);
    let keyside = without_a_rate(&upstream, "max_wait = \"100ms\"");
    let send = |to: &str| keyside.post("/send", &from_to("111", to));
    assert_eq!(send("1").status, 400);
    assert_eq!(outcome(&send("1")), (429, 131_056, 1));
    assert!(eventually(Duration::from_secs(3), || send("1").status == 400));
    assert_eq!(outcome(&send("1")), (429, 131_056, 4));
    assert_eq!(send("2").status, 200, "another recipient");
}

#[test]
fn nothing_left_pauses_a_sender_that_has_no_rate() {
    let empty = answer(
        "200 OK",
        &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "8")],
        b"{}",
    );
    let upstream = upstream(vec![empty]);
    let keyside = without_a_rate(&upstream, "max_wait = \"100ms\"");
    assert_eq!(keyside.post("/send", &from_to("111", "1")).status, 200);
    let (status, code, after) = outcome(&keyside.post("/send", &from_to("111", "1")));
    assert_eq!((status, code), (429, 130_429));
    assert!((7..=8).contains(&after), "{after}");
}

/// An upstream with a throttle for every request.
fn always_too_fast(headers: &'static [(&str, &str)]) -> Upstream {
    Upstream::answering(move |_| too_fast(headers))
}

#[test]
fn retries_end_with_the_patience_where_there_is_no_rate() {
    for (headers, most) in [(&[("Retry-After", "5")][..], 1), (&[], 3)] {
        let upstream = always_too_fast(headers);
        let keyside = without_a_rate(&upstream, "retry = \"throttled\"\nmax_wait = \"2s\"");
        let began = std::time::Instant::now();
        let last = keyside.post("/send", &from_to("111", "1"));
        assert_eq!((last.status, last.slug()), (429, ""), "the provider's own");
        assert!(began.elapsed() < Duration::from_secs(4), "{headers:?}");
        let arrivals = upstream.arrivals();
        assert!((1..=most).contains(&arrivals), "{headers:?}: {arrivals}");
    }
}

#[test]
fn only_messages_wait_for_another_turn() {
    let upstream = always_too_fast(&[]);
    let keyside = without_a_rate(&upstream, "retry = \"throttled\"\nmax_wait = \"10s\"");
    assert_eq!(keyside.post("/calls/7", "{}").slug(), "");
    assert_eq!(upstream.arrivals(), 1);
}

#[test]
fn an_application_that_hangs_up_ends_the_retries() {
    let upstream = always_too_fast(&[]);
    let keyside = without_a_rate(&upstream, "retry = \"throttled\"\nmax_wait = \"30s\"");
    let mut client = keyside.connect();
    assert!(client.send(&crate::support::client::post("/send", &from_to("111", "1"))));
    assert!(eventually(Duration::from_secs(3), || upstream.arrivals() >= 1));
    drop(client);
    thread::sleep(Duration::from_millis(2500));
    let after = upstream.arrivals();
    thread::sleep(Duration::from_millis(4500));
    assert_eq!(upstream.arrivals(), after, "nobody waits for an answer");
    let gone = keyside.metric("keyside_requests_total", &["outcome=\"caller_gone\""]);
    assert!((gone - 1.0).abs() < 0.1, "{gone}");
}

/// Rows of a throttled request, and then a message that must pass.
#[test]
fn a_throttle_of_another_operation_stops_no_message() {
    let route = "operations = [\"messages\", \"media\", \"templates\", \"calls\"]\n";
    let templates = |account: &str| get(&format!("/v23.0/{account}/message_templates"));
    for (what, request, throttle) in [
        ("administration", templates("102290129340398"), 80_007),
        (
            "a permission to call",
            get("/v23.0/1234567890/call_permissions?user_wa_id=1555"),
            4,
        ),
        ("a read", get("/v23.0/1122334455"), 4),
        (
            "administration, too fast for the sender",
            templates("7"),
            130_429,
        ),
    ] {
        let upstream = upstream(vec![error("429 Too Many Requests", throttle, &[])]);
        let keyside = Setup::new(&upstream)
            .route(route)
            .limits(&format!("{HIGH}\nmax_wait = \"100ms\""))
            .start();
        assert_eq!(keyside.send(&request).slug(), "", "{what}: as it came");
        assert_eq!(send(&keyside, MESSAGES, "15550001").status, 200, "{what}");
        let again = keyside.send(&request).status;
        let expected = if what == "a read" { 200 } else { 429 };
        assert_eq!(again, expected, "{what}: the same again");
        assert_eq!(
            keyside.send(&templates("99")).status,
            200,
            "{what}: another object"
        );
    }
}

#[test]
fn a_throttled_message_stops_no_administration() {
    let upstream = upstream(vec![error("400 Bad Request", 80_007, &[])]);
    let keyside = start(&upstream, "max_wait = \"100ms\"");
    assert_eq!(send(&keyside, MESSAGES, "15550001").status, 400);
    assert_eq!(outcome(&send(&keyside, MESSAGES, "15550001")).1, 80_007);
    let templates = get("/v23.0/102290129340398/message_templates");
    assert_eq!(keyside.send(&templates).status, 200);
}

#[test]
fn usage_near_the_limit_pauses_the_administration_of_its_account_alone() {
    let usage = r#"{"102290129340398":[{"type":"whatsapp","call_count":99},{"type":"whatsapp_business_management","call_count":94}],"55":[{"type":"whatsapp","call_count":99}]}"#;
    let near = answer(
        "200 OK",
        &[
            ("Content-Type", "application/json"),
            ("X-Business-Use-Case-Usage", usage),
        ],
        b"{}",
    );
    let upstream = upstream(vec![near]);
    let keyside = start(&upstream, "max_wait = \"100ms\"");
    assert_eq!(send(&keyside, MESSAGES, "15550001").status, 200);
    let templates =
        |account: &str| keyside.send(&get(&format!("/v23.0/{account}/message_templates")));
    assert_eq!(outcome(&templates("102290129340398")), (429, 80_007, 5));
    assert_eq!(
        templates("55").status,
        200,
        "its messages are near, not its administration"
    );
    assert_eq!(send(&keyside, MESSAGES, "15550001").status, 200);
}

#[test]
fn a_pause_of_messages_stops_no_receipt_and_a_refusal_tells_of_the_pause() {
    const READ: &str = r#"{"messaging_product":"whatsapp","status":"read","message_id":"wamid.X"}"#;
    const TYPING: &str = r#"{"messaging_product":"whatsapp","status":"read","message_id":"wamid.X","typing_indicator":{"type":"text"}}"#;
    const MESSAGE: &str =
        r#"{"messaging_product":"whatsapp","to":"15550001","type":"text","text":{"body":"x"}}"#;
    // A message that calls itself a receipt is a message.
    const DISGUISED: &str =
        r#"{"messaging_product":"whatsapp","status":"read","TO":"15550001","type":"text"}"#;
    for (code, subject) in [
        (130_429, "sender"),
        (131_056, "recipient"),
        (80_007, "account"),
    ] {
        let upstream = upstream(vec![error(
            "400 Bad Request",
            code,
            &[("Retry-After", "7")],
        )]);
        let keyside = start(&upstream, "max_wait = \"100ms\"");
        assert_eq!(keyside.post(MESSAGES, MESSAGE).status, 400, "{subject}");
        for receipt in [READ, TYPING] {
            assert_eq!(keyside.post(MESSAGES, receipt).status, 200, "{subject}");
        }
        let refused = keyside.post(MESSAGES, MESSAGE);
        assert_eq!(refused.status, 429, "{subject}");
        let error = refused.json()["error"].clone();
        let expected = format!(
            "this {subject} is paused for another 7 s: the provider refused a request as too fast"
        );
        assert_eq!(error["message"], *expected);
        let details = error["error_data"]["details"].as_str().unwrap();
        assert!(details.starts_with("send again after the time in Retry-After"));
        if subject != "recipient" {
            let disguised = keyside.post(MESSAGES, DISGUISED).status;
            assert_eq!(disguised, 429, "{subject}: a message is no receipt");
        }
    }
}

#[test]
fn a_refusal_by_a_limit_without_a_queue_counts_no_requests() {
    let upstream = upstream(Vec::new());
    let keyside = Setup::new(&upstream)
        .limits("per_sender = \"1/60s\"\nmax_wait = \"10ms\"")
        .start();
    assert_eq!(send(&keyside, MESSAGES, "15550001").status, 200);
    let refused = send(&keyside, MESSAGES, "15550001");
    let message = refused.json()["error"]["message"].to_string();
    assert!(
        message.contains("the limit of this sender is reached for another 60 s"),
        "{message}"
    );
    assert!(!message.contains("waiting"), "{message}");
}
