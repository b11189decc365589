//! The head of a part: the one name that every server finds.

use super::fault::MultipartFault;

/// Returns the name of a part, from the lines of the head without the empty line.
///
/// # Errors
/// A head in which two servers could find different names.
pub(super) fn name_of_part(head: &[u8]) -> Result<&str, MultipartFault> {
    let head = std::str::from_utf8(head).map_err(|_| MultipartFault::Ambiguous)?;
    let mut named = None;
    for line in head.split("\r\n") {
        let (header, value) = line.split_once(':').ok_or(MultipartFault::Ambiguous)?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        // A control character, a bare line end among them, is a line end for some readers.
        if header.is_empty()
            || !header.bytes().all(is_plain)
            || value.chars().any(|c| c.is_control() && c != '\t')
        {
            return Err(MultipartFault::Ambiguous);
        }
        if header.eq_ignore_ascii_case("content-disposition") {
            let name = name_in(value).ok_or(MultipartFault::Ambiguous)?;
            if named.replace(name).is_some() {
                return Err(MultipartFault::Ambiguous);
            }
        }
    }
    named.ok_or(MultipartFault::Ambiguous)
}

/// Returns the name in the value of a `Content-Disposition`, if every server finds the same one.
///
/// A file name may have any character. A second `name=` inside it would be a name for a server that
/// reads quotation marks in another way, so there must be one in the whole line.
fn name_in(disposition: &str) -> Option<&str> {
    let (kind, parameters) = disposition.split_once(';')?;
    if !kind.trim_matches(' ').eq_ignore_ascii_case("form-data") {
        return None;
    }
    let lower = parameters.to_ascii_lowercase();
    let is_in_word = |byte: u8| byte.is_ascii_alphanumeric() || b"-_*".contains(&byte);
    let mut found = None;
    for (at, word) in lower.match_indices("name") {
        let begins = !lower.get(..at)?.bytes().next_back().is_some_and(is_in_word);
        let after = lower.get(at + word.len()..)?;
        let is_named = after.trim_start().starts_with(['=', '*']);
        if begins && is_named && found.replace(at + word.len()).is_some() {
            return None;
        }
    }
    let value = parameters.get(found?..)?.strip_prefix('=')?;
    // Outside quotation marks a bracket ends the name for Python.
    let (name, more): (&str, &[u8]) = match value.strip_prefix('"') {
        Some(quoted) => (quoted.split_once('"')?.0, b"[]$:@"),
        None => (value.split(';').next()?.trim_end_matches(' '), b""),
    };
    let is_plain =
        |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte) || more.contains(&byte);
    (!name.is_empty() && name.bytes().all(is_plain)).then_some(name)
}
