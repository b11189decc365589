//! Memory: whatever peers send or fail to take, the process stays within the limit that `deploy/`
//! sets, and small messages and events go on.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use crate::support::client::{Answer, Client, FORM_BEGINS, get, post, with_body};
use crate::support::keyside::{Keyside, Setup};
use crate::support::upstream::{After, Upstream, answer, json};
use crate::support::webhook::{HOOK, VERIFY_TOKEN, application, genuine};
use crate::support::{APP_SECRET, MESSAGES, eventually, hmac_sha256, noise};

/// The path of an account, whose description the test's upstream answers with megabytes.
const LARGE: &str = "/v23.0/1234567890/message_templates";
/// The bytes that a pod may have are 128 MiB; the process must leave a quarter free.
const MAX_RESIDENT: u64 = 96 << 20;
const MIB: usize = 1 << 20;

/// The most bytes that a Keyside had in memory, as for the shipped program: of the tested program's
/// file, with debug information, some megabytes more are mapped.
fn peak(keyside: &Keyside) -> u64 {
    const SHIPPED_FILE: u64 = 7 << 20;
    resident(keyside, "VmHWM") - resident(keyside, "RssFile") + SHIPPED_FILE
}

/// A number of `/proc/PID/status`, in bytes.
fn resident(keyside: &Keyside, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", keyside.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024
}

/// A route, and two webhooks: `HOOK` in front of `slow`, `/quick` in front of `quick`.
fn setup(upstream: &Upstream, slow: &Upstream, quick: &Upstream) -> Setup {
    let webhook = |path: &str, name: &str, application: &Upstream| {
        format!(
            "[[webhook]]\npath = \"{path}\"\ncredential = \"acme\"\nname = \"{name}\"\n\
             forward = \"{}/\"\ntimeout = \"60s\"\n",
            application.url()
        )
    };
    Setup::new(upstream)
        .file("app_secret", APP_SECRET)
        .file("verify_token", VERIFY_TOKEN)
        .credential(
            "token = \"file:@DIR@/token\"\napp_secret = \"file:@DIR@/app_secret\"\n\
             verify_token = \"file:@DIR@/verify_token\"\n",
        )
        .route("operations = [\"messages\", \"media\", \"templates\"]")
        .more(&format!(
            "[inbound]\nlisten = [\"127.0.0.1:@INBOUND@\"]\n{}{}",
            webhook(HOOK, "slow", slow),
            webhook("/quick", "quick", quick)
        ))
        .level("info")
}

/// An application that takes events and never answers.
fn hanging() -> Upstream {
    Upstream::plain(|_, wire| {
        wire.hang();
        After::Close
    })
}

/// An upstream that answers a large question with 8 MiB, floods an upload with interim answers,
/// sends media without end, and answers anything else with a line.
fn provider() -> Upstream {
    let large = answer(
        "200 OK",
        &[("Content-Type", "application/json")],
        &vec![b' '; 8 * MIB],
    );
    Upstream::raw(move |wire| {
        while let Some((place, request)) = wire.head() {
            if request
                .header("content-type")
                .is_some_and(|kind| kind.starts_with("multipart"))
            {
                let interim = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(1000);
                for _ in 0..10_000 {
                    if !wire.write(&interim) {
                        return After::Close;
                    }
                }
                return After::Close;
            }
            if wire.body(place, request.clone()).is_none() {
                return After::Close;
            }
            if request.target().starts_with(LARGE) {
                wire.write(&large);
            } else if request.target().contains("attachments") {
                let head = "HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 100000000\r\n\r\n";
                if !wire.write(head.as_bytes()) {
                    return After::Close;
                }
                while wire.write(&[0xff; 64 * 1024]) {}
                return After::Close;
            } else {
                wire.write(&json("{}"));
            }
        }
        After::Close
    })
}

/// Sends events of 3 MiB, one on each of `count` connections, and returns the connections.
fn send_events(keyside: &Keyside, count: usize) -> Vec<Client> {
    let event = genuine(&noise(3 * MIB));
    (0..count)
        .map(|_| {
            let mut client = Client::connect(keyside.inbound()).unwrap();
            client.send(&event);
            client
        })
        .collect()
}

/// Begins an upload on a connection of its own, and writes to it for as long as Keyside takes the
/// bytes.
fn upload(keyside: &Keyside) -> thread::JoinHandle<Option<Answer>> {
    let mut client = keyside.connect().patience(Duration::from_secs(20));
    let mut writer = client.writer();
    thread::spawn(move || {
        let head = concat!(
            "POST /v23.0/1234567890/media HTTP/1.1\r\nHost: localhost\r\n",
            "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 100000000\r\n\r\n"
        );
        client.send(head.as_bytes());
        thread::spawn(move || {
            while writer.write_all(b"--x\r\n").is_ok() {
                thread::sleep(Duration::from_millis(1));
            }
        });
        client.answer().ok()
    })
}

