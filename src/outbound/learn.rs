//! The lessons of an answer about the provider's limits.
//!
//! A lesson pauses its subject alone: a throttle of a message pauses the pair, the sender or the
//! sends of the account; a throttle of administration pauses the administration of the object; a
//! usage header near the limit of administration pauses the administration of the named account.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName};
use serde_json::{Map, Value};

use super::policy::{LimitSubject, Permit};
use super::reported::{MAX_NAMED, ReportedQuota, retry_after};
use crate::limit::{Limiter, PauseLength, PauseReason};
use crate::log::without_numbers;
use crate::provider::{Meaning, Scope, Throttle};

/// Takes note of the lessons, before the answer goes on to the application unchanged.
pub(super) fn learn(
    headers: &HeaderMap,
    meaning: &Meaning<'_>,
    permit: &Permit<'_>,
    subject: &LimitSubject<'_>,
    recipients: &[String],
) {
    if let Meaning::Throttled(throttle) = meaning {
        learn_throttle(headers, throttle, permit, subject, recipients);
        return;
    }
    if !tell_of_limits(headers) {
        return;
    }
    let limiter = &permit.route.limiter;
    learn_usage(headers, limiter, subject);
    let quota = ReportedQuota::of(headers, SystemTime::now());
    let Some(length) = quota.and_then(|quota| quota.used_up_for()) else {
        return;
    };
    let reason = PauseReason::NothingLeft;
    match subject {
        LimitSubject::Message => {
            let sender = permit.counted_sender();
            let senders = limiter.of_senders(permit.request.metering);
            senders.pause(sender, length, reason);
        }
        LimitSubject::Administration(object) => limiter.objects.pause(object, length, reason),
        LimitSubject::Operation(key) => limiter.objects.pause(key, length, reason),
        LimitSubject::Unlimited => {}
    }
}

/// True if a header tells of a limit. One pass over the names costs less than a look-up for each
/// header that could tell.
fn tell_of_limits(headers: &HeaderMap) -> bool {
    headers
        .keys()
        .any(|name| USAGE.contains(name) || ReportedQuota::is_named_by(name))
}

fn learn_throttle(
    headers: &HeaderMap,
    throttle: &Throttle,
    permit: &Permit<'_>,
    subject: &LimitSubject<'_>,
    recipients: &[String],
) {
    let limiter = &permit.route.limiter;
    let now = SystemTime::now();
    let named = retry_after(headers, now)
        .or_else(|| regained_in(headers, throttle, subject))
        .or_else(|| ReportedQuota::of(headers, now).map(|quota| quota.reset))
        .filter(|time| !time.is_zero());
    let length = PauseLength {
        first: throttle.pause,
        named,
    };
    match subject {
        LimitSubject::Message => {
            let sender = permit.counted_sender();
            let metering = permit.request.metering;
            limiter.message_throttled(throttle.scope, sender, metering, recipients, length);
        }
        LimitSubject::Administration(_) if throttle.scope == Scope::Operation => {
            let key = permit.request_key();
            limiter.objects.throttled(&key, length);
        }
        LimitSubject::Administration(object) => {
            limiter.objects.throttled(object, length);
        }
        LimitSubject::Operation(key) => limiter.objects.throttled(key, length),
        // A request without a limit waits for no pause.
        LimitSubject::Unlimited => {}
    }
    permit.route.metrics.throttled(throttle.scope.as_str());
    tracing::debug!(
        route = &*permit.route.name,
        sender = permit.sender.map(without_numbers),
        operation = &*permit.operation.name,
        limit = throttle.scope.as_str(),
        named_s = named.map(|time| time.as_secs()),
        "the provider refused a request as too fast: such requests pause"
    );
}

/// Use of a limit as reported by Meta, in an entry of a usage header:
/// <https://developers.facebook.com/docs/graph-api/overview/rate-limiting>.
struct Usage<'v>(&'v Value);

