//! Senders in error texts.

/// The beginning of a sender, for an error text.
pub(super) fn cut(sender: &str) -> String {
    sender.chars().take(MAX_SHOWN).collect()
}

/// Longest sender in an error text, in characters: the ids of phone numbers have some 15 digits.
const MAX_SHOWN: usize = 32;
