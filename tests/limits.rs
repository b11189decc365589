//! Limits: a sender over the rate waits in order or gets a Retry-After, and only time refills a
//! bucket.

use std::thread;
use std::time::{Duration, Instant};

use crate::support::client::{Client, post, with_body};
use crate::support::keyside::{Keyside, Setup, route};
use crate::support::upstream::{Upstream, json};
use crate::support::{MESSAGES, eventually};

fn limited(upstream: &Upstream, lines: &str) -> Keyside {
    Setup::new(upstream).limits(lines).start()
}

/// Number of `count` calls in a row that pass at once.
fn pass(keyside: &Keyside, path: &str, count: usize) -> usize {
    (0..count)
        .filter(|_| keyside.post(path, "{}").status == 200)
        .count()
}

#[test]
fn a_burst_passes_and_what_follows_waits_in_order() {
    let upstream = Upstream::ok();
    let keyside = limited(&upstream, "per_sender = \"5/s\"\nmax_wait = \"5s\"");
    let began = Instant::now();
    assert_eq!(pass(&keyside, MESSAGES, 5), 5);
    let burst = began.elapsed();
    assert!(
        burst < crate::support::stretched(Duration::from_millis(600)),
        "the burst of five waits for nothing: {burst:?}"
    );
    let callers: Vec<_> = (0..5)
        .map(|number| {
            let address = keyside.outbound();
            let caller = thread::spawn(move || {
                Client::connect(address)
                    .unwrap()
                    .ask(&post(MESSAGES, &format!("{{\"n\":{number}}}")))
                    .unwrap()
            });
            // In a row, to have an order to keep.
            let waiting = || {
                keyside.status()["routes"][0]["limit"]["waiting"]
                    .as_u64()
                    .unwrap()
            };
            let have_come = || waiting() + upstream.arrivals() as u64 - 5;
            assert!(eventually(Duration::from_secs(2), || have_come() > number));
            caller
        })
        .collect();
    for caller in callers {
        assert_eq!(caller.join().unwrap().status, 200);
    }
    let all = began.elapsed();
    assert!(
        all.as_millis() >= 800 && all < crate::support::stretched(Duration::from_millis(2500)),
        "five more at five a second take a second: {all:?}"
    );
    let requests = upstream.requests();
    let order: Vec<_> = requests[5..]
        .iter()
        .map(|request| String::from_utf8_lossy(&request.body))
        .collect();
    let expected: Vec<_> = (0..5).map(|number| format!("{{\"n\":{number}}}")).collect();
    assert_eq!(order, expected, "first come, first served");
}

#[test]
fn a_wait_and_a_refusal_are_measured() {
    let upstream = Upstream::ok();
    let keyside = limited(&upstream, "per_sender = \"2/s\"\nmax_wait = \"600ms\"");
    assert_eq!(pass(&keyside, MESSAGES, 4), 4);
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let address = keyside.outbound();
            thread::spawn(move || {
                Client::connect(address)
                    .unwrap()
                    .ask(&post(MESSAGES, "{}"))
                    .unwrap()
                    .status
            })
        })
        .collect();
    let refused = callers
        .into_iter()
        .map(|caller| caller.join().unwrap())
        .filter(|status| *status == 429)
        .count();
    assert!(refused > 0, "four more at once do not fit into 600 ms");
    let limited = keyside.metric("keyside_limited_total", &["route=\"acme\"", "limit="]);
    assert!(
        (limited - refused as f64).abs() < 0.1,
        "{refused} refused, {limited} counted"
    );
    let waited = keyside.metric("keyside_queue_wait_seconds_sum", &["route=\"acme\""]);
    assert!(
        waited > 0.5,
        "two waited half a second each, {waited} is measured:\n{}",
        keyside.metrics()
    );
}

