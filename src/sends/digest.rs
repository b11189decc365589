//! Digests of requests, keys and texts: the content is not kept.

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

/// The first 16 bytes of a SHA-256 digest.
pub type Digest16 = [u8; 16];

/// Returns the digest of a list of parts. Each part is hashed with its length, so
/// different lists have different digests.
#[must_use]
pub fn digest16<'p>(parts: impl IntoIterator<Item = &'p [u8]>) -> Digest16 {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let hash: [u8; 32] = hasher.finalize().into();
    hash.first_chunk().copied().unwrap_or_default()
}

/// Returns the key by which a provider's status event finds its message: sender, recipient, and the
/// text that the application set for events to repeat (the Cloud API's
/// `biz_opaque_callback_data`).
#[must_use]
pub fn callback_key(account: &str, sender: &str, recipient: &str, text: &str) -> Digest16 {
    digest16([account, sender, recipient, text].map(str::as_bytes))
}

/// Returns a digest as lower-case hexadecimal digits.
pub(super) fn hex(digest: &Digest16) -> String {
    HEXLOWER.encode(digest)
}
