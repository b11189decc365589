//! A mock upstream, one thread, raw epoll. Every well-formed request with a single, right
//! `Authorization` gets a fixed body, and any other request 401. `GET /__stats` returns counts, as
//! the harness's proof of the work.

use crate::args::Args;
use crate::message::{Body, Malformed};
use crate::net::*;
use crate::procfs::now_ns;
use std::collections::VecDeque;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

const ANSWER: &str = r#"{"messaging_product":"whatsapp","contacts":[{"input":"16505551234","wa_id":"16505551234"}],"messages":[{"id":"wamid.HBgLMTY0NjcwNDM1OTUVAgARGBI1RjQyNUE3NEYxMzAzMzQ5MkEA"}]}"#;
const LISTENER: u64 = u64::MAX;

pub fn run(args: &Args) {
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1) };
    Upstream::new(args).serve();
}

struct Upstream {
    listener: TcpListener,
    epoll: Epoll,
    tls: Option<Arc<rustls::ServerConfig>>,
    auth: Option<Vec<u8>>,
    /// The delay of every answer, in ns. Delayed answers wait in `due`.
    delay: u64,
    due: VecDeque<(u64, usize, Verdict)>,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    stats: Stats,
    granted: Vec<u8>,
}

struct Connection {
    conn: Conn,
    /// The request with a body not read yet.
    request: Option<(Verdict, Body)>,
    counted: bool,
}

#[derive(Clone, Copy)]
enum Verdict {
    Granted,
    Refused,
    Stats,
}

#[derive(Default)]
struct Stats {
    conns: u64,
    ok: u64,
    unauth: u64,
    multi_auth: u64,
    body_bytes: u64,
}

impl Upstream {
    fn new(args: &Args) -> Upstream {
        let listener = listen(args.num("port", 0));
        let epoll = Epoll::new();
        epoll.add(listener.as_raw_fd(), LISTENER, IN);
        let granted = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json; charset=UTF-8\r\ncontent-length: {}\r\n\
             x-request-id: 00-abcdef0123456789\r\ndate: Mon, 23 Nov 2026 00:00:00 GMT\r\n\r\n{ANSWER}",
            ANSWER.len()
        );
        Upstream {
            listener,
            epoll,
            tls: args.get("cert").map(|cert| server_config(cert, args.required("key"))),
            auth: args.get("auth").map(|auth| auth.as_bytes().to_vec()),
            delay: args.num::<u64>("delay-us", 0) * 1000,
            due: VecDeque::new(),
            connections: Vec::new(),
            free: Vec::new(),
            stats: Stats::default(),
            granted: granted.into_bytes(),
        }
    }

    fn serve(&mut self) -> ! {
        loop {
            let timeout = self.due.front().map(|due| Duration::from_nanos(due.0.saturating_sub(now_ns())));
            for i in 0..self.epoll.wait(timeout) {
                match self.epoll.event(i) {
                    (LISTENER, _) => self.accept(),
                    (index, events) => {
                        if !self.progress(index as usize, events) {
                            self.close(index as usize);
                        }
                    }
                }
            }
            while let Some((at, index, verdict)) = self.due.front().copied() {
                if at > now_ns() {
                    break;
                }
                self.due.pop_front();
                if !self.answer(index, verdict) {
                    self.close(index);
                }
            }
        }
    }

    fn accept(&mut self) {
        while let Ok((sock, _)) = self.listener.accept() {
            let tls = match &self.tls {
                None => Tls::None,
                Some(config) => Tls::server(config),
            };
            let index = self.free.pop().unwrap_or_else(|| {
                self.connections.push(None);
                self.connections.len() - 1
            });
            let conn = Conn::new(sock, tls);
            self.epoll.add(conn.fd(), index as u64, BOTH);
            self.connections[index] = Some(Connection { conn, request: None, counted: false });
        }
    }

    fn close(&mut self, index: usize) {
        if self.connections[index].take().is_some() {
            self.due.retain(|due| due.1 != index);
            self.free.push(index);
        }
    }

    /// Reads and answers the requests in the buffer. False if the connection must be closed.
    fn progress(&mut self, index: usize, events: u32) -> bool {
        let Some(connection) = self.connections[index].as_mut() else { return true };
        if events & OUT != 0 && connection.conn.flush().is_err() {
            return false;
        }
        if events & (IN | GONE) == 0 {
            return true;
        }
        let Ok(fill) = connection.conn.fill(events & GONE != 0) else { return false };
        loop {
            let Some(connection) = self.connections[index].as_mut() else { return false };
            match connection.next_request(self.auth.as_deref(), &mut self.stats) {
                Err(Malformed) => return false,
                Ok(None) => return fill == Fill::Open,
                Ok(Some(verdict)) if self.delay > 0 && !matches!(verdict, Verdict::Stats) => {
                    self.due.push_back((now_ns() + self.delay, index, verdict));
                }
                Ok(Some(verdict)) => {
                    if !self.answer(index, verdict) {
                        return false;
                    }
                }
            }
        }
    }

    fn answer(&mut self, index: usize, verdict: Verdict) -> bool {
        let Some(connection) = self.connections[index].as_mut() else { return true };
        let sent = match verdict {
            Verdict::Granted => connection.conn.send(&self.granted),
            Verdict::Refused => connection
                .conn
                .send(b"HTTP/1.1 401 Unauthorized\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"),
            Verdict::Stats => connection.conn.send(self.stats.answer().as_bytes()),
        };
        sent.is_ok()
    }
}

impl Connection {
    /// Takes a whole request out of the buffer, if the buffer has a whole request.
    fn next_request(&mut self, auth: Option<&[u8]>, stats: &mut Stats) -> Result<Option<Verdict>, Malformed> {
        if self.request.is_none() && !self.parse_head(auth, stats)? {
            return Ok(None);
        }
        let Some((verdict, body)) = &mut self.request else { return Ok(None) };
        let verdict = *verdict;
        if !body.consume(&mut self.conn.inbuf, &mut stats.body_bytes)? {
            return Ok(None);
        }
        self.request = None;
        Ok(Some(verdict))
    }

    fn parse_head(&mut self, auth: Option<&[u8]>, stats: &mut Stats) -> Result<bool, Malformed> {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut headers);
        let length = match request.parse(&self.conn.inbuf) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Ok(false),
            Err(_) => return Err(Malformed),
        };
        let body = Body::of(request.headers)?;
        let given: Vec<&[u8]> =
            request.headers.iter().filter(|h| h.name.eq_ignore_ascii_case("authorization")).map(|h| h.value).collect();
        let verdict = if request.path == Some("/__stats") {
            Verdict::Stats
        } else {
            stats.conns += u64::from(!self.counted);
            stats.multi_auth += u64::from(given.len() > 1);
            self.counted = true;
            if auth.is_none_or(|auth| given == [auth]) {
                stats.ok += 1;
                Verdict::Granted
            } else {
                stats.unauth += 1;
                Verdict::Refused
            }
        };
        self.conn.inbuf.drain(..length);
        self.request = Some((verdict, body));
        Ok(true)
    }
}

impl Stats {
    fn answer(&self) -> String {
        let json = format!(
            r#"{{"conns":{},"ok":{},"unauth":{},"multi_auth":{},"body_bytes":{}}}"#,
            self.conns, self.ok, self.unauth, self.multi_auth, self.body_bytes
        );
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{json}", json.len())
    }
}
