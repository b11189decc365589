//! `keyside rotate` cut off at every request, in every way, and run again.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::support::authority::Authority;
use crate::support::client::{Answer, Client, get};
use crate::support::keyside::{Directory, Finished, Keyside, Setup, finish};
use crate::support::manager::{Bao, ROOT};
use crate::support::sandbox::Sandbox;
use crate::support::upstream::{After, Request, Upstream, Wire, json as json_answer};
use crate::support::{APP_SECRET, MESSAGES, TOKEN, base64, contains, eventually, stretched};

const SENDER: &str = "106540352242922";
const TEXT: &str =
    r#"{"messaging_product":"whatsapp","to":"15550001234","type":"text","text":{"body":"x"}}"#;

/// The way in which a request of `rotate` ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// The connection breaks before the request arrives.
    Unsent,
    /// The far side answers 500.
    Error,
    /// The request arrives, and its answer is lost.
    Lost,
    /// The process is killed before the request arrives.
    KilledBefore,
    /// The process is killed once the request has arrived.
    KilledAfter,
}

/// The relay between `rotate` and the world: counts the requests to all sides, and cuts one of
/// them.
#[derive(Default)]
struct Gate {
    count: AtomicUsize,
    /// The number of the request to cut, and the way.
    plan: Mutex<Option<(usize, Cut)>>,
    /// True once the request was cut.
    is_cut: AtomicBool,
    /// The process under test; 0 before its start.
    pid: Mutex<u32>,
    /// The tokens whose exchange was answered.
    known: Mutex<Vec<String>>,
    /// The targets that revocation asks for fail while this is true.
    refuses_revocation: AtomicBool,
    /// The way of each write to Vault while Vault hangs.
    hanging_writes: Mutex<Option<Arrival>>,
}

/// The fate of a request that gets no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arrival {
    /// The request never arrives.
    Never,
    /// The request arrives.
    Arrives,
}

impl Gate {
    fn pass(&self, request: &Request, wire: &mut Wire, far: impl Fn(&[u8]) -> Answer) -> After {
        let number = self.count.fetch_add(1, Ordering::SeqCst);
        let plan = *self.plan.lock().unwrap();
        let cut = plan.filter(|(at, _)| *at == number).map(|(_, cut)| cut);
        if cut.is_some() {
            self.is_cut.store(true, Ordering::SeqCst);
        }
        if cut == Some(Cut::KilledBefore) {
            self.kill();
        }
        match cut {
            Some(Cut::Unsent | Cut::KilledBefore) => return After::Reset,
            Some(Cut::Error) => {
                wire.write(&answer(500, "application/json", b"{\"errors\":[\"cut\"]}"));
                return After::Close;
            }
            _ => {}
        }
        if self.refuses_revocation.load(Ordering::SeqCst)
            && request.target().starts_with("/oauth/revoke")
        {
            wire.write(&answer(
                500,
                "application/json",
                b"{\"error\":{\"code\":2}}",
            ));
            return After::Keep;
        }
        let hanging = || *self.hanging_writes.lock().unwrap();
        if let Some(arrival) = hanging().filter(|_| request.raw.starts_with(b"POST /v1/secret/")) {
            if arrival == Arrival::Arrives {
                far(&request.raw);
            }
            while hanging().is_some() {
                std::thread::sleep(Duration::from_millis(20));
            }
            return After::Reset;
        }
        let found = far(&request.raw);
        match cut {
            Some(Cut::Lost) => return After::Reset,
            Some(Cut::KilledAfter) => {
                self.kill();
                return After::Reset;
            }
            _ => {}
        }
        if request.target().starts_with("/oauth/access_token") {
            let token = found.json()["access_token"].as_str().map(str::to_owned);
            self.known.lock().unwrap().extend(token);
        }
        let kind = found.header("content-type").unwrap_or("application/json");
        wire.write(&answer(found.status, kind, &found.body));
        match request.header("connection").as_deref() {
            Some("close") => After::Close,
            _ => After::Keep,
        }
    }

    fn kill(&self) {
        let pid = loop {
            match *self.pid.lock().unwrap() {
                0 => std::thread::sleep(Duration::from_millis(1)),
                pid => break pid,
            }
        };
        let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        kill_process(pid, Signal::KILL).unwrap();
    }
}

