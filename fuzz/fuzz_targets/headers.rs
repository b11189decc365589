//! Hop-by-hop headers are removed, and other headers stay unchanged.
#![no_main]

use http::{HeaderMap, HeaderName, HeaderValue};
use keyside::headers::strip_hop_by_hop;
use libfuzzer_sys::fuzz_target;

const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

fuzz_target!(|head: &[u8]| {
    let before = parse(head);
    let ends_here = |name: &HeaderName| {
        HOP_BY_HOP.contains(&name.as_str()) || named_in_connection(&before, name)
    };
    let want: HeaderMap = entries(&before)
        .filter(|(name, _)| !ends_here(name))
        .collect();

    let mut after = before.clone();
    strip_hop_by_hop(&mut after);
    assert_eq!(after, want);
});

/// Reads a header from each line, without lines that are not valid headers.
fn parse(head: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in head.split(|b| *b == b'\n') {
        let mut halves = line.splitn(2, |b| *b == b':');
        let name = HeaderName::from_bytes(halves.next().unwrap_or_default());
        let value = HeaderValue::from_bytes(halves.next().unwrap_or_default().trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    headers
}

fn named_in_connection(headers: &HeaderMap, name: &HeaderName) -> bool {
    headers
        .get_all("connection")
        .iter()
        .flat_map(|list| list.as_bytes().split(|b| *b == b','))
        .any(|item| {
            item.trim_ascii()
                .eq_ignore_ascii_case(name.as_str().as_bytes())
        })
}

fn entries(headers: &HeaderMap) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    headers
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()))
}