#[test]
fn held_events_unread_answers_and_interim_answers_together_stay_below_the_limit_of_a_pod() {
    let (upstream, slow, quick) = (provider(), hanging(), application());
    let mut keyside = setup(&upstream, &slow, &quick).start();
    let before = resident(&keyside, "VmRSS");
    let uploads: Vec<_> = (0..4).map(|_| upload(&keyside)).collect();
    // Applications that ask for large answers and do not read them.
    let unread: Vec<Client> = (0..40)
        .map(|_| {
            let mut client = keyside.connect();
            client.send(&get(LARGE));
            client
        })
        .collect();
    // The application never answers the events that fit.
    let mut events: Vec<Client> = send_events(&keyside, 24)
        .into_iter()
        .map(|client| client.patience(Duration::from_millis(200)))
        .collect();
    let refused = events
        .iter_mut()
        .filter_map(|client| client.answer().ok())
        .filter(|answer| (answer.status, answer.slug()) == (503, "overloaded"))
        .inspect(|answer| assert!(answer.header("retry-after").is_some()))
        .count();
    assert!(
        refused >= 8,
        "{refused} of the events that do not fit were refused"
    );
    for upload in uploads {
        let answer = upload.join().unwrap().expect("an answer to the upload");
        assert_eq!((answer.status, answer.slug()), (502, "upstream_protocol"));
    }

    // Small messages and the small events of another webhook go on meanwhile.
    assert_eq!(keyside.post(MESSAGES, "{\"to\":\"1\"}").status, 200);
    let event = String::from_utf8(genuine(b"{}"))
        .unwrap()
        .replace(HOOK, "/quick");
    assert_eq!(keyside.event(event.as_bytes()).status, 200);
    let large = format!("{{\"to\":\"{}\"}}", "1".repeat(MIB - 100));
    let crowded = keyside.post(MESSAGES, &large);
    assert!(matches!(crowded.status, 200 | 503), "{}", crowded.status);

    let peak = peak(&keyside);
    eprintln!(
        "resident before: {} KiB, at most: {} KiB",
        before / 1024,
        peak / 1024
    );
    assert!(
        peak < MAX_RESIDENT,
        "{} MiB were resident, {} MiB at the beginning",
        peak >> 20,
        before >> 20
    );
    keyside.leave_connections(
        "the application never answers: its events keep their connections until the timeout",
    );
    drop((unread, events));
    let recovers = eventually(Duration::from_secs(10), || {
        keyside.post(MESSAGES, &large).status == 200
    });
    assert!(recovers, "the memory of peers that are gone is used again");
}

/// Opens `count` connections, sends `bytes` over each, and keeps them.
fn crowd(address: SocketAddr, count: usize, bytes: &[u8]) -> Vec<TcpStream> {
    let open = || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(bytes).ok();
        stream
    };
    std::iter::repeat_with(open).take(count).collect()
}

/// A head of `length` bytes without the end.
fn long_head(length: usize) -> Vec<u8> {
    let line = format!("X-Long: {}\r\n", "x".repeat(990));
    let lines = line.repeat(length / line.len());
    format!("POST {MESSAGES} HTTP/1.1\r\nHost: localhost\r\n{lines}").into_bytes()
}

#[test]
fn all_that_peers_can_fill_at_a_time_stays_below_the_limit_of_a_pod() {
    let (upstream, slow, quick) = (provider(), hanging(), application());
    let mut keyside = setup(&upstream, &slow, &quick).start();
    let (outbound, inbound, admin) = (keyside.outbound(), keyside.inbound(), keyside.admin());
    let uploads: Vec<_> = (0..4).map(|_| upload(&keyside)).collect();
    let large_events = send_events(&keyside, 24);
    let small_event = genuine(b"{}");
    let attachment = get("/whatsapp_business/attachments/?mid=1");
    // A whole request, and nearly all of the next one.
    let ahead = [post(MESSAGES, "{}"), long_head(7 * 1024)].concat();
    let event_ahead = [
        String::from_utf8(small_event.clone())
            .unwrap()
            .replace(HOOK, "/quick")
            .into_bytes(),
        long_head(7 * 1024),
    ]
    .concat();
    let crowds = [
        crowd(outbound, 40, &get(LARGE)),
        crowd(outbound, 200, &attachment),
        crowd(inbound, 180, &small_event),
        crowd(outbound, 300, &ahead),
        crowd(inbound, 100, &event_ahead),
        crowd(outbound, 300, &long_head(30 * 1024)),
        crowd(inbound, 150, &long_head(15 * 1024)),
        crowd(admin, 40, &long_head(30 * 1024)),
    ];
    // Small messages and the small events of another webhook go on meanwhile.
    for _ in 0..20 {
        assert_eq!(keyside.post(MESSAGES, "{\"to\":\"1\"}").status, 200);
    }
    let quick_event = String::from_utf8(small_event)
        .unwrap()
        .replace(HOOK, "/quick");
    assert_eq!(keyside.event(quick_event.as_bytes()).status, 200);
    for upload in uploads {
        let answer = upload.join().unwrap().expect("an answer to the upload");
        assert!(matches!(answer.status, 502 | 503), "{}", answer.text());
    }
    assert_eq!(keyside.post(MESSAGES, "{\"to\":\"1\"}").status, 200);
    let peak = peak(&keyside);
    eprintln!("at most {} KiB resident", peak / 1024);
    assert!(peak < MAX_RESIDENT, "{} MiB were resident", peak >> 20);
    keyside.leave_connections(
        "the application never answers: its events keep their connections until the timeout",
    );
    drop((crowds, large_events));
}