fn answer(status: u16, kind: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status} Status\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// A sandbox, a sidecar that asks it directly, and the way of `rotate` through the gate.
struct Stand {
    gate: Arc<Gate>,
    provider: Upstream,
    admin: Upstream,
    vault: Option<(Upstream, Arc<Bao>)>,
    sandbox: Arc<Sandbox>,
    keyside: Keyside,
    credential: &'static str,
    _secrets: Directory,
}

impl Stand {
    fn with_a_file() -> Self {
        Self::start(None, "")
    }

    /// The journal is sealed in a state folder.
    fn with_a_key() -> Self {
        Self::start(
            None,
            "[state]\ndir = \"@DIR@/state\"\nkey = \"file:@DIR@/state_key\"\n",
        )
    }

    fn with_vault() -> Self {
        let bao = Bao::start();
        bao.put("acme", &json!({ "token": TOKEN }));
        Self::start(Some(Arc::new(bao)), "")
    }

    fn start(bao: Option<Arc<Bao>>, state: &str) -> Self {
        let secrets = Directory::new();
        secrets.write("token", TOKEN);
        secrets.write("app_secret", APP_SECRET);
        let sandbox = Arc::new(Sandbox::start(&secrets, &[]));
        let token = if bao.is_some() {
            "vault:secret/acme#token"
        } else {
            "file:@DIR@/token"
        };
        let environment = bao.as_ref().map(|bao| bao.environment(ROOT));
        let keyside = Setup::at(&sandbox.url())
            .check()
            .envs(&environment.unwrap_or_default())
            .file("app_secret", APP_SECRET)
            .credential(&format!(
                "token = \"{token}\"\napp_secret = \"file:@DIR@/app_secret\"\n"
            ))
            .route(&format!("senders = [\"{SENDER}\"]\n"))
            .file("state_key", "qm3Jc0yqz4l7Vt8xWn2Rb6Ks9Pd1Hf5Ug==\n")
            .more(&format!("[audit]\nfile = \"@DIR@/audit.jsonl\"\n{state}"))
            .start();
        let gate = Arc::new(Gate::default());
        let (passed, far) = (Arc::clone(&gate), sandbox.address());
        let provider =
            Upstream::plain(move |request, wire| passed.pass(request, wire, |raw| ask(far, raw)));
        let (passed, far) = (Arc::clone(&gate), keyside.admin());
        let admin =
            Upstream::plain(move |request, wire| passed.pass(request, wire, |raw| ask(far, raw)));
        let vault = bao.map(|bao| {
            let (passed, far) = (Arc::clone(&gate), Arc::clone(&bao));
            let front = Upstream::scripted(move |request, wire| {
                passed.pass(request, wire, |raw| far.relay(raw))
            });
            (front, bao)
        });
        let config = std::fs::read_to_string(keyside.dir().join("proxy.toml")).unwrap();
        let config = config.replace(&sandbox.url(), &provider.url());
        keyside.dir().write("rotate.toml", config);
        Self {
            gate,
            provider,
            admin,
            vault,
            sandbox,
            keyside,
            credential: "acme",
            _secrets: secrets,
        }
    }

    fn command(&self, name: &str) -> Command {
        let dir = self.keyside.dir();
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyside"));
        command
            .args([name, self.credential, "--config"])
            .arg(dir.join("rotate.toml"))
            .args(["--admin", &self.admin.authority()])
            .env("HOME", dir.path())
            .env_remove("XDG_STATE_HOME");
        if let Some((front, _)) = &self.vault {
            command
                .env("VAULT_ADDR", front.url())
                .env("VAULT_TOKEN", ROOT)
                .env(
                    "VAULT_CACERT",
                    dir.write("front.pem", Authority::trusted().pem()),
                );
        }
        command
    }

    /// Gives the credential a new name, and the token a new file.
    fn rename(&mut self, name: &'static str, token: &str) {
        for file in ["proxy.toml", "rotate.toml"] {
            let config = std::fs::read_to_string(self.keyside.dir().join(file)).unwrap();
            let named = |name| format!("[credential.{name}]");
            let used = |name| format!("credential = \"{name}\"");
            let config = config
                .replace(&named(self.credential), &named(name))
                .replace(&used(self.credential), &used(name))
                .replace("/elsewhere\"", "/token\"")
                .replace("/token\"", &format!("/{token}\""));
            self.keyside.dir().write(file, config);
        }
        self.credential = name;
        assert_eq!(self.keyside.reload().status, 200);
    }

