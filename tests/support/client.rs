//! The near side: a client that sends exactly the given bytes, and reads answers strictly.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{ClientConfig, ClientConnection, StreamOwned};
use rustls_pki_types::ServerName;
use socket2::{Domain, Socket, Type};

use super::stretched;

/// An answer, whole.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// `HTTP/1.1`.
    pub version: String,
    /// The status.
    pub status: u16,
    /// The headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, decoded.
    pub body: Vec<u8>,
    /// The statuses of the interim answers before it.
    pub interim: Vec<u16>,
    /// True when the end of the connection was the end of the body.
    pub until_close: bool,
}

impl Answer {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {:?}", self.text()))
    }

    /// The slug of an answer of Keyside's own, or an empty text.
    pub fn slug(&self) -> &str {
        self.header("keyside-error").unwrap_or_default()
    }

    /// Checks that the answer is a refusal by Keyside, in the form that all refusals have.
    pub fn must_be_a_refusal(&self, name: &str) {
        let slug = self.slug();
        let codes: &[u64] = match (slug, self.status) {
            ("bad_request", 400 | 414 | 417)
            | ("no_route", 404)
            | ("method_not_allowed", 405)
            | ("body_too_large", 413)
            | ("unsupported_media_type", 415)
            | ("headers_too_large", 431)
            | ("wrong_host", 421) => &[100],
            (
                "browser_request"
                | "operation_not_allowed"
                | "sender_not_allowed"
                | "sender_not_named",
                403,
            ) => &[200],
            ("rate_limited", 429) => &[130_429, 131_056, 80_007],
            ("upstream_unreachable" | "upstream_tls" | "upstream_protocol", 502)
            | ("credential_unavailable" | "draining" | "overloaded", 503)
            | ("upstream_timeout", 504) => &[2],
            _ => panic!("{name}: no such refusal: {} {slug:?}", self.status),
        };
        assert!(
            self.header("content-type")
                .is_some_and(|kind| kind.starts_with("application/json")),
            "{name}: content type {:?}",
            self.header("content-type")
        );
        let body = self.json();
        let error = &body["error"];
        assert!(
            error["message"]
                .as_str()
                .is_some_and(|message| !message.is_empty()),
            "{name}: message in {body}"
        );
        assert_eq!(error["type"], "KeysideError", "{name}: type in {body}");
        assert!(
            error["code"]
                .as_u64()
                .is_some_and(|code| codes.contains(&code)),
            "{name}: code in {body}"
        );
        assert!(
            error["error_data"]["details"]
                .as_str()
                .is_some_and(|text| !text.is_empty()),
            "{name}: details in {body}"
        );
        assert_eq!(error["keyside"]["slug"], slug, "{name}: slug in {body}");
        if matches!(self.status, 429 | 503) {
            let seconds = self
                .header("retry-after")
                .and_then(|value| value.parse::<u64>().ok());
            assert!(
                seconds.is_some(),
                "{name}: Retry-After {:?}",
                self.header("retry-after")
            );
        }
        if self.status == 405 {
            assert!(self.header("allow").is_some(), "{name}: no Allow");
        }
        for (header, _) in &self.headers {
            assert!(
                !header.starts_with("access-control-"),
                "{name}: {header} lets a browser in"
            );
        }
    }
}

/// The reason for a missing answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// The connection ended before the first byte of an answer.
    Closed,
    /// The connection was reset before the first byte of an answer.
    Reset,
    /// The connection ended, or was reset, inside the answer; with the bytes so far.
    Cut(Vec<u8>),
    /// Time ran out; with the bytes so far.
    TimedOut(Vec<u8>),
    /// The bytes are not HTTP.
    Garbage(Vec<u8>),
}

trait Stream: Read + Write + Send {
    fn set_timeout(&self, timeout: Duration);
    fn end_of_writing(&self);
    fn another(&self) -> Box<dyn Stream>;
}

impl Stream for TcpStream {
    fn set_timeout(&self, timeout: Duration) {
        let _ = self.set_read_timeout(Some(timeout));
    }
    fn end_of_writing(&self) {
        let _ = self.shutdown(Shutdown::Write);
    }
    fn another(&self) -> Box<dyn Stream> {
        Box::new(self.try_clone().expect("a second handle"))
    }
}

impl Stream for UnixStream {
    fn set_timeout(&self, timeout: Duration) {
        let _ = self.set_read_timeout(Some(timeout));
    }
    fn end_of_writing(&self) {
        let _ = self.shutdown(Shutdown::Write);
    }
    fn another(&self) -> Box<dyn Stream> {
        Box::new(self.try_clone().expect("a second handle"))
    }
}

impl Stream for StreamOwned<ClientConnection, TcpStream> {
    fn set_timeout(&self, timeout: Duration) {
        let _ = self.sock.set_read_timeout(Some(timeout));
    }
    fn end_of_writing(&self) {
        let _ = self.sock.shutdown(Shutdown::Write);
    }
    fn another(&self) -> Box<dyn Stream> {
        panic!("there is one handle to a TLS connection")
    }
}

