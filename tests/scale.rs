//! Many tenants: the work for operators grows with their number, never with its square, and holds
//! up no send.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::client::{Client, get, post};
use crate::support::keyside::{Keyside, Setup};
use crate::support::stretched;
use crate::support::upstream::Upstream;

/// A sidecar with a credential, a route and a webhook for each tenant.
fn with_tenants(upstream: &Upstream, count: usize) -> Keyside {
    let mut config = "[outbound]\nlisten = [\"127.0.0.1:@PORT@\"]\n[inbound]\nlisten = [\"127.0.0.1:@INBOUND@\"]\n\
         [admin]\nlisten = [\"127.0.0.1:@ADMIN@\", \"unix:@DIR@/admin.sock\"]\n[reload]\nwatch = \"off\"\n[log]\nlevel = \"warn\"\n\
         [provider.test]\nextends = \"meta\"\nupstream = \"@UPSTREAM@\"\nmedia_upstream = \"@UPSTREAM@\"\nca = \"@DIR@/ca.pem\"\n"
        .to_owned();
    for tenant in 0..count {
        config += &format!(
            "[credential.t{tenant}]\nprovider = \"test\"\ncheck = \"off\"\ntoken = \"file:@DIR@/token\"\n\
             app_secret = \"file:@DIR@/app_secret\"\nverify_token = \"file:@DIR@/verify_token\"\nproof = \"off\"\n\
             [[route]]\ncredential = \"t{tenant}\"\npath = \"/t{tenant}\"\n\
             [[webhook]]\ncredential = \"t{tenant}\"\npath = \"/hooks/t{tenant}\"\nforward = \"http://127.0.0.1:9/\"\n"
        );
    }
    Setup::new(upstream)
        .file("app_secret", "an app secret")
        .file("verify_token", "a verify token")
        .config(&config)
        .start()
}

/// The time of the faster of two answers of the admin listener.
fn time_of(keyside: &Keyside, request: &[u8]) -> Duration {
    let ask = || {
        let began = Instant::now();
        assert_eq!(keyside.ask_admin(request).status, 200);
        began.elapsed()
    };
    ask().min(ask())
}

/// True if a measurement holds in any of some rounds: in the rest, a foreign program may take the
/// processor.
fn holds_in_some_round(mut measure: impl FnMut() -> bool) -> bool {
    (0..ROUNDS).any(|_| measure())
}

const ROUNDS: usize = 5;

/// The longest time of a send while `during` runs.
fn longest_send(keyside: &Keyside, during: impl FnOnce()) -> Duration {
    let is_over = AtomicBool::new(false);
    let sends = || {
        let mut client = Client::connect(keyside.outbound()).unwrap();
        let send = post("/t7/v23.0/1/messages", "{}");
        // The first send connects to the upstream.
        assert_eq!(client.ask(&send).unwrap().status, 200);
        let mut longest = Duration::ZERO;
        while !is_over.load(Ordering::Relaxed) {
            let began = Instant::now();
            assert_eq!(client.ask(&send).unwrap().status, 200);
            longest = longest.max(began.elapsed());
            thread::sleep(Duration::from_millis(1));
        }
        longest
    };
    thread::scope(|scope| {
        let sender = scope.spawn(sends);
        thread::sleep(Duration::from_millis(50));
        during();
        is_over.store(true, Ordering::Relaxed);
        sender.join().unwrap()
    })
}