    /// Starts the sidecar anew, and waits until it tells of the rotation that was cut off: from
    /// then on it looks each second.
    fn restart_and_be_told(&mut self) {
        self.keyside.end(Signal::TERM);
        self.keyside.begin();
        let metric = "keyside_credential_rotation_unfinished";
        let is_told = || self.keyside.metric(metric, &[]) == 1.0;
        assert!(eventually(Duration::from_secs(5), is_told));
    }

    /// Returns what `status --check` and `check --strict` say.
    fn complaints(&self) -> [Finished; 2] {
        let keyside = || Command::new(env!("CARGO_BIN_EXE_keyside"));
        let mut status = keyside();
        let admin = self.keyside.admin().to_string();
        status.args(["status", "--check", "--admin", &admin]);
        let mut check = keyside();
        check.args(["check", "--strict", "--config"]);
        check.arg(self.keyside.dir().join("rotate.toml"));
        [status, check].map(|mut command| finish(&mut command, Duration::from_secs(10)))
    }

    /// Runs a command through an open gate.
    fn run(&self, name: &str) -> Finished {
        *self.gate.plan.lock().unwrap() = None;
        finish(&mut self.command(name), Duration::from_secs(30))
    }

    /// Runs `rotate` where no file can have more than `room` bytes, as on a disk that becomes full.
    /// The audit file of the sidecar is left out: it has more bytes already.
    fn run_on_a_full_disk(&self, room: u64) -> std::process::Output {
        *self.gate.plan.lock().unwrap() = None;
        let path = self.keyside.dir().join("rotate.toml");
        let config = std::fs::read_to_string(&path).unwrap();
        let audit = format!(
            "[audit]\nfile = \"{}\"\n",
            self.keyside.dir().join("audit.jsonl").display()
        );
        std::fs::write(&path, config.replace(&audit, "")).unwrap();
        let rotate = self.command("rotate");
        // A write past the limit then fails, as on a full disk, instead of ending the process.
        let script = "trap '' XFSZ; exec prlimit --fsize=\"$0\" \"$@\"";
        let mut command = Command::new("sh");
        command.args(["-c", script, &room.to_string()]);
        command.arg(rotate.get_program()).args(rotate.get_args());
        for (name, value) in rotate.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.output().unwrap()
    }

    fn survives_a_full_disk(&self) {
        let mut said_of = Vec::new();
        for room in (0..5120).step_by(256) {
            let full = self.run_on_a_full_disk(room);
            let said = [full.stdout, full.stderr].concat();
            let said = String::from_utf8_lossy(&said).into_owned();
            let case = format!("{room} bytes: {said}");
            assert!(full.status.code().is_some(), "{case}");
            if !full.status.success() {
                said_of.push(said.clone());
            }
            self.must_show_no_token(&said);
            let sent = self
                .keyside
                .post(&MESSAGES.replace("1234567890", SENDER), TEXT);
            assert_eq!(sent.status, 200, "{case}");
            let again = self.run("rotate");
            assert_eq!(again.code, Some(0), "{case}\n{}", again.output);
            self.must_have_one_living_token_in_use(&case);
        }
        assert!(said_of.len() > 1 && said_of.len() < 20, "{said_of:#?}");
    }

    /// Runs `rotate` with a single request cut. Returns false if `rotate` makes fewer requests.
    fn run_cut(&self, number: usize, cut: Cut) -> bool {
        self.gate.count.store(0, Ordering::SeqCst);
        self.gate.is_cut.store(false, Ordering::SeqCst);
        *self.gate.pid.lock().unwrap() = 0;
        *self.gate.plan.lock().unwrap() = Some((number, cut));
        let dir = self.keyside.dir();
        let log = |name: &str| std::fs::File::create(dir.join(name)).unwrap();
        let mut child = self
            .command("rotate")
            .stdout(log("cut.out"))
            .stderr(log("cut.err"))
            .spawn()
            .unwrap();
        *self.gate.pid.lock().unwrap() = child.id();
        let end = std::time::Instant::now() + stretched(Duration::from_secs(60));
        while child.try_wait().unwrap().is_none() {
            assert!(std::time::Instant::now() < end, "{number} {cut:?} hangs");
            std::thread::sleep(Duration::from_millis(5));
        }
        self.gate.is_cut.load(Ordering::SeqCst)
    }

