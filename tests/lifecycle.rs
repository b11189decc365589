//! The life of a sidecar: start, faults at the start, many connections, and the end.

use std::fs::{self, Permissions};
use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use memchr::memmem;
use rustix::process::Signal;

use crate::support::client::{Client, NoAnswer, get, post};
use crate::support::keyside::{Finished, Keyside, Setup, finish};
use crate::support::upstream::{After, Upstream, json};
use crate::support::webhook;
use crate::support::{MEDIA, MESSAGES, eventually};

fn keyside(words: &[&str]) -> Finished {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyside"));
    command.args(words).current_dir("/");
    finish(&mut command, Duration::from_secs(10))
}

/// An upstream that waits before each answer.
fn slow(milliseconds: u64) -> Upstream {
    Upstream::scripted(move |_, wire| {
        thread::sleep(Duration::from_millis(milliseconds));
        wire.write(&json("{}"));
        After::Keep
    })
}

#[test]
fn the_exit_code_tells_usage_configuration_and_failure_apart() {
    let upstream = Upstream::ok();
    for words in [
        &["unheard-of"][..],
        &["run", "--unheard-of"],
        &["run", "--config"],
        &["check", "--config", "a", "b"],
        &[],
    ] {
        let done = keyside(words);
        assert_eq!(done.code, Some(2), "{words:?}: {}", done.output);
    }
    for words in [&["--help"][..], &["--version"]] {
        assert_eq!(keyside(words).code, Some(0), "{words:?}");
    }
    for command in ["run", "check"] {
        let done = keyside(&[command, "--config", "/nowhere/proxy.toml"]);
        assert_eq!(done.code, Some(78), "{command}: {}", done.output);
        assert!(
            done.output.contains("/nowhere/proxy.toml"),
            "{}",
            done.output
        );
        assert_eq!(
            Setup::new(&upstream)
                .config("[outbound]\nlisten = 1\n")
                .finish(command)
                .code,
            Some(78),
            "{command}"
        );
    }
    let good = Setup::new(&upstream).finish("check");
    assert_eq!(good.code, Some(0), "{}", good.output);
    assert_eq!(
        keyside(&["reload", "--admin", "127.0.0.1:9"]).code,
        Some(1),
        "nobody there"
    );
    assert_eq!(
        keyside(&["status", "--admin", "127.0.0.1:9"]).code,
        Some(1),
        "nobody there"
    );
    assert_eq!(
        upstream.connections(),
        0,
        "a check without --online asks nobody"
    );
}

#[test]
fn a_check_names_every_fault_with_file_line_and_column() {
    let upstream = Upstream::ok();
    let setup = Setup::new(&upstream).config(
        "[outbound]\nlisten = [\"127.0.0.1:99999\"]\ndrian = \"25s\"\n[admin]\nlisten = [\"127.0.0.1:@ADMIN@\"]\n[reload]\nwatch = \"soon\"\n\
         [credential.acme]\nprovider = \"meta\"\ntoken = \"typed-in-CANARY\"\n[credential.other]\nprovider = \"mate\"\n\
         [[route]]\ncredential = \"acne\"\nsenders = [5]\n[route.limits]\nper_sender = \"eighty\"\n",
    );
    let file = setup.dir().join("proxy.toml").display().to_string();
    let done = setup.finish("check");
    assert_eq!(done.code, Some(78), "{}", done.output);
    // In the order of the lines above.
    for (line, word) in [
        (2, "listen"),
        (3, "drian"),
        (7, "watch"),
        (10, "token"),
        (12, "provider"),
        (14, "credential"),
        (15, "senders"),
        (17, "per_sender"),
    ] {
        let place = format!("{file}:{line}:");
        let fault = done.output.lines().find_map(|text| {
            text.find(&place)
                .map(|at| text[at + place.len()..].to_owned())
        });
        let fault =
            fault.unwrap_or_else(|| panic!("no fault at line {line} ({word}):\n{}", done.output));
        let (column, rest) = fault
            .split_once(':')
            .unwrap_or_else(|| panic!("no column in {fault:?}"));
        assert!(
            column.parse::<u32>().is_ok_and(|column| column > 0),
            "column {column:?} in {fault:?}"
        );
        assert!(rest.contains(word), "{word} in {rest:?}");
    }
    assert!(
        done.output.contains("drain"),
        "an unknown key gets a suggestion:\n{}",
        done.output
    );
    assert!(!done.output.contains("CANARY"), "{}", done.output);
}

