//! A request of the examination and its answer.

use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header;
use tokio::time::timeout_at;

use crate::inbound::stray::shown_path;
use crate::response::KEYSIDE_ERROR;
use crate::upstream::{ExchangeTimes, Outgoing, Upstream, UpstreamError};

/// The parts of an answer that verdicts look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answered {
    /// The status.
    pub(super) status: u16,
    /// The slug of an answer of a Keyside's own.
    pub(super) slug: Option<String>,
    /// The address of a redirect, without its query.
    pub(super) location: Option<String>,
    /// The time by the other side's clock.
    pub(super) date: Option<SystemTime>,
    /// The body; empty for a body over [`MAX_BODY`].
    pub(super) body: Bytes,
}

/// Sends a request, and reads the answer.
///
/// # Errors
/// No answer within `time`.
pub(super) async fn ask(
    upstream: &Upstream,
    request: Outgoing,
    time: Duration,
) -> Result<Answered, UpstreamError> {
    let times = ExchangeTimes::within(time);
    let written = AtomicBool::new(false);
    let exchange = async {
        let answer = upstream.send(request, times, &written).await?;
        let date = upstream.learn_time(&answer.headers);
        let text = |name: &header::HeaderName| {
            let value = answer.headers.get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        Ok(Answered {
            status: answer.status.as_u16(),
            slug: text(&KEYSIDE_ERROR),
            location: text(&header::LOCATION).map(|url| shown_url(&url, &[])),
            date,
            body: answer.body.whole(MAX_BODY).await.unwrap_or_default(),
        })
    };
    let late = |_| UpstreamError::TimedOut {
        what: "to answer",
        written: true,
    };
    timeout_at(times.deadline, exchange).await.map_err(late)?
}

/// Returns a URL as it may be shown: without a user, a query and a fragment, each of which may hold
/// a secret, and with what looks like a secret in the path masked. `known` are segments of
/// configured paths.
pub(super) fn shown_url(url: &str, known: &[&str]) -> String {
    let plain = url.split(['?', '#']).next().unwrap_or_default();
    let Some((scheme, rest)) = plain.split_once("://") else {
        return shown_path(plain, known);
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{}", shown_path(path, known))
}

/// The largest body that is read, in bytes. The answers of probes are far smaller.
const MAX_BODY: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_url_has_no_user_no_query_and_no_secret_in_its_path() {
        for (url, shown) in [
            ("https://h.test/a?token=x#y", "https://h.test/a"),
            ("https://user:pass@h.test:8443/a", "https://h.test:8443/a"),
            ("https://user:pass@h.test", "https://h.test"),
            ("/login?next=x", "/login"),
            ("https://h.test/hook/k3J9x0Pq7", "https://h.test/hook/***"),
            (
                "https://h.test/known-1234567890abcdefghijklmnop",
                "https://h.test/known-1234567890abcdefghijklmnop",
            ),
            ("", ""),
        ] {
            assert_eq!(shown_url(url, &["known-1234567890abcdefghijklmnop"]), shown);
        }
    }
}
