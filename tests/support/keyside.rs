//! The program under test, in a directory of its own, on ports of its own.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::TOKEN;
use super::authority::Authority;
use super::client::{Answer, Client, NoAnswer, get, post};
use super::upstream::Upstream;

/// A directory that goes away with its owner.
pub struct Directory(PathBuf);

impl Directory {
    /// A new one, that every user may enter.
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("keyside-test-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a directory for the test");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A file in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file in it, replacing an old one in one step.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).expect("a directory for the file");
        }
        let aside = self.0.join(format!("{}.new", name.replace('/', "_")));
        fs::write(&aside, bytes).expect("the file is written");
        fs::rename(&aside, &path).expect("the file is put in place");
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A port that nobody has, below those that the kernel gives to clients.
pub fn free_port() -> u16 {
    free_ports(1)
}

/// The first of so many in a row.
pub fn free_ports(count: u16) -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id() * 61;
    loop {
        let port = 10_000 + (start + NEXT.fetch_add(count.into(), Ordering::Relaxed)) % 22_000;
        let port = u16::try_from(port).expect("below 32,000");
        if (port..port + count).all(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()) {
            return port;
        }
    }
}

const HIGH_LIMITS: &str =
    "per_sender = \"100000/s\"\nper_recipient = { rate = \"100000/s\" }\nmanagement = \"100000/s\"\n";

/// How Keyside is set up before it starts.
pub struct Setup {
    dir: Directory,
    port: u16,
    admin: u16,
    inbound: u16,
    upstream: String,
    media: String,
    whole: Option<String>,
    outbound: String,
    check: &'static str,
    credential: String,
    route: String,
    limits: String,
    provider: String,
    more: String,
    watch: String,
    level: String,
    environment: Vec<(String, String)>,
    wrapper: Vec<String>,
    output: Output,
}

/// Where standard output and error go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Output {
    Files,
    Pipe,
}

impl Setup {
    /// One route at `/` with one credential at `upstream`, which is also where media come from.
    pub fn new(upstream: &Upstream) -> Self {
        Self::at(&upstream.url())
    }

    /// The same with an upstream given by its URL.
    pub fn at(upstream: &str) -> Self {
        let dir = Directory::new();
        dir.write("token", TOKEN);
        dir.write("ca.pem", Authority::trusted().pem());
        Self {
            dir,
            port: free_port(),
            admin: free_port(),
            inbound: free_port(),
            upstream: upstream.to_owned(),
            media: upstream.to_owned(),
            whole: None,
            outbound: String::new(),
            // Or each test would have to tell the questions from its own requests.
            check: "check = \"off\"",
            credential: "token = \"file:@DIR@/token\"\n".to_owned(),
            route: String::new(),
            // High, so that only the tests of limits meet one.
            limits: HIGH_LIMITS.to_owned(),
            provider: String::new(),
            more: String::new(),
            watch: "off".to_owned(),
            level: "debug".to_owned(),
            environment: Vec::new(),
            wrapper: Vec::new(),
            output: Output::Files,
        }
    }

    /// The directory that `@DIR@` stands for.
    pub fn dir(&self) -> &Directory {
        &self.dir
    }

    /// Puts a file into the directory.
    pub fn file(self, name: &str, bytes: impl AsRef<[u8]>) -> Self {
        self.dir.write(name, bytes);
        self
    }

    /// Another place for media bytes.
    pub fn media(mut self, upstream: &Upstream) -> Self {
        self.media = upstream.url();
        self
    }

    /// The whole configuration, instead of the default; `@DIR@`, `@PORT@`, `@ADMIN@`, `@INBOUND@`, `@UPSTREAM@`, `@MEDIA@` are filled in.
    pub fn config(mut self, text: &str) -> Self {
        self.whole = Some(text.to_owned());
        self
    }

    /// More lines in `[outbound]`.
    pub fn outbound(mut self, lines: &str) -> Self {
        self.outbound = format!("{lines}\n");
        self
    }

    /// The lines of `[credential.acme]` instead of the token.
    pub fn credential(mut self, lines: &str) -> Self {
        self.credential = format!("{lines}\n");
        self
    }

    /// More lines in the `[[route]]`.
    pub fn route(mut self, lines: &str) -> Self {
        self.route = format!("{lines}\n");
        self
    }

    /// The lines of `[route.limits]`.
    pub fn limits(mut self, lines: &str) -> Self {
        self.limits = format!("{lines}\n");
        self
    }

    /// More lines in `[provider.test]`.
    pub fn provider(mut self, lines: &str) -> Self {
        self.provider = format!("{lines}\n");
        self
    }

    /// More tables at the end.
    pub fn more(mut self, lines: &str) -> Self {
        self.more = format!("{lines}\n");
        self
    }

