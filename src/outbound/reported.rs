//! The quotas and times that a provider reports in the headers of an answer.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName};

use crate::headers::{self, whole_number};

/// A quota as reported by headers.
pub(super) struct ReportedQuota {
    /// Number of requests left; none if only the reset is reported.
    left: Option<u64>,
    /// Time until the quota is there again, at most [`MAX_NAMED`].
    pub(super) reset: Duration,
}

impl ReportedQuota {
    /// True for the name of a header that reports a quota, or a part of a quota.
    pub(super) fn is_named_by(name: &HeaderName) -> bool {
        *name == RATE_LIMIT || REMAINING.contains(name)
    }

    /// Reads the `RateLimit` header of the IETF's drafts, else the headers of older drafts, else
    /// the headers in use before the drafts.
    pub(super) fn of(headers: &HeaderMap, now: SystemTime) -> Option<Self> {
        let number = |name: &HeaderName| whole_number(headers.get(name)?.to_str().ok()?.trim());
        let of_two_headers = || {
            REMAINING
                .iter()
                .zip(&RESET)
                .find_map(|(remaining, reset)| Some((number(remaining), number(reset)?)))
        };
        let (left, reset) = of_rate_limit(headers).or_else(of_two_headers)?;
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        // Providers differ: the reset counts from now, or from 1970, in seconds or in milliseconds.
        let seconds = match reset {
            MIN_UNIX_MILLISECONDS.. => (reset / 1000).saturating_sub(now),
            MIN_UNIX_TIME.. => reset.saturating_sub(now),
            _ => reset,
        };
        Some(Self {
            left,
            reset: Duration::from_secs(seconds).min(MAX_NAMED),
        })
    }

    /// Time until a used-up quota is there again; `None` for a quota that is not used up.
    pub(super) fn used_up_for(&self) -> Option<Duration> {
        (self.left == Some(0) && !self.reset.is_zero()).then_some(self.reset)
    }
}

/// The time that `Retry-After` asks to wait, at most [`MAX_NAMED`].
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    headers::retry_after(headers, now).map(|time| time.min(MAX_NAMED))
}

/// Reads `RateLimit`: the requests left, and the seconds up to the reset. Of several quotas
/// (`"burst";r=5;t=2, "daily";r=0;t=44`), the used-up one that lasts longest counts, else the
/// first. Drafts up to the seventh have one quota, with each number an item (`limit=10,
/// remaining=0, reset=35`).
fn of_rate_limit(headers: &HeaderMap) -> Option<(Option<u64>, u64)> {
    let lines = headers.get_all(&RATE_LIMIT).iter();
    let lines = lines.filter_map(|line| line.to_str().ok());
    let items: Vec<&str> = lines.flat_map(|line| unquoted_split(line, ',')).collect();
    let quotas = || {
        let of_item = |item: &&str| Some((parameter(item, "r"), parameter(item, "t")?));
        items.iter().filter_map(of_item)
    };
    let used_up = quotas().filter(|(left, _)| *left == Some(0));
    let of_old_draft = || {
        let named = |name| items.iter().find_map(|item| parameter(item, name));
        Some((named("remaining"), named("reset")?))
    };
    used_up
        .max_by_key(|(_, reset)| *reset)
        .or_else(|| quotas().next())
        .or_else(of_old_draft)
}

/// Returns a number of an item of a structured field (RFC 9651), such as `t` of
/// `"default";r=0;t=5`.
fn parameter(item: &str, name: &str) -> Option<u64> {
    unquoted_split(item, ';').find_map(|one| {
        let value = one.trim().strip_prefix(name)?.strip_prefix('=')?;
        whole_number(value)
    })
}

/// Returns the parts of a structured field between separators outside quotation marks.
fn unquoted_split(field: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    field.split(move |letter| {
        is_quoted ^= letter == '"';
        letter == separator && !is_quoted
    })
}

