//! A token without a signature by the secret is refused, for every header and all claims.
#![no_main]

use keyside_fuzz::is_genuine;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(token) = std::str::from_utf8(data) else {
        return;
    };
    for preset in ["vonage", "messagebird"] {
        assert!(!is_genuine(preset, &[token], "/", b""), "{preset}: {token}");
    }
});
