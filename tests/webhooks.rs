//! Webhooks: Keyside answers handshakes, refuses forgeries, and delivers genuine events byte for
//! byte.

use std::io::Write;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use crate::support::client::{Answer, Client, get};
use crate::support::keyside::{Keyside, finish};
use crate::support::upstream::{After, Upstream, Wire};
use crate::support::webhook::{
    EVENT, HOOK, VERIFY_TOKEN, answering, application, configured, event, forwarding, genuine,
    setup, signature,
};
use crate::support::{APP_SECRET, hmac_sha256, noise};

fn outcomes(keyside: &Keyside, outcome: &str) -> f64 {
    keyside.metric(
        "keyside_webhooks_total",
        &["webhook=\"acme\"", &format!("outcome=\"{outcome}\"")],
    )
}

fn must_be_401(keyside: &Keyside, application: &Upstream, name: &str, request: &[u8]) -> Answer {
    let before = application.heads();
    let answer = keyside.event(request);
    assert_eq!(answer.status, 401, "{name}: {}", answer.text());
    assert_eq!(
        application.heads(),
        before,
        "{name}: a forgery was forwarded"
    );
    answer
}

#[test]
fn the_handshake_gets_the_challenge_and_needs_no_application() {
    let keyside = forwarding("http://127.0.0.1:1/").start();
    let answer = keyside.event(&get(&format!(
        "{HOOK}?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token={VERIFY_TOKEN}"
    )));
    assert_eq!((answer.status, answer.text().as_str()), (200, "1158201444"));
    assert!(
        answer
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("text/plain"))
    );
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert!((outcomes(&keyside, "challenge") - 1.0).abs() < 0.1);
}

#[test]
fn a_handshake_without_the_verify_token_is_refused() {
    let keyside = forwarding("http://127.0.0.1:1/").start();
    let right = format!("hub.verify_token={VERIFY_TOKEN}");
    for query in [
        "hub.mode=subscribe&hub.challenge=1&hub.verify_token=guess".to_owned(),
        "hub.mode=subscribe&hub.challenge=1&hub.verify_token=".to_owned(),
        "hub.mode=subscribe&hub.challenge=1".to_owned(),
        format!("hub.mode=unsubscribe&hub.challenge=1&{right}"),
        format!("hub.challenge=1&{right}"),
        format!("hub.mode=subscribe&{right}"),
        format!("hub.mode=subscribe&hub.challenge=1&{right}&hub.verify_token=guess"),
        format!("hub.mode=subscribe&hub.challenge=%3Cscript%3E&{right}"),
        String::new(),
    ] {
        let answer = keyside.event(&get(&format!("{HOOK}?{query}")));
        assert_eq!(answer.status, 403, "{query}: {}", answer.text());
        assert!(!answer.text().contains("<script>"), "{query}");
    }
}

#[test]
fn a_refused_handshake_says_what_is_wrong_with_it() {
    let keyside = forwarding("http://127.0.0.1:1/").start();
    let right = format!("hub.verify_token={VERIFY_TOKEN}");
    for (query, said, logged) in [
        (
            "hub.mode=subscribe&hub.challenge=1&hub.verify_token=guess".to_owned(),
            "give the provider the verify token",
            "a wrong verify token",
        ),
        (
            "hub.mode=subscribe&hub.challenge=1".to_owned(),
            "give the provider the verify token",
            "names no verify token",
        ),
        (
            format!("hub.mode=unsubscribe&hub.challenge=1&{right}"),
            "look at `hub.mode`",
            "odd `hub.mode`",
        ),
        (
            format!("hub.mode=subscribe&{right}"),
            "look at `hub.challenge`",
            "odd `hub.challenge`",
        ),
        (
            format!("hub.mode=subscribe&hub.challenge=%3Cscript%3E&{right}"),
            "look at `hub.challenge`",
            "odd `hub.challenge`",
        ),
    ] {
        let answer = keyside.event(&get(&format!("{HOOK}?{query}")));
        assert_eq!(
            (answer.status, answer.slug()),
            (403, "handshake_refused"),
            "{query}"
        );
        assert!(answer.text().contains(said), "{query}: {}", answer.text());
        assert!(keyside.log().contains(logged), "{query}: {}", keyside.log());
    }
}

