//! The clock of the machine is wrong, or is set while the sidecar runs.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::client::get;
use crate::support::keyside::{Directory, Keyside, Setup};
use crate::support::sandbox::Sandbox;
use crate::support::webhook::{application, genuine, message, spooled, to};
use crate::support::{APP_SECRET, MESSAGES, TOKEN, eventually};

const SENDER: &str = "106540352242922";

/// A provider with the right time, and a sidecar with a clock set by a file.
struct Stand {
    sandbox: Sandbox,
    keyside: Keyside,
    _secrets: Directory,
}

impl Stand {
    fn new(time: &str, credential: &str) -> Self {
        let secrets = Directory::new();
        secrets.write("token", TOKEN);
        secrets.write("app_secret", APP_SECRET);
        let sandbox = Sandbox::start(&secrets, &[]);
        let setup = Setup::at(&sandbox.url())
            .check()
            .file("time", time)
            .file("app_secret", APP_SECRET);
        let time = setup.dir().join("time").display().to_string();
        let keyside = setup
            .credential(&format!(
                "token = \"file:@DIR@/token\"\napp_secret = \"file:@DIR@/app_secret\"\n{credential}\n"
            ))
            .route(&format!("senders = [\"{SENDER}\"]\n"))
            .env("LD_PRELOAD", &libfaketime().display().to_string())
            .env("FAKETIME_TIMESTAMP_FILE", &time)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .start();
        Self {
            sandbox,
            keyside,
            _secrets: secrets,
        }
    }

    fn set_clock(&self, time: &str) {
        self.keyside.dir().write("time", time);
    }

