//! The reason why a body is refused.

use std::fmt;

/// The reason why a body is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MultipartFault {
    /// A part has a name that is forbidden.
    ForbiddenName,
    /// The body is no `multipart/form-data` that every server takes apart alike.
    Ambiguous,
    /// The body has too many parts, or a part has too long a head.
    TooLarge,
    /// The body ends before its last boundary.
    Unfinished,
}

impl fmt::Display for MultipartFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ForbiddenName => {
                "a part of the body has a name that changes the request, carries a credential, or names a sender: leave the part out"
            }
            Self::Ambiguous => "the body is no multipart/form-data that every server reads alike",
            Self::TooLarge => "the body has more than 100 parts, or a part with a head over 8 KiB",
            Self::Unfinished => "the body ends before its last boundary",
        })
    }
}