/// A connection to Keyside.
pub struct Client {
    stream: Box<dyn Stream>,
    unread: Vec<u8>,
    patience: Duration,
}

impl Client {
    /// Connects over TCP.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(3))?;
        let _ = stream.set_nodelay(true);
        let _ = stream.set_write_timeout(Some(Duration::from_secs(10)));
        Ok(Self {
            stream: Box::new(stream),
            unread: Vec::new(),
            patience: Duration::from_secs(8),
        })
    }

    /// Connects from an address of this machine.
    pub fn connect_from(from: IpAddr, to: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(from, 0).into())?;
        socket.connect(&to.into())?;
        Ok(Self {
            stream: Box::new(TcpStream::from(socket)),
            unread: Vec::new(),
            patience: Duration::from_secs(8),
        })
    }

    /// Connects over TLS; the handshake begins with the first bytes that are sent.
    pub fn connect_tls(address: SocketAddr, config: Arc<ClientConfig>) -> io::Result<Self> {
        Self::connect_tls_to("localhost", address, config)
    }

    /// Works as [`Self::connect_tls`], for a server of this name.
    pub fn connect_tls_to(
        name: &str,
        address: SocketAddr,
        config: Arc<ClientConfig>,
    ) -> io::Result<Self> {
        let tcp = TcpStream::connect_timeout(&address, Duration::from_secs(3))?;
        let _ = tcp.set_nodelay(true);
        let _ = tcp.set_write_timeout(Some(Duration::from_secs(10)));
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let tls = ClientConnection::new(config, name).map_err(io::Error::other)?;
        let stream = Box::new(StreamOwned::new(tls, tcp));
        Ok(Self {
            stream,
            unread: Vec::new(),
            patience: Duration::from_secs(8),
        })
    }

    /// Connects to a Unix socket.
    pub fn connect_unix(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        let _ = stream.set_write_timeout(Some(Duration::from_secs(10)));
        Ok(Self {
            stream: Box::new(stream),
            unread: Vec::new(),
            patience: Duration::from_secs(8),
        })
    }

    /// Sets the longest wait for an answer on an idle machine.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// A second handle on the connection, to write while the first reads.
    pub fn writer(&self) -> impl Write + Send + use<> {
        self.stream.another()
    }

    /// Sends bytes; true when the connection took all of them.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Sends FIN.
    pub fn half_close(&mut self) {
        self.stream.end_of_writing();
    }

    /// Sends a request and reads its answer.
    pub fn ask(&mut self, request: &[u8]) -> Result<Answer, NoAnswer> {
        self.send(request);
        if request.starts_with(b"HEAD ") {
            self.answer_without_body()
        } else {
            self.answer()
        }
    }

    /// Reads the next final answer.
    pub fn answer(&mut self) -> Result<Answer, NoAnswer> {
        self.read_answer(false)
    }

    /// Reads the answer to a HEAD.
    pub fn answer_without_body(&mut self) -> Result<Answer, NoAnswer> {
        self.read_answer(true)
    }

    /// Reads an interim answer such as 100.
    pub fn interim(&mut self) -> Result<u16, NoAnswer> {
        let end = Instant::now() + stretched(self.patience);
        let head = self.head(end)?;
        parse_head(&head)
            .map(|answer| answer.status)
            .ok_or(NoAnswer::Garbage(head))
    }

    /// Waits for the end of the connection; `None` when the connection is still open after
    /// `within`. Bytes that arrive are an error.
    pub fn end(&mut self, within: Duration) -> Option<NoAnswer> {
        let end = Instant::now() + within;
        match self.more(end) {
            Ok(()) => Some(NoAnswer::Garbage(self.unread.clone())),
            Err(NoAnswer::TimedOut(_)) => None,
            Err(other) => Some(other),
        }
    }

    fn read_answer(&mut self, no_body: bool) -> Result<Answer, NoAnswer> {
        let end = Instant::now() + stretched(self.patience);
        let mut interim = Vec::new();
        let mut answer = loop {
            let head = self.head(end)?;
            let Some(answer) = parse_head(&head) else {
                return Err(NoAnswer::Garbage(head));
            };
            if answer.status == 101 || answer.status >= 200 {
                break answer;
            }
            interim.push(answer.status);
        };
        answer.interim = interim;
        if no_body || matches!(answer.status, 101 | 204 | 304) {
            return Ok(answer);
        }
        let lengths: Vec<_> = answer
            .headers
            .iter()
            .filter(|(name, _)| name == "content-length")
            .collect();
        let codings: Vec<_> = answer
            .headers
            .iter()
            .filter(|(name, _)| name == "transfer-encoding")
            .collect();
        assert!(
            lengths.len() + codings.len() < 2,
            "an answer framed twice: {answer:?}"
        );
        if let Some((_, coding)) = codings.first() {
            assert_eq!(coding, "chunked", "a transfer coding that no client knows");
            answer.body = self.chunks(end)?;
        } else if let Some((_, length)) = lengths.first() {
            let length: usize = length
                .parse()
                .unwrap_or_else(|_| panic!("content-length {length:?}"));
            while self.unread.len() < length {
                self.more_inside(end)?;
            }
            answer.body = self.unread.drain(..length).collect();
        } else {
            answer.until_close = true;
            loop {
                match self.more(end) {
                    Ok(()) => {}
                    // A FIN is the end of an answer without a length; a reset is not.
                    Err(NoAnswer::Closed) => break,
                    Err(NoAnswer::Reset) => return Err(NoAnswer::Cut(self.unread.clone())),
                    Err(other) => return Err(other),
                }
            }
            answer.body = std::mem::take(&mut self.unread);
        }
        Ok(answer)
    }

    fn chunks(&mut self, end: Instant) -> Result<Vec<u8>, NoAnswer> {
        let mut body = Vec::new();
        loop {
            let line = self.line(end)?;
            let text = String::from_utf8_lossy(&line);
            let digits = text.trim_end().split(';').next().unwrap_or_default().trim();
            let Ok(length) = usize::from_str_radix(digits, 16) else {
                return Err(NoAnswer::Garbage(line));
            };
            if length == 0 {
                while self.line(end)? != b"\r\n" {}
                return Ok(body);
            }
            while self.unread.len() < length + 2 {
                self.more_inside(end)?;
            }
            body.extend(self.unread.drain(..length));
            self.unread.drain(..2);
        }
    }

    fn line(&mut self, end: Instant) -> Result<Vec<u8>, NoAnswer> {
        loop {
            if let Some(at) = self.unread.windows(2).position(|two| two == b"\r\n") {
                return Ok(self.unread.drain(..at + 2).collect());
            }
            self.more_inside(end)?;
        }
    }

    fn head(&mut self, end: Instant) -> Result<Vec<u8>, NoAnswer> {
        loop {
            if let Some(at) = self.unread.windows(4).position(|four| four == b"\r\n\r\n") {
                return Ok(self.unread.drain(..at + 4).collect());
            }
            if self.unread.is_empty() {
                self.more(end)?
            } else {
                self.more_inside(end)?
            }
        }
    }

    fn more_inside(&mut self, end: Instant) -> Result<(), NoAnswer> {
        self.more(end).map_err(|why| match why {
            NoAnswer::Closed | NoAnswer::Reset => NoAnswer::Cut(self.unread.clone()),
            other => other,
        })
    }

    fn more(&mut self, end: Instant) -> Result<(), NoAnswer> {
        let mut buffer = vec![0_u8; 64 * 1024];
        loop {
            let Some(left) = end
                .checked_duration_since(Instant::now())
                .filter(|left| !left.is_zero())
            else {
                return Err(NoAnswer::TimedOut(self.unread.clone()));
            };
            self.stream.set_timeout(left);
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(NoAnswer::Closed),
                Ok(count) => {
                    self.unread.extend_from_slice(&buffer[..count]);
                    return Ok(());
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock
                    | io::ErrorKind::TimedOut
                    | io::ErrorKind::Interrupted => {}
                    _ => return Err(NoAnswer::Reset),
                },
            }
        }
    }
}

