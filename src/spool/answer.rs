//! The answers of message servers to events.

use std::fmt;

/// The answer of a message server to an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamAnswer {
    /// The stream has the event.
    Taken,
    /// The stream has no room for any event now.
    Full,
    /// The event is larger than the server or the stream takes.
    TooLarge,
    /// There is no stream, or no queue behind the exchange.
    Missing,
    /// The user of the URL may not publish there.
    Denied,
    /// The database of the URL does not exist, or is not for the user of the URL.
    NoDatabase,
    /// The name belongs to a value of a kind unfit for events.
    WrongKind,
    /// The server accepts no events now: a start, or a failover, is under way.
    Unready,
    /// The server refused the event for a reason unknown here.
    Failed,
    /// The URL of the server cannot be read; the event did not leave.
    NoServer,
}

impl fmt::Display for StreamAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Taken => "taken by the stream",
            Self::Full => "the stream is full: make room, or raise the limit of the server",
            Self::TooLarge => {
                "larger than the server takes: raise the largest size of a message there, then replay the event"
            }
            Self::Missing => {
                "no stream takes it: create the stream, or the exchange with a queue behind it"
            }
            Self::Denied => {
                "the server lets this user not publish: check `server` and the user's permissions"
            }
            Self::NoDatabase => {
                "the server refuses the database in the URL: check the number at the end of `server`, and the user's right to \
                 SELECT"
            }
            Self::WrongKind => {
                "the name in `publish` belongs to something else than a stream: choose another name"
            }
            Self::Unready => "the message server accepts nothing now: see the server's log",
            Self::NoServer => {
                "the URL of its server cannot be read: see `server`, and the warnings of the last reload"
            }
            Self::Failed => "the message server failed: see the server's log",
        })
    }
}