#[test]
fn a_port_in_use_is_one_clear_line_and_exit_1() {
    let upstream = Upstream::ok();
    let first = Keyside::start(&upstream);
    let port = first.outbound().port().to_string();
    let config = fs::read_to_string(first.dir().join("proxy.toml")).unwrap();
    let config = config.replace(&first.admin().port().to_string(), "@ADMIN@");
    let second = Setup::new(&upstream)
        .level("error")
        .config(&config.replace("\"debug\"", "\"error\""))
        .finish("run");
    assert_eq!(second.code, Some(1), "{}", second.output);
    assert!(
        second.output.contains(&port) && second.output.to_lowercase().contains("in use"),
        "{}",
        second.output
    );
    assert_eq!(second.output.trim().lines().count(), 1, "{}", second.output);
    assert_eq!(first.get(MEDIA).status, 200, "the first goes on");
}

#[test]
fn a_started_sidecar_is_live_and_ready_and_shows_its_metrics() {
    let upstream = Upstream::ok();
    let keyside = Keyside::start(&upstream);
    assert_eq!(keyside.ask_admin(&get("/livez")).status, 200);
    assert_eq!(keyside.ask_admin(&get("/readyz")).status, 200);
    let metrics = keyside.metrics();
    for name in [
        "keyside_build_info",
        "keyside_credential_usable",
        "keyside_credential_age_seconds",
        "keyside_connections",
        "keyside_reload_last_success_timestamp_seconds",
    ] {
        assert!(metrics.contains(name), "{name} in:\n{metrics}");
    }
    assert_eq!(upstream.heads(), 0);
}

#[test]
fn requests_are_counted_by_route_operation_and_outcome() {
    let upstream = Upstream::ok();
    let keyside = Keyside::start(&upstream);
    for _ in 0..3 {
        keyside.post(MESSAGES, "{}");
    }
    keyside.get(MEDIA);
    keyside.post("/v23.0/1/register", "{}");
    let count = |labels: &[&str]| keyside.metric("keyside_requests_total", labels);
    let counted = eventually(Duration::from_secs(2), || {
        (count(&["route=\"acme\"", "operation=\"messages\""]) - 3.0).abs() < 0.1
    });
    assert!(counted, "{}", keyside.metrics());
    assert!((count(&["route=\"acme\"", "operation=\"media\""]) - 1.0).abs() < 0.1);
    assert!(
        count(&["route=\"acme\""]) >= 5.0,
        "a refusal counts, too:\n{}",
        keyside.metrics()
    );
    assert!(
        keyside.metric(
            "keyside_request_duration_seconds_count",
            &["route=\"acme\""]
        ) >= 4.0
    );
}

#[test]
fn the_program_measures_no_jitter_for_its_random_numbers() {
    // Names of functions of AWS-LC: of the source that the build leaves out, and of the
    // replacement.
    let program = fs::read(env!("CARGO_BIN_EXE_keyside")).unwrap();
    let has = |name: &str| memmem::find(&program, name.as_bytes()).is_some();
    assert_eq!(
        ["jent_read_entropy", "CRYPTO_sysrand"].map(has),
        [false, true],
        ".cargo/config.toml is not heeded"
    );
}

#[test]
fn sigterm_and_sigint_end_the_sidecar_with_exit_0() {
    let upstream = Upstream::ok();
    for signal in [Signal::TERM, Signal::INT] {
        let mut keyside = Keyside::start(&upstream);
        keyside.get(MEDIA);
        let idle = keyside.connect();
        keyside.signal(signal);
        let status = keyside
            .wait_exit(Duration::from_secs(5))
            .unwrap_or_else(|| {
                panic!("{signal:?}: an idle connection keeps the sidecar from ending")
            });
        assert_eq!(status.code(), Some(0), "{signal:?}");
        drop(idle);
    }
}

/// A sidecar whose start waits until the directory has a file `go`.
fn starting(upstream: &Upstream) -> Keyside {
    let setup = Setup::new(upstream).credential("token = \"exec:@DIR@/wait\"");
    let dir = setup.dir().path().display().to_string();
    let program = format!(
        "#!/bin/sh\ntouch {dir}/begun\nuntil [ -e {dir}/go ]; do sleep 0.05; done\ncat {dir}/token\n"
    );
    let path = setup.dir().write("wait", program);
    fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
    let keyside = setup.spawn();
    let begun = keyside.dir().join("begun");
    assert!(eventually(Duration::from_secs(5), || begun.exists()));
    keyside
}

