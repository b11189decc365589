//! Shared limits: many sidecars together keep the rate of a single sidecar, and a failure of the
//! shared server stops no message.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::client::{Answer, Client, post};
use crate::support::keyside::{Directory, Keyside, Setup};
use crate::support::load::sent_in_a_second;
use crate::support::redis::{Cluster, Engine, PASSWORD, Redis, Watched};
use crate::support::sandbox::Sandbox;
use crate::support::upstream::{Upstream, answer, json};
use crate::support::{APP_SECRET, MESSAGES, TOKEN, eventually};

const SENDER: &str = "106540352242922";
const PAIRS: &str = "per_recipient = { rate = \"1000/s\" }";

/// The setup of a sidecar with shared limits.
fn setup(upstream: &str, url: &str, limits: &str, more: &str) -> Setup {
    Setup::at(upstream)
        .env("KEYSIDE_REDIS_URL", url)
        .limits(limits)
        .more(&format!(
            "[limits]\nredis = \"env:KEYSIDE_REDIS_URL\"\n{more}"
        ))
}

fn start(upstream: &Upstream, url: &str, limits: &str, more: &str) -> Keyside {
    setup(&upstream.url(), url, limits, more).start()
}

fn text_to(recipient: &str) -> String {
    format!(
        r#"{{"messaging_product":"whatsapp","to":"{recipient}","type":"text","text":{{"body":"x"}}}}"#
    )
}

fn is_shared(keyside: &Keyside) -> bool {
    keyside.status()["shared_limits"]["in_use"] == true
}

/// True once the limits are shared: on a busy machine a server may be lost for a moment.
fn becomes_shared(keyside: &Keyside) -> bool {
    eventually(Duration::from_secs(5), || is_shared(keyside))
}

/// Number of `count` requests that pass at once.
fn pass(keyside: &Keyside, count: usize) -> usize {
    let mut client = keyside.connect();
    (0..count)
        .filter(|_| client.ask(&post(MESSAGES, "{}")).unwrap().status == 200)
        .count()
}

/// Eight sidecars before a sandbox that enforces 80 a second, offered 400 a second for `time`;
/// `halfway` is called halfway. Returns the refusals of the sandbox, the used part of the permitted
/// messages, and the number of times that sidecars lost the server.
fn eight_before_one(
    redis: &mut Redis,
    time: Duration,
    halfway: impl FnOnce(&mut Redis, &[Keyside]),
) -> (Vec<String>, f64, f64) {
    let secrets = Directory::new();
    secrets.write("token", TOKEN);
    secrets.write("app_secret", APP_SECRET);
    let sandbox = Sandbox::start(&secrets, &["--per-sender", "80"]);
    let limits = format!("per_sender = \"80/s\"\n{PAIRS}\nmax_wait = \"500ms\"");
    let sidecars: Vec<_> = (0..8)
        .map(|_| {
            setup(&sandbox.url(), &redis.url(), &limits, "replicas = 8")
                .level("info")
                .start()
        })
        .collect();
    assert!(sidecars.iter().all(is_shared));
    let (throttled, accepted) = (Mutex::new(Vec::new()), AtomicUsize::new(0));
    let request = post(
        &format!("/v23.0/{SENDER}/messages"),
        &text_to("15550001234"),
    );
    let began = Instant::now();
    thread::scope(|scope| {
        for (place, keyside) in sidecars.iter().enumerate() {
            // Each sidecar is offered 50 a second, by 32 callers: waits of half a second do not
            // slow the offer down.
            for caller in 0..32_u32 {
                let (throttled, accepted, request) = (&throttled, &accepted, &request);
                scope.spawn(move || {
                    let mut client = Client::connect(keyside.outbound()).unwrap();
                    let interval = Duration::from_millis(640);
                    let mut due = began
                        + interval / 32 * caller
                        + interval / 256 * u32::try_from(place).unwrap();
                    while due < began + time {
                        thread::sleep(due.saturating_duration_since(Instant::now()));
                        due += interval;
                        let answer = client.ask(request).unwrap();
                        match (answer.status, answer.slug()) {
                            (200, _) if began.elapsed() > time => {}
                            (200, _) => drop(accepted.fetch_add(1, Ordering::Relaxed)),
                            (429, "rate_limited") => {}
                            _ => throttled.lock().unwrap().push(format!(
                                "{:?} {}",
                                began.elapsed(),
                                answer.text()
                            )),
                        }
                    }
                });
            }
        }
        thread::sleep(time / 2);
        halfway(redis, &sidecars);
    });
    let losses = sidecars
        .iter()
        .map(|keyside| keyside.metric("keyside_redis_losses_total", &[]))
        .sum();
    let permitted = 80.0 * time.as_secs_f64() + 80.0;
    (
        throttled.into_inner().unwrap(),
        accepted.into_inner() as f64 / permitted,
        losses,
    )
}

