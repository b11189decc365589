//! The comparison before a write: the place must hold the value that is to be replaced.

use zeroize::Zeroizing;

use super::document::SecretDocument;
use super::error::SourceError;
use super::found::RawSecret;
use super::place_error::{PlaceError, PlaceFault};
use crate::secret::Secret;

/// The step that a comparison leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EditStep {
    /// The place holds the new secret already.
    Done,
    /// The place holds the expected secret, or is without a secret as expected.
    Write,
}

/// Compares the present value with the expected secret and the new one. Without an expected secret
/// the place must hold no possible secret.
///
/// # Errors
/// [`PlaceError::Changed`] if the value is neither.
pub(super) fn compare(
    present: Result<RawSecret, SourceError>,
    expected: Option<&Secret>,
    new: &Secret,
) -> Result<EditStep, PlaceError> {
    let present = match present.and_then(RawSecret::parse) {
        Ok(found) => found.secret,
        Err(error) if expected.is_none() && error.is_absence() => return Ok(EditStep::Write),
        Err(error) => return Err(PlaceError::unread(error)),
    };
    if present.same_as(new) {
        Ok(EditStep::Done)
    } else if expected.is_some_and(|expected| present.same_as(expected)) {
        Ok(EditStep::Write)
    } else {
        Err(PlaceError::Changed)
    }
}

/// Returns the value that a field takes of a document; without a field, the whole document.
pub(super) fn value(
    present: &SecretDocument,
    field: Option<&str>,
) -> Result<RawSecret, SourceError> {
    match field {
        Some(field) => present.field(field),
        None => Ok(present.whole()),
    }
}

/// Composes the new content of a place: the other fields of an object stay as they are.
///
/// # Errors
/// If the present content is no object.
pub(super) fn content(
    present: &SecretDocument,
    field: Option<&str>,
    new: &Secret,
) -> Result<Zeroizing<String>, PlaceError> {
    let content = match field {
        Some(field) => present.with(field, new),
        None => Some(whole(new)),
    };
    content.ok_or_else(|| {
        PlaceError::NotWritten(PlaceFault::Manager(
            "it is no JSON object that could be changed".to_owned(),
        ))
    })
}

fn whole(secret: &Secret) -> Zeroizing<String> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the secret goes to the place that it will be read from"
    )]
    Zeroizing::new(secret.expose().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::parse(Zeroizing::new(text.as_bytes().to_vec())).unwrap()
    }

    /// Returns the new content in the place of `old`, or a word for the other outcomes.
    fn edited_from(old: Option<&Secret>, present: &str, field: Option<&str>) -> String {
        let document = SecretDocument::new(Zeroizing::new(present.as_bytes().to_vec()), None);
        let new = secret("EAANEW");
        let step = compare(value(&document, field), old, &new);
        match step.and_then(|step| Ok((step, content(&document, field, &new)?))) {
            Ok((EditStep::Done, _)) => "done".to_owned(),
            Ok((EditStep::Write, content)) => content.as_str().to_owned(),
            Err(PlaceError::Changed) => "changed".to_owned(),
            Err(PlaceError::NotWritten(fault)) => fault.to_string(),
            Err(PlaceError::Unknown(_)) => "unknown".to_owned(),
        }
    }

    #[test]
    fn only_the_expected_secret_is_replaced_and_other_fields_stay() {
        for (present, field, expected) in [
            ("EAAOLD", None, "EAANEW"),
            ("EAAOLD\n", None, "EAANEW"),
            ("EAANEW", None, "done"),
            ("EAAOTHER", None, "changed"),
            ("", None, "nothing was written: no value (0 bytes)"),
            (
                r#"{"app":{"a":[1.50]},"token":"EAAOLD"}"#,
                Some("token"),
                r#"{"token":"EAANEW","app":{"a":[1.50]}}"#,
            ),
            (r#"{"token":"EAANEW","b":1}"#, Some("token"), "done"),
            (r#"{"token":"EAAOTHER"}"#, Some("token"), "changed"),
            (
                r#"{"other":"EAAOLD"}"#,
                Some("token"),
                "nothing was written: it has no field `token`",
            ),
            (
                "EAAOLD",
                Some("token"),
                "nothing was written: it is no JSON object, so it has no field `token`",
            ),
        ] {
            let old = secret("EAAOLD");
            assert_eq!(
                edited_from(Some(&old), present, field),
                expected,
                "{present}"
            );
        }
    }

    #[test]
    fn only_what_is_no_secret_is_replaced_where_no_secret_is_expected() {
        for (present, field, expected) in [
            ("", None, "EAANEW"),
            ("two\nlines", None, "EAANEW"),
            ("EAANEW", None, "done"),
            ("EAAOTHER", None, "changed"),
            (r#"{"b":1}"#, Some("token"), r#"{"token":"EAANEW","b":1}"#),
            (r#"{"token":""}"#, Some("token"), r#"{"token":"EAANEW"}"#),
            (r#"{"token":"EAAOTHER"}"#, Some("token"), "changed"),
        ] {
            assert_eq!(edited_from(None, present, field), expected, "{present}");
        }
    }
}
