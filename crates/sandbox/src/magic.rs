//! Magic recipients: phone numbers that trigger, on demand, a failure that is rare on the real API.

/// The effect of a message to a magic recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Magic {
    /// The token counts as invalid.
    InvalidToken,
    /// The sender counts as sending too fast.
    Throughput,
    /// The pair of sender and recipient counts as too fast.
    Pair,
    /// HTTP 500 with an error that leaves open whether the message goes out.
    Unknown,
    /// HTTP 503 with an HTML page; the message is not accepted.
    Unavailable,
    /// The message is accepted, and no answer comes.
    Hang,
    /// The message is accepted, and the connection is reset.
    Reset,
    /// The message is accepted, and half of the answer comes.
    Truncated,
    /// The message is accepted, and the answer is late.
    Slow,
    /// The message is accepted, and a webhook reports a failure with this code.
    FailsLater(i64),
}

impl Magic {
    /// Returns the effect for a recipient in digits, if the recipient is magic.
    pub(crate) fn of(recipient: &str) -> Option<Self> {
        RECIPIENTS
            .iter()
            .find(|(number, ..)| *number == recipient)
            .map(|(_, magic, _)| *magic)
    }

    /// Returns the code of the failure that a webhook reports after acceptance.
    pub(crate) fn later_error(self) -> Option<i64> {
        match self {
            Self::FailsLater(code) => Some(code),
            _ => None,
        }
    }
}

/// Returns the magic recipients of Meta with descriptions.
pub(crate) fn recipients() -> impl Iterator<Item = (&'static str, Magic, &'static str)> {
    RECIPIENTS.into_iter()
}

/// Each recipient with the effect and the description for users; the last digits are Meta's error
/// code.
#[rustfmt::skip]
const RECIPIENTS: [(&str, Magic, &str); 12] = [
    ("15550000190", Magic::InvalidToken, "refused as if the token were invalid (190)"),
    ("15550130429", Magic::Throughput, "refused: the sender sends too fast (130429)"),
    ("15550131056", Magic::Pair, "refused: too many messages to this recipient (131056)"),
    ("15550000500", Magic::Unknown, "HTTP 500 with error 131000, not accepted"),
    ("15550000503", Magic::Unavailable, "HTTP 503 with an HTML page, not accepted"),
    ("15550009001", Magic::Hang, "accepted, then no answer for 60 s"),
    ("15550009002", Magic::Reset, "accepted, then the connection is reset"),
    ("15550009003", Magic::Truncated, "accepted, then the answer breaks off"),
    ("15550009004", Magic::Slow, "accepted, answered after 10 s"),
    ("15550131026", Magic::FailsLater(131_026), "accepted, then a webhook reports failure 131026"),
    ("15550131047", Magic::FailsLater(131_047), "accepted, then a webhook reports failure 131047"),
    ("15550131049", Magic::FailsLater(131_049), "accepted, then a webhook reports failure 131049"),
];