    /// Gives the sandbox and the sidecar a token with the given number of days left.
    fn rotate(&self, token: &str, days: u64) {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs();
        self.sandbox.ask(
            "POST",
            "tokens",
            &json!({ "token": token, "expires_at": now + days * 86_400 }),
        );
        self.keyside.dir().write("token", token);
        let answer = self.keyside.reload();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    fn send(&self) -> u16 {
        let body = r#"{"messaging_product":"whatsapp","to":"15550001234","type":"text","text":{"body":"x"}}"#;
        self.keyside
            .post(&MESSAGES.replace("1234567890", SENDER), body)
            .status
    }

    fn credential(&self) -> Value {
        self.keyside.status()["credentials"][0].clone()
    }
}

/// The path of Debian's package.
fn libfaketime() -> PathBuf {
    let libraries = fs::read_dir("/usr/lib")
        .unwrap()
        .flatten()
        .map(|entry| entry.path());
    let mut all = libraries.map(|path| path.join("faketime/libfaketime.so.1"));
    all.find(|path| path.exists())
        .expect("faketime is installed: see tests/run")
}

#[test]
#[ignore = "needs faketime: tests/run servers"]
fn a_clock_that_jumps_neither_expires_nor_revives_a_secret() {
    let stand = Stand::new("+0", "overlap = \"3s\"\nmax_age = \"90d\"");
    assert!(eventually(
        Duration::from_secs(5),
        || stand.credential()["check"]["result"] == "proved"
    ));
    for (turn, time) in ["+3600", "-3600", "+31536000", "-31536000", "+0"]
        .into_iter()
        .enumerate()
    {
        assert_eq!(stand.send(), 200);
        stand.set_clock(time);
        assert_eq!(stand.send(), 200, "its proof is good at {time}");
        stand.rotate(&format!("EAANUMBER{turn}"), 60);
        assert_eq!(stand.send(), 200, "with a new token at {time}");
        let credential = stand.credential();
        assert_eq!(credential["check"]["result"], "proved", "{credential}");
        assert_eq!(
            credential["previous"].as_array().unwrap().len(),
            1,
            "its overlap goes on at {time}"
        );
        let left = stand
            .keyside
            .metric("keyside_credential_expires_seconds", &[])
            / 86_400.0;
        assert!((59.0..=60.0).contains(&left), "{left} days at {time}");
        let ended = || {
            stand.credential()["previous"]
                .as_array()
                .unwrap()
                .is_empty()
        };
        assert!(
            eventually(Duration::from_secs(4), ended),
            "and ends at {time}"
        );
        let age = stand
            .keyside
            .metric("keyside_credential_age_seconds", &["secret=\"token\""]);
        assert!((0.0..60.0).contains(&age), "{age} s old at {time}");
    }
    assert_eq!(stand.keyside.ask_admin(&get("/readyz")).status, 200);
    assert!(
        !stand.keyside.log().contains("ERROR"),
        "{}",
        stand.keyside.log()
    );
}

#[test]
#[ignore = "needs faketime: tests/run servers"]
fn a_sidecar_whose_clock_is_wrong_from_the_start_takes_the_providers() {
    for (time, check) in [
        ("+3600", ""),
        ("-31536000", ""),
        ("+3600", "check = \"off\""),
    ] {
        let stand = Stand::new(time, check);
        assert_eq!(stand.send(), 200, "{time} {check}");
        assert_eq!(stand.send(), 200, "{time} {check}");
        let accepted = stand.sandbox.ask("GET", "sends", &Value::Null);
        assert_eq!(accepted.as_array().map(Vec::len), Some(2), "{accepted}");
    }
}

#[test]
#[ignore = "needs faketime: tests/run servers"]
fn requests_that_are_under_way_together_all_recover_from_a_wrong_clock() {
    const TOGETHER: usize = 16;
    let stand = Stand::new("-31536000", "check = \"off\"");
    let statuses: Vec<u16> = thread::scope(|scope| {
        let sends: Vec<_> = (0..TOGETHER)
            .map(|_| scope.spawn(|| stand.send()))
            .collect();
        sends.into_iter().map(|send| send.join().unwrap()).collect()
    });
    assert_eq!(statuses, [200; TOGETHER], "{}", stand.keyside.log());
}

/// The machine goes on running here: the time since the start of the machine counts, and not the
/// wall clock.
#[test]
#[ignore = "needs faketime: tests/run servers"]
fn a_clock_a_year_off_at_a_restart_neither_ends_an_overlap_nor_revives_one() {
    for time in ["+31536000", "-31536000"] {
        let setup = Setup::at("http://127.0.0.1:1")
            .file("time", "+0")
            .file("key", "3q2+7wABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhs=")
            .credential("token = \"file:@DIR@/token\"\noverlap = \"6s\"")
            .more("[state]\ndir = \"@DIR@/state\"\nkey = \"file:@DIR@/key\"");
        let file = setup.dir().join("time").display().to_string();
        let mut keyside = setup
            .env("LD_PRELOAD", &libfaketime().display().to_string())
            .env("FAKETIME_TIMESTAMP_FILE", &file)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .start();
        let previous = |keyside: &Keyside| {
            let status = keyside.status();
            status["credentials"][0]["previous"]
                .as_array()
                .unwrap()
                .len()
        };
        keyside.dir().write("token", "EAANEWTOKEN");
        assert_eq!(keyside.reload().status, 200);
        keyside.end(Signal::TERM);
        keyside.dir().write("time", time);
        keyside.begin();
        assert_eq!(previous(&keyside), 1, "{time}\n{}", keyside.log());
        let ended = || previous(&keyside) == 0;
        assert!(eventually(Duration::from_secs(8), ended), "{time}");
        keyside.end(Signal::TERM);
        keyside.dir().write("time", "+0");
        keyside.begin();
        assert_eq!(previous(&keyside), 0, "{time}");
    }
}

/// A proxy before the listener blocks the events, and the provider tells nobody: seen in a clock
/// 120 times as fast.
#[test]
#[ignore = "needs faketime: tests/run servers"]
fn a_webhook_whose_events_stop_is_a_problem_until_the_next_event() {
    let application = application();
    let keyside = spooled(&to("app", &application, ""))
        .env("LD_PRELOAD", &libfaketime().display().to_string())
        .env("FAKETIME", "+0 x120")
        .start();
    let send = |number: usize| {
        let body = message(&format!("m{number}"), "user");
        assert_eq!(keyside.event(&genuine(body.as_bytes())).status, 200);
    };
    let is_silent = || keyside.metric("keyside_webhook_silent", &["webhook=\"acme\""]) > 0.5;
    for number in 0..30 {
        send(number);
        thread::sleep(Duration::from_millis(600));
        assert!(!is_silent(), "after {number} events");
    }
    assert!(eventually(Duration::from_secs(30), is_silent));
    let problems = keyside.problems();
    let (said, remedy) = (
        "webhook acme: no event for ",
        "20 times the usual gap or more: look at the provider's settings of the webhook",
    );
    assert!(
        problems.contains(said) && problems.contains(remedy),
        "{problems}"
    );
    send(30);
    assert!(eventually(Duration::from_secs(5), || !is_silent()));
    assert!(!keyside.problems().contains(said));
}
