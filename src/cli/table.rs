//! Tables for people.

use crate::json::words::NO_VALUE;

use super::output::terminal_width;

/// Prints rows below their titles, each column as wide as its widest cell. On a terminal that is
/// too narrow, cells go on below themselves; on a terminal for no column at all, each row is a
/// block with a line for each cell. The column of sidecars is left out for a single sidecar.
/// Without a row, nothing is printed.
pub(super) fn print<const COLUMNS: usize>(
    titles: [&str; COLUMNS],
    rows: impl Iterator<Item = [String; COLUMNS]>,
) {
    let rows: Vec<_> = std::iter::once(titles.map(str::to_owned))
        .chain(rows)
        .collect();
    if rows.len() == 1 {
        return;
    }
    say!();
    for line in lines(&rows, terminal_width()) {
        say!("{line}");
    }
}

/// Lays out rows, the first of which has the titles, in lines of at most `width` characters where
/// that is possible.
fn lines<const COLUMNS: usize>(rows: &[[String; COLUMNS]], width: Option<usize>) -> Vec<String> {
    let widths = match width {
        Some(width) => match fitted(widths(rows), &least_widths(rows), width) {
            Some(widths) => widths,
            None => return blocks(rows, width),
        },
        None => widths(rows),
    };
    let lines_of_row = |row: &[String; COLUMNS]| {
        let cells: Vec<_> = row
            .iter()
            .zip(widths)
            .filter(|(_, width)| *width > 0)
            .map(|(cell, width)| (wrapped(cell, width), width))
            .collect();
        let height = cells.iter().map(|(lines, _)| lines.len()).max();
        let line = |at: usize| {
            let parts = cells.iter().map(|(lines, width)| {
                let part = lines.get(at).map_or("", String::as_str);
                format!("{part:width$}{GAP}")
            });
            parts.collect::<String>().trim_end().to_owned()
        };
        (0..height.unwrap_or_default())
            .map(line)
            .collect::<Vec<_>>()
    };
    rows.iter().flat_map(lines_of_row).collect()
}

/// Lays out each row as a block: a line for each cell, with the title in front.
fn blocks<const COLUMNS: usize>(rows: &[[String; COLUMNS]], width: usize) -> Vec<String> {
    let shown = widths(rows).map(|width| width > 0);
    let Some((titles, rows)) = rows.split_first() else {
        return Vec::new();
    };
    let indent = titles
        .iter()
        .map(|title| title.chars().count())
        .max()
        .unwrap_or_default()
        + GAP.len();
    let room = width.saturating_sub(indent).max(UNBROKEN);
    let mut lines = Vec::new();
    for row in rows {
        if !lines.is_empty() {
            lines.push(String::new());
        }
        let cells = titles
            .iter()
            .zip(row)
            .zip(shown)
            .filter(|(_, shown)| *shown);
        for ((title, cell), _) in cells {
            for (number, part) in wrapped(cell, room).iter().enumerate() {
                let title = if number == 0 { title } else { "" };
                lines.push(format!("{title:indent$}{part}").trim_end().to_owned());
            }
        }
    }
    lines
}

/// Returns the width of each column's widest cell; 0 for a column to leave out.
fn widths<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> [usize; COLUMNS] {
    let cells = |column: usize| rows.iter().filter_map(move |row| row.get(column));
    let has_no_value = |column| {
        let mut values = cells(column).skip(1);
        rows.len() > 1 && values.all(|cell| matches!(cell.as_str(), "" | NO_VALUE))
    };
    std::array::from_fn(|column| {
        let is_of_sidecars = cells(column).next().is_some_and(|title| title == SIDECAR);
        if is_of_sidecars && has_no_value(column) {
            return 0;
        }
        cells(column)
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
    })
}

/// Returns the least widths of columns: the longest unbroken word, and a few characters.
fn least_widths<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> [usize; COLUMNS] {
    std::array::from_fn(|column| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .flat_map(|cell| cell.split(' '))
            .map(|word| word.chars().count())
            .filter(|length| *length <= UNBROKEN)
            .max()
            .unwrap_or_default()
            .max(LEAST_WIDTH)
    })
}

