//! JSON values as words for people, for the command line and for the status page.

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Returns the elements of a JSON list, and none for any other value.
pub fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Returns a JSON text, and `-` for any other value.
#[must_use]
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or(NO_VALUE).to_owned()
}

/// Returns a time in its largest whole unit: `90` is `1m`.
#[must_use]
pub fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Returns a number of seconds as a duration, and `-` for any other value.
#[must_use]
pub fn seconds(value: &Value) -> String {
    value.as_u64().map_or_else(|| NO_VALUE.to_owned(), duration)
}

/// Returns a Unix time as a date with its time in UTC.
#[must_use]
pub fn moment(unix: &Value) -> String {
    unix.as_i64()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| NO_VALUE.to_owned())
}

/// Returns a number with its noun, such as "1 route" and "2 routes".
#[must_use]
pub fn counted(count: u64, noun: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{ending}")
}

/// Returns the senders with a lower rate than the quota, from the limits of a route; `None` without
/// such a sender.
#[must_use]
pub fn slowed_senders(limit: &Value) -> Option<String> {
    let slowed = limit["senders_slowed"]
        .as_u64()
        .filter(|count| *count > 0)?;
    let slowest = limit["senders_slowed_to_per_second"].as_f64()?;
    Some(format!(
        "{} slowed to {}",
        counted(slowed, "sender"),
        rate(slowest)
    ))
}

/// Returns a rate as configurations write it: `12.5/s`, or `1/6s` below one a second.
#[must_use]
pub fn rate(per_second: f64) -> String {
    match per_second {
        1.0.. => format!("{per_second:.1}/s"),
        _ => format!("1/{:.0}s", 1.0 / per_second),
    }
}

/// Returns a size in the largest whole unit.
#[must_use]
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{} KiB", bytes >> 10),
        1_048_576..1_073_741_824 => format!("{} MiB", bytes >> 20),
        _ => format!("{:.1} GiB", tenths(bytes)),
    }
}

/// Returns gibibytes, good for a tenth.
fn tenths(bytes: u64) -> f64 {
    let mebibytes = u32::try_from(bytes >> 20).unwrap_or(u32::MAX);
    f64::from(mebibytes) / 1024.0
}

/// The sign for a value that is not there.
pub const NO_VALUE: &str = "-";
