//! Sending: a request leaves as written by the application, plus the credential; an answer comes
//! back as written by the provider, minus the credential.

use std::time::{SystemTime, UNIX_EPOCH};

mod answers;
mod media;
mod providers;
mod routes;

use crate::support::client::{Answer, get, post, with_body};
use crate::support::keyside::{Keyside, Setup};
use crate::support::upstream::Upstream;
use crate::support::{APP_SECRET, MEDIA, MESSAGES, TOKEN, hmac_sha256, noise};

const TEXT: &str =
    r#"{"messaging_product":"whatsapp","to":"13437772910","type":"text","text":{"body":"hi"}}"#;

/// The parameters of a target's query, decoded.
fn query(target: &str) -> Vec<(String, String)> {
    let Some((_, query)) = target.split_once('?') else {
        return Vec::new();
    };
    query
        .split('&')
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decode = |text: &str| {
                percent_encoding::percent_decode_str(text)
                    .decode_utf8_lossy()
                    .into_owned()
            };
            (decode(name), decode(value))
        })
        .collect()
}

fn value<'a>(query: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let values: Vec<_> = query.iter().filter(|(n, _)| n == name).collect();
    assert!(values.len() < 2, "{name} stands {} times", values.len());
    values.first().map(|(_, value)| value.as_str())
}

fn is_denied(answer: &Answer, status: u16, slug: &str) {
    answer.must_be_a_refusal(slug);
    assert_eq!(
        (answer.status, answer.slug()),
        (status, slug),
        "{}",
        answer.text()
    );
}

#[test]
fn a_message_leaves_byte_for_byte_with_the_credential_once() {
    let upstream = Upstream::ok();
    let keyside = Keyside::start(&upstream);
    for body in [
        TEXT,
        "{}",
        " {\n\t\"a\" : 1.0e+2,\r\n \"a\":\"\\u00e9\u{e9}\u{1f600}\\/\", \"n\":123456789012345678901234567890 } ",
    ] {
        upstream.forget();
        assert_eq!(keyside.post(MESSAGES, body).status, 200, "{body}");
        let request = upstream.last();
        assert_eq!(request.line(), format!("POST {MESSAGES} HTTP/1.1"));
        assert_eq!(String::from_utf8_lossy(&request.body), body);
        assert_eq!(request.all("authorization"), [format!("Bearer {TOKEN}")]);
        assert_eq!(request.all("content-type"), ["application/json"]);
        assert_eq!(request.all("host"), [upstream.authority()]);
        assert!(request.complete);
    }
}

#[test]
fn the_same_operation_has_a_path_with_and_without_a_version() {
    let upstream = Upstream::ok();
    let keyside = Keyside::start(&upstream);
    for path in [
        "/1234567890/messages",
        "/v1.0/1234567890/messages",
        "/v26.0/1234567890/messages",
        "/v23.0/1234567890/marketing_messages",
        "/v23.0/1234567890/messages_encrypted",
    ] {
        assert_eq!(keyside.post(path, TEXT).status, 200, "{path}");
        assert_eq!(upstream.last().target(), path);
    }
}

#[test]
fn a_slash_at_the_end_changes_no_operation_and_leaves_as_it_came() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream)
        .route("senders = [\"1234567890\"]\noperations = [\"messages\", \"qr_codes\", \"phone_numbers\"]")
        .start();
    for target in [
        "/v23.0/1234567890/messages/",
        "/1234567890/message_qrdls/",
        "/v23.0/1234567890/message_qrdls/ABC/?x=1",
        "/v23.0/1234567890/",
    ] {
        assert_eq!(keyside.post(target, "{}").status, 200, "{target}");
        assert_eq!(upstream.last().target(), target);
    }
    is_denied(
        &keyside.post("/v23.0/666/messages/", TEXT),
        403,
        "sender_not_allowed",
    );
    is_denied(
        &keyside.post("/v23.0/1234567890/media/", TEXT),
        403,
        "operation_not_allowed",
    );
    is_denied(
        &keyside.post("/v23.0/1234567890/messages//", TEXT),
        400,
        "bad_request",
    );
}

