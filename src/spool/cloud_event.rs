//! Events in the Cloud API's form, as far as the items of an event need.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::json::lenient::{LenientList, LenientText, has_more_objects, without_mark};

/// Parses an event of which every part has the expected form; `None` for any other body.
pub(super) fn parsed_strictly(body: &[u8]) -> Option<StrictEvent<'_>> {
    let text = object_text(body).filter(|text| !has_more_objects(text, MAX_OBJECTS))?;
    serde_json::from_str(str::from_utf8(text).ok()?).ok()
}

/// Parses an event. A body in another form has no entries. Returns `None` for an unreadable body,
/// and for a body with more objects than a provider sends: a parsed object takes many times the
/// length.
pub(super) fn parsed(body: &[u8]) -> Option<ItemEvent<'_>> {
    let Some(text) = object_text(body) else {
        return Some(ItemEvent::default());
    };
    if has_more_objects(text, MAX_OBJECTS) {
        return None;
    }
    serde_json::from_slice(text).ok()
}

/// Returns the text of a body that begins as an object; `None` for any other body.
fn object_text(body: &[u8]) -> Option<&[u8]> {
    let text = without_mark(body);
    text.trim_ascii_start().starts_with(b"{").then_some(text)
}

/// An event of which every part has the expected form.
#[derive(Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(super) struct StrictEvent<'a> {
    pub(super) entry: LenientList<StrictEntry<'a>, true>,
}

#[derive(Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(super) struct StrictEntry<'a> {
    pub(super) id: LenientText<'a>,
    pub(super) changes: LenientList<StrictChange<'a>, true>,
}

#[derive(Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(super) struct StrictChange<'a> {
    pub(super) field: LenientText<'a>,
    pub(super) value: Option<ItemValue<'a, true>>,
}

/// An event of which a part may have another form.
#[derive(Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(super) struct ItemEvent<'a> {
    pub(super) entry: LenientList<ItemEntry<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(super) struct ItemEntry<'a> {
    /// The id of the business account.
    pub(super) id: LenientText<'a>,
    pub(super) changes: LenientList<ItemChange<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(super) struct ItemChange<'a> {
    pub(super) field: LenientText<'a>,
    #[serde(borrow)]
    pub(super) value: Option<&'a RawValue>,
}

impl<'a> ItemChange<'a> {
    /// Reads the value; `None` for a value of another form.
    pub(super) fn read(&self) -> Option<ItemValue<'a>> {
        self.value.map_or(Some(ItemValue::default()), |value| {
            serde_json::from_str(value.get()).ok()
        })
    }
}

#[derive(Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(super) struct ItemValue<'a, const STRICT: bool = false> {
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
    pub(super) messages: LenientList<Update<'a>, STRICT>,
    pub(super) message_echoes: LenientList<Update<'a>, STRICT>,
    pub(super) statuses: LenientList<Update<'a>, STRICT>,
}

impl<'a> ItemValue<'a, true> {
    pub(super) fn tolerant(self) -> ItemValue<'a> {
        ItemValue {
            metadata: self.metadata,
            messages: self.messages.tolerant(),
            message_echoes: self.message_echoes.tolerant(),
            statuses: self.statuses.tolerant(),
        }
    }
}

impl ItemValue<'_> {
    /// The id of the business's number: empty if unreadable, `None` for a change about no number.
    pub(super) fn number(&self) -> Option<String> {
        let read = serde_json::from_str(self.metadata?.get());
        let metadata: ItemMetadata<'_> = read.unwrap_or_default();
        Some(metadata.phone_number_id.into_owned())
    }
}

#[derive(Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
struct ItemMetadata<'a> {
    phone_number_id: LenientText<'a>,
}

/// A message or a status, as far as repeats and lanes need.
#[derive(Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(super) struct Update<'a> {
    pub(super) id: LenientText<'a>,
    pub(super) status: LenientText<'a>,
    pub(super) timestamp: LenientText<'a>,
    pub(super) from: LenientText<'a>,
    pub(super) to: LenientText<'a>,
    pub(super) from_user_id: LenientText<'a>,
    pub(super) to_user_id: LenientText<'a>,
    pub(super) user_id: LenientText<'a>,
    pub(super) recipient_id: LenientText<'a>,
    pub(super) recipient_user_id: LenientText<'a>,
    pub(super) recipient_participant_id: LenientText<'a>,
}

impl Update<'_> {
    /// The names of the person at the other end, the phone number first. A message that the
    /// business sent has the person in `to`.
    pub(super) fn person(&self) -> Vec<&str> {
        let names: [&str; 6] =
            if !self.recipient_id.is_empty() || !self.recipient_user_id.is_empty() {
                [
                    &self.recipient_id,
                    &self.recipient_user_id,
                    &self.recipient_participant_id,
                    "",
                    "",
                    "",
                ]
            } else if !self.to.is_empty() || !self.to_user_id.is_empty() {
                [&self.to, &self.to_user_id, "", "", "", ""]
            } else {
                [&self.from, &self.from_user_id, &self.user_id, "", "", ""]
            };
        names.into_iter().filter(|name| !name.is_empty()).collect()
    }
}

/// The bound on objects of an event that is parsed. A batch has at most a thousand updates, each
/// with some ten objects.
pub(super) const MAX_OBJECTS: usize = 32 * 1024;
