//! The forms of a provider's events: where an event names the business's number and the person.
//!
//! The two name a conversation, and the events of a conversation are delivered in order. Events in
//! Meta's form need no entry here: the spool reads them by itself.

/// A form of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventForm {
    /// The kind of these events.
    pub kind: EventKind,
    /// The mark of these events; `None` if every event has the form.
    pub mark: Option<EventMark>,
    /// JSON pointers to the business's number, where `*` is each element of a list; the first place
    /// that an event has counts. Empty where the events do not name the number.
    pub sender: Vec<Vec<String>>,
    /// JSON pointers to the person, as for `sender`; at least one.
    pub user: Vec<Vec<String>>,
}

/// The kind of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A message, received or sent by another program.
    Message,
    /// The outcome of a sent message.
    Status,
}

/// A value by which the events of a form are told from others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventMark {
    /// The place of the value: a JSON pointer.
    pub place: Vec<String>,
    /// The values of the form; empty for any value.
    pub values: Vec<String>,
}
