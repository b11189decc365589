//! The ways in which an application treats a received message: signs to the user, and the media.

/// A sign that a user gets of a message that the application has received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// The message is marked as read.
    Read,
    /// The application seems to be typing.
    Typing,
}

/// The way to the media of received messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceivedMedia {
    /// The application fetches the media with the key, by the operation `media`.
    Fetched,
    /// Events have a URL that needs no key.
    Linked,
    /// Events have a URL. No document tells whether the URL needs the key.
    Named,
}
