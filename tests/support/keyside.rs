//! The program under test, with a directory and ports for each test.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::authority::Authority;
use super::client::{Answer, Client, NoAnswer, get, post};
use super::upstream::Upstream;
use super::{TOKEN, stretched};

/// A directory, removed when dropped.
pub struct Directory(PathBuf);

impl Directory {
    /// Makes a directory that every user may enter.
    pub fn new() -> Self {
        Self::within(&std::env::temp_dir())
    }

    /// Makes a directory in another place than that for temporary files.
    pub fn within(folder: &Path) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("keyside-test-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a directory for the test");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
        Self(path)
    }

    /// The path of the directory.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The path of a file in the directory.
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file in the directory, replacing an old file in one step.
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

/// A port that no other test uses, below the ports that the kernel gives to clients.
pub fn free_port() -> u16 {
    free_ports(1)
}

/// The first of `count` ports in a row that no other test uses.
pub fn free_ports(count: u16) -> u16 {
    static RESERVED: Mutex<Range<u16>> = Mutex::new(0..0);
    let mut reserved = RESERVED.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if reserved.len() < count.into() {
            *reserved = reserve_ports();
        }
        let first = reserved.start;
        reserved.start += count;
        let is_free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        if (first..reserved.start).all(is_free) {
            return first;
        }
    }
}

/// Reserves a block of ports for this process. A port is free until the program under test binds
/// the port, so only a lock on a file can divide ports between two test processes; the lock ends
/// with the process.
fn reserve_ports() -> Range<u16> {
    let owner = rustix::process::getuid().as_raw();
    let folder = std::env::temp_dir().join(format!("keyside-test-ports-{owner}"));
    fs::create_dir_all(&folder).expect("a directory for locks");
    for block in 0..PORT_BLOCKS {
        let file = fs::File::create(folder.join(block.to_string())).expect("a file to lock");
        if file.try_lock().is_ok() {
            std::mem::forget(file);
            let first = FIRST_PORT + block * PORTS_IN_BLOCK;
            return first..first + PORTS_IN_BLOCK;
        }
    }
    panic!("other test processes use all ports from {FIRST_PORT} on");
}

/// Above the ports of well-known services.
const FIRST_PORT: u16 = 10_000;
/// Few enough blocks to stay below 32,768, where Linux begins with the ports of clients.
const PORT_BLOCKS: u16 = 44;
/// A run of all tests needs some 1,500 ports, a run of one test ten.
const PORTS_IN_BLOCK: u16 = 500;

const HIGH_LIMITS: &str = "per_sender = \"100000/s\"\nper_recipient = { rate = \"100000/s\" }\nmanagement = \"100000/s\"\n";

/// The configuration and environment of a Keyside before its start.
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
    hold: String,
    credential: String,
    route: String,
    limits: String,
    provider: String,
    more: String,
    watch: String,
    refresh: String,
    level: String,
    environment: Vec<(String, String)>,
    wrapper: Vec<String>,
    sockets: Option<[OwnedFd; 2]>,
    output: Output,
}

/// The destination of standard output and error.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Output {
    Files,
    Pipe,
}

impl Setup {
    /// A route at `/` with a credential at `upstream`, which serves media as well.
    pub fn new(upstream: &Upstream) -> Self {
        Self::at(&upstream.url())
    }

    /// A route at `/` with a credential at the upstream of this URL.
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
            // Off: otherwise questions about secrets would arrive among the requests of a test.
            check: "check = \"off\"",
            // Off: a refusal is answered at once.
            hold: "hold = \"off\"".to_owned(),
            credential: "token = \"file:@DIR@/token\"\n".to_owned(),
            route: String::new(),
            // High bounds: only the tests of limits reach the bounds.
            limits: HIGH_LIMITS.to_owned(),
            provider: String::new(),
            more: String::new(),
            watch: "off".to_owned(),
            refresh: "5m".to_owned(),
            level: "debug".to_owned(),
            environment: Vec::new(),
            wrapper: Vec::new(),
            sockets: None,
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

    /// Serves media bytes from `upstream`.
    pub fn media(mut self, upstream: &Upstream) -> Self {
        self.media = upstream.url();
        self
    }

    /// The whole configuration in the place of the default; `@DIR@`, `@PORT@`, `@ADMIN@`,
    /// `@INBOUND@`, `@UPSTREAM@`, `@MEDIA@` are filled in.
    pub fn config(mut self, text: &str) -> Self {
        self.whole = Some(text.to_owned());
        self
    }

