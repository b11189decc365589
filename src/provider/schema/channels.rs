//! `[channels]`: the places where a message names its channel.

use super::text::{list, pointer};
use crate::document::{Malformed, Reader, reads_as_name};
use crate::provider::channels::{ChannelForm, Channels};

/// Reads `[channels]`.
pub(super) fn channels(mut reader: Reader<'_>) -> Channels {
    let at = list(&mut reader, "at", pointer);
    let form = reader.choice(
        "form",
        &[
            ("word", ChannelForm::Word),
            ("address", ChannelForm::Address),
        ],
    );
    let words = list(&mut reader, "words", pointer);
    let absent = reader.parse("absent", channel_name);
    let mut implied = Vec::new();
    if let Some(mut table) = reader.table("implied") {
        for field in table.fields() {
            let channel = field.key.to_ascii_lowercase();
            let places = field.array().unwrap_or_default();
            implied.extend(
                places
                    .iter()
                    .filter_map(|place| place.parse(pointer))
                    .map(|place| (channel.clone(), place)),
            );
        }
    }
    if at.is_empty() && words.is_empty() && implied.is_empty() {
        reader
            .fault("no place of a channel, expected `at` with JSON pointers such as \"/channel\"");
    }
    reader.finish();
    Channels {
        at,
        form: form.unwrap_or_default(),
        words,
        absent,
        implied,
    }
}

/// Reads the name of a channel, in lower case.
pub(crate) fn channel_name(text: &str) -> Result<String, Malformed> {
    if !reads_as_name(text) {
        return Err(Malformed::new(
            "not the name of a channel, expected one such as \"whatsapp\" or \"sms\"",
        ));
    }
    Ok(text.to_ascii_lowercase())
}