    /// The output of the cut run.
    fn said(&self) -> String {
        ["cut.out", "cut.err"]
            .map(|name| std::fs::read_to_string(self.keyside.dir().join(name)).unwrap_or_default())
            .concat()
    }

    fn token(&self) -> String {
        match &self.vault {
            None => std::fs::read_to_string(self.keyside.dir().join("token")).unwrap(),
            Some((_, bao)) => {
                let held = bao.must("GET", "secret/data/acme", &json!({}));
                held["data"]["data"]["token"].as_str().unwrap().to_owned()
            }
        }
    }

    /// Every token that Keyside ever knew and that the provider accepts.
    fn alive(&self) -> Vec<String> {
        let mut known = self.gate.known.lock().unwrap().clone();
        known.push(TOKEN.to_owned());
        known.retain(|token| is_good(&self.sandbox, token));
        known
    }

    fn must_have_one_living_token_in_use(&self, case: &str) {
        let held = self.token();
        assert_eq!(self.alive(), [held.trim()], "{case}\n{}", self.said());
        let status = self.keyside.status();
        assert_eq!(status["credentials"][0]["sends"], "current", "{case}");
        let sent = self
            .keyside
            .post(&MESSAGES.replace("1234567890", SENDER), TEXT);
        assert_eq!(sent.status, 200, "{case}");
        let left: Vec<_> = std::fs::read_dir(self.keyside.dir().path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.contains(".keyside"))
            .collect();
        assert!(left.is_empty(), "{case}: {left:?}");
    }

    fn survives_every_cut(&self) {
        for cut in [
            Cut::Unsent,
            Cut::Error,
            Cut::Lost,
            Cut::KilledBefore,
            Cut::KilledAfter,
        ] {
            let mut number = 0;
            while self.run_cut(number, cut) {
                let again = self.run("rotate");
                let case = format!("request {number}, {cut:?}");
                assert_eq!(
                    again.code,
                    Some(0),
                    "{case}\n{}\n{}",
                    self.said(),
                    again.output
                );
                self.must_have_one_living_token_in_use(&case);
                self.must_show_no_token(&again.output);
                number += 1;
            }
            assert!(number > 8, "only {number} requests");
        }
        let audit = Command::new(env!("CARGO_BIN_EXE_keyside"))
            .args(["audit", "verify"])
            .arg(self.keyside.dir().join("audit.jsonl"))
            .output()
            .unwrap();
        assert!(
            audit.status.success(),
            "{}",
            String::from_utf8_lossy(&audit.stderr)
        );
    }

    fn must_show_no_token(&self, output: &str) {
        let audit = std::fs::read_to_string(self.keyside.dir().join("audit.jsonl")).unwrap();
        let mut known = self.gate.known.lock().unwrap().clone();
        known.push(TOKEN.to_owned());
        for token in known {
            for text in [output, &self.said(), &audit] {
                assert!(!text.contains(&token) && !text.contains(&base64(token.as_bytes())));
            }
        }
    }
}

fn ask(address: std::net::SocketAddr, raw: &[u8]) -> Answer {
    let mut client = Client::connect(address).unwrap();
    client.ask(raw).unwrap()
}

fn is_good(sandbox: &Sandbox, token: &str) -> bool {
    let question = get(&format!("/v23.0/{SENDER}?fields=id&access_token={token}"));
    ask(sandbox.address(), &question).status == 200
}

/// The single exception: a token without an answer to the exchange has no known value.
#[test]
fn a_rotation_cut_off_anywhere_ends_well_when_it_is_run_again() {
    Stand::with_a_file().survives_every_cut();
}

#[test]
#[ignore = "needs OpenBao: tests/run servers"]
fn a_rotation_in_vault_cut_off_anywhere_ends_well_when_it_is_run_again() {
    Stand::with_vault().survives_every_cut();
}

#[test]
fn a_rotation_on_a_disk_that_becomes_full_ends_well_when_it_is_run_again() {
    Stand::with_a_file().survives_a_full_disk();
    Stand::with_a_key().survives_a_full_disk();
}