fn parse_head(head: &[u8]) -> Option<Answer> {
    let text = String::from_utf8_lossy(head).into_owned();
    let mut lines = text.trim_end_matches("\r\n").split("\r\n");
    let mut first = lines.next()?.splitn(3, ' ');
    let version = first.next()?.to_owned();
    let status = first.next()?.parse().ok()?;
    if !version.starts_with("HTTP/1.") {
        return None;
    }
    let headers = lines
        .map(|line| {
            line.split_once(':')
                .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        })
        .collect::<Option<Vec<_>>>()?;
    Some(Answer {
        version,
        status,
        headers,
        ..Answer::default()
    })
}

/// A GET with `Host: localhost`.
pub fn get(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes()
}

/// A POST of JSON with `Host: localhost`.
pub fn post(target: &str, body: &str) -> Vec<u8> {
    with_body("POST", target, "application/json", body.as_bytes())
}

/// A POST of a multipart form with one file, at [`UPLOADS`](super::UPLOADS).
pub fn upload(content: &[u8]) -> Vec<u8> {
    with_body("POST", super::UPLOADS, MULTIPART, &file_form(content))
}

/// A multipart form with one file, for [`MULTIPART`].
pub fn file_form(content: &[u8]) -> Vec<u8> {
    [FORM_BEGINS, content, FORM_ENDS].concat()
}

/// The type of [`file_form`].
pub const MULTIPART: &str = "multipart/form-data; boundary=b";
/// The bytes of [`file_form`] before the content.
pub const FORM_BEGINS: &[u8] =
    b"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\nContent-Type: video/mp4\r\n\r\n";
/// The bytes of [`file_form`] behind the content.
pub const FORM_ENDS: &[u8] = b"\r\n--b--\r\n";

/// A request with a body of any type and `Host: localhost`.
pub fn with_body(method: &str, target: &str, kind: &str, body: &[u8]) -> Vec<u8> {
    let mut out = format!(
        "{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    out.extend_from_slice(body);
    out
}