#[test]
fn a_rate_is_kept_over_time() {
    let upstream = Upstream::ok();
    let keyside = limited(&upstream, "per_sender = \"20/s\"\nmax_wait = \"1ms\"");
    let began = Instant::now();
    let (mut passed, mut attempts) = (0, 0);
    let mut client = keyside.connect();
    while began.elapsed() < Duration::from_secs(2) {
        attempts += 1;
        passed += usize::from(client.ask(&post(MESSAGES, "{}")).unwrap().status == 200);
        thread::sleep(Duration::from_millis(4));
    }
    // A burst of 20, and 20 in each second.
    let most = 20.0 + 20.0 * began.elapsed().as_secs_f64() + 2.0;
    assert!(
        passed >= 40.min(attempts * 4 / 5) && passed as f64 <= most,
        "{passed} of {attempts} in two seconds"
    );
    assert_eq!(
        upstream.arrivals(),
        passed,
        "what is refused does not leave"
    );
}

#[test]
fn over_the_limit_without_time_to_wait_is_a_429_that_says_when() {
    let upstream = Upstream::ok();
    let keyside = limited(&upstream, "per_sender = \"1/10s\"\nmax_wait = \"1s\"");
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    let began = Instant::now();
    let answer = keyside.post(MESSAGES, "{}");
    assert!(
        began.elapsed() < crate::support::stretched(Duration::from_millis(500)),
        "it is told at once, not after the wait: {:?}",
        began.elapsed()
    );
    answer.must_be_a_refusal("over the limit");
    assert_eq!((answer.status, answer.slug()), (429, "rate_limited"));
    let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((8..=10).contains(&seconds), "Retry-After {seconds}");
    let body = answer.json();
    assert_eq!(body["error"]["code"], 130_429);
    let milliseconds = body["error"]["keyside"]["retry_after_ms"]
        .as_u64()
        .expect("retry_after_ms");
    assert!((8_000..=10_000).contains(&milliseconds), "{milliseconds}");
    assert_eq!(body["error"]["keyside"]["route"], "acme");
    assert_eq!(upstream.arrivals(), 1);
    assert!(keyside.metric("keyside_limited_total", &["route=\"acme\""]) >= 1.0);
}

#[test]
fn the_application_may_shorten_the_wait_but_not_lengthen_it() {
    let upstream = Upstream::ok();
    let keyside = limited(&upstream, "per_sender = \"1/2s\"\nmax_wait = \"3s\"");
    let ask = |prefer: &str| {
        let request = format!(
            "POST {MESSAGES} HTTP/1.1\r\nHost: localhost\r\nPrefer: {prefer}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
        );
        let began = Instant::now();
        (keyside.send(request.as_bytes()).status, began.elapsed())
    };
    assert_eq!(ask("wait=0").0, 200, "there is room");
    let (status, took) = ask("wait=0");
    assert_eq!(status, 429);
    assert!(
        took < crate::support::stretched(Duration::from_millis(400)),
        "{took:?}"
    );
    let (status, took) = ask("wait=100");
    assert_eq!(status, 200);
    assert!(took > Duration::from_millis(300), "{took:?}");
}

#[test]
fn senders_do_not_share_a_limit() {
    let upstream = Upstream::ok();
    let keyside = limited(&upstream, "per_sender = \"3/30s\"\nmax_wait = \"1ms\"");
    for sender in ["111", "222", "333"] {
        assert_eq!(
            pass(&keyside, &format!("/v23.0/{sender}/messages"), 6),
            3,
            "{sender}"
        );
    }
    assert_eq!(
        pass(&keyside, "/111/messages", 3),
        0,
        "without its version it is the same sender"
    );
    assert_eq!(
        pass(&keyside, "/v24.0/111/messages", 3),
        0,
        "and in another version, too"
    );
}

#[test]
fn reading_media_is_not_limited_by_messages() {
    let upstream = Upstream::ok();
    let keyside = limited(&upstream, "per_sender = \"1/30s\"\nmax_wait = \"1ms\"");
    assert_eq!(pass(&keyside, MESSAGES, 3), 1);
    for _ in 0..20 {
        assert_eq!(keyside.get("/v23.0/1234567890").status, 200);
    }
}

