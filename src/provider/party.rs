//! The form in which senders and recipients are compared.

use std::borrow::Cow;

/// Returns a sender or recipient in the form for comparison in limits and routes.
///
/// A phone number is reduced to digits, without punctuation and without the name of a channel in
/// front (Twilio's `whatsapp:`). Any other name stays as it is written.
#[must_use]
pub fn party(written: &str) -> Cow<'_, str> {
    let bare = match written.split_at_checked(CHANNEL.len()) {
        Some((channel, rest)) if channel.eq_ignore_ascii_case(CHANNEL) => rest,
        _ => written,
    };
    let is_digits = bare.bytes().all(|byte| byte.is_ascii_digit());
    let is_number = bare
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b"+-(). ".contains(&byte));
    if is_number && !is_digits {
        Cow::Owned(bare.chars().filter(char::is_ascii_digit).collect())
    } else {
        Cow::Borrowed(bare)
    }
}

/// The prefix of WhatsApp addresses at Twilio: <https://www.twilio.com/docs/whatsapp/api>.
const CHANNEL: &str = "whatsapp:";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_compared_by_its_digits_and_a_name_as_written() {
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
