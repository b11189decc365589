//! The form of a path that every server reads alike.

use super::error::OutboundError;

/// Refuses a path that two servers could read differently: a dot segment, an empty segment, a
/// segment that some server reads as empty, or a backslash, plain or encoded, perhaps twice; a
/// control character; a byte beyond ASCII. Other paths go on byte for byte.
///
/// # Errors
/// 400.
pub fn check_path(path: &str) -> Result<(), OutboundError> {
    let refuse = |message| {
        Err(OutboundError::bad_request(
            message,
            "send the path in its plain form, as the provider documents it",
        ))
    };
    if !path.starts_with('/') {
        return refuse("the path does not begin with `/`");
    }
    if is_plain(path) {
        return Ok(());
    }
    let mut pairs = path.as_bytes().windows(2);
    // Hardly any path has such a pair.
    if pairs.any(|pair| matches!(pair, b"//" | b"/.")) {
        if path.contains("//") {
            return refuse("the path has an empty segment");
        }
        if path.split('/').any(is_dot_segment) {
            return refuse("the path has a dot segment");
        }
    }
    if path.split('/').any(begins_with_a_cut) {
        return refuse("the path has a segment that some servers read as empty");
    }
    if path
        .bytes()
        .any(|b| b == b'\\' || !(b'!'..=b'~').contains(&b))
    {
        return refuse("the path has a backslash, a control character or a byte that is not ASCII");
    }
    let mut rest = path;
    while let Some((_, after)) = rest.split_once('%') {
        match hex_pair(after) {
            None => return refuse("the path has a `%` without two hex digits"),
            Some(b'/' | b'\\' | b'.' | 0..0x20 | 0x7f..) => {
                return refuse(
                    "the path has an encoded slash, backslash, dot or control character",
                );
            }
            // A server that decodes twice would read a second path here.
            Some(b'%') if after.get(2..).and_then(hex_pair).is_some() => {
                return refuse("the path has a character that is encoded twice");
            }
            Some(_) => rest = after,
        }
    }
    Ok(())
}

/// True for a path that has nothing to look at, as most have: letters, digits, and dots inside of
/// segments that are not empty.
fn is_plain(path: &str) -> bool {
    let mut before = b'a';
    path.bytes().all(|byte| {
        let is_fine = match byte {
            b'/' | b'.' => before != b'/',
            byte => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'='),
        };
        before = byte;
        is_fine
    })
}

/// True for a segment that some server reads as `.` or `..`: servers cut a segment at `;`, at an
/// encoded `?` or `#`, or trim blanks, before they look at the dots.
fn is_dot_segment(segment: &str) -> bool {
    let Some(after) = segment.strip_prefix('.') else {
        return false;
    };
    let after = after.strip_prefix('.').unwrap_or(after);
    let next = first_byte(after);
    !next.is_some_and(|byte| byte.is_ascii_alphanumeric() || b".-_~".contains(&byte))
}

/// True for a segment before whose text some server cuts: at `;`, at an encoded `?` or `#`, or at a
/// blank that is trimmed. An id would be empty there, and the path that of the whole collection.
fn begins_with_a_cut(segment: &str) -> bool {
    first_byte(segment).is_some_and(|byte| b";?# ".contains(&byte))
}

/// The first byte of a text, perhaps encoded.
fn first_byte(text: &str) -> Option<u8> {
    match text.strip_prefix('%') {
        Some(encoded) => hex_pair(encoded),
        None => text.bytes().next(),
    }
}

fn hex_pair(text: &str) -> Option<u8> {
    let digits = text.get(..2)?;
    let are_digits = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    are_digits.then(|| u8::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_could_be_read_in_two_ways_is_refused() {
        for path in [
            "",
            "*",
            "a",
            "//a",
            "/a//b",
            "/.",
            "/..",
            "/a/../b",
            "/a/.",
            "/a/..;/b",
            "/a/.;x=1",
            "/a/..%3b/b",
            "/a/..%3B/b",
            "/a/.%3bx",
            "/a/%20",
            "/a/%20b",
            "/a/..%20/b",
            "/a/..%3f/b",
            "/a/..%23",
            "/a/..,b",
            "/a/..&b",
            "/a/..%25/b",
            "/a/%252e%252e/b",
            "/a%252fb",
            "/a%25255cb",
            "/a\\b",
            "/a b",
            "/\u{e9}",
            "/a\u{7f}",
            "/%",
            "/%4",
            "/%zz",
            "/%2e%2e/a",
            "/a%2Fb",
            "/a%5cb",
            "/%00",
            "/a%0d%0aX:%20y",
            "/%7f",
            "/%c3%a9",
            "/messages/;a",
            "/messages/;",
            "/messages/%3Ba",
            "/messages/%3b",
            "/messages/%3fa",
            "/messages/%23",
            "/;a/messages",
        ] {
            assert!(check_path(path).is_err(), "{path}");
        }
    }

    #[test]
    fn a_plain_path_passes() {
        for path in [
            "/",
            "/v23.0/106/messages",
            "/v23.0/upload:MTphdHRh==",
            "/a/...",
            "/a/.b",
            "/a/..b",
            "/a/.well-known",
            "/a.b",
            "/a/100%25",
            "/a/%25zz",
            "/a%20b",
            "/a;b=c",
            "/106/messages/",
        ] {
            assert!(check_path(path).is_ok(), "{path}");
        }
    }
}
