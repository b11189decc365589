//! Text with names in braces, such as `Bearer {token}`.

use std::collections::BTreeMap;
use std::fmt;

use super::variable::{NOT_A_VARIABLE, is_variable};
use crate::document::Malformed;

/// Text with names in braces, such as `Bearer {token}`.
///
/// A [`Provider`](super::Provider) has no parameters left in its templates:
/// [`Outline::fill`](super::Outline::fill) turned each parameter into text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// The pieces, in order.
    pub parts: Vec<TemplatePart>,
}

/// A piece of a [`Template`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplatePart {
    /// Literal text.
    Text(String),
    /// The name of a secret or of the access token; in a path also a variable of the pattern that
    /// matched.
    Name(String),
    /// Base64 of the inner parts, for user and password of HTTP Basic: RFC 7617.
    Basic(Vec<Self>),
}

impl Template {
    /// Reads text with names in braces. `{{` and `}}` stand for a brace.
    ///
    /// Two names with a colon between them, as in `Basic {account:token}`, stand for the Base64 of
    /// `ACCOUNT:TOKEN`.
    ///
    /// # Errors
    /// Braces without a name between them, or a control character.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            match c {
                '{' if rest.as_str().starts_with('{') => {
                    rest.next();
                    plain.push('{');
                }
                '}' if rest.as_str().starts_with('}') => {
                    rest.next();
                    plain.push('}');
                }
                '{' => {
                    let (names, after) = rest.as_str().split_once('}').ok_or(NOT_A_VARIABLE)?;
                    if !plain.is_empty() {
                        parts.push(TemplatePart::Text(std::mem::take(&mut plain)));
                    }
                    parts.push(TemplatePart::of_names(names)?);
                    rest = after.chars();
                }
                '}' => return Err(NOT_A_VARIABLE),
                c if c.is_control() => {
                    return Err(Malformed::new("a control character, expected visible text"));
                }
                c => plain.push(c),
            }
        }
        if !plain.is_empty() {
            parts.push(TemplatePart::Text(plain));
        }
        Ok(Self { parts })
    }

    /// Returns every name in the template, the names inside HTTP Basic included.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let flat = self.parts.iter().flat_map(|part| match part {
            TemplatePart::Basic(parts) => parts.as_slice(),
            part => std::slice::from_ref(part),
        });
        flat.filter_map(|part| match part {
            TemplatePart::Name(name) => Some(name.as_str()),
            TemplatePart::Text(_) | TemplatePart::Basic(_) => None,
        })
    }

    /// Replaces each name with a value by the value.
    pub fn fill(&mut self, values: &BTreeMap<String, String>) {
        for part in &mut self.parts {
            part.fill(values);
        }
    }

    /// Returns the whole text, or `None` while a name is left.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        let texts = self.parts.iter().map(|part| match part {
            TemplatePart::Text(text) => Some(text.as_str()),
            TemplatePart::Name(_) | TemplatePart::Basic(_) => None,
        });
        texts.collect()
    }
}

impl TemplatePart {
    /// Reads the text between two braces: a name, or two names with a colon for HTTP Basic.
    fn of_names(names: &str) -> Result<Self, Malformed> {
        match names.split_once(':') {
            None => Self::of_name(names),
            Some((user, password)) => Ok(Self::Basic(vec![
                Self::of_name(user)?,
                Self::Text(":".to_owned()),
                Self::of_name(password)?,
            ])),
        }
    }

    fn of_name(name: &str) -> Result<Self, Malformed> {
        if is_variable(name) {
            Ok(Self::Name(name.to_owned()))
        } else {
            Err(NOT_A_VARIABLE)
        }
    }

    fn fill(&mut self, values: &BTreeMap<String, String>) {
        match self {
            Self::Text(_) => {}
            Self::Name(name) => {
                if let Some(value) = values.get(name) {
                    *self = Self::Text(value.clone());
                }
            }
            Self::Basic(parts) => {
                for part in parts {
                    part.fill(values);
                }
            }
        }
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.parts {
            match part {
                TemplatePart::Text(text) => {
                    f.write_str(&text.replace('{', "{{").replace('}', "}}"))?
                }
                TemplatePart::Name(name) => write!(f, "{{{name}}}")?,
                TemplatePart::Basic(parts) => {
                    f.write_str("{")?;
                    for part in parts {
                        match part {
                            TemplatePart::Text(text) | TemplatePart::Name(text) => {
                                f.write_str(text)?
                            }
                            TemplatePart::Basic(_) => {}
                        }
                    }
                    f.write_str("}")?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_text_and_names() {
        let text = |text: &str| TemplatePart::Text(text.to_owned());
        let name = |name: &str| TemplatePart::Name(name.to_owned());
        for (given, parts) in [
            ("Bearer {token}", vec![text("Bearer "), name("token")]),
            ("{api_key}", vec![name("api_key")]),
            (
                "/i{a}/{b}",
                vec![text("/i"), name("a"), text("/"), name("b")],
            ),
            ("{{{a}}}", vec![text("{"), name("a"), text("}")]),
            (
                "Basic {a:b}",
                vec![
                    text("Basic "),
                    TemplatePart::Basic(vec![name("a"), text(":"), name("b")]),
                ],
            ),
            ("", vec![]),
        ] {
            let template = Template::parse(given).unwrap();
            assert_eq!(template.parts, parts, "{given}");
            assert_eq!(template.to_string(), given);
        }
        for given in [
            "{", "}", "{}", "{Token}", "{a", "a}", "{a b}", "a\nb", "{{a}", "{a:}", "{:b}",
            "{a:b:c}",
        ] {
            assert!(Template::parse(given).is_err(), "{given}");
        }
    }

    #[test]
    fn a_value_replaces_its_name() {
        let values = BTreeMap::from([
            ("a".to_owned(), "x".to_owned()),
            ("b".to_owned(), "y".to_owned()),
        ]);
        for (given, filled, text) in [
            ("/i{a}/{b}", "/ix/y", Some("/ix/y")),
            ("{a}{c}", "x{c}", None),
            ("Basic {a:c}", "Basic {x:c}", None),
        ] {
            let mut template = Template::parse(given).unwrap();
            template.fill(&values);
            assert_eq!(
                (template.to_string().as_str(), template.text().as_deref()),
                (filled, text)
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn a_displayed_template_parses_to_the_same_template(text in "\\PC{0,60}|[{}/.v:a\\[\\]@#?-]{0,30}") {
            if let Ok(template) = Template::parse(&text) {
                assert_eq!(Template::parse(&template.to_string()), Ok(template));
            }
        }
    }
}
