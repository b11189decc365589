//! Rotations and leaks under 300 requests a second, row by row: whatever becomes of a secret, no
//! request fails, but for a gap longer than `hold`. Each sidecar has three credentials, one of
//! which is always broken.

mod files;
mod leaks;
mod managers;
mod odd;
mod providers;
mod restarts;
mod secrets;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::MESSAGES;
use crate::support::book::Book;
use crate::support::client::post;
use crate::support::keyside::{Directory, Keyside, Setup};
use crate::support::kubernetes::KubernetesSecretApi;
use crate::support::load::{Failure, Load};
use crate::support::upstream::Upstream;

const OLD: &str = "EAAOLDTOKEN";
const NEW: &str = "EAANEWTOKEN";

/// A row: what happens, and the token that requests carry in the end.
struct Row {
    name: &'static str,
    happens: fn(&Stand),
    ends_with: &'static str,
    /// The reference of the token.
    token: &'static str,
    /// More lines of the credential.
    more: &'static str,
    hold: &'static str,
    /// The `watch` of `[reload]`: the time between two looks at files.
    watch: &'static str,
    /// The `refresh` of `[reload]`: the time between two questions to secret managers.
    refresh: &'static str,
    is_asked_about: bool,
    /// True if a service manager holds the socket for applications.
    is_activated: bool,
    /// True if the gap is longer than the hold: then the provider's own answer reaches the
    /// application.
    outlasts_hold: bool,
}

/// A file that is looked at, of which the provider is asked.
const ROW: Row = Row {
    name: "",
    happens: |_| {},
    ends_with: NEW,
    token: "file:@DIR@/token",
    more: "",
    hold: "5s",
    watch: "100ms",
    refresh: "5m",
    is_asked_about: true,
    is_activated: false,
    outlasts_hold: false,
};

/// A provider, a sidecar in front, and the managers that a row may need.
struct Stand {
    book: Book,
    upstream: Upstream,
    cluster: KubernetesSecretApi,
    keyside: Keyside,
}