#[test]
fn a_compressed_event_is_refused_however_its_header_is_written() {
    let application = application();
    let keyside = forwarding(&application.url()).start();
    for header in ["Content-Encoding", "Content_Encoding"] {
        let coding = format!("{header}: gzip");
        let request = event(&[&signature(APP_SECRET, b"{}"), &coding], b"{}");
        assert_eq!(keyside.event(&request).status, 415, "{header}");
    }
    assert_eq!(application.heads(), 0);
}

#[test]
fn wrong_guesses_are_limited_and_the_right_token_and_events_go_on() {
    let application = application();
    let keyside = setup(&application).start();
    let ask = |query: &str| keyside.event(&get(&format!("{HOOK}?{query}"))).status;
    let guess = |token: &str| {
        ask(&format!(
            "hub.mode=subscribe&hub.challenge=1&hub.verify_token={token}"
        ))
    };
    for _ in 0..20 {
        assert_eq!(ask("probe=1"), 403, "what names no token is no guess");
    }
    let statuses: Vec<_> = (0..12)
        .map(|number| guess(&format!("guess{number}")))
        .collect();
    assert_eq!(statuses[..10], [403; 10]);
    assert_eq!(statuses[10..], [429; 2]);
    assert_eq!(
        guess(VERIFY_TOKEN),
        200,
        "the right token is always answered"
    );
    assert_eq!(guess("one-more"), 429);
    assert_eq!(ask("probe=1"), 403);
    assert_eq!(
        keyside.event(&genuine(EVENT.as_bytes())).status,
        200,
        "events from the address must not suffer"
    );
}

#[test]
fn probes_of_load_balancers_are_answered_whatever_the_host_unless_a_webhook_has_the_path() {
    let application = application();
    let mut keyside = setup(&application).start();
    let ask = |keyside: &Keyside, method: &str, path: &str| {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: 203.0.113.7:9999\r\n\r\n");
        keyside.event(request.as_bytes())
    };
    for method in ["GET", "HEAD"] {
        for path in ["/livez", "/readyz"] {
            assert_eq!(ask(&keyside, method, path).status, 200, "{method} {path}");
        }
    }
    for path in ["/livez", "/readyz"] {
        let wrong = ask(&keyside, "POST", path);
        let allow = wrong.header("allow");
        assert_eq!((wrong.status, allow), (405, Some("GET, HEAD")), "{path}");
    }
    assert_eq!(ask(&keyside, "GET", "/metrics").status, 404);
    assert_eq!(ask(&keyside, "GET", "/status").status, 404);
    let config = std::fs::read_to_string(keyside.dir().join("proxy.toml")).unwrap();
    keyside
        .dir()
        .write("proxy.toml", config.replace(HOOK, "/readyz"));
    assert_eq!(keyside.reload().status, 200);
    let handshake = "/readyz?hub.mode=subscribe&hub.challenge=77&hub.verify_token=";
    let answer = ask(&keyside, "GET", &format!("{handshake}{VERIFY_TOKEN}"));
    assert_eq!((answer.status, answer.text().as_str()), (200, "77"));
    assert_eq!(ask(&keyside, "GET", "/readyz").status, 403);
    assert_eq!(ask(&keyside, "GET", "/livez").status, 200);
    keyside.signal(rustix::process::Signal::TERM);
    keyside.wait_exit(Duration::from_secs(5));
}

