//! Who may call and what may pass: everything that is refused before anything is looked up.

use std::borrow::Cow;
use std::collections::HashSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, header};

use super::error::OutboundError;
use crate::headers::is_ascii_text;
use crate::listener::Link;
use crate::query;

/// Refuses a request that comes from the wrong place, or that a provider might read as another one
/// than Keyside does.
///
/// # Errors
/// 421, 403, 405 or 400.
pub fn admit(request: &Parts, hosts: &HashSet<String>, link: &Link) -> Result<(), OutboundError> {
    check_caller(&request.headers, hosts)?;
    if !METHODS.contains(&request.method) {
        return Err(OutboundError::MethodNotAllowed);
    }
    check_headers(&request.headers)?;
    // An authority without a scheme is the form that only CONNECT has.
    if request.uri.scheme().is_none() && request.uri.authority().is_some() {
        return Err(bad("the request target has no path", "ask for a path, as in GET /v23.0/..."));
    }
    if link.had_fragment() {
        return Err(bad("the request target has a fragment", "leave out `#` and what follows it"));
    }
    check_path(request.uri.path())?;
    check_query(request.uri.query().unwrap_or_default())
}

/// Who may call any listener of Keyside's: a process of this machine that knows where it is calling,
/// and no page in a browser. A rebound DNS name shows in `Host` alone; a page on another port of
/// localhost is `same-site` to a browser, so that only `none` passes.
///
/// # Errors
/// 421 or 403.
pub fn check_caller(headers: &HeaderMap, hosts: &HashSet<String>) -> Result<(), OutboundError> {
    let mut named = None;
    let mut from_a_page = false;
    // One pass over few headers is cheaper than a look-up for each name.
    for (name, value) in headers {
        match *name {
            header::HOST if named.is_some() => return Err(OutboundError::WrongHost),
            header::HOST => named = Some(value),
            header::ORIGIN => from_a_page = true,
            _ => from_a_page |= name == "sec-fetch-site" && value != "none",
        }
    }
    let host = named.and_then(|host| host_of(host.to_str().ok()?)).ok_or(OutboundError::WrongHost)?;
    if !is_loopback(host) && !hosts.contains(&host.to_ascii_lowercase()) {
        return Err(OutboundError::WrongHost);
    }
    if from_a_page { Err(OutboundError::BrowserRequest) } else { Ok(()) }
}

/// The host of an authority, without its port; `None` where it is malformed.
pub fn host_of(authority: &str) -> Option<&str> {
    let port_at = match authority.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at_checked(port_at)?;
    let port_is_fine = port.is_empty() || port.strip_prefix(':').is_some_and(|digits| digits.parse::<u16>().is_ok());
    let is_name = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    let host_is_fine = host.starts_with('[') || (!host.is_empty() && host.bytes().all(is_name));
    (port_is_fine && host_is_fine).then_some(host)
}

fn is_loopback(host: &str) -> bool {
    let v6 = || host.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok();
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
        || v6().is_some_and(|address| address.is_loopback())
}