impl Usage<'_> {
    fn number(&self, key: &str) -> f64 {
        self.0.get(key).and_then(Value::as_f64).unwrap_or_default()
    }

    /// Use in percent: the highest of the call count and the two times.
    fn percent(&self) -> f64 {
        ["call_count", "total_cputime", "total_time"]
            .map(|key| self.number(key))
            .into_iter()
            .fold(0.0, f64::max)
    }

    /// Time until the account has access again; zero if the account has access. Meta counts
    /// minutes.
    fn regained_in(&self) -> Duration {
        let seconds = self.number("estimated_time_to_regain_access") * 60.0;
        Duration::from_secs_f64(seconds.clamp(0.0, MAX_NAMED.as_secs_f64()))
    }

    /// Pause before the next request of administration, if the use is near the limit: a second for
    /// each percent.
    fn pause(&self) -> Option<Duration> {
        let above = self.percent() - NEAR_PERCENT;
        let length = above.floor().clamp(0.0, MAX_NEAR_SECONDS - 1.0) + 1.0;
        (above >= 0.0).then(|| Duration::from_secs_f64(length))
    }

    fn is_of_management(&self) -> bool {
        self.0["type"] == MANAGEMENT
    }
}

/// Pauses administration near the limit, by a usage header: of the account, which is the
/// key of the header's entry, and of the request's object, which is counted there too.
fn learn_usage(headers: &HeaderMap, limiter: &Limiter, subject: &LimitSubject<'_>) {
    let object = match subject {
        LimitSubject::Administration(object) => Some(*object),
        _ => None,
    };
    let pause = |object: &str, length| {
        limiter
            .objects
            .pause(object, length, PauseReason::NearLimit);
    };
    for (account, entries) in &account_usage(headers) {
        let entries = entries.as_array().into_iter().flatten().map(Usage);
        let near = entries
            .filter(Usage::is_of_management)
            .filter_map(|usage| usage.pause())
            .max();
        if let Some(length) = near {
            pause(account, length);
            if let Some(object) = object.filter(|object| object != account) {
                pause(object, length);
            }
        }
    }
    // The app's use counts calls of all kinds; only the kind of the current request is known.
    if let (Some(object), Some(of_app)) = (object, parsed(headers, &APP_USAGE))
        && let Some(length) = Usage(&of_app).pause()
    {
        pause(object, length);
    }
}

/// Time until a throttled account has access again, by the usage header: the entries of the kind of
/// throttled request, and of the request's own object if the header names the object.
fn regained_in(
    headers: &HeaderMap,
    throttle: &Throttle,
    subject: &LimitSubject<'_>,
) -> Option<Duration> {
    let usage = account_usage(headers);
    let longest = |entries: &Value, is_fit: &dyn Fn(&Usage<'_>) -> bool| {
        let entries = entries.as_array().into_iter().flatten().map(Usage);
        entries
            .filter(|usage| is_fit(usage))
            .map(|usage| usage.regained_in())
            .max()
    };
    match subject {
        LimitSubject::Message if throttle.scope == Scope::Account => usage
            .values()
            .filter_map(|entries| longest(entries, &|usage| !usage.is_of_management()))
            .max(),
        LimitSubject::Administration(object) => match usage.get(*object) {
            Some(entries) => longest(entries, &|_| true),
            None => usage
                .values()
                .filter_map(|entries| longest(entries, &|_| true))
                .max(),
        },
        _ => None,
    }
    .filter(|time| !time.is_zero())
}

/// Meta's header of the use of accounts, by account id.
fn account_usage(headers: &HeaderMap) -> Map<String, Value> {
    match parsed(headers, &ACCOUNT_USAGE) {
        Some(Value::Object(accounts)) => accounts,
        _ => Map::new(),
    }
}

fn parsed(headers: &HeaderMap, name: &HeaderName) -> Option<Value> {
    serde_json::from_slice(headers.get(name)?.as_bytes()).ok()
}

