//! The first checks of a request, before a route is looked up: who may call, and what may pass.

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::error::OutboundError;
use super::hosts::{Hosts, NamedUpstream, ServedName, host_of, named_upstream};
use super::path::check_path;
use super::policy::Route;
use crate::headers::{is_ascii_text, names_in, read_as};
use crate::listener::{Link, Peer};
use crate::provider::METHODS;
use crate::query;

/// Refuses a request from the wrong place, or a request that a provider might read differently than
/// Keyside does. Returns the upstream that the target or `Host` names; `None` for a name of
/// Keyside's own.
///
/// # Errors
/// 421 for a foreign host, 403 for a browser, 405 for a method, 400 for an ambiguous request.
pub fn admit(
    request: &Parts,
    hosts: &Hosts,
    link: &Link,
) -> Result<Option<NamedUpstream>, OutboundError> {
    let name = name_of_host(&request.headers, hosts, link, Callers::Programs)?;
    if !METHODS.contains(&request.method) {
        return Err(OutboundError::MethodNotAllowed);
    }
    check_headers(&request.headers)?;
    // Only CONNECT has a target with an authority and without a scheme.
    if request.uri.scheme().is_none() && request.uri.authority().is_some() {
        return Err(bad(
            "the request target has no path",
            "ask for a path, as in GET /v23.0/...",
        ));
    }
    if link.had_fragment() {
        return Err(bad(
            "the request target has a fragment",
            "leave out `#` and what follows it",
        ));
    }
    let upstream = match named_upstream(&request.uri, hosts, link)? {
        None if request.uri.authority().is_none() => name.upstream(),
        named => named,
    };
    check_path(request.uri.path())?;
    check_query(request.uri.query().unwrap_or_default())?;
    Ok(upstream)
}

/// Refuses callers that no listener of Keyside serves: requests for a foreign `Host`, as a rebound
/// DNS name makes them, and pages in a browser. A browser calls a page on another port of localhost
/// `same-site`, so only `Sec-Fetch-Site: none` passes, which is what an address typed by a person
/// says.
///
/// # Errors
/// 421 for the `Host`, 403 for a browser.
pub fn check_caller(
    headers: &HeaderMap,
    hosts: &Hosts,
    link: &Link,
    callers: Callers,
) -> Result<(), OutboundError> {
    name_of_host(headers, hosts, link, callers).map(drop)
}

/// The name in `Host`, of a caller as [`check_caller`] lets in.
fn name_of_host(
    headers: &HeaderMap,
    hosts: &Hosts,
    link: &Link,
    callers: Callers,
) -> Result<ServedName, OutboundError> {
    let mut named = None;
    let mut from_a_page = false;
    // One pass over few headers is cheaper than a look-up for each name.
    for (name, value) in headers {
        match *name {
            header::HOST if named.is_some() => return Err(OutboundError::WrongHost),
            header::HOST => named = Some(value),
            header::ORIGIN => from_a_page = true,
            _ => from_a_page |= name == "sec-fetch-site" && !callers.may_come_from(value),
        }
    }
    let host = named.and_then(|host| host.to_str().ok());
    let name = host
        .filter(|host| is_server_name(host, link))
        .and_then(|host| hosts.name(host, link))
        .ok_or(OutboundError::WrongHost)?;
    if from_a_page {
        return Err(OutboundError::BrowserRequest);
    }
    Ok(name)
}

/// The callers that a listener answers, besides a person who types an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Callers {
    /// Programs alone.
    Programs,
    /// Pages of the listener itself as well, known by scheme, host and port.
    OwnPages,
}

impl Callers {
    /// True for a value of `Sec-Fetch-Site` that may call.
    fn may_come_from(self, site: &HeaderValue) -> bool {
        site == "none" || (self == Self::OwnPages && site == "same-origin")
    }
}

/// True for the host that the caller asked for in its TLS handshake, if it asked for any. A
/// connection that was opened for one host carries no requests for another: RFC 9110, section 7.4.
fn is_server_name(authority: &str, link: &Link) -> bool {
    let Some(server_name) = link.server_name() else {
        return true;
    };
    host_of(authority).is_some_and(|host| host.eq_ignore_ascii_case(server_name))
}

