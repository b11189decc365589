//! Reload: a new secret or configuration is taken up whole or not at all, and no request notices.

use std::os::unix::fs::symlink;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::client::{Client, get, post};
use crate::support::keyside::{Directory, Keyside, Setup, finish};
use crate::support::upstream::{After, Upstream, json};
use crate::support::{MEDIA, MESSAGES, TOKEN, eventually, hex};

fn token_sent(keyside: &Keyside, upstream: &Upstream) -> String {
    assert_eq!(keyside.get(MEDIA).status, 200);
    upstream
        .last()
        .header("authorization")
        .expect("a credential")
}

/// A mount in the manner of Kubernetes: files are links into `..data`, a link to a directory, which
/// a change replaces.
fn mount(dir: &Directory, number: usize, token: &str) {
    let name = format!("..2026_{number}");
    dir.write(&format!("mount/{name}/token"), token);
    let data = dir.join("mount/..data");
    let aside = dir.join("mount/..data_tmp");
    let old = std::fs::read_link(&data).ok();
    symlink(&name, &aside).unwrap();
    std::fs::rename(&aside, &data).unwrap();
    if !dir.join("mount/token").is_symlink() {
        symlink("..data/token", dir.join("mount/token")).unwrap();
    }
    if let Some(old) = old.filter(|old| *old != std::path::Path::new(&name)) {
        std::fs::remove_dir_all(dir.join("mount").join(old)).unwrap();
    }
}

#[test]
fn a_new_token_is_used_after_sighup() {
    let upstream = Upstream::ok();
    let keyside = Keyside::start(&upstream);
    keyside.dir().write("token", "EAASECOND");
    assert_eq!(
        token_sent(&keyside, &upstream),
        format!("Bearer {TOKEN}"),
        "not before it was told"
    );
    keyside.sighup_and_wait();
    assert_eq!(token_sent(&keyside, &upstream), "Bearer EAASECOND");
}

#[test]
fn a_new_token_is_used_after_post_reload_and_the_command() {
    let upstream = Upstream::ok();
    let keyside = Keyside::start(&upstream);
    keyside.dir().write("token", "EAASECOND");
    assert_eq!(keyside.reload().status, 200);
    assert_eq!(
        token_sent(&keyside, &upstream),
        "Bearer EAASECOND",
        "at once"
    );
    keyside.dir().write("token", "EAATHIRD");
    let reload = |name: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyside"));
        command.args([name, "--admin", &keyside.admin().to_string()]);
        finish(&mut command, Duration::from_secs(10))
    };
    let done = reload("reload");
    assert_eq!(done.code, Some(0), "{}", done.output);
    assert_eq!(token_sent(&keyside, &upstream), "Bearer EAATHIRD");
    keyside.dir().write("token", "");
    let refused = reload("reload");
    assert_eq!(refused.code, Some(1), "{}", refused.output);
    assert!(
        refused.output.contains("token"),
        "it says why: {}",
        refused.output
    );
    assert_eq!(reload("status").code, Some(0));
}

#[test]
fn the_status_shows_a_secret_only_by_its_fingerprint() {
    use sha2::Digest;
    let fingerprint =
        |secret: &str| hex(&sha2::Sha256::digest(format!("keyside:{secret}")))[..12].to_owned();
    let upstream = Upstream::ok();
    let keyside = Keyside::start(&upstream);
    let status = keyside.status().to_string();
    assert!(status.contains(&fingerprint(TOKEN)), "{status}");
    keyside.dir().write("token", "EAASECOND");
    assert_eq!(keyside.reload().status, 200);
    let status = keyside.status().to_string();
    assert!(status.contains(&fingerprint("EAASECOND")), "{status}");
    assert!(
        !status.contains("EAASECOND") && !status.contains(TOKEN),
        "{status}"
    );
}

