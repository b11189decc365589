//! The applications in `docs/events.md` do what the page says: they check the signature, and do the
//! work of an event once.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::client::{Client, post};
use crate::support::eventually;
use crate::support::keyside::{Directory, Keyside, finish, free_port};
use crate::support::webhook::{EVENT, configured, genuine};

const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A running sample. Killed when it is dropped.
struct Sample {
    process: Child,
    dir: Directory,
    port: u16,
}

impl Sample {
    fn start(language: &str, program: &str, name: &str) -> Self {
        let page = include_str!("../docs/events.md");
        let (_, rest) = page.split_once(&format!("```{language}\n")).unwrap();
        let (text, _) = rest.split_once("```").unwrap();
        let port = free_port();
        let dir = Directory::new();
        let file = dir.write(name, text.replace("3000", &port.to_string()));
        let output = std::fs::File::create(dir.join("output")).unwrap();
        let process = Command::new(program)
            .arg(file)
            .env("KEYSIDE_KEY", KEY)
            .stdout(output)
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let sample = Self { process, dir, port };
        let is_up = || Client::connect(sample.address()).is_ok();
        assert!(eventually(Duration::from_secs(10), is_up), "{program}");
        sample
    }

    fn address(&self) -> std::net::SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// The number of events whose work was done.
    fn handled(&self) -> usize {
        let output = std::fs::read_to_string(self.dir.join("output")).unwrap();
        output.matches("whatsapp_business_account").count()
    }
}

impl Drop for Sample {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn delivered(keyside: &Keyside) -> f64 {
    let labels = ["to=\"acme\"", "state=\"delivered\""];
    keyside.metric("keyside_spool_events", &labels)
}

#[test]
#[ignore = "needs Node and Python: tests/run servers"]
fn the_samples_take_a_genuine_event_once_and_refuse_a_forgery() {
    for (language, program, name) in [
        ("js", "node", "sample.mjs"),
        ("python", "python3", "sample.py"),
    ] {
        let sample = Sample::start(language, program, name);
        let webhook = format!(
            "forward = \"http://127.0.0.1:{}/\"\nsign = \"file:@DIR@/key\"",
            sample.port
        );
        let spool = "[spool]\ndir = \"@DIR@/spool\"\n";
        let keyside = configured(&webhook, spool).file("key", KEY).start();
        assert_eq!(keyside.event(&genuine(EVENT.as_bytes())).status, 200);
        let is_done = || delivered(&keyside) > 0.5 && sample.handled() == 1;
        assert!(
            eventually(Duration::from_secs(10), is_done),
            "{}",
            keyside.log()
        );

        let mut replay = Command::new(env!("CARGO_BIN_EXE_keyside"));
        let admin = keyside.admin().to_string();
        replay.args(["events", "replay", "--since", "1h", "--admin", &admin]);
        let replayed = finish(&mut replay, Duration::from_secs(20));
        assert_eq!(replayed.code, Some(0), "{}", replayed.output);
        let is_again = || delivered(&keyside) > 0.5;
        assert!(
            eventually(Duration::from_secs(10), is_again),
            "{}",
            keyside.log()
        );
        assert_eq!(sample.handled(), 1, "{program}: the work was done twice");

        let mut forger = Client::connect(sample.address()).unwrap();
        let answer = forger.ask(&post("/", EVENT)).unwrap();
        assert_eq!(answer.status, 401, "{program}");
        assert_eq!(sample.handled(), 1, "{program}");
    }
}
