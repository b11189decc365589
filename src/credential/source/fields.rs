//! `file:PATH#FIELD`: one secret of a file with several secrets, either a JSON object or lines
//! `NAME=value`.

use zeroize::Zeroizing;

use super::document::SecretDocument;
use super::error::SourceError;
use super::found::RawSecret;

/// Returns one field of a file that was read.
pub(super) fn of_file(
    file: Option<&Result<RawSecret, SourceError>>,
    name: &str,
) -> Result<RawSecret, SourceError> {
    let whole = match file {
        Some(Ok(whole)) => whole,
        Some(Err(error)) => return Err(error.clone()),
        None => return Err(SourceError::Cancelled),
    };
    let value = match whole.bytes.trim_ascii_start().first() {
        Some(b'{') => SecretDocument::new(whole.bytes.clone(), whole.since).field(name)?,
        _ => RawSecret {
            bytes: of_lines(&whole.bytes, name)
                .ok_or_else(|| SourceError::NoField(name.to_owned()))?,
            since: whole.since,
            warnings: Vec::new(),
        },
    };
    Ok(RawSecret {
        warnings: whole.warnings.clone(),
        ..value
    })
}

/// Returns the value of a name in lines `NAME=value`, as shells and `.env` files write them: with
/// or without `export` and with or without quotation marks. Of several lines with one name the last
/// line counts.
fn of_lines(text: &[u8], name: &str) -> Option<Zeroizing<Vec<u8>>> {
    let value = text
        .split(|byte| *byte == b'\n')
        .filter_map(|line| value_of(line, name))
        .next_back()?;
    Some(Zeroizing::new(unquoted(value).to_vec()))
}

fn value_of<'l>(line: &'l [u8], name: &str) -> Option<&'l [u8]> {
    let trimmed = line.trim_ascii();
    let assignment = match trimmed.strip_prefix(b"export") {
        Some(rest) if rest.starts_with(b" ") || rest.starts_with(b"\t") => rest.trim_ascii_start(),
        _ => trimmed,
    };
    let behind_name = assignment.strip_prefix(name.as_bytes())?;
    Some(
        behind_name
            .trim_ascii_start()
            .strip_prefix(b"=")?
            .trim_ascii(),
    )
}

/// Removes a pair of quotation marks.
fn unquoted(value: &[u8]) -> &[u8] {
    match value {
        [b'"', inner @ .., b'"'] | [b'\'', inner @ .., b'\''] => inner,
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(text: &str, name: &str) -> Result<String, String> {
        let file = Ok(RawSecret {
            bytes: Zeroizing::new(text.as_bytes().to_vec()),
            since: None,
            warnings: Vec::new(),
        });
        of_file(Some(&file), name)
            .map(|raw| String::from_utf8(raw.bytes.to_vec()).unwrap())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_field_of_an_object_or_of_lines_is_found() {
        let lines = "# TOKEN=no\nexport TOKEN=old\nTOKEN_2=two\n  TOKEN = \"EAAx=\" \r\nAPP='s'\n";
        for (text, name, expected) in [
            (r#" {"token":"EAAx","app_secret":"s"}"#, "app_secret", "s"),
            (r#"{"token":"a\/b"}"#, "token", "a/b"),
            (lines, "TOKEN", "EAAx="),
            (lines, "TOKEN_2", "two"),
            (lines, "APP", "s"),
            ("exporter=1", "exporter", "1"),
        ] {
            assert_eq!(field(text, name).as_deref(), Ok(expected), "{name}");
        }
    }

    #[test]
    fn a_field_that_is_not_there_is_named_and_no_value_is() {
        for (text, name) in [
            (r#"{"token":"EAAx"}"#, "app_secret"),
            (r#"{"token":7}"#, "token"),
            ("TOKEN=EAAx", "TOKE"),
            ("EAAx", "token"),
            ("", "token"),
        ] {
            let message = field(text, name).unwrap_err();
            assert!(message.contains(name), "{message}");
            assert!(!message.contains("EAAx"), "{message}");
        }
    }
}
