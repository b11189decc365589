//! How fast a provider may be asked.

use std::borrow::Cow;
use std::time::Duration;

use crate::document::{Field, Reader};
use crate::units::{self, LONGEST_WINDOW, Quota, Rate};

/// Rates, by what they are of. Written alike for a provider and for a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Messages of one sender.
    pub per_sender: Option<Rate>,
    /// Whether each sender's own rate is read from the provider, and `per_sender` is that of those not read yet.
    pub auto: bool,
    /// Messages of one sender to one recipient.
    pub per_recipient: Option<Quota>,
    /// Messages of all senders of one account.
    pub per_account: Option<Rate>,
    /// Requests of administration with one account.
    pub management: Option<Rate>,
}

impl Rates {
    /// Reads them from a table that may have other keys.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        let per_sender = reader.field("per_sender");
        let auto = per_sender.as_ref().is_some_and(|field| field.is_string("auto"));
        let per_sender = per_sender.filter(|_| !auto).and_then(|field| field.parse(str::parse));
        let per_account = reader.field("per_account").and_then(|field| field.parse(str::parse));
        let management = reader.field("management").and_then(|field| field.parse(str::parse));
        let per_recipient = reader.field("per_recipient").and_then(|field| field.table()).and_then(quota);
        Self { per_sender, auto, per_recipient, per_account, management }
    }

    /// The same, with what it lacks taken from another.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            per_sender: self.per_sender.or(other.per_sender),
            auto: self.auto || (other.auto && self.per_sender.is_none()),
            per_recipient: self.per_recipient.or(other.per_recipient),
            per_account: self.per_account.or(other.per_account),
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
    let quota = Quota { rate, burst: burst.flatten().unwrap_or(rate.count) };
    if quota.window() > LONGEST_WINDOW {
        field?.fault("more than a century's worth, expected fewer at once");
        return None;
    }
    Some(quota)
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
    pub codes: Vec<String>,
    /// The statuses that mean it, whatever the code.
    pub statuses: Vec<u16>,
    /// What was too fast.
    pub scope: Scope,
    /// How long to send nothing, where it does not say itself. Longer each time it comes back at once.
    pub pause: Duration,
}

impl Throttle {
    /// Reads one from an entry of `throttled`.
    pub(crate) fn read(mut reader: Reader<'_>) -> Option<Self> {
        let codes = codes(&mut reader, "codes").unwrap_or_default();
        let statuses = statuses(&mut reader, "status").unwrap_or_default();
        if codes.is_empty() && statuses.is_empty() {
            reader.fault("neither `codes` nor `status`, expected what means it, such as codes = [130429]");
        }
        let words = [("sender", Scope::Sender), ("recipient", Scope::Recipient), ("account", Scope::Account)];
        let scope = reader.required("limit", "of what the limit is: \"sender\", \"recipient\" or \"account\"");
        let scope = scope.and_then(|field| field.choice(&words));
        let pause = reader.required("pause", "how long to send nothing, such as \"1s\"");
        let pause = pause.and_then(|field| field.parse(units::duration));
        reader.finish();
        Some(Self { codes, statuses, scope: scope?, pause: pause? })
    }
}

/// Codes, each a number or a string.
pub(super) fn codes(reader: &mut Reader<'_>, key: &str) -> Option<Vec<String>> {
    let fields = reader.field(key)?.array()?;
    let text = |field: &Field<'_>| match field.is_text() {
        true => field.string().map(str::to_owned),
        false => field.integer::<i64>().map(|code| code.to_string()),
    };
    Some(fields.iter().filter_map(text).collect())
}

/// Statuses.
pub(super) fn statuses(reader: &mut Reader<'_>, key: &str) -> Option<Vec<u16>> {
    let fields = reader.field(key)?.array()?;
    Some(fields.iter().filter_map(Field::integer).collect())
}

/// A provider's own limits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// The defaults of a route.
    pub rates: Rates,
    /// Where the body of a message names its sender: each of these that it has.
    pub sender: Vec<Vec<String>>,
    /// Where the body of a message names its recipient: the first of these that it has.
    pub recipient: Vec<Vec<String>>,
    /// Whether messages that come in count too, in the events of the Cloud API.
    pub counts_received: bool,
}

/// A sender or a recipient as limits and routes compare it: a phone number by its digits alone, without what people put
/// between them and without the name of the channel before it (Twilio's `whatsapp:`); anything else as it is written.
#[must_use]
pub fn party(written: &str) -> Cow<'_, str> {
    let bare = match written.split_at_checked(CHANNEL.len()) {
        Some((channel, rest)) if channel.eq_ignore_ascii_case(CHANNEL) => rest,
        _ => written,
    };
    let is_number = bare.bytes().all(|byte| byte.is_ascii_digit() || b"+-(). ".contains(&byte));
    match is_number && !bare.bytes().all(|byte| byte.is_ascii_digit()) {
        true => Cow::Owned(bare.chars().filter(char::is_ascii_digit).collect()),
        false => Cow::Borrowed(bare),
    }
}

const CHANNEL: &str = "whatsapp:";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_its_digits_and_a_name_is_itself() {
        for (written, expected) in [
            ("15550001234", "15550001234"),
            ("+1 (555) 000-1234", "15550001234"),
            ("whatsapp:+15550001234", "15550001234"),
            ("WhatsApp:15550001234", "15550001234"),
            ("Acme-2", "Acme-2"),
            ("US.12345", "US.12345"),
            ("", ""),
        ] {
            assert_eq!(party(written), expected, "{written}");
        }
    }
}
