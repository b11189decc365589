//! Refusals, limits and failures on purpose, and the records of them.

use std::io;
use std::time::Duration;

use serde_json::json;

use super::{
    Options, SENDER, TOKEN, ThrottleStatus, ask, authorized, exchange, sandbox, send, text_to,
};

#[tokio::test]
async fn an_error_has_the_headers_that_were_recorded() {
    let sandbox = sandbox(Options::default()).await;
    let got = ask(
        sandbox.graph(),
        &format!("POST /v19.0/{SENDER}/messages HTTP/1.1"),
        b"{}",
    )
    .await;
    assert_eq!((got.status, got.code()), (401, 104));
    for header in [
        "www-authenticate: OAuth \"Facebook Platform\" \"invalid_request\" \"An access token is required",
        "cache-control: no-store",
        "content-type: application/json; charset=UTF-8",
        "facebook-api-version: v21.0",
        "x-ad-api-version-warning: The call has been auto-upgraded to v21.0 as v19.0 has been deprecated.",
        "x-app-usage: {\"call_count\":0",
    ] {
        assert!(got.head.contains(header), "{header} in {}", got.head);
    }
    let trace = got.json()["error"]["fbtrace_id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(got.head.contains(&format!("x-fb-request-id: {trace}")));
}

#[tokio::test]
async fn calls_of_unknown_objects_and_paths_fail() {
    let sandbox = sandbox(Options {
        senders: vec![SENDER.to_owned()],
        ..Options::default()
    })
    .await;
    for (line, status, code) in [
        ("POST /v23.0/123123/messages", 400, 100),
        ("GET /v23.0/999", 400, 100),
        ("POST /v23.0/123/teapots", 400, 2500),
        ("GET /v99.0/123/messages", 400, 2500),
        ("GET /you", 400, 100),
        ("GET /v23.0/Y2FwaV9ncm91cDox", 400, 100),
        ("POST /v23.0/Y2FwaV9ncm91cDox/invite_link", 400, 100),
    ] {
        let got = ask(sandbox.graph(), &authorized(line), b"").await;
        assert_eq!((got.status, got.code()), (status, code), "{line}");
    }
}

#[tokio::test]
async fn a_token_is_valid_for_its_scopes_only() {
    let sandbox = sandbox(Options::default()).await;
    let body = json!({"token": "EAANARROW", "scopes": ["whatsapp_business_messaging"]}).to_string();
    assert_eq!(
        ask(
            sandbox.graph(),
            "POST /_sandbox/tokens HTTP/1.1",
            body.as_bytes()
        )
        .await
        .status,
        200
    );
    let head = |line: &str| format!("{line} HTTP/1.1\r\nAuthorization: Bearer EAANARROW");
    let sent = ask(
        sandbox.graph(),
        &head(&format!("POST /{SENDER}/messages")),
        &text_to("1"),
    )
    .await;
    assert_eq!(sent.status, 200);
    let listed = ask(
        sandbox.graph(),
        &head("GET /114503234599312/message_templates"),
        b"",
    )
    .await;
    assert_eq!((listed.status, listed.code()), (403, 200));
    let revoked = ask(
        sandbox.graph(),
        "DELETE /_sandbox/tokens HTTP/1.1",
        b"{\"token\":\"EAANARROW\"}",
    )
    .await;
    assert_eq!(revoked.status, 200);
    let refused = ask(
        sandbox.graph(),
        &head(&format!("POST /{SENDER}/messages")),
        &text_to("1"),
    )
    .await;
    assert_eq!((refused.status, refused.code()), (401, 190));
}

#[tokio::test]
async fn an_expired_token_says_when_it_expired() {
    let sandbox = sandbox(Options::default()).await;
    let body = json!({"token": "EAAOLD", "expires_at": 1_728_904_687}).to_string();
    ask(
        sandbox.graph(),
        "POST /_sandbox/tokens HTTP/1.1",
        body.as_bytes(),
    )
    .await;
    let got = ask(
        sandbox.graph(),
        "GET /1?fields=id&access_token=EAAOLD HTTP/1.1",
        b"",
    )
    .await;
    assert_eq!(
        (
            got.status,
            got.code(),
            got.json()["error"]["error_subcode"].as_i64()
        ),
        (401, 190, Some(463))
    );
    assert!(
        got.text()
            .contains("Session has expired on Monday, 14-Oct-24")
    );
}

#[tokio::test]
async fn a_fast_sender_gets_the_documented_error() {
    let sandbox = sandbox(Options {
        per_sender: Some(2),
        throttle_status: ThrottleStatus::TooManyRequests,
        ..Options::default()
    })
    .await;
    assert_eq!(send(&sandbox, "1").await.status, 200);
    assert_eq!(send(&sandbox, "2").await.status, 200);
    let got = send(&sandbox, "3").await;
    assert_eq!((got.status, got.code()), (429, 130_429));
    assert!(!got.head.to_lowercase().contains("retry-after"));
    assert_eq!(sandbox.accepted().len(), 2);
}

#[tokio::test]
async fn magic_recipients_trigger_their_failures() {
    let sandbox = sandbox(Options::default()).await;
    for (to, status, code) in [
        ("15550000190", 401, 190),
        ("+1 555 013 0429", 400, 130_429),
        ("15550131056", 400, 131_056),
        ("15550000500", 500, 131_000),
    ] {
        let got = send(&sandbox, to).await;
        assert_eq!((got.status, got.code()), (status, code), "{to}");
    }
    let page = send(&sandbox, "15550000503").await;
    assert!(page.status == 503 && page.text().starts_with("<!DOCTYPE html>"));
    assert!(sandbox.accepted().is_empty());

    let head = authorized(&format!("POST /{SENDER}/messages"));
    let reset = exchange(sandbox.graph(), &head, &text_to("15550009002"))
        .await
        .unwrap_err();
    assert_eq!(reset.kind(), io::ErrorKind::ConnectionReset);
    let truncated = send(&sandbox, "15550009003").await;
    let promised = truncated
        .head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .unwrap();
    assert!(
        promised.parse::<usize>().unwrap() > truncated.body.len() && !truncated.body.is_empty()
    );
    let body = text_to("15550009001");
    let hang = exchange(sandbox.graph(), &head, &body);
    assert!(
        tokio::time::timeout(Duration::from_millis(300), hang)
            .await
            .is_err()
    );
    assert_eq!(sandbox.accepted().len(), 3);
}

#[tokio::test]
async fn records_contain_no_token() {
    let sandbox = sandbox(Options::default()).await;
    send(&sandbox, "1").await;
    ask(
        sandbox.graph(),
        &format!("GET /1?fields=id&access_token={TOKEN} HTTP/1.1"),
        b"",
    )
    .await;
    ask(
        sandbox.graph(),
        &authorized(&format!("GET /debug_token?input_token={TOKEN}")),
        b"",
    )
    .await;
    let requests = ask(sandbox.graph(), "GET /_sandbox/requests HTTP/1.1", b"")
        .await
        .text();
    let sends = ask(sandbox.graph(), "GET /_sandbox/sends HTTP/1.1", b"").await;
    assert!(!requests.contains(TOKEN) && !sends.text().contains(TOKEN));
    assert!(
        requests.contains("access_token=[redacted]") && requests.contains("input_token=[redacted]")
    );
    assert!(requests.contains(
        r#""headers":["authorization","user-agent","host","connection","content-length"]"#
    ));
    assert_eq!(sends.json()[0]["body"]["text"]["body"], "hello");
    ask(sandbox.graph(), "DELETE /_sandbox/sends HTTP/1.1", b"").await;
    assert!(sandbox.accepted().is_empty());
}
