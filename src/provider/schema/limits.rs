//! `[limits]`: the rates at which a provider may be asked.

use std::num::NonZeroU32;

use super::request::request_line;
use super::text::{list, pointer};
use crate::document::{Field, Malformed, Reader};
use crate::provider::limits::{ManagedRequest, ProviderLimits, Rates};
use crate::provider::path::SegmentForm;
use crate::units::{MAX_WINDOW, Quota, Rate};

/// Reads `[limits]` of a provider.
pub(super) fn limits(mut reader: Reader<'_>, forms: &[SegmentForm]) -> ProviderLimits {
    let limits = ProviderLimits {
        rates: rates(&mut reader),
        sender: list(&mut reader, "sender", pointer),
        recipient: list(&mut reader, "recipient", pointer),
        separators: reader.parse("separators", separators).unwrap_or_default(),
        sender_before: reader.parse("sender_before", separator),
        receipt: list(&mut reader, "receipt", pointer),
        unpaired: unpaired(&mut reader, forms),
        management_requests: reader.has("management_requests").then(|| {
            list(&mut reader, "management_requests", |text| {
                let (methods, path) = request_line(text)?;
                Ok::<_, Malformed>(ManagedRequest { methods, path })
            })
        }),
        counts_received: reader.boolean("counts_received").unwrap_or(false),
    };
    reader.finish();
    limits
}

/// Reads the characters between several parties in one text. No character of a number or of a
/// channel separates.
fn separators(text: &str) -> Result<String, Malformed> {
    let separates = |c: char| c.is_ascii_punctuation() && !"+-().:_@".contains(c);
    if text.is_empty() || !text.chars().all(separates) {
        return Err(Malformed::new(
            "no separators, expected the characters between several numbers, such as \"<\" or \",;\"",
        ));
    }
    Ok(text.to_owned())
}

/// Reads the character between a sender and a recipient.
fn separator(text: &str) -> Result<char, Malformed> {
    let mut characters = text.chars();
    let first = characters.next().filter(char::is_ascii_punctuation);
    match (first, characters.next()) {
        (Some(first), None) => Ok(first),
        _ => Err(Malformed::new(
            "no separator, expected the character between sender and recipient, such as \":\"",
        )),
    }
}

/// Reads the names of forms whose recipients have no rate of their own.
fn unpaired(reader: &mut Reader<'_>, forms: &[SegmentForm]) -> Vec<SegmentForm> {
    let fields = reader.array("unpaired").unwrap_or_default();
    let form = |field: &Field<'_>| {
        let name = field.string()?;
        let found = forms.iter().find(|form| form.name == name);
        if found.is_none() {
            field.fault("not the name of a form, expected a name of [forms]");
        }
        found.cloned()
    };
    fields.iter().filter_map(form).collect()
}

/// Reads rates from a table that may have other keys. A provider and a route write rates alike.
pub(crate) fn rates(reader: &mut Reader<'_>) -> Rates {
    let per_sender = reader.field("per_sender");
    let auto = per_sender
        .as_ref()
        .is_some_and(|field| field.is_string("auto"));
    Rates {
        per_sender: per_sender
            .filter(|_| !auto)
            .and_then(|field| field.parse(str::parse)),
        auto,
        apart: reader.parse("apart", str::parse),
        per_account: reader.parse("per_account", str::parse),
        management: reader.parse("management", str::parse),
        per_recipient: reader.table("per_recipient").and_then(quota),
    }
}

fn quota(mut reader: Reader<'_>) -> Option<Quota> {
    let rate: Option<Rate> = reader
        .required(
            "rate",
            "how many messages in how much time, such as \"1/6s\"",
        )
        .and_then(|field| field.parse(str::parse));
    let burst = reader.field("burst");
    let count = burst
        .as_ref()
        .and_then(|field| field.integer::<u32>().and_then(NonZeroU32::new));
    if let Some(field) = burst.as_ref().filter(|_| count.is_none()) {
        field.fault("not a count, expected how many messages may go at once, such as 45");
    }
    reader.finish();
    let rate = rate?;
    let quota = Quota {
        rate,
        burst: count.unwrap_or(rate.count),
    };
    if quota.window() > MAX_WINDOW {
        burst?.fault("more than a rate refills in a century, expected fewer messages at once");
        return None;
    }
    Some(quota)
}