#[test]
#[ignore = "needs Redis: tests/run servers"]
fn eight_sidecars_send_as_fast_as_one_may_and_no_faster() {
    let (throttled, used, losses) =
        eight_before_one(&mut Redis::start(), Duration::from_secs(20), |_, _| {});
    assert!(throttled.len() <= 2, "{throttled:?}");
    assert!(used >= 0.97, "{used}, {throttled:?}, {losses} losses");
}

#[test]
#[ignore = "needs Redis: tests/run servers"]
fn eight_sidecars_that_lose_the_server_send_an_eighth_each() {
    let (throttled, used, losses) =
        eight_before_one(&mut Redis::start(), Duration::from_secs(20), |redis, _| {
            redis.kill()
        });
    assert!(throttled.len() <= 2, "{throttled:?}");
    assert!(used >= 0.97, "{used}, {throttled:?}, {losses} losses");
}

#[test]
#[ignore = "needs Redis: tests/run servers"]
fn eight_sidecars_whose_limit_is_changed_while_requests_wait_keep_to_it() {
    let reload = |_: &mut Redis, sidecars: &[Keyside]| {
        for (from, to) in [("80/s", "79/s"), ("79/s", "78/s"), ("78/s", "80/s")] {
            for keyside in sidecars {
                let text = std::fs::read_to_string(keyside.dir().join("proxy.toml")).unwrap();
                keyside.dir().write(
                    "proxy.toml",
                    text.replace(&format!("\"{from}\""), &format!("\"{to}\"")),
                );
                assert_eq!(keyside.reload().status, 200);
            }
        }
    };
    let (throttled, used, losses) =
        eight_before_one(&mut Redis::start(), Duration::from_secs(12), reload);
    assert!(throttled.len() <= 2, "{throttled:?}");
    assert!(used >= 0.97, "{used}, {throttled:?}, {losses} losses");
}

#[test]
#[ignore = "needs Valkey: tests/run servers"]
fn eight_sidecars_whose_server_comes_back_empty_get_no_second_burst() {
    let empty = |redis: &mut Redis, _: &[Keyside]| {
        for _ in 0..3 {
            redis.ask(&["FLUSHALL"]);
            thread::sleep(Duration::from_millis(700));
        }
        redis.kill();
        thread::sleep(Duration::from_millis(300));
        redis.restart();
    };
    let (throttled, used, losses) =
        eight_before_one(&mut Redis::valkey(), Duration::from_secs(12), empty);
    assert!(throttled.len() <= 2, "{throttled:?}");
    // A message over the limit within the slack of a lost server pauses the number for a second: 80
    // of 1,040 sends.
    let paused = 0.08 * throttled.len() as f64;
    assert!(
        used >= 0.9 - paused,
        "{used}, {throttled:?}, {losses} losses"
    );
}

#[test]
#[ignore = "needs Redis: tests/run servers"]
fn a_server_that_forgets_gives_no_second_burst_to_one_who_was_idle() {
    let (upstream, redis) = (Upstream::ok(), Redis::start());
    let limits = format!("per_sender = \"40/s\"\n{PAIRS}\nmax_wait = \"1ms\"");
    let (busy, idle) = (
        start(&upstream, &redis.url(), &limits, ""),
        start(&upstream, &redis.url(), &limits, ""),
    );
    assert_eq!(pass(&idle, 1), 1);
    thread::sleep(Duration::from_millis(500));
    let began = Instant::now();
    let used = pass(&busy, 60);
    redis.ask(&["FLUSHALL"]);
    let more = pass(&idle, 60);
    let most = 40.0 + 40.0 * began.elapsed().as_secs_f64();
    assert!(
        used >= 36 && (used + more) as f64 <= most,
        "{used} and {more}, of {most}"
    );
    thread::sleep(Duration::from_millis(1500));
    assert!(pass(&idle, 20) >= 10, "and goes on");
}

