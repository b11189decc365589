//! A real RabbitMQ: `rabbitmq-server` from the system, which `tests/run servers` installs. A start
//! takes seconds.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::authority::Authority;
use super::eventually;
use super::keyside::{Directory, free_ports};

/// A server with two users, on ports of its own. Killed when it is dropped.
pub struct Rabbit {
    child: Child,
    /// The server of the names of nodes, which RabbitMQ would start as a daemon.
    names: Child,
    dir: Directory,
    port: u16,
}

impl Rabbit {
    /// Starts a server.
    pub fn start() -> Self {
        let (dir, port) = (Directory::new(), free_ports(4));
        for folder in ["mnesia", "log"] {
            fs::create_dir_all(dir.join(folder)).expect("a folder for the server");
        }
        let definitions = dir.write("definitions.json", DEFINITIONS);
        let (certificate, key) = Authority::trusted().server_pem();
        let tls = port + 3;
        let config = format!(
            "listeners.tcp.1 = 127.0.0.1:{port}\nlisteners.ssl.1 = 127.0.0.1:{tls}\n\
             ssl_options.certfile = {}\nssl_options.keyfile = {}\nssl_options.verify = verify_none\n\
             max_message_size = 262144\nload_definitions = {}\n",
            dir.write("tls.crt", certificate).display(),
            dir.write("tls.key", key).display(),
            definitions.display()
        );
        dir.write("rabbitmq.conf", config);
        dir.write("plugins", "[].");
        dir.write("environment", "");
        let child = Command::new("true").spawn().expect("there is a true");
        let names = Command::new("true").spawn().expect("there is a true");
        let mut rabbit = Self {
            child,
            names,
            dir,
            port,
        };
        let names = rabbit.command("epmd").spawn();
        rabbit.names = names.expect("epmd comes with RabbitMQ");
        rabbit.restart();
        rabbit
    }

    /// Kills the server, if it runs, and starts it with the data of before.
    pub fn restart(&mut self) {
        self.kill();
        let mut command = self.command("/usr/lib/rabbitmq/bin/rabbitmq-server");
        self.child = command
            .spawn()
            .expect("rabbitmq-server starts: `tests/run servers` installs it");
        let answers = eventually(Duration::from_secs(60), || self.answers());
        assert!(answers, "rabbitmq-server answers");
    }

    /// True if the server begins the handshake of a connection. While it starts, it listens and
    /// closes connections.
    fn answers(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else {
            return false;
        };
        stream.write_all(b"AMQP\x00\x00\x09\x01").is_ok() && stream.read_exact(&mut [0]).is_ok()
    }

    /// Runs `rabbitmqctl`.
    pub fn control(&self, words: &[&str]) {
        let mut command = self.command("/usr/lib/rabbitmq/bin/rabbitmqctl");
        let status = command.args(words).status().expect("there is rabbitmqctl");
        assert!(status.success(), "rabbitmqctl {words:?}");
    }

    /// A command with an environment for files in the folder of the server alone.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("HOME", self.dir.path())
            .env(
                "RABBITMQ_NODENAME",
                format!("keyside{}@localhost", self.port),
            )
            .env("RABBITMQ_DIST_PORT", (self.port + 1).to_string())
            .env("ERL_EPMD_PORT", (self.port + 2).to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1");
        for (name, file) in [
            ("RABBITMQ_MNESIA_BASE", "mnesia"),
            ("RABBITMQ_LOG_BASE", "log"),
            ("RABBITMQ_CONF_ENV_FILE", "environment"),
            ("RABBITMQ_CONFIG_FILE", "rabbitmq"),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", "plugins"),
            ("RABBITMQ_PID_FILE", "pid"),
        ] {
            command.env(name, self.dir.join(file));
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// The URL for a user.
    pub fn url_of(&self, user: &str) -> String {
        format!("amqp://{user}:CANARYrabbit@127.0.0.1:{}", self.port)
    }

    /// The URL with TLS for a user.
    pub fn tls_url_of(&self, user: &str) -> String {
        format!("amqps://{user}:CANARYrabbit@127.0.0.1:{}", self.port + 3)
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Kills the server.
    pub fn kill(&mut self) {
        if fs::exists(self.dir.join("pid")).expect("the folder is ours") {
            self.signal(Signal::KILL);
            let _ = fs::remove_file(self.dir.join("pid"));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends a signal to the server.
    pub fn signal(&self, signal: Signal) {
        let pid = fs::read_to_string(self.dir.join("pid")).expect("the server wrote it");
        let pid = Pid::from_raw(pid.trim().parse().expect("a pid")).expect("a pid");
        kill_process(pid, signal).expect("it is ours");
    }
}

impl Drop for Rabbit {
    fn drop(&mut self) {
        self.kill();
        let _ = self.names.kill();
        let _ = self.names.wait();
    }
}

/// A user with all rights, and a user without the right to publish.
const DEFINITIONS: &str = r#"{
  "users": [
    {"name": "keyside", "password": "CANARYrabbit", "tags": ""},
    {"name": "reader", "password": "CANARYrabbit", "tags": ""}
  ],
  "vhosts": [{"name": "/"}],
  "permissions": [
    {"user": "keyside", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"},
    {"user": "reader", "vhost": "/", "configure": "", "write": "", "read": ".*"}
  ]
}"#;