#[test]
fn sigterm_and_sigint_during_the_start_end_the_sidecar_at_once_with_exit_0() {
    let upstream = Upstream::ok();
    for signal in [Signal::TERM, Signal::INT] {
        let mut keyside = starting(&upstream);
        keyside.signal(signal);
        let status = keyside.wait_exit(Duration::from_secs(5));
        let code = status.and_then(|status| status.code());
        assert_eq!(code, Some(0), "{signal:?}: {}", keyside.log());
    }
}

#[test]
fn sighup_during_the_start_reloads_after_the_start() {
    let upstream = Upstream::ok();
    let keyside = starting(&upstream);
    keyside.signal(Signal::HUP);
    keyside.dir().write("go", "");
    let is_reloaded = || keyside.log().contains("\"cause\":\"SIGHUP\"");
    assert!(
        eventually(Duration::from_secs(10), is_reloaded),
        "{}",
        keyside.log()
    );
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
}

#[test]
fn requests_under_way_at_sigterm_are_finished() {
    let upstream = slow(700);
    let mut keyside = Keyside::start(&upstream);
    let mut under_way: Vec<Client> = (0..20).map(|_| keyside.connect()).collect();
    for client in &mut under_way {
        client.send(&post(MESSAGES, "{}"));
    }
    assert!(
        upstream.wait_for(20, Duration::from_secs(5)),
        "{} of 20 are under way",
        upstream.heads()
    );
    keyside.signal(Signal::TERM);
    for client in &mut under_way {
        assert_eq!(client.answer().map(|answer| answer.status), Ok(200));
    }
    assert_eq!(
        keyside
            .wait_exit(Duration::from_secs(5))
            .and_then(|status| status.code()),
        Some(0)
    );
    assert_eq!(upstream.arrivals(), 20);
}

#[test]
fn sigterm_under_load_fails_no_request_that_has_begun() {
    let upstream = slow(10);
    let mut keyside = Setup::new(&upstream).level("info").start();
    let address = keyside.outbound();
    let ended = Arc::new(AtomicBool::new(false));
    let workers: Vec<_> = (0..8)
        .map(|worker| {
            let ended = Arc::clone(&ended);
            thread::spawn(move || {
                let mut lost = Vec::new();
                let mut passed = 0;
                let mut client: Option<Client> = None;
                loop {
                    // Half of the clients keep their connection, the other half open a connection
                    // for each request.
                    let reused = worker % 2 == 0 && client.is_some();
                    let Some(mut connection) = client
                        .take()
                        .filter(|_| reused)
                        .or_else(|| Client::connect(address).ok())
                    else {
                        return (passed, lost);
                    };
                    let after_the_signal = ended.load(Ordering::SeqCst);
                    match connection.ask(&post(MESSAGES, "{}")) {
                        Ok(answer) if answer.status == 200 => passed += 1,
                        // A request after the signal may be refused, or find the connection closed.
                        Ok(answer) if answer.slug() == "draining" => return (passed, lost),
                        Err(NoAnswer::Closed | NoAnswer::Reset)
                            if after_the_signal || ended.load(Ordering::SeqCst) =>
                        {
                            return (passed, lost);
                        }
                        other => {
                            lost.push(format!("{other:?}"));
                            return (passed, lost);
                        }
                    }
                    client = Some(connection);
                }
            })
        })
        .collect();
    thread::sleep(Duration::from_millis(800));
    ended.store(true, Ordering::SeqCst);
    keyside.signal(Signal::TERM);
    let status = keyside
        .wait_exit(Duration::from_secs(8))
        .expect("the sidecar ends");
    let (mut passed, mut lost) = (0, Vec::new());
    for worker in workers {
        let (count, why) = worker.join().unwrap();
        passed += count;
        lost.extend(why);
    }
    assert_eq!(status.code(), Some(0));
    assert!(lost.is_empty(), "{passed} passed, lost: {lost:?}");
    assert!(
        passed > 50,
        "only {passed} requests: the load was too small"
    );
    assert_eq!(
        upstream.arrivals(),
        passed,
        "a client has an answer to every request that the upstream received"
    );
}

