//! Patterns of paths, such as `/{v}/{sender}/messages`, as a preset writes them.

use std::fmt;

use super::variable::{NOT_A_VARIABLE, is_variable};
use crate::document::Malformed;

/// The form of a segment that stands under a name of its own, such as the id of a group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SegmentForm {
    /// The name in braces.
    pub name: String,
    /// The beginning of every text of this form. More must follow: letters, digits, `_`, `-` and
    /// `=`.
    pub prefix: String,
    /// The party named by a text of this form.
    pub party: FormParty,
}

/// The party named by a text of a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FormParty {
    /// An object other than a sender, such as a group.
    Object,
    /// The sender, by a name other than an id or a phone number, such as the device at Wassenger.
    Sender,
}

/// A path with variables, such as `/{v}/{sender}/messages`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    /// The segments between the slashes.
    pub segments: Vec<Segment>,
}

/// A segment of a [`PathPattern`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// Exactly this text.
    Literal(String),
    /// `{v}`, only as the first segment: a version such as `v23.0`, or no segment at all.
    Version,
    /// `{id}`: digits.
    Id,
    /// `{sender}`: the digits, perhaps with a plus sign in front, or the UUID that name the sender.
    Sender,
    /// `{name}` with the name of a form: a text of this form.
    Formed(SegmentForm),
    /// `{name}`: any segment that is not empty.
    Any(String),
    /// `text{...}`, only as the last segment: a segment that begins with `text` and is longer.
    Prefix(String),
    /// `{...}`, only as the last segment: any number of further segments.
    Rest,
}

impl PathPattern {
    /// Reads a pattern such as `/{v}/{sender}/messages`.
    ///
    /// # Errors
    /// A pattern that no request can match, or a repeated variable.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let path = text.strip_prefix('/').ok_or(NO_SLASH)?;
        let last = path.split('/').count() - 1;
        let mut segments = Vec::new();
        for (index, part) in path.split('/').enumerate() {
            let segment = Segment::parse(part)?;
            if matches!(segment, Segment::Rest | Segment::Prefix(_)) && index != last {
                return Err(Malformed::new(
                    "`{...}` is not at the end, expected it there",
                ));
            }
            if segment == Segment::Version && index != 0 {
                return Err(Malformed::new(
                    "`{v}` is not at the beginning, expected it there",
                ));
            }
            segments.push(segment);
        }
        let pattern = Self { segments };
        let mut names: Vec<&str> = pattern.variables().collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair.first() == pair.last()) {
            return Err(Malformed::new(
                "the same variable twice, expected different names",
            ));
        }
        Ok(pattern)
    }

    /// Returns the pattern with a form in the place of each variable that has the name of a form.
    #[must_use]
    pub fn with_forms(mut self, forms: &[SegmentForm]) -> Self {
        for segment in &mut self.segments {
            let form = match segment {
                Segment::Any(name) => forms.iter().find(|form| form.name == *name),
                _ => None,
            };
            if let Some(form) = form {
                *segment = Segment::Formed(form.clone());
            }
        }
        self
    }

    /// Returns the names of the variables, without `{...}`, which has no name.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Version => Some("v"),
            Segment::Id => Some("id"),
            Segment::Sender => Some("sender"),
            Segment::Formed(SegmentForm { name, .. }) | Segment::Any(name) => Some(name),
            Segment::Literal(_) | Segment::Prefix(_) | Segment::Rest => None,
        })
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.segments {
            match segment {
                Segment::Literal(text) => write!(f, "/{text}")?,
                Segment::Version => f.write_str("/{v}")?,
                Segment::Id => f.write_str("/{id}")?,
                Segment::Sender => f.write_str("/{sender}")?,
                Segment::Formed(SegmentForm { name, .. }) | Segment::Any(name) => {
                    write!(f, "/{{{name}}}")?;
                }
                Segment::Prefix(text) => write!(f, "/{text}{{...}}")?,
                Segment::Rest => f.write_str("/{...}")?,
            }
        }
        Ok(())
    }
}

impl SegmentForm {
    /// Reads the form with this name: the text at the beginning, then `{...}`, or `{sender}` for
    /// the sender.
    ///
    /// # Errors
    /// A form without a beginning, but for the sender.
    pub fn parse(name: &str, text: &str) -> Result<Self, Malformed> {
        if text == "{sender}" {
            return Ok(Self {
                name: name.to_owned(),
                prefix: String::new(),
                party: FormParty::Sender,
            });
        }
        let prefix = text.strip_suffix("{...}").unwrap_or_default();
        if prefix.is_empty() || !prefix.bytes().all(is_form_byte) {
            return Err(Malformed::new(
                "not a form, expected the text at the beginning of each value and `{...}` for the rest, such as \"abc{...}\", or \"{sender}\"",
            ));
        }
        Ok(Self {
            name: name.to_owned(),
            prefix: prefix.to_owned(),
            party: FormParty::Object,
        })
    }

    /// Returns true for a text of this form.
    #[must_use]
    pub fn fits(&self, text: &str) -> bool {
        let rest = text.strip_prefix(self.prefix.as_str());
        text.len() <= MAX_FORMED
            && rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(is_form_byte))
    }
}

