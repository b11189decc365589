//! The faults of arguments that a command reads itself.

use std::fmt;

/// An argument in a form that no command reads. The message tells the expected form and never
/// repeats the argument, in whose place a secret may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ArgumentError {
    /// No address that a listener could have.
    AdminAddress,
    /// Neither a path nor a URL.
    Target,
    /// Neither a time nor an age.
    Time,
    /// Neither a phone number nor a user id.
    Person,
    /// No id of an event.
    EventId,
    /// No hash of a line of an audit file.
    LineHash,
}

impl fmt::Display for ArgumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AdminAddress => "expected HOST:PORT or unix:/path",
            Self::Target => {
                "expected a path such as /v23.0/1055/messages, or a whole URL with http:// or https://"
            }
            Self::Time => {
                "expected a time such as 2026-11-30T08:00:00Z, or an age such as 90m, 2h or 3d"
            }
            Self::Person => "expected a phone number or a user id",
            Self::EventId => "expected 32 hexadecimal digits, as in `Keyside-Event-Id`",
            Self::LineHash => {
                "expected 64 hexadecimal digits, as an earlier check and the log print them"
            }
        })
    }
}

impl std::error::Error for ArgumentError {}