    /// How often files are looked at; "off" otherwise.
    pub fn watch(mut self, interval: &str) -> Self {
        self.watch = interval.to_owned();
        self
    }

    /// The level of the log; "debug" otherwise.
    pub fn level(mut self, level: &str) -> Self {
        self.level = level.to_owned();
        self
    }

    /// Several environment variables.
    pub fn envs(mut self, variables: &[(&'static str, String)]) -> Self {
        self.environment.extend(variables.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        self
    }

    /// An environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A program that starts Keyside in its own place, such as `prlimit`.
    pub fn under(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Standard output and error are pipes that the test holds.
    pub fn piped(mut self) -> Self {
        self.output = Output::Pipe;
        self
    }

    /// Asks the upstream about each new token, as Keyside does where nothing else is said.
    pub fn check(mut self) -> Self {
        self.check = "";
        self
    }

    /// Writes the configuration and says where.
    pub fn write_config(&self) -> PathBuf {
        let text = self.whole.clone().unwrap_or_else(|| {
            format!(
                "[outbound]\nlisten = [\"127.0.0.1:@PORT@\"]\n{}\n[admin]\nlisten = [\"127.0.0.1:@ADMIN@\"]\n\n\
                 [reload]\nwatch = \"{}\"\n\n[log]\nlevel = \"{}\"\n\n\
                 [provider.test]\nextends = \"meta\"\nupstream = \"@UPSTREAM@\"\nmedia_upstream = \"@MEDIA@\"\nca = \"@DIR@/ca.pem\"\n{}\n\
                 [credential.acme]\nprovider = \"test\"\n{}\n{}\n[[route]]\ncredential = \"acme\"\n{}[route.limits]\n{}\n{}",
                self.outbound, self.watch, self.level, self.provider, self.check, self.credential, self.route, self.limits, self.more
            )
        });
        self.dir.write("proxy.toml", self.fill(&text))
    }

    fn fill(&self, text: &str) -> String {
        text.replace("@DIR@", &self.dir.path().display().to_string())
            .replace("@PORT@", &self.port.to_string())
            .replace("@ADMIN@", &self.admin.to_string())
            .replace("@INBOUND@", &self.inbound.to_string())
            .replace("@UPSTREAM@", &self.upstream)
            .replace("@MEDIA@", &self.media)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut words = self.wrapper.clone();
        words.push(env!("CARGO_BIN_EXE_keyside").to_owned());
        words.extend(arguments.iter().map(|&word| word.to_owned()));
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).current_dir(self.dir.path()).stdin(Stdio::null()).env_remove("RUST_LOG");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a subcommand with `--config` to its end, at most ten seconds.
    pub fn finish(&self, subcommand: &str) -> Finished {
        let config = self.write_config();
        let mut command = self.command(&[subcommand, "--config", &config.display().to_string()]);
        finish(&mut command, Duration::from_secs(10))
    }

    /// Starts it without waiting for it to come up.
    pub fn spawn(self) -> Keyside {
        let config = self.write_config();
        let mut command = self.command(&["run", "--config", &config.display().to_string()]);
        if self.output == Output::Files {
            let log = |name: &str| fs::File::create(self.dir.join(name)).expect("a file for the output");
            command.stdout(log("stdout")).stderr(log("stderr"));
        } else {
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
        }
        let child = command.spawn().expect("keyside starts");
        Keyside { child, exit: None, setup: self }
    }

    /// Starts it and waits until it serves.
    pub fn start(self) -> Keyside {
        let mut keyside = self.spawn();
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(status) = keyside.child.try_wait().expect("it is our child") {
                panic!("keyside did not start: {status}\n{}", keyside.log());
            }
            let alive = Client::connect(keyside.admin()).map(|client| client.patience(Duration::from_secs(2)));
            if alive.is_ok_and(|mut client| client.ask(&get("/livez")).is_ok_and(|answer| answer.status == 200)) {
                return keyside;
            }
            assert!(Instant::now() < end, "keyside does not serve /livez\n{}", keyside.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A program that ran to its end.
#[derive(Debug)]
pub struct Finished {
    /// Its exit code, if it was not killed.
    pub code: Option<i32>,
    /// Standard output and standard error, one after the other.
    pub output: String,
}

/// Runs a program to its end and kills it when the time is over.
pub fn finish(command: &mut Command, within: Duration) -> Finished {
    let dir = Directory::new();
    let log = |name: &str| fs::File::create(dir.join(name)).expect("a file for the output");
    let mut child = command.stdin(Stdio::null()).stdout(log("out")).stderr(log("err")).spawn().expect("it starts");
    let end = Instant::now() + within;
    let code = loop {
        if let Some(status) = child.try_wait().expect("it is our child") {
            break status.code();
        }
        if Instant::now() > end {
            let _ = child.kill();
            let _ = child.wait();
            break None;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let read = |name: &str| String::from_utf8_lossy(&fs::read(dir.join(name)).unwrap_or_default()).into_owned();
    Finished { code, output: format!("{}{}", read("out"), read("err")) }
}

/// A running Keyside. Killed when it is dropped.
pub struct Keyside {
    child: Child,
    exit: Option<ExitStatus>,
    setup: Setup,
}

impl Keyside {
    /// The default configuration in front of `upstream`.
    pub fn start(upstream: &Upstream) -> Self {
        Setup::new(upstream).start()
    }

    /// Where applications reach it.
    pub fn outbound(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.setup.port))
    }

    /// Where operators reach it.
    pub fn admin(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.setup.admin))
    }

    /// Where providers reach it.
    pub fn inbound(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.setup.inbound))
    }

    /// Sends bytes to the inbound listener on a new connection and wants one answer.
    pub fn event(&self, request: &[u8]) -> Answer {
        let mut client = Client::connect(self.inbound()).expect("the inbound listener accepts a connection");
        client.ask(request).unwrap_or_else(|why| panic!("no answer: {why:?}\n{}", self.log()))
    }

    /// Its directory.
    pub fn dir(&self) -> &Directory {
        &self.setup.dir
    }

    /// How it was set up; `write_config` changes the file under the running program.
    pub fn setup(&mut self) -> &mut Setup {
        &mut self.setup
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The process itself, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// A connection of an application.
    pub fn connect(&self) -> Client {
        Client::connect(self.outbound()).expect("keyside accepts a connection")
    }

    /// Sends bytes on a new connection and reads one answer.
    pub fn ask(&self, request: &[u8]) -> Result<Answer, NoAnswer> {
        self.connect().ask(request)
    }

    /// Sends bytes on a new connection and wants one answer.
    pub fn send(&self, request: &[u8]) -> Answer {
        self.ask(request).unwrap_or_else(|why| panic!("no answer: {why:?}\n{}", self.log()))
    }

    /// A GET.
    pub fn get(&self, target: &str) -> Answer {
        self.send(&get(target))
    }

    /// A POST of JSON.
    pub fn post(&self, target: &str, body: &str) -> Answer {
        self.send(&post(target, body))
    }

    /// Asks the admin listener.
    pub fn ask_admin(&self, request: &[u8]) -> Answer {
        let mut client = Client::connect(self.admin()).expect("the admin listener accepts a connection");
        client.ask(request).unwrap_or_else(|why| panic!("no answer from admin: {why:?}\n{}", self.log()))
    }

    /// `GET /metrics`.
    pub fn metrics(&self) -> String {
        let answer = self.ask_admin(&get("/metrics"));
        assert_eq!(answer.status, 200, "/metrics");
        answer.text()
    }

    /// The sum of all series of a metric whose labels contain every one of `labels`.
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        self.metrics()
            .lines()
            .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])))
            .filter(|line| labels.iter().all(|label| line.contains(label)))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// `GET /status`.
    pub fn status(&self) -> serde_json::Value {
        let answer = self.ask_admin(&get("/status"));
        assert_eq!(answer.status, 200, "/status");
        answer.json()
    }

