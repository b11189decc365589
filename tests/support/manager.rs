//! Real secret managers: OpenBao and moto's AWS, from the folder in `KEYSIDE_TEST_SERVERS`,
//! installed by `tests/run servers`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::authority::client_config;
use super::client::{Answer, Client};
use super::keyside::{Directory, free_port, free_ports};

fn program(name: &str) -> PathBuf {
    let folder = std::env::var_os("KEYSIDE_TEST_SERVERS").expect("run by `tests/run servers`");
    PathBuf::from(folder).join(name)
}

fn start(command: &mut Command, address: SocketAddr) -> Child {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let end = Instant::now() + Duration::from_secs(30);
    while Client::connect(address).is_err() {
        assert!(Instant::now() < end, "{address} does not listen");
        std::thread::sleep(Duration::from_millis(50));
    }
    child
}

/// An OpenBao server with TLS and storage in memory, killed on drop.
pub struct Bao {
    child: Child,
    dir: Directory,
    address: SocketAddr,
}

/// The root token.
pub const ROOT: &str = "root-CANARYbao";

impl Bao {
    /// With KV version 2 at `secret/` and version 1 at `old/`.
    pub fn start() -> Self {
        // OpenBao binds the next port as well, for peers.
        let (dir, address) = (
            Directory::new(),
            SocketAddr::from(([127, 0, 0, 1], free_ports(2))),
        );
        let child = Self::serve(&dir, address);
        let bao = Self {
            child,
            dir,
            address,
        };
        bao.must(
            "POST",
            "sys/mounts/old",
            &json!({ "type": "kv", "options": { "version": "1" } }),
        );
        bao
    }

    fn serve(dir: &Directory, address: SocketAddr) -> Child {
        let mut command = Command::new(program("bao"));
        command
            .args(["server", "-dev", "-dev-tls", "-dev-no-store-token"])
            .env("HOME", dir.path());
        command
            .arg(format!("-dev-root-token-id={ROOT}"))
            .arg(format!("-dev-listen-address={address}"));
        command.arg(format!("-dev-tls-cert-dir={}", dir.path().display()));
        start(&mut command, address)
    }

    /// Returns the environment variables for a client with `token`.
    pub fn environment(&self, token: &str) -> Vec<(&'static str, String)> {
        let mut environment = self.place();
        environment.push(("VAULT_TOKEN", token.to_owned()));
        environment
    }

    /// Returns the environment variables for a client.
    pub fn place(&self) -> Vec<(&'static str, String)> {
        vec![
            ("VAULT_ADDR", format!("https://{}", self.address)),
            ("VAULT_CACERT", self.authority().display().to_string()),
        ]
    }

    fn authority(&self) -> PathBuf {
        // OpenBao kept the file names of Vault.
        ["vault-ca.pem", "bao-ca.pem"]
            .map(|name| self.dir.join(name))
            .into_iter()
            .find(|path| path.exists())
            .expect("a CA")
    }

    /// Sends a request as root.
    pub fn ask(&self, method: &str, path: &str, body: &Value) -> Answer {
        let body = body.to_string();
        let request = format!(
            "{method} /v1/{path} HTTP/1.1\r\nHost: bao\r\nX-Vault-Token: {ROOT}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let authority = std::fs::read_to_string(self.authority()).expect("its CA");
        let mut client = Client::connect_tls(self.address, client_config(&[&authority], None))
            .expect("it listens");
        client.ask(request.as_bytes()).expect("it answers")
    }

    /// Passes the bytes of a request on, and returns the answer.
    pub fn relay(&self, request: &[u8]) -> Answer {
        let authority = std::fs::read_to_string(self.authority()).expect("its CA");
        let mut client = Client::connect_tls(self.address, client_config(&[&authority], None))
            .expect("it listens");
        client.ask(request).expect("it answers")
    }

    /// Sends a request as root, and panics unless the request succeeds.
    pub fn must(&self, method: &str, path: &str, body: &Value) -> Value {
        let answer = self.ask(method, path, body);
        assert!(
            answer.status < 300,
            "{method} {path}: {} {}",
            answer.status,
            answer.text()
        );
        if answer.status == 204 {
            Value::Null
        } else {
            answer.json()
        }
    }

    /// Writes a secret of version 2.
    pub fn put(&self, path: &str, fields: &Value) {
        self.must(
            "POST",
            &format!("secret/data/{path}"),
            &json!({ "data": fields }),
        );
    }

    /// Creates a token for reading secrets of version 2. `more` has further fields of the request.
    pub fn token(&self, more: Value) -> String {
        self.policy();
        let mut request = json!({ "policies": ["keyside"], "no_default_policy": true });
        request
            .as_object_mut()
            .expect("an object")
            .extend(more.as_object().cloned().unwrap_or_default());
        let answer = self.must("POST", "auth/token/create", &request);
        answer
            .pointer("/auth/client_token")
            .and_then(Value::as_str)
            .expect("a token")
            .to_owned()
    }

    /// The least policy for a sidecar.
    pub fn policy(&self) {
        let rules = "path \"secret/data/*\" { capabilities = [\"read\"] }\n\
                     path \"auth/token/renew-self\" { capabilities = [\"update\"] }\n\
                     path \"auth/token/lookup-self\" { capabilities = [\"read\"] }";
        self.must(
            "POST",
            "sys/policies/acl/keyside",
            &json!({ "policy": rules }),
        );
    }

    /// Stops the process, so that connections are accepted without an answer, or lets the process
    /// go on.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id())
            .ok()
            .and_then(Pid::from_raw)
            .expect("a process");
        kill_process(pid, signal).expect("it is our child");
    }

    /// Kills the server, with all stored secrets.
    pub fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts an empty server again, at the old address and with the old certificate authority.
    pub fn start_again(&mut self) {
        self.child = Self::serve(&self.dir, self.address);
    }
}

impl Drop for Bao {
    fn drop(&mut self) {
        self.stop();
    }
}

/// AWS as played by moto, killed on drop.
pub struct Moto {
    child: Child,
    address: SocketAddr,
}

impl Moto {
    /// With no secrets yet.
    pub fn start() -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut command = Command::new(program("moto_server"));
        command.args(["-H", "127.0.0.1", "-p", &address.port().to_string()]);
        Self {
            child: start(&mut command, address),
            address,
        }
    }

    /// Returns the environment variables for a client.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT_URL", format!("http://{}", self.address)),
            ("AWS_REGION", "eu-west-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "keyside".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "CANARYaws".to_owned()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ]
    }

    /// Asks Secrets Manager.
    pub fn ask(&self, action: &str, body: &Value) -> Value {
        let body = body.to_string();
        let request = format!(
            "POST / HTTP/1.1\r\nHost: {}\r\nX-Amz-Target: secretsmanager.{action}\r\n\
             Content-Type: application/x-amz-json-1.1\r\nAuthorization: AWS4-HMAC-SHA256 \
             Credential=keyside/20260101/eu-west-1/secretsmanager/aws4_request, SignedHeaders=host, Signature=0\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        let mut client = Client::connect(self.address)
            .expect("it listens")
            .patience(Duration::from_secs(20));
        let answer = client.ask(request.as_bytes()).expect("it answers");
        assert_eq!(answer.status, 200, "{action}: {}", answer.text());
        answer.json()
    }

    /// Kills the server, with all stored secrets.
    pub fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        self.stop();
    }
}
