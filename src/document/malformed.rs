//! The error of a text in an unexpected form.

use std::fmt;

/// A text in another than the expected form. The message names the fault and the expected form.
///
/// The error never contains the text, because the text may be a literal secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(&'static str);

impl Malformed {
    /// An error with a message of the form "WRONG, expected RIGHT".
    #[must_use]
    pub const fn new(message: &'static str) -> Self {
        Self(message)
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Malformed {}