#[test]
fn a_changed_file_is_noticed() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream).watch("200ms").start();
    for token in ["EAASECOND", "EAATHIRD"] {
        // Equal length and, but for a nanosecond, equal time: content counts.
        keyside.dir().write("token", token);
        let noticed = eventually(Duration::from_secs(4), || {
            token_sent(&keyside, &upstream) == format!("Bearer {token}")
        });
        assert!(noticed, "{token}");
    }
}

#[test]
fn a_file_written_in_place_is_noticed() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream).watch("200ms").start();
    let path = keyside.dir().join("token");
    let time = std::fs::metadata(&path).unwrap().modified().unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    std::io::Write::write_all(&mut &file, b"EAATESTTOKEX").unwrap();
    file.set_modified(time).unwrap();
    let noticed = eventually(Duration::from_secs(4), || {
        token_sent(&keyside, &upstream) == "Bearer EAATESTTOKEX"
    });
    assert!(noticed, "same length, same time, other content");
}

#[test]
fn a_swapped_kubernetes_mount_is_noticed() {
    let upstream = Upstream::ok();
    let setup = Setup::new(&upstream)
        .watch("200ms")
        .credential("token = \"file:@DIR@/mount/token\"");
    mount(setup.dir(), 0, "EAAMOUNT0\n");
    let keyside = setup.start();
    assert_eq!(token_sent(&keyside, &upstream), "Bearer EAAMOUNT0");
    for number in 1..4 {
        mount(keyside.dir(), number, &format!("EAAMOUNT{number}\n"));
        let noticed = eventually(Duration::from_secs(4), || {
            token_sent(&keyside, &upstream) == format!("Bearer EAAMOUNT{number}")
        });
        assert!(noticed, "swap {number}");
    }
}

#[test]
fn nothing_is_reloaded_while_nothing_changes() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream).watch("100ms").start();
    let before = keyside.reloads();
    thread::sleep(Duration::from_millis(1000));
    assert!(keyside.reloads() - before < 0.5);
}