#[test]
fn a_draining_sidecar_is_not_ready_and_accepts_no_request() {
    let upstream = slow(2500);
    let mut keyside = Keyside::start(&upstream);
    let mut under_way = keyside.connect();
    under_way.send(&post(MESSAGES, "{}"));
    assert!(upstream.wait_for(1, Duration::from_secs(3)));
    keyside.signal(Signal::TERM);
    let not_ready = eventually(Duration::from_secs(1), || {
        Client::connect(keyside.admin())
            .ok()
            .and_then(|mut client| client.ask(&get("/readyz")).ok())
            .is_some_and(|answer| answer.status == 503)
    });
    assert!(not_ready, "/readyz is not 503 during the drain");
    match Client::connect(keyside.outbound()).map(|client| client.patience(Duration::from_secs(1)))
    {
        Err(_) => {}
        Ok(mut client) => match client.ask(&post(MESSAGES, "{}")) {
            Ok(answer) => {
                answer.must_be_a_refusal("draining");
                assert_eq!(answer.slug(), "draining");
            }
            Err(why) => assert!(matches!(why, NoAnswer::Closed | NoAnswer::Reset), "{why:?}"),
        },
    }
    assert_eq!(under_way.answer().map(|answer| answer.status), Ok(200));
    assert_eq!(
        keyside
            .wait_exit(Duration::from_secs(5))
            .and_then(|status| status.code()),
        Some(0)
    );
    assert_eq!(upstream.heads(), 1);
}

#[test]
fn a_drain_ends_when_its_time_is_over() {
    let upstream = slow(20_000);
    let mut keyside = Setup::new(&upstream).outbound("drain = \"1s\"").start();
    let mut stuck = keyside.connect();
    stuck.send(&post(MESSAGES, "{}"));
    assert!(upstream.wait_for(1, Duration::from_secs(3)));
    let began = Instant::now();
    keyside.signal(Signal::TERM);
    assert!(
        keyside.wait_exit(Duration::from_secs(6)).is_some(),
        "the drain has no end"
    );
    assert!(
        began.elapsed() > Duration::from_millis(800),
        "the sidecar did not drain: {:?}",
        began.elapsed()
    );
}

#[test]
fn the_end_of_a_drain_tells_callers_whether_anything_was_sent() {
    let upstream = slow(20_000);
    let limits = "per_sender = \"1/60s\"\nmax_wait = \"60s\"";
    let mut keyside = Setup::new(&upstream)
        .outbound("drain = \"1s\"")
        .limits(limits)
        .start();
    let mut written = keyside.connect();
    written.send(&post(MESSAGES, "{}"));
    assert!(upstream.wait_for(1, Duration::from_secs(3)));
    let mut waiting = keyside.connect();
    waiting.send(&post(MESSAGES, "{}"));
    let waits = || keyside.status()["routes"][0]["limit"]["waiting"] == 1;
    assert!(eventually(Duration::from_secs(3), waits));
    let mut reading = keyside.connect();
    reading.send(&get(MEDIA));
    assert!(upstream.wait_for(2, Duration::from_secs(3)));
    keyside.signal(Signal::TERM);
    let unsent = waiting.answer().unwrap();
    assert_eq!((unsent.status, unsent.slug()), (503, "draining"));
    assert_eq!(unsent.header("retry-after"), Some("1"));
    let read = reading.answer().unwrap();
    assert_eq!((read.status, read.slug()), (503, "draining"));
    let unknown = written.answer().unwrap();
    assert_eq!((unknown.status, unknown.slug()), (504, "upstream_timeout"));
    let outcome = &unknown.json()["error"]["keyside"]["outcome"];
    assert_eq!(outcome, "unknown", "{}", unknown.text());
    let ended = keyside.wait_exit(Duration::from_secs(3));
    assert_eq!(ended.and_then(|status| status.code()), Some(0));
    assert_eq!(upstream.heads(), 2);
}

#[test]
fn an_event_that_the_end_of_a_drain_cuts_off_is_asked_for_again() {
    let application = Upstream::plain(|_, _| {
        thread::sleep(Duration::from_secs(20));
        After::Close
    });
    let mut keyside = webhook::beside(&Upstream::ok(), &application)
        .outbound("drain = \"1s\"")
        .start();
    let mut provider = Client::connect(keyside.inbound()).unwrap();
    provider.send(&webhook::genuine(webhook::EVENT.as_bytes()));
    assert!(application.wait_for(1, Duration::from_secs(3)));
    keyside.signal(Signal::TERM);
    let answer = provider.answer().unwrap();
    assert_eq!((answer.status, answer.slug()), (503, "draining"));
    assert!(answer.header("retry-after").is_some());
    assert!(keyside.wait_exit(Duration::from_secs(3)).is_some());
}

