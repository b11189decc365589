//! A real NATS server with JetStream: `nats-server` from the system, which `tests/run servers`
//! installs.

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::authority::Authority;
use super::eventually;
use super::keyside::{Directory, free_port};

/// A server with two users, on a port of its own. Killed when it is dropped.
pub struct Nats {
    child: Child,
    dir: Directory,
    port: u16,
}

impl Nats {
    /// Starts a server.
    pub fn start() -> Self {
        Self::with("")
    }

    /// Starts a server that speaks TLS alone, with a certificate of the authority that tests trust.
    pub fn over_tls() -> Self {
        Self::with("tls { cert_file: \"tls.crt\", key_file: \"tls.key\" }\n")
    }

    fn with(more: &str) -> Self {
        let (certificate, key) = Authority::trusted().server_pem();
        let (dir, port) = (Directory::new(), free_port());
        let store = dir.join("store");
        let config = format!(
            "listen: 127.0.0.1:{port}\nmax_payload: 262144\njetstream {{ store_dir: \"{}\" }}\n\
             authorization {{ users: [\n\
             {{ user: keyside, password: CANARYnats }}\n\
             {{ user: reader, password: CANARYnats, permissions: {{ publish: {{ deny: \"events\" }} }} }}\n] }}\n{more}",
            store.display()
        );
        dir.write("nats.conf", config);
        dir.write("tls.crt", certificate);
        dir.write("tls.key", key);
        let child = Command::new("true").spawn().expect("there is a true");
        let mut nats = Self { child, dir, port };
        nats.restart();
        nats
    }

    /// Kills the server, if it runs, and starts it with the data of before.
    pub fn restart(&mut self) {
        self.kill();
        let mut command = Command::new("nats-server");
        command.current_dir(self.dir.path());
        command.arg("-c").arg(self.dir.join("nats.conf"));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.child = command
            .spawn()
            .expect("nats-server starts: `tests/run servers` installs it");
        let listens = || TcpStream::connect(("127.0.0.1", self.port)).is_ok();
        assert!(
            eventually(Duration::from_secs(10), listens),
            "nats-server listens"
        );
    }

    /// The URL for a user.
    pub fn url_of(&self, user: &str) -> String {
        format!("nats://{user}:CANARYnats@127.0.0.1:{}", self.port)
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
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

impl Drop for Nats {
    fn drop(&mut self) {
        self.kill();
    }
}
