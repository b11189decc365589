//! The far side: an upstream with answers by the script of a test, and a record of every received
//! byte.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustls::{HandshakeKind, ServerConfig, ServerConnection};

use super::authority::{Certificate, server_config};
use super::stretched;

/// A request as the upstream received it.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The number of the connection, counted from 1.
    pub connection: usize,
    /// The number of the request on its connection, counted from 1.
    pub turn: usize,
    /// The head as sent, with the empty line.
    pub head: Vec<u8>,
    /// The body, decoded.
    pub body: Vec<u8>,
    /// Head and body as sent.
    pub raw: Vec<u8>,
    /// The trailers as sent.
    pub trailers: Vec<u8>,
    /// True when the request arrived whole.
    pub complete: bool,
}

impl Request {
    /// The request line.
    pub fn line(&self) -> String {
        let end = self
            .head
            .windows(2)
            .position(|two| two == b"\r\n")
            .unwrap_or(self.head.len());
        String::from_utf8_lossy(&self.head[..end]).into_owned()
    }

    /// The method.
    pub fn method(&self) -> String {
        self.line().split(' ').next().unwrap_or_default().to_owned()
    }

    /// The target as it was written.
    pub fn target(&self) -> String {
        self.line().split(' ').nth(1).unwrap_or_default().to_owned()
    }

    /// The headers, names in lower case.
    pub fn headers(&self) -> Vec<(String, String)> {
        String::from_utf8_lossy(&self.head)
            .split("\r\n")
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect()
    }

    /// Every value of a header.
    pub fn all(&self, name: &str) -> Vec<String> {
        self.headers()
            .into_iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
            .collect()
    }

    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<String> {
        self.all(name).into_iter().next()
    }
}

/// The fate of a connection after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// The next request is read.
    Keep,
    /// The connection ends properly: TLS `close_notify`, FIN.
    Close,
    /// The connection ends with FIN alone.
    Cut,
    /// The connection ends with RST.
    Reset,
}

#[derive(Default)]
struct Memory {
    requests: Vec<Request>,
    connections: usize,
    ended: usize,
    handshakes: usize,
    resumed: usize,
    bytes: usize,
}

#[derive(Default)]
struct Record {
    memory: Mutex<Memory>,
    changed: Condvar,
}

