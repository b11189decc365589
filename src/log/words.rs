//! Texts of other programs in log lines, messages and on terminals.

/// Returns a text of a server or program for people: without control characters, which a terminal
/// would obey, and of at most `max` characters.
#[must_use]
pub fn bounded(text: &str, max: usize) -> String {
    text.chars()
        .filter(|character| !character.is_control())
        .take(max)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_text_is_cut_and_moves_no_cursor() {
        for (text, max, expected) in [
            ("no route\r\nto host", 100, "no routeto host"),
            ("\u{1b}[31mred", 100, "[31mred"),
            ("müde Füße", 4, "müde"),
            ("", 4, ""),
        ] {
            assert_eq!(bounded(text, max), expected, "{text:?}");
        }
    }
}