#[test]
#[ignore = "needs OpenBao: tests/run servers"]
fn a_vault_that_hangs_at_the_write_leaves_one_living_token() {
    let stand = Stand::with_vault();
    for arrival in [Arrival::Never, Arrival::Arrives] {
        *stand.gate.hanging_writes.lock().unwrap() = Some(arrival);
        let hung = stand.run("rotate");
        assert!(hung.code.is_some(), "{arrival:?} hangs: {}", hung.output);
        stand.must_show_no_token(&hung.output);
        let sent = stand
            .keyside
            .post(&MESSAGES.replace("1234567890", SENDER), TEXT);
        assert_eq!(sent.status, 200, "{arrival:?}: {}", hung.output);
        *stand.gate.hanging_writes.lock().unwrap() = None;
        let again = stand.run("rotate");
        assert_eq!(
            again.code,
            Some(0),
            "{arrival:?}: {}{}",
            hung.output,
            again.output
        );
        stand.must_have_one_living_token_in_use(&format!("{arrival:?}: {}", hung.output));
    }
}

#[test]
fn an_old_token_that_cannot_be_revoked_is_kept_and_revoked_later() {
    let stand = Stand::with_a_file();
    stand.gate.refuses_revocation.store(true, Ordering::SeqCst);
    let failed = stand.run("rotate");
    assert_eq!(failed.code, Some(1), "{}", failed.output);
    assert!(
        failed.output.contains("Run `keyside revoke acme`"),
        "{}",
        failed.output
    );
    let journal = stand.keyside.dir().join(".token.keyside-journal");
    let mode = std::fs::metadata(&journal).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(stand.alive().len(), 2);
    assert_ne!(stand.token(), TOKEN);
    let failed = stand.run("revoke");
    assert_eq!(failed.code, Some(1), "{}", failed.output);
    assert!(journal.exists(), "a second failure loses nothing");
    stand.gate.refuses_revocation.store(false, Ordering::SeqCst);
    let done = stand.run("revoke");
    assert_eq!(done.code, Some(0), "{}", done.output);
    stand.must_have_one_living_token_in_use("revoked later");
    let nothing = stand.run("revoke");
    assert_eq!(nothing.code, Some(0));
    assert!(
        nothing.output.contains("Nothing is left to revoke"),
        "{}",
        nothing.output
    );
    let audit = std::fs::read_to_string(stand.keyside.dir().join("audit.jsonl")).unwrap();
    for event in ["exchanged", "placed", "revocation failed", "revoked"] {
        assert!(
            audit.contains(&format!("\"event\":\"{event}\"")),
            "{event}: {audit}"
        );
    }
    assert!(audit.contains("keyside revoke, uid "), "{audit}");
}

#[test]
fn with_a_key_the_journal_is_sealed_in_the_state_folder() {
    let stand = Stand::with_a_key();
    stand.gate.refuses_revocation.store(true, Ordering::SeqCst);
    let failed = stand.run("rotate");
    assert_eq!(failed.code, Some(1), "{}", failed.output);
    assert!(failed.output.contains("sealed in"), "{}", failed.output);
    let folder = stand.keyside.dir().join("state");
    let mut entries = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}", path.display());
        let bytes = std::fs::read(&path).unwrap();
        for token in [TOKEN.to_owned(), stand.token()] {
            for form in [token.clone(), base64(token.as_bytes())] {
                assert!(!contains(&bytes, form.as_bytes()), "{}", path.display());
            }
        }
        entries += usize::from(!bytes.is_empty());
    }
    assert!(entries > 0, "the journal is in the folder");
    std::fs::rename(
        stand.keyside.dir().join("state_key"),
        stand.keyside.dir().join("key_aside"),
    )
    .unwrap();
    let keyless = stand.run("revoke");
    assert_ne!(keyless.code, Some(0), "{}", keyless.output);
    std::fs::rename(
        stand.keyside.dir().join("key_aside"),
        stand.keyside.dir().join("state_key"),
    )
    .unwrap();
    stand.gate.refuses_revocation.store(false, Ordering::SeqCst);
    let done = stand.run("revoke");
    assert_eq!(done.code, Some(0), "{}", done.output);
    assert_eq!(stand.alive(), [stand.token()]);
}

