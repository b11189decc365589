//! Work on large bodies: whatever is looked through, no small message waits for it.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::client::{Client, MULTIPART, file_form, get, post, with_body};
use crate::support::keyside::{Directory, Keyside, Setup};
use crate::support::upstream::{Upstream, answer, json};
use crate::support::webhook::{application, beside, genuine};
use crate::support::{MESSAGES, UPLOADS, eventually, preload};

/// The path of an account, whose description the test's upstream answers with megabytes.
const LARGE: &str = "/v23.0/1234567890/message_templates";
const MIB: usize = 1 << 20;
/// Callers with large bodies at a time.
const CALLERS: usize = 20;

/// An upstream that answers a question about templates with 1 MiB of links, and anything else with
/// a line.
fn provider() -> Upstream {
    let link = r#"{"url":"https:\/\/example.com\/%41\u0045&amp;EAA"},"#;
    let answered = |length: usize| {
        let body = format!("{{\"data\":[{}0]}}", link.repeat(length / link.len()));
        let json = [("Content-Type", "application/json")];
        answer("200 OK", &json, body.as_bytes())
    };
    let (large, short, largest) = (answered(MIB), answered(SHORT), answered(8 * MIB));
    Upstream::answering(move |request| {
        let target = request.target();
        if target.starts_with(LARGE) {
            large.clone()
        } else if target.contains("/8/message_templates") {
            largest.clone()
        } else if target.contains("message_templates") {
            short.clone()
        } else {
            json("{}")
        }
    })
}

/// A message of nearly 1 MiB with many fields, and a key that no other message has.
fn large_message() -> Vec<u8> {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let fields = r#"{"name":"a","value":"b\"c"},"#.repeat(36_000);
    let body = format!("{{\"to\":\"{number}\",\"access_token\":\"x\",\"list\":[{fields}0]}}");
    assert!(body.len() < MIB);
    let request = String::from_utf8(post(MESSAGES, &body)).unwrap();
    let key = format!("Idempotency-Key: {number}\r\nContent-Length");
    request.replacen("Content-Length", &key, 1).into_bytes()
}

/// The time for which the thread of requests has run. Unlike the time on a clock, this time does
/// not grow while other programs have the processor.
fn time_of_thread(keyside: &Keyside) -> Duration {
    let pid = keyside.pid();
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/schedstat")).unwrap();
    let nanoseconds = text.split(' ').next().unwrap();
    Duration::from_nanos(nanoseconds.parse().unwrap())
}

/// The longest time for which the thread of requests runs while a small message waits, with callers
/// that send `request` for some seconds, and the number of their answers.
fn longest_beside(keyside: &Keyside, request: impl Fn() -> Vec<u8> + Sync) -> (Duration, usize) {
    let (is_over, answers) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| {
                let mut client = keyside.connect().patience(Duration::from_secs(60));
                while !is_over.load(Ordering::Relaxed) {
                    let status = client.ask(&request()).map(|answer| answer.status);
                    assert!(matches!(status, Ok(200 | 503)), "{status:?}");
                    if status == Ok(503) {
                        // The body was not read, so the connection ends.
                        client = keyside.connect().patience(Duration::from_secs(60));
                    }
                    answers.fetch_add(usize::from(status == Ok(200)), Ordering::Relaxed);
                }
            });
        }
        let mut client = keyside.connect().patience(Duration::from_secs(60));
        let small = post(MESSAGES, "{}");
        let (begun, mut longest) = (Instant::now(), Duration::ZERO);
        while begun.elapsed() < Duration::from_secs(3) {
            let before = time_of_thread(keyside);
            assert_eq!(client.ask(&small).unwrap().status, 200);
            longest = longest.max(time_of_thread(keyside) - before);
            thread::sleep(Duration::from_millis(2));
        }
        is_over.store(true, Ordering::Relaxed);
        (longest, answers.load(Ordering::Relaxed))
    })
}

