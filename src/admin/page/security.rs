//! The headers that keep the page to itself: nothing is loaded, nobody frames it, no other site
//! reads it.

use std::sync::LazyLock;

use data_encoding::BASE64;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use sha2::{Digest, Sha256};

use super::document::{SCRIPT, STYLE};

/// Adds the headers.
pub(super) fn add_to(headers: &mut HeaderMap) {
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY.clone());
    for (name, value) in FIXED {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// The policy: the style and the script of the page alone, known by their hashes, and the stream of
/// its own origin. Text becomes elements only by way of the script's own Trusted Types policy.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; img-src data:; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
         trusted-types keyside",
        hash(STYLE),
        hash(SCRIPT)
    );
    // Without the hashes, the page has neither style nor script, and still shows everything.
    let strictest = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    HeaderValue::from_str(&policy).unwrap_or(strictest)
});

fn hash(text: &str) -> String {
    BASE64.encode(&Sha256::digest(text))
}

/// The headers that never change. `Cross-Origin-Opener-Policy` is left out on purpose: the browser
/// starts a new process for such a page, which delays the first paint by 20 ms, and an opener of
/// this page learns nothing without it.
const FIXED: [(HeaderName, &str); 6] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), geolocation=(), microphone=()",
    ),
];