#[test]
fn a_reload_without_a_change_says_so() {
    let upstream = Upstream::ok();
    let keyside = Keyside::start(&upstream);
    let answer = keyside.reload();
    assert_eq!(answer.json()["changes"], serde_json::json!([]));
    let log = keyside.log();
    assert!(log.contains(r#""changes":"nothing changed""#), "{log}");
}

/// A state of the token file, and the way to bring it about.
type Broken = (&'static str, fn(&Directory));

/// States of a token file without a token. The word `CANARY` must not appear in any output.
fn broken_files() -> Vec<Broken> {
    vec![
        ("missing", |dir| {
            std::fs::remove_file(dir.join("token")).unwrap()
        }),
        ("empty", |dir| drop(dir.write("token", ""))),
        ("white space", |dir| drop(dir.write("token", " \r\n\t\n"))),
        ("a directory", |dir| {
            std::fs::remove_file(dir.join("token")).unwrap();
            std::fs::create_dir(dir.join("token")).unwrap();
        }),
        ("a FIFO", |dir| {
            std::fs::remove_file(dir.join("token")).unwrap();
            assert!(
                Command::new("mkfifo")
                    .arg(dir.join("token"))
                    .status()
                    .unwrap()
                    .success()
            );
        }),
        ("a socket", |dir| {
            std::fs::remove_file(dir.join("token")).unwrap();
            drop(std::os::unix::net::UnixListener::bind(dir.join("token")).unwrap());
        }),
        ("larger than 64 KiB", |dir| {
            drop(dir.write("token", "A".repeat(70_000)))
        }),
        ("a link to nothing", |dir| {
            std::fs::remove_file(dir.join("token")).unwrap();
            symlink("nowhere", dir.join("token")).unwrap();
        }),
        ("a link to itself", |dir| {
            std::fs::remove_file(dir.join("token")).unwrap();
            symlink("token", dir.join("token")).unwrap();
        }),
        ("UTF-16", |dir| {
            drop(dir.write("token", b"\xff\xfeE\0A\0A\0C\0A\0N\0A\0R\0Y\0"))
        }),
        ("a NUL", |dir| drop(dir.write("token", b"EAACANARY\0x"))),
        ("an inner line break", |dir| {
            drop(dir.write("token", b"EAACANARY\nEAACANARY"))
        }),
        ("an inner CR", |dir| {
            drop(dir.write("token", b"EAACANARY\rEAACANARY"))
        }),
        ("not ASCII", |dir| {
            drop(dir.write("token", "EAACANARY\u{e9}"))
        }),
        ("a zero-width space", |dir| {
            drop(dir.write("token", "EAACANARY\u{200b}"))
        }),
        ("a scheme", |dir| {
            drop(dir.write("token", "Bearer EAACANARY"))
        }),
        ("quotes", |dir| drop(dir.write("token", "\"EAACANARY\""))),
        ("32 hex digits, an app secret", |dir| {
            drop(dir.write("token", "0123456789abcdef0123456789abcdef"))
        }),
    ]
}

fn remove(dir: &Directory, name: &str) {
    let path = dir.join(name);
    if path.is_dir() && !path.is_symlink() {
        std::fs::remove_dir_all(path).unwrap();
    } else {
        let _ = std::fs::remove_file(path);
    }
}

#[test]
fn a_broken_token_file_keeps_the_old_credential() {
    let upstream = Upstream::ok();
    let keyside = Keyside::start(&upstream);
    let last_success = || keyside.metric("keyside_reload_last_success_timestamp_seconds", &[]);
    let mut failures = Vec::new();
    for (name, break_it) in broken_files() {
        break_it(keyside.dir());
        let success = last_success();
        let began = Instant::now();
        let answer = keyside.reload();
        if began.elapsed() > crate::support::stretched(Duration::from_secs(3)) {
            failures.push(format!("{name}: the reload took {:?}", began.elapsed()));
        }
        if answer.status < 400 || !answer.text().contains("/token") {
            failures.push(format!("{name}: {} {}", answer.status, answer.text()));
        }
        if (last_success() - success).abs() > 0.001 {
            failures.push(format!("{name}: the last success moved without one"));
        }
        if answer.text().contains("CANARY") {
            failures.push(format!("{name}: the value is repeated: {}", answer.text()));
        }
        if token_sent(&keyside, &upstream) != format!("Bearer {TOKEN}") {
            failures.push(format!("{name}: the old token is gone"));
        }
        remove(keyside.dir(), "token");
        keyside.dir().write("token", TOKEN);
        if keyside.reload().status != 200 {
            failures.push(format!("{name}: the mended token is not taken up"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(!keyside.log().contains("CANARY"), "a value is in the log");
}

#[test]
fn a_broken_token_file_at_the_start_is_told_and_fails_the_check() {
    let upstream = Upstream::ok();
    let mut failures = Vec::new();
    for (name, break_it) in broken_files() {
        let setup = Setup::new(&upstream);
        break_it(setup.dir());
        let token = setup.dir().join("token").display().to_string();
        let checked = setup.finish("check");
        let keyside = setup.start();
        let refused = keyside.post(MESSAGES, "{}");
        let ready = keyside.ask_admin(&get("/readyz"));
        let states = (checked.code, refused.slug(), ready.status);
        if states != (Some(78), "credential_unavailable", 503) {
            failures.push(format!("{name}: {states:?}: {}", checked.output));
        }
        let (log, ready) = (keyside.log(), ready.text());
        for (what, text) in [
            ("check", &checked.output),
            ("log", &log),
            ("readyz", &ready),
        ] {
            if !text.contains(&token) || text.contains("CANARY") {
                failures.push(format!("{name}, {what}: {text}"));
            }
        }
        keyside.dir().write("token.good", TOKEN);
        remove(keyside.dir(), "token");
        std::fs::rename(
            keyside.dir().join("token.good"),
            keyside.dir().join("token"),
        )
        .unwrap();
        if keyside.reload().status != 200 || keyside.post(MESSAGES, "{}").status != 200 {
            failures.push(format!("{name}: the mended token is not used"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn a_secret_that_cannot_be_read_at_the_start_stops_its_own_route_alone() {
    let upstream = Upstream::ok();
    for (token, app_secret) in [
        ("file:@DIR@/nowhere", "file:@DIR@/secret"),
        ("file:@DIR@/secret", "file:@DIR@/nowhere"),
        ("exec:/bin/false", "file:@DIR@/secret"),
        ("env:KEYSIDE_TEST_NOT_SET", "file:@DIR@/secret"),
    ] {
        let setup = Setup::new(&upstream).file("secret", "other-secret").more(&format!(
            "[credential.other]\nprovider = \"test\"\ncheck = \"off\"\ntoken = \"{token}\"\napp_secret = \"{app_secret}\"\n\
             [[route]]\ncredential = \"other\"\npath = \"/other\"\n"
        ));
        let checked = setup.finish("check");
        assert_eq!(checked.code, Some(78), "{token}: {}", checked.output);
        assert!(
            checked.output.contains("credential.other."),
            "{token}: {}",
            checked.output
        );
        let keyside = setup.start();
        let other = || keyside.post(&format!("/other{MESSAGES}"), "{}");
        assert_eq!(
            (other().status, other().slug()),
            (503, "credential_unavailable"),
            "{token} {app_secret}"
        );
        for (path, status) in [
            ("/readyz", 200),
            ("/readyz?route=other", 503),
            ("/readyz?all", 503),
        ] {
            let ready = keyside.ask_admin(&get(path));
            assert!(
                ready.status == status && ready.text().contains("credential other has no usable"),
                "{path}: {}",
                ready.text()
            );
        }
        let is_logged = || keyside.log().contains("credential.other.");
        assert!(
            eventually(Duration::from_secs(5), is_logged),
            "{}",
            keyside.log()
        );
        keyside.dir().write("token", "EAASECOND");
        assert_eq!(
            keyside.reload().status,
            200,
            "{token}: what was missing and is does not hold up the others"
        );
        assert_eq!(token_sent(&keyside, &upstream), "Bearer EAASECOND");
        assert_eq!(other().status, 503);
        if token.starts_with("file:") {
            keyside.dir().write("nowhere", "no-longer-missing");
            assert_eq!(keyside.reload().status, 200);
            assert_eq!(other().status, 200);
            assert_eq!(keyside.ask_admin(&get("/readyz?all")).status, 200);
            std::fs::remove_file(keyside.dir().join("nowhere")).unwrap();
            assert_eq!(
                keyside.reload().status,
                422,
                "what was there may not go missing"
            );
            assert_eq!(other().status, 200);
        }
    }
}

#[test]
fn the_byte_that_spoils_a_secret_is_named() {
    let upstream = Upstream::ok();
    for (bytes, offset) in [
        (b"EAA\0x".as_slice(), "3"),
        (b"EAAAAAA\nx", "7"),
        ("EAAAAAAAAAAA\u{e9}".as_bytes(), "12"),
    ] {
        let done = Setup::new(&upstream).file("token", bytes).finish("check");
        assert_eq!(done.code, Some(78), "{}", done.output);
        let line = done
            .output
            .lines()
            .find(|line| line.contains("/token"))
            .unwrap_or_default();
        let numbers: Vec<&str> = line
            .rsplit("/token")
            .next()
            .unwrap_or_default()
            .split(|c: char| !c.is_ascii_digit())
            .filter(|word| !word.is_empty())
            .collect();
        assert!(
            numbers.contains(&offset),
            "byte {offset} is not named: {}",
            done.output
        );
    }
}

#[test]
fn white_space_around_a_secret_is_trimmed_and_a_bom_taken_off() {
    let upstream = Upstream::ok();
    for bytes in [
        "EAATRIM\n",
        "EAATRIM\r\n",
        " \tEAATRIM \n\n",
        "\u{feff}EAATRIM",
        "\u{feff}EAATRIM\r\n",
    ] {
        let keyside = Setup::new(&upstream).file("token", bytes).start();
        assert_eq!(
            token_sent(&keyside, &upstream),
            "Bearer EAATRIM",
            "{bytes:?}"
        );
    }
}

#[test]
fn a_token_for_an_app_secret_is_refused_with_a_hint() {
    let upstream = Upstream::ok();
    let done = Setup::new(&upstream)
        .file("app_secret", "EAACANARY0123456789")
        .credential("token = \"file:@DIR@/token\"\napp_secret = \"file:@DIR@/app_secret\"")
        .finish("check");
    assert_eq!(done.code, Some(78), "{}", done.output);
    assert!(
        done.output.contains("app_secret") && !done.output.contains("CANARY"),
        "{}",
        done.output
    );
}

#[test]
fn an_invalid_configuration_keeps_the_old_one() {
    let upstream = Upstream::ok();
    let keyside = Keyside::start(&upstream);
    let good = std::fs::read_to_string(keyside.dir().join("proxy.toml")).unwrap();
    keyside.dir().write("token", "EAASECOND");
    for (name, bad) in [
        ("no TOML", good.replace("[[route]]", "[[route]")),
        (
            "unknown key",
            good.replace("[[route]]", "[[route]]\npaht = \"/\""),
        ),
        (
            "unknown credential",
            good.replace("credential = \"acme\"", "credential = \"acne\""),
        ),
        (
            "unknown operation",
            good.replace("[[route]]", "[[route]]\noperations = [\"massages\"]"),
        ),
        ("empty", String::new()),
        ("cut in the middle", good[..good.len() / 2].to_owned()),
        (
            "a changed port",
            good.replace(
                &keyside.outbound().port().to_string(),
                &crate::support::keyside::free_port().to_string(),
            ),
        ),
    ] {
        assert_ne!(bad, good, "{name}");
        keyside.dir().write("proxy.toml", &bad);
        let answer = keyside.reload();
        assert_eq!(answer.status, 422, "{name}: {}", answer.text());
        assert_eq!(
            token_sent(&keyside, &upstream),
            "Bearer EAASECOND",
            "{name}: nothing of it is taken up, and no new secret is kept away"
        );
    }
    std::fs::remove_file(keyside.dir().join("proxy.toml")).unwrap();
    assert_eq!(keyside.reload().status, 422, "no file");
    keyside.dir().write("proxy.toml", &good);
    assert_eq!(keyside.reload().status, 200);
    assert_eq!(token_sent(&keyside, &upstream), "Bearer EAASECOND");
}

#[test]
fn a_changed_configuration_is_taken_up() {
    let upstream = Upstream::ok();
    let keyside = Keyside::start(&upstream);
    assert_eq!(
        keyside.send(&get("/v23.0/99/message_templates")).status,
        403
    );
    let good = std::fs::read_to_string(keyside.dir().join("proxy.toml")).unwrap();
    keyside.dir().write(
        "proxy.toml",
        good.replace("[[route]]", "[[route]]\noperations = [\"templates\"]"),
    );
    assert_eq!(keyside.reload().status, 200);
    assert_eq!(
        keyside.send(&get("/v23.0/99/message_templates")).status,
        200
    );
    assert_eq!(keyside.post(MESSAGES, "{}").status, 403);
}

#[test]
fn a_request_under_way_finishes_on_its_generation() {
    let go = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&go);
    let upstream = Upstream::scripted(move |request, wire| {
        while request.header("x-slow").is_some() && !gate.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(10));
        }
        wire.write(&json("{}"));
        After::Keep
    });
    let keyside = Keyside::start(&upstream);
    let mut slow = keyside.connect();
    slow.send(format!("POST {MESSAGES} HTTP/1.1\r\nHost: localhost\r\nX-Slow: 1\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}").as_bytes());
    assert!(upstream.wait_for(1, Duration::from_secs(3)));
    keyside.dir().write("token", "EAASECOND");
    assert_eq!(keyside.reload().status, 200);
    assert_eq!(token_sent(&keyside, &upstream), "Bearer EAASECOND");
    go.store(true, Ordering::Relaxed);
    assert_eq!(slow.answer().unwrap().status, 200);
    assert_eq!(
        upstream.requests()[0].header("authorization"),
        Some(format!("Bearer {TOKEN}"))
    );
    assert_eq!(
        slow.ask(&get(MEDIA)).unwrap().status,
        200,
        "and its connection goes on"
    );
    assert_eq!(
        upstream.last().header("authorization").as_deref(),
        Some("Bearer EAASECOND")
    );
}

#[test]
fn token_and_app_secret_always_belong_together() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream)
        .file("token", "EAAPAIR0")
        .file("app_secret", "secret-of-0")
        .credential("token = \"file:@DIR@/token\"\napp_secret = \"file:@DIR@/app_secret\"\nproof = \"classic\"")
        .start();
    let address = keyside.outbound();
    let stop = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                let mut client = Client::connect(address).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(client.ask(&get(MEDIA)).unwrap().status, 200);
                }
            })
        })
        .collect();
    for pair in 1..40 {
        keyside
            .dir()
            .write("app_secret", format!("secret-of-{pair}"));
        keyside.dir().write("token", format!("EAAPAIR{pair}"));
        assert_eq!(keyside.reload().status, 200);
    }
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.join().unwrap();
    }
    let requests = upstream.requests();
    for request in &requests {
        let token = request
            .header("authorization")
            .unwrap()
            .replace("Bearer ", "");
        let proof = crate::support::hmac_sha256(&token.replace("EAAPAIR", "secret-of-"), &token);
        assert!(
            request
                .target()
                .ends_with(&format!("appsecret_proof={proof}")),
            "{token}: {}",
            request.target()
        );
    }
    assert!(requests.len() > 40, "{} requests", requests.len());
}

#[test]
fn a_hundred_rotations_under_load_fail_no_request() {
    const ROTATIONS: usize = 100;
    let put = Arc::new(AtomicUsize::new(0));
    let published = Arc::new(AtomicUsize::new(0));
    let wrong = Arc::new(AtomicUsize::new(0));
    let (put_seen, wrong_seen) = (Arc::clone(&put), Arc::clone(&wrong));
    let upstream = Upstream::plain(move |request, wire| {
        // Valid: a token from the file, no older than the token published when the request began.
        let token = request.header("authorization").and_then(|value| {
            value
                .strip_prefix("Bearer EAAROTATE")?
                .parse::<usize>()
                .ok()
        });
        let oldest = request
            .header("x-oldest")
            .and_then(|value| value.parse().ok())
            .unwrap_or(0);
        if !token.is_some_and(|token| token >= oldest && token <= put_seen.load(Ordering::SeqCst)) {
            wrong_seen.fetch_add(1, Ordering::Relaxed);
        }
        wire.write(&json("{}"));
        After::Keep
    });
    let setup = Setup::new(&upstream)
        .level("info")
        .credential("token = \"file:@DIR@/mount/token\"")
        .more("[[route]]\nname = \"scarce\"\npath = \"/scarce\"\ncredential = \"acme\"\n[route.limits]\nper_sender = \"2/1000s\"\nmax_wait = \"1ms\"");
    mount(setup.dir(), 0, "EAAROTATE0");
    let keyside = setup.start();
    let address = keyside.outbound();

    let load = |seconds: u64| -> Vec<thread::JoinHandle<(usize, Vec<String>)>> {
        let end = Instant::now() + Duration::from_secs(seconds);
        (0..6)
            .map(|worker| {
                let published = Arc::clone(&published);
                thread::spawn(move || {
                    let mut client = Client::connect(address).unwrap();
                    let (mut done, mut failed) = (0, Vec::new());
                    while Instant::now() < end {
                        let oldest = published.load(Ordering::SeqCst);
                        let request = format!("POST /v23.0/77{worker}/messages HTTP/1.1\r\nHost: localhost\r\nX-Oldest: {oldest}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}");
                        match client.ask(request.as_bytes()) {
                            Ok(answer) if answer.status == 200 => done += 1,
                            other => {
                                failed.push(format!("{other:?}"));
                                client = Client::connect(address).unwrap();
                            }
                        }
                        // About 2,000 requests a second in total, on a fast machine.
                        thread::sleep(Duration::from_millis(2));
                    }
                    (done, failed)
                })
            })
            .collect()
    };
    for worker in load(1) {
        worker.join().unwrap();
    }
    let scarce = || keyside.post("/scarce/v23.0/5/messages", "{}").status;
    assert_eq!([scarce(), scarce(), scarce()], [200, 200, 429]);
    let before = keyside.descriptors();
    upstream.forget();

    let workers = load(8);
    for number in 1..=ROTATIONS {
        put.store(number, Ordering::SeqCst);
        mount(keyside.dir(), number, &format!("EAAROTATE{number}"));
        assert_eq!(keyside.reload().status, 200, "reload {number}");
        published.store(number, Ordering::SeqCst);
        if number % 20 == 0 {
            assert_eq!(scarce(), 429, "the bucket was refilled at reload {number}");
        }
        thread::sleep(Duration::from_millis(40));
    }
    let (mut done, mut failed) = (0, Vec::new());
    for worker in workers {
        let (passed, why) = worker.join().unwrap();
        done += passed;
        failed.extend(why);
    }
    assert!(
        failed.is_empty(),
        "{} of {} failed: {}",
        failed.len(),
        done + failed.len(),
        failed[0]
    );
    assert!(done > 1000, "only {done} requests: that is no load");
    assert_eq!(
        wrong.load(Ordering::Relaxed),
        0,
        "requests carried a token that was not valid at that moment"
    );
    assert_eq!(upstream.arrivals(), done);
    let calm = eventually(Duration::from_secs(5), || {
        keyside.descriptors() <= before + 2
    });
    assert!(
        calm,
        "{} descriptors, {before} before",
        keyside.descriptors()
    );
}

#[test]
fn ten_thousand_sighups_leave_the_sidecar_alive_and_up_to_date() {
    let upstream = Upstream::ok();
    let mut keyside = Setup::new(&upstream).level("warn").start();
    let before = keyside.descriptors();
    for number in 0..10_000 {
        keyside.signal(Signal::HUP);
        if number == 9_990 {
            keyside.dir().write("token", "EAALAST");
        }
    }
    let current = eventually(Duration::from_secs(8), || {
        token_sent(&keyside, &upstream) == "Bearer EAALAST"
    });
    assert!(current, "the last file is not in use");
    assert!(keyside.is_running());
    let calm = eventually(Duration::from_secs(5), || {
        keyside.descriptors() <= before + 4
    });
    assert!(
        calm,
        "{} descriptors, {before} before",
        keyside.descriptors()
    );
    assert_eq!(keyside.post(MESSAGES, "{}").status, 200);
}

#[test]
fn a_reload_reads_every_kind_of_source_again() {
    let upstream = Upstream::ok();
    let setup = Setup::new(&upstream).credential("token = \"exec:@DIR@/print one\"");
    write_program(
        setup.dir(),
        "#!/bin/sh\necho EAAEXEC$1$(cat \"$(dirname \"$0\")/count\")\n",
    );
    setup.dir().write("count", "1");
    let keyside = setup.start();
    assert_eq!(token_sent(&keyside, &upstream), "Bearer EAAEXECone1");
    keyside.dir().write("count", "2");
    assert_eq!(keyside.reload().status, 200);
    assert_eq!(token_sent(&keyside, &upstream), "Bearer EAAEXECone2");
    for broken in [
        "#!/bin/sh\nexit 1\n",
        "#!/bin/sh\necho EAACANARY\nexit 3\n",
        "#!/bin/sh\necho\n",
        "#!/bin/sh\nhead -c 100000 /dev/zero\n",
    ] {
        write_program(keyside.dir(), broken);
        let answer = keyside.reload();
        assert_eq!(answer.status, 422, "{broken:?}: {}", answer.text());
        assert!(!answer.text().contains("CANARY"), "{broken:?}");
        assert_eq!(
            token_sent(&keyside, &upstream),
            "Bearer EAAEXECone2",
            "{broken:?}"
        );
    }
}

fn write_program(dir: &Directory, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    let path = dir.write("print.tmp", text);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::rename(path, dir.join("print")).unwrap();
}

#[test]
fn an_answer_while_reloading_is_not_late() {
    let upstream = Upstream::ok();
    let setup = Setup::new(&upstream).credential("token = \"exec:@DIR@/print\"");
    write_program(setup.dir(), "#!/bin/sh\necho EAAEXEC\n");
    let keyside = setup.start();
    write_program(keyside.dir(), "#!/bin/sh\nsleep 2\necho EAASLOW\n");
    keyside.signal(Signal::HUP);
    let end = Instant::now() + Duration::from_millis(1500);
    while Instant::now() < end {
        let began = Instant::now();
        assert_eq!(keyside.send(&post(MESSAGES, "{}")).status, 200);
        assert!(
            began.elapsed() < crate::support::stretched(Duration::from_millis(700)),
            "a request waited {:?} for a reload",
            began.elapsed()
        );
    }
    let done = eventually(Duration::from_secs(5), || {
        token_sent(&keyside, &upstream) == "Bearer EAASLOW"
    });
    assert!(done, "the slow program's token is not in use");
}

#[test]
fn authorities_that_are_no_regular_file_refuse_a_reload_at_once() {
    let upstream = Upstream::ok();
    let keyside = Keyside::start(&upstream);
    let ca = keyside.dir().join("ca.pem");
    let pem = std::fs::read(&ca).unwrap();
    std::fs::remove_file(&ca).unwrap();
    assert!(Command::new("mkfifo").arg(&ca).status().unwrap().success());
    let refused = keyside.reload();
    assert_eq!(refused.status, 422, "{}", refused.text());
    assert!(
        refused.text().contains("not a regular file"),
        "{}",
        refused.text()
    );
    keyside.dir().write("ca.pem", pem);
    assert_eq!(keyside.reload().status, 200);
}

#[test]
fn a_new_credential_without_a_secret_is_told_by_the_reload_that_adds_it() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream).start();
    let path = keyside.dir().join("proxy.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    let more = "[credential.n]\nprovider = \"test\"\ntoken = \"file:/nonexistent/x\"\n\
                [[route]]\ncredential = \"n\"\npath = \"/n\"\n";
    keyside
        .dir()
        .write("proxy.toml", format!("{config}\n{more}"));
    let reloaded = keyside.reload();
    assert_eq!(reloaded.status, 200, "{}", reloaded.text());
    let reason = "credential.n.token: `file:/nonexistent/x`";
    assert!(reloaded.text().contains(reason), "{}", reloaded.text());
    assert!(keyside.log().contains(reason), "{}", keyside.log());
    let metric = "keyside_credential_kept_back";
    assert_eq!(keyside.metric(metric, &["credential=\"n\""]), 1.0);
}