/// Returns true for a character of base64 in its form for URLs.
fn is_form_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-=".contains(&byte)
}

/// The longest text with a form, in bytes. The ids of Meta's groups have about 60.
const MAX_FORMED: usize = 256;

impl Segment {
    /// Returns true for the segment of the sender.
    #[must_use]
    pub fn is_sender(&self) -> bool {
        match self {
            Self::Sender => true,
            Self::Formed(form) => form.party == FormParty::Sender,
            _ => false,
        }
    }

    fn parse(text: &str) -> Result<Self, Malformed> {
        if let Some(before) = text.strip_suffix("{...}") {
            return match before {
                "" => Ok(Self::Rest),
                before => literal(before).map(Self::Prefix),
            };
        }
        let Some(name) = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')) else {
            return literal(text).map(Self::Literal);
        };
        match name {
            "v" => Ok(Self::Version),
            "id" => Ok(Self::Id),
            "sender" => Ok(Self::Sender),
            name if is_variable(name) => Ok(Self::Any(name.to_owned())),
            _ => Err(NOT_A_VARIABLE),
        }
    }
}

/// Checks literal text of a segment. Text that the guard of requests refuses in a path could never
/// match.
fn literal(text: &str) -> Result<String, Malformed> {
    let is_plain = |c: char| c.is_ascii_graphic() && !"{}%?#\\\"<>".contains(c);
    if text.is_empty() || text == "." || text == ".." {
        return Err(Malformed::new(
            "an empty or dotted segment, expected text between the slashes",
        ));
    }
    if !text.chars().all(is_plain) {
        return Err(Malformed::new(
            "not a path, expected visible ASCII without percent, query or braces inside a segment",
        ));
    }
    Ok(text.to_owned())
}

const NO_SLASH: Malformed = Malformed::new("not a path, expected it to begin with a slash");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_read_segment_by_segment() {
        let pattern = PathPattern::parse("/{v}/{sender}/message_qrdls/{code}").unwrap();
        assert_eq!(
            pattern.segments,
            [
                Segment::Version,
                Segment::Sender,
                Segment::Literal("message_qrdls".into()),
                Segment::Any("code".into()),
            ]
        );
        for text in [
            "/{v}/{id}",
            "/whatsapp_business/attachments/{...}",
            "/{v}/upload:{...}",
            "/media/{sender}/upload",
            "/messages",
            "/{v}/{sender}/message_qrdls/{code}",
        ] {
            assert_eq!(PathPattern::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_variable_with_the_name_of_a_form_takes_texts_of_the_form_alone() {
        let group = SegmentForm::parse("group", "Y2Fw{...}").unwrap();
        let pattern = PathPattern::parse("/{v}/{group}/{code}")
            .unwrap()
            .with_forms(std::slice::from_ref(&group));
        assert_eq!(pattern.to_string(), "/{v}/{group}/{code}");
        assert_eq!(
            pattern.variables().collect::<Vec<_>>(),
            ["v", "group", "code"]
        );
        assert_eq!(
            pattern.segments.get(1),
            Some(&Segment::Formed(group.clone()))
        );
        for (text, expected) in [
            ("Y2FwaV9ncm91cDoxNzA1NTU1MDEzOToxMjAzZD", true),
            ("Y2Fw-_=", true),
            ("Y2Fw", false),
            ("y2FwaV9", false),
            ("Y2Fw%41", false),
            ("Y2Fw.a", false),
            ("me", false),
            ("", false),
        ] {
            assert_eq!(group.fits(text), expected, "{text}");
        }
        assert!(!group.fits(&format!("Y2Fw{}", "a".repeat(300))));
        let device = SegmentForm::parse("device", "{sender}").unwrap();
        for (text, expected) in [
            ("60a1f0c2", true),
            ("15550001111", true),
            ("", false),
            ("a.b", false),
        ] {
            assert_eq!(device.fits(text), expected, "{text}");
        }
        assert!(Segment::Formed(device).is_sender() && !Segment::Formed(group).is_sender());
        for text in ["", "{...}", "Y2Fw", "{...}Y2Fw", "Y2 w{...}", "Y/{...}"] {
            assert!(SegmentForm::parse("group", text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_pattern_that_no_request_can_match_is_refused() {
        for text in [
            "",
            "/",
            "messages",
            "/a/",
            "//a",
            "/a//b",
            "/./a",
            "/../a",
            "/a?b",
            "/a#b",
            "/a%2fb",
            "/a\\b",
            "/ä",
            "/a b",
            "/{v",
            "/v}",
            "/{}",
            "/{Name}",
            "/a{name}",
            "/{...}/a",
            "/up:{...}/a",
            "/a/{v}",
            "/{id}/{id}",
            "/{a}/{a}",
            "/{sender}/x/{sender}",
        ] {
            assert!(PathPattern::parse(text).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_displayed_pattern_parses_to_the_same_pattern(text in "\\PC{0,60}|[{}/.v:a\\[\\]@#?-]{0,30}") {
            if let Ok(pattern) = PathPattern::parse(&text) {
                assert_eq!(PathPattern::parse(&pattern.to_string()), Ok(pattern));
            }
        }
    }
}
