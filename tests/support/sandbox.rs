//! The emulator of the Cloud API, or of another provider's, as a process of its own.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::client::{Client, with_body};
use super::eventually;
use super::keyside::{Directory, free_port};

/// `keyside sandbox` on ports of its own, with the secrets of `dir`. Killed when it is dropped.
pub struct Sandbox {
    child: Child,
    address: SocketAddr,
    said: PathBuf,
}

impl Sandbox {
    /// Starts it without TLS, with more arguments.
    pub fn start(dir: &Directory, more: &[&str]) -> Self {
        let media = format!("127.0.0.1:{}", free_port());
        Self::run(dir, &[&["--media-listen", &media], more].concat())
    }

    /// The same in the place of another provider than Meta.
    pub fn of(provider: &str, dir: &Directory, more: &[&str]) -> Self {
        Self::run(dir, &[&["--provider", provider], more].concat())
    }

    fn run(dir: &Directory, arguments: &[&str]) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let said = dir.join("said");
        let child = Command::new(env!("CARGO_BIN_EXE_keyside"))
            .args(["sandbox", "--plain", "--listen", &address.to_string()])
            .args(["--dir", &dir.path().display().to_string()])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(File::create(&said).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let sandbox = Self { child, address, said };
        let is_up = || sandbox.said().contains("Recipients") && Client::connect(address).is_ok();
        assert!(eventually(Duration::from_secs(10), is_up), "the sandbox listens");
        sandbox
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.said).unwrap()
    }

    /// What it says that belongs into proxy.toml.
    pub fn configuration(&self) -> String {
        let said = self.said();
        said[said.find("[provider.sandbox]").unwrap()..said.find("Recipients").unwrap()].to_owned()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same as a URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Asks one of its control endpoints.
    pub fn ask(&self, method: &str, what: &str, body: &Value) -> Value {
        let request = with_body(method, &format!("/_sandbox/{what}"), "application/json", body.to_string().as_bytes());
        Client::connect(self.address).unwrap().ask(&request).unwrap().json()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