/// Takes from the widest columns until all of them fit; `None` if none can give more.
fn fitted<const COLUMNS: usize>(
    mut widths: [usize; COLUMNS],
    least: &[usize; COLUMNS],
    width: usize,
) -> Option<[usize; COLUMNS]> {
    let taken = |widths: &[usize; COLUMNS]| {
        widths
            .iter()
            .filter(|width| **width > 0)
            .map(|width| width + GAP.len())
            .sum::<usize>()
    };
    // The last column needs no gap behind it.
    while taken(&widths) > width + GAP.len() {
        let columns = widths.iter_mut().zip(least);
        let widest = columns
            .filter(|(width, least)| **width > **least)
            .max_by_key(|(width, _)| **width);
        let (width, _) = widest?;
        *width -= 1;
    }
    Some(widths)
}

/// Breaks a cell into lines: between words, and inside a word that is too long for a line.
fn wrapped(cell: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in cell.split(' ') {
        let length = word.chars().count();
        let is_first = used == 0;
        if !is_first && used + 1 + length <= width {
            push(&mut lines, ' ');
            used += 1;
        } else if !is_first {
            lines.push(String::new());
            used = 0;
        }
        for character in word.chars() {
            if used == width {
                lines.push(String::new());
                used = 0;
            }
            push(&mut lines, character);
            used += 1;
        }
    }
    lines
}

fn push(lines: &mut [String], character: char) {
    if let Some(line) = lines.last_mut() {
        line.push(character);
    }
}

/// The title of the column that only a table of several sidecars needs.
const SIDECAR: &str = "SIDECAR";
/// The space between two columns.
const GAP: &str = "  ";
/// The width below which a column is no help: a word, or a short name.
const LEAST_WIDTH: usize = 8;
/// The longest unbroken word, in characters: people compare and copy fingerprints, of 12
/// characters, or 18 with `keyed:`.
const UNBROKEN: usize = 18;

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> [[String; 4]; 3] {
        [
            ["SIDECAR", "NAME", "LAST SUCCESS", "SOURCE"],
            ["", "acme", "4s ago", "file:/run/secrets/acme/token"],
            ["", "b", "-", "a b"],
        ]
        .map(|row| row.map(str::to_owned))
    }

    #[test]
    fn a_table_is_as_wide_as_its_cells_and_leaves_out_the_only_sidecar() {
        let wide = [
            "NAME  LAST SUCCESS  SOURCE",
            "acme  4s ago        file:/run/secrets/acme/token",
            "b     -             a b",
        ];
        for width in [None, Some(200), Some(48)] {
            assert_eq!(lines(&table(), width), wide, "{width:?}");
        }
    }

    #[test]
    fn a_narrow_terminal_has_cells_that_go_on_below_themselves() {
        assert_eq!(
            lines(&table(), Some(34)),
            [
                "NAME  LAST SUCCESS  SOURCE",
                "acme  4s ago        file:/run/secr",
                "                    ets/acme/token",
                "b     -             a b",
            ]
        );
        assert_eq!(
            lines(&table(), Some(10)),
            [
                "NAME          acme",
                "LAST SUCCESS  4s ago",
                "SOURCE        file:/run/secrets/",
                "              acme/token",
                "",
                "NAME          b",
                "LAST SUCCESS  -",
                "SOURCE        a b",
            ],
            "each row is a block"
        );
    }

    #[test]
    fn a_fingerprint_stays_whole() {
        let fingerprint = "0123456789ab";
        let rows = [["NAME", "FINGERPRINT"], ["a long name of it", fingerprint]];
        let rows = rows.map(|row| row.map(str::to_owned));
        for width in [20, 22, 24, 30] {
            let lines = lines(&rows, Some(width));
            let is_whole = lines.iter().any(|line| line.contains(fingerprint));
            assert!(is_whole, "{width}: {lines:?}");
        }
    }

    #[test]
    fn every_character_of_a_cell_is_shown_at_every_width() {
        let cell = "messages media templates aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa é";
        for width in 1..80 {
            let lines = wrapped(cell, width);
            assert!(
                lines.iter().all(|line| line.chars().count() <= width),
                "{lines:?}"
            );
            let without_spaces = |text: &str| text.replace(' ', "");
            assert_eq!(
                without_spaces(&lines.concat()),
                without_spaces(cell),
                "{width}"
            );
        }
    }
}