#[test]
fn a_reload_does_not_refill_the_burst() {
    let upstream = Upstream::ok();
    let keyside = limited(&upstream, "per_sender = \"5/60s\"\nmax_wait = \"1ms\"");
    assert_eq!(pass(&keyside, MESSAGES, 8), 5);
    for _ in 0..3 {
        keyside.sighup_and_wait();
        assert_eq!(pass(&keyside, MESSAGES, 3), 0, "after SIGHUP");
        assert_eq!(keyside.reload().status, 200);
        assert_eq!(pass(&keyside, MESSAGES, 3), 0, "after POST /reload");
    }
}

#[test]
fn a_changed_rate_does_not_refill_the_burst() {
    let upstream = Upstream::ok();
    let mut setup = Setup::new(&upstream).limits("per_sender = \"10/60s\"\nmax_wait = \"1ms\"");
    setup = setup.level("info");
    let mut keyside = setup.start();
    assert_eq!(pass(&keyside, MESSAGES, 12), 10);
    // A larger bucket may hold more tokens than the smaller bucket did, but is not full.
    for (rate, most) in [("20/120s", 10), ("10/61s", 1), ("5/60s", 1), ("10/60s", 1)] {
        change_limits(
            &mut keyside,
            &format!("per_sender = \"{rate}\"\nmax_wait = \"1ms\""),
        );
        assert_eq!(keyside.reload().status, 200, "{rate}");
        let passed = pass(&keyside, MESSAGES, 12);
        assert!(passed <= most, "{rate}: {passed} passed");
    }
}