#[test]
fn a_second_sigterm_ends_the_sidecar_at_once() {
    let upstream = slow(20_000);
    let mut keyside = Keyside::start(&upstream);
    let mut stuck = keyside.connect();
    stuck.send(&post(MESSAGES, "{}"));
    assert!(upstream.wait_for(1, Duration::from_secs(3)));
    keyside.signal(Signal::TERM);
    thread::sleep(Duration::from_millis(600));
    let early = keyside.wait_exit(Duration::ZERO);
    assert!(
        early.is_none(),
        "one signal must drain, but the sidecar ended: {early:?}"
    );
    keyside.signal(Signal::TERM);
    assert!(
        keyside.wait_exit(Duration::from_secs(1)).is_some(),
        "the second signal did not end the sidecar"
    );
}

#[test]
fn what_is_sent_until_the_last_moment_of_linger_is_served_while_readyz_says_503() {
    let upstream = Upstream::ok();
    let mut keyside = Setup::new(&upstream).outbound("linger = \"2s\"").start();
    keyside.signal(Signal::TERM);
    let not_ready = eventually(Duration::from_secs(1), || {
        keyside.ask_admin(&get("/readyz")).status == 503
    });
    assert!(not_ready, "/readyz is not 503 while the sidecar lingers");
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(1) {
        assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
        thread::sleep(Duration::from_millis(50));
    }
    let ended = keyside.wait_exit(Duration::from_secs(5));
    assert_eq!(ended.and_then(|status| status.code()), Some(0));
    assert!(Client::connect(keyside.outbound()).is_err());
}

#[test]
fn a_second_sigterm_ends_the_linger_at_once() {
    let upstream = Upstream::ok();
    let mut keyside = Setup::new(&upstream).outbound("linger = \"60s\"").start();
    keyside.signal(Signal::TERM);
    thread::sleep(Duration::from_millis(300));
    assert!(keyside.is_running());
    keyside.signal(Signal::TERM);
    assert!(keyside.wait_exit(Duration::from_secs(2)).is_some());
}

#[test]
fn an_application_that_handles_the_last_event_can_still_send() {
    let upstream = Upstream::ok();
    let outbound = Arc::new(std::sync::OnceLock::new());
    let address = Arc::clone(&outbound);
    let application = Upstream::plain(move |_, wire| {
        // The sidecar drains before the application answers.
        thread::sleep(Duration::from_millis(700));
        let sent = Client::connect(*address.get().unwrap())
            .is_ok_and(|mut client| client.ask(&post(MESSAGES, "{}")).is_ok());
        let status = if sent { 200 } else { 500 };
        wire.write(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n").as_bytes());
        After::Keep
    });
    let mut keyside = webhook::beside(&upstream, &application).start();
    outbound.set(keyside.outbound()).unwrap();
    let mut provider = Client::connect(keyside.inbound()).unwrap();
    provider.send(&webhook::genuine(b"{}"));
    assert!(application.wait_for(1, Duration::from_secs(3)));
    keyside.signal(Signal::TERM);
    let closed = eventually(Duration::from_millis(500), || {
        Client::connect(keyside.inbound()).is_err()
    });
    assert!(closed, "the inbound listener closes first");
    assert_eq!(provider.answer().map(|answer| answer.status), Ok(200));
    assert_eq!(upstream.arrivals(), 1);
    let ended = keyside.wait_exit(Duration::from_secs(5));
    assert_eq!(ended.and_then(|status| status.code()), Some(0));
}

#[test]
fn a_thousand_idle_connections_slow_no_request_down() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream).level("info").start();
    let mut active = keyside.connect();
    assert_eq!(active.ask(&post(MESSAGES, "{}")).unwrap().status, 200);
    let idle: Vec<Client> = (0..1000)
        .filter_map(|_| Client::connect(keyside.outbound()).ok())
        .collect();
    assert_eq!(idle.len(), 1000);
    let mut times: Vec<Duration> = (0..50)
        .map(|_| {
            let began = Instant::now();
            assert_eq!(active.ask(&post(MESSAGES, "{}")).unwrap().status, 200);
            began.elapsed()
        })
        .collect();
    times.sort();
    assert!(
        times[25] < Duration::from_millis(50),
        "half of the requests took longer than {:?}",
        times[25]
    );
    let mut newcomer = keyside.connect();
    assert_eq!(newcomer.ask(&post(MESSAGES, "{}")).unwrap().status, 200);
}

