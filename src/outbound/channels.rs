//! The channels that messages name: a route made for WhatsApp sends no text messages.

use std::borrow::Cow;

use super::error::OutboundError;
use super::fields::{texts_at, values_in_form};
use crate::json;
use crate::provider::{Channels, Provider};
use crate::query::is_read_as_one_of;

/// The channels that messages of a route may name, and the places where they are named.
#[derive(Clone, Copy)]
pub(super) struct ChannelRule<'p> {
    channels: &'p Channels,
    allowed: &'p [String],
}

impl<'p> ChannelRule<'p> {
    /// The rule for messages; `None` for a provider of one channel, and for a route that allows
    /// any.
    pub(super) fn of(provider: &'p Provider, allowed: &'p [String]) -> Option<Self> {
        let channels = provider.channels.as_ref()?;
        (!allowed.is_empty()).then_some(Self { channels, allowed })
    }

    /// Returns the places in a body that tell a channel.
    pub(super) fn places(&self) -> impl Iterator<Item = &'p Vec<String>> {
        let implied = self.channels.implied.iter().map(|(_, place)| place);
        let Channels { at, words, .. } = self.channels;
        at.iter().chain(words).chain(implied)
    }

    /// Decides on the channels that the fields of a JSON object name. `own_senders` are the places
    /// of senders that the request has of its own.
    ///
    /// # Errors
    /// 403 for a channel that the route does not allow; 400 for a channel without text at the
    /// place.
    pub(super) fn check_fields(
        &self,
        fields: &[(Cow<'_, str>, &str)],
        own_senders: &[Vec<String>],
    ) -> Result<(), OutboundError> {
        let mut named = Vec::new();
        for place in &self.channels.at {
            named.extend(texts_at(fields, place).map_err(|_| CHANNEL_IS_NO_TEXT)?);
        }
        self.check_named(named.iter().map(String::as_str))?;
        if let Some(absent) = &self.channels.absent {
            let mut places = self.channels.at.iter();
            let names_beside =
                |place: &Vec<String>| !texts_at(fields, place).unwrap_or_default().is_empty();
            if places.any(|place| is_missing_in(fields, place))
                || !self.is_beside(own_senders, names_beside)
            {
                self.check(absent)?;
            }
        }
        for place in &self.channels.words {
            for word in texts_at(fields, place).map_err(|_| CHANNEL_IS_NO_TEXT)? {
                self.check(&word.to_ascii_lowercase())?;
            }
        }
        for (channel, place) in &self.channels.implied {
            let texts = texts_at(fields, place).map_err(|_| CHANNEL_IS_NO_TEXT)?;
            if !texts.is_empty() {
                self.check(channel)?;
            }
        }
        Ok(())
    }

    /// True if the channel of a request stands beside its sender, by `is_named`. The channel of a
    /// message elsewhere in the body is nothing to a request with places of its own for senders.
    fn is_beside(
        &self,
        own_senders: &[Vec<String>],
        is_named: impl Fn(&Vec<String>) -> bool,
    ) -> bool {
        let mut beside = self.channels.at.iter().filter(|place| {
            let mut own = own_senders.iter();
            own.any(|sender| stands_beside(place, sender))
        });
        own_senders.is_empty() || beside.any(is_named)
    }

    /// Decides on the channels that a form names. `own_senders` are the places of senders that the
    /// request has of its own.
    ///
    /// # Errors
    /// 403 for a channel that the route does not allow.
    pub(super) fn check_form(
        &self,
        text: &str,
        own_senders: &[Vec<String>],
    ) -> Result<(), OutboundError> {
        let named = values_in_form(text, &self.channels.at);
        self.check_named(named.iter().map(AsRef::as_ref))?;
        let names_beside =
            |place: &Vec<String>| !values_in_form(text, std::slice::from_ref(place)).is_empty();
        if let Some(absent) = &self.channels.absent
            && !self.is_beside(own_senders, names_beside)
        {
            self.check(absent)?;
        }
        self.check_further_in(text)
    }

    /// Decides on the channels that a query names: some servers read query and body alike.
    ///
    /// # Errors
    /// 403 for a channel that the route does not allow.
    pub(super) fn check_query(&self, query: &str) -> Result<(), OutboundError> {
        let named = values_in_form(query, &self.channels.at);
        if !named.is_empty() {
            self.check_named(named.iter().map(AsRef::as_ref))?;
        }
        self.check_further_in(query)
    }

    /// Decides on the channels that words name, and on those that other fields imply.
    fn check_further_in(&self, text: &str) -> Result<(), OutboundError> {
        for word in values_in_form(text, &self.channels.words) {
            self.check(&word.to_ascii_lowercase())?;
        }
        for (channel, place) in &self.channels.implied {
            let values = values_in_form(text, std::slice::from_ref(place));
            if !values.is_empty() {
                self.check(channel)?;
            }
        }
        Ok(())
    }

    /// Decides on named channels, and on the channel of a message that names none.
    fn check_named<'n>(&self, named: impl Iterator<Item = &'n str>) -> Result<(), OutboundError> {
        let mut is_named = false;
        for value in named {
            is_named = true;
            self.check(&self.channels.channel_of(value))?;
        }
        match &self.channels.absent {
            Some(absent) if !is_named => self.check(absent),
            _ => Ok(()),
        }
    }

    fn check(&self, channel: &str) -> Result<(), OutboundError> {
        if self.allowed.iter().any(|allowed| allowed == channel) {
            return Ok(());
        }
        Err(OutboundError::ChannelNotAllowed {
            channel: channel.chars().take(MAX_SHOWN).collect(),
        })
    }
}

/// True if one of several messages in a body lacks a text that the others may have.
fn is_missing_in(fields: &[(Cow<'_, str>, &str)], place: &[String]) -> bool {
    let Some((first, rest)) = place.split_first() else {
        return false;
    };
    fields
        .iter()
        .filter(|(name, _)| is_read_as_one_of(name, &[first]))
        .any(|(_, value)| json::lacks_text_at(value, rest))
}

/// True for a place in the object that has the sender: no list lies between, but a list of channels
/// at the end.
fn stands_beside(place: &[String], sender: &[String]) -> bool {
    let end = sender
        .iter()
        .rposition(|key| key == "*")
        .map_or(0, |at| at + 1);
    let (list, _) = sender.split_at(end);
    let inner = place.strip_prefix(list);
    inner
        .and_then(<[String]>::split_last)
        .is_some_and(|(_, way)| way.iter().all(|key| key != "*"))
}

/// The longest name of a channel in an error text, in characters: longer than the names of all
/// channels. A longer text may be a value in the wrong place.
const MAX_SHOWN: usize = 32;
const CHANNEL_IS_NO_TEXT: OutboundError = OutboundError::bad_request(
    "the channel in the body is no text, or stands in a list or an object where the provider has none",
    "name the channel as text, where the provider looks for it",
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_stands_beside_the_sender_of_the_same_object() {
        for (place, sender, expected) in [
            ("channel", "from", true),
            ("channels/*", "from", true),
            ("options/channel", "from", true),
            ("messages/msg/*/allowedChannels/*", "from", false),
            ("messages/*/channel", "from", false),
            ("events/*/channel", "events/*/sender", true),
            ("events/*/channels/*", "events/*/sender", true),
            ("channel", "events/*/sender", false),
            ("messages/*/channel", "events/*/sender", false),
        ] {
            let keys = |text: &str| text.split('/').map(str::to_owned).collect::<Vec<_>>();
            let found = stands_beside(&keys(place), &keys(sender));
            assert_eq!(found, expected, "{place} {sender}");
        }
    }
}