#[test]
fn a_rotation_cut_off_is_told_until_it_is_at_its_end() {
    for mut stand in [Stand::with_a_file(), Stand::with_a_key()] {
        // The requests before ask the provider about the old token, and the sidecar.
        assert!(stand.run_cut(3, Cut::KilledBefore));
        stand.keyside.end(Signal::TERM);
        stand.keyside.begin();
        let found = || stand.keyside.status()["credentials"][0]["unfinished_rotations"].clone();
        let is_told = || found()[0]["target"] == "acme";
        assert!(eventually(Duration::from_secs(5), is_told), "{}", found());
        let metric = "keyside_credential_rotation_unfinished";
        assert_eq!(stand.keyside.metric(metric, &[]), 1.0);
        let ready = stand.keyside.ask_admin(&get("/readyz?route=acme"));
        assert_eq!(ready.status, 200);
        let status = || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_keyside"));
            let admin = stand.keyside.admin().to_string();
            command.args(["status", "--check", "--admin", &admin]);
            finish(&mut command, Duration::from_secs(10))
        };
        let strict = || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_keyside"));
            command.args(["check", "--strict", "--config"]);
            command.arg(stand.keyside.dir().join("rotate.toml"));
            finish(&mut command, Duration::from_secs(10))
        };
        let [status_said, check_said] = [status(), strict()];
        assert_eq!((status_said.code, check_said.code), (Some(1), Some(1)));
        for text in [
            &status_said.output,
            &check_said.output,
            &ready.text(),
            &stand.keyside.log(),
        ] {
            assert!(text.contains("`keyside rotate acme` again"), "{text}");
            assert!(text.contains("`keyside revoke acme`"), "{text}");
            stand.must_show_no_token(text);
        }
        let done = stand.run("rotate");
        assert_eq!(done.code, Some(0), "{}", done.output);
        let is_over = || found() == json!([]);
        assert!(eventually(Duration::from_secs(5), is_over), "{}", found());
        assert_eq!(stand.keyside.metric(metric, &[]), 0.0);
        assert_eq!(status().code, Some(0), "{}", status().output);
    }
}

#[test]
fn a_rotation_cut_off_is_gone_on_with_after_the_credential_is_renamed() {
    for command in ["rotate", "revoke"] {
        let mut stand = Stand::with_a_key();
        // The requests before ask the provider about the old token, and the sidecar.
        assert!(stand.run_cut(4, Cut::KilledBefore));
        stand.restart_and_be_told();
        stand.rename("renamed", "token");
        let found = || stand.keyside.status()["credentials"][0]["unfinished_rotations"].clone();
        let is_told = || found()[0]["target"] == "renamed";
        assert!(eventually(Duration::from_secs(5), is_told), "{}", found());
        for said in stand.complaints() {
            assert_eq!(said.code, Some(1), "{}", said.output);
            let advice = "`keyside rotate renamed` again";
            assert!(said.output.contains(advice), "{}", said.output);
        }
        let done = stand.run(command);
        assert_eq!(done.code, Some(0), "{}", done.output);
        stand.must_have_one_living_token_in_use(command);
        assert!(eventually(Duration::from_secs(5), || found() == json!([])));
        let nothing = stand.run("revoke");
        assert!(
            nothing.output.contains("Nothing is left to revoke"),
            "{}",
            nothing.output
        );
    }
}

#[test]
fn a_rotation_cut_off_of_no_configured_credential_is_told() {
    let mut stand = Stand::with_a_key();
    assert!(stand.run_cut(4, Cut::KilledBefore));
    let token = stand.token();
    stand.keyside.dir().write("elsewhere", token);
    stand.restart_and_be_told();
    stand.rename("renamed", "elsewhere");
    let metric = "keyside_credential_rotation_unfinished";
    let concern = "configure `acme` again, and run `keyside revoke acme.token`";
    let is_told = || stand.keyside.problems().contains(concern);
    assert!(
        eventually(Duration::from_secs(5), is_told),
        "{}",
        stand.keyside.log()
    );
    for said in stand.complaints() {
        assert_eq!(said.code, Some(1), "{}", said.output);
        assert!(said.output.contains(concern), "{}", said.output);
    }
    assert!(stand.keyside.log().contains(concern));
    let labels = ["credential=\"acme\""];
    assert_eq!(stand.keyside.metric(metric, &labels), 1.0);
    stand.rename("acme", "token");
    let done = stand.run("rotate");
    assert_eq!(done.code, Some(0), "{}", done.output);
    stand.must_have_one_living_token_in_use("named as before");
    let is_over = || stand.keyside.metric(metric, &[]) == 0.0;
    assert!(eventually(Duration::from_secs(5), is_over));
    assert!(!stand.keyside.problems().contains(concern));
}

