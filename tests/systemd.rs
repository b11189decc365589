//! A sidecar under systemd: sockets that outlive it, notifications, and lines with a severity for
//! the journal.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::MESSAGES;
use crate::support::client::{Client, get, post};
use crate::support::keyside::{Keyside, Setup, finish};
use crate::support::load::Load;
use crate::support::upstream::{After, Upstream, json};

/// A slow upstream: requests are under way at each moment.
fn slow() -> Upstream {
    Upstream::scripted(|_, wire| {
        thread::sleep(Duration::from_millis(20));
        wire.write(&json("{}"));
        After::Keep
    })
}

/// A sidecar with a passed socket for applications, and a second passed socket without a use.
fn activated(setup: Setup) -> Setup {
    let sockets = [setup.bind_outbound(), setup.bind_inbound()];
    setup.passed(sockets, "keyside.socket:keyside.socket")
}

#[test]
fn a_restart_with_passed_sockets_refuses_and_cuts_no_call() {
    let upstream = slow();
    let mut keyside = activated(Setup::new(&upstream).level("info")).start();
    let address = keyside.outbound();
    let once = String::from_utf8(post(MESSAGES, "{}")).unwrap();
    let once = once.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    let load = Load {
        requests: &[post(MESSAGES, "{}"), once.into_bytes()],
        rate: 500,
        callers: 20,
        min_sends: 1000,
    };
    // A call that is refused or cut is a panic of the load.
    let (sent, failures) = load.during_at(address, || {
        for _ in 0..2 {
            keyside.end(Signal::TERM);
            keyside.begin();
            thread::sleep(Duration::from_millis(300));
        }
    });
    assert!(failures.is_empty(), "{:?}", failures.first());
    assert_eq!(upstream.arrivals(), sent, "each call arrived once");
}

#[test]
fn a_passed_socket_is_served_by_the_name_of_its_table_and_another_one_is_told() {
    let upstream = Upstream::ok();
    let setup = Setup::new(&upstream).level("info");
    let path = setup.dir().join("send.sock");
    let named: OwnedFd = UnixListener::bind(&path).unwrap().into();
    let sockets = [named, setup.bind_inbound()];
    let keyside = setup.passed(sockets, "outbound:other").start();
    let mut client = Client::connect_unix(&path).unwrap();
    assert_eq!(client.ask(&post(MESSAGES, "{}")).unwrap().status, 200);
    let refused = Client::connect(keyside.outbound());
    assert!(refused.is_err(), "the socket stands for the address");
    let log = keyside.log();
    assert!(log.contains("nobody answers at this socket"), "{log}");
    assert!(log.contains("FileDescriptorName=other"), "{log}");
}

/// The notifications that arrive until `last` does.
fn told(manager: &UnixDatagram, last: &str) -> String {
    let mut all = String::new();
    while !all.contains(last) {
        let mut message = [0; 4096];
        let length = manager.recv(&mut message).expect(last);
        all.push_str(&String::from_utf8_lossy(&message[..length]));
    }
    all
}

#[test]
fn the_service_manager_is_told_of_readiness_reloads_life_and_the_end() {
    let upstream = Upstream::ok();
    let setup = Setup::new(&upstream);
    let path = setup.dir().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let mut keyside = setup
        .env("NOTIFY_SOCKET", path.to_str().unwrap())
        .env("WATCHDOG_USEC", "300000")
        .start();
    let ready = told(&manager, "STATUS=serving 1 route and 0 webhooks");
    assert!(ready.contains("READY=1\n"), "{ready}");
    for _ in 0..3 {
        told(&manager, "WATCHDOG=1\n");
    }
    assert_eq!(keyside.reload().status, 200);
    let reloading = told(&manager, "READY=1\n");
    assert!(
        reloading.contains("RELOADING=1\nMONOTONIC_USEC="),
        "{reloading}"
    );
    keyside
        .dir()
        .write("proxy.toml", "[outbound]\nlisten = 1\n");
    assert_eq!(keyside.reload().status, 422);
    let refused = told(&manager, "the last reload was refused: ");
    assert!(refused.contains("READY=1\n"), "{refused}");
    keyside.end(Signal::TERM);
    told(&manager, "STOPPING=1\n");
}

/// A sidecar whose standard error is, as far as the sidecar can tell, the journal.
fn journaled(setup: Setup) -> Keyside {
    let stderr = fs::metadata(setup.dir().write("stderr", "")).unwrap();
    let stream = format!("{}:{}", stderr.dev(), stderr.ino());
    setup.env("JOURNAL_STREAM", &stream).start()
}

#[test]
fn lines_for_the_journal_have_their_severity_and_other_lines_have_none() {
    let upstream = Upstream::ok();
    let keyside = journaled(Setup::new(&upstream));
    keyside.post("/v23.0/1/register", "{}");
    keyside.post(MESSAGES, "{}");
    keyside.dir().write("proxy.toml", "");
    assert_eq!(keyside.reload().status, 422);
    let log = keyside.log();
    for line in log.lines() {
        let (prefix, rest) = line.split_at(3);
        let record: serde_json::Value = serde_json::from_str(rest).expect(line);
        let expected = match record["level"].as_str().unwrap() {
            "ERROR" => "<3>",
            "WARN" => "<4>",
            "INFO" => "<6>",
            _ => "<7>",
        };
        assert_eq!(prefix, expected, "{line}");
    }
    for prefix in ["<3>", "<6>", "<7>"] {
        assert!(log.lines().any(|line| line.starts_with(prefix)), "{log}");
    }
    let plain = Setup::new(&upstream).env("JOURNAL_STREAM", "1:1").start();
    plain.ask_admin(&get("/livez"));
    assert!(plain.log().lines().all(|line| line.starts_with('{')));
}

#[test]
fn announced_sockets_that_are_not_there_are_told() {
    let setup = Setup::new(&Upstream::ok());
    let config = setup.write_config();
    let mut command = std::process::Command::new("sh");
    command
        .args([
            "-c",
            "LISTEN_PID=$$ LISTEN_FDS=999 exec \"$0\" run -c \"$1\"",
        ])
        .arg(env!("CARGO_BIN_EXE_keyside"))
        .arg(config);
    let done = finish(&mut command, Duration::from_secs(10));
    assert_eq!(done.code, Some(1), "{}", done.output);
    let expected = "LISTEN_FDS announces 999 sockets, and file descriptor 3 is none";
    assert!(done.output.contains(expected), "{}", done.output);
}
