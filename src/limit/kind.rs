//! The kinds of limits of a credential.

use crate::provider::Scope;

/// Kind of a limit, by the subject of its buckets and pauses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LimitKind {
    /// Messages of a sender.
    Sender,
    /// Messages of a sender that the provider counts apart from the others.
    SeparatelyMetered,
    /// Messages of a sender to a recipient.
    Pair,
    /// Messages of all senders of the account.
    AccountSends,
    /// Requests of administration about an object, such as an account.
    Management,
    /// Requests other than messages about an object: an account, a template, a number. Has no rate,
    /// only pauses.
    Object,
}

impl LimitKind {
    /// Subject of the limit, for refusals and headers.
    #[must_use]
    pub fn scope(self) -> Scope {
        match self {
            Self::Sender | Self::SeparatelyMetered => Scope::Sender,
            Self::Pair => Scope::Recipient,
            Self::AccountSends | Self::Management | Self::Object => Scope::Account,
        }
    }

    /// Name in the keys of the shared server.
    pub(super) fn key_name(self) -> &'static str {
        match self {
            Self::Sender => "sender",
            Self::SeparatelyMetered => "apart",
            Self::Pair => "pair",
            Self::AccountSends => "sends",
            Self::Management => "management",
            Self::Object => "object",
        }
    }

    /// True for limits of messages, which a pause of the account holds back too.
    pub(super) fn counts_messages(self) -> bool {
        matches!(
            self,
            Self::Sender | Self::SeparatelyMetered | Self::Pair | Self::AccountSends
        )
    }
}
