//! Times in arguments: RFC 3339, or an age such as `2h`.

use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::cli::argument::ArgumentError;
use crate::units::{duration, millis};

/// A time in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EventTime(pub(super) u64);

/// Reads a time in an argument.
pub(super) fn moment(text: &str) -> Result<EventTime, ArgumentError> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    read(text, now.unwrap_or_default())
}

fn read(text: &str, now: Duration) -> Result<EventTime, ArgumentError> {
    if let Ok(age) = duration(text) {
        return Ok(EventTime(millis(now.saturating_sub(age))));
    }
    let time = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| ArgumentError::Time)?;
    let ms = time.unix_timestamp_nanos() / 1_000_000;
    u64::try_from(ms)
        .map(EventTime)
        .map_err(|_| ArgumentError::Time)
}

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
            ("1969-01-02T00:00:00Z", Err(ArgumentError::Time)),
            ("1970-01-02", Err(ArgumentError::Time)),
            ("yesterday", Err(ArgumentError::Time)),
            ("", Err(ArgumentError::Time)),
        ] {
            assert_eq!(read(text, now), expected.map(EventTime), "{text}");
        }
    }
}
