//! The hashes under which the store knows items, lanes and users: no name of a person stands in an
//! index.

use sha2::{Digest, Sha256};

use super::contents::EventContents;
use super::tables::LaneId;

/// The hashes of an event's items, each with the hash of the item's first user.
pub(super) fn item_ids(
    salt: &[u8; 16],
    webhook: &str,
    contents: &EventContents,
) -> Vec<([u8; 16], u64)> {
    let items = contents.items.iter().map(|item| {
        let digest = hash(salt, "item", webhook, &item.key);
        let id = digest.first_chunk().copied().unwrap_or_default();
        (id, item.users.first().map_or(0, |user| user_id(salt, user)))
    });
    items.collect()
}

/// The hashes of an event's lanes.
pub(super) fn lane_ids(salt: &[u8; 16], webhook: &str, contents: &EventContents) -> Vec<LaneId> {
    contents
        .lanes
        .iter()
        .map(|lane| short(hash(salt, "lane", webhook, lane)))
        .collect()
}

/// The hash of a user.
pub(super) fn user_id(salt: &[u8; 16], user: &str) -> u64 {
    short(hash(salt, "user", "", user))
}

fn short(digest: [u8; 32]) -> u64 {
    digest.first_chunk().copied().map_or(0, u64::from_le_bytes)
}

fn hash(salt: &[u8; 16], kind: &str, webhook: &str, text: &str) -> [u8; 32] {
    let hash = Sha256::new()
        .chain_update(salt)
        .chain_update(kind)
        .chain_update([0]);
    hash.chain_update(webhook)
        .chain_update([0])
        .chain_update(text)
        .finalize()
        .into()
}