fn check_headers(headers: &HeaderMap) -> Result<(), OutboundError> {
    let (mut coded, mut typed) = (false, false);
    for (name, value) in headers {
        match *read_as(name) {
            // What a body is decides what is taken out of it; two readers must not differ over it.
            header::CONTENT_TYPE if typed || name != header::CONTENT_TYPE => {
                return Err(bad("there is more than one Content-Type", "send the body with exactly one Content-Type"));
            }
            header::CONTENT_TYPE => typed = true,
            header::TRANSFER_ENCODING if coded || !value.as_bytes().eq_ignore_ascii_case(b"chunked") => {
                return Err(bad(
                    "the Transfer-Encoding is not a single `chunked`",
                    "send the body plain, in chunks or with a Content-Length",
                ));
            }
            header::TRANSFER_ENCODING => coded = true,
            header::EXPECT if !value.as_bytes().eq_ignore_ascii_case(b"100-continue") => {
                return Err(bad("the Expect header asks for something unknown", "send `Expect: 100-continue` or none"));
            }
            _ if !is_ascii_text(value) => {
                return Err(bad(
                    "a header has bytes that are not ASCII",
                    "encode what is not ASCII, or send it in the body",
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

/// A path that every reader takes for the same one: no dot segment, empty segment or backslash, plain
/// or encoded, no control character, nothing beyond ASCII. What passes goes on byte for byte.
///
/// # Errors
/// 400.
pub fn check_path(path: &str) -> Result<(), OutboundError> {
    let refuse = |message| Err(bad(message, "send the path in its plain form, as the provider documents it"));
    if !path.starts_with('/') {
        return refuse("the path does not begin with `/`");
    }
    for segment in path.as_bytes().split(|b| *b == b'/').skip(1) {
        // Some servers drop what follows a `;` before they look at the segment.
        match segment.split(|b| *b == b';').next().unwrap_or_default() {
            b"" if path.contains("//") => return refuse("the path has an empty segment"),
            b"." | b".." => return refuse("the path has a dot segment"),
            _ => {}
        }
    }
    if path.bytes().any(|b| b == b'\\' || !(b'!'..=b'~').contains(&b)) {
        return refuse("the path has a backslash, a control character or a byte that is not ASCII");
    }
    let mut rest = path;
    while let Some((_, after)) = rest.split_once('%') {
        let code = after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match code {
            None => return refuse("the path has a `%` without two hex digits"),
            Some(b'/' | b'\\' | b'.' | 0..0x20 | 0x7f..) => {
                return refuse("the path has an encoded slash, backslash, dot or control character");
            }
            Some(_) => rest = after,
        }
    }
    Ok(())
}

/// No parameter that makes the provider do something else than the method and path say: Graph's
/// verb override, batches, several objects at once, and headers in the body.
fn check_query(text: &str) -> Result<(), OutboundError> {
    if query::pairs(text).any(|pair| pair.is_named(&OVERRIDES)) { Err(OVERRIDDEN) } else { Ok(()) }
}

/// Whether a caller's header stays behind whatever the provider is: hop-by-hop headers, what
/// identifies or authorizes the caller, what traces it inside its own network, and what would have
/// the provider take the request for another.
#[must_use]
pub fn is_stripped(name: &HeaderName) -> bool {
    crate::headers::is_hop_by_hop(name)
        || matches!(
            *name,
            header::HOST | header::CONTENT_LENGTH | header::EXPECT | header::COOKIE | header::AUTHORIZATION
        )
        || matches!(*name, header::FORWARDED | header::VIA)
        || STRIPPED.contains(&name.as_str())
        || name.as_str().starts_with("x-forwarded-")
        || name.as_str().starts_with("sec-fetch-")
        || name.as_str().starts_with("keyside-")
}

/// The name as it is read by CGI and what descends from it, to whom `X_API_Key` is `X-API-Key`.
#[must_use]
pub fn read_as(name: &HeaderName) -> Cow<'_, HeaderName> {
    if memchr::memchr(b'_', name.as_str().as_bytes()).is_none() {
        return Cow::Borrowed(name);
    }
    HeaderName::from_bytes(name.as_str().replace('_', "-").as_bytes()).map_or(Cow::Borrowed(name), Cow::Owned)
}

fn bad(message: &'static str, details: &'static str) -> OutboundError {
    OutboundError::BadRequest { message, details }
}

const STRIPPED: [&str; 8] = [
    "traceparent",
    "tracestate",
    "baggage",
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "http2-settings",
    "x-access-token",
];

/// What Graph takes from a query, and from a form or a JSON object as well.
pub const OVERRIDES: [&str; 4] = ["method", "batch", "ids", "include_headers"];
/// What is said where one of them is there.
pub const OVERRIDDEN: OutboundError = OutboundError::BadRequest {
    message: "the request has a parameter that changes what it does",
    details: "send each call by itself, with its own method, without `method`, `batch`, `ids` and `include_headers`",
};

/// The methods that pass, as `Allow` lists them.
pub const ALLOW: &str = "GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS";
const METHODS: [Method; 7] =
    [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::HEAD, Method::OPTIONS];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_could_be_read_in_two_ways_is_refused() {
        for path in [
            "",
            "*",
            "a",
            "//a",
            "/a//b",
            "/.",
            "/..",
            "/a/../b",
            "/a/.",
            "/a/..;/b",
            "/a/.;x=1",
            "/a\\b",
            "/a b",
            "/\u{e9}",
            "/a\u{7f}",
            "/%",
            "/%4",
            "/%zz",
            "/%2e%2e/a",
            "/a%2Fb",
            "/a%5cb",
            "/%00",
            "/a%0d%0aX:%20y",
            "/%7f",
            "/%c3%a9",
        ] {
            assert!(check_path(path).is_err(), "{path}");
        }
    }

    #[test]
    fn a_plain_path_passes() {
        for path in [
            "/",
            "/v23.0/106/messages",
            "/v23.0/upload:MTphdHRh==",
            "/a/...",
            "/a.b",
            "/a%20b",
            "/a;b=c",
            "/106/messages/",
        ] {
            assert!(check_path(path).is_ok(), "{path}");
        }
    }

    #[test]
    fn a_host_is_taken_apart_or_refused() {
        for (authority, host) in [
            ("localhost", "localhost"),
            ("a.b:80", "a.b"),
            ("127.0.0.1:8080", "127.0.0.1"),
            ("[::1]", "[::1]"),
            ("[::1]:80", "[::1]"),
            ("a:", "a"),
        ] {
            let expected = (authority != "a:").then_some(host);
            assert_eq!(host_of(authority), expected, "{authority}");
        }
        for authority in ["", ":80", "a@b", "a/c", "a:b", "a:80:90", "a:99999", "[::1", "[::1]x", "a b", "\u{e9}"] {
            assert_eq!(host_of(authority), None, "{authority}");
        }
    }

    #[test]
    fn loopback_has_many_names_and_others_are_none() {
        for host in ["localhost", "LocalHost", "127.0.0.1", "127.1.2.3", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "evil.test",
            "localhost.evil.test",
            "127.0.0.1.evil.test",
            "10.0.0.1",
            "[::2]",
            "0.0.0.0",
            "[::ffff:127.0.0.1]",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn parameters_that_change_the_request_are_refused() {
        for query in
            ["method=delete", "a=1&METHOD=x", "%6Dethod=x", "batch=[]", "batch[]=1", "ids=1,2", "include_headers"]
        {
            assert!(check_query(query).is_err(), "{query}");
        }
        assert!(check_query("fields=method&methods=1&phone_number_id=1").is_ok());
    }
}
