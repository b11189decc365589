//! What an answer says of how fast the provider may be asked.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, header};
use serde_json::Value;

use super::policy::Permit;
use crate::provider::{Meaning, Scope};

/// Takes note of it, before the answer goes on to the caller as it is.
pub(super) fn learn(headers: &HeaderMap, meaning: &Meaning<'_>, permit: &Permit<'_>, recipient: Option<&str>) {
    let (limiter, sender) = (&permit.route.limiter, permit.sender.unwrap_or_default());
    let usage = usage(headers);
    if let Meaning::Throttled(throttle) = meaning {
        let regained_in = usage.and_then(|usage| usage.regained_in).filter(|_| throttle.scope == Scope::Account);
        let named = retry_after(headers).or(regained_in).filter(|time| !time.is_zero());
        limiter.throttled(throttle, sender, recipient, named);
        permit.route.metrics.throttled(throttle.scope.as_str());
        tracing::warn!(
            route = &*permit.route.name,
            limit = throttle.scope.as_str(),
            named_s = named.map(|time| time.as_secs()),
            "the provider says that this was too fast: sending pauses"
        );
        return;
    }
    if let Some(usage) = usage.filter(|usage| usage.percent >= NEAR) {
        limiter.spare_account(Duration::from_secs(usage.percent.saturating_sub(NEAR - 1).min(MOST_SPARED)));
    }
    if let Some(time) = nothing_left(headers) {
        limiter.rest_sender(sender, time);
    }
}

/// How much of its limit an account has used.
#[derive(Clone, Copy)]
struct Usage {
    /// Of the call count and the times, the one nearest to its limit.
    percent: u64,
    /// When it has access again, where it has none.
    regained_in: Option<Duration>,
}

/// Meta's usage headers: <https://developers.facebook.com/docs/graph-api/overview/rate-limiting>. The account's names the
/// time in minutes; that of the app names none.
fn usage(headers: &HeaderMap) -> Option<Usage> {
    let parsed = |name| serde_json::from_slice::<Value>(headers.get(name)?.as_bytes()).ok();
    let of_app = parsed(APP_USAGE);
    let of_accounts = parsed(ACCOUNT_USAGE);
    let accounts = of_accounts.iter().filter_map(Value::as_object).flat_map(|accounts| accounts.values());
    let all = accounts.filter_map(Value::as_array).flatten().chain(&of_app);
    let number = |usage: &Value, key: &str| usage.get(key).and_then(Value::as_f64).unwrap_or_default();
    let one = |usage: &Value| {
        let shares = ["call_count", "total_cputime", "total_time"].map(|key| number(usage, key));
        let percent = shares.into_iter().fold(0.0, f64::max).clamp(0.0, 1000.0);
        let minutes = number(usage, "estimated_time_to_regain_access").clamp(0.0, 24.0 * 60.0);
        (percent, minutes)
    };
    let (percent, minutes) = all.map(one).reduce(|a, b| (a.0.max(b.0), a.1.max(b.1)))?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 1000")]
    let percent = percent as u64;
    let regained_in = (minutes > 0.0).then(|| Duration::from_secs_f64(minutes * 60.0));
    Some(Usage { percent, regained_in })
}

/// `Retry-After` in seconds or as a date: RFC 9110, section 10.2.3.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let seconds = text.parse().ok().map(Duration::from_secs);
    let until = || httpdate::parse_http_date(text).ok()?.duration_since(SystemTime::now()).ok();
    seconds.or_else(until).map(|time| time.min(LONGEST))
}