    /// More lines in `[outbound]`.
    pub fn outbound(mut self, lines: &str) -> Self {
        self.outbound = format!("{lines}\n");
        self
    }

    /// The lines of `[credential.acme]` in the place of the token.
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

    /// Adds tables at the end.
    pub fn add_more(&mut self, lines: &str) {
        self.more.push_str(lines);
    }

    /// Sets the tables at the end, for the next [`Self::write_config`].
    pub fn set_more(&mut self, lines: &str) {
        self.more = format!("{lines}\n");
    }

    /// The interval at which files are compared; "off" by default.
    pub fn watch(mut self, interval: &str) -> Self {
        self.watch = interval.to_owned();
        self
    }

    /// The interval at which secret managers are asked; "5m" by default, as in Keyside.
    pub fn refresh(mut self, interval: &str) -> Self {
        self.refresh = interval.to_owned();
        self
    }

    /// The level of the log; "debug" by default.
    pub fn level(mut self, level: &str) -> Self {
        self.level = level.to_owned();
        self
    }

    /// Several environment variables.
    pub fn envs(mut self, variables: &[(&'static str, String)]) -> Self {
        self.environment.extend(
            variables
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone())),
        );
        self
    }

    /// An environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A program in front of Keyside, such as `prlimit`.
    pub fn under(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Passes two listening sockets at each start, as systemd does for a socket unit: a small
    /// service manager of the tests' own, because systemd has to be the first process of a machine.
    /// `names` has the `FileDescriptorName=` of both.
    pub fn passed(mut self, sockets: [OwnedFd; 2], names: &str) -> Self {
        self.sockets = Some(sockets);
        self.env("LISTEN_FDS", "2")
            .env("LISTEN_FDNAMES", names)
            .under(&["sh", "-c", PASS_SOCKETS, "sh"])
    }

    /// A socket at the address for applications, to be passed.
    pub fn bind_outbound(&self) -> OwnedFd {
        TcpListener::bind((Ipv4Addr::LOCALHOST, self.port))
            .expect("the port is free")
            .into()
    }

    /// A socket at the address for providers, to be passed.
    pub fn bind_inbound(&self) -> OwnedFd {
        TcpListener::bind((Ipv4Addr::LOCALHOST, self.inbound))
            .expect("the port is free")
            .into()
    }

    /// Connects standard output and error to pipes that the test holds.
    pub fn piped(mut self) -> Self {
        self.output = Output::Pipe;
        self
    }

    /// Asks the upstream about each new token, which is the default of Keyside but not of tests.
    pub fn check(mut self) -> Self {
        self.check = "";
        self
    }

    /// Sets `hold`, the time that requests wait for a new secret while every secret is refused;
    /// "off" by default.
    pub fn hold(mut self, time: &str) -> Self {
        self.hold = format!("hold = \"{time}\"");
        self
    }

    /// Writes the configuration and returns its path.
    pub fn write_config(&self) -> PathBuf {
        let text = self.whole.clone().unwrap_or_else(|| {
            format!(
                "[outbound]\nlisten = [\"127.0.0.1:@PORT@\"]\n{}\n[admin]\nlisten = [\"127.0.0.1:@ADMIN@\"]\n\n\
                 [reload]\nwatch = \"{}\"\nrefresh = \"{}\"\n\n[log]\nlevel = \"{}\"\n\n\
                 [provider.test]\nextends = \"meta\"\nupstream = \"@UPSTREAM@\"\nmedia_upstream = \"@MEDIA@\"\nca = \"@DIR@/ca.pem\"\n{}\n\
                 [credential.acme]\nprovider = \"test\"\n{}\n{}\n{}\n[[route]]\ncredential = \"acme\"\n{}[route.limits]\n{}\n{}",
                self.outbound, self.watch, self.refresh, self.level, self.provider, self.check, self.hold, self.credential, self.route, self.limits, self.more
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
        let other = std::env::var("KEYSIDE_TEST_PROGRAM");
        words.push(other.unwrap_or_else(|_| env!("CARGO_BIN_EXE_keyside").to_owned()));
        words.extend(arguments.iter().map(|&word| word.to_owned()));
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .env_remove("RUST_LOG");
        // The way out of the machine that runs the tests is no part of them.
        for name in ["HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"] {
            command.env_remove(name);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a subcommand, with options behind spaces, and `--config` to its end, for at most ten
    /// seconds on an idle machine.
    pub fn finish(&self, subcommand: &str) -> Finished {
        let config = self.write_config().display().to_string();
        let words: Vec<&str> = subcommand.split(' ').chain(["--config", &config]).collect();
        let mut command = self.command(&words);
        finish(&mut command, Duration::from_secs(10))
    }

    /// Starts Keyside without waiting until it serves.
    pub fn spawn(self) -> Keyside {
        Keyside {
            child: self.launch(),
            exit: None,
            leaves_connections: None,
            setup: self,
        }
    }

    fn launch(&self) -> Child {
        let config = self.write_config();
        let mut command = self.command(&["run", "--config", &config.display().to_string()]);
        if self.output == Output::Files {
            let log =
                |name: &str| fs::File::create(self.dir.join(name)).expect("a file for the output");
            command.stdout(log("stdout")).stderr(log("stderr"));
        } else {
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
        }
        if let Some(sockets) = &self.sockets {
            let copies = sockets
                .each_ref()
                .map(|socket| socket.as_fd().try_clone_to_owned().expect("a copy"));
            let [first, second] = copies;
            command.stdin(first).stdout(second);
        }
        command.spawn().expect("keyside starts")
    }

    /// Starts Keyside and waits until it serves.
    pub fn start(self) -> Keyside {
        let mut keyside = self.spawn();
        keyside.wait_until_alive();
        keyside
    }
}

/// Moves the sockets from standard input and output to the places of systemd, and names the process
/// for the sockets.
const PASS_SOCKETS: &str =
    "exec 3<&0 4<&1 0</dev/null 1>/dev/null; export LISTEN_PID=$$; exec \"$@\"";

/// A program that ran to its end.
#[derive(Debug)]
pub struct Finished {
    /// The exit code; `None` for a program that was killed.
    pub code: Option<i32>,
    /// Standard output and standard error, one after the other.
    pub output: String,
}

/// A Keyside with a route of a preset.
pub fn route(upstream: &Upstream, preset: &str, credential: &str, lines: &str) -> Keyside {
    route_setup(upstream, preset, credential, lines).start()
}

/// The set-up of a Keyside with a route of a preset. Secrets have the file `key`.
pub fn route_setup(upstream: &Upstream, preset: &str, credential: &str, lines: &str) -> Setup {
    let config = format!(
        "[outbound]\nlisten = [\"127.0.0.1:@PORT@\"]\n[admin]\nlisten = [\"127.0.0.1:@ADMIN@\"]\n[log]\nlevel = \"debug\"\n\
         [provider.here]\nextends = \"{preset}\"\nupstream = \"@UPSTREAM@\"\nca = \"@DIR@/ca.pem\"\n\
         [credential.here]\nprovider = \"here\"\ncheck = \"off\"\n{credential}\n[[route]]\ncredential = \"here\"\n{lines}\n"
    );
    Setup::new(upstream)
        .file("key", "CANARY0123456789CANARY0123456789")
        .config(&config)
}

/// Runs a program to its end, and kills it after `within`.
pub fn finish(command: &mut Command, within: Duration) -> Finished {
    let dir = Directory::new();
    let log = |name: &str| fs::File::create(dir.join(name)).expect("a file for the output");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(log("out"))
        .stderr(log("err"))
        .spawn()
        .expect("it starts");
    let began = Instant::now();
    let code = loop {
        if let Some(status) = child.try_wait().expect("it is our child") {
            break status.code();
        }
        if began.elapsed() > stretched(within) {
            let _ = child.kill();
            let _ = child.wait();
            break None;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let read = |name: &str| {
        String::from_utf8_lossy(&fs::read(dir.join(name)).unwrap_or_default()).into_owned()
    };
    Finished {
        code,
        output: format!("{}{}", read("out"), read("err")),
    }
}

/// A running Keyside. Killed when it is dropped.
pub struct Keyside {
    child: Child,
    exit: Option<ExitStatus>,
    /// The reason for which connections may be open at the end.
    leaves_connections: Option<&'static str>,
    setup: Setup,
}

impl Keyside {
    /// The default configuration in front of `upstream`.
    pub fn start(upstream: &Upstream) -> Self {
        Setup::new(upstream).start()
    }

    fn wait_until_alive(&mut self) {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                panic!("keyside did not start: {status}\n{}", self.log());
            }
            let alive =
                Client::connect(self.admin()).map(|client| client.patience(Duration::from_secs(2)));
            if alive.is_ok_and(|mut client| {
                client
                    .ask(&get("/livez"))
                    .is_ok_and(|answer| answer.status == 200)
            }) {
                return;
            }
            assert!(
                began.elapsed() < stretched(Duration::from_secs(10)),
                "keyside does not serve /livez\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends the process with a signal, and returns its log.
    pub fn end(&mut self, signal: Signal) -> String {
        self.signal(signal);
        let ended = self.wait_exit(Duration::from_secs(10));
        assert!(ended.is_some(), "it does not end\n{}", self.log());
        self.log()
    }

    /// Starts the program again after [`Self::end`], with what the directory and the setup hold by
    /// now.
    pub fn begin(&mut self) {
        self.child = self.setup.launch();
        self.exit = None;
        self.wait_until_alive();
    }

    /// Writes the whole configuration anew, for a reload and for each later start.
    pub fn configure(&mut self, text: &str) {
        self.setup.whole = Some(text.to_owned());
        self.setup.write_config();
    }

    /// The address for applications.
    pub fn outbound(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.setup.port))
    }

    /// The address for operators.
    pub fn admin(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.setup.admin))
    }

    /// The address for providers.
    pub fn inbound(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.setup.inbound))
    }

    /// Sends bytes to the inbound listener on a new connection, and panics without an answer.
    pub fn event(&self, request: &[u8]) -> Answer {
        let mut client =
            Client::connect(self.inbound()).expect("the inbound listener accepts a connection");
        client
            .ask(request)
            .unwrap_or_else(|why| panic!("no answer: {why:?}\n{}", self.log()))
    }

    /// The directory with the configuration and secrets.
    pub fn dir(&self) -> &Directory {
        &self.setup.dir
    }

    /// The setup; its `write_config` changes the file under the running program.
    pub fn setup(&mut self) -> &mut Setup {
        &mut self.setup
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The process, for its pipes.
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

    /// Sends bytes on a new connection, and panics without an answer.
    pub fn send(&self, request: &[u8]) -> Answer {
        self.ask(request)
            .unwrap_or_else(|why| panic!("no answer: {why:?}\n{}", self.log()))
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
        let mut client =
            Client::connect(self.admin()).expect("the admin listener accepts a connection");
        client
            .ask(request)
            .unwrap_or_else(|why| panic!("no answer from admin: {why:?}\n{}", self.log()))
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
            .filter(|line| {
                line.strip_prefix(name)
                    .is_some_and(|rest| rest.starts_with(['{', ' ']))
            })
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

    /// The output of `keyside status --problems`.
    pub fn problems(&self) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyside"));
        let admin = self.admin().to_string();
        command.args(["status", "--problems", "--admin", &admin]);
        finish(&mut command, Duration::from_secs(10)).output
    }

    /// The words of the status page.
    pub fn page(&self) -> String {
        words_of_page(&self.ask_admin(&get("/")))
    }

    /// `POST /reload`.
    pub fn reload(&self) -> Answer {
        self.ask_admin(&post("/reload", ""))
    }

    /// The number of reloads that have ended, successful or not.
    pub fn reloads(&self) -> f64 {
        self.metric("keyside_reloads_total", &[])
    }

    /// Sends SIGHUP, and waits until the reload has ended.
    pub fn sighup_and_wait(&self) {
        let before = self.reloads();
        self.signal(Signal::HUP);
        let done = super::eventually(Duration::from_secs(5), || self.reloads() > before);
        assert!(done, "SIGHUP led to no reload\n{}", self.log());
    }

    /// Sends a signal to the process.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).expect("a pid")).expect("a pid");
        kill_process(pid, signal).expect("it is our child");
    }

    /// True once the process has a receiver of a signal, by the mask of caught signals.
    pub fn catches(&self, signal: Signal) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let mask = status
            .lines()
            .find_map(|line| line.strip_prefix("SigCgt:"))
            .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        mask.unwrap_or_default() >> (signal.as_raw() - 1) & 1 == 1
    }

    /// Waits until the process ends; `None` after `within`.
    pub fn wait_exit(&mut self, within: Duration) -> Option<ExitStatus> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                self.exit = Some(status);
                return self.exit;
            }
            if began.elapsed() > stretched(within) {
                return None;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// True while the process runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_none()
    }

    /// Returns the CPU time of the sidecar so far, in hundredths of a second.
    pub fn cpu_ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let after_name: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        after_name[11].parse::<u64>().unwrap() + after_name[12].parse::<u64>().unwrap()
    }

