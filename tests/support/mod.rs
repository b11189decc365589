//! Tools for every behaviour: the program under test, an upstream with scripted answers, and a
//! client that sends raw bytes.

pub mod authority;
pub mod book;
pub mod client;
pub mod key;
pub mod keyside;
pub mod kubernetes;
pub mod load;
pub mod manager;
pub mod nats;
#[cfg(feature = "otlp")]
pub mod otlp;
pub mod policy;
pub mod preload;
pub mod proxy;
pub mod rabbit;
pub mod redis;
pub mod relay;
pub mod sandbox;
pub mod upstream;
pub mod webhook;

use std::fs;
use std::time::{Duration, Instant};

/// The token that the default configuration injects.
pub const TOKEN: &str = "EAATESTTOKEN";
/// The app secret of the vectors in the facts about Meta.
pub const APP_SECRET: &str = "test_app_secret";
/// A path that the route allows with POST.
pub const MESSAGES: &str = "/v23.0/1234567890/messages";
/// A path that the route allows with POST, for files.
pub const UPLOADS: &str = "/v23.0/1234567890/media";
/// A path that the route allows with GET: the description of a media id.
pub const MEDIA: &str = "/v23.0/1234567890";

/// Waits until `holds` returns true; false when `within`, [`stretched`] by the load, has passed.
pub fn eventually(within: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    loop {
        if holds() {
            return true;
        }
        if began.elapsed() > stretched(within) {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The time for a step with the bound `bound` on an idle machine, at the present load.
///
/// A bound on time is a promise of the program under test, but on a machine with more runnable
/// tasks than processors the scheduler's as well. The load stretches bounds: on an idle machine,
/// bounds stay strict.
pub fn stretched(bound: Duration) -> Duration {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let mut fields = load.split([' ', '/']);
    let last_minute = fields.next().and_then(|field| field.parse().ok());
    let running_now = fields.nth(2).and_then(|field| field.parse().ok());
    let tasks = f64::max(last_minute.unwrap_or(0.0), running_now.unwrap_or(0.0));
    let processors = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    bound.mul_f64((1.0 + tasks / processors).min(MAX_STRETCH))
}

/// A test that hangs should still end: no bound is stretched more than tenfold.
const MAX_STRETCH: f64 = 10.0;

/// Bytes as readable text, cut after 300 characters.
pub fn shown(bytes: &[u8]) -> String {
    let mut text: String = bytes.escape_ascii().to_string();
    if text.len() > 300 {
        text.truncate(300);
        text.push('…');
    }
    text
}

/// True when `needle` occurs in `bytes`.
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
        let word = chunk
            .iter()
            .fold(0_u32, |word, byte| (word << 8) | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        for place in 0..4 {
            if place <= chunk.len() {
                out.push(char::from(
                    ALPHABET[(word >> (18 - 6 * place)) as usize & 63],
                ));
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
    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(key.as_bytes())
        .expect("HMAC takes a key of any length");
    mac.update(message.as_ref());
    hex(&mac.finalize().into_bytes())
}

/// HMAC-SHA256 in base64.
pub fn hmac_base64(key: &[u8], message: &[u8]) -> String {
    use hmac::{KeyInit, Mac};
    let mut mac =
        hmac::Hmac::<sha2::Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(message);
    base64(&mac.finalize().into_bytes())
}

/// Pseudo-random bytes, equal in every run.
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
