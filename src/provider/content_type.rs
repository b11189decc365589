//! The media types of request bodies, as far as a body can be looked through.

use crate::document::Malformed;

/// A media type that the body of a request may have, such as `application/json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentType {
    /// The type and subtype in lower case, without parameters.
    pub name: String,
    /// The form in which fields stand in the body.
    pub form: BodyForm,
}

/// The form in which fields stand in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyForm {
    /// A single JSON object.
    Json,
    /// `name=value` pairs, encoded like a query.
    UrlEncoded,
    /// The parts of `multipart/form-data`, files among them.
    Multipart,
}

impl ContentType {
    /// Reads a media type in whose bodies Keyside finds fields: a form, or JSON in any of its
    /// types.
    ///
    /// # Errors
    /// Any other type: a field could hide in a body that Keyside cannot read.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let name = text.to_ascii_lowercase();
        let is_plain = |part: &str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b".+-_".contains(&byte))
        };
        let is_json = |subtype: &str| subtype == "json" || subtype.ends_with("+json");
        let form = match name.split_once('/') {
            Some(("multipart", "form-data")) => BodyForm::Multipart,
            Some(("application", "x-www-form-urlencoded")) => BodyForm::UrlEncoded,
            Some((of, subtype)) if is_plain(of) && is_plain(subtype) && is_json(subtype) => {
                BodyForm::Json
            }
            _ => return Err(UNREADABLE),
        };
        Ok(Self { name, form })
    }

    /// Returns the types of a provider that names none: JSON and forms.
    #[must_use]
    pub fn usual() -> Vec<Self> {
        let types = [
            ("application/json", BodyForm::Json),
            ("application/x-www-form-urlencoded", BodyForm::UrlEncoded),
        ];
        types
            .map(|(name, form)| Self {
                name: name.to_owned(),
                form,
            })
            .into()
    }
}

const UNREADABLE: Malformed = Malformed::new(
    "not a type that Keyside can look through, expected \"application/json\" or another +json, \
     \"application/x-www-form-urlencoded\" or \"multipart/form-data\"; `raw = true` passes files of any type",
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_json_or_a_form() {
        for (text, form) in [
            ("application/json", Some(BodyForm::Json)),
            ("Application/JSON-patch+json", Some(BodyForm::Json)),
            (
                "application/x-www-form-urlencoded",
                Some(BodyForm::UrlEncoded),
            ),
            ("multipart/form-data", Some(BodyForm::Multipart)),
            ("text/plain", None),
            ("application/json; charset=utf-8", None),
            ("multipart/mixed", None),
            ("/json", None),
            ("json", None),
            ("", None),
        ] {
            let read = ContentType::parse(text).ok().map(|read| read.form);
            assert_eq!(read, form, "{text}");
        }
        assert!(
            ContentType::usual()
                .iter()
                .all(|usual| ContentType::parse(&usual.name).as_ref() == Ok(usual))
        );
    }
}
