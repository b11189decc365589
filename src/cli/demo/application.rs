//! An application that sends messages through Keyside.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, header};
use tokio::time::Instant;

use super::{DemoResult, SENDER};
use crate::config::ListenAddress;
use crate::provider::{Ca, Origin};
use crate::tls;
use crate::upstream::{ExchangeTimes, OutgoingBody, RequestLine, Upstream, UpstreamKind};

/// An application that knows an address on localhost, and no credential.
#[derive(Clone)]
pub(super) struct DemoApplication {
    pub(super) url: String,
    host: String,
    keyside: Arc<Upstream>,
}

impl DemoApplication {
    /// An application in front of a sidecar with these addresses.
    pub(super) fn new(addresses: &[ListenAddress]) -> DemoResult<Self> {
        let Some(ListenAddress::Tcp(address)) = addresses.first() else {
            return Err("the sidecar listens on no TCP address for applications".into());
        };
        let origin = Origin {
            tls: false,
            host: address.ip().to_string(),
            port: address.port(),
        };
        let keyside = Upstream::new(
            UpstreamKind::Provider,
            origin,
            tls::client_config(&Ca::Bundled, None)?,
        )?;
        Ok(Self {
            url: format!("http://{address}"),
            host: address.to_string(),
            keyside: Arc::new(keyside),
        })
    }

    /// Sends a message through the route with this path prefix. Returns the status and the body of
    /// the answer.
    pub(super) async fn send(&self, prefix: &str, recipient: &str) -> DemoResult<(u16, String)> {
        let path = format!("{prefix}/v23.0/{SENDER}/messages");
        self.call(Method::POST, &path, &message(recipient)).await
    }

    /// Makes a request. Returns the status and the body of the answer.
    pub(super) async fn call(
        &self,
        method: Method,
        path: &str,
        body: &str,
    ) -> DemoResult<(u16, String)> {
        let body = OutgoingBody::Whole(Bytes::copy_from_slice(body.as_bytes()));
        let mut line = RequestLine::new(method, body);
        line.target(path);
        let mut head = line.headers(&self.host);
        head.header(&header::CONTENT_TYPE, "application/json");
        let request = head.finish();
        let start = Instant::now();
        let times = ExchangeTimes {
            start,
            deadline: start + CALL_TIMEOUT,
            head: CALL_TIMEOUT,
            progress: CALL_TIMEOUT,
        };
        let answer = self
            .keyside
            .send(request, times, &AtomicBool::new(false))
            .await?;
        let status = answer.status.as_u16();
        let text = answer.body.whole(MAX_ANSWER).await?;
        Ok((status, String::from_utf8_lossy(&text).into_owned()))
    }
}

/// Makes the body of a text message.
pub(super) fn message(recipient: &str) -> String {
    format!(
        r#"{{"messaging_product":"whatsapp","to":"{recipient}","type":"text","text":{{"body":"Hello"}}}}"#
    )
}

/// The time for one call. The sandbox answers within milliseconds, even on a busy machine.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);

/// The largest answer that is read, in bytes: far more than any answer in the demo.
const MAX_ANSWER: usize = 1 << 20;
