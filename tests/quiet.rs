//! An idle sidecar stays idle, and a reload costs as much as the change.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{DirEntry, read_dir, read_to_string};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::thread;
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};

use crate::support::client::{get, post};
use crate::support::eventually;
use crate::support::keyside::{Keyside, Setup};
use crate::support::upstream::Upstream;

const TENANTS: usize = 40;

/// A sidecar whose tenants have a token each, in a folder that was left alone for a while.
fn with_tenants(upstream: &Upstream, watch: &str) -> Keyside {
    let mut config = format!(
        "[outbound]\nlisten = [\"127.0.0.1:@PORT@\"]\n[admin]\nlisten = [\"127.0.0.1:@ADMIN@\"]\n[reload]\nwatch = \"{watch}\"\n\
         [provider.test]\nextends = \"meta\"\nupstream = \"@UPSTREAM@\"\nmedia_upstream = \"@UPSTREAM@\"\nca = \"@DIR@/ca.pem\"\n"
    );
    for tenant in 0..TENANTS {
        config += &format!(
            "[credential.t{tenant}]\nprovider = \"test\"\ncheck = \"off\"\ntoken = \"file:@DIR@/secrets/t{tenant}\"\n\
             [[route]]\ncredential = \"t{tenant}\"\npath = \"/t{tenant}\"\n"
        );
    }
    let setup = Setup::new(upstream).config(&config);
    for tenant in 0..TENANTS {
        setup
            .dir()
            .write(&format!("secrets/t{tenant}"), format!("EAATENANT{tenant}"));
    }
    // A file that was written within the last two seconds is read again in any case.
    thread::sleep(Duration::from_secs(4));
    setup.start()
}

/// The names of files in a folder as they are opened.
struct Opened(OwnedFd);

impl Opened {
    fn of(keyside: &Keyside) -> Self {
        let queue = inotify::init(CreateFlags::NONBLOCK).unwrap();
        let folder = keyside.dir().join("secrets");
        inotify::add_watch(&queue, &folder, WatchFlags::OPEN).unwrap();
        Self(queue)
    }

    /// The files opened since the last call.
    fn take(&self) -> BTreeSet<String> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(&self.0, &mut buffer);
        let mut names = BTreeSet::new();
        while let Ok(event) = reader.next() {
            let name = event
                .file_name()
                .map(|name| name.to_str().unwrap().to_owned());
            names.extend(name);
        }
        names
    }
}

fn token_of(upstream: &Upstream, keyside: &Keyside, tenant: &str) -> String {
    let message = post(&format!("/{tenant}/v23.0/1/messages"), "{}");
    assert_eq!(keyside.send(&message).status, 200);
    upstream.last().header("authorization").unwrap()
}

#[test]
fn a_reload_opens_the_files_of_the_changed_tenant_alone() {
    let upstream = Upstream::ok();
    let keyside = with_tenants(&upstream, "off");
    // The configuration was written just before the start, so the first reload reads everything.
    thread::sleep(Duration::from_secs(4));
    keyside.sighup_and_wait();
    let opened = Opened::of(&keyside);
    keyside.sighup_and_wait();
    assert_eq!(opened.take(), BTreeSet::new(), "nothing has changed");
    keyside.dir().write("secrets/t7", "EAASECOND");
    opened.take();
    keyside.sighup_and_wait();
    assert_eq!(opened.take(), BTreeSet::from(["t7".to_owned()]));
    assert_eq!(token_of(&upstream, &keyside, "t7"), "Bearer EAASECOND");
    assert_eq!(token_of(&upstream, &keyside, "t8"), "Bearer EAATENANT8");
}

#[test]
fn a_reload_after_one_changed_secret_says_so_and_keeps_the_health_of_every_route() {
    let upstream = Upstream::ok();
    let keyside = with_tenants(&upstream, "off");
    token_of(&upstream, &keyside, "t7");
    token_of(&upstream, &keyside, "t8");
    keyside.dir().write("secrets/t7", "EAASECOND");
    let changes = keyside.reload().json()["changes"].clone();
    assert_eq!(changes.as_array().unwrap().len(), 1, "{changes}");
    assert!(
        changes[0]
            .as_str()
            .unwrap()
            .starts_with("credential t7: token "),
        "{changes}"
    );
    let metrics = keyside.metrics();
    for route in ["t7", "t8"] {
        let series = format!(
            "keyside_requests_total{{route=\"{route}\",operation=\"messages\",outcome=\"ok\"}} 1"
        );
        assert!(metrics.contains(&series), "{route}");
        let status = keyside
            .ask_admin(&get(&format!("/status?route={route}")))
            .json();
        let age = &status["routes"][0]["traffic"]["sends"]["last_success"];
        assert!(!age.is_null(), "{}", status["routes"][0]["traffic"]);
    }
}

#[test]
fn the_watch_opens_no_file_while_nothing_changes_and_sees_a_change_in_time() {
    let upstream = Upstream::ok();
    let keyside = with_tenants(&upstream, "100ms");
    // The first look follows the load.
    thread::sleep(Duration::from_millis(500));
    let opened = Opened::of(&keyside);
    thread::sleep(Duration::from_secs(1));
    assert_eq!(opened.take(), BTreeSet::new());
    keyside.dir().write("secrets/t7", "EAASECOND");
    let is_noticed = || token_of(&upstream, &keyside, "t7") == "Bearer EAASECOND";
    assert!(eventually(Duration::from_secs(4), is_noticed));
}

/// The number of times that each thread of a process went to sleep.
fn sleeps(keyside: &Keyside) -> BTreeMap<String, u64> {
    let threads = read_dir(format!("/proc/{}/task", keyside.pid())).unwrap();
    let of_thread = |thread: DirEntry| {
        let status = read_to_string(thread.path().join("status")).unwrap_or_default();
        let mut lines = status.lines();
        let line = lines.find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        let count = line.map_or(0, |count| count.trim().parse().unwrap());
        (thread.file_name().into_string().unwrap(), count)
    };
    threads.map(|thread| of_thread(thread.unwrap())).collect()
}

#[test]
fn an_idle_sidecar_wakes_rarely() {
    let upstream = Upstream::ok();
    // A connection that is kept ready is opened again when the provider has closed it.
    let setup = Setup::new(&upstream)
        .watch("5s")
        .more("[egress]\nwarm = 0\n");
    let keyside = setup.start();
    // The first looks follow the load.
    thread::sleep(Duration::from_secs(7));
    let before = sleeps(&keyside);
    thread::sleep(Duration::from_secs(60));
    let after = sleeps(&keyside);
    let count: u64 = after
        .iter()
        .map(|(thread, count)| count.saturating_sub(before.get(thread).copied().unwrap_or(0)))
        .sum();
    eprintln!("{count} wake-ups in a minute");
    assert!((1..=20).contains(&count), "{count} wake-ups in a minute");
}