#[test]
fn a_dry_run_over_a_rotation_cut_off_says_so_and_no_more() {
    let stand = Stand::with_a_file();
    assert!(stand.run_cut(4, Cut::KilledBefore));
    let mut command = stand.command("rotate");
    *stand.gate.plan.lock().unwrap() = None;
    let said = finish(command.arg("--dry-run"), Duration::from_secs(20));
    assert_eq!(said.code, Some(0), "{}", said.output);
    assert!(
        said.output
            .ends_with("is not at its end: `rotate` would go on with it.\n"),
        "{}",
        said.output
    );
    assert_eq!(said.output.lines().count(), 1, "{}", said.output);
    assert_eq!(stand.run("rotate").code, Some(0));
    stand.must_have_one_living_token_in_use("after a dry run");
}

/// A record of a later version, or of a hand.
#[test]
fn a_journal_whose_last_record_is_unknown_stays_and_stops_the_rotation() {
    let mut stand = Stand::with_a_file();
    assert!(stand.run_cut(4, Cut::KilledBefore));
    let alive = stand.alive();
    let journal = stand.keyside.dir().join(".token.keyside-journal");
    let unknown = "{\"form\":2,\"from\":\"a newer version\"}\n";
    std::fs::write(&journal, unknown).unwrap();
    stand.keyside.end(Signal::TERM);
    stand.keyside.begin();
    let metric = "keyside_credential_rotation_unfinished";
    let is_told = || stand.keyside.metric(metric, &[]) == 1.0;
    assert!(eventually(Duration::from_secs(5), is_told));
    for command in ["rotate", "revoke"] {
        let said = stand.run(command);
        assert_eq!(said.code, Some(1), "{command}: {}", said.output);
        let reason = "none that this version of Keyside knows";
        assert!(said.output.contains(reason), "{command}: {}", said.output);
        assert_eq!(std::fs::read_to_string(&journal).unwrap(), unknown);
        assert_eq!(stand.alive(), alive, "{command}");
    }
    for said in stand.complaints() {
        assert_eq!(said.code, Some(1), "{}", said.output);
        let place = journal.display().to_string();
        assert!(said.output.contains(&place), "{}", said.output);
    }
}

#[test]
fn a_value_that_somebody_else_wrote_meanwhile_is_not_overwritten() {
    let stand = Stand::with_a_file();
    let other = "EAAOTHERHANDxyz123";
    stand
        .sandbox
        .ask("POST", "tokens", &json!({ "token": other }));
    // The requests before ask the provider about the old token, and the sidecar.
    assert!(stand.run_cut(3, Cut::KilledBefore));
    stand.keyside.dir().write("token", other);
    let done = stand.run("rotate");
    assert_eq!(done.code, Some(0), "{}", done.output);
    assert_eq!(stand.token(), other);
    assert!(
        stand.alive().is_empty(),
        "the old one and the exchanged one are dead"
    );
    assert!(is_good(&stand.sandbox, other));
}

#[test]
fn two_rotations_of_one_secret_do_not_run_at_a_time() {
    let stand = Stand::with_a_file();
    let held = Arc::new(AtomicBool::new(true));
    let (hold, far) = (Arc::clone(&held), stand.sandbox.address());
    let slow = Upstream::plain(move |request, wire| {
        while hold.load(Ordering::SeqCst) && request.target().starts_with("/oauth/access_token") {
            std::thread::sleep(Duration::from_millis(5));
        }
        let found = ask(far, &request.raw);
        wire.write(&json_answer(&found.text()));
        After::Keep
    });
    let config = std::fs::read_to_string(stand.keyside.dir().join("rotate.toml")).unwrap();
    let config = config.replace(&stand.provider.url(), &slow.url());
    stand.keyside.dir().write("rotate.toml", config);
    let mut first = stand.command("rotate");
    let mut first = first
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    assert!(slow.wait_for(2, Duration::from_secs(10)));
    let second = stand.run("rotate");
    held.store(false, Ordering::SeqCst);
    assert!(first.wait().unwrap().success());
    assert_eq!(second.code, Some(1));
    assert!(
        second.output.contains("another process is rotating"),
        "{}",
        second.output
    );
}