#[test]
fn a_path_and_its_query_leave_byte_for_byte() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream)
        .route("operations = [\"uploads\", \"messages\", \"media\"]")
        .start();
    for target in [
        "/v23.0/upload:ABC==?sig=AR%2Fabc%3D",
        "/v23.0/upload:MTphdHRhY2htZW50OjFiZjM=?sig=ARZ+x~y_z-1.2",
        "/upload:A-_=?sig=a%2fb%20c",
        "/v23.0/1234567890/messages?a=%e9&b=+&c&=d&&e",
    ] {
        let answer = keyside.send(&with_body("POST", target, "application/json", b"{}"));
        assert_eq!(answer.status, 200, "{target}: {}", answer.text());
        assert_eq!(upstream.last().target(), target);
    }
}

#[test]
fn a_resumable_upload_carries_the_scheme_that_it_needs() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream)
        .route("operations = [\"uploads\"]")
        .start();
    let bytes = noise(100_000);
    let mut request = format!("POST /v23.0/upload:ABC==?sig=AR%2Fabc HTTP/1.1\r\nHost: localhost\r\nfile_offset: 0\r\nAuthorization: OAuth dummy\r\nContent-Length: {}\r\n\r\n", bytes.len()).into_bytes();
    request.extend_from_slice(&bytes);
    assert_eq!(keyside.send(&request).status, 200);
    let seen = upstream.last();
    assert_eq!(seen.all("authorization"), [format!("OAuth {TOKEN}")]);
    assert_eq!(seen.all("file_offset"), ["0"]);
    assert!(seen.body == bytes, "the bytes of the file");
}

#[test]
fn a_call_is_proved_with_the_app_secret_and_the_time() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream)
        .file("app_secret", APP_SECRET)
        .credential("token = \"file:@DIR@/token\"\napp_secret = \"file:@DIR@/app_secret\"")
        .start();
    for (request, kept) in [
        (
            post(&format!("{MESSAGES}?x=1&appsecret_proof=evil"), TEXT),
            "x=1&",
        ),
        (
            get(&format!("{MEDIA}?phone_number_id=5")),
            "phone_number_id=5&",
        ),
        (get(MEDIA), ""),
    ] {
        assert_eq!(keyside.send(&request).status, 200);
        let target = upstream.last().target();
        let (_, raw) = target.split_once('?').expect("a query");
        assert!(
            raw.starts_with(kept),
            "what was there stays there: {target}"
        );
        let query = query(&target);
        let time = value(&query, "appsecret_time").expect("appsecret_time");
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs();
        assert!(
            time.parse::<u64>()
                .is_ok_and(|time| now.abs_diff(time) <= 60),
            "{time}, now {now}"
        );
        let proof = hmac_sha256(APP_SECRET, format!("{TOKEN}|{time}"));
        assert_eq!(
            value(&query, "appsecret_proof"),
            Some(proof.as_str()),
            "{target}"
        );
        assert_eq!(
            upstream.last().all("authorization"),
            [format!("Bearer {TOKEN}")]
        );
    }
}

#[test]
fn a_classic_proof_is_that_of_the_published_vector() {
    let upstream = Upstream::ok();
    let keyside = Setup::new(&upstream)
        .file("app_secret", APP_SECRET)
        .credential("token = \"file:@DIR@/token\"\napp_secret = [\"file:@DIR@/app_secret\"]\nproof = \"classic\"")
        .start();
    assert_eq!(keyside.post(MESSAGES, TEXT).status, 200);
    let query = query(&upstream.last().target());
    assert_eq!(
        value(&query, "appsecret_proof"),
        Some("bad6df0b858104754a0ffde2f0c05fe9731f1a5e141ee1bccf316d05f28d5135")
    );
    assert_eq!(value(&query, "appsecret_time"), None);
}

#[test]
fn no_proof_is_sent_where_it_is_off_or_goes_to_the_media_host() {
    let upstream = Upstream::ok();
    let credential = "token = \"file:@DIR@/token\"\napp_secret = \"file:@DIR@/app_secret\"\n";
    let keyside = Setup::new(&upstream)
        .file("app_secret", APP_SECRET)
        .credential(&format!("{credential}proof = \"off\""))
        .start();
    assert_eq!(keyside.post(MESSAGES, TEXT).status, 200);
    assert_eq!(upstream.last().target(), MESSAGES);
    let keyside = Setup::new(&upstream)
        .file("app_secret", APP_SECRET)
        .credential(credential)
        .start();
    assert_eq!(
        keyside
            .get("/whatsapp_business/attachments/?mid=1&ext=2")
            .status,
        200
    );
    assert_eq!(
        upstream.last().target(),
        "/whatsapp_business/attachments/?mid=1&ext=2"
    );
}
