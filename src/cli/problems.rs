//! The problems of sidecars on a terminal.

use super::output::colored;
use crate::admin::problems::{Gravity, ProblemLine};

/// Prints what is wrong below a title, and notices below another; or that nothing is wrong.
pub(super) fn print(problems: &[ProblemLine]) {
    let mut is_quiet = true;
    for (gravity, title, color) in [
        (Gravity::Wrong, "What is wrong, and what to do:", RED),
        (Gravity::Notice, "To be done in time:", YELLOW),
    ] {
        let mut lines = problems
            .iter()
            .filter(|problem| problem.gravity == gravity)
            .peekable();
        if lines.peek().is_some() {
            is_quiet = false;
            say!("\n{}", colored(title, color));
        }
        lines.for_each(|problem| say!("  {}", problem.text));
    }
    if is_quiet {
        say!("\n{}", colored("Nothing is wrong.", GREEN));
    }
}

// Parameters of the escape sequence SGR, as all terminals know them.
const RED: u8 = 31;
const GREEN: u8 = 32;
const YELLOW: u8 = 33;
