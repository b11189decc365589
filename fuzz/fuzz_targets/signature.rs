//! An event without a signature by the secret is refused, and no header makes a parser panic.
#![no_main]

use keyside_fuzz::is_genuine;
use libfuzzer_sys::fuzz_target;

const PRESETS: [&str; 6] = [
    "meta",
    "haptik",
    "ycloud",
    "standard-webhooks",
    "sinch",
    "bird",
];

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let lines: Vec<&str> = text.split('\n').collect();
    let (body, values) = lines.split_last().expect("a split has a part");
    for preset in PRESETS {
        assert!(
            !is_genuine(preset, values, "/", body.as_bytes()),
            "{preset}: {values:?}"
        );
    }
});
