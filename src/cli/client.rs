//! The client with which commands ask the admin listener of a running sidecar.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::Value;

use crate::document::shown_place;

/// Asks the admin listener at `address` (`HOST:PORT`, a pasted URL such as `http://HOST:PORT/status`, or `unix:/path`), and
/// returns the status and the JSON of the answer.
///
/// # Errors
/// Where no program answers at the address, or a program other than Keyside.
pub(super) fn ask(address: &str, method: &str, path: &str) -> Result<(u16, Value), ClientError> {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    );
    let answer = match address.strip_prefix("unix:") {
        Some(path) => UnixStream::connect(path).and_then(|stream| {
            stream.set_read_timeout(Some(READ_TIMEOUT))?;
            exchange(stream, &request)
        }),
        None => TcpStream::connect(host_of(address)).and_then(|stream| {
            stream.set_read_timeout(Some(READ_TIMEOUT))?;
            exchange(stream, &request)
        }),
    };
    let answer = answer.map_err(|source| ClientError::Connection {
        address: shown_place(address).to_owned(),
        source,
    })?;
    parse(&answer).ok_or_else(|| ClientError::NotKeyside(shown_place(address).to_owned()))
}

/// Returns host and port of an address that may be a URL.
fn host_of(address: &str) -> &str {
    let rest = address.strip_prefix("http://").unwrap_or(address);
    rest.split_once('/').map_or(rest, |(host, _)| host)
}

fn exchange(mut stream: impl Read + Write, request: &str) -> io::Result<Vec<u8>> {
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
    Ok(answer)
}

fn parse(answer: &[u8]) -> Option<(u16, Value)> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = response.parse(answer).ok()? else {
        return None;
    };
    Some((
        response.code?,
        serde_json::from_slice(answer.get(length..)?).ok()?,
    ))
}

/// The reasons for which a command has no answer.
#[derive(Debug)]
pub(super) enum ClientError {
    /// No connection, or a connection that broke.
    Connection { address: String, source: io::Error },
    /// An answer unlike any of a sidecar.
    NotKeyside(String),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection { address, source } => write!(
                f,
                "no sidecar answers at {address}: {source}; name its [admin] address with --admin"
            ),
            Self::NotKeyside(address) => write!(
                f,
                "the program at {address} is not the admin listener of a sidecar; name its [admin] \
                 address with --admin"
            ),
        }
    }
}

impl std::error::Error for ClientError {}

/// The time for an answer. A reload may run programs of `exec:` references, which have 10 s, and ask
/// a provider.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// The bound of an answer in bytes: `/status` of ten thousand routes is smaller.
const MAX_ANSWER: u64 = 16 * 1024 * 1024;
