//! The problems of sidecars on a terminal.

use super::output::{TextStyle, styled, terminal_width};
use crate::admin::problems::{Gravity, ProblemLine};

/// Prints what is wrong below a title, and notices below another; or that nothing is wrong.
pub(super) fn print(problems: &[ProblemLine]) {
    let mut is_quiet = true;
    for (gravity, title, style) in [
        (
            Gravity::Wrong,
            "What is wrong, and what to do:",
            TextStyle::Red,
        ),
        (Gravity::Notice, "To be done in time:", TextStyle::Yellow),
    ] {
        let mut lines = problems
            .iter()
            .filter(|problem| problem.gravity == gravity)
            .peekable();
        if lines.peek().is_some() {
            is_quiet = false;
            say!("\n{}", styled(title, style));
        }
        for problem in lines {
            for line in filled(&problem.text, terminal_width()) {
                say!("{line}");
            }
        }
    }
    if is_quiet {
        say!("\n{}", styled("Nothing is wrong.", TextStyle::Green));
    }
}

/// Lays out a problem in indented lines of at most `width` characters. A longer word stays whole:
/// people copy references and commands.
fn filled(text: &str, width: Option<usize>) -> Vec<String> {
    let mut lines = vec![INDENT.to_owned()];
    let mut used = INDENT.len();
    for (number, word) in text.split(' ').enumerate() {
        let length = word.chars().count();
        let is_full = width.is_some_and(|width| used + 1 + length > width);
        if number > 0 && is_full {
            lines.push(INDENT.repeat(2));
            used = INDENT.len() * 2;
        }
        if let Some(line) = lines.last_mut() {
            if number > 0 && !is_full {
                line.push(' ');
                used += 1;
            }
            line.push_str(word);
            used += length;
        }
    }
    lines
}

const INDENT: &str = "  ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_fits_the_terminal_and_breaks_no_word() {
        let text = "acme: the token has expired: file:/run/secrets/acme/token";
        for (width, expected) in [
            (
                None,
                &["  acme: the token has expired: file:/run/secrets/acme/token"][..],
            ),
            (
                Some(32),
                &[
                    "  acme: the token has expired:",
                    "    file:/run/secrets/acme/token",
                ],
            ),
            (
                Some(14),
                &[
                    "  acme: the",
                    "    token has",
                    "    expired:",
                    "    file:/run/secrets/acme/token",
                ],
            ),
        ] {
            assert_eq!(filled(text, width), expected, "{width:?}");
        }
    }
}