/// How long it takes until something is left, where nothing is: the `RateLimit` of the IETF's drafts, old and new, and
/// what was there before them. Some count from now, some from 1970.
fn nothing_left(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &HeaderName| headers.get(name)?.to_str().ok();
    let (left, seconds) = match text(&RATE_LIMIT) {
        Some(limit) => (parameter(limit, "r")?, parameter(limit, "t")?),
        None => REMAINING.iter().zip(&RESET).find_map(|(remaining, reset)| {
            Some((text(remaining)?.trim().parse().ok()?, text(reset)?.trim().parse().ok()?))
        })?,
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let seconds = if seconds > A_POINT_IN_TIME { seconds.saturating_sub(now) } else { seconds };
    (left == 0).then(|| Duration::from_secs(seconds).min(LONGEST)).filter(|time| !time.is_zero())
}

/// A parameter of a structured field, such as `"default";r=0;t=5`.
fn parameter(field: &str, name: &str) -> Option<u64> {
    let parameters = field.split([';', ',']).map(str::trim);
    parameters.filter_map(|one| one.strip_prefix(name)?.strip_prefix('=')).find_map(|value| value.parse().ok())
}

/// In percent: from here on each request of administration waits as many seconds as it is above it, and one.
const NEAR: u64 = 90;
const MOST_SPARED: u64 = 60;
/// No answer holds up sending for longer.
const LONGEST: Duration = Duration::from_secs(3600);
/// Seconds beyond it are a time of day.
const A_POINT_IN_TIME: u64 = 1_000_000_000;
const ACCOUNT_USAGE: HeaderName = HeaderName::from_static("x-business-use-case-usage");
const APP_USAGE: HeaderName = HeaderName::from_static("x-app-usage");
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const REMAINING: [HeaderName; 2] =
    [HeaderName::from_static("ratelimit-remaining"), HeaderName::from_static("x-ratelimit-remaining")];
const RESET: [HeaderName; 2] =
    [HeaderName::from_static("ratelimit-reset"), HeaderName::from_static("x-ratelimit-reset")];

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn the_usage_that_is_nearest_to_its_limit_counts() {
        let recorded = r#"{"114503234599312":[{"type":"whatsapp","call_count":1,"total_cputime":1,"total_time":1,"estimated_time_to_regain_access":0},{"type":"whatsapp_business_management","call_count":12,"total_cputime":97,"total_time":3,"estimated_time_to_regain_access":7}]}"#;
        let usage = usage(&headers(&[("x-business-use-case-usage", recorded)])).unwrap();
        assert_eq!((usage.percent, usage.regained_in), (97, Some(Duration::from_secs(420))));
        let of_app = r#"{"call_count":100,"total_cputime":0,"total_time":0}"#;
        assert_eq!(super::usage(&headers(&[("x-app-usage", of_app)])).unwrap().percent, 100);
        for text in ["", "{", "[]", "{}", r#"{"1":{}}"#, r#"{"1":[]}"#] {
            assert!(super::usage(&headers(&[("x-business-use-case-usage", text)])).is_none(), "{text}");
        }
    }

    #[test]
    fn a_time_to_come_back_is_read_in_all_its_forms() {
        let soon = SystemTime::now() + Duration::from_secs(120);
        let after = |text: &str| retry_after(&headers(&[("retry-after", text)])).map(|time| time.as_secs());
        assert_eq!((after("7"), after("99999999"), after("soon"), after("-1")), (Some(7), Some(3600), None, None));
        assert!((118..=120).contains(&after(&httpdate::fmt_http_date(soon)).unwrap()));
        let epoch = (soon.duration_since(UNIX_EPOCH).unwrap().as_secs()).to_string();
        for (lines, expected) in [
            (&[("ratelimit", "\"default\";r=0;t=5")][..], Some(5)),
            (&[("ratelimit", "\"default\";r=3;t=5")], None),
            (&[("ratelimit-remaining", "0"), ("ratelimit-reset", "9")], Some(9)),
            (&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", &epoch)], Some(119)),
            (&[("x-ratelimit-remaining", "12"), ("x-ratelimit-reset", "9")], None),
            (&[("x-ratelimit-remaining", "0")], None),
        ] {
            let found = nothing_left(&headers(lines)).map(|time| time.as_secs());
            assert!(found == expected || found == Some(120), "{lines:?}: {found:?}");
        }
    }
}
