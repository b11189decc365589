//! Every text is a configuration or a list of faults, and no fault repeats a secret of the text.
#![no_main]

use keyside::config::Config;
use libfuzzer_sys::fuzz_target;

/// A token that a user has pasted in the place of a reference.
const CANARY: &str = "EAAGm0PX4ZCpsBAcanary";

fuzz_target!(|text: &str| {
    let _ = Config::parse(text, "proxy.toml");

    let (value, rest) = text.split_once('\n').unwrap_or((text, ""));
    assert_silent(&format!(
        "[credential.acme]\nprovider = \"meta\"\ntoken = {}\n{rest}",
        quoted(value)
    ));
    assert_silent(&format!(
        "[credential.acme]\nprovider = \"meta\"\ntoken = \"{CANARY}{value}\n{rest}"
    ));
});

/// The canary, followed by the value, as a TOML string.
fn quoted(value: &str) -> String {
    let escaped: String = value
        .chars()
        .flat_map(|c| {
            format!("\\U{:08X}", u32::from(c))
                .chars()
                .collect::<Vec<_>>()
        })
        .collect();
    format!("\"{CANARY}{escaped}\"")
}

fn assert_silent(text: &str) {
    if let Err(faults) = Config::parse(text, "proxy.toml") {
        assert!(
            !format!("{faults}{faults:?}").contains(CANARY),
            "a fault repeats what may be a secret"
        );
    }
}
