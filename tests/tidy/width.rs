//! The width of comments, which rustfmt leaves alone.

use super::source::Source;

/// The largest width of a line with a comment, in columns: as wide as rustfmt makes code.
const MAX_WIDTH: usize = 100;

/// The folders with Rust sources.
const FOLDERS: [&str; 5] = ["src", "crates", "tests", "benches", "fuzz"];

#[test]
fn no_comment_is_wider_than_code() {
    let sources = FOLDERS.into_iter().flat_map(Source::all);
    let wide: Vec<_> = sources
        .flat_map(|source| {
            wide_comments(&source.text)
                .map(|line| format!("{}:{line}", source.path.display()))
                .collect::<Vec<_>>()
        })
        .collect();
    assert!(
        wide.is_empty(),
        "{} lines of comments are wider than {MAX_WIDTH} columns:\n{}",
        wide.len(),
        wide.join("\n")
    );
}

/// The numbers of the lines whose comment is too wide. Rows of tables, drawings and addresses
/// cannot be broken.
fn wide_comments(text: &str) -> impl Iterator<Item = usize> {
    let mut is_drawing = false;
    (1..).zip(text.lines()).filter_map(move |(number, line)| {
        let comment = line.trim_start().strip_prefix("//")?;
        let words = comment.trim_start_matches(['/', '!']).trim_start();
        if words.starts_with("```") {
            is_drawing = !is_drawing;
        }
        let can_break = !is_drawing && !words.starts_with('|') && !words.contains("://");
        (can_break && line.chars().count() > MAX_WIDTH).then_some(number)
    })
}

#[test]
fn only_comments_that_can_be_broken_count() {
    let long = "word ".repeat(MAX_WIDTH / 4);
    for (line, is_wide) in [
        (format!("    /// {long}"), true),
        (format!("//! {long}"), true),
        (format!("    // {long}"), true),
        (format!("/// {}", "x".repeat(MAX_WIDTH - 4)), false),
        (format!("//! | {long} |"), false),
        (format!("//! ```text\n//! {long}\n//! ```"), false),
        (
            format!("/// <https://example.com/{}>", "x".repeat(MAX_WIDTH)),
            false,
        ),
        (format!("let x = \"{long}\";"), false),
    ] {
        assert_eq!(wide_comments(&line).next().is_some(), is_wide, "{line}");
    }
}
