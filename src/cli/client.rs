//! How the commands reach the admin listener of a running sidecar.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::Value;

/// Asks the admin listener at `address` (`HOST:PORT`, or `unix:/path`) and returns the status and the
/// JSON of its answer.
///
/// # Errors
/// Where nobody answers there, or somebody else than Keyside.
pub(super) fn ask(address: &str, method: &str, path: &str) -> Result<(u16, Value), ClientError> {
    let failed = |source| ClientError::Connection { address: address.to_owned(), source };
    let request =
        format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    let answer = match address.strip_prefix("unix:") {
        Some(path) => UnixStream::connect(path).and_then(|stream| {
            stream.set_read_timeout(Some(TIME))?;
            exchange(stream, &request)
        }),
        None => TcpStream::connect(address).and_then(|stream| {
            stream.set_read_timeout(Some(TIME))?;
            exchange(stream, &request)
        }),
    };
    parse(&answer.map_err(failed)?).ok_or_else(|| ClientError::NotKeyside(address.to_owned()))
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
    let httparse::Status::Complete(length) = response.parse(answer).ok()? else { return None };
    Some((response.code?, serde_json::from_slice(answer.get(length..)?).ok()?))
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum ClientError {
    Connection { address: String, source: io::Error },
    NotKeyside(String),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection { address, source } => {
                write!(f, "no sidecar answers at {address}: {source}; name its [admin] address with --admin")
            }
            Self::NotKeyside(address) => write!(f, "what answers at {address} is not the admin listener of a sidecar"),
        }
    }
}

/// Longer than the programs of `exec:` references may take.
const TIME: Duration = Duration::from_secs(30);
const MAX_ANSWER: u64 = 16 * 1024 * 1024;