#[test]
fn a_connection_without_a_whole_head_is_closed_after_a_while_on_every_listener() {
    let upstream = Upstream::ok();
    let application = webhook::application();
    let keyside = webhook::beside(&upstream, &application).start();
    let watch = |address: SocketAddr, first: &'static [u8], drip: bool| {
        thread::spawn(move || {
            let mut client = Client::connect(address).unwrap();
            let began = Instant::now();
            client.send(first);
            while began.elapsed() < Duration::from_secs(14) {
                if drip {
                    client.send(b"a");
                }
                match client.end(Duration::from_millis(500)) {
                    None => {}
                    // An answer of 408 before the end counts as closed.
                    Some(_) => return Some(began.elapsed()),
                }
            }
            None
        })
    };
    let half = b"GET / HTTP/1.1\r\nHost: localhost\r\nX";
    let doors = [keyside.outbound(), keyside.inbound(), keyside.admin()];
    let cases = doors.map(|address| {
        [
            ("no byte", watch(address, b"", false)),
            ("half a head", watch(address, half, false)),
            ("a head drop by drop", watch(address, half, true)),
            ("half an HTTP/2 preface", watch(address, b"PRI * HT", false)),
        ]
    });
    for (name, case) in cases.into_iter().flatten() {
        let ended = case.join().unwrap();
        assert!(
            ended.is_some_and(|took| took > Duration::from_secs(2)),
            "{name}: {ended:?}"
        );
    }
    assert_eq!(application.heads(), 0);
    assert_eq!(upstream.heads(), 0);
}

#[test]
fn a_log_that_nobody_reads_delays_no_request() {
    let upstream = Upstream::ok();
    // The pipe holds 64 KiB, and the test does not read from the pipe.
    let keyside = Setup::new(&upstream).level("trace").piped().start();
    let mut client = keyside.connect();
    let filler = "x".repeat(2000);
    for number in 0..1500 {
        let request = format!(
            "GET {MEDIA}?phone_number_id=1 HTTP/1.1\r\nHost: localhost\r\nX-Filler: {filler}\r\n\r\n"
        );
        let answer = client
            .ask(request.as_bytes())
            .unwrap_or_else(|why| panic!("request {number}: {why:?}"));
        assert_eq!(answer.status, 200);
        if number % 10 == 0 {
            keyside.send(b"GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n");
        }
    }
}

#[test]
fn a_closed_log_pipe_does_not_end_the_sidecar() {
    let upstream = Upstream::ok();
    let mut keyside = Setup::new(&upstream).level("trace").piped().start();
    drop(keyside.child().stdout.take());
    drop(keyside.child().stderr.take());
    for _ in 0..50 {
        assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
        assert_eq!(
            keyside
                .send(b"GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n")
                .status,
            421
        );
    }
    assert!(keyside.is_running());
}

#[test]
fn a_log_that_goes_to_a_pipe_is_json() {
    let upstream = Upstream::ok();
    let mut keyside = Setup::new(&upstream).level("debug").piped().start();
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
    assert_eq!(keyside.post("/v23.0/1/register", "{}").status, 403);
    keyside.signal(Signal::TERM);
    assert!(keyside.wait_exit(Duration::from_secs(5)).is_some());
    let mut log = String::new();
    keyside
        .child()
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut log)
        .unwrap();
    keyside
        .child()
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut log)
        .unwrap();
    assert!(log.lines().count() > 1, "{log}");
    for line in log.lines() {
        serde_json::from_str::<serde_json::Value>(line)
            .unwrap_or_else(|error| panic!("{error}: {line}"));
    }
    // The lines of the refused request and of the answered request, by their fields.
    for field in [
        r#""route":"acme""#,
        r#""operation":"messages""#,
        r#""status":200"#,
        r#""status":403"#,
        "`registration`",
    ] {
        assert!(log.contains(field), "{field} in {log}");
    }
}