impl Record {
    fn lock(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// An upstream on a loopback port of its own. Ends when it is dropped.
pub struct Upstream {
    address: SocketAddr,
    tls: bool,
    record: Arc<Record>,
    stop: Arc<AtomicBool>,
}

type Script = dyn Fn(&mut Wire) -> After + Send + Sync;

impl Upstream {
    /// Over TLS; answers each whole request with the bytes that `answer` makes.
    pub fn answering(answer: impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::scripted(move |request, wire| {
            wire.write(&answer(request));
            After::Keep
        })
    }

    /// Over TLS; answers every request with `{"ok":true}`.
    pub fn ok() -> Self {
        Self::answering(|_| json(r#"{"ok":true}"#))
    }

    /// Over TLS; passes each whole request to `script`.
    pub fn scripted(script: impl Fn(&Request, &mut Wire) -> After + Send + Sync + 'static) -> Self {
        Self::start(
            Some(server_config(Certificate::Good)),
            Arc::new(per_request(script)),
        )
    }

    /// Without TLS; passes each whole request to `script`.
    pub fn plain(script: impl Fn(&Request, &mut Wire) -> After + Send + Sync + 'static) -> Self {
        Self::start(None, Arc::new(per_request(script)))
    }

    /// Over TLS; `script` reads from the connection and writes to it.
    pub fn raw(script: impl Fn(&mut Wire) -> After + Send + Sync + 'static) -> Self {
        Self::start(Some(server_config(Certificate::Good)), Arc::new(script))
    }

    /// Over TLS with this certificate; answers every request with `{"ok":true}`.
    pub fn with_certificate(certificate: Certificate) -> Self {
        Self::start(
            Some(server_config(certificate)),
            Arc::new(per_request(|_, wire| {
                wire.write(&json(r#"{"ok":true}"#));
                After::Keep
            })),
        )
    }

    /// Over TLS of this kind; answers each whole request with the bytes that `answer` makes.
    pub fn under(
        tls: Arc<ServerConfig>,
        answer: impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let script = move |request: &Request, wire: &mut Wire| {
            wire.write(&answer(request));
            After::Keep
        };
        Self::start(Some(tls), Arc::new(per_request(script)))
    }

    /// Without TLS, at a port of the test's choice, where an upstream that was dropped may have
    /// listened before.
    pub fn plain_at(
        port: u16,
        script: impl Fn(&Request, &mut Wire) -> After + Send + Sync + 'static,
    ) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let deadline = Instant::now() + stretched(Duration::from_secs(5));
        let listener = loop {
            match TcpListener::bind(address) {
                Ok(listener) => break listener,
                Err(error) => assert!(Instant::now() < deadline, "{address}: {error}"),
            }
            thread::sleep(Duration::from_millis(10));
        };
        Self::serve(listener, None, Arc::new(per_request(script)))
    }

    fn start(tls: Option<Arc<ServerConfig>>, script: Arc<Script>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port for the upstream");
        Self::serve(listener, tls, script)
    }

    fn serve(listener: TcpListener, tls: Option<Arc<ServerConfig>>, script: Arc<Script>) -> Self {
        let address = listener.local_addr().expect("it is bound");
        let record = Arc::new(Record::default());
        let stop = Arc::new(AtomicBool::new(false));
        let upstream = Self {
            address,
            tls: tls.is_some(),
            record: Arc::clone(&record),
            stop: Arc::clone(&stop),
        };
        thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(tcp) = stream else { continue };
                let number = {
                    let mut memory = record.lock();
                    memory.connections += 1;
                    memory.connections
                };
                let (tls, script) = (tls.clone(), Arc::clone(&script));
                let (record, stop) = (Arc::clone(&record), Arc::clone(&stop));
                thread::spawn(move || {
                    let _ = tcp.set_nodelay(true);
                    let _ = tcp.set_read_timeout(Some(Duration::from_millis(200)));
                    let _ = tcp.set_write_timeout(Some(Duration::from_secs(20)));
                    let tls = tls.and_then(|config| ServerConnection::new(config).ok());
                    let mut wire = Wire {
                        tcp,
                        tls,
                        unread: Vec::new(),
                        record,
                        stop,
                        number,
                        turn: 0,
                        is_secured: false,
                    };
                    let after = script(&mut wire);
                    let record = Arc::clone(&wire.record);
                    wire.finish(after);
                    record.lock().ended += 1;
                });
            }
        });
        upstream
    }

    /// The value for `upstream = "..."`.
    pub fn url(&self) -> String {
        format!(
            "{}://{}",
            if self.tls { "https" } else { "http" },
            self.address
        )
    }

    /// The host and port, as a `Host` header has them.
    pub fn authority(&self) -> String {
        self.address.to_string()
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The requests so far, whole or not.
    pub fn requests(&self) -> Vec<Request> {
        self.record.lock().requests.clone()
    }

    /// The last request.
    pub fn last(&self) -> Request {
        self.requests().pop().expect("the upstream saw a request")
    }

    /// The last request to a target that begins with `target`: where tokens are checked, Keyside
    /// sends questions at any time.
    pub fn last_to(&self, target: &str) -> Request {
        let all = self.requests();
        all.into_iter()
            .rfind(|request| request.target().starts_with(target))
            .expect("the upstream saw such a request")
    }

    /// The number of requests that arrived whole.
    pub fn arrivals(&self) -> usize {
        self.record
            .lock()
            .requests
            .iter()
            .filter(|request| request.complete)
            .count()
    }

    /// The number of requests that began to arrive.
    pub fn heads(&self) -> usize {
        self.record.lock().requests.len()
    }

    /// The number of accepted connections.
    pub fn connections(&self) -> usize {
        self.record.lock().connections
    }

    /// The number of ended connections, as seen by the scripts.
    pub fn ended(&self) -> usize {
        self.record.lock().ended
    }

    /// The number of TLS handshakes that were completed.
    pub fn handshakes(&self) -> usize {
        self.record.lock().handshakes
    }

    /// The number of handshakes that resumed an earlier session.
    pub fn resumed(&self) -> usize {
        self.record.lock().resumed
    }

    /// The number of bytes that arrived inside TLS.
    pub fn bytes(&self) -> usize {
        self.record.lock().bytes
    }

    /// Forgets the requests so far.
    pub fn forget(&self) {
        self.record.lock().requests.clear();
    }

    /// Waits until `heads` requests began to arrive; false after `within`, stretched by the load.
    pub fn wait_for(&self, heads: usize, within: Duration) -> bool {
        let end = Instant::now() + stretched(within);
        let mut memory = self.record.lock();
        while memory.requests.len() < heads {
            let now = Instant::now();
            if now >= end {
                return false;
            }
            memory = self
                .record
                .changed
                .wait_timeout(memory, end - now)
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .0;
        }
        true
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the accept loop, which then ends and closes the port.
        let _ = TcpStream::connect(self.address);
    }
}

fn per_request(
    script: impl Fn(&Request, &mut Wire) -> After + Send + Sync,
) -> impl Fn(&mut Wire) -> After + Send + Sync {
    move |wire| {
        while let Some(request) = wire.request() {
            let after = script(&request, wire);
            if after != After::Keep {
                return after;
            }
        }
        After::Close
    }
}

/// A connection to the upstream, under TLS where the upstream speaks TLS.
pub struct Wire {
    tcp: TcpStream,
    tls: Option<ServerConnection>,
    unread: Vec<u8>,
    record: Arc<Record>,
    stop: Arc<AtomicBool>,
    number: usize,
    turn: usize,
    /// True once the handshake is counted.
    is_secured: bool,
}

impl Wire {
    /// The number of the connection, counted from 1.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Reads and records a whole request that begins within `idle`.
    pub fn request_within(&mut self, idle: Duration) -> Option<Request> {
        if self.unread.is_empty() {
            self.more_within(idle)?;
        }
        self.request()
    }

    /// Reads and records a whole request.
    pub fn request(&mut self) -> Option<Request> {
        let (place, request) = self.head()?;
        self.body(place, request)
    }

    /// Reads and records a head; the body is still to come.
    pub fn head(&mut self) -> Option<(usize, Request)> {
        let head = self.until(b"\r\n\r\n")?;
        self.turn += 1;
        let request = Request {
            connection: self.number,
            turn: self.turn,
            raw: head.clone(),
            head,
            ..Request::default()
        };
        let mut memory = self.record.lock();
        memory.requests.push(request.clone());
        let place = memory.requests.len() - 1;
        drop(memory);
        self.record.changed.notify_all();
        Some((place, request))
    }

    /// Reads the body that belongs to a head, and marks the request as whole.
    pub fn body(&mut self, place: usize, mut request: Request) -> Option<Request> {
        let chunked = request.header("transfer-encoding").is_some();
        let whole = if chunked {
            self.chunks(&mut request)
        } else {
            let length = request
                .header("content-length")
                .and_then(|length| length.parse().ok())
                .unwrap_or(0);
            self.exactly(length).map(|bytes| {
                request.raw.extend_from_slice(&bytes);
                request.body = bytes;
            })
        };
        request.complete = whole.is_some();
        let mut memory = self.record.lock();
        // A test may have forgotten the requests meanwhile.
        if let Some(slot) = memory
            .requests
            .get_mut(place)
            .filter(|slot| slot.head == request.head)
        {
            slot.clone_from(&request);
        }
        drop(memory);
        self.record.changed.notify_all();
        whole.map(|()| request)
    }

    fn chunks(&mut self, request: &mut Request) -> Option<()> {
        loop {
            let line = self.until(b"\r\n")?;
            request.raw.extend_from_slice(&line);
            let digits = String::from_utf8_lossy(&line);
            let digits = digits
                .trim()
                .split(';')
                .next()
                .unwrap_or_default()
                .trim()
                .to_owned();
            let length = usize::from_str_radix(&digits, 16).ok()?;
            if length == 0 {
                loop {
                    let line = self.until(b"\r\n")?;
                    request.raw.extend_from_slice(&line);
                    if line == b"\r\n" {
                        return Some(());
                    }
                    request.trailers.extend_from_slice(&line);
                }
            }
            let bytes = self.exactly(length + 2)?;
            request.raw.extend_from_slice(&bytes);
            request.body.extend_from_slice(&bytes[..length]);
        }
    }

    fn until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        let mut seen = 0;
        loop {
            if let Some(at) = self.unread[seen..]
                .windows(end.len())
                .position(|window| window == end)
            {
                return Some(self.unread.drain(..seen + at + end.len()).collect());
            }
            seen = self.unread.len().saturating_sub(end.len() - 1);
            self.more()?;
        }
    }

    fn exactly(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.unread.len() < length {
            self.more()?;
        }
        Some(self.unread.drain(..length).collect())
    }

    fn more(&mut self) -> Option<()> {
        self.more_within(Duration::from_secs(60))
    }

    fn more_within(&mut self, patience: Duration) -> Option<()> {
        let mut buffer = [0_u8; 16 * 1024];
        let began = Instant::now();
        loop {
            if self.stop.load(Ordering::Relaxed) || began.elapsed() > patience {
                return None;
            }
            let read = match &mut self.tls {
                Some(tls) => rustls::Stream::new(tls, &mut self.tcp).read(&mut buffer),
                None => self.tcp.read(&mut buffer),
            };
            self.count_handshake();
            match read {
                Ok(0) => return None,
                Ok(count) => {
                    self.record.lock().bytes += count;
                    self.unread.extend_from_slice(&buffer[..count]);
                    return Some(());
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock
                            | io::ErrorKind::TimedOut
                            | io::ErrorKind::Interrupted
                    ) => {}
                Err(_) => return None,
            }
        }
    }

    fn count_handshake(&mut self) {
        let kind = self.tls.as_ref().and_then(|tls| tls.handshake_kind());
        let is_done = self.tls.as_ref().is_some_and(|tls| !tls.is_handshaking());
        if !is_done || std::mem::replace(&mut self.is_secured, true) {
            return;
        }
        let mut memory = self.record.lock();
        memory.handshakes += 1;
        memory.resumed += usize::from(kind == Some(HandshakeKind::Resumed));
    }

    /// Sends bytes; true when the connection took all of them.
    pub fn write(&mut self, bytes: &[u8]) -> bool {
        match &mut self.tls {
            Some(tls) => {
                let mut stream = rustls::Stream::new(tls, &mut self.tcp);
                stream
                    .write_all(bytes)
                    .and_then(|()| stream.flush())
                    .is_ok()
            }
            None => self.tcp.write_all(bytes).is_ok(),
        }
    }

    /// Reads and drops bytes until the other side ends, at most for `within`.
    pub fn drain(&mut self, within: Duration) {
        let end = Instant::now() + within;
        while Instant::now() < end && self.more().is_some() {
            self.unread.clear();
        }
    }

    /// Sends nothing for `time`.
    pub fn wait(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end && !self.stop.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends nothing until the other side ends the connection or the test ends.
    pub fn hang(&mut self) {
        while self.more().is_some() {}
    }

    /// Sends FIN; reading stays possible.
    pub fn half_close(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            let _ = tls.write_tls(&mut self.tcp);
        }
        let _ = self.tcp.shutdown(Shutdown::Write);
    }

    fn finish(mut self, after: After) {
        match after {
            After::Keep | After::Close => self.half_close(),
            After::Cut => {
                let _ = self.tcp.shutdown(Shutdown::Both);
            }
            After::Reset => {
                let _ = socket2::SockRef::from(&self.tcp).set_linger(Some(Duration::ZERO));
            }
        }
    }
}

/// An answer with the headers given, `Content-Length` and a body.
pub fn answer(status: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut out = format!("HTTP/1.1 {status}\r\n").into_bytes();
    for (name, value) in headers {
        out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    out.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
    out.extend_from_slice(body);
    out
}

/// A 200 with this JSON, as Graph sends it.
pub fn json(body: &str) -> Vec<u8> {
    answer(
        "200 OK",
        &[("Content-Type", "application/json; charset=UTF-8")],
        body.as_bytes(),
    )
}