/// Longest pause that an answer may ask for: Meta counts the longest windows by the hour, and a
/// mistaken answer stops an account for no longer.
pub(super) const MAX_NAMED: Duration = Duration::from_secs(3600);
/// Seconds from which a number is a time since 1970: the year 2001.
const MIN_UNIX_TIME: u64 = 1_000_000_000;
/// Milliseconds from which a number is a time since 1970: the year 2001.
const MIN_UNIX_MILLISECONDS: u64 = 1_000 * MIN_UNIX_TIME;
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
static REMAINING: [HeaderName; 2] = [
    HeaderName::from_static("ratelimit-remaining"),
    HeaderName::from_static("x-ratelimit-remaining"),
];
static RESET: [HeaderName; 2] = [
    HeaderName::from_static("ratelimit-reset"),
    HeaderName::from_static("x-ratelimit-reset"),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// A time within a second: 1,764,600,000.4 seconds after the beginning of 1970.
    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(1_764_600_000_400)
    }

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn used_up_for(lines: &[(&'static str, &str)]) -> Option<u64> {
        let quota = ReportedQuota::of(&headers(lines), now())?;
        quota.used_up_for().map(|time| time.as_secs())
    }

    #[test]
    fn the_used_up_quota_that_lasts_longest_is_read_in_every_draft() {
        let old = ("x-ratelimit-remaining", "0");
        for (lines, expected) in [
            (&[("ratelimit", r#""default";r=0;t=5"#)][..], Some(5)),
            (&[("ratelimit", r#""default";t=5;r=0"#)], Some(5)),
            (
                &[("ratelimit", r#""burst";r=5;t=2, "daily";r=0;t=44"#)],
                Some(44),
            ),
            (
                &[
                    ("ratelimit", r#""burst";r=0;t=2"#),
                    ("ratelimit", r#""daily";r=0;t=44"#),
                ],
                Some(44),
            ),
            (
                &[("ratelimit", r#""burst";r=0;t=2,"daily";r=9;t=44"#)],
                Some(2),
            ),
            (&[("ratelimit", r#""a,b;r=7";r=0;t=3"#)], Some(3)),
            (&[("ratelimit", r#""burst";r=5;t=2"#)], None),
            (
                &[("ratelimit", "limit=10, remaining=0, reset=35")],
                Some(35),
            ),
            (&[("ratelimit", "limit=10,remaining=3,reset=35")], None),
            (
                &[("ratelimit", "limit=10"), old, ("x-ratelimit-reset", "9")],
                Some(9),
            ),
            (
                &[("ratelimit", "nonsense"), old, ("x-ratelimit-reset", "9")],
                Some(9),
            ),
            (
                &[old, ("x-ratelimit-reset", "99999999999999999999999")],
                Some(3600),
            ),
        ] {
            assert_eq!(used_up_for(lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn the_wait_of_retry_after_is_seconds_or_a_date_and_has_a_bound() {
        let date = httpdate::fmt_http_date(now() + Duration::from_secs(120));
        for (text, expected) in [
            ("7", Some(7)),
            ("99999999", Some(3600)),
            // A date has whole seconds.
            (&date, Some(119)),
            ("soon", None),
            ("-1", None),
        ] {
            let found = retry_after(&headers(&[("retry-after", text)]), now());
            assert_eq!(found.map(|time| time.as_secs()), expected, "{text}");
        }
    }

    #[test]
    fn a_used_up_quota_is_read_in_all_its_forms() {
        for (lines, expected) in [
            (&[("ratelimit", "\"default\";r=0;t=5")][..], Some(5)),
            (&[("ratelimit", "\"default\";r=3;t=5")], None),
            (
                &[("ratelimit-remaining", "0"), ("ratelimit-reset", "9")],
                Some(9),
            ),
            (
                &[("x-ratelimit-remaining", "12"), ("x-ratelimit-reset", "9")],
                None,
            ),
            (&[("x-ratelimit-remaining", "0")], None),
            (
                &[
                    ("x-ratelimit-remaining", "0"),
                    ("x-ratelimit-reset", "1764600120"),
                ],
                Some(120),
            ),
            (
                &[
                    ("x-ratelimit-remaining", "0"),
                    ("x-ratelimit-reset", "1764600120500"),
                ],
                Some(120),
            ),
        ] {
            assert_eq!(used_up_for(lines), expected, "{lines:?}");
        }
    }
}