#[test]
fn random_paths_make_no_new_metric_series() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream).level("error").start();
    let series = || {
        keyside
            .metrics()
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty())
            .count()
    };
    let mut client = keyside.connect();
    let mut ask = |number: u32| {
        let scrambled = number.wrapping_mul(2_654_435_761);
        for request in [
            post(&format!("/v{}.0/{scrambled}/messages", number % 90), "{}"),
            get(&format!("/v23.0/{scrambled}")),
            get(&format!("/{scrambled:x}/x{number}")),
            post(&format!("/v23.0/{scrambled}/edge{number}"), "{}"),
        ] {
            client
                .ask(&request)
                .unwrap_or_else(|why| panic!("{number}: {why:?}"));
        }
    };
    for number in 0..20 {
        ask(number);
    }
    let before = series();
    for number in 20..1000 {
        ask(number);
    }
    assert_eq!(series(), before);
}

#[test]
fn an_answer_that_breaks_off_is_counted_once() {
    let upstream = Upstream::scripted(|_, wire| {
        wire.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{",
        );
        After::Close
    });
    let keyside = Keyside::start(&upstream);
    assert_eq!(keyside.post(MESSAGES, "{}").status, 502);
    assert_eq!(
        keyside.metric("keyside_requests_total", &[]),
        1.0,
        "{}",
        keyside.metrics()
    );
}

/// The lines of a log in JSON.
fn records(log: &str) -> Vec<serde_json::Value> {
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}"));
    log.lines().map(parse).collect()
}

#[test]
fn what_ends_a_start_is_told_in_the_form_of_the_log() {
    let upstream = Upstream::ok();
    for (setup, part) in [
        (
            Setup::new(&upstream).config("[outbound]\nlisten = 1\n"),
            "proxy.toml:2:",
        ),
        (
            Setup::new(&upstream).more("[audit]\nfile = \"/nowhere/audit\""),
            "/nowhere/audit",
        ),
    ] {
        let done = setup.finish("run");
        let lines = records(&done.output);
        let told = lines.iter().any(|line| {
            line["message"] == "the sidecar does not serve"
                && line["level"] == "ERROR"
                && line["reason"].as_str().unwrap().contains(part)
        });
        assert!(told, "{}", done.output);
        assert_eq!(done.code, Some(78), "{}", done.output);
    }
}

#[test]
fn a_lost_shared_server_is_told_while_the_start_waits_for_it() {
    let upstream = Upstream::ok();
    let setup = Setup::new(&upstream).env("REDIS", "redis://127.0.0.1:9/");
    let mut keyside = setup
        .level("info")
        .more("[limits]\nredis = \"env:REDIS\"")
        .spawn();
    let told = eventually(Duration::from_secs(10), || keyside.log().contains("shared"));
    let log = keyside.log();
    let lines = records(&log);
    let of_redis = lines
        .iter()
        .position(|line| line["message"].as_str().unwrap().contains("shared"));
    let started = lines.iter().position(|line| line["message"] == "started");
    assert!(told && of_redis < started.or(Some(lines.len())), "{log}");
    assert!(keyside.is_running());
}

#[test]
fn one_line_says_what_was_started_and_a_warning_is_not_repeated_by_a_reload() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream).level("info").start();
    assert_eq!(keyside.reload().status, 200);
    assert_eq!(keyside.reload().status, 200);
    let lines = records(&keyside.log());
    let started: Vec<_> = lines
        .iter()
        .filter(|line| line["message"] == "started")
        .collect();
    assert_eq!(started.len(), 1);
    assert_eq!(started[0]["routes"], 1);
    assert!(
        started[0]["config"]
            .as_str()
            .unwrap()
            .ends_with("proxy.toml")
    );
    let listeners = started[0]["listeners"].as_str().unwrap();
    for address in [keyside.outbound(), keyside.admin()] {
        assert!(listeners.contains(&address.to_string()), "{listeners}");
    }
    let warnings = lines.iter().filter(|line| line["level"] == "WARN");
    assert_eq!(
        warnings.count(),
        1,
        "every user can read the token: {lines:?}"
    );
}

#[test]
fn the_level_of_the_log_changes_with_a_reload() {
    let upstream = Upstream::ok();
    let mut keyside = Setup::new(&upstream).level("warn").start();
    keyside.post(MESSAGES, "{}");
    assert!(!keyside.log().contains("request answered"));
    let setup = std::mem::replace(keyside.setup(), Setup::new(&upstream));
    *keyside.setup() = setup.level("debug");
    keyside.setup().write_config();
    assert_eq!(keyside.reload().status, 200);
    keyside.post(MESSAGES, "{}");
    assert!(
        keyside.log().contains("request answered"),
        "{}",
        keyside.log()
    );
}