#[test]
#[ignore = "needs Redis: tests/run servers"]
fn a_server_that_evicts_what_it_knew_gives_no_second_burst() {
    let (upstream, redis) = (Upstream::ok(), Redis::start());
    let limits = format!("per_sender = \"80/s\"\n{PAIRS}\nmax_wait = \"5s\"");
    let sidecars = [(); 2].map(|()| start(&upstream, &redis.url(), &limits, "replicas = 2"));
    redis.ask(&["CONFIG", "SET", "maxmemory-policy", "allkeys-random"]);
    redis.ask(&["CONFIG", "SET", "maxmemory", "3mb"]);
    let fill = "for i = 1, 300 do redis.call('SET', ARGV[1] .. i, string.rep('x', 10000)) end";
    let began = Instant::now();
    let is_over = || began.elapsed() > Duration::from_secs(3);
    let sent = AtomicUsize::new(0);
    let mut fillings = 0;
    thread::scope(|scope| {
        // Four connections a sidecar, so that a busy machine uses the rate as well.
        for keyside in sidecars.iter().flat_map(|keyside| [keyside; 4]) {
            scope.spawn(|| {
                let mut client = keyside.connect();
                while !is_over() {
                    assert_eq!(
                        client
                            .ask(&post(MESSAGES, &text_to("15550001234")))
                            .unwrap()
                            .status,
                        200
                    );
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // Each filling evicts nearly all that was there, the limit included.
        while !is_over() {
            redis.ask(&["EVAL", fill, "0", &fillings.to_string()]);
            fillings += 1;
            thread::sleep(Duration::from_millis(500));
        }
    });
    let (sent, time) = (sent.into_inner() as f64, began.elapsed().as_secs_f64());
    let evicted = redis.ask(&["INFO", "stats"]);
    let evicted = evicted
        .lines()
        .find_map(|line| line.strip_prefix("evicted_keys:"))
        .unwrap();
    assert!(
        evicted.trim().parse::<u64>().unwrap() > 1000,
        "{evicted} evicted"
    );
    // A sidecar remembers the limit as last heard of; the tokens taken by the other sidecar since,
    // a tenth of a second's worth, are lost with each eviction.
    let most = 80.0 + 80.0 * time + 8.0 * f64::from(fillings);
    assert!(
        sent <= most && sent >= 60.0 * time,
        "{sent} of {most} in {time} s"
    );
}

#[test]
#[ignore = "needs Redis: tests/run servers"]
fn whatever_happens_to_the_server_sending_goes_on() {
    type Step = fn(&mut Redis);
    let table: [(&str, Step, Step); 6] = [
        ("killed", Redis::kill, Redis::restart),
        (
            "stopped",
            |redis| redis.signal(Signal::STOP),
            |redis| redis.signal(Signal::CONT),
        ),
        (
            "another password",
            |redis| {
                redis.ask(&["CONFIG", "SET", "requirepass", "another"]);
                redis.signal(Signal::STOP);
                thread::sleep(Duration::from_millis(200));
                redis.signal(Signal::CONT);
            },
            Redis::restart,
        ),
        (
            "full",
            |redis| drop(redis.ask(&["CONFIG", "SET", "maxmemory", "1"])),
            |redis| drop(redis.ask(&["CONFIG", "SET", "maxmemory", "0"])),
        ),
        (
            "a replica of one that is not there",
            |redis| drop(redis.ask(&["REPLICAOF", "127.0.0.1", "1"])),
            |redis| drop(redis.ask(&["REPLICAOF", "NO", "ONE"])),
        ),
        (
            "slow",
            |redis| drop(redis.ask(&["CLIENT", "PAUSE", "100000", "ALL"])),
            Redis::restart,
        ),
    ];
    let upstream = Upstream::ok();
    for (what, happens, is_over) in table {
        let mut redis = Redis::start();
        let keyside = start(
            &upstream,
            &redis.url(),
            &format!("per_sender = \"10000/s\"\n{PAIRS}"),
            "replicas = 4",
        );
        assert!(becomes_shared(&keyside), "{what}: {}", keyside.log());
        // Fifty messages make the sidecar take tokens ahead, and some tokens return to a stopped
        // server.
        assert_eq!(pass(&keyside, 50), 50, "{what}");
        happens(&mut redis);
        let mut client = keyside.connect();
        let mut longest = Duration::ZERO;
        for number in 0..100 {
            let began = Instant::now();
            let answer = client
                .ask(&post(MESSAGES, &text_to(&format!("1555{number:07}"))))
                .unwrap();
            assert_eq!(answer.status, 200, "{what}: {}", answer.text());
            longest = longest.max(began.elapsed());
            thread::sleep(Duration::from_millis(5));
        }
        // Each of two decisions, for the recipient and for the sender, may have noticed the loss.
        assert!(longest < Duration::from_millis(250), "{what}: {longest:?}");
        let status = keyside.status()["shared_limits"].clone();
        assert_eq!(status["in_use"], false, "{what}: {status}");
        assert!(
            status["problem"]
                .as_str()
                .is_some_and(|problem| !problem.is_empty()),
            "{what}: {status}"
        );
        assert_eq!(keyside.metric("keyside_redis_up", &[]), 0.0, "{what}");
        assert!(
            keyside.metric("keyside_redis_losses_total", &[]) >= 1.0,
            "{what}"
        );
        is_over(&mut redis);
        let began = Instant::now();
        assert!(
            eventually(Duration::from_secs(3), || is_shared(&keyside)),
            "{what}: {}",
            keyside.status()
        );
        assert!(
            began.elapsed() < Duration::from_millis(1500),
            "{what}: back after {:?}",
            began.elapsed()
        );
        let log = keyside.log();
        assert!(
            !log.contains("CANARY") && !log.contains("15550000"),
            "{what}: {log}"
        );
        let told = log.matches("the shared limits are lost").count();
        assert!((1..=2).contains(&told), "{what}: told {told} times\n{log}");
        let is_end_told = || {
            let log = keyside.log();
            let line = "limits are shared through the shared server";
            log.rfind(line) > log.rfind("the shared limits are lost")
        };
        assert!(
            eventually(Duration::from_secs(8), is_end_told),
            "{what}: {}",
            keyside.log()
        );
    }
}

#[test]
#[ignore = "needs Redis: tests/run servers"]
fn a_server_that_takes_no_script_is_lost_and_each_sidecar_sends_its_share() {
    let upstream = Upstream::ok();
    for refused in ["-evalsha", "-get", "-time", "-set"] {
        let redis = Redis::start();
        let keyside = start(
            &upstream,
            &redis.url(),
            &format!("per_sender = \"20/s\"\n{PAIRS}"),
            "replicas = 2",
        );
        assert!(becomes_shared(&keyside), "{refused}: {}", keyside.log());
        redis.ask(&["ACL", "SETUSER", "default", refused]);
        let mut client = keyside.connect();
        let mut passed = 0;
        for _ in 0..20 {
            let answer = client.ask(&post(MESSAGES, "{}")).unwrap();
            passed += usize::from(answer.status == 200);
            assert!(
                passed < 2 || !is_shared(&keyside),
                "{refused}: {}",
                keyside.log()
            );
            thread::sleep(Duration::from_millis(200));
        }
        assert!(passed >= 19, "{refused}: {passed} passed");
        redis.ask(&["ACL", "SETUSER", "default", "+@all"]);
        assert!(
            eventually(Duration::from_secs(5), || is_shared(&keyside)),
            "{refused}: {}",
            keyside.log()
        );
    }
}

#[test]
#[ignore = "needs Redis: tests/run servers"]
fn on_failure_decides_what_goes_without_the_server() {
    let upstream = Upstream::ok();
    let limits = format!("per_sender = \"4/10s\"\n{PAIRS}\nmax_wait = \"100ms\"");
    for (on_failure, passed) in [("local", 1), ("open", 20), ("closed", 0)] {
        let mut redis = Redis::start();
        redis.kill();
        let keyside = start(
            &upstream,
            &redis.url(),
            &limits,
            &format!("replicas = 4\non_failure = \"{on_failure}\""),
        );
        assert_eq!(pass(&keyside, 20), passed, "{on_failure}");
        let refused = keyside.post(MESSAGES, "{}");
        if on_failure == "closed" {
            assert_eq!((refused.status, refused.slug()), (429, "rate_limited"));
            assert!(
                refused.text().contains("does not answer"),
                "{}",
                refused.text()
            );
        }
        redis.restart();
        assert!(
            eventually(Duration::from_secs(3), || is_shared(&keyside)),
            "{on_failure}: {}",
            keyside.log()
        );
        let passes = || keyside.post(MESSAGES, "{}").status == 200;
        assert!(
            eventually(Duration::from_secs(5), passes),
            "{on_failure}: {}",
            keyside.log()
        );
    }
}

#[test]
#[ignore = "needs Redis: tests/run servers"]
fn messages_to_one_recipient_that_come_at_once_go_while_the_pair_has_tokens() {
    let (upstream, redis) = (Upstream::ok(), Redis::start());
    let limits = "per_sender = \"1000/s\"\nper_recipient = { rate = \"1/6s\", burst = 20 }";
    let keyside = start(&upstream, &redis.url(), limits, "");
    assert!(becomes_shared(&keyside), "{}", keyside.log());
    let request = post(MESSAGES, &text_to("15550001234"));
    let statuses: Vec<_> = thread::scope(|scope| {
        let callers: Vec<_> = (0..25)
            .map(|_| scope.spawn(|| keyside.send(&request).status))
            .collect();
        let answers = callers.into_iter().map(|caller| caller.join().unwrap());
        answers.collect()
    });
    let passed = statuses.iter().filter(|status| **status == 200).count();
    // A busy machine may lose the server for a moment, and a loss takes a token.
    assert!((19..=20).contains(&passed), "{passed}: {statuses:?}");
    assert!(statuses.iter().all(|status| matches!(status, 200 | 429)));
}

#[test]
#[ignore = "needs Redis: tests/run servers"]
fn the_loss_of_redis_refuses_no_message_that_waits_for_its_reply() {
    let (upstream, redis) = (Upstream::ok(), Redis::start());
    // A share begins without a burst, so that a message may have to wait for a token of the sender.
    for (on_failure, patience) in [("local", 2), ("open", 0)] {
        let more = format!("on_failure = \"{on_failure}\"");
        let limits = "per_recipient = { rate = \"1/6s\", burst = 20 }";
        let keyside = start(&upstream, &redis.url(), limits, &more);
        let request = with_patience(patience, &text_to("15550001234"));
        assert_eq!(keyside.send(&request).status, 200);
        redis.signal(Signal::STOP);
        let statuses: Vec<_> = thread::scope(|scope| {
            let callers: Vec<_> = (0..5)
                .map(|_| scope.spawn(|| keyside.send(&request).status))
                .collect();
            let answers = callers.into_iter().map(|caller| caller.join().unwrap());
            answers.collect()
        });
        redis.signal(Signal::CONT);
        assert_eq!(statuses, [200; 5], "{on_failure}");
    }
}

/// A message whose application waits so many seconds for a turn.
fn with_patience(seconds: u64, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST /v23.0/{SENDER}/messages HTTP/1.1\r\nHost: localhost\r\nPrefer: wait={seconds}\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

#[test]
#[ignore = "needs Redis: tests/run servers"]
fn a_hopeless_wait_is_refused_as_soon_as_the_server_has_replied() {
    let (upstream, redis) = (Upstream::ok(), Redis::start());
    let limits = "per_sender = \"1000/s\"\nper_recipient = { rate = \"1/6s\", burst = 2 }\nmax_wait = \"3s\"";
    let keyside = start(&upstream, &redis.url(), limits, "");
    let send = || keyside.post(MESSAGES, &text_to("15550001234"));
    assert_eq!([send().status, send().status], [200, 200]);
    for _ in 0..3 {
        let began = Instant::now();
        let refused = send();
        assert_eq!((refused.status, refused.slug()), (429, "rate_limited"));
        let after: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!(
            (5..=6).contains(&after) && began.elapsed() < Duration::from_millis(500),
            "{after}"
        );
    }
}

#[test]
#[ignore = "needs Redis: tests/run servers"]
fn every_kind_of_server_shares_one_limit_between_two_sidecars() {
    let upstream = Upstream::ok();
    let limits = "per_sender = \"6/60s\"\nmanagement = \"100/s\"\nmax_wait = \"1ms\"\n\
                  per_recipient = { rate = \"1/60s\", burst = 2 }";
    let (redis, valkey, tls) = (Redis::start(), Redis::valkey(), Redis::over_tls());
    let (watched, cluster) = (Watched::start(Engine::Redis), Cluster::start());
    for (what, url) in [
        ("Redis", redis.url()),
        ("Valkey", valkey.url()),
        ("TLS", tls.url()),
        ("Sentinel", watched.url()),
        ("a cluster", cluster.url()),
    ] {
        let ca = if what == "TLS" {
            format!("ca = \"{}\"", tls.dir().join("ca.pem").display())
        } else {
            String::new()
        };
        let (one, other) = (
            start(&upstream, &url, limits, &ca),
            start(&upstream, &url, limits, &ca),
        );
        assert!(
            is_shared(&one) && is_shared(&other),
            "{what}: {}\n{}",
            one.status(),
            one.log()
        );
        let send = |keyside: &Keyside, to: &str| keyside.post(MESSAGES, &text_to(to)).status;
        let to_one = [
            send(&one, "15550001"),
            send(&other, "15550001"),
            send(&one, "15550001"),
            send(&other, "15550001"),
        ];
        assert_eq!(to_one, [200, 200, 429, 429], "{what}: two to one recipient");
        let to_others: Vec<_> = (2..8)
            .map(|number| {
                send(
                    if number % 2 == 0 { &one } else { &other },
                    &format!("1555000{number}"),
                )
            })
            .collect();
        assert_eq!(
            to_others,
            [200, 200, 200, 200, 429, 429],
            "{what}: six of one sender"
        );
        let refused = other.post(MESSAGES, &text_to("15550009"));
        let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=10).contains(&seconds), "{what}: {seconds}");
    }
    assert!(
        cluster.keys() >= 7,
        "the cluster has them: {}",
        cluster.keys()
    );
}

#[test]
#[ignore = "needs Redis: tests/run servers"]
fn a_replica_takes_the_masters_place() {
    let upstream = Upstream::ok();
    let mut watched = Watched::start(Engine::Redis);
    let keyside = start(
        &upstream,
        &watched.url(),
        &format!("per_sender = \"10000/s\"\n{PAIRS}"),
        "",
    );
    assert!(becomes_shared(&keyside), "{}", keyside.log());
    watched.master.kill();
    let end = Instant::now() + Duration::from_secs(20);
    let mut was_lost = false;
    while !was_lost || !is_shared(&keyside) {
        assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
        was_lost |= !is_shared(&keyside);
        assert!(
            Instant::now() < end,
            "{}\n{}",
            keyside.status(),
            keyside.log()
        );
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(pass(&keyside, 20), 20);
}

/// An upstream with an error for the first request, and 200 for the rest.
fn throttling(code: i64, headers: &'static [(&'static str, &'static str)]) -> Upstream {
    let count = AtomicUsize::new(0);
    Upstream::answering(move |_| match count.fetch_add(1, Ordering::Relaxed) {
        0 => {
            let body = format!(r#"{{"error":{{"message":"(#{code}) too fast","code":{code}}}}}"#);
            let headers: Vec<_> = [("Content-Type", "application/json")]
                .iter()
                .chain(headers)
                .copied()
                .collect();
            answer("400 Bad Request", &headers, body.as_bytes())
        }
        _ => json("{}"),
    })
}

#[test]
#[ignore = "needs Redis: tests/run servers"]
fn a_pause_that_one_has_learned_holds_for_all() {
    let high = "per_sender = \"1000/s\"\nper_recipient = { rate = \"1000/s\" }\nmanagement = \"1000/s\"\nmax_wait = \"100ms\"";
    let outcome = |answer: &Answer| {
        (
            answer.status,
            answer.json()["error"]["code"].as_i64().unwrap_or_default(),
        )
    };
    let (sender, recipient, account) = ((429, 130_429), (429, 131_056), (429, 80_007));
    let passes = (200, 0);
    for (code, headers, same, other_recipient, other_sender) in [
        (130_429, &[("Retry-After", "5")][..], sender, sender, passes),
        (131_056, &[("Retry-After", "5")], recipient, passes, passes),
        (80_007, &[], account, account, account),
    ] {
        let (upstream, redis) = (throttling(code, headers), Redis::start());
        let (one, other) = (
            start(&upstream, &redis.url(), high, ""),
            start(&upstream, &redis.url(), high, ""),
        );
        assert_eq!(
            one.post(MESSAGES, &text_to("15550001")).status,
            400,
            "{code}"
        );
        thread::sleep(Duration::from_millis(100));
        for (path, to, expected) in [
            (MESSAGES, "15550001", same),
            (MESSAGES, "15550002", other_recipient),
            ("/v23.0/9876543210/messages", "15550001", other_sender),
        ] {
            let answer = other.post(path, &text_to(to));
            assert_eq!(outcome(&answer), expected, "{code}: {path} {to}");
            if answer.status == 429 {
                let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
                assert!((3..=60).contains(&seconds), "{code}: {seconds}");
            }
        }
    }
}

#[test]
#[ignore = "needs Redis: tests/run servers"]
fn after_a_throttle_the_interval_of_all_sidecars_doubles_and_recovers() {
    let (upstream, redis) = (throttling(130_429, &[]), Redis::start());
    let limits = format!("per_sender = \"100/s\"\n{PAIRS}\nmax_wait = \"5s\"");
    let (one, other) = (
        start(&upstream, &redis.url(), &limits, ""),
        start(&upstream, &redis.url(), &limits, ""),
    );
    assert_eq!(one.post(MESSAGES, "{}").status, 400);
    thread::sleep(Duration::from_millis(1100));
    let slow = sent_in_a_second(&other);
    assert!((35..=70).contains(&slow), "{slow} at half the pace");
    thread::sleep(Duration::from_secs(4));
    assert!(sent_in_a_second(&other) >= 95, "it is over");
}

/// Sixty requests at once: the number of those that went, and the longest time to a refusal.
fn flood(keyside: &Keyside) -> (usize, Duration) {
    let request = post(MESSAGES, "{}");
    let answers: Vec<_> = thread::scope(|scope| {
        let ask = || {
            let began = Instant::now();
            (keyside.send(&request).status, began.elapsed())
        };
        let callers: Vec<_> = (0..60).map(|_| scope.spawn(ask)).collect();
        let answers = callers.into_iter().map(|caller| caller.join().unwrap());
        answers.collect()
    });
    let gone = answers.iter().filter(|(status, _)| *status == 200).count();
    let refused = answers.iter().filter(|(status, _)| *status == 429);
    (gone, refused.map(|(_, after)| *after).max().unwrap())
}

/// A sender of four a second, with a full bucket of sixty, of which a throttle makes two a second.
#[test]
#[ignore = "needs Redis: tests/run servers"]
fn a_throttled_sender_refuses_at_once_what_cannot_go_in_time_however_full_the_bucket() {
    let (upstream, redis) = (throttling(130_429, &[]), Redis::start());
    let limits = format!("per_sender = \"60/15s\"\n{PAIRS}\nmax_wait = \"4s\"");
    let (one, other) = (
        start(&upstream, &redis.url(), &limits, ""),
        start(&upstream, &redis.url(), &limits, ""),
    );
    assert_eq!(one.post(MESSAGES, "{}").status, 400);
    // The pause of a second is not over for the first flood.
    for (keyside, why) in [(&other, "a pause"), (&one, "a slowdown")] {
        let (gone, refused_after) = flood(keyside);
        assert!((4..=20).contains(&gone), "{why}: {gone}");
        assert!(
            refused_after < Duration::from_secs(2),
            "{why}: {refused_after:?}"
        );
    }
}

#[test]
#[ignore = "needs Redis: tests/run servers"]
fn tokens_taken_ahead_and_not_used_come_back() {
    let (upstream, redis) = (Upstream::ok(), Redis::start());
    let limits = format!("per_sender = \"400/s\"\n{PAIRS}\nmax_wait = \"1ms\"");
    let (one, other) = (
        start(&upstream, &redis.url(), &limits, ""),
        start(&upstream, &redis.url(), &limits, ""),
    );
    // At full speed for a while, to take many tokens ahead; then no more.
    pass(&one, 100);
    thread::sleep(Duration::from_millis(1500));
    let began = Instant::now();
    let passed = pass(&other, 390);
    // 375 at once, and the tokens of the time passed.
    let most = 375.0 + 400.0 * began.elapsed().as_secs_f64() + 21.0;
    assert!(
        passed >= 374 && passed as f64 <= most,
        "{passed} of at most {most}"
    );
}

#[test]
#[ignore = "needs Redis: tests/run servers"]
fn a_changed_limit_takes_effect_without_a_refill() {
    let (upstream, redis) = (Upstream::ok(), Redis::start());
    let limits = |rate: &str| format!("per_sender = \"{rate}\"\n{PAIRS}\nmax_wait = \"1ms\"");
    let mut keyside = start(&upstream, &redis.url(), &limits("8/60s"), "");
    assert_eq!(pass(&keyside, 20), 8);
    let from = std::fs::read_to_string(keyside.dir().join("proxy.toml")).unwrap();
    for rate in ["4/60s", "12/60s"] {
        keyside
            .dir()
            .write("proxy.toml", from.replace("8/60s", rate));
        assert_eq!(keyside.reload().status, 200);
        assert_eq!(pass(&keyside, 20), 0, "{rate}: nothing is given away");
    }
    keyside
        .dir()
        .write("proxy.toml", from.replace("8/60s", "20/s"));
    assert_eq!(keyside.reload().status, 200);
    assert!(eventually(Duration::from_secs(3), || keyside
        .post(MESSAGES, "{}")
        .status
        == 200));
    assert!(keyside.is_running());
}

#[test]
#[ignore = "needs Valkey and faketime: tests/run servers"]
fn a_server_whose_clock_is_set_neither_stops_nor_floods() {
    let dir = Directory::new();
    let time = dir.write("time", "+0");
    let library = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"]
        .map(|folder| format!("{folder}/faketime/libfaketime.so.1"))
        .into_iter()
        .find(|path| std::path::Path::new(path).exists())
        .expect("libfaketime: `tests/run servers` installs it");
    let redis = Redis::valkey_in(&[
        ("LD_PRELOAD".to_owned(), library),
        (
            "FAKETIME_TIMESTAMP_FILE".to_owned(),
            time.display().to_string(),
        ),
        ("FAKETIME_NO_CACHE".to_owned(), "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC".to_owned(), "1".to_owned()),
    ]);
    let upstream = Upstream::ok();
    let keyside = start(
        &upstream,
        &redis.url(),
        &format!("per_sender = \"100/s\"\n{PAIRS}\nmax_wait = \"5s\""),
        "",
    );
    sent_in_a_second(&keyside);
    for offset in ["+1h", "-1h", "+365d", "+0"] {
        dir.write("time", offset);
        let count = sent_in_a_second(&keyside) + sent_in_a_second(&keyside);
        // Forward: at most a burst more. Back: at most two windows of waiting.
        assert!(
            (20..=320).contains(&count),
            "{offset}: {count} in two seconds"
        );
        let after: Vec<_> = (0..3).map(|_| sent_in_a_second(&keyside)).collect();
        assert!(
            after.iter().all(|count| *count <= 120),
            "{offset}: no flood: {after:?}"
        );
        // A busy machine may lose part of a second, and not part of each.
        assert!(
            after.iter().any(|count| *count >= 80),
            "{offset}: the rate is reached again: {after:?}"
        );
    }
}

#[test]
#[ignore = "needs Redis: tests/run servers"]
fn no_key_or_value_in_the_server_shows_a_recipient() {
    let (upstream, redis) = (Upstream::ok(), Redis::start());
    let keyside = start(
        &upstream,
        &redis.url(),
        "per_sender = \"1000/s\"\nper_recipient = { rate = \"1/6s\", burst = 45 }",
        "",
    );
    let mut monitor = std::process::Command::new("redis-cli")
        .args(["-p", &redis.port().to_string(), "MONITOR"])
        .env("REDISCLI_AUTH", PASSWORD)
        .stdout(std::fs::File::create(redis.dir().join("monitor")).unwrap())
        .spawn()
        .unwrap();
    thread::sleep(Duration::from_millis(300));
    let request = String::from_utf8(post(MESSAGES, &text_to("+1 555 000-1234"))).unwrap();
    let request = request.replacen("\r\n", "\r\nIdempotency-Key: a-key-of-the-caller\r\n", 1);
    assert_eq!(keyside.send(request.as_bytes()).status, 200);
    let seen = || std::fs::read_to_string(redis.dir().join("monitor")).unwrap();
    assert!(
        eventually(Duration::from_secs(3), || seen()
            .matches("keyside:{")
            .count()
            >= 3),
        "{}",
        seen()
    );
    monitor.kill().unwrap();
    monitor.wait().unwrap();
    for shown in [
        "15550001234",
        "5550001234",
        "1234567890",
        "acme",
        "a-key-of-the-caller",
        TOKEN,
    ] {
        assert!(!seen().contains(shown), "{shown}:\n{}", seen());
    }
}

#[test]
fn a_reference_to_the_server_that_leads_nowhere_is_a_fault_of_the_configuration() {
    let upstream = Upstream::ok();
    for (url, problem) in [
        (None, "the environment variable is not set"),
        (Some("http://CANARY"), "not the URL of a server"),
        (Some("redis://:CANARY#insecure@h"), "a # in the URL"),
    ] {
        let setup = Setup::new(&upstream).more("[limits]\nredis = \"env:KEYSIDE_NO_URL\"");
        let setup = if let Some(url) = url {
            setup.env("KEYSIDE_NO_URL", url)
        } else {
            setup
        };
        let finished = setup.finish("check");
        assert_eq!(finished.code, Some(78), "{}", finished.output);
        assert!(
            finished
                .output
                .contains("limits.redis: `env:KEYSIDE_NO_URL`"),
            "{}",
            finished.output
        );
        assert!(
            finished.output.contains(problem) && !finished.output.contains("CANARY"),
            "{}",
            finished.output
        );
    }
    let without = Keyside::start(&upstream);
    assert_eq!(without.status()["shared_limits"], Value::Null);
}