/// Use in percent from which each request of administration waits. Meta throttles at 100.
const NEAR_PERCENT: f64 = 90.0;
/// Longest wait near the limit, in seconds, however far above the use is: the next answer tells the
/// use anew, and the header names a time of its own for a blocked account.
const MAX_NEAR_SECONDS: f64 = 60.0;
/// Type of the entries about administration, as recorded from Meta; messages and media have
/// `whatsapp`.
const MANAGEMENT: &str = "whatsapp_business_management";
/// The headers by which Meta tells the use of limits.
static USAGE: [HeaderName; 2] = [ACCOUNT_USAGE, APP_USAGE];
const ACCOUNT_USAGE: HeaderName = HeaderName::from_static("x-business-use-case-usage");
const APP_USAGE: HeaderName = HeaderName::from_static("x-app-usage");

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn throttle(scope: Scope) -> Throttle {
        Throttle {
            codes: Vec::new(),
            statuses: Vec::new(),
            words: Vec::new(),
            scope,
            pause: Duration::from_secs(1),
        }
    }

    #[test]
    fn usage_is_read_by_the_account_and_the_type() {
        const USAGE: &str = r#"{
            "1": [
                {"type":"whatsapp","call_count":99,"total_time":1,"estimated_time_to_regain_access":2},
                {"type":"whatsapp_business_management","call_count":12,"total_cputime":97,"estimated_time_to_regain_access":7}
            ],
            "2": [{"type":"whatsapp_business_management","call_count":93,"estimated_time_to_regain_access":11}]
        }"#;
        let text: String = USAGE.split_whitespace().collect();
        let headers = headers(&[("x-business-use-case-usage", &text)]);
        let regained = |scope, subject| {
            regained_in(&headers, &throttle(scope), &subject).map(|time| time.as_secs() / 60)
        };
        let administration =
            |object| regained(Scope::Account, LimitSubject::Administration(object));
        assert_eq!(regained(Scope::Account, LimitSubject::Message), Some(2));
        assert_eq!(regained(Scope::Sender, LimitSubject::Message), None);
        assert_eq!(administration("1"), Some(7));
        assert_eq!(administration("2"), Some(11));
        assert_eq!(administration("another"), Some(11));
        let limiter = Limiter::default();
        learn_usage(&headers, &limiter, &LimitSubject::Message);
        let paused = |object| {
            let pause = limiter.objects.status(object).pause?;
            let rest = pause
                .until
                .saturating_duration_since(tokio::time::Instant::now());
            Some(rest.as_secs_f64().round())
        };
        assert_eq!(paused("1"), Some(8.0), "97 percent is 7 above 90");
        assert_eq!(paused("2"), Some(4.0));
        assert_eq!(limiter.senders.usage().paused, 0);
    }

    #[test]
    fn usage_of_another_form_says_nothing() {
        for text in [
            "",
            "{",
            "[]",
            "{}",
            r#"{"1":{}}"#,
            r#"{"1":[]}"#,
            r#"{"1":[7]}"#,
        ] {
            let headers = headers(&[("x-business-use-case-usage", text)]);
            let limiter = Limiter::default();
            learn_usage(&headers, &limiter, &LimitSubject::Administration("1"));
            assert_eq!(limiter.objects.usage().paused, 0, "{text}");
        }
    }

    #[test]
    fn usage_of_the_app_pauses_the_object_that_was_administered() {
        let of_app = r#"{"call_count":100,"total_cputime":0,"total_time":0}"#;
        let headers = headers(&[("x-app-usage", of_app)]);
        for (subject, expected) in [
            (LimitSubject::Administration("1"), 1),
            (LimitSubject::Message, 0),
            (LimitSubject::Unlimited, 0),
        ] {
            let limiter = Limiter::default();
            learn_usage(&headers, &limiter, &subject);
            assert_eq!(limiter.objects.usage().paused, expected, "{subject:?}");
        }
    }
}