    /// `POST /reload`.
    pub fn reload(&self) -> Answer {
        self.ask_admin(&post("/reload", ""))
    }

    /// How many reloads ended, well or not.
    pub fn reloads(&self) -> f64 {
        self.metric("keyside_reloads_total", &[])
    }

    /// Asks it to read its configuration again, and waits until it did.
    pub fn sighup_and_wait(&self) {
        let before = self.reloads();
        self.signal(Signal::HUP);
        let done = super::eventually(Duration::from_secs(5), || self.reloads() > before);
        assert!(done, "SIGHUP led to no reload\n{}", self.log());
    }

    /// Sends a signal to it.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).expect("a pid")).expect("a pid");
        kill_process(pid, signal).expect("it is our child");
    }

    /// Waits for its end.
    pub fn wait_exit(&mut self, within: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                self.exit = Some(status);
                return self.exit;
            }
            if Instant::now() > end {
                return None;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_none()
    }

    /// How many file descriptors it has open.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("it runs").count()
    }

    /// All that it wrote so far.
    pub fn log(&self) -> String {
        let read =
            |name: &str| String::from_utf8_lossy(&fs::read(self.dir().join(name)).unwrap_or_default()).into_owned();
        format!("{}{}", read("stdout"), read("stderr"))
    }
}

impl Drop for Keyside {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let from = log.len().saturating_sub(6000);
            let from = (from..log.len()).find(|&at| log.is_char_boundary(at)).unwrap_or(log.len());
            eprintln!("--- the end of keyside's log\n{}\n---", &log[from..]);
        }
    }
}
