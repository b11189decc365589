//! The headers of an answer that tell of a limit, and of the time that a request took.

use std::time::Duration;

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::limit::Limited;
use crate::response::whole_seconds;

/// Adds to a refusal the limit that refused.
pub(super) fn describe_refusal(limited: &Limited, headers: &mut HeaderMap) {
    let mut text = Terse::default();
    let scope = limited.scope.as_str();
    text.limit(scope, 0, limited.retry_after);
    headers.extend(text.take().map(|value| (RATE_LIMIT, value)));
    if let Some(quota) = limited.quota {
        text.policy(scope, quota.burst.get(), quota.window());
        headers.extend(text.take().map(|value| (RATE_LIMIT_POLICY, value)));
    }
}

/// The texts of the headers that every answer has, in one buffer. Formatting by [`std::fmt`] would
/// cost several times as much, and a buffer for each text as well.
pub(super) struct Terse(BytesMut);

impl Default for Terse {
    fn default() -> Self {
        // Room for the three headers together.
        Self(BytesMut::with_capacity(160))
    }
}

impl Terse {
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    fn quoted(&mut self, text: &str) -> &mut Self {
        self.text("\"").text(text).text("\"")
    }

    fn number(&mut self, number: impl itoa::Integer) -> &mut Self {
        self.text(itoa::Buffer::new().format(number))
    }

    /// Adds what is left of a limit, and the time up to the reset.
    pub(super) fn limit(&mut self, scope: &str, remaining: u32, reset: Duration) {
        self.quoted(scope).text(";r=").number(remaining);
        self.text(";t=").number(whole_seconds(reset));
    }

    /// Adds what a limit allows in a window of time.
    pub(super) fn policy(&mut self, scope: &str, burst: u32, window: Duration) {
        self.quoted(scope).text(";q=").number(burst);
        self.text(";w=").number(whole_seconds(window));
    }

    /// Adds a duration in milliseconds with two decimals, as `Server-Timing` has them.
    pub(super) fn milliseconds(&mut self, duration: Duration) -> &mut Self {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let hundredths = micros % 1000 / 10;
        let point = if hundredths < 10 { ".0" } else { "." };
        self.number(micros / 1000).text(point).number(hundredths)
    }

    /// Takes the text so far as the value of a header.
    pub(super) fn take(&mut self) -> Option<HeaderValue> {
        HeaderValue::from_maybe_shared(self.0.split().freeze()).ok()
    }
}

/// <https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/>
pub(super) const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// The second header of the same draft: quota and window.
pub(super) const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::provider::Scope;
    use crate::units::{Quota, Rate};

    #[test]
    fn a_refusal_names_the_limit_without_a_request_left() {
        let count = NonZeroU32::new(80).unwrap();
        let per = Duration::from_secs(1);
        let quota = Quota {
            rate: Rate { count, per },
            burst: count,
        };
        for (quota, policy) in [(Some(quota), Some("\"sender\";q=80;w=1")), (None, None)] {
            let limited = Limited {
                scope: Scope::Sender,
                retry_after: Duration::from_millis(1200),
                quota,
                waiting: 3,
                is_closed: false,
                pause: None,
            };
            let mut headers = HeaderMap::new();
            describe_refusal(&limited, &mut headers);
            assert_eq!(headers.get(RATE_LIMIT).unwrap(), "\"sender\";r=0;t=2");
            let written = headers.get(RATE_LIMIT_POLICY);
            assert_eq!(written.map(|value| value.to_str().unwrap()), policy);
        }
    }

    #[test]
    fn a_duration_has_milliseconds_with_two_decimals() {
        for (micros, expected) in [
            (0, "0.00"),
            (1, "0.00"),
            (90, "0.09"),
            (12_345, "12.34"),
            (999, "0.99"),
        ] {
            let mut shown = Terse::default();
            shown.milliseconds(Duration::from_micros(micros));
            assert_eq!(shown.take().unwrap(), expected);
        }
    }
}
