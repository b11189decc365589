//! The wall clock, in the forms that answers and events need.

use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

/// Returns the time in seconds since 1970.
pub(crate) fn unix_time() -> u64 {
    u64::try_from(OffsetDateTime::now_utc().unix_timestamp()).unwrap_or(0)
}

/// Writes a Unix time as Graph's errors do, `Monday, 14-Oct-24 04:27:49 PDT`, but in UTC.
pub(crate) fn graph_date(unix: u64) -> String {
    let seconds = i64::try_from(unix).unwrap_or(i64::MAX);
    let date = OffsetDateTime::from_unix_timestamp(seconds).ok();
    date.and_then(|date| date.format(GRAPH_DATE).ok())
        .unwrap_or_default()
}

/// The form of dates in the message of error 190 with subcode 463.
const GRAPH_DATE: &[BorrowedFormatItem<'_>] = format_description!(
    "[weekday], [day]-[month repr:short]-[year repr:last_two] [hour]:[minute]:[second] UTC"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_reads_as_graph_writes_it() {
        assert_eq!(graph_date(1_728_904_687), "Monday, 14-Oct-24 11:18:07 UTC");
        assert_eq!(graph_date(951_827_696), "Tuesday, 29-Feb-00 12:34:56 UTC");
    }
}
