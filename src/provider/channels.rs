//! The channels of a provider that sends more than WhatsApp messages with the same request.

/// The places where a message names its channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Channels {
    /// JSON pointers to the channel. Every channel that a message has counts.
    pub at: Vec<Vec<String>>,
    /// The form of the values there.
    pub form: ChannelForm,
    /// JSON pointers to channels that are words, whatever the form at the other places. These count
    /// too, and no message needs one.
    pub words: Vec<Vec<String>>,
    /// The channel of a message that names none, if the provider has a fixed one.
    pub absent: Option<String>,
    /// Channels with JSON pointers to values that only a message of the channel has, such as the
    /// sender of a text message in place of a failed one.
    pub implied: Vec<(String, Vec<String>)>,
}

/// The form in which a message names its channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChannelForm {
    /// The name of the channel.
    #[default]
    Word,
    /// An address with the channel in front, such as `whatsapp:+15550001234`; without one, the
    /// message is an SMS.
    Address,
}

impl Channels {
    /// Returns the channel that a value names, in lower case.
    #[must_use]
    pub fn channel_of(&self, value: &str) -> String {
        match self.form {
            ChannelForm::Word => value.to_ascii_lowercase(),
            ChannelForm::Address => match value.split_once(':') {
                Some((channel, _)) => channel.to_ascii_lowercase(),
                None => SMS.to_owned(),
            },
        }
    }
}

/// The channel of an address without a channel.
const SMS: &str = "sms";
/// The channel of a route without `channels`.
pub const WHATSAPP: &str = "whatsapp";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_names_a_channel_by_a_word_or_in_front_of_an_address() {
        let of = |form| Channels {
            form,
            ..Channels::default()
        };
        for (form, value, expected) in [
            (ChannelForm::Word, "WHATSAPP", "whatsapp"),
            (ChannelForm::Word, "viber_service", "viber_service"),
            (ChannelForm::Address, "whatsapp:+15550001234", "whatsapp"),
            (ChannelForm::Address, "Messenger:1", "messenger"),
            (ChannelForm::Address, "+15550001234", "sms"),
            (ChannelForm::Address, "", "sms"),
        ] {
            assert_eq!(of(form).channel_of(value), expected, "{value}");
        }
    }
}
