//! A program or secret manager that answers late, or never, holds up its own credentials alone.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::keyside::{Keyside, Setup};
use crate::support::upstream::Upstream;
use crate::support::webhook::{HOOK, application, beside, genuine};
use crate::support::{MESSAGES, TOKEN, base64, eventually, hmac_base64, stretched};

const NEW: &str = "EAASECOND";
const OTHER: &str = "EAAOTHERTOKEN";
const NEW_OTHER: &str = "EAAOTHERTOKENTWO";

/// A program that takes as many seconds as the file `delay` says.
const PROGRAM: &str = "#!/bin/sh\n/bin/sleep $(/bin/cat @DIR@/delay)\n/bin/cat @DIR@/other\n";

/// Credential `acme` from a file at `/`, and credential `other` from a slow program at `/other`.
fn with_a_slow_program(upstream: &Upstream, delay: &str) -> Setup {
    let setup = Setup::new(upstream)
        .file("other", OTHER)
        .file("delay", delay)
        .more(
            "[credential.other]\nprovider = \"test\"\ncheck = \"off\"\ntoken = \"exec:@DIR@/program\"\n\
             [[route]]\ncredential = \"other\"\npath = \"/other\"\n",
        );
    let dir = setup.dir().path().display().to_string();
    let program = setup.dir().write("program", PROGRAM.replace("@DIR@", &dir));
    std::fs::set_permissions(program, std::fs::Permissions::from_mode(0o755)).unwrap();
    setup
}

/// The token that a message at a path goes out with; `None` if it does not go out.
fn token_sent(keyside: &Keyside, upstream: &Upstream, path: &str) -> Option<String> {
    let sent = keyside.post(&format!("{path}{MESSAGES}"), "{}");
    (sent.status == 200).then(|| {
        let header = upstream.last_to(MESSAGES).header("authorization");
        header.unwrap().replace("Bearer ", "")
    })
}

fn is_sent(keyside: &Keyside, upstream: &Upstream, path: &str, token: &str) -> bool {
    token_sent(keyside, upstream, path).as_deref() == Some(token)
}

#[test]
fn a_reload_publishes_files_at_once_and_a_late_answer_when_it_comes() {
    let upstream = Upstream::ok();
    let keyside = with_a_slow_program(&upstream, "0").start();
    assert!(is_sent(&keyside, &upstream, "/other", OTHER));
    let dir = keyside.dir();
    dir.write("delay", "4");
    dir.write("token", NEW);
    dir.write("other", NEW_OTHER);
    let began = Instant::now();
    keyside.signal(Signal::HUP);
    let in_time = Duration::from_secs(2);
    assert!(eventually(in_time, || is_sent(
        &keyside, &upstream, "", NEW
    )));
    assert!(is_sent(&keyside, &upstream, "/other", OTHER), "as it was");
    let in_time = Duration::from_secs(8);
    assert!(eventually(in_time, || is_sent(
        &keyside, &upstream, "/other", NEW_OTHER
    )));
    assert!(
        began.elapsed() > Duration::from_secs(3),
        "the program was slow"
    );
}

#[test]
fn whoever_asks_for_a_reload_hears_of_late_answers_and_delays_no_other_reload() {
    let upstream = Upstream::ok();
    let keyside = with_a_slow_program(&upstream, "0").watch("100ms").start();
    let dir = keyside.dir();
    dir.write("delay", "8");
    dir.write("other", NEW_OTHER);
    std::thread::scope(|scope| {
        let reload = scope.spawn(|| keyside.reload());
        std::thread::sleep(Duration::from_millis(300));
        dir.write("token", NEW);
        let in_time = Duration::from_secs(1);
        assert!(eventually(in_time, || is_sent(
            &keyside, &upstream, "", NEW
        )));
        let reloaded = reload.join().unwrap();
        assert_eq!(reloaded.status, 200);
        let text = reloaded.text();
        assert!(text.contains("credential other: token"), "{text}");
    });
    assert!(is_sent(&keyside, &upstream, "/other", NEW_OTHER));
    assert!(!keyside.log().contains(NEW_OTHER));
}

#[test]
fn a_start_does_not_wait_for_a_program_that_hangs() {
    let upstream = Upstream::ok();
    let began = Instant::now();
    let keyside = with_a_slow_program(&upstream, "5").start();
    assert!(is_sent(&keyside, &upstream, "", TOKEN));
    let took = began.elapsed();
    assert!(took < stretched(Duration::from_secs(4)), "{took:?}");
    let refused = keyside.post(&format!("/other{MESSAGES}"), "{}");
    assert_eq!(
        (refused.status, refused.slug()),
        (503, "credential_unavailable")
    );
    let in_time = Duration::from_secs(8);
    assert!(eventually(in_time, || is_sent(
        &keyside, &upstream, "/other", OTHER
    )));
}

