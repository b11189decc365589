//! The time for which an idle connection is kept.

use std::time::Duration;

use http::HeaderMap;

/// Returns the time for which a server keeps an idle connection by `Keep-Alive: timeout=SECONDS`,
/// less a second for the way. Node and Apache close after 5 s, and say so.
pub(super) fn server_idle_time(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get("keep-alive")?.to_str().ok()?;
    let seconds = value.split(',').find_map(|part| {
        let (name, seconds) = part.split_once('=')?;
        let is_timeout = name.trim().eq_ignore_ascii_case("timeout");
        is_timeout.then(|| seconds.trim().parse().ok()).flatten()
    })?;
    let timeout = Duration::from_secs(seconds);
    Some(
        timeout
            .saturating_sub(Duration::from_secs(1))
            .max(MIN_IDLE_AGE),
    )
}

/// Longest time that a connection stays idle: shorter than the idle timeouts of servers, so that a
/// request seldom meets a closing connection.
pub(super) const MAX_IDLE_AGE: Duration = Duration::from_secs(20);
/// Least time that an idle connection is kept. A server that closes after a second, or says 0,
/// leaves nothing after the second for the way; half a second lets the messages of a burst share a
/// connection.
const MIN_IDLE_AGE: Duration = Duration::from_millis(500);
/// Longest time before the end of an idle connection at which its successor is opened: time for
/// look-up, TCP and TLS over a slow line, and a tenth of [`MAX_IDLE_AGE`], so that few connections
/// are opened for it.
pub(super) const MAX_LEAD: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_idle_time_of_the_server_is_read_from_keep_alive() {
        let millis = Duration::from_millis;
        for (value, expected) in [
            (None, None),
            (Some("timeout=5"), Some(millis(4000))),
            (Some("timeout=5, max=100"), Some(millis(4000))),
            (Some("max=100,Timeout = 72"), Some(millis(71_000))),
            (Some("timeout=1"), Some(millis(500))),
            (Some("timeout=0"), Some(millis(500))),
            (Some("timeout=soon"), None),
            (Some("max=5"), None),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(value) = value {
                headers.insert("keep-alive", value.parse().unwrap());
            }
            assert_eq!(server_idle_time(&headers), expected, "{value:?}");
        }
    }
}