#[test]
fn no_small_message_waits_for_work_on_large_bodies() {
    let upstream = provider();
    let keyside = Setup::new(&upstream)
        .route("operations = [\"messages\", \"templates\"]")
        .level("info")
        .start();
    for (name, request) in [
        ("answers", (|| get(LARGE)) as fn() -> Vec<u8>),
        ("messages with a key", large_message),
    ] {
        let (longest, answers) = longest_beside(&keyside, request);
        let told = format!("{name}: {longest:?} while a small message waited, {answers} answers");
        eprintln!("{told}");
        assert!(longest < LONGEST && answers > 0, "{told}");
    }
}

/// The longest time in a build for tests: a turn of each of the callers, of a millisecond at most,
/// on a machine five times slower. Work on large bodies takes seconds there.
const LONGEST: Duration = Duration::from_millis(5 * CALLERS as u64);

/// The measure of the turns of the thread of requests: of its processor time between two waits for
/// events.
struct Turns {
    file: PathBuf,
    library: PathBuf,
    _dir: Directory,
}

impl Turns {
    fn new() -> Self {
        let dir = Directory::new();
        let library = preload::compile("turns.c", &dir);
        let file = dir.write("turns", [0; 8]);
        Self {
            file,
            library,
            _dir: dir,
        }
    }

    /// Has a sidecar measured.
    fn of(&self, setup: Setup) -> Setup {
        setup
            .env("LD_PRELOAD", &self.library.display().to_string())
            .env("KEYSIDE_TURNS", &self.file.display().to_string())
    }

    /// The longest turn while `work` runs.
    fn longest(&self, work: impl FnOnce()) -> Duration {
        // Written in place: the sidecar has mapped the file.
        let mut options = fs::OpenOptions::new();
        let file = options.read(true).write(true).open(&self.file).unwrap();
        file.write_all_at(&[0; 8], 0).unwrap();
        work();
        let mut nanoseconds = [0; 8];
        file.read_exact_at(&mut nanoseconds, 0).unwrap();
        Duration::from_nanos(u64::from_le_bytes(nanoseconds))
    }
}

/// A request that costs much, and the status of its answer.
struct WorstCase {
    name: &'static str,
    address: SocketAddr,
    request: Vec<u8>,
    status: u16,
}