#[test]
fn a_genuine_event_arrives_byte_for_byte_with_its_signature() {
    let application = application();
    let keyside = setup(&application).start();
    let spoofed = [
        "Keyside-Webhook: other",
        "Keyside-Event-Id: 0",
        "Cookie: a=b",
        "X-Forwarded-For: 1.2.3.4",
    ];
    let signed = signature(APP_SECRET, EVENT.as_bytes());
    let lines: Vec<&str> = spoofed.iter().copied().chain([signed.as_str()]).collect();
    let answer = keyside.event(&event(&lines, EVENT.as_bytes()));
    assert_eq!(
        (answer.status, answer.body.len()),
        (200, 0),
        "{}",
        answer.text()
    );
    let seen = application.last();
    assert_eq!(seen.line(), "POST /events HTTP/1.1");
    assert_eq!(seen.body, EVENT.as_bytes());
    let mut names: Vec<_> = seen.headers().into_iter().map(|(name, _)| name).collect();
    names.sort();
    let expected = [
        "content-length",
        "content-type",
        "host",
        "keyside-event-id",
        "keyside-webhook",
        "user-agent",
        "x-hub-signature-256",
    ];
    assert_eq!(names, expected);
    assert_eq!(seen.all("keyside-webhook"), ["acme"]);
    assert_eq!(
        format!(
            "X-Hub-Signature-256: {}",
            seen.header("x-hub-signature-256").unwrap()
        ),
        signed
    );
    assert_eq!(seen.all("content-length"), [EVENT.len().to_string()]);
    assert!((outcomes(&keyside, "delivered") - 1.0).abs() < 0.1);
}

#[test]
fn the_event_id_tells_events_apart_and_repetitions_together() {
    let application = application();
    let keyside = setup(&application).start();
    let id = |body: &[u8]| {
        assert_eq!(keyside.event(&genuine(body)).status, 200);
        application.last().header("keyside-event-id").unwrap()
    };
    let first = id(b"one");
    assert_eq!(first, id(b"one"));
    assert_ne!(first, id(b"two"));
    assert_eq!(first.len(), 32);
}

#[test]
fn a_signature_that_meta_would_not_have_made_is_refused() {
    let application = application();
    let keyside = setup(&application).start();
    let body = EVENT.as_bytes();
    let right = signature(APP_SECRET, body);
    let hex = hmac_sha256(APP_SECRET, body);
    let upper = format!("X-Hub-Signature-256: sha256={}", hex.to_uppercase());
    let (flipped, last) = hex.split_at(63);
    let flipped = format!(
        "X-Hub-Signature-256: sha256={flipped}{}",
        if last == "0" { "1" } else { "0" }
    );
    let sha1 = "X-Hub-Signature: sha1=2fd4e1c67a2d28fced849ee1bb76e7391b93eb12";
    let wrong = signature("another secret", body);
    let table: [(&str, &[&str]); 12] = [
        ("missing", &[]),
        ("sha1 only", &[sha1]),
        ("doubled", &[&right, &right]),
        ("right and wrong", &[&right, &wrong]),
        ("wrong and right", &[&wrong, &right]),
        ("another secret", &[&wrong]),
        ("one digit", &[&flipped]),
        ("upper case", &[&upper]),
        ("no prefix", &[&format!("X-Hub-Signature-256: {hex}")]),
        (
            "too short",
            &[&format!("X-Hub-Signature-256: sha256={}", &hex[..62])],
        ),
        (
            "too long",
            &[&format!("X-Hub-Signature-256: sha256={hex}00")],
        ),
        ("empty", &["X-Hub-Signature-256: sha256="]),
    ];
    let answers: Vec<_> = table
        .iter()
        .map(|(name, lines)| must_be_401(&keyside, &application, name, &event(lines, body)).text())
        .collect();
    assert!(
        answers.iter().all(|answer| *answer == answers[0]),
        "the answers tell a forger what was wrong: {answers:?}"
    );
    let both = keyside.event(&event(&[&right, sha1], body));
    assert_eq!(
        both.status, 200,
        "beside a SHA-1 signature the SHA-256 signature decides"
    );
    let spaces = keyside.event(&event(&[&format!("{right} ")], body));
    assert_eq!(
        spaces.status, 200,
        "white space around a header's value is not part of it"
    );
}

#[test]
fn one_changed_byte_of_the_body_is_a_forgery() {
    let application = application();
    let keyside = setup(&application).start();
    let signed = signature(APP_SECRET, EVENT.as_bytes());
    for place in [0, EVENT.len() / 2, EVENT.len() - 1] {
        let mut body = EVENT.as_bytes().to_vec();
        body[place] ^= 1;
        must_be_401(
            &keyside,
            &application,
            &place.to_string(),
            &event(&[&signed], &body),
        );
    }
}

