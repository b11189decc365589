//! The client with which commands ask the admin listener of a running sidecar.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::Value;

use super::argument::ArgumentError;
use crate::document::shown_place;

/// Asks the admin listener at `address` (`HOST:PORT`, a pasted URL such as
/// `http://HOST:PORT/status`, or `unix:/path`), and returns the status and the JSON of the answer.
///
/// # Errors
/// No answer at the address, or the answer of anything but the admin listener of a sidecar.
pub(super) fn ask(address: &str, method: &str, path: &str) -> Result<(u16, Value), ClientError> {
    let answer = exchange_with(address, method, path)?;
    // The other listeners of a sidecar refuse what they do not know in words of their own.
    if answer.0 != 200 && !is_admin(address) {
        return Err(ClientError::NotKeyside(shown_place(address).to_owned()));
    }
    Ok(answer)
}

/// Asks the admin listener at `address` for the status; `query` is empty or begins with `?`.
///
/// # Errors
/// No answer of a sidecar, or an answer without a status.
pub(super) fn ask_status(address: &str, query: &str) -> Result<Value, NoStatus> {
    match ask(address, "GET", &format!("/status{query}"))? {
        (200, status) => Ok(status),
        (code, _) => Err(NoStatus::Code {
            address: shown_place(address).to_owned(),
            code,
        }),
    }
}

/// True if the listener at `address` tells the status of a sidecar, or is too busy to tell.
fn is_admin(address: &str) -> bool {
    match exchange_with(address, "GET", SHORT_STATUS) {
        Ok((200, status)) => status.get("generation").is_some_and(Value::is_u64),
        Ok((code, _)) => code == 503,
        Err(_) => false,
    }
}

fn exchange_with(address: &str, method: &str, path: &str) -> Result<(u16, Value), ClientError> {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    );
    let exchanged = match address.strip_prefix("unix:") {
        Some(path) => UnixStream::connect(path).and_then(|stream| {
            stream.set_read_timeout(Some(READ_TIMEOUT))?;
            exchange(stream, &request)
        }),
        None => TcpStream::connect(host_of(address)).and_then(|stream| {
            stream.set_read_timeout(Some(READ_TIMEOUT))?;
            exchange(stream, &request)
        }),
    };
    let answer = exchanged
        .and_then(whole)
        .map_err(|source| ClientError::Connection {
            address: shown_place(address).to_owned(),
            source,
        })?;
    parse(&answer).ok_or_else(|| ClientError::NotKeyside(shown_place(address).to_owned()))
}

/// Reads the argument of `--admin`.
///
/// # Errors
/// If nothing could listen at the address.
pub(super) fn admin_address(text: &str) -> Result<String, ArgumentError> {
    let is_address = match text.strip_prefix("unix:") {
        Some(path) => !path.is_empty(),
        None => host_of(text)
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok()),
    };
    is_address
        .then(|| text.to_owned())
        .ok_or(ArgumentError::AdminAddress)
}

/// Returns host and port of an address that may be a URL.
fn host_of(address: &str) -> &str {
    let rest = address.strip_prefix("http://").unwrap_or(address);
    rest.split_once('/').map_or(rest, |(host, _)| host)
}

/// Refuses an empty answer: a sidecar that ends cuts an answer short, and so does a listener with
/// another protocol.
fn whole(answer: Vec<u8>) -> io::Result<Vec<u8>> {
    if answer.is_empty() {
        Err(io::Error::new(io::ErrorKind::UnexpectedEof, CUT))
    } else {
        Ok(answer)
    }
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
                "the program at {address} is not the admin listener of a sidecar; name the address of its \
                 [admin] with --admin"
            ),
        }
    }
}

impl std::error::Error for ClientError {}

/// The reason why a sidecar has no status to show.
#[derive(Debug)]
pub(super) enum NoStatus {
    /// The admin listener cannot be asked.
    NoAnswer(ClientError),
    /// The admin listener answers with another status code than 200.
    Code { address: String, code: u16 },
}

impl fmt::Display for NoStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer(error) => fmt::Display::fmt(error, f),
            Self::Code { address, code } => write!(
                f,
                "the sidecar at {address} answered {code} instead of its status; ask again, and look into its log if \
                 it answers the same"
            ),
        }
    }
}

impl std::error::Error for NoStatus {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NoAnswer(error) => Some(error),
            Self::Code { .. } => None,
        }
    }
}

impl From<ClientError> for NoStatus {
    fn from(error: ClientError) -> Self {
        Self::NoAnswer(error)
    }
}

/// The reason for which a connection without an answer tells nothing.
const CUT: &str = "the connection ended before the answer";
/// The question for a status without credentials, routes and webhooks: no route has an empty name.
const SHORT_STATUS: &str = "/status?route=";
/// The time for an answer. A reload may run programs of `exec:` references, which have 10 s, and
/// ask a provider.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// The bound of an answer in bytes: `/status` of ten thousand routes is smaller.
const MAX_ANSWER: u64 = 16 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::net::{Shutdown, TcpListener};

    use super::*;

    #[test]
    fn a_sidecar_that_ends_before_its_answer_is_no_other_program() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let ending = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            assert!(stream.read(&mut request).unwrap() > 0);
            stream.shutdown(Shutdown::Both).unwrap();
        });
        let error = ask(&address, "POST", "/events/replay").unwrap_err();
        ending.join().unwrap();
        assert!(error.to_string().contains(CUT), "{error}");
    }

    #[test]
    fn an_address_has_a_host_and_a_port_or_is_a_socket() {
        for (text, expected) in [
            ("127.0.0.1:9900", true),
            ("[::1]:9900", true),
            ("localhost:9900/status", true),
            ("http://localhost:9900/", true),
            ("unix:/run/keyside/admin.sock", true),
            ("garbage", false),
            (":9900", false),
            ("localhost:", false),
            ("localhost:99999", false),
            ("unix:", false),
        ] {
            assert_eq!(admin_address(text).is_ok(), expected, "{text}");
        }
    }
}
