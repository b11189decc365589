//! What stands for an application that sends.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use tokio::time::Instant;

use super::{Outcome, SENDER};
use crate::config::ListenAddress;
use crate::provider::{Ca, Origin};
use crate::tls;
use crate::upstream::{Head, Limits, Outgoing, OutgoingBody, Upstream};

/// It knows an address on localhost and nothing else.
#[derive(Clone)]
pub(super) struct Application {
    pub(super) url: String,
    host: String,
    keyside: Arc<Upstream>,
}

impl Application {
    pub(super) fn calling(addresses: &[ListenAddress]) -> Outcome<Self> {
        let Some(ListenAddress::Tcp(address)) = addresses.first() else {
            return Err("the sidecar has no address".into());
        };
        let origin = Origin { tls: false, host: address.ip().to_string(), port: address.port() };
        let keyside = Arc::new(Upstream::new(origin, tls::client_config(&Ca::Bundled, None)?)?);
        Ok(Self { url: format!("http://{address}"), host: address.to_string(), keyside })
    }

    pub(super) async fn send(&self, prefix: &str, recipient: &str) -> Outcome<(u16, String)> {
        self.call(Method::POST, &format!("{prefix}/v23.0/{SENDER}/messages"), &message(recipient)).await
    }

    pub(super) async fn call(&self, method: Method, path: &str, body: &str) -> Outcome<(u16, String)> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        );
        let seconds = Duration::from_secs;
        let limits = Limits {
            start: Instant::now(),
            deadline: Instant::now() + seconds(20),
            head: seconds(20),
            progress: seconds(20),
        };
        let mut bytes = Head::default();
        bytes.push(head.as_bytes());
        let request = Outgoing::new(method, bytes, OutgoingBody::Whole(Bytes::new()));
        let answer = self.keyside.send(request, limits, &AtomicBool::new(false)).await?;
        let status = answer.status.as_u16();
        let text = answer.body.whole(1 << 20).await?;
        Ok((status, String::from_utf8_lossy(&text).into_owned()))
    }
}

pub(super) fn message(recipient: &str) -> String {
    format!(r#"{{"messaging_product":"whatsapp","to":"{recipient}","type":"text","text":{{"body":"Hello"}}}}"#)
}
