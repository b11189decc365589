//! Questions to a running sidecar.

use std::fmt;
use std::time::Duration;

use http::StatusCode;
use serde_json::Value;
use tokio::time::timeout;

use super::upstream::plain_get;
use crate::config::ListenAddress;
use crate::provider::{Ca, Origin};
use crate::tls::{TlsError, client_config};
use crate::upstream::{ExchangeTimes, Upstream, UpstreamError, UpstreamKind};

/// Asks the admin listener of a sidecar for `/status`.
///
/// # Errors
/// If no sidecar answers with a status in time.
pub async fn ask_status(address: &ListenAddress) -> Result<Value, StatusError> {
    let upstream = upstream_of(address)?;
    let start = tokio::time::Instant::now();
    let times = ExchangeTimes {
        start,
        deadline: start + STATUS_TIMEOUT,
        head: STATUS_TIMEOUT,
        progress: STATUS_TIMEOUT,
    };
    let written = std::sync::atomic::AtomicBool::new(false);
    let exchange = async {
        let request = plain_get("localhost", "/status");
        let answer = upstream.send(request, times, &written).await?;
        Ok((answer.status, answer.body.whole(MAX_STATUS).await?))
    };
    let (status, body) = timeout(STATUS_TIMEOUT, exchange)
        .await
        .map_err(|_| StatusError::TimedOut)?
        .map_err(StatusError::Upstream)?;
    let json = serde_json::from_slice(&body);
    match json {
        Ok(json) if status == StatusCode::OK => Ok(json),
        _ => Err(StatusError::NoStatus(status)),
    }
}

fn upstream_of(address: &ListenAddress) -> Result<Upstream, StatusError> {
    let socket = match address {
        ListenAddress::Unix(path) => return Ok(Upstream::at_socket(path.clone())),
        ListenAddress::Tcp(socket) => *socket,
    };
    let host = match (socket.ip().is_unspecified(), socket.is_ipv4()) {
        (true, true) => "127.0.0.1".to_owned(),
        (true, false) => "[::1]".to_owned(),
        (false, true) => socket.ip().to_string(),
        (false, false) => format!("[{}]", socket.ip()),
    };
    let origin = Origin {
        tls: false,
        host,
        port: socket.port(),
    };
    let tls = client_config(&Ca::Bundled, None).map_err(StatusError::Tls)?;
    Upstream::new(UpstreamKind::Application, origin, tls).map_err(StatusError::Upstream)
}

/// The reason why a sidecar has no status to look at.
#[derive(Debug)]
pub enum StatusError {
    /// The certificates of this machine cannot be used.
    Tls(TlsError),
    /// The admin listener cannot be asked.
    Upstream(UpstreamError),
    /// The answer is not there in time.
    TimedOut,
    /// The answer, with this status code, is none of a sidecar.
    NoStatus(StatusCode),
}

impl fmt::Display for StatusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tls(error) => fmt::Display::fmt(error, f),
            Self::Upstream(error) => f.write_str(&error.of("the sidecar")),
            Self::TimedOut => f.write_str("no answer in time"),
            Self::NoStatus(code) => write!(f, "{code}, and no status of a sidecar"),
        }
    }
}

impl std::error::Error for StatusError {}

/// The longest wait for a status: a second more than the 5 s for which a large answer may wait for
/// others to be read.
const STATUS_TIMEOUT: Duration = Duration::from_secs(6);
/// The largest status, in bytes: that of ten thousand routes is smaller.
const MAX_STATUS: usize = 16 << 20;
