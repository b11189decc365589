//! No header makes an event genuine whose signature nobody with the secret made, and none makes the parsers fall over.
#![no_main]

use keyside_fuzz::is_genuine;
use libfuzzer_sys::fuzz_target;

const PRESETS: [&str; 6] = ["meta", "haptik", "ycloud", "standard-webhooks", "sinch", "bird"];

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let lines: Vec<&str> = text.split('\n').collect();
    let (body, values) = lines.split_last().expect("a split has a part");
    for preset in PRESETS {
        assert!(!is_genuine(preset, values, "/", body.as_bytes()), "{preset}: {values:?}");
    }
});
