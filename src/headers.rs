//! Which headers concern one connection only and end there (RFC 9110, section 7.6.1).

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Whether a header of this name ends at this hop whatever `Connection` says.
///
/// `proxy-authenticate` and `proxy-authorization` are not hop-by-hop by RFC 9110 any more, but they
/// speak to a proxy, and the proxy is Keyside.
#[must_use]
pub fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        *name,
        header::CONNECTION
            | header::TE
            | header::TRAILER
            | header::TRANSFER_ENCODING
            | header::UPGRADE
            | header::PROXY_AUTHENTICATE
            | header::PROXY_AUTHORIZATION
    ) || name == "keep-alive"
        || name == "proxy-connection"
}

/// The names that the `Connection` headers list, in lower case and as bytes: a name may be
/// anything, and each of several `Connection` lines counts.
pub fn connection_named(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|b| *b == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|name| !name.is_empty())
}

/// Takes out what ends at this hop.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> =
        connection_named(headers).filter_map(|name| HeaderName::from_bytes(name).ok()).collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Whether every byte of a value is visible ASCII, a space or a tab.
#[must_use]
pub fn is_ascii_text(value: &HeaderValue) -> bool {
    value.as_bytes().iter().all(|b| matches!(b, b'\t' | b' '..=b'~'))
}

static HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_and_standing_hop_by_hop_headers_go_and_the_others_stay() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "X-One , keep-alive"),
            ("connection", "x-two,,\u{e9}"),
            ("keep-alive", "timeout=5"),
            ("x-one", "1"),
            ("x-two", "2"),
            ("te", "trailers"),
            ("x-three", "3"),
        ] {
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        strip_hop_by_hop(&mut headers);
        assert_eq!(headers.keys().collect::<Vec<_>>(), ["x-three"]);
    }

    #[test]
    fn the_two_lists_of_names_agree() {
        assert!(HOP_BY_HOP.iter().all(is_hop_by_hop));
    }
}