#[test]
fn neither_start_nor_reload_waits_for_the_key_of_a_webhook_and_its_events_wait() {
    let (upstream, application) = (Upstream::ok(), application());
    let setup = beside(&upstream, &application).file("delay", "5");
    let dir = setup.dir().path().display().to_string();
    let program = "#!/bin/sh\n/bin/sleep $(/bin/cat @DIR@/delay)\n/bin/cat @DIR@/sign\n";
    let program = setup.dir().write("program", program.replace("@DIR@", &dir));
    std::fs::set_permissions(program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let webhook = format!(
        "[inbound]\nlisten = [\"127.0.0.1:@INBOUND@\"]\n[[webhook]]\npath = \"{HOOK}\"\ncredential = \"acme\"\n\
         forward = \"{}/\"\nsign = \"exec:@DIR@/program\"\n[spool]\ndir = \"@DIR@/spool\"\n",
        application.url()
    );
    let began = Instant::now();
    let keyside = setup.more(&webhook).file("sign", base64(&[7; 32])).start();
    assert!(is_sent(&keyside, &upstream, "", TOKEN));
    let took = began.elapsed();
    assert!(took < stretched(Duration::from_secs(4)), "{took:?}");
    assert_eq!(keyside.event(&genuine(b"{\"n\":0}")).status, 200);
    assert_eq!(application.heads(), 0, "the event waits for the key");
    let in_time = Duration::from_secs(10);
    assert!(eventually(in_time, || application.heads() > 0));
    assert!(is_signed(&application, &[7; 32]));
    keyside.dir().write("sign", base64(&[8; 32]));
    keyside.dir().write("token", NEW);
    keyside.signal(Signal::HUP);
    let in_time = Duration::from_secs(2);
    assert!(eventually(in_time, || is_sent(
        &keyside, &upstream, "", NEW
    )));
    let mut number = 0;
    let in_time = Duration::from_secs(10);
    let is_new_key = eventually(in_time, || {
        number += 1;
        let event = format!("{{\"n\":{number}}}");
        assert_eq!(keyside.event(&genuine(event.as_bytes())).status, 200);
        let is_there = || application.last().body == event.as_bytes();
        assert!(eventually(Duration::from_secs(5), is_there));
        is_signed(&application, &[8; 32])
    });
    assert!(is_new_key, "{}", keyside.log());
    assert!(number > 1, "events go out with the key before until then");
}

/// True if the last event is signed with a key.
fn is_signed(application: &Upstream, key: &[u8]) -> bool {
    let event = application.last();
    let header = |name: &str| event.header(name).unwrap_or_default();
    let body = String::from_utf8_lossy(&event.body);
    let signed = format!(
        "{}.{}.{body}",
        header("webhook-id"),
        header("webhook-timestamp")
    );
    header("webhook-signature") == format!("v1,{}", hmac_base64(key, signed.as_bytes()))
}

#[test]
fn a_program_that_never_answers_leaves_its_credential_as_it_was() {
    let upstream = Upstream::ok();
    let keyside = with_a_slow_program(&upstream, "0").start();
    let count = |result: &str| keyside.metric("keyside_reloads_total", &[result]);
    let successes = count("result=\"success\"");
    keyside.dir().write("delay", "60");
    keyside.dir().write("other", NEW_OTHER);
    let reloaded = keyside.reload();
    assert_eq!(reloaded.status, 422, "{}", reloaded.text());
    let counts = [count("result=\"success\""), count("result=\"refused\"")];
    assert_eq!(counts, [successes, 1.0], "one reload has one result");
    assert_eq!(keyside.status()["reload"]["last_result"], "refused");
    assert!(!keyside.log().contains("\"reloaded\""), "{}", keyside.log());
    let told = "credential.other.token: `exec:";
    assert!(reloaded.text().contains(told), "{}", reloaded.text());
    assert!(is_sent(&keyside, &upstream, "/other", OTHER));
    let status = keyside.status();
    let credentials = status["credentials"].as_array().unwrap();
    let other = credentials
        .iter()
        .find(|one| one["name"] == "other")
        .unwrap();
    assert_eq!(other["usable"], true);
    let problem = other["unread"][0]["problem"].as_str().unwrap();
    assert!(problem.contains("no answer within 10 s"), "{problem}");
}

#[test]
fn a_reload_without_the_value_of_a_program_is_refused_in_answer_log_metric_and_status() {
    let upstream = Upstream::ok();
    let keyside = with_a_slow_program(&upstream, "0").start();
    let count = |result: &str| keyside.metric("keyside_reloads_total", &[result]);
    let successes = count("result=\"success\"");
    std::fs::remove_file(keyside.dir().join("other")).unwrap();
    for number in [1.0, 2.0] {
        let reloaded = keyside.reload();
        assert_eq!(reloaded.status, 422, "{}", reloaded.text());
        let reasons = reloaded.json()["reasons"].clone();
        assert_eq!(reasons.as_array().unwrap().len(), 1, "{reasons}");
        let told = "credential.other.token: `exec:";
        assert!(reasons[0].as_str().unwrap().starts_with(told), "{reasons}");
        assert_eq!(keyside.status()["reload"]["last_result"], "refused");
        assert_eq!(count("result=\"refused\""), number);
        assert_eq!(count("result=\"success\""), successes);
    }
    assert!(!keyside.log().contains("reloaded"), "{}", keyside.log());
    assert!(is_sent(&keyside, &upstream, "/other", OTHER));
}
