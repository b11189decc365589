//! Tables, and the words in their cells.

use std::time::Duration;

use crate::admin::page::html::Html;

/// Writes the beginning of a table. The roles stand for themselves, because a phone shows each row
/// as a card, and elements that are laid out otherwise lose their meaning in some browsers.
pub(super) fn begin(html: &mut Html, titles: &[&'static str]) {
    html.markup("<table role=\"table\"><thead role=\"rowgroup\"><tr role=\"row\">");
    for title in titles {
        html.markup("<th role=\"columnheader\" scope=\"col\">");
        html.markup(title).markup("</th>");
    }
    html.markup("</tr></thead><tbody role=\"rowgroup\">");
}

/// Writes the end of a table.
pub(super) fn end(html: &mut Html) {
    html.markup("</tbody></table>");
}

/// Writes the beginning of a row, with the cell that names the row. The name is the key of the row
/// in the live update.
pub(super) fn row(html: &mut Html, name: &str) {
    html.markup("<tr role=\"row\" data-key=\"").text(name);
    html.markup("\"><th role=\"rowheader\" scope=\"row\"><bdi>");
    html.text(name).markup("</bdi>");
}

/// Writes the beginning of the next cell, with the title of the column for a phone.
pub(super) fn cell(html: &mut Html, title: &'static str) {
    html.markup("</td><td role=\"cell\" data-title=\"");
    html.markup(title).markup("\">");
}

/// Writes the beginning of the cell behind the name.
pub(super) fn first_cell(html: &mut Html, title: &'static str) {
    html.markup("</th><td role=\"cell\" data-title=\"");
    html.markup(title).markup("\">");
}

/// Writes the end of a row.
pub(super) fn end_row(html: &mut Html) {
    html.markup("</td></tr>");
}

/// Writes a line below the value of a cell.
pub(super) fn small(html: &mut Html, text: impl std::fmt::Display) {
    html.markup("<small>").text(text).markup("</small>");
}

/// Returns a number with commas between thousands.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns a duration in milliseconds or seconds.
pub(super) fn brief(duration: Duration) -> String {
    match duration.as_millis() {
        0 => "<1 ms".to_owned(),
        millis @ 1..1000 => format!("{millis} ms"),
        1000..10_000 => format!("{:.1} s", duration.as_secs_f64()),
        _ => format!("{} s", duration.as_secs()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_durations_are_easy_to_read() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(grouped(number), text);
        }
        for (micros, text) in [
            (200, "<1 ms"),
            (1500, "1 ms"),
            (999_000, "999 ms"),
            (1_250_000, "1.2 s"),
            (12_900_000, "12 s"),
        ] {
            assert_eq!(brief(Duration::from_micros(micros)), text, "{micros}");
        }
    }
}
