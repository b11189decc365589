//! Tables for people.

use crate::json::words::NO_VALUE;

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

/// The title of the column that only a table of several sidecars needs.
const SIDECAR: &str = "SIDECAR";