#[test]
fn an_idle_connection_leaves_its_buffers_to_the_next() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream).level("info").start();
    let served = || -> Vec<Client> {
        let serve = || {
            let mut client = keyside.connect();
            assert_eq!(client.ask(&post(MESSAGES, "{}")).unwrap().status, 200);
            client
        };
        let clients = std::iter::repeat_with(serve).take(200).collect();
        thread::sleep(Duration::from_millis(2500));
        clients
    };
    let first = served();
    let before = resident(&keyside, "RssAnon");
    let others = [served(), served(), served()];
    let grown = resident(&keyside, "RssAnon").saturating_sub(before) / 600;
    // With its buffers, a connection has 20 KiB.
    assert!(grown < 14 * 1024, "{grown} bytes for each connection");
    drop((first, others));
}

#[test]
fn events_that_a_slow_application_holds_are_counted_by_the_memory_that_they_take() {
    let (upstream, slow, quick) = (provider(), hanging(), application());
    let mut keyside = setup(&upstream, &slow, &quick).start();
    let before = resident(&keyside, "VmRSS");
    // Chunks of 33 KiB: the pieces as read would keep buffers of twice the size.
    let body = noise(3 * MIB);
    let mut request = format!(
        "POST {HOOK} HTTP/1.1\r\nHost: h\r\nX-Hub-Signature-256: sha256={}\r\nTransfer-Encoding: chunked\r\n\r\n",
        hmac_sha256(APP_SECRET, &body)
    )
    .into_bytes();
    for chunk in body.chunks(33 * 1024) {
        write!(request, "{:x}\r\n", chunk.len()).unwrap();
        request.extend_from_slice(chunk);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"0\r\n\r\n");
    let clients: Vec<_> = (0..20)
        .map(|_| {
            let mut client = Client::connect(keyside.inbound()).unwrap();
            client.send(&request);
            client
        })
        .collect();
    assert!(slow.wait_for(1, Duration::from_secs(10)), "events are held");
    let held = resident(&keyside, "VmHWM") - before;
    assert!(
        held < 16 << 20,
        "{} MiB for at most 6 MiB of events",
        held >> 20
    );
    keyside.leave_connections(
        "the application never answers: its events keep their connections until the timeout",
    );
    drop(clients);
}

#[test]
fn large_answers_wait_for_room_and_all_arrive_whole() {
    let (upstream, slow, quick) = (provider(), hanging(), application());
    let keyside = setup(&upstream, &slow, &quick).start();
    let clients: Vec<_> = (0..12)
        .map(|_| {
            let mut client = keyside.connect().patience(Duration::from_secs(20));
            thread::spawn(move || client.ask(&get(LARGE)).unwrap())
        })
        .collect();
    for client in clients {
        let answer = client.join().unwrap();
        assert_eq!((answer.status, answer.body.len()), (200, 8 * MIB));
    }
    let peak = peak(&keyside);
    assert!(peak < MAX_RESIDENT, "{} MiB", peak >> 20);
}

