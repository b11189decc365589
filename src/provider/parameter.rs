//! The values of an account that are not secret.

use crate::document::Malformed;

/// A value of an account that is not secret, such as an account id or a region. The configuration
/// holds the literal value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// The key in `[credential.NAME]`.
    pub name: String,
    /// The value for a credential without a value. A route cannot use a credential without either
    /// value.
    pub default: Option<String>,
    /// The required form of a value.
    pub form: ParameterForm,
}

/// The required form of a parameter. No form lets a value reach beyond its segment, label or host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterForm {
    /// A segment of a path: at most 128 unreserved characters (RFC 3986), and neither `.` nor `..`.
    Segment,
    /// A label of a host name: at most 63 letters, digits and hyphens (RFC 1035).
    Label,
    /// A host name: at most 253 characters.
    Host,
}

impl ParameterForm {
    /// Checks that a value has this form.
    ///
    /// # Errors
    /// The expected form. The value is not repeated: it may be a secret in the wrong place.
    pub fn check(self, value: &str) -> Result<(), Malformed> {
        let (fits, expected) = match self {
            Self::Segment => (
                is_segment(value),
                "not a value, expected letters, digits and -._~, written here itself and no reference",
            ),
            Self::Label => (
                is_label(value),
                "not a part of a host name, expected letters, digits and hyphens, such as \"eu\"",
            ),
            Self::Host => (
                value.len() <= MAX_HOST_LENGTH && value.split('.').all(is_label),
                "not a host name, expected one without scheme and path, such as \"api.example.com\"",
            ),
        };
        if fits {
            Ok(())
        } else {
            Err(Malformed::new(expected))
        }
    }

    /// Returns true if a value of this form may stand in the name of a host.
    pub(super) fn is_for_hosts(self) -> bool {
        matches!(self, Self::Label | Self::Host)
    }
}

fn is_segment(value: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
    (1..=MAX_SEGMENT_LENGTH).contains(&value.len())
        && value.chars().all(plain)
        && !matches!(value, "." | "..")
}

fn is_label(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    (1..=MAX_LABEL_LENGTH).contains(&text.len())
        && text.chars().all(plain)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// The longest segment, in bytes. Ids in use are far shorter: Bird's UUIDs have 36.
const MAX_SEGMENT_LENGTH: usize = 128;
/// The longest label, in bytes: RFC 1035, section 2.3.4.
const MAX_LABEL_LENGTH: usize = 63;
/// The longest host name in text form, in bytes: RFC 1035, section 2.3.4, less the length bytes of
/// the wire form.
const MAX_HOST_LENGTH: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_cannot_reach_beyond_its_place() {
        for (form, good, bad) in [
            (
                ParameterForm::Segment,
                &["AC0123", "a.b~c-d_e"][..],
                &["", ".", "..", "a/b", "a%2fb", "a?b", "a b", "file:/x", "ä"][..],
            ),
            (
                ParameterForm::Label,
                &["eu", "y3vn4g"],
                &["", "a.b", "-a", "a-", "a_b", "a@b", "a:1"],
            ),
            (
                ParameterForm::Host,
                &["api.example.com", "localhost"],
                &["", "a..b", "a/b", "a:1", "user@a", ".a"],
            ),
        ] {
            for value in good {
                assert_eq!(form.check(value), Ok(()), "{form:?} {value}");
            }
            for value in bad {
                assert!(form.check(value).is_err(), "{form:?} {value}");
            }
        }
    }
}
