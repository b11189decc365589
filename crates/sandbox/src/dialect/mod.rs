//! Dialects: the ways in which providers other than Meta take keys, messages and questions, and
//! sign events.
//!
//! [`table`] has one row per provider, from the vendors' own documents and SDKs unless a comment in
//! the table says otherwise. Unknown parts have one plain form that no vendor uses: `{"id":"..."}`
//! as the answer to a message, 401 and 429 with `{"error":{"code":"...","message":"..."}}` for a
//! wrong key and for too many messages. Dialects cover sending, and samples of everything else.
//! Some keep templates, files and the state of messages as well ([`kept`]). The content of a
//! message is not checked.

mod answer;
mod keeping;
mod kept;
mod key_pair;
mod protocol;
mod samples;
mod sign;
mod table;

pub(crate) use answer::Answer;
pub(crate) use kept::{KeptFiles, KeptMessages, KeptObjects};
pub(crate) use protocol::{EXCHANGED_LIFETIME, Exchange, Place};
pub(crate) use sign::{EventToSign, HeaderLines};

pub use key_pair::{KeyPairError, new_private_key, new_seed, public_key, public_key_of_seed};
pub use protocol::{Dialect, EventSigning, Key, KeyKind};

impl Dialect {
    /// Returns all dialects.
    pub fn all() -> impl Iterator<Item = &'static Self> {
        table::TABLE.iter()
    }

    /// Returns the dialect of a provider.
    pub fn named(name: &str) -> Option<&'static Self> {
        Self::all().find(|dialect| dialect.name == name)
    }
}
