//! Tables for people, made from JSON.

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Prints rows below their titles, each column as wide as its widest cell. The column of sidecars is left out where there is one.
pub(super) fn print<const COLUMNS: usize>(
    titles: [&str; COLUMNS],
    rows: impl Iterator<Item = [String; COLUMNS]>,
) {
    let rows: Vec<_> = std::iter::once(titles.map(str::to_owned))
        .chain(rows)
        .collect();
    let mut widths = [0; COLUMNS];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let is_empty = |column: usize| {
        let mut cells = rows.iter().skip(1).filter_map(|row| row.get(column));
        rows.len() > 1 && cells.all(|cell| matches!(cell.as_str(), "" | NO_VALUE))
    };
    for (column, width) in widths.iter_mut().enumerate() {
        if titles.get(column) == Some(&SIDECAR) && is_empty(column) {
            *width = 0;
        }
    }
    say!();
    for row in rows {
        let line: String = row
            .iter()
            .zip(widths)
            .filter(|(_, width)| *width > 0)
            .map(|(cell, width)| format!("{cell:width$}  "))
            .collect();
        say!("{}", line.trim_end());
    }
}

/// Returns the elements of a JSON list, and none for any other value.
pub(super) fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Returns a JSON text, and `-` for any other value.
pub(super) fn text(value: &Value) -> String {
    value.as_str().unwrap_or(NO_VALUE).to_owned()
}

/// Returns a time in its largest whole unit: `90` is `1m`.
pub(super) fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Returns a Unix time as a date with its time in UTC.
pub(super) fn moment(unix: &Value) -> String {
    unix.as_i64()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| "-".to_owned())
}

/// Returns a number with its noun, such as "1 route" and "2 routes".
pub(super) fn counted(count: u64, noun: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{ending}")
}

/// The sign for a value that is not there.
const NO_VALUE: &str = "-";
/// The title of the column that only a table of several sidecars needs.
const SIDECAR: &str = "SIDECAR";
