//! Names in braces, which templates and path patterns share.

use crate::document::Malformed;

/// Returns true for a name allowed in braces, such as `token` or `account_sid`.
pub(super) fn is_variable(name: &str) -> bool {
    name.len() <= MAX_NAME_LENGTH
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// The longest name in braces, in bytes. Longer than any name of a preset, and short enough for
/// error messages.
const MAX_NAME_LENGTH: usize = 40;

/// The error for braces with anything else between them.
pub(super) const NOT_A_VARIABLE: Malformed =
    Malformed::new("not a variable, expected lower-case letters, digits and _ between the braces");
