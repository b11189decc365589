//! Answers of Graph: the recorded headers around a body.

use data_encoding::HEXLOWER;
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use sha2::{Digest, Sha256};

use super::error::GraphError;
use crate::ids;
use crate::json::GraphJson;
use crate::reply::{Reply, set_header};

/// The usage that the headers of an answer report.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Usage {
    /// `X-App-Usage`, for calls that concern no account.
    App,
    /// `X-Business-Use-Case-Usage`, for calls that concern an account.
    Account {
        /// The limit that the call counts against.
        kind: UsageKind,
        /// The used share of the limit, in percent.
        percent: u64,
    },
}

/// The limit that a call of an account counts against.
#[derive(Clone, Copy, Debug)]
pub(crate) enum UsageKind {
    /// `whatsapp`: messages and media.
    Messaging,
    /// `whatsapp_business_management`: all other calls.
    Management,
}

/// Makes Graph's answer from the result of a handler.
pub(crate) fn answer(
    result: &Result<GraphJson, GraphError>,
    usage: Usage,
    version: &str,
) -> Response<Reply> {
    let trace = ids::trace_id();
    let (status, body) = match result {
        Ok(json) => (StatusCode::OK, json.clone()),
        Err(error) => (error.status, error.json(&trace)),
    };
    let etag = HEXLOWER.encode(&Sha256::digest(body.as_str()));
    let mut response = Response::new(Reply::new(body.into_bytes()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    match result {
        Ok(_) => {
            set_header(headers, "etag", &format!("\"{etag:.40}\""));
            set_header(
                headers,
                "cache-control",
                "private, no-cache, no-store, must-revalidate",
            );
        }
        Err(error) => {
            set_header(headers, "www-authenticate", &challenge(error));
            set_header(headers, "cache-control", "no-store");
            set_header(
                headers,
                "proxy-status",
                "http_request_error; e_proxy=\"sandbox\"",
            );
        }
    }
    set_header(headers, "facebook-api-version", version);
    set_header(headers, "x-fb-request-id", &trace);
    set_header(headers, "x-fb-trace-id", &ids::short_trace_id());
    set_usage(headers, usage);
    for (name, value) in FIXED_HEADERS {
        headers.insert(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    response
}

/// Makes `WWW-Authenticate`, which Graph adds to every error.
fn challenge(error: &GraphError) -> String {
    let reason = if error.code == 190 {
        "invalid_token"
    } else {
        "invalid_request"
    };
    format!(
        "OAuth \"Facebook Platform\" \"{reason}\" \"{}\"",
        error.message
    )
}

fn set_usage(headers: &mut HeaderMap, usage: Usage) {
    let (kind, percent) = match usage {
        Usage::App => {
            let value = r#"{"call_count":0,"total_cputime":0,"total_time":0}"#;
            return set_header(headers, "x-app-usage", value);
        }
        Usage::Account { kind, percent } => (kind, percent),
    };
    let kind = match kind {
        UsageKind::Messaging => "whatsapp",
        UsageKind::Management => "whatsapp_business_management",
    };
    let value = format!(
        "{{\"{}\":[{{\"type\":\"{kind}\",\"call_count\":{percent},\"total_cputime\":1,\"total_time\":1,\
         \"estimated_time_to_regain_access\":0}}]}}",
        ids::ACCOUNT
    );
    set_header(headers, "x-business-use-case-usage", &value);
}

/// The headers with the same value in every answer, as recorded.
const FIXED_HEADERS: [(&str, &str); 10] = [
    ("content-type", "application/json; charset=UTF-8"),
    ("vary", "Origin"),
    ("access-control-allow-origin", "*"),
    ("strict-transport-security", "max-age=15552000; preload"),
    ("pragma", "no-cache"),
    ("expires", "Sat, 01 Jan 2000 00:00:00 GMT"),
    ("x-fb-rev", "1022332540"),
    (
        "x-fb-debug",
        "HZxY9ov7AEVeIQ/DnlJF8D+RbyBT7CB2gMWIpQIl+for581XaKUs3HYJcY3c1j2XpS6Tvf6XV4IK7WZABwOd6Q==",
    ),
    (
        "x-fb-connection-quality",
        "EXCELLENT; q=0.9, rtt=12, rtx=0, c=10, mss=1380, tbw=3367, tp=-1, tpl=-1",
    ),
    ("alt-svc", "h3=\":443\"; ma=86400"),
];
