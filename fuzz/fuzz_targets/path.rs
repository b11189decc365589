//! A path that Keyside lets through means one thing only, to whoever reads it.
#![no_main]

use keyside::outbound::guard::check_path;
use libfuzzer_sys::fuzz_target;
use percent_encoding::percent_decode;

fuzz_target!(|target: &[u8]| {
    if check_path(target).is_err() {
        return;
    }
    assert!(target.iter().all(|b| matches!(b, b'!'..=b'~')), "a byte outside visible ASCII");

    let path = target.split(|b| *b == b'?').next().unwrap_or_default();
    let decoded: Vec<u8> = percent_decode(path).collect();
    assert!(path.starts_with(b"/"), "not an absolute path");
    assert!(!path.windows(2).any(|w| w == b"//"), "an empty segment");
    assert!(!decoded.contains(&b'\\'), "a backslash");
    assert!(!decoded.contains(&0), "a NUL");
    assert_eq!(slashes(path), slashes(&decoded), "an encoded slash");
    for segment in decoded.split(|b| *b == b'/') {
        assert!(segment != b"." && segment != b"..", "a dot segment");
    }
});

fn slashes(bytes: &[u8]) -> usize {
    bytes.iter().filter(|b| **b == b'/').count()
}