#[test]
fn a_form_without_a_valid_signature_costs_neither_memory_nor_time() {
    let application = application();
    let keyside = Setup::at("http://127.0.0.1:1")
        .file("auth_token", "0123456789abcdef0123456789abcdef")
        .config(&format!(
            "[outbound]\nlisten = [\"127.0.0.1:@PORT@\"]\n[admin]\nlisten = [\"127.0.0.1:@ADMIN@\"]\n\
             [inbound]\nlisten = [\"127.0.0.1:@INBOUND@\"]\n\
             [credential.t]\nprovider = \"twilio\"\nauth_token = \"file:@DIR@/auth_token\"\naccount_sid = \"AC1\"\n\
             [[webhook]]\npath = \"{HOOK}\"\ncredential = \"t\"\nforward = \"{}/\"\n\
             public_url = \"https://hooks.example.com{HOOK}\"\n",
            application.url()
        ))
        .start();
    let before = resident(&keyside, "VmHWM");
    let unsigned = |target: &str, body: &[u8]| {
        let mut request = format!(
            "POST {target} HTTP/1.1\r\nHost: h\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             X-Twilio-Signature: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        request
    };
    let long_query = format!("{HOOK}?{}", "a&".repeat(7000));
    for (name, target, body, status) in [
        ("4 MiB of fields", HOOK, b"a&".repeat(2 * MIB), 413),
        ("4 MiB without a field", HOOK, vec![b'a'; 4 * MIB], 413),
        (
            "more fields than a form has",
            HOOK,
            b"a&".repeat(60_000),
            401,
        ),
        (
            "as many fields as a form may have",
            HOOK,
            b"a=b&".repeat(1000),
            401,
        ),
        ("one long field", HOOK, vec![b'a'; 120_000], 401),
        ("a long query", &long_query, b"a=b".to_vec(), 401),
    ] {
        let answer = keyside.event(&unsigned(target, &body));
        assert_eq!(answer.status, status, "{name}: {}", answer.text());
    }
    let grown = resident(&keyside, "VmHWM") - before;
    assert!(grown < 8 << 20, "{} KiB", grown >> 10);
    assert_eq!(application.heads(), 0);
}

#[test]
fn a_form_of_an_application_has_a_bound_on_its_fields_and_names() {
    let upstream = Upstream::ok();
    let keyside = Keyside::start(&upstream);
    let form = "application/x-www-form-urlencoded";
    for (name, status) in [
        ("a".repeat(256), 200),
        ("a".repeat(257), 400),
        ("+".repeat(MIB - 10), 400),
    ] {
        let field = format!("{name}=1");
        let answer = keyside.send(&with_body("POST", MESSAGES, form, field.as_bytes()));
        assert_eq!(answer.status, status, "a name of {} bytes", name.len());
    }
    for (separator, count, status) in [
        ("&", 1000, 200),
        ("&", 1001, 400),
        (";", 1001, 400),
        ("&", MIB / 2, 400),
    ] {
        let fields = vec!["a"; count].join(separator);
        let answer = keyside.send(&with_body("POST", MESSAGES, form, fields.as_bytes()));
        assert_eq!(
            answer.status, status,
            "{count} fields between {separator:?}"
        );
    }
}

#[test]
fn a_json_body_in_many_chunks_arrives_whole() {
    let upstream = Upstream::ok();
    let keyside = Keyside::start(&upstream);
    let text = format!("{{\"to\":\"1\",\"x\":\"{}\"}}", "y".repeat(700_000));
    let mut request = format!(
        "POST {MESSAGES} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    for chunk in text.as_bytes().chunks(999) {
        request += &format!(
            "{:x}\r\n{}\r\n",
            chunk.len(),
            std::str::from_utf8(chunk).unwrap()
        );
    }
    request += "0\r\n\r\n";
    assert_eq!(keyside.send(request.as_bytes()).status, 200);
    assert!(upstream.last().body == text.as_bytes());
    assert_eq!(keyside.send(&post(MESSAGES, &text)).status, 200);
}

#[test]
fn a_thousand_uploads_to_a_host_that_stalls_stay_below_the_limit_of_a_pod() {
    let upstream = Upstream::raw(|wire| {
        while let Some((place, request)) = wire.head() {
            if request.target().ends_with("/media") {
                wire.hang();
                return After::Close;
            }
            if wire.body(place, request).is_none() {
                return After::Close;
            }
            wire.write(&json("{}"));
        }
        After::Close
    });
    let keyside = Setup::new(&upstream).level("info").start();
    let head = concat!(
        "POST /v23.0/1234567890/media HTTP/1.1\r\nHost: localhost\r\n",
        "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 100000000\r\n\r\n"
    );
    let begin = [head.as_bytes(), FORM_BEGINS, &vec![b'x'; 200_000]].concat();
    let uploads: Vec<Client> = (0..1000)
        .map(|_| {
            let mut client = keyside.connect();
            client.send(&begin);
            client
        })
        .collect();
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    let refused = keyside.metric("keyside_requests_total", &["outcome=\"overloaded\""]);
    let peak = peak(&keyside);
    eprintln!(
        "at most {} KiB resident, {refused} uploads refused",
        peak / 1024
    );
    assert!(peak < MAX_RESIDENT, "{} MiB were resident", peak >> 20);
    drop(uploads);
}