/// A JSON object of nearly `length` bytes, with as many fields as fit, and one of them a
/// credential.
fn fields(length: usize) -> String {
    let field = r#""a_key":"\u0062\/\\","#;
    let fields = field.repeat(length / field.len() - 2);
    format!(r#"{{"access_token":"x",{fields}"to":"1"}}"#)
}

/// A JSON object of nearly `length` bytes, with as many values as fit.
fn numbers(length: usize) -> String {
    let numbers = "[[1,2],[3]],";
    let list = numbers.repeat(length / numbers.len() - 3);
    format!(r#"{{"to":"1","list":[{list}0]}}"#)
}

/// A form of nearly `length` bytes, with as many fields as fit or as a form may have.
fn form(length: usize) -> Vec<u8> {
    let count = (length / 30).min(1000);
    let value = "%41%26".repeat((length / count - 8) / 6);
    let fields = vec![format!("a_key={value}"); count].join("&");
    let kind = "application/x-www-form-urlencoded";
    with_body("POST", MESSAGES, kind, fields.as_bytes())
}

/// A message with a header that makes its answer be kept.
fn keyed(body: &str) -> Vec<u8> {
    let request = String::from_utf8(post(MESSAGES, body)).unwrap();
    let key = "Idempotency-Key: a\r\nContent-Length";
    request.replacen("Content-Length", key, 1).into_bytes()
}

/// An upload with as many parts as a form may have, and a file in which each byte may begin a
/// boundary.
fn parts() -> Vec<u8> {
    let part = "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n";
    let file = file_form(&b"\r\n--".repeat(MIB / 4));
    let parts = [part.repeat(98).as_bytes(), &file].concat();
    with_body("POST", UPLOADS, MULTIPART, &parts)
}

/// A message with a head of 28 KiB.
fn long_head() -> Vec<u8> {
    let headers: String = (0..80)
        .map(|number| format!("X-Header-{number}: {}\r\n", "a".repeat(300)))
        .collect();
    let pairs = "a=%41&".repeat(150);
    let request = String::from_utf8(post(&format!("{MESSAGES}?{pairs}"), "{}")).unwrap();
    let headers = format!("{headers}Content-Length");
    request.replacen("Content-Length", &headers, 1).into_bytes()
}

/// The inputs that cost most: at the bound of each body, and at the bound up to which a body is
/// worked on at once.
fn worst_cases(keyside: &Keyside) -> Vec<WorstCase> {
    let (outbound, inbound) = (keyside.outbound(), keyside.inbound());
    let event = |length: usize| genuine(numbers(length).as_bytes());
    let mut forgery = event(4 * MIB);
    let last = forgery.len() - 1;
    forgery[last] = b' ';
    let message = |body: String| post(MESSAGES, &body);
    [
        ("short fields", outbound, message(fields(SHORT)), 200),
        ("long fields", outbound, message(fields(MIB)), 200),
        ("short numbers", outbound, message(numbers(SHORT)), 200),
        ("long numbers", outbound, message(numbers(MIB)), 200),
        ("with a key", outbound, keyed(&fields(MIB)), 200),
        ("a short form", outbound, form(SHORT), 200),
        ("a long form", outbound, form(MIB), 200),
        ("an upload", outbound, parts(), 200),
        ("a long head", outbound, long_head(), 200),
        (
            "a short answer",
            outbound,
            get("/v23.0/1/message_templates"),
            200,
        ),
        ("a long answer", outbound, get(LARGE), 200),
        (
            "the longest answer",
            outbound,
            get("/v23.0/8/message_templates"),
            200,
        ),
        ("a short event", inbound, event(SHORT), 200),
        ("a long event", inbound, event(4 * MIB), 200),
        ("a forgery", inbound, forgery, 401),
    ]
    .into_iter()
    .chain(unsigned_forms(inbound))
    .map(|(name, address, request, status)| WorstCase {
        name,
        address,
        request,
        status,
    })
    .collect()
}

/// Forms without a valid signature at webhooks of Twilio and Plivo, whose signatures are over the
/// fields.
fn unsigned_forms(
    inbound: SocketAddr,
) -> impl Iterator<Item = (&'static str, SocketAddr, Vec<u8>, u16)> {
    let unsigned = |path: &str, body: &[u8]| {
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: h\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             X-Twilio-Signature: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\nX-Plivo-Signature-V3: AAAA\r\nX-Plivo-Signature-V3-Nonce: 1\r\n\
             Content-Length: {length}\r\n\r\n"
        );
        [head.as_bytes(), body].concat()
    };
    let fields = b"a=%41&".repeat(1000);
    let names: String = (0..1000)
        .map(|number| format!("a{number}=%41{number}&"))
        .collect();
    let long = [b"a=".as_slice(), &b"%41".repeat(40_000)].concat();
    let rows = [
        (
            "4 MiB of fields for Twilio",
            TWILIO,
            b"a&".repeat(2 * MIB),
            413,
        ),
        ("equal fields for Twilio", TWILIO, fields.clone(), 401),
        ("fields for Twilio", TWILIO, names.clone().into_bytes(), 401),
        ("a long field for Twilio", TWILIO, long.clone(), 401),
        (
            "more fields than a form has for Twilio",
            TWILIO,
            b"a&".repeat(60_000),
            401,
        ),
        (
            "4 MiB of fields for Plivo",
            PLIVO,
            b"a&".repeat(2 * MIB),
            413,
        ),
        ("equal fields for Plivo", PLIVO, fields, 401),
        ("fields for Plivo", PLIVO, names.into_bytes(), 401),
        ("a long field for Plivo", PLIVO, long, 401),
    ];
    let row = move |(name, path, body, status): (_, &str, Vec<u8>, _)| {
        (name, inbound, unsigned(path, &body), status)
    };
    rows.into_iter().map(row)
}

/// A sidecar with a route and a webhook of Meta's, and webhooks of providers that sign forms.
fn with_forms(upstream: &Upstream, application: &Upstream) -> Setup {
    let webhook = |path: &str, credential: &str| {
        let url = application.url();
        format!(
            "[[webhook]]\npath = \"{path}\"\ncredential = \"{credential}\"\nforward = \"{url}/events\"\n\
             public_url = \"https://hooks.example.com{path}\"\n"
        )
    };
    let mut setup = beside(upstream, application)
        .file("auth_token", "0123456789abcdef0123456789abcdef")
        .route("operations = [\"messages\", \"media\", \"templates\"]")
        .level("info");
    let credentials = "[credential.twilio]\nprovider = \"twilio\"\ncheck = \"off\"\nauth_token = \"file:@DIR@/auth_token\"\naccount_sid = \"AC1\"\n\
                       [credential.plivo]\nprovider = \"plivo\"\ncheck = \"off\"\nauth_token = \"file:@DIR@/auth_token\"\nauth_id = \"MA1\"\n";
    setup.add_more(&format!(
        "{credentials}{}{}",
        webhook(TWILIO, "twilio"),
        webhook(PLIVO, "plivo")
    ));
    setup
}

const TWILIO: &str = "/webhooks/twilio";
const PLIVO: &str = "/webhooks/plivo";

impl WorstCase {
    /// Sends the request for a while, and at least once.
    fn repeat(&self) {
        let ask = || {
            let client = Client::connect(self.address).unwrap();
            let answer = client.patience(Duration::from_secs(60)).ask(&self.request);
            answer.map(|answer| answer.status)
        };
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(500) {
            // Two of the longest events do not fit at a time, and the last one may not be forgotten
            // yet.
            let is_answered = || ask() == Ok(self.status);
            assert!(
                eventually(Duration::from_secs(10), is_answered),
                "{}",
                self.name
            );
        }
    }
}

/// The processor time of the thread of requests for one small message, of many one after the other.
fn time_of_message(keyside: &Keyside) -> Duration {
    const MESSAGES_SENT: u32 = 300;
    let mut client = keyside.connect();
    let message = post(MESSAGES, "{}");
    assert_eq!(client.ask(&message).unwrap().status, 200);
    let before = time_of_thread(keyside);
    for _ in 0..MESSAGES_SENT {
        assert_eq!(client.ask(&message).unwrap().status, 200);
    }
    (time_of_thread(keyside) - before) / MESSAGES_SENT
}

#[test]
fn no_input_keeps_the_thread_of_requests_for_more_than_a_millisecond() {
    let (upstream, application) = (provider(), application());
    let turns = Turns::new();
    let keyside = turns.of(with_forms(&upstream, &application)).start();
    let message = time_of_message(&keyside);
    // A build for tests is slower by some factor, and a busy machine by another: a small message is
    // slower by both.
    let shipped = |turn: Duration| turn.mul_f64(SHIPPED_MESSAGE.div_duration_f64(message));
    let longest: Vec<_> = worst_cases(&keyside)
        .iter()
        .map(|case| {
            // The work on the input comes in each round. The system's work on the thread's time,
            // such as giving memory back to the machine below, comes now and then: 5 to 10 ms were
            // seen, in the optimised program as well. So a round without it proves the bound.
            let mut turn = Duration::MAX;
            for _ in 0..ROUNDS {
                turn = turn.min(turns.longest(|| case.repeat()));
                if shipped(turn) < MOMENT {
                    break;
                }
            }
            (case.name, turn, shipped(turn))
        })
        .collect();
    let told = format!("a message takes {message:?}; turns here and as shipped: {longest:#?}");
    eprintln!("{told}");
    assert!(
        longest.iter().all(|(_, _, shipped)| *shipped < MOMENT),
        "{told}"
    );
}

/// The most rounds of an input.
const ROUNDS: usize = 5;
/// The longest turn of the thread of requests in the program that is shipped.
const MOMENT: Duration = Duration::from_millis(1);
/// The processor time of the thread of requests for a small message in the program that is shipped,
/// of messages one after the other. 96 µs were measured with this test on a busy machine of two
/// processors (`KEYSIDE_TEST_PROGRAM`).
const SHIPPED_MESSAGE: Duration = Duration::from_micros(100);
/// The length of a body that is worked on at once.
const SHORT: usize = 8 * 1024 - 100;