    /// Sets the soft limit on open files so low that none is left, and returns the limit before.
    pub fn leave_no_descriptor(&self) -> u64 {
        let folder = format!("/proc/{}/fd", self.pid());
        let is_taken = |number: &u64| fs::symlink_metadata(format!("{folder}/{number}")).is_ok();
        let lowest_free = (0..).find(|number| !is_taken(number));
        self.limit_descriptors(lowest_free.expect("numbers have no end"))
    }

    /// Sets the soft limit on open files, and returns the limit before.
    pub fn limit_descriptors(&self, soft: u64) -> u64 {
        use rustix::process::{Resource, Rlimit, getrlimit, prlimit};
        let pid = Pid::from_raw(i32::try_from(self.pid()).expect("a process id"));
        let limits = Rlimit {
            current: Some(soft),
            maximum: getrlimit(Resource::Nofile).maximum,
        };
        let old = prlimit(pid, Resource::Nofile, limits).expect("the limit is set");
        old.current.expect("it was limited")
    }

    /// The number of open file descriptors.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid()))
            .expect("it runs")
            .count()
    }

    /// The standard output and error so far. A separate thread writes the log, so the last lines
    /// may be late: the function waits until no line arrives any more.
    pub fn log(&self) -> String {
        let mut log = self.written();
        for _ in 0..MAX_LOG_READS {
            std::thread::sleep(stretched(LOG_PAUSE));
            let longer = self.written();
            if longer.len() == log.len() {
                break;
            }
            log = longer;
        }
        log
    }

    /// A listener with open connections, as `/metrics` has them on `admin`, and their number. The
    /// connection of the question does not count.
    fn listener_with_connections(admin: &mut Client) -> Option<(String, u64)> {
        let answer = admin.ask(&get("/metrics")).ok()?;
        let text = answer.text();
        let open = text.lines().filter_map(|line| {
            let (listener, value) = line
                .strip_prefix("keyside_connections{listener=\"")?
                .split_once("\"} ")?;
            let own = u64::from(listener == "admin");
            let others = value.parse::<u64>().ok()?.saturating_sub(own);
            Some((listener.to_owned(), others))
        });
        let mut open = open.filter(|(_, others)| *others > 0);
        open.next()
    }

    /// Leaves connections open at the end of the test, for a reason that a reader can check:
    /// requests whose answer the test does not wait for.
    pub fn leave_connections(&mut self, reason: &'static str) {
        self.leaves_connections = Some(reason);
    }

    /// Panics if connections outlive their clients. A test drops its clients before Keyside.
    fn check_that_no_connection_is_left(&mut self) {
        let has_ended = self.exit.is_some() || !matches!(self.child.try_wait(), Ok(None));
        if has_ended || self.leaves_connections.is_some() || std::thread::panicking() {
            return;
        }
        let Ok(admin) = Client::connect(self.admin()) else {
            return;
        };
        let mut admin = admin.patience(Duration::from_secs(2));
        let mut open = None;
        let closed = super::eventually(Duration::from_secs(2), || {
            open = Self::listener_with_connections(&mut admin);
            open.is_none()
        });
        if !closed {
            let _ = self.child.kill();
            panic!("connections outlive their clients: {open:?}");
        }
    }

    fn written(&self) -> String {
        let read = |name: &str| {
            String::from_utf8_lossy(&fs::read(self.dir().join(name)).unwrap_or_default())
                .into_owned()
        };
        format!("{}{}", read("stdout"), read("stderr"))
    }
}

/// The time in which a log line reaches the file on an idle machine, with room to spare.
const LOG_PAUSE: Duration = Duration::from_millis(20);
/// The largest number of reads of a log that grows all the time.
const MAX_LOG_READS: usize = 10;

impl Drop for Keyside {
    fn drop(&mut self) {
        self.check_that_no_connection_is_left();
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.written();
            let from = log.len().saturating_sub(6000);
            let from = (from..log.len())
                .find(|&at| log.is_char_boundary(at))
                .unwrap_or(log.len());
            eprintln!("--- the end of keyside's log\n{}\n---", &log[from..]);
        }
    }
}

/// The main part of the status page, without markup between words.
pub fn words_of_page(page: &Answer) -> String {
    let text = page.text();
    let body = text.split("<main").nth(1).expect("a main part");
    let pieces = body.split('<').map(|piece| match piece.split_once('>') {
        Some((_, text)) => text,
        None => piece,
    });
    let text = pieces.collect::<Vec<_>>().join(" ");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
