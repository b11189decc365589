//! No token is taken that nobody with the secret signed, whatever its header and claims say.
#![no_main]

use keyside_fuzz::is_genuine;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(token) = std::str::from_utf8(data) else { return };
    for preset in ["vonage", "messagebird"] {
        assert!(!is_genuine(preset, &[token], "/", b""), "{preset}: {token}");
    }
});
