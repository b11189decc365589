//! Settings of phone numbers: business profiles and lists of blocked users.

use std::collections::HashMap;

use parking_lot::Mutex;
use serde_json::Value;

/// The profiles and block lists of all numbers.
#[derive(Default)]
pub(crate) struct Numbers {
    profiles: Mutex<HashMap<String, Value>>,
    blocked: Mutex<HashMap<String, Vec<String>>>,
}

impl Numbers {
    /// Returns the profile that a request set.
    pub(crate) fn profile(&self, number: &str) -> Option<Value> {
        self.profiles.lock().get(number).cloned()
    }

    /// Sets a profile; beyond [`MAX_NUMBERS`] a new number's profile is dropped.
    pub(crate) fn set_profile(&self, number: &str, profile: Value) {
        let mut profiles = self.profiles.lock();
        if profiles.len() < MAX_NUMBERS || profiles.contains_key(number) {
            profiles.insert(number.to_owned(), profile);
        }
    }

    /// Returns the blocked users of a number.
    pub(crate) fn blocked(&self, number: &str) -> Vec<String> {
        self.blocked.lock().get(number).cloned().unwrap_or_default()
    }

    /// Adds users to a number's block list, without duplicates.
    pub(crate) fn block(&self, number: &str, users: &[String]) {
        self.change_blocked(number, |blocked| {
            blocked.retain(|user| !users.contains(user));
            blocked.extend_from_slice(users);
            blocked.truncate(MAX_BLOCKED);
        });
    }

    /// Removes users from a number's block list.
    pub(crate) fn unblock(&self, number: &str, users: &[String]) {
        self.change_blocked(number, |blocked| {
            blocked.retain(|user| !users.contains(user));
        });
    }

    fn change_blocked(&self, number: &str, change: impl FnOnce(&mut Vec<String>)) {
        let mut numbers = self.blocked.lock();
        if numbers.len() < MAX_NUMBERS || numbers.contains_key(number) {
            change(numbers.entry(number.to_owned()).or_default());
        }
    }
}

/// The numbers with a profile or a block list: more than any account has.
const MAX_NUMBERS: usize = 10_000;

/// The longest block list, from Meta's documentation of the block API.
const MAX_BLOCKED: usize = 64_000;
