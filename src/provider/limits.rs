//! The rates at which a provider may be asked.

use std::time::Duration;

use http::Method;

use super::code::CodePattern;
use super::path::{PathPattern, SegmentForm};
use crate::units::{Quota, Rate};

/// The rates of a provider or of a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Messages of one sender.
    pub per_sender: Option<Rate>,
    /// True if Keyside reads the rate of each sender from the provider. `per_sender` then holds for
    /// a sender until its own rate is known.
    pub auto: bool,
    /// Messages of one sender that the provider counts apart from the others; without a rate, such
    /// messages have none.
    pub apart: Option<Rate>,
    /// Messages of one sender to one recipient.
    pub per_recipient: Option<Quota>,
    /// Messages of all senders of one account together.
    pub per_account: Option<Rate>,
    /// Requests of administration for one account.
    pub management: Option<Rate>,
}

impl Rates {
    /// Returns these rates, with missing rates taken from `defaults`.
    #[must_use]
    pub fn or(self, defaults: Self) -> Self {
        Self {
            per_sender: self.per_sender.or(defaults.per_sender),
            // A rate of the user's own holds for every message, unless `apart` is set as well.
            apart: self.apart.or(self.per_sender).or(defaults.apart),
            auto: self.auto || (defaults.auto && self.per_sender.is_none()),
            per_recipient: self.per_recipient.or(defaults.per_recipient),
            per_account: self.per_account.or(defaults.per_account),
            management: self.management.or(defaults.management),
        }
    }
}

/// A provider's own limits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProviderLimits {
    /// The rates, which are the defaults of a route.
    pub rates: Rates,
    /// JSON pointers to the sender in the body of a message. Every sender that the body has counts.
    pub sender: Vec<Vec<String>>,
    /// JSON pointers to the recipients in the body of a message. The first place that the body has
    /// counts, with every recipient there.
    pub recipient: Vec<Vec<String>>,
    /// The characters between several senders or recipients in one text, such as Plivo's `<`.
    pub separators: String,
    /// The character between the sender and the recipient in a text with both, such as WATI's
    /// `CHANNEL:NUMBER`.
    pub sender_before: Option<char>,
    /// JSON pointers to a value that only a receipt has, such as "mark as read" and the sign of
    /// typing. A receipt names no recipient, goes to the path of messages, and is no message.
    pub receipt: Vec<Vec<String>>,
    /// The forms of recipients to whom messages have no rate of their own, such as groups.
    pub unpaired: Vec<SegmentForm>,
    /// The requests of administration that count against the rate of administration; `None` for all
    /// of them.
    pub management_requests: Option<Vec<ManagedRequest>>,
    /// True if received messages count as well, in the events of the Cloud API.
    pub counts_received: bool,
}

/// A request of administration that the provider counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagedRequest {
    /// The methods.
    pub methods: Vec<Method>,
    /// The path.
    pub path: PathPattern,
}

impl ProviderLimits {
    /// Returns true for a request that counts against the rate of administration, if the request is
    /// one of administration.
    #[must_use]
    pub fn counts_as_management(&self, method: &Method, path: &str) -> bool {
        let is_same = |request: &ManagedRequest| {
            request.methods.contains(method) && request.path.matches(path).is_some()
        };
        self.management_requests
            .as_ref()
            .is_none_or(|requests| requests.iter().any(is_same))
    }

    /// Returns the senders or recipients that one text names.
    pub fn parts<'t>(&self, text: &'t str) -> impl Iterator<Item = &'t str> {
        text.split(|c: char| self.separators.contains(c))
            .map(str::trim)
    }

    /// Returns the recipients in a text, without the senders in front.
    pub fn recipients_in<'t>(&self, text: &'t str) -> impl Iterator<Item = &'t str> {
        let end = self.sender_before;
        let bare = move |part: &'t str| {
            end.and_then(|end| part.rsplit_once(end))
                .map_or(part, |(_, recipient)| recipient)
        };
        self.parts(text).map(bare)
    }

    /// Returns the senders before the recipients of one text. Where the text could be cut at
    /// several places, every reading counts.
    pub fn senders_before<'t>(&self, text: &'t str) -> impl Iterator<Item = &'t str> {
        let end = self.sender_before;
        let readings = move |part: &'t str| {
            let first = end.and_then(|end| part.split_once(end));
            let last = end
                .and_then(|end| part.rsplit_once(end))
                .filter(|last| Some(*last) != first);
            first.into_iter().chain(last).map(|(sender, _)| sender)
        };
        self.parts(text).flat_map(readings)
    }

    /// Returns true if one message may name several recipients, each of whom gets a message.
    #[must_use]
    pub fn has_lists(&self) -> bool {
        let mut places = self.recipient.iter();
        !self.separators.is_empty() || places.any(|place| place.iter().any(|key| key == "*"))
    }

    /// Returns true for a recipient who has a rate of messages.
    #[must_use]
    pub fn is_paired(&self, recipient: &str) -> bool {
        !self.unpaired.iter().any(|form| form.fits(recipient))
    }
}

/// A kind of answer to requests that come too fast. The provider did not act on the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Throttle {
    /// The provider's own codes.
    pub codes: Vec<CodePattern>,
    /// The statuses that mean the throttle, whatever the code.
    pub statuses: Vec<u16>,
    /// The words of the message that mean the throttle, for a provider without a code for it.
    pub words: Vec<String>,
    /// The exceeded limit.
    pub scope: Scope,
    /// The pause if the answer names none. Longer each time the throttle comes back at once.
    pub pause: Duration,
}

/// The subject of a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// A sending number.
    #[default]
    Sender,
    /// A sending number together with a recipient.
    Recipient,
    /// An account.
    Account,
    /// The requests of one kind for one object, such as the question for call permissions of a
    /// number.
    Operation,
}

impl Scope {
    /// Every subject.
    pub const ALL: [Self; 4] = [
        Self::Sender,
        Self::Recipient,
        Self::Account,
        Self::Operation,
    ];

    /// Returns the word for headers and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sender => "sender",
            Self::Recipient => "recipient",
            Self::Account => "account",
            Self::Operation => "operation",
        }
    }
}