fn check_headers(headers: &HeaderMap) -> Result<(), OutboundError> {
    let mut coded = false;
    let mut typed = false;
    for (name, value) in headers {
        if !is_ascii_text(value) && must_be_read(name) {
            return Err(not_ascii(name));
        }
        match *read_as(name) {
            // The type decides which credentials are taken out of the body, so two readers must not
            // find two types.
            header::CONTENT_TYPE if typed || name != header::CONTENT_TYPE => {
                return Err(bad(
                    "there is more than one Content-Type",
                    "send the body with exactly one Content-Type",
                ));
            }
            header::CONTENT_TYPE => typed = true,
            header::TRANSFER_ENCODING
                if coded || !value.as_bytes().eq_ignore_ascii_case(b"chunked") =>
            {
                return Err(bad(
                    "the Transfer-Encoding is not a single `chunked`",
                    "send the body plain, in chunks or with a Content-Length",
                ));
            }
            header::TRANSFER_ENCODING => coded = true,
            header::EXPECT if !value.as_bytes().eq_ignore_ascii_case(b"100-continue") => {
                return Err(bad(
                    "the Expect header asks for something unknown",
                    "send `Expect: 100-continue` or none",
                ));
            }
            header::CONNECTION if names_in(value).any(is_end_to_end) => {
                return Err(bad(
                    "the Connection header names a header that belongs to the message",
                    "name only headers of the connection in Connection, such as keep-alive",
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

/// True for a header that decides if and in which form a message arrives: about its framing, the
/// form of its body, the condition for its effect, or a repetition. Any other header whose value
/// has bytes that are not ASCII is left out of the request: servers differ about such bytes, and
/// the message means the same without the header, or Keyside's defaults hold.
fn must_be_read(name: &HeaderName) -> bool {
    MUST_BE_READ.contains(&read_as(name).as_str())
}

fn not_ascii(name: &HeaderName) -> OutboundError {
    OutboundError::BadRequest {
        message: format!("the header {name} has bytes that are not ASCII").into(),
        details: "encode what is not ASCII, or send it in the body",
    }
}

/// True for the name, in a `Connection` header, of a header that is for the provider or for all on
/// the way: RFC 9110, section 7.6.1, forbids such names. Without the header the message would mean
/// something else than what was checked. A private header may be named, and ends here.
fn is_end_to_end(named: &[u8]) -> bool {
    let Ok(name) = HeaderName::from_bytes(named) else {
        return false;
    };
    let name = read_as(&name);
    let name = name.as_str();
    END_TO_END_BEGIN.iter().any(|begin| name.starts_with(begin)) || END_TO_END.contains(&name)
}

/// Refuses a user without access to a route. Over TCP, users are unknown; the configuration warns
/// about TCP.
pub(super) fn admit_user(route: &Route, link: &Link) -> Result<(), OutboundError> {
    match link.peer() {
        Peer::Unix { uid } if !route.allow_uids.is_empty() && !route.allow_uids.contains(uid) => {
            Err(OutboundError::UserNotAllowed)
        }
        Peer::Unix { .. } | Peer::Tcp(_) => Ok(()),
    }
}

/// Refuses parameters that change the meaning of method and path: Graph's verb override, batches,
/// several objects at once, and headers in the body. A byte that is not ASCII is refused as well,
/// because servers differ about its meaning.
fn check_query(text: &str) -> Result<(), OutboundError> {
    if text.is_empty() {
        return Ok(());
    }
    if !text.is_ascii() {
        return Err(bad(
            "the query has a byte that is not ASCII",
            "encode the query in percent signs",
        ));
    }
    if query::has_marked_name(text) {
        return Err(MARKED);
    }
    if query::pairs(text).any(|pair| pair.is_named(&OVERRIDES)) {
        return Err(OVERRIDDEN);
    }
    Ok(())
}

/// True for headers of an application that no provider gets: hop-by-hop headers, identities and
/// credentials, traces of the application's own network, and overrides of the method.
#[must_use]
pub fn is_stripped(name: &HeaderName) -> bool {
    crate::headers::is_hop_by_hop(name)
        || matches!(
            *name,
            header::HOST
                | header::CONTENT_LENGTH
                | header::EXPECT
                | header::COOKIE
                | header::AUTHORIZATION
        )
        || matches!(*name, header::FORWARDED | header::VIA)
        || STRIPPED.contains(&name.as_str())
        || name.as_str().starts_with("x-forwarded-")
        || name.as_str().starts_with("sec-fetch-")
        || name.as_str().starts_with("keyside-")
}

const fn bad(message: &'static str, details: &'static str) -> OutboundError {
    OutboundError::bad_request(message, details)
}

const STRIPPED: [&str; 12] = [
    "traceparent",
    "tracestate",
    "baggage",
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "http2-settings",
    "x-access-token",
    "x-original-url",
    "x-rewrite-url",
    "access-token",
    "x-fb-access-token",
];

/// The beginnings of names of headers that are for more than the next hop; see [`is_end_to_end`].
const END_TO_END_BEGIN: [&str; 5] = ["accept", "content-", "if-", "keyside-", "sec-fetch-"];
/// Further names of headers that are for more than the next hop.
const END_TO_END: [&str; 20] = [
    "authorization",
    "baggage",
    "cache-control",
    "cookie",
    "date",
    "expect",
    "forwarded",
    "from",
    "host",
    "idempotency-key",
    "origin",
    "pragma",
    "prefer",
    "priority",
    "range",
    "referer",
    "traceparent",
    "tracestate",
    "user-agent",
    "via",
];

/// Headers without which a message would have another body, another effect, or go out twice; see
/// [`must_be_read`].
const MUST_BE_READ: [&str; 13] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "expect",
    "idempotency-key",
    "if-match",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "keyside-settle",
    "transfer-encoding",
];

/// Parameters that Graph takes from a query, a form or a JSON object, and that change the request.
pub const OVERRIDES: [&str; 4] = ["method", "batch", "ids", "include_headers"];
/// The error for a request with one of [`OVERRIDES`].
pub const OVERRIDDEN: OutboundError = bad(
    "the request has a parameter that changes what it does",
    "send each call by itself, with its own method, without `method`, `batch`, `ids` and `include_headers`",
);

/// The error for a request whose answer would be a token: a page, a user and a business have their
/// tokens among their fields.
pub const TOKEN_ASKED: OutboundError = bad(
    "the request asks for an access token among the fields of an object",
    "read the other fields; Keyside adds the credential, so an application needs no token",
);

/// Returns true for the value of `fields` with which Graph answers a token, such as
/// `owner{access_token}`. The field may stand behind any edge and in any call, since calls that
/// change an object answer its fields as well.
#[must_use]
pub fn asks_for_token(name: &str, value: &str) -> bool {
    names_fields(name) && names_token(value)
}

/// True for the name of the parameter that lists fields of an object.
pub(super) fn names_fields(name: &str) -> bool {
    query::is_read_as_one_of(name, &["fields"])
}

/// True for a list of fields with a token in any place.
pub(super) fn names_token(fields: &str) -> bool {
    let mut words = fields.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.any(|word| word.eq_ignore_ascii_case("access_token"))
}

/// The error for a query or form with a name behind a byte order mark: some servers skip the mark.
pub const MARKED: OutboundError = bad(
    "a name in the query or the form begins with a byte order mark",
    "send names without U+FEFF in front",
);

/// [`METHODS`] in the form of the `Allow` header.
pub const ALLOW: &str = "GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_names_no_header_of_the_message() {
        for name in [
            "content-type",
            "Content-Type",
            "content_type",
            "content-encoding",
            "user-agent",
            "accept",
            "idempotency-key",
            "host",
            "Content-Length",
            "cookie",
            "authorization",
            "cache-control",
            "if-match",
            "keyside-settle",
        ] {
            assert!(is_end_to_end(name.as_bytes()), "{name}");
        }
        for name in [
            "close",
            "keep-alive",
            "te",
            "upgrade",
            "http2-settings",
            "proxy-connection",
            "transfer-encoding",
            "proxy-authorization",
            "x-private",
            "\u{e9}",
        ] {
            assert!(!is_end_to_end(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn a_header_that_decides_about_the_message_must_be_ascii() {
        for (name, must_be_read) in [
            ("content-type", true),
            ("content_type", true),
            ("content-encoding", true),
            ("connection", true),
            ("transfer-encoding", true),
            ("idempotency-key", true),
            ("Idempotency_Key", true),
            ("content-range", true),
            ("if-match", true),
            ("if-none-match", true),
            ("keyside-settle", true),
            ("prefer", false),
            ("priority", false),
            ("range", false),
            ("if-range", true),
            ("if-modified-since", false),
            ("content-language", false),
            ("content-disposition", false),
            ("content-location", false),
            ("date", false),
            ("referer", false),
            ("x-private", false),
            ("user-agent", false),
            ("accept-language", false),
            ("cookie", false),
        ] {
            let mut headers = HeaderMap::new();
            let value = HeaderValue::from_bytes(b"caf\xe9").unwrap();
            headers.insert(HeaderName::from_bytes(name.as_bytes()).unwrap(), value);
            assert_eq!(check_headers(&headers).is_err(), must_be_read, "{name}");
        }
    }

    #[test]
    fn parameters_that_change_the_request_are_refused() {
        for query in [
            "method=delete",
            "a=1&METHOD=x",
            "%6Dethod=x",
            "batch=[]",
            "batch[]=1",
            "ids=1,2",
            "include_headers",
        ] {
            assert!(check_query(query).is_err(), "{query}");
        }
        for query in ["%EF%BB%BFbatch=1", "a=1&%ef%bb%bfa", "a=1;%ef%bb%bfa"] {
            assert!(check_query(query).is_err(), "{query}");
        }
        assert!(check_query("fields=method&methods=1&phone_number_id=1&a=%EF%BB%BF").is_ok());
        assert!(check_query("a=\u{e9}").is_err());
    }
}