impl Stand {
    fn start(row: &Row, environment: &[(&'static str, String)]) -> Self {
        let book = Book::new();
        book.issue(OLD, "one");
        for token in ["EAAOTHERTOKEN", "EAABROKENTOKEN"] {
            book.issue(token, "beside");
        }
        let upstream = book.provider();
        let cluster = KubernetesSecretApi::start(&[("token", OLD)]);
        let setup = Setup::new(&upstream);
        let setup = if row.is_asked_about {
            setup.check()
        } else {
            setup
        };
        let setup = if row.is_activated {
            let sockets = [setup.bind_outbound(), setup.bind_inbound()];
            setup.passed(sockets, "outbound:inbound")
        } else {
            setup
        };
        let folder = setup.dir().path().display().to_string();
        let script = format!("#!/bin/sh\ncat {folder}/token\n");
        let program = setup.dir().write("print", script);
        fs::set_permissions(program, fs::Permissions::from_mode(0o500)).unwrap();
        mount(setup.dir(), 0, OLD);
        let check = if row.is_asked_about {
            ""
        } else {
            "check = \"off\"\n"
        };
        let keyside = setup
            .level("info")
            .hold(row.hold)
            .watch(row.watch)
            .refresh(row.refresh)
            .envs(environment)
            .envs(&cluster.environment())
            .env("CREDENTIALS_DIRECTORY", &folder)
            .env("ACME_TOKEN", OLD)
            .file("token", OLD)
            .file("app_secret", "secret of one")
            .file("app_secret_beside", "secret beside")
            .file("other", "EAAOTHERTOKEN")
            .file("broken", "EAABROKENTOKEN")
            .credential(&format!(
                "token = \"{}\"\napp_secret = \"file:@DIR@/app_secret\"\nproof = \"classic\"\n{}",
                row.token, row.more
            ))
            .more(&both_beside("@DIR@", check))
            .start();
        Self {
            book,
            upstream,
            cluster,
            keyside,
        }
    }

    /// A further sidecar, with the files of this one.
    fn second(&self) -> Keyside {
        let folder = self.keyside.dir().path().display().to_string();
        Setup::new(&self.upstream)
            .check()
            .level("info")
            .hold("5s")
            .watch("300ms")
            .credential(&format!(
                "token = \"file:{folder}/token\"\napp_secret = \"file:{folder}/app_secret\"\nproof = \"classic\""
            ))
            .more(&both_beside(&folder, ""))
            .start()
    }

    fn write(&self, name: &str, text: &str) {
        self.keyside.dir().write(name, text);
    }

    /// Writes into the file itself, as `>` does.
    fn overwrite(&self, name: &str, text: &str) {
        fs::write(self.keyside.dir().join(name), text).unwrap();
    }

    /// Issues the new token and puts it into the file.
    fn rotate(&self) {
        self.book.issue(NEW, "one");
        self.write("token", NEW);
    }

    fn hang_up(&self) {
        self.keyside.signal(Signal::HUP);
    }

    /// Sends a message, and returns the token of the message. Under load the token may belong to a
    /// different request.
    fn token_sent(&self, path: &str) -> String {
        let sent = self.keyside.post(&format!("{path}{MESSAGES}"), "{}");
        assert_eq!(sent.status, 200, "{path}: {}", sent.text());
        let request = self.upstream.last_to(MESSAGES);
        request
            .header("authorization")
            .unwrap()
            .replace("Bearer ", "")
    }
}

/// The credentials beside the one of a row, with their routes and with files in `folder`.
fn both_beside(folder: &str, check: &str) -> String {
    let beside = |name: &str| {
        format!(
            "[credential.{name}]\nprovider = \"test\"\ntoken = \"file:{folder}/{name}\"\n\
             app_secret = \"file:{folder}/app_secret_beside\"\nproof = \"classic\"\n{check}\
             [[route]]\ncredential = \"{name}\"\npath = \"/{name}\"\n{HIGH_LIMITS}"
        )
    };
    ["other", "broken"].map(beside).concat()
}

/// A request with each of the three credentials; `request` makes the one of a path.
fn with_each(request: impl Fn(&str) -> Vec<u8>) -> [Vec<u8>; 3] {
    ["", "/other", "/broken"].map(request)
}

fn messages_with_each() -> [Vec<u8>; 3] {
    with_each(|path| post(&format!("{path}{MESSAGES}"), "{}"))
}

const HIGH_LIMITS: &str =
    "[route.limits]\nper_sender = \"100000/s\"\nper_recipient = { rate = \"100000/s\" }\n";

/// A folder in the form of the kubelet: a link to a link to the folder of the values.
fn mount(dir: &Directory, number: usize, token: &str) {
    let volume = dir.join("volume");
    let values = volume.join(format!("..{number}"));
    fs::create_dir_all(&values).unwrap();
    fs::write(values.join("token"), token).unwrap();
    let aside = volume.join("..data_tmp");
    symlink(format!("..{number}"), &aside).unwrap();
    fs::rename(&aside, volume.join("..data")).unwrap();
    if !volume.join("token").exists() {
        symlink("..data/token", volume.join("token")).unwrap();
    }
    if let Some(before) = number.checked_sub(1) {
        fs::remove_dir_all(volume.join(format!("..{before}"))).unwrap();
    }
}

/// The ways in which the third credential is broken.
const BREAKS: [fn(&Stand); 4] = [
    |stand| fs::remove_file(stand.keyside.dir().join("broken")).unwrap(),
    |stand| stand.write("broken", "\"EAAQUOTED\""),
    |stand| stand.write("broken", "EAAUNKNOWN"),
    |stand| stand.write("broken", ""),
];

fn wait(millis: u64) {
    thread::sleep(Duration::from_millis(millis));
}

/// Runs each row, with the third credential broken in one way after the other.
fn run(rows: &[Row]) {
    run_with(rows, &[]);
}

fn run_with(rows: &[Row], environment: &[(&'static str, String)]) {
    for (number, row) in rows.iter().enumerate() {
        let stand = Stand::start(row, environment);
        let break_it = BREAKS[number % BREAKS.len()];
        let requests = messages_with_each();
        let (sent, failures) = load(&requests).during(&stand.keyside, || {
            break_it(&stand);
            (row.happens)(&stand);
            wait(300);
        });
        let mut failures = failures.iter();
        if row.outlasts_hold {
            let is_own = |failure: &&Failure| {
                failure.request == 0 && failure.status == 400 && failure.text.contains("190")
            };
            assert!(
                failures.by_ref().all(|failure| is_own(&failure)),
                "{}",
                row.name
            );
        }
        let first = failures.next();
        assert!(
            first.is_none(),
            "{}: {} of {sent}: {first:?}",
            row.name,
            failures.len() + 1
        );
        assert_eq!(stand.token_sent(""), row.ends_with, "{}", row.name);
        assert_eq!(
            stand.token_sent("/broken"),
            "EAABROKENTOKEN",
            "{}",
            row.name
        );
    }
}

/// 300 requests a second.
fn load(requests: &[Vec<u8>]) -> Load<'_> {
    Load {
        requests,
        rate: 300,
        callers: 30,
        min_sends: 300,
    }
}

#[test]
fn a_mounted_volume_is_a_link_to_a_link() {
    let dir = Directory::new();
    mount(&dir, 0, "a");
    mount(&dir, 1, "b");
    let token = dir.join("volume/token");
    assert_eq!(fs::read_to_string(&token).unwrap(), "b");
    assert_eq!(fs::read_link(&token).unwrap(), Path::new("..data/token"));
}
