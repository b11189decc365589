//! Questions to a running sidecar.

use std::time::Duration;

use http::StatusCode;
use serde_json::Value;
use tokio::time::timeout;

use super::upstream::plain_get;
use crate::config::ListenAddress;
use crate::provider::{Ca, Origin};
use crate::tls::client_config;
use crate::upstream::{ExchangeTimes, Upstream, UpstreamKind};

/// Asks the admin listener of a sidecar for `/status`.
///
/// # Errors
/// The reason for which there is no status.
pub async fn ask_status(address: &ListenAddress) -> Result<Value, String> {
    let upstream = upstream_of(address)?;
    let start = tokio::time::Instant::now();
    let limits = ExchangeTimes {
        start,
        deadline: start + STATUS_TIMEOUT,
        head: STATUS_TIMEOUT,
        progress: STATUS_TIMEOUT,
    };
    let written = std::sync::atomic::AtomicBool::new(false);
    let exchange = async {
        let request = plain_get("localhost", "/status");
        let answer = upstream.send(request, limits, &written).await?;
        Ok((answer.status, answer.body.whole(MAX_STATUS).await?))
    };
    let (status, body) = timeout(STATUS_TIMEOUT, exchange)
        .await
        .map_err(|_| "no answer in time".to_owned())?
        .map_err(|error: crate::upstream::UpstreamError| error.to_string())?;
    let json = serde_json::from_slice(&body);
    match json {
        Ok(json) if status == StatusCode::OK => Ok(json),
        _ => Err(format!("{status}, and no status of a sidecar")),
    }
}

fn upstream_of(address: &ListenAddress) -> Result<Upstream, String> {
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
    let tls = client_config(&Ca::Bundled, None).map_err(|error| error.to_string())?;
    Upstream::new(UpstreamKind::Application, origin, tls).map_err(|error| error.to_string())
}

/// The longest wait for a status, which goes through all tenants.
const STATUS_TIMEOUT: Duration = Duration::from_secs(6);
/// The largest status, in bytes: that of ten thousand routes is smaller.
const MAX_STATUS: usize = 16 << 20;
