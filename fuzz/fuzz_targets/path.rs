//! A path that Keyside accepts has one meaning for all readers.
#![no_main]

use keyside::outbound::path::check_path;
use libfuzzer_sys::fuzz_target;
use percent_encoding::percent_decode;

fuzz_target!(|path: &str| {
    if check_path(path).is_err() {
        return;
    }
    assert!(
        path.bytes().all(|b| b.is_ascii_graphic()),
        "a byte outside visible ASCII"
    );
    assert!(path.starts_with('/'), "not an absolute path");
    assert!(!path.contains("//"), "an empty segment");

    let decoded: Vec<u8> = percent_decode(path.as_bytes()).collect();
    assert!(
        !decoded.iter().any(u8::is_ascii_control),
        "an encoded control character"
    );
    assert!(!decoded.contains(&b'\\'), "a backslash");
    assert_eq!(
        slashes(path.as_bytes()),
        slashes(&decoded),
        "an encoded slash"
    );
    for segment in decoded.split(|b| *b == b'/') {
        assert!(segment != b"." && segment != b"..", "a dot segment");
    }
});

fn slashes(bytes: &[u8]) -> usize {
    bytes.iter().filter(|b| **b == b'/').count()
}