#[test]
fn forgeries_neither_flood_the_log_nor_delay_events() {
    let application = application();
    let keyside = setup(&application).start();
    for _ in 0..40 {
        must_be_401(
            &keyside,
            &application,
            "forged",
            &event(&[], EVENT.as_bytes()),
        );
    }
    assert_eq!(keyside.event(&genuine(EVENT.as_bytes())).status, 200);
    assert_eq!(
        keyside.log().matches("event refused").count(),
        10,
        "{}",
        keyside.log()
    );
    assert!(
        (outcomes(&keyside, "unsigned") - 40.0).abs() < 0.1,
        "every forgery must be counted"
    );
}

#[test]
fn bodies_of_any_kind_are_forwarded_unread_when_genuine() {
    let application = application();
    let keyside = setup(&application).start();
    let bodies: [(&str, Vec<u8>); 6] = [
        ("empty", Vec::new()),
        ("one byte", b"x".to_vec()),
        ("not JSON", b"not json".to_vec()),
        ("invalid UTF-8", vec![0xff, 0xfe, 0, 13, 10, 0x80]),
        ("3 MiB", noise(3 << 20)),
        ("4 MiB", noise(4 << 20)),
    ];
    for (name, body) in bodies {
        assert_eq!(keyside.event(&genuine(&body)).status, 200, "{name}");
        assert!(application.last().body == body, "{name}: the same bytes");
    }
}

#[test]
fn a_body_over_its_bound_is_refused() {
    let application = application();
    let keyside = setup(&application).start();
    let body = noise((4 << 20) + 1);
    let answer = keyside.event(&genuine(&body));
    assert_eq!(answer.status, 413, "by its length");
    let mut client = Client::connect(keyside.inbound()).unwrap();
    let head = format!(
        "POST {HOOK} HTTP/1.1\r\nHost: h\r\n{}\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n",
        signature(APP_SECRET, &body),
        body.len()
    );
    client.send(head.as_bytes());
    let mut writer = client.writer();
    let sent = std::thread::spawn(move || writer.write_all(&body));
    assert_eq!(client.answer().unwrap().status, 413, "when it gets there");
    let _ = sent.join();
    assert_eq!(application.heads(), 0);
}

#[test]
fn a_chunked_body_is_delivered_whole() {
    let application = application();
    let keyside = setup(&application).start();
    let body = b"part one, part two";
    let mut request = format!(
        "POST {HOOK} HTTP/1.1\r\nHost: h\r\n{}\r\nTransfer-Encoding: chunked\r\n\r\n",
        signature(APP_SECRET, body)
    )
    .into_bytes();
    request.extend_from_slice(b"8\r\npart one\r\na;x=y\r\n, part two\r\n0\r\nTrailer: x\r\n\r\n");
    assert_eq!(keyside.event(&request).status, 200);
    let seen = application.last();
    assert_eq!(seen.body, body);
    assert_eq!(seen.all("content-length"), ["18"]);
    assert_eq!(seen.all("transfer-encoding"), [""; 0]);
}

#[test]
fn a_late_body_gets_408_and_a_short_body_is_refused() {
    let application = application();
    let keyside = setup(&application).start();
    let whole = genuine(EVENT.as_bytes());
    let mut short = Client::connect(keyside.inbound()).unwrap();
    short.send(&whole[..whole.len() - 1]);
    short.half_close();
    assert_eq!(short.answer().unwrap().status, 400);
    let mut slow = Client::connect(keyside.inbound())
        .unwrap()
        .patience(Duration::from_secs(14));
    slow.send(&whole[..whole.len() - 1]);
    let began = Instant::now();
    assert_eq!(slow.answer().unwrap().status, 408);
    assert!(began.elapsed() < crate::support::stretched(Duration::from_secs(13)));
    assert_eq!(application.heads(), 0);
}

