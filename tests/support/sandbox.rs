//! The emulator of the Cloud API, as a process of its own.

use std::net::SocketAddr;
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
}

impl Sandbox {
    /// Starts it without TLS, with more arguments.
    pub fn start(dir: &Directory, more: &[&str]) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let media = format!("127.0.0.1:{}", free_port());
        let child = Command::new(env!("CARGO_BIN_EXE_keyside"))
            .args(["sandbox", "--plain", "--listen", &address.to_string(), "--media-listen", &media])
            .args(["--dir", &dir.path().display().to_string()])
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        assert!(eventually(Duration::from_secs(10), || Client::connect(address).is_ok()), "the sandbox listens");
        Self { child, address }
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
