//! Hop-by-hop headers, which concern a single connection and end there (RFC 9110, section 7.6.1),
//! and `Retry-After`.

use std::time::{Duration, SystemTime};

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Returns true for a header name that is hop-by-hop even if `Connection` does not list it.
///
/// RFC 9110 no longer counts `proxy-authenticate` and `proxy-authorization` as hop-by-hop. Both
/// address a proxy, however, and Keyside is the proxy.
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

/// Returns the names listed by all `Connection` lines, as written. A name may be any bytes.
pub fn connection_named(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(names_in)
}

/// Returns the names listed by one `Connection` line, as written. A name may be any bytes.
pub fn names_in(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value
        .as_bytes()
        .split(|b| *b == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|name| !name.is_empty())
}

/// Removes all hop-by-hop headers, the standard ones and those listed by `Connection`.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = connection_named(headers)
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Returns the time that `Retry-After` asks to wait, in seconds or as a date: RFC 9110, section
/// 10.2.3. More seconds than fit are the most that fit.
#[must_use]
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Some(seconds) = whole_number(text) {
        return Some(Duration::from_secs(seconds));
    }
    let until = httpdate::parse_http_date(text).ok()?;
    until.duration_since(now).ok()
}

/// Returns the number that a text of digits alone writes; a larger one than fits is the largest
/// that fits.
#[must_use]
pub fn whole_number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

/// Returns true if every byte of a value is visible ASCII, a space or a tab. No [`HeaderValue`] has
/// another control byte.
#[must_use]
pub fn is_ascii_text(value: &HeaderValue) -> bool {
    value.as_bytes().is_ascii()
}

/// The name as CGI and its successors read a name: `X_API_Key` becomes `X-API-Key`.
#[must_use]
pub fn read_as(name: &HeaderName) -> Cow<'_, HeaderName> {
    // Names are so short that a loop costs less than the call of a search.
    if !name.as_str().bytes().any(|byte| byte == b'_') {
        return Cow::Borrowed(name);
    }
    HeaderName::from_bytes(name.as_str().replace('_', "-").as_bytes())
        .map_or(Cow::Borrowed(name), Cow::Owned)
}

/// The names recognized by [`is_hop_by_hop`], as a list for removal.
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
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn standard_and_listed_hop_by_hop_headers_are_removed_and_others_stay() {
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
    fn retry_after_names_seconds_or_a_date() {
        let now = UNIX_EPOCH + Duration::from_secs(1_764_600_000);
        let coming = httpdate::fmt_http_date(now + Duration::from_secs(3600));
        for (text, seconds) in [
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", Some(u64::MAX)),
            ("100000000000000000000000000", Some(u64::MAX)),
            (&coming, Some(3600)),
            ("Thu, 01 Jan 1970 00:00:00 GMT", None),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
        ] {
            let value = HeaderValue::from_str(text).unwrap();
            let headers = HeaderMap::from_iter([(header::RETRY_AFTER, value)]);
            let named = retry_after(&headers, now);
            assert_eq!(named.map(|time| time.as_secs()), seconds, "{text}");
        }
    }

    #[test]
    fn the_two_lists_of_names_agree() {
        assert!(HOP_BY_HOP.iter().all(is_hop_by_hop));
    }
}