#[test]
fn a_request_that_is_no_event_is_refused_before_its_body_is_read() {
    let keyside = forwarding("http://127.0.0.1:1/").start();
    let coded = event(
        &[&signature(APP_SECRET, b"x"), "Content-Encoding: gzip"],
        b"x",
    );
    assert_eq!(keyside.event(&coded).status, 415);
    let elsewhere = String::from_utf8(genuine(b"x"))
        .unwrap()
        .replace(HOOK, "/elsewhere");
    assert_eq!(keyside.event(elsewhere.as_bytes()).status, 404);
    for method in ["PUT", "DELETE", "PATCH"] {
        let request = format!("{method} {HOOK} HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n");
        let answer = keyside.event(request.as_bytes());
        assert_eq!(
            (answer.status, answer.header("allow")),
            (405, Some("GET, POST")),
            "{method}"
        );
    }
    let mut unread = Client::connect(keyside.inbound()).unwrap();
    unread.send(
        format!("POST {HOOK} HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n").as_bytes(),
    );
    assert_eq!(
        unread.answer().unwrap().status,
        401,
        "a request without a signature must not wait for its body"
    );
}

#[test]
fn the_provider_learns_only_200_or_503_of_the_application() {
    let status = Arc::new(AtomicU16::new(200));
    let shared = Arc::clone(&status);
    let application = Upstream::plain(move |_, wire| {
        let status = shared.load(Ordering::Relaxed);
        let body = if status == 204 {
            ""
        } else {
            "Content-Length: 5\r\nX-App: 1\r\nSet-Cookie: a=b\r\n\r\nhello"
        };
        wire.write(
            format!(
                "HTTP/1.1 {status} X\r\n{}",
                if body.is_empty() { "\r\n" } else { body }
            )
            .as_bytes(),
        );
        After::Keep
    });
    let keyside = setup(&application).start();
    for (answered, told) in [
        (200, 200),
        (202, 200),
        (204, 200),
        (299, 200),
        (301, 503),
        (302, 503),
        (400, 503),
        (401, 503),
        (404, 503),
        (500, 503),
        (503, 503),
    ] {
        status.store(answered, Ordering::Relaxed);
        let answer = keyside.event(&genuine(EVENT.as_bytes()));
        assert_eq!(answer.status, told, "the application said {answered}");
        assert_eq!(answer.header("x-app"), None);
        assert_eq!(answer.header("set-cookie"), None);
        assert_eq!(
            answer.header("retry-after").is_some(),
            told == 503,
            "{answered}"
        );
        assert!(!answer.text().contains("hello"), "{answered}");
    }
}

#[test]
fn an_application_that_is_down_or_breaks_off_makes_the_provider_repeat_the_event() {
    let nobody = forwarding("http://127.0.0.1:1/").start();
    let answer = nobody.event(&genuine(EVENT.as_bytes()));
    assert_eq!(answer.status, 503);
    assert!(answer.header("retry-after").is_some());
    let failures: [fn(&mut Wire) -> After; 3] = [
        |_| After::Cut,
        |_| After::Reset,
        |wire| {
            wire.write(b"HTTP/1.1 200 OK\r\nContent-Le");
            After::Cut
        },
    ];
    for fail in failures {
        let application = Upstream::plain(move |_, wire| fail(wire));
        let keyside = setup(&application).start();
        assert_eq!(keyside.event(&genuine(EVENT.as_bytes())).status, 503);
    }
}

