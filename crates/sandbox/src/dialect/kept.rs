//! The things that a provider keeps beside messages, as data: objects such as templates, files, and
//! the state of a message.

use super::answer::Answer;

/// Objects that an application makes, lists, reads, changes and deletes.
pub(crate) struct KeptObjects {
    /// The path for making an object with POST and listing all with GET. A single object has a
    /// further segment, the id or the name.
    pub(crate) path: &'static str,
    /// The status of the answer to a new object.
    pub(crate) made: u16,
    /// The field of the list in the answer.
    pub(crate) list: &'static str,
    /// The field with the id, and the form of the id as in [`super::protocol::Dialect::id`].
    pub(crate) id: (&'static str, &'static str),
    /// The field with the name that an application gives.
    pub(crate) name: &'static str,
    /// A further field of a new object, with its value.
    pub(crate) state: (&'static str, &'static str),
    /// The answer to a deletion.
    pub(crate) deleted: Answer,
    /// The answer about an object that is deleted.
    pub(crate) missing: Answer,
}

/// Files that an application uploads, reads and deletes.
pub(crate) struct KeptFiles {
    /// The path that takes a file with POST.
    pub(crate) upload: &'static str,
    /// The answer to an upload. `{id}` in body and headers is replaced.
    pub(crate) uploaded: Answer,
    /// The form of ids, as in [`super::protocol::Dialect::id`].
    pub(crate) id: &'static str,
    /// The path of the description, and the description with `{id}`, `{type}`, `{sha256}` and
    /// `{size}`.
    pub(crate) about: (&'static str, Answer),
    /// The path of the bytes. The id is the parameter `mid` of the query, or else the last segment.
    pub(crate) download: &'static str,
    /// The path for DELETE.
    pub(crate) delete: &'static str,
    /// The answer to a deletion.
    pub(crate) deleted: Answer,
    /// The answer about a file that is deleted.
    pub(crate) missing: Answer,
}

/// The state of a message that was sent.
pub(crate) struct KeptMessages {
    /// The path. The id is the parameter `messageId` of the query, or else the last segment without
    /// `.json`.
    pub(crate) path: &'static str,
    /// The answer with `{id}`, `{from}` and `{to}`.
    pub(crate) answer: Answer,
}
