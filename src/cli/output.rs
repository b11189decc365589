//! Lines on standard output and standard error.
//!
//! A reader that has read enough, such as `head -1`, closes the pipe. The command goes on to its
//! end without a word, and its exit status is that of its work: a rotation is never left half done,
//! and a fault is still 78.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;

use crate::log::wants_color;

/// Prints a line to standard output.
macro_rules! say {
    () => { $crate::cli::output::to_stdout(format_args!("\n")) };
    ($($text:tt)*) => { $crate::cli::output::to_stdout(format_args!("{}\n", format_args!($($text)*))) };
}

/// Prints a line to standard error.
macro_rules! complain {
    ($($text:tt)*) => { $crate::cli::output::to_stderr(format_args!($($text)*)) };
}

/// Prints a text without a line break of its own to standard output, unless an earlier write
/// failed.
pub(super) fn to_stdout(text: fmt::Arguments<'_>) {
    if FAILURE.get().is_some() {
        return;
    }
    let mut out = io::stdout().lock();
    if let Err(error) = out.write_fmt(text).and_then(|()| out.flush()) {
        FAILURE.set(error).ok();
    }
}

/// Prints a line to standard error. A failure has no place left to be told.
pub(super) fn to_stderr(line: fmt::Arguments<'_>) {
    writeln!(io::stderr(), "{line}").ok();
}

/// The style of a text, as the parameter of the escape sequence SGR (ECMA-48) that all terminals
/// know.
#[derive(Clone, Copy)]
pub(super) enum TextStyle {
    Bold = 1,
    Red = 31,
    Green = 32,
    Yellow = 33,
    Grey = 90,
}

/// Returns a text, in a style on a terminal with colours.
pub(super) fn styled(text: &str, style: TextStyle) -> String {
    if is_terminal() && wants_color() {
        format!("\x1b[{}m{text}\x1b[0m", style as u8)
    } else {
        text.to_owned()
    }
}

/// Returns the width of the terminal on standard output; `None` for a pipe or a file, whose reader
/// wants whole lines.
pub(super) fn terminal_width() -> Option<usize> {
    let (width, _) = terminal_size::terminal_size_of(io::stdout())?;
    Some(usize::from(width.0)).filter(|width| *width > 0)
}

/// True if a person reads standard output.
pub(super) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// True once nobody reads standard output any more.
pub(super) fn is_unread() -> bool {
    FAILURE.get().is_some()
}

/// Returns the reason for which standard output is incomplete, other than a reader that has read
/// enough.
pub(super) fn failure() -> Option<&'static io::Error> {
    let error = FAILURE.get()?;
    (error.kind() != io::ErrorKind::BrokenPipe).then_some(error)
}

/// The first failed write to standard output.
static FAILURE: OnceLock<io::Error> = OnceLock::new();
