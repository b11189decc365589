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

    /// Decides on the channels that the fields of a JSON object name.
    ///
    /// # Errors
    /// 403 for a channel that the route does not allow; 400 for a channel without text at the
    /// place.
    pub(super) fn check_fields(
        &self,
        fields: &[(Cow<'_, str>, &str)],
    ) -> Result<(), OutboundError> {
        let mut named = Vec::new();
        for place in &self.channels.at {
            named.extend(texts_at(fields, place).map_err(|_| CHANNEL_IS_NO_TEXT)?);
        }
        self.check_named(named.iter().map(String::as_str))?;
        if let Some(absent) = &self.channels.absent
            && self
                .channels
                .at
                .iter()
                .any(|place| is_missing_in(fields, place))
        {
            self.check(absent)?;
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

    /// Decides on the channels that a form names.
    ///
    /// # Errors
    /// 403 for a channel that the route does not allow.
    pub(super) fn check_form(&self, text: &str) -> Result<(), OutboundError> {
        let named = values_in_form(text, &self.channels.at);
        self.check_named(named.iter().map(AsRef::as_ref))?;
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

/// The longest name of a channel in an error text, in characters: longer than the names of all
/// channels. A longer text may be a value in the wrong place.
const MAX_SHOWN: usize = 32;
const CHANNEL_IS_NO_TEXT: OutboundError = OutboundError::bad_request(
    "the channel in the body is no text, or stands in a list or an object where the provider has none",
    "name the channel as text, where the provider looks for it",
);