fn questions() -> [(&'static str, Vec<u8>); 6] {
    [
        ("/status", get("/status")),
        ("/status of one route", get("/status?route=t7&sender=1")),
        ("/metrics", get("/metrics")),
        ("the status page", get("/?find=t")),
        ("/readyz", get("/readyz")),
        ("/reload", post("/reload", "")),
    ]
}

#[test]
fn an_answer_about_four_times_the_tenants_takes_about_four_times_as_long() {
    let upstream = Upstream::ok();
    let [few, many] = [250, 1000].map(|count| with_tenants(&upstream, count));
    for (name, request) in questions() {
        let is_linear = holds_in_some_round(|| {
            let short = time_of(&few, &request);
            let long = time_of(&many, &request);
            eprintln!("{name}: {short:?} at 250 tenants, {long:?} at 1000");
            // Less than a few milliseconds is no measure.
            long < short.max(Duration::from_millis(5)) * 6
        });
        assert!(is_linear, "{name}");
    }
}

#[test]
fn no_send_waits_for_an_answer_about_three_thousand_tenants() {
    let upstream = Upstream::ok();
    let keyside = with_tenants(&upstream, 3000);
    for (name, request) in questions() {
        let is_prompt = holds_in_some_round(|| {
            let began = Instant::now();
            let longest = longest_send(&keyside, || {
                for _ in 0..3 {
                    assert_eq!(keyside.ask_admin(&request).status, 200);
                }
            });
            let time = began.elapsed();
            eprintln!("{name}: a send took {longest:?} beside three answers in {time:?}");
            longest < stretched(Duration::from_millis(20))
        });
        assert!(is_prompt, "{name}");
    }
}

#[test]
fn no_send_waits_for_those_who_follow_a_thousand_tenants() {
    let upstream = Upstream::ok();
    let keyside = with_tenants(&upstream, 1000);
    let mut viewers: Vec<_> = (0..8)
        .map(|_| unread(&keyside, &get("/page/updates")))
        .collect();
    let is_prompt = holds_in_some_round(|| {
        let longest = longest_send(&keyside, || thread::sleep(Duration::from_secs(5)));
        eprintln!("a send took {longest:?} beside {} viewers", viewers.len());
        longest < stretched(Duration::from_millis(50))
    });
    assert!(is_prompt);
    let mut piece = [0; 4096];
    for viewer in &mut viewers {
        assert!(viewer.read(&mut piece).unwrap() > 0, "an update came");
    }
}

/// A connection without a reading peer, to keep most of a large answer in Keyside.
fn unread(keyside: &Keyside, request: &[u8]) -> UnixStream {
    let mut stream = UnixStream::connect(keyside.dir().path().join("admin.sock")).unwrap();
    stream.write_all(request).unwrap();
    // The beginning of the answer is here.
    stream.read_exact(&mut [0]).unwrap();
    stream
}

#[test]
fn a_large_answer_waits_until_others_are_read_and_is_refused_after_a_while() {
    let upstream = Upstream::ok();
    let keyside = with_tenants(&upstream, 1000);
    let request = get("/status");
    let mut others = [unread(&keyside, &request), unread(&keyside, &request)];
    let began = Instant::now();
    let refused = keyside.ask_admin(&request);
    assert_eq!((refused.status, refused.slug()), (503, "overloaded"));
    assert!(began.elapsed() >= Duration::from_secs(5));
    assert_eq!(keyside.ask_admin(&get("/status?route=t7")).status, 200);
    let whole = thread::scope(|scope| {
        let waiting = scope.spawn(|| keyside.ask_admin(&request));
        thread::sleep(Duration::from_millis(500));
        assert!(!waiting.is_finished());
        let read = |stream: &mut UnixStream| {
            stream.shutdown(Shutdown::Write).unwrap();
            stream.read_to_end(&mut Vec::new()).unwrap();
        };
        others.iter_mut().for_each(read);
        waiting.join().unwrap()
    });
    assert_eq!(whole.status, 200);
    // Many at a time take turns, and all are answered.
    thread::scope(|scope| {
        let ask = || assert_eq!(keyside.ask_admin(&request).status, 200);
        for _ in 0..8 {
            scope.spawn(ask);
        }
    });
}

#[test]
fn idle_tenants_have_few_series_and_a_used_route_has_all_of_its_own() {
    let upstream = Upstream::ok();
    let keyside = with_tenants(&upstream, 300);
    let idle = keyside.metrics();
    eprintln!("{} bytes", idle.len());
    assert!(idle.len() < 100_000, "{} bytes", idle.len());
    let age_of = |page: &str, secret: &str| {
        let labels = format!("{{credential=\"t7\",secret=\"{secret}\"}}");
        page.contains(&format!("keyside_credential_age_seconds{labels}"))
    };
    assert!(age_of(&idle, "token") && !age_of(&idle, "app_secret"));
    assert!(!idle.contains("route=\"t7\""), "the route is unused");
    let compressed = keyside.ask_admin(
        b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: deflate, gzip;q=0.9\r\n\r\n",
    );
    assert_eq!(compressed.header("content-encoding"), Some("gzip"));
    assert!(compressed.body.len() < 50_000, "{}", compressed.body.len());
    assert!(compressed.body.starts_with(&[0x1f, 0x8b]));
    let message = post("/t7/v23.0/1/messages", "{}");
    assert_eq!(keyside.send(&message).status, 200);
    let used = keyside.metrics();
    assert!(age_of(&used, "app_secret") && age_of(&used, "verify_token"));
    for series in [
        "keyside_requests_total{route=\"t7\",operation=\"messages\",outcome=\"ok\"} 1",
        "keyside_request_duration_seconds_count{route=\"t7\"} 1",
        "keyside_limited_total{route=\"t7\",limit=\"sender\"} 0",
        "keyside_throttled_total{route=\"t7\",limit=\"account\"} 0",
        "keyside_limit_paused{route=\"t7\",limit=\"sender\"} 0",
    ] {
        assert!(used.contains(series), "{series}");
    }
    assert!(!used.contains("route=\"t8\""), "another route");
}

#[test]
fn a_status_of_one_route_shows_the_route_and_its_credential() {
    let upstream = Upstream::ok();
    let keyside = with_tenants(&upstream, 20);
    for (query, expected) in [("?route=t7", &["t7"][..]), ("?route=t77", &[])] {
        let status = keyside.ask_admin(&get(&format!("/status{query}"))).json();
        for table in ["routes", "credentials", "webhooks"] {
            let names: Vec<_> = status[table].as_array().unwrap().iter().collect();
            let names: Vec<_> = names
                .iter()
                .map(|row| row["name"].as_str().unwrap())
                .collect();
            assert_eq!(names, expected, "{table}{query}");
        }
    }
}
