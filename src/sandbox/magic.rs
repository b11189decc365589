//! Recipients for whom something happens: ways to meet, on demand, what is rare on the real API.

use std::time::Duration;

/// What happens to a message to a magic recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Magic {
    /// The token counts as invalid.
    InvalidToken,
    /// The number counts as sending too fast.
    Throughput,
    /// The pair counts as writing too often.
    Pair,
    /// HTTP 500 with an error that leaves open what happened.
    Unknown,
    /// HTTP 503 with a page for people.
    Unavailable,
    /// Accepted, and no answer.
    Hang,
    /// Accepted, and the connection is reset.
    Reset,
    /// Accepted, and half of the answer.
    Truncated,
    /// Accepted, and the answer takes its time.
    Slow,
    /// Accepted, and a webhook says later that it failed with this code.
    FailsLater(i64),
}

/// How long nothing comes back.
pub(super) const HANG: Duration = Duration::from_secs(60);
/// How long an answer takes.
pub(super) const SLOW: Duration = Duration::from_secs(10);

impl Magic {
    /// What happens for this recipient, if anything.
    pub(super) fn of(recipient: &str) -> Option<Magic> {
        RECIPIENTS.iter().find(|(number, ..)| *number == recipient).map(|(_, magic, _)| *magic)
    }

    /// The code with which the message fails after it was accepted.
    pub(super) fn later_error(self) -> Option<i64> {
        if let Magic::FailsLater(code) = self { Some(code) } else { None }
    }
}

const RECIPIENTS: [(&str, Magic, &str); 12] = [
    ("15550000190", Magic::InvalidToken, "refused as if the token were invalid (190)"),
    ("15550130429", Magic::Throughput, "refused: the number sends too fast (130429)"),
    ("15550131056", Magic::Pair, "refused: too much to this recipient (131056)"),
    ("15550000500", Magic::Unknown, "HTTP 500 with error 131000, not accepted"),
    ("15550000503", Magic::Unavailable, "HTTP 503 with an HTML page, not accepted"),
    ("15550009001", Magic::Hang, "accepted, then no answer for 60 s"),
    ("15550009002", Magic::Reset, "accepted, then the connection is reset"),
    ("15550009003", Magic::Truncated, "accepted, then the answer breaks off"),
    ("15550009004", Magic::Slow, "accepted, answered after 10 s"),
    ("15550131026", Magic::FailsLater(131_026), "accepted, then a webhook says that it failed (131026)"),
    ("15550131047", Magic::FailsLater(131_047), "accepted, then a webhook says that it failed (131047)"),
    ("15550131049", Magic::FailsLater(131_049), "accepted, then a webhook says that it failed (131049)"),
];

/// The recipients and what happens, for people; those of any provider, or those of Meta too.
pub(super) fn recipients(is_meta: bool) -> impl Iterator<Item = (&'static str, &'static str)> {
    let there = RECIPIENTS.into_iter().filter(move |(_, magic, _)| is_meta || magic.later_error().is_none());
    there.map(|(number, _, what)| (number, what))
}
