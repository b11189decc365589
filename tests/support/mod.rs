//! What every behaviour needs: the program under test, an upstream that does as it is told, and a client that sends raw bytes.

pub mod authority;
pub mod client;
pub mod key;
pub mod keyside;
pub mod load;
pub mod manager;
pub mod redis;
pub mod sandbox;
pub mod upstream;
pub mod webhook;

use std::time::{Duration, Instant};

/// The token that the default configuration injects.
pub const TOKEN: &str = "EAATESTTOKEN";
/// The app secret of the vectors in the facts about Meta.
pub const APP_SECRET: &str = "test_app_secret";
/// A path that the route allows with POST.
pub const MESSAGES: &str = "/v23.0/1234567890/messages";
/// A path that the route allows with GET: reading what a media id stands for.
pub const MEDIA: &str = "/v23.0/1234567890";

/// Waits until something holds; says whether it did within the time.
pub fn eventually(within: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + within;
    loop {
        if holds() {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Bytes as a person can read them, cut after 300 characters.
pub fn shown(bytes: &[u8]) -> String {
    let mut text: String = bytes.escape_ascii().to_string();
    if text.len() > 300 {
        text.truncate(300);
        text.push('…');
    }
    text
}

/// Whether `needle` occurs in `bytes`.
pub fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    !needle.is_empty() && bytes.windows(needle.len()).any(|window| window == needle)
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Standard base64 with padding.
pub fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_u32, |word, byte| (word << 8) | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            if place <= chunk.len() {
                out.push(char::from(ALPHABET[(word >> (18 - 6 * place)) as usize & 63]));
            } else {
                out.push('=');
            }
        }
    }
    out
}

/// HMAC-SHA256 in hexadecimal.
pub fn hmac_sha256(key: &str, message: impl AsRef<[u8]>) -> String {
    use hmac::{KeyInit, Mac};
    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(key.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(message.as_ref());
    hex(&mac.finalize().into_bytes())
}

/// Bytes that look random and are the same in every run.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut out = Vec::with_capacity(length + 8);
    while out.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(length);
    out
}
