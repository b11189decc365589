//! A raw epoll proxy, one thread: the floor for this job with rustls. No product: the proxy knows
//! only bodies with a length, keeps no timeouts, and answers errors by closing. The proxy reads a
//! whole request, adds the header, and sends head and body as a TLS record in one write. A whole
//! answer is handed on unchanged.

use crate::args::Args;
use crate::message::Malformed;
use crate::net::*;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::sync::Arc;

const LISTENER: u64 = u64::MAX;

pub fn run(args: &Args) {
    let listener = listen(args.num("port", 0));
    let epoll = Epoll::new();
    epoll.add(listener.as_raw_fd(), LISTENER, IN);
    let upstream_port: u16 = args.num("up-port", 0);
    let host = args.required("up-host").to_string();
    let proxy = Proxy {
        listener,
        epoll,
        upstream: SocketAddr::from(([127, 0, 0, 1], upstream_port)),
        injected: format!("host: {host}:{upstream_port}\r\nauthorization: {}\r\n", args.required("auth")),
        tls: (Arc::new(client_config(args.required("ca"))), host),
        sides: Vec::new(),
        free: Vec::new(),
        pool: Vec::new(),
    };
    proxy.serve();
}

struct Proxy {
    listener: TcpListener,
    epoll: Epoll,
    upstream: SocketAddr,
    tls: (Arc<rustls::ClientConfig>, String),
    injected: String,
    sides: Vec<Option<Side>>,
    free: Vec<usize>,
    /// Idle connections to the upstream.
    pool: Vec<usize>,
}

/// A connection on either side of the proxy.
struct Side {
    conn: Conn,
    is_client: bool,
    /// The other side, while a request is under way.
    peer: Option<usize>,
}

impl Proxy {
    fn serve(mut self) -> ! {
        loop {
            for i in 0..self.epoll.wait(None) {
                match self.epoll.event(i) {
                    (LISTENER, _) => {
                        while let Ok((sock, _)) = self.listener.accept() {
                            self.add(Conn::new(sock, Tls::None), true);
                        }
                    }
                    (index, events) => {
                        if !self.progress(index as usize, events) {
                            self.close(index as usize);
                        }
                    }
                }
            }
        }
    }

    fn add(&mut self, conn: Conn, is_client: bool) -> usize {
        let index = self.free.pop().unwrap_or_else(|| {
            self.sides.push(None);
            self.sides.len() - 1
        });
        self.epoll.add(conn.fd(), index as u64, BOTH);
        self.sides[index] = Some(Side { conn, is_client, peer: None });
        index
    }

    fn close(&mut self, index: usize) {
        let Some(side) = self.sides[index].take() else { return };
        self.free.push(index);
        self.pool.retain(|pooled| *pooled != index);
        if let Some(peer) = side.peer {
            self.sides[peer] = None;
            self.free.push(peer);
        }
    }

    /// False if the connection must be closed.
    fn progress(&mut self, index: usize, events: u32) -> bool {
        let Some(side) = self.sides[index].as_mut() else { return true };
        if events & OUT != 0 && side.conn.flush().is_err() {
            return false;
        }
        if events & (IN | GONE) == 0 {
            return true;
        }
        let open = matches!(side.conn.fill(events & GONE != 0), Ok(Fill::Open));
        let handled = match (is_whole(&side.conn.inbuf, side.is_client), side.is_client) {
            (Err(Malformed), _) => false,
            (Ok(false), _) => true,
            (Ok(true), true) => self.send_request(index),
            (Ok(true), false) => self.return_answer(index),
        };
        open && handled
    }

    fn send_request(&mut self, client: usize) -> bool {
        let Some(side) = self.sides[client].as_mut() else { return false };
        let request = with_credential(&side.conn.inbuf, &self.injected);
        side.conn.inbuf.clear();
        let Some(upstream) = self.pool.pop().or_else(|| self.dial()) else { return false };
        let Some(other) = self.sides[upstream].as_mut() else { return false };
        other.peer = Some(client);
        let sent = other.conn.send(&request).is_ok();
        if let Some(side) = self.sides[client].as_mut() {
            side.peer = Some(upstream);
        }
        sent
    }

    fn dial(&mut self) -> Option<usize> {
        let conn = Conn::connect(self.upstream, Some(&self.tls)).ok()?;
        Some(self.add(conn, false))
    }

    fn return_answer(&mut self, upstream: usize) -> bool {
        let Some(side) = self.sides[upstream].as_mut() else { return false };
        let answer = std::mem::take(&mut side.conn.inbuf);
        let Some(client) = side.peer.take() else { return false };
        self.pool.push(upstream);
        if let Some(side) = self.sides[client].as_mut() {
            side.peer = None;
            if side.conn.send(&answer).is_err() {
                self.close(client);
            }
        }
        true
    }
}

fn is_whole(message: &[u8], is_request: bool) -> Result<bool, Malformed> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let parsed = if is_request {
        httparse::Request::new(&mut headers).parse(message)
    } else {
        httparse::Response::new(&mut headers).parse(message)
    };
    let head = match parsed {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) => return Ok(false),
        Err(_) => return Err(Malformed),
    };
    let length = headers
        .iter()
        .find(|h| h.name.eq_ignore_ascii_case("content-length"))
        .and_then(|h| std::str::from_utf8(h.value).ok()?.parse::<usize>().ok());
    Ok(message.len() >= head + length.unwrap_or(0))
}

/// A whole request with the headers of the proxy in place of the caller's.
fn with_credential(request: &[u8], injected: &str) -> Vec<u8> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Request::new(&mut headers);
    let Ok(httparse::Status::Complete(head)) = parsed.parse(request) else { return Vec::new() };
    let mut out = Vec::with_capacity(request.len() + injected.len());
    for part in [parsed.method.unwrap_or(""), " ", parsed.path.unwrap_or(""), " HTTP/1.1\r\n", injected] {
        out.extend_from_slice(part.as_bytes());
    }
    for header in parsed.headers.iter() {
        if ["host", "authorization", "connection"].iter().any(|name| header.name.eq_ignore_ascii_case(name)) {
            continue;
        }
        for part in [header.name.as_bytes(), b": ", header.value, b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(&request[head..]);
    out
}