#[test]
fn a_slow_application_costs_the_provider_no_more_than_the_timeout() {
    let application = Upstream::plain(|_, wire| {
        wire.wait(Duration::from_secs(5));
        After::Close
    });
    let forward = format!("forward = \"{}/\"\ntimeout = \"500ms\"", application.url());
    let keyside = configured(&forward, "").start();
    let began = Instant::now();
    let answer = keyside.event(&genuine(EVENT.as_bytes()));
    assert_eq!(answer.status, 503);
    assert!(
        began.elapsed().as_millis() >= 450
            && began.elapsed() < crate::support::stretched(Duration::from_secs(2)),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(
        application.heads(),
        1,
        "after a timeout only the provider may repeat the event"
    );
}

#[test]
fn an_event_is_sent_again_when_a_kept_connection_ends_without_an_answer() {
    let application = Upstream::plain(|request, wire| {
        // The application closes a kept connection just when its second event arrives.
        if request.turn > 1 {
            return After::Cut;
        }
        wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        After::Keep
    });
    let keyside = setup(&application).start();
    assert_eq!(keyside.event(&genuine(b"first")).status, 200);
    assert_eq!(keyside.event(&genuine(b"second")).status, 200);
    let requests = application.requests();
    let places: Vec<_> = requests
        .iter()
        .map(|request| (request.connection, request.turn))
        .collect();
    assert_eq!(places, [(1, 1), (1, 2), (2, 1)]);
    assert_eq!(requests[1].body, b"second");
    assert_eq!(requests[2].body, b"second");
    assert_eq!(
        requests[1].header("keyside-event-id"),
        requests[2].header("keyside-event-id"),
        "the application must be able to notice the repetition"
    );
}

#[test]
fn an_endpoint_that_replies_has_its_own_answer_passed_on() {
    let application = Upstream::plain(|_, wire| {
        wire.write(b"HTTP/1.1 427 X\r\nContent-Type: text/plain\r\nX-App: 1\r\nConnection: keep-alive\r\nContent-Length: 8\r\n\r\nZmxvd3M=");
        After::Keep
    });
    let keyside = configured(
        &format!("forward = \"{}/\"\nreply = true", application.url()),
        "",
    )
    .start();
    let answer = keyside.event(&genuine(EVENT.as_bytes()));
    assert_eq!((answer.status, answer.text().as_str()), (427, "Zmxvd3M="));
    assert_eq!(answer.header("x-app"), Some("1"));
    assert_eq!(keyside.event(&event(&[], b"x")).status, 401);
}

#[test]
fn an_application_at_a_unix_socket_is_reached() {
    use std::io::Read;
    let dir = crate::support::keyside::Directory::new();
    let path = dir.join("app.sock");
    let socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let served = std::thread::spawn(move || {
        let (mut stream, _) = socket.accept().unwrap();
        let mut seen = Vec::new();
        let mut buffer = [0; 4096];
        while !seen.ends_with(EVENT.as_bytes()) {
            let count = stream.read(&mut buffer).unwrap();
            assert!(count > 0, "the whole event arrives");
            seen.extend_from_slice(&buffer[..count]);
        }
        stream
            .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
            .unwrap();
        String::from_utf8_lossy(&seen).into_owned()
    });
    let keyside = forwarding(&format!("unix:{}:/events", path.display())).start();
    assert_eq!(keyside.event(&genuine(EVENT.as_bytes())).status, 200);
    assert!(
        served
            .join()
            .unwrap()
            .starts_with("POST /events HTTP/1.1\r\nhost: localhost\r\n")
    );
}

#[test]
fn bodies_under_way_are_bounded() {
    let application = Upstream::plain(|_, wire| {
        wire.wait(Duration::from_millis(700));
        wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        After::Keep
    });
    let keyside = configured(
        &format!("forward = \"{}/\"", application.url()),
        "max_body = \"1MiB\"\nmax_in_flight = \"2MiB\"",
    )
    .start();
    let body = noise(900 << 10);
    let statuses: Vec<_> = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..6)
            .map(|_| scope.spawn(|| keyside.event(&genuine(&body)).status))
            .collect();
        senders
            .into_iter()
            .map(|sender| sender.join().unwrap())
            .collect()
    });
    let taken = statuses.iter().filter(|status| **status == 200).count();
    assert!((1..=2).contains(&taken), "{statuses:?}");
    assert!(
        statuses.iter().all(|status| matches!(status, 200 | 503)),
        "{statuses:?}"
    );
    assert_eq!(
        keyside.event(&genuine(&body)).status,
        200,
        "the memory budget was not given back"
    );
}

