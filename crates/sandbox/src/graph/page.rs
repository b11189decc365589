//! Pages of lists, with cursors and links like Graph's.

use http::header::HOST;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};
use serde::Serialize;

use super::call::Call;
use crate::json::Part;

/// A page of a list.
#[derive(Serialize)]
pub(crate) struct Page<T> {
    data: Vec<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    paging: Option<Paging>,
    /// Totals of the whole list, if the call asks for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) summary: Option<Part>,
}

#[derive(Serialize)]
struct Paging {
    cursors: Cursors,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<String>,
}

#[derive(Serialize)]
struct Cursors {
    before: String,
    after: String,
}

impl<T> Page<T> {
    /// Takes the page that the parameters `limit`, `after` and `before` of a call name.
    pub(crate) fn new(call: &Call<'_>, items: Vec<T>) -> Self {
        let limit = call
            .query
            .get("limit")
            .and_then(|limit| limit.parse().ok())
            .unwrap_or(DEFAULT_LIMIT)
            .clamp(1, MAX_LIMIT);
        let start = match (cursor(call, "after"), cursor(call, "before")) {
            (Some(after), _) => after.saturating_add(1),
            (None, Some(before)) => before.saturating_sub(limit),
            (None, None) => 0,
        };
        let total = items.len();
        let data: Vec<T> = items.into_iter().skip(start).take(limit).collect();
        // An empty page has no cursors.
        let last = data.len().checked_sub(1).map(|length| start + length);
        let paging = last.map(|last| Paging {
            cursors: Cursors {
                before: cursor_text(start),
                after: cursor_text(last),
            },
            next: (last + 1 < total).then(|| link(call, limit, "after", last)),
            previous: (start > 0).then(|| link(call, limit, "before", start)),
        });
        Self {
            data,
            paging,
            summary: None,
        }
    }
}

/// Writes a position in the form of Graph's cursors, which look like no number.
fn cursor_text(position: usize) -> String {
    format!("QVFIU{position:08x}ZD")
}

/// Reads the position in a parameter of the call.
fn cursor(call: &Call<'_>, name: &str) -> Option<usize> {
    let text = call.query.get(name)?;
    let position = text.strip_prefix("QVFIU")?.strip_suffix("ZD")?;
    usize::from_str_radix(position, 16).ok()
}

/// Makes a link to another page.
///
/// Like Graph's links, it has the host and the parameters of the call, and the token, which a proxy
/// must remove.
fn link(call: &Call<'_>, limit: usize, direction: &str, position: usize) -> String {
    let host = call.headers.get(HOST).and_then(|host| host.to_str().ok());
    let repeated = call
        .query
        .iter()
        .filter(|(name, _)| !NOT_REPEATED.contains(name))
        .map(|(name, value)| format!("&{}={}", encode(name), encode(value)));
    format!(
        "{}://{}/{}{}?access_token={}{}&pretty=0&limit={limit}&{direction}={}",
        call.state.rules.scheme,
        host.unwrap_or("graph.facebook.com"),
        call.target.version,
        call.target.path,
        encode(&call.caller.token),
        repeated.collect::<String>(),
        cursor_text(position),
    )
}

fn encode(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, RESERVED)
}

/// The characters that Graph escapes in links.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'-').remove(b'.');

/// The parameters of a call that its links do not repeat, or have with a new value.
const NOT_REPEATED: [&str; 7] = [
    "access_token",
    "appsecret_proof",
    "appsecret_time",
    "pretty",
    "limit",
    "after",
    "before",
];

/// The items of a page without `limit`, as on Graph.
const DEFAULT_LIMIT: usize = 25;

/// The items of the largest page: a bound for one answer.
const MAX_LIMIT: usize = 1000;