fn change_limits(keyside: &mut Keyside, lines: &str) {
    let path = keyside.dir().join("proxy.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, _) = text.split_once("[route.limits]\n").unwrap();
    keyside
        .dir()
        .write("proxy.toml", format!("{before}[route.limits]\n{lines}\n"));
}

#[test]
fn waiting_requests_are_let_through_across_a_reload() {
    let upstream = Upstream::ok();
    let keyside = limited(&upstream, "per_sender = \"4/s\"\nmax_wait = \"5s\"");
    let callers: Vec<_> = (0..10)
        .map(|_| {
            let address = keyside.outbound();
            thread::spawn(move || {
                Client::connect(address)
                    .unwrap()
                    .ask(&post(MESSAGES, "{}"))
                    .unwrap()
                    .status
            })
        })
        .collect();
    thread::sleep(Duration::from_millis(200));
    keyside.sighup_and_wait();
    let statuses: Vec<_> = callers
        .into_iter()
        .map(|caller| caller.join().unwrap())
        .collect();
    assert_eq!(statuses, [200; 10]);
}

#[test]
fn a_changed_rate_applies_to_requests_that_wait_already() {
    let upstream = Upstream::ok();
    let mut keyside = limited(&upstream, "per_sender = \"10/s\"\nmax_wait = \"30s\"");
    let address = keyside.outbound();
    let send = || {
        thread::spawn(move || {
            Client::connect(address)
                .unwrap()
                .ask(&post(MESSAGES, "{}"))
                .map(drop)
        })
    };
    let mut callers: Vec<_> = (0..60).map(|_| send()).collect();
    assert!(
        eventually(Duration::from_secs(5), || upstream.arrivals() >= 12),
        "the burst is used"
    );
    change_limits(&mut keyside, "per_sender = \"4/s\"\nmax_wait = \"30s\"");
    assert_eq!(keyside.reload().status, 200);
    // Waits until messages sent at the old rate have arrived.
    thread::sleep(crate::support::stretched(Duration::from_millis(50)));
    let (before, began) = (upstream.arrivals(), Instant::now());
    callers.extend((0..10).map(|_| send()));
    thread::sleep(Duration::from_millis(1500));
    let went = upstream.arrivals() - before;
    let most = 4.0 * began.elapsed().as_secs_f64() + 1.0;
    assert!(
        went >= 4 && went as f64 <= most,
        "{went} went in 1.5 s at 4/s"
    );
    keyside.leave_connections("the callers wait for their turns still");
    drop(keyside);
    callers
        .into_iter()
        .for_each(|caller| drop(caller.join().unwrap()));
}

#[test]
fn the_queue_has_a_bound() {
    let upstream = Upstream::ok();
    let keyside = limited(
        &upstream,
        "per_sender = \"1/s\"\nmax_wait = \"60s\"\nmax_queue = 3",
    );
    let callers: Vec<_> = (0..12)
        .map(|_| {
            let address = keyside.outbound();
            thread::spawn(move || {
                Client::connect(address)
                    .unwrap()
                    .patience(Duration::from_secs(8))
                    .ask(&post(MESSAGES, "{}"))
            })
        })
        .collect();
    let answers: Vec<_> = callers
        .into_iter()
        .filter_map(|caller| caller.join().unwrap().ok())
        .collect();
    let passed = answers.iter().filter(|answer| answer.status == 200).count();
    let refused: Vec<_> = answers
        .iter()
        .filter(|answer| answer.status != 200)
        .collect();
    assert!((3..=5).contains(&passed), "{passed} passed");
    assert_eq!(passed + refused.len(), 12);
    for answer in refused {
        answer.must_be_a_refusal("queue");
        assert_eq!(answer.status, 429, "{answer:?}");
    }
}

#[test]
fn a_senders_own_rate_is_read_from_the_provider() {
    for (told, rate) in [
        (r#"{"throughput":{"level":"HIGH"},"id":"1"}"#, 1000.0),
        (
            r#"{"throughput":{"level":"STANDARD"},"is_on_biz_app":true,"id":"1"}"#,
            20.0,
        ),
        (r#"{"throughput":{"level":"NOT_APPLICABLE"},"id":"1"}"#, 5.0),
        (r#"{"error":{"code":100,"message":"no such field"}}"#, 5.0),
    ] {
        let upstream = Upstream::answering(move |request| {
            json(if request.target().contains("throughput") {
                told
            } else {
                "{}"
            })
        });
        let keyside = Setup::new(&upstream)
            .route("senders = [\"1234567890\"]\n")
            .provider("limits.per_sender = \"5/s\"")
            .limits(
                "per_sender = \"auto\"\nper_recipient = { rate = \"1000/s\" }\nmax_wait = \"1ms\"",
            )
            .start();
        assert!(
            eventually(Duration::from_secs(5), || upstream.arrivals() >= 1),
            "it is asked"
        );
        thread::sleep(crate::support::stretched(Duration::from_millis(100)));
        let began = Instant::now();
        let passed = pass(&keyside, MESSAGES, 40) as f64;
        let most = rate + rate * began.elapsed().as_secs_f64() + 1.0;
        assert!(
            passed >= f64::min(rate, 40.0) && passed <= most,
            "{told}: {passed}"
        );
        assert_eq!(keyside.reload().status, 200);
    }
}

/// A key of 360dialog is one number, and the vendor never sees the id in a path of the Cloud API.
#[test]
fn ids_that_the_provider_never_sees_have_no_limits_of_their_own() {
    let upstream = Upstream::ok();
    let keyside = route(
        &upstream,
        "360dialog",
        "api_key = \"file:@DIR@/key\"",
        "[route.limits]\nper_sender = \"3/h\"\nmax_wait = \"1ms\"",
    );
    let paths = (50..54).map(|id| format!("/v23.0/{id}/messages"));
    let statuses: Vec<_> = paths
        .chain(["/messages".to_owned()])
        .map(|path| keyside.post(&path, "{}").status)
        .collect();
    assert_eq!(statuses, [200, 200, 200, 429, 429]);
}

#[test]
fn a_file_of_haptik_counts_as_a_message() {
    let upstream = Upstream::ok();
    let account = "host = \"x\"\nclient_id = \"c\"\ntoken = \"file:@DIR@/key\"";
    let lines = "[route.limits]\nper_account = \"1/m\"\nmax_wait = \"1ms\"";
    let keyside = route(&upstream, "haptik", account, lines);
    let body = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nx\r\n--b--\r\n";
    let file = with_body(
        "POST",
        "/v1.0/log_file_from_user",
        "multipart/form-data; boundary=b",
        body.as_bytes(),
    );
    for status in [200, 429] {
        let answer = keyside.send(&file);
        assert_eq!(answer.status, status, "{}", answer.text());
    }
}