#[test]
fn an_answered_event_takes_no_room_from_the_next() {
    let application = application();
    let keyside = configured(
        &format!("forward = \"{}/\"", application.url()),
        "max_in_flight = \"4MiB\"",
    )
    .start();
    // Keyside takes note of each of these messages, which takes longer than the application needs
    // for the bytes.
    let messages: Vec<_> = (0..30_000)
        .map(|n| format!(r#"{{"from":"1","id":"wamid.{n:060}"}}"#))
        .collect();
    let body = format!(
        r#"{{"entry":[{{"id":"1","changes":[{{"field":"messages","value":{{"metadata":{{"phone_number_id":"1"}},"messages":[{}]}}}}]}}]}}"#,
        messages.join(",")
    );
    assert!(body.len() > 2 << 20, "two such events are too many");
    for _ in 0..4 {
        let answer = keyside.event(&genuine(body.as_bytes()));
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

#[test]
fn a_path_matches_however_the_provider_encodes_it() {
    let application = application();
    let more = |path: &str| {
        format!(
            "forward = \"{0}/\"\n[[webhook]]\nname = \"odd\"\ncredential = \"acme\"\npath = \"{path}\"\nforward = \"{0}/\"",
            application.url()
        )
    };
    for (configured_path, spellings) in [
        (
            "/hooks/a+b",
            ["/hooks/a+b", "/hooks/a%2Bb", "/hooks/a%2bb", "/%68ooks/a+b"],
        ),
        (
            "/hooks/a%2Bb",
            ["/hooks/a+b", "/hooks/a%2Bb", "/hooks/a%2bb", "/%68ooks/a+b"],
        ),
        ("/hooks/a b", ["/hooks/a%20b"; 4]),
        (
            "/hooks/caf\u{e9}",
            [
                "/hooks/caf%C3%A9",
                "/hooks/caf%c3%a9",
                "/hooks/caf%C3%A9",
                "/hooks/c%61f%C3%A9",
            ],
        ),
    ] {
        let keyside = configured(&more(configured_path), "").start();
        for spelling in spellings {
            let event = String::from_utf8(genuine(b"x"))
                .unwrap()
                .replace(HOOK, spelling);
            assert_eq!(
                keyside.event(event.as_bytes()).status,
                200,
                "{configured_path}: {spelling}"
            );
        }
        for other in ["/hooks%2Fa+b", "/hooks/a%252Bb", "/hooks/a", "/hooks/%FF"] {
            let event = String::from_utf8(genuine(b"x"))
                .unwrap()
                .replace(HOOK, other);
            assert_eq!(
                keyside.event(event.as_bytes()).status,
                404,
                "{configured_path}: {other}"
            );
        }
    }
}

#[test]
fn a_path_without_a_webhook_is_logged_masked_and_at_a_bounded_rate() {
    let keyside = forwarding("http://127.0.0.1:1/").start();
    let ask = |path: &str| {
        let event = String::from_utf8(genuine(b"x"))
            .unwrap()
            .replace(HOOK, path);
        assert_eq!(keyside.event(event.as_bytes()).status, 404, "{path}");
    };
    ask("/webhook/whatsapp");
    ask("/webhooks/15550001234567/k3J9x0Pq7Zz");
    ask(&format!("/{}", "a/".repeat(2000)));
    for number in 0..40 {
        ask(&format!("/scan{number}"));
    }
    let log = keyside.log();
    let lines: Vec<_> = log
        .lines()
        .filter(|line| line.contains("no_webhook"))
        .collect();
    assert_eq!(lines.len(), 10, "{log}");
    assert!(lines[0].contains("/webhook/whatsapp"), "{}", lines[0]);
    assert!(lines[1].contains("/webhooks/...4567/***"), "{}", lines[1]);
    assert!(lines[2].len() < 500, "{}", lines[2]);
    assert!(
        !log.contains("k3J9x0Pq7Zz") && !log.contains("15550001234567"),
        "{log}"
    );
}

#[test]
fn both_secrets_are_accepted_during_a_replacement_and_counted_apart() {
    let application = application();
    let mut keyside = setup(&application).start();
    let body = EVENT.as_bytes();
    let signed = |secret: &str| event(&[&signature(secret, body)], body);
    assert_eq!(keyside.event(&signed("the next secret")).status, 401);
    keyside.setup().dir().write("app_secret_old", APP_SECRET);
    keyside.setup().dir().write("app_secret", "the next secret");
    keyside.sighup_and_wait();
    assert_eq!(keyside.event(&signed("the next secret")).status, 200);
    assert_eq!(keyside.event(&signed(APP_SECRET)).status, 200);
    assert_eq!(keyside.event(&signed("another secret")).status, 401);
    let used = |which: &str| {
        keyside.metric(
            "keyside_webhook_secret_used_total",
            &["webhook=\"acme\"", which],
        )
    };
    assert!((used("which=\"current\"") - 1.0).abs() < 0.1);
    assert!((used("which=\"accepted\"") - 1.0).abs() < 0.1);
}

#[test]
fn the_status_lists_the_webhooks_and_shows_no_secret() {
    let application = application();
    let keyside = setup(&application).start();
    let status = keyside.status();
    let webhook = &status["webhooks"][0];
    assert_eq!(webhook["name"], "acme");
    assert_eq!(webhook["path"], HOOK);
    assert_eq!(webhook["forward"], format!("{}/events", application.url()));
    keyside.event(&genuine(EVENT.as_bytes()));
    keyside.event(&event(&[&signature("x", b"y")], EVENT.as_bytes()));
    let everything = format!("{status}{}{}", keyside.metrics(), keyside.log());
    assert!(
        !everything.contains(APP_SECRET) && !everything.contains(VERIFY_TOKEN),
        "{everything}"
    );
    assert!(
        !everything.contains("caf"),
        "the text of a message was logged: {everything}"
    );
}

#[test]
fn a_sidecar_for_webhooks_alone_needs_no_token() {
    let application = application();
    let keyside = setup(&application).start();
    assert_eq!(keyside.ask_admin(&get("/readyz")).status, 200);
    assert_eq!(keyside.post("/v23.0/1/messages", "{}").slug(), "no_route");
    let credential = &keyside.status()["credentials"][0];
    assert_eq!(credential["usable"], true, "{credential}");
    assert_eq!(credential["missing"], serde_json::json!([]));
    assert_eq!(keyside.metric("keyside_credential_usable", &[]), 1.0);
    let problems = keyside.problems();
    assert!(!problems.contains("token"), "{problems}");
    let bad = setup(&application).file("app_secret", "").start();
    assert_eq!(bad.status()["credentials"][0]["usable"], false);
    assert!(bad.problems().contains("app_secret"), "{}", bad.problems());
}

/// A search for the webhook by name shows the fault.
#[test]
fn a_secret_of_a_webhook_that_was_never_readable_is_told_where_people_look() {
    let application = application();
    let forward = format!("forward = \"{}/events\"", application.url());
    let sign = format!("{forward}\nsign = \"file:@DIR@/sign\"");
    let token = "no handshake is answered";
    let refused = "its events are answered 503 until the key is there";
    let all = [
        (
            sign.as_str(),
            "",
            refused,
            503,
            "there is no key to sign the event with",
        ),
        (
            &forward,
            "verify_token",
            token,
            200,
            "the verify token cannot be read",
        ),
    ];
    for (lines, missing, told, ready, logged) in all {
        let setup = configured(lines, "");
        if !missing.is_empty() {
            std::fs::remove_file(setup.dir().join(missing)).unwrap();
        }
        let keyside = setup.start();
        let answer = keyside.ask_admin(&get("/readyz?webhook=acme"));
        assert_eq!(answer.status, ready, "{told}: {}", answer.text());
        assert_eq!(
            answer.text().matches("webhook acme").count(),
            1,
            "{}",
            answer.text()
        );
        assert!(answer.text().contains(told), "{told}: {}", answer.text());
        keyside.event(&genuine(EVENT.as_bytes()));
        keyside.event(&get(&format!(
            "{HOOK}?hub.mode=subscribe&hub.verify_token=wrong&hub.challenge=1"
        )));
        assert!(keyside.log().contains(logged), "{told}: {}", keyside.log());
        let admin = keyside.admin().to_string();
        let mut status = Command::new(env!("CARGO_BIN_EXE_keyside"));
        let status = status.args(["status", "acme", "--check", "--admin", &admin]);
        let status = finish(status, Duration::from_secs(10));
        assert_eq!(status.code, Some(1), "{told}: {}", status.output);
    }
}

#[test]
fn the_status_of_one_webhook_tells_of_its_application_and_of_no_other() {
    let application = answering(500);
    let keyside = setup(&application).start();
    for _ in 0..5 {
        assert_eq!(keyside.event(&genuine(EVENT.as_bytes())).status, 503);
    }
    let admin = keyside.admin().to_string();
    let mut status = Command::new(env!("CARGO_BIN_EXE_keyside"));
    let status = status.args(["status", "acme", "--check", "--admin", &admin]);
    let status = finish(status, Duration::from_secs(10));
    assert_eq!(status.code, Some(1), "{}", status.output);
    assert!(status.output.contains("webhook acme"), "{}", status.output);
}
