//! `keyside sandbox` in a process: the emulator of Meta's Cloud API or of another provider.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::client::{Client, with_body};
use super::eventually;
use super::keyside::{Directory, free_port};

/// A sandbox on free ports, with its secrets in a directory. Dropping kills the process.
pub struct Sandbox {
    child: Child,
    address: SocketAddr,
    stdout: PathBuf,
}

impl Sandbox {
    /// Starts a sandbox of Meta without TLS, with more arguments.
    pub fn start(dir: &Directory, more: &[&str]) -> Self {
        let media = format!("127.0.0.1:{}", free_port());
        Self::run(dir, &[&["--media-listen", &media], more].concat())
    }

    /// Starts a sandbox of another provider without TLS, with more arguments.
    pub fn of(provider: &str, dir: &Directory, more: &[&str]) -> Self {
        Self::run(dir, &[&["--provider", provider], more].concat())
    }

    fn run(dir: &Directory, arguments: &[&str]) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let stdout = dir.join("stdout");
        let child = Command::new(env!("CARGO_BIN_EXE_keyside"))
            .args(["sandbox", "--plain", "--listen", &address.to_string()])
            .args(["--dir", &dir.path().display().to_string()])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(File::create(&stdout).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let sandbox = Self {
            child,
            address,
            stdout,
        };
        let is_up = || sandbox.printed().contains("Recipients") && Client::connect(address).is_ok();
        assert!(
            eventually(Duration::from_secs(10), is_up),
            "the sandbox listens"
        );
        sandbox
    }

    fn printed(&self) -> String {
        fs::read_to_string(&self.stdout).unwrap()
    }

    /// Returns the printed configuration for `proxy.toml`.
    pub fn configuration(&self) -> String {
        let printed = self.printed();
        let start = printed.find("[provider.sandbox]").unwrap();
        let end = printed.find("Recipients").unwrap();
        printed[start..end].to_owned()
    }

    /// Returns the address of the Graph host, or of the provider's host.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the URL of the Graph host, or of the provider's host.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Calls a control endpoint and returns the answer.
    pub fn ask(&self, method: &str, what: &str, body: &Value) -> Value {
        let request = with_body(
            method,
            &format!("/_sandbox/{what}"),
            "application/json",
            body.to_string().as_bytes(),
        );
        Client::connect(self.address)
            .unwrap()
            .ask(&request)
            .unwrap()
            .json()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
