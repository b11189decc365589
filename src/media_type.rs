//! The value of a `Content-Type` header, read so strictly that no other reader finds another type
//! in it.

/// A media type with its parameters.
#[derive(Debug, PartialEq, Eq)]
pub struct MediaType<'a> {
    /// The type and subtype as written, without parameters.
    pub essence: &'a str,
    /// The names and values of the parameters, the values without quotation marks.
    parameters: Vec<(&'a str, &'a str)>,
}

impl<'a> MediaType<'a> {
    /// Reads `type/subtype; name=value; name="value"`. Returns `None` for text that servers read
    /// differently: an escape in a quoted value, a comma outside quotation marks, a parameter
    /// without a value.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let (essence, mut rest) = text.split_once(';').unwrap_or((text, ""));
        let essence = essence.trim_matches(BLANKS);
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/.+-_".contains(&byte);
        if essence.is_empty() || !essence.bytes().all(is_plain) {
            return None;
        }
        let mut parameters = Vec::new();
        loop {
            rest = rest.trim_matches(BLANKS);
            if rest.is_empty() {
                return Some(Self {
                    essence,
                    parameters,
                });
            }
            let (name, after) = rest.split_once('=')?;
            let (value, after) = value(after)?;
            if !is_token(name) || value.is_empty() {
                return None;
            }
            parameters.push((name, value));
            rest = match after.trim_start_matches(BLANKS) {
                "" => "",
                more => more.strip_prefix(';')?,
            };
        }
    }

    /// Returns true for this type and subtype, in lower case.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.essence.eq_ignore_ascii_case(name)
    }

    /// Returns true if the text is UTF-8, or is read alike in UTF-8 as far as names are concerned.
    #[must_use]
    pub fn is_utf8(&self) -> bool {
        self.values("charset").all(|charset| {
            CHARSETS
                .iter()
                .any(|known| known.eq_ignore_ascii_case(charset))
        })
    }

    /// Returns the boundary of a multipart body. Returns `None` without one boundary that every
    /// server finds: PHP looks for the word `boundary` anywhere in the header.
    #[must_use]
    pub fn boundary(&self) -> Option<&'a str> {
        let word = |text: &str| text.to_ascii_lowercase().contains("boundary");
        let is_boundary = |name: &str| name.eq_ignore_ascii_case("boundary");
        let mut naming = self
            .parameters
            .iter()
            .filter(|(name, value)| word(name) || word(value));
        let (name, boundary) = naming.next()?;
        let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_-./:=?".contains(&byte);
        let is_one = naming.next().is_none() && is_boundary(name);
        (is_one && boundary.len() <= MAX_BOUNDARY && boundary.bytes().all(is_fine))
            .then_some(*boundary)
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.parameters
            .iter()
            .filter(move |(own, _)| own.eq_ignore_ascii_case(name))
            .map(|(_, value)| *value)
    }
}

/// Takes a value from the beginning of a text, and returns the rest as well.
fn value(text: &str) -> Option<(&str, &str)> {
    if let Some(quoted) = text.strip_prefix('"') {
        return quoted
            .split_once('"')
            .filter(|(value, _)| !value.contains('\\'));
    }
    let end = text
        .find(|c: char| c == ';' || BLANKS.contains(&c))
        .unwrap_or(text.len());
    let (value, rest) = text.split_at_checked(end)?;
    value
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && !b"\",\\".contains(&byte))
        .then_some((value, rest))
}

/// Returns true for a token of RFC 9110, section 5.6.2.
#[must_use]
pub fn is_token(text: &str) -> bool {
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_fine)
}

const BLANKS: [char; 2] = [' ', '\t'];
/// Character sets in which the bytes of ASCII mean ASCII. Java's HTTP client writes `ISO-8859-1`
/// for forms.
const CHARSETS: [&str; 4] = ["utf-8", "utf8", "us-ascii", "iso-8859-1"];
/// Longest boundary, in bytes (RFC 2046, section 5.1.1).
const MAX_BOUNDARY: usize = 70;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_read_or_refused() {
        for (text, essence) in [
            ("application/json", Some("application/json")),
            (
                " application/json ; charset=utf-8",
                Some("application/json"),
            ),
            (
                "application/json;charset=\"utf-8\"; a=b;",
                Some("application/json"),
            ),
            ("Application/JSON;", Some("Application/JSON")),
            ("", None),
            (";charset=utf-8", None),
            ("application/json, multipart/form-data", None),
            ("application/json;charset=utf-8, multipart/form-data", None),
            ("application/json; charset", None),
            ("application/json; charset=", None),
            ("application/json; charset = utf-8", None),
            ("application/json; charset=\"utf-8", None),
            (r#"application/json; a="\"; b=c""#, None),
            ("application/json; a=\"b\"c", None),
            ("application json", None),
            ("application/j\u{e9}son", None),
        ] {
            let read = MediaType::parse(text).map(|read| read.essence);
            assert_eq!(read, essence, "{text}");
        }
    }

    #[test]
    fn a_character_set_that_hides_names_is_seen() {
        for (charset, is_utf8) in [
            ("", true),
            ("; charset=UTF-8", true),
            ("; charset=\"utf-8\"", true),
            ("; charset=ISO-8859-1", true),
            ("; charset=utf-16", false),
            ("; charset=utf-8; charset=utf-16le", false),
            ("; charset=utf-7", false),
            ("; charset=ibm037", false),
        ] {
            let text = format!("application/json{charset}");
            assert_eq!(
                MediaType::parse(&text).unwrap().is_utf8(),
                is_utf8,
                "{text}"
            );
        }
    }

    #[test]
    fn a_boundary_is_one_that_every_server_finds() {
        for (parameters, boundary) in [
            ("boundary=b", Some("b")),
            ("boundary=\"b\"", Some("b")),
            (
                "Boundary=----WebKitFormBoundaryX1",
                Some("----WebKitFormBoundaryX1"),
            ),
            ("charset=utf-8; boundary====12==", Some("===12==")),
            ("", None),
            ("boundary=a; boundary=b", None),
            ("boundary=a; x-boundary=b", None),
            ("x=boundary; boundary=b", None),
            ("boundary=\"a b\"", None),
            ("boundary=\"a;b\"", None),
            ("boundary*=utf-8''b", None),
        ] {
            let text = format!("multipart/form-data; {parameters}");
            assert_eq!(
                MediaType::parse(&text).unwrap().boundary(),
                boundary,
                "{text}"
            );
        }
        let long = format!("multipart/form-data; boundary={}", "b".repeat(71));
        assert_eq!(MediaType::parse(&long).unwrap().boundary(), None);
    }
}
