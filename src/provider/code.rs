//! Patterns for the codes of a provider's errors.

/// A pattern for codes of errors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CodePattern {
    /// A single code; a number as its digits.
    Code(String),
    /// The numbers from the first to the last, both included.
    Range(i64, i64),
    /// A code together with a subcode.
    WithSubcode(String, String),
}

impl CodePattern {
    /// Returns true for a code that the pattern names, with whatever subcode.
    pub(super) fn names(&self, code: &str) -> bool {
        match self {
            Self::WithSubcode(own, _) => own == code,
            Self::Code(_) | Self::Range(..) => self.has(code, None),
        }
    }

    /// Returns true for an error with this code, and with this subcode if the error has one.
    pub(super) fn has(&self, code: &str, subcode: Option<&str>) -> bool {
        match self {
            Self::Code(own) => own == code,
            Self::Range(first, last) => code
                .parse::<i64>()
                .is_ok_and(|code| (*first..=*last).contains(&code)),
            Self::WithSubcode(own, own_subcode) => {
                own == code && subcode == Some(own_subcode.as_str())
            }
        }
    }
}
