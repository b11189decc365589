//! How fast a provider may be asked.

use std::time::Duration;

use crate::document::{Field, Reader};
use crate::units::{self, Quota, Rate};

/// Rates, by what they are of. Written alike for a provider and for a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Messages of one sender.
    pub per_sender: Option<Rate>,
    /// Whether each sender's own rate is read from the provider, and `per_sender` is that of those not read yet.
    pub auto: bool,
    /// Messages of one sender to one recipient.
    pub per_recipient: Option<Quota>,
    /// Requests of administration with one account.
    pub management: Option<Rate>,
}

impl Rates {
    /// Reads them from a table that may have other keys.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        let per_sender = reader.field("per_sender");
        let auto = per_sender.as_ref().is_some_and(|field| field.is_string("auto"));
        let per_sender = per_sender.filter(|_| !auto).and_then(|field| field.parse(str::parse));
        let management = reader.field("management").and_then(|field| field.parse(str::parse));
        let per_recipient = reader.field("per_recipient").and_then(|field| field.table()).and_then(quota);
        Self { per_sender, auto, per_recipient, management }
    }

    /// The same, with what it lacks taken from another.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            per_sender: self.per_sender.or(other.per_sender),
            auto: self.auto || (other.auto && self.per_sender.is_none()),
            per_recipient: self.per_recipient.or(other.per_recipient),
            management: self.management.or(other.management),
        }
    }
}

fn quota(mut reader: Reader<'_>) -> Option<Quota> {
    let rate = reader.required("rate", "how many come in how much time, such as \"1/6s\"");
    let rate = rate.and_then(|field| field.parse(str::parse));
    let field = reader.field("burst");
    let burst = field.as_ref().map(|field| field.integer::<u32>().and_then(std::num::NonZeroU32::new));
    if let (Some(field), Some(None)) = (&field, burst) {
        field.fault("no count, expected how many may come at once, such as 45");
    }
    reader.finish();
    let rate: Rate = rate?;
    Some(Quota { rate, burst: burst.flatten().unwrap_or(rate.count) })
}

/// What a limit is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// A number that sends.
    #[default]
    Sender,
    /// A number that sends, and one recipient.
    Recipient,
    /// An account.
    Account,
}

impl Scope {
    /// As headers and metrics show it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sender => "sender",
            Self::Recipient => "recipient",
            Self::Account => "account",
        }
    }
}

/// What the provider says when it is asked too fast. It has not acted on what it answers so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Throttle {
    /// Its own codes for it.
    pub codes: Vec<i64>,
    /// What was too fast.
    pub scope: Scope,
    /// How long to send nothing, where it does not say itself. Longer each time it comes back at once.
    pub pause: Duration,
}

impl Throttle {
    /// Reads one from an entry of `throttled`.
    pub(crate) fn read(mut reader: Reader<'_>) -> Option<Self> {
        let codes =
            reader.required("codes", "the codes that mean it, such as [130429]").and_then(|field| field.array());
        let codes = codes.map(|codes| codes.iter().filter_map(Field::integer).collect());
        let words = [("sender", Scope::Sender), ("recipient", Scope::Recipient), ("account", Scope::Account)];
        let scope = reader.required("limit", "of what the limit is: \"sender\", \"recipient\" or \"account\"");
        let scope = scope.and_then(|field| field.choice(&words));
        let pause = reader.required("pause", "how long to send nothing, such as \"1s\"");
        let pause = pause.and_then(|field| field.parse(units::duration));
        reader.finish();
        Some(Self { codes: codes?, scope: scope?, pause: pause? })
    }
}

/// A provider's own limits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// The defaults of a route.
    pub rates: Rates,
    /// Where the body of a message names its recipient: the first of these that it has.
    pub recipient: Vec<Vec<String>>,
    /// Whether messages that come in count too, in the events of the Cloud API.
    pub counts_received: bool,
}
