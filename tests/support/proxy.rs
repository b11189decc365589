//! A proxy that opens tunnels (CONNECT) to ports of this machine, whatever the name of the host.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::authority::{Certificate, server_config};

/// The answer of a proxy to CONNECT.
#[derive(Clone, Debug)]
pub enum Manner {
    /// A tunnel to the port that is asked for.
    Opens,
    /// A tunnel for requests with this value of `Proxy-Authorization`, else 407.
    Wants(&'static str),
    /// The answer, and the end of the connection.
    Answers(&'static str),
    /// No answer.
    Hangs,
}

/// A proxy on a loopback port of its own. Ends when it is dropped.
pub struct Proxy {
    address: SocketAddr,
    tls: bool,
    heads: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
}

impl Proxy {
    /// Speaks plain HTTP.
    pub fn start(manner: Manner) -> Self {
        Self::serve(manner, None)
    }

    /// Speaks HTTP under TLS, with a certificate for `localhost` of the authority of the tests.
    pub fn under_tls(manner: Manner) -> Self {
        Self::serve(manner, Some(server_config(Certificate::Good)))
    }

    fn serve(manner: Manner, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port for the proxy");
        let proxy = Self {
            address: listener.local_addr().expect("it is bound"),
            tls: tls.is_some(),
            heads: Arc::default(),
            stop: Arc::default(),
        };
        let (heads, stop) = (Arc::clone(&proxy.heads), Arc::clone(&proxy.stop));
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let (heads, stop) = (Arc::clone(&heads), Arc::clone(&stop));
                let (tls, manner) = (tls.clone(), manner.clone());
                let _ = client.set_nodelay(true);
                let _ = client.set_read_timeout(Some(POLL));
                thread::spawn(move || match tls {
                    None => attend(client, &manner, &heads, &stop),
                    Some(config) => {
                        let tls = ServerConnection::new(config).expect("a connection");
                        attend(StreamOwned::new(tls, client), &manner, &heads, &stop);
                    }
                });
            }
        });
        proxy
    }

    /// The URL, with `credentials` such as `user:password@`.
    pub fn url(&self, credentials: &str) -> String {
        let (scheme, host) = match self.tls {
            true => ("https", "localhost"),
            false => ("http", "127.0.0.1"),
        };
        format!("{scheme}://{credentials}{host}:{}", self.address.port())
    }

    /// The heads of the requests so far.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("no test panics inside").clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

fn attend(
    mut client: impl Read + Write,
    manner: &Manner,
    heads: &Mutex<Vec<String>>,
    stop: &AtomicBool,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match read(&mut client, &mut byte, stop) {
            Some(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let authorization = head
        .lines()
        .find_map(|line| line.strip_prefix("proxy-authorization: "))
        .map(str::to_owned);
    heads.lock().expect("no test panics inside").push(head);
    match manner {
        Manner::Opens => {}
        Manner::Wants(wanted) if authorization.as_deref() == Some(wanted) => {}
        Manner::Wants(_) => {
            let _ = client.write_all(WHO_ARE_YOU);
            return;
        }
        Manner::Answers(answer) => {
            let _ = client.write_all(answer.as_bytes());
            let _ = client.flush();
            return;
        }
        Manner::Hangs => {
            while read(&mut client, &mut [0; 64], stop).is_some_and(|length| length > 0) {}
            return;
        }
    }
    let port: u16 = target
        .rsplit(':')
        .next()
        .and_then(|port| port.parse().ok())
        .unwrap_or(0);
    let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else {
        let _ = client.write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n");
        return;
    };
    let _ = client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n");
    let _ = client.flush();
    tunnel(client, server, stop);
}

/// Passes bytes in turn, with short waits: one thread has both directions of a TLS stream.
fn tunnel(mut client: impl Read + Write, mut server: TcpStream, stop: &AtomicBool) {
    let _ = server.set_nodelay(true);
    let _ = server.set_read_timeout(Some(Duration::from_millis(1)));
    let mut buffer = [0; 16 * 1024];
    while !stop.load(Ordering::Relaxed) {
        for from_client in [true, false] {
            let read = match from_client {
                true => client.read(&mut buffer),
                false => server.read(&mut buffer),
            };
            let length = match read {
                Ok(0) => {
                    let _ = server.shutdown(Shutdown::Both);
                    return;
                }
                Ok(length) => length,
                Err(error) if is_wait(&error) => continue,
                Err(_) => return,
            };
            let bytes = &buffer[..length];
            let written = match from_client {
                true => server.write_all(bytes),
                false => client.write_all(bytes).and_then(|()| client.flush()),
            };
            if written.is_err() {
                return;
            }
        }
    }
}

/// Reads once; `None` after the end of the test.
fn read(client: &mut impl Read, buffer: &mut [u8], stop: &AtomicBool) -> Option<usize> {
    while !stop.load(Ordering::Relaxed) {
        match client.read(buffer) {
            Err(error) if is_wait(&error) => {}
            result => return result.ok(),
        }
    }
    None
}

fn is_wait(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut | Interrupted)
}

/// The wait of a read on the side of the client.
const POLL: Duration = Duration::from_millis(2);
const WHO_ARE_YOU: &[u8] = b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"corp\"\r\nContent-Length: 0\r\n\r\n";
