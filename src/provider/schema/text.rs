//! The texts of a preset that name parts of a request: headers, parameters, JSON pointers.

use std::fmt;

use http::header::{self, HeaderName, HeaderValue};

use crate::document::{Malformed, Reader};
use crate::provider::template::{Template, TemplatePart};

/// Reads the name of a header that carries a credential or a signature.
pub(super) fn header_name(text: &str) -> Result<HeaderName, Malformed> {
    let name =
        HeaderName::try_from(text).map_err(|_| Malformed::new("not the name of a header"))?;
    // The destination and the end of a request depend on these headers.
    let framing = [
        header::HOST,
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::TE,
        header::TRAILER,
        header::UPGRADE,
        header::EXPECT,
    ];
    if framing.contains(&name) || matches!(name.as_str(), "keep-alive" | "proxy-connection") {
        return Err(Malformed::new(
            "a header of the connection, expected one that carries a credential",
        ));
    }
    Ok(name)
}

/// Reads the key `header`, which must be there.
pub(super) fn required_header(reader: &mut Reader<'_>) -> Option<HeaderName> {
    reader
        .required("header", "the name of a header")?
        .parse(header_name)
}

/// Reads the name of a query parameter or of a field of a form.
pub(super) fn parameter_name(text: &str) -> Result<String, Malformed> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-[]".contains(c);
    if text.is_empty() || !text.chars().all(plain) {
        return Err(Malformed::new(
            "not the name of a parameter, expected letters, digits and _.-[]",
        ));
    }
    Ok(text.to_owned())
}

/// Reads a JSON pointer (RFC 6901) as its keys. The key `*` stands for each element of an array.
pub(super) fn pointer(text: &str) -> Result<Vec<String>, Malformed> {
    let keys = text
        .strip_prefix('/')
        .filter(|keys| !keys.is_empty())
        .ok_or(Malformed::new(
            "not a JSON pointer, expected one such as \"/apiKey\"",
        ))?;
    let unescape = |key: &str| key.replace("~1", "/").replace("~0", "~");
    Ok(keys.split('/').map(unescape).collect())
}

/// Reads text that may stand in the value of a header.
pub(super) fn header_text(text: &str) -> Result<String, Malformed> {
    if text.is_empty() || !is_header_text(text) {
        return Err(NOT_HEADER_TEXT);
    }
    Ok(text.to_owned())
}

/// Returns true if a template may be the value of a header. Secrets were checked when they were
/// read.
pub(super) fn is_header_template(template: &Template) -> bool {
    template.parts.iter().all(|part| match part {
        TemplatePart::Text(text) => is_header_text(text),
        TemplatePart::Name(_) | TemplatePart::Basic(_) => true,
    })
}

fn is_header_text(text: &str) -> bool {
    text.is_ascii() && HeaderValue::from_str(text).is_ok()
}

/// Reads an array of strings; every malformed element is a separate fault.
pub(super) fn list<T, E: fmt::Display>(
    reader: &mut Reader<'_>,
    key: &str,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Vec<T> {
    let fields = reader.array(key).unwrap_or_default();
    fields
        .iter()
        .filter_map(|field| field.parse(&parse))
        .collect()
}

/// The error for text outside the characters of a header value.
pub(super) const NOT_HEADER_TEXT: Malformed =
    Malformed::new("not text for a header, expected visible ASCII");
