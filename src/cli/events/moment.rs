//! Times in arguments: RFC 3339, or an age such as `2h`.

use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::units::{duration, millis};

/// A time in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EventTime(pub(super) u64);

/// Reads a time in an argument.
pub(super) fn moment(text: &str) -> Result<EventTime, &'static str> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    read(text, now.unwrap_or_default())
}

fn read(text: &str, now: Duration) -> Result<EventTime, &'static str> {
    if let Ok(age) = duration(text) {
        return Ok(EventTime(millis(now.saturating_sub(age))));
    }
    let time = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| EXPECTED)?;
    let ms = time.unix_timestamp_nanos() / 1_000_000;
    u64::try_from(ms).map(EventTime).map_err(|_| EXPECTED)
}

const EXPECTED: &str =
    "expected a time such as 2026-11-30T08:00:00Z, or an age such as 90m, 2h or 3d";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_date_or_an_age() {
        let now = Duration::from_secs(10 * 86_400);
        for (text, expected) in [
            ("2h", Ok(10 * 86_400_000 - 7_200_000)),
            ("500ms", Ok(10 * 86_400_000 - 500)),
            ("11d", Ok(0)),
            ("1970-01-02T00:00:00Z", Ok(86_400_000)),
            ("1970-01-02T01:00:00.5+01:00", Ok(86_400_500)),
            ("1969-01-02T00:00:00Z", Err(EXPECTED)),
            ("1970-01-02", Err(EXPECTED)),
            ("yesterday", Err(EXPECTED)),
            ("", Err(EXPECTED)),
        ] {
            assert_eq!(read(text, now), expected.map(EventTime), "{text}");
        }
    }
}
