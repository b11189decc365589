//! Forms of events that a user chooses at the provider: GET requests, a key of its own, a URL with
//! a user.

use hmac::{KeyInit, Mac};

use crate::support::base64;
use crate::support::keyside::{Keyside, Setup};
use crate::support::upstream::Upstream;
use crate::support::webhook::{HOOK, application};

const TOKEN: &str = "the-token-of-the-account";
const SHARED: &str = "the-secret-of-a-shared-key";
const URL: &str = "https://user:pass@hooks.example.com/webhooks/whatsapp";

fn sha1(message: &str) -> String {
    let mut mac = hmac::Hmac::<sha1::Sha1>::new_from_slice(TOKEN.as_bytes()).unwrap();
    mac.update(message.as_bytes());
    base64(&mac.finalize().into_bytes())
}

fn sha256(key: &str, message: &str) -> String {
    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(key.as_bytes()).unwrap();
    mac.update(message.as_bytes());
    base64(&mac.finalize().into_bytes())
}

fn webhook(credential: &str, application: &Upstream) -> Keyside {
    Setup::at("http://127.0.0.1:1")
        .file("token", TOKEN)
        .file("shared", SHARED)
        .config(&format!(
            "[outbound]\nlisten = [\"127.0.0.1:@PORT@\"]\n[admin]\nlisten = [\"127.0.0.1:@ADMIN@\"]\n\
             [inbound]\nlisten = [\"127.0.0.1:@INBOUND@\"]\n\
             [credential.acme]\n{credential}\nauth_token = \"file:@DIR@/token\"\n\
             [[webhook]]\npath = \"{HOOK}\"\ncredential = \"acme\"\nforward = \"{}/app\"\npublic_url = \"{URL}\"\n",
            application.url()
        ))
        .start()
}

/// A request with these header lines; a form if there is a body.
fn event(line: &str, lines: &[(&str, &str)], body: &str) -> Vec<u8> {
    let mut text = format!("{line} HTTP/1.1\r\nHost: h\r\n");
    for (name, value) in lines {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() {
        let length = body.len();
        text.push_str("Content-Type: application/x-www-form-urlencoded\r\n");
        text.push_str(&format!("Content-Length: {length}\r\n"));
    }
    format!("{text}\r\n{body}").into_bytes()
}

#[test]
fn an_event_of_twilio_may_be_signed_with_a_shared_key() {
    let application = application();
    let credential =
        "provider = \"twilio\"\naccount_sid = \"AC1\"\nshared_key = \"file:@DIR@/shared\"";
    let keyside = webhook(credential, &application);
    let message = format!("{URL}BodyHello");
    let settings = "key=SK1,algorithm=HMAC_SHA256";
    for (signature, status) in [
        (sha256(SHARED, &message), 200),
        (sha1(&message), 200),
        (sha256(TOKEN, &message), 401),
        (sha256(SHARED, &format!("{URL}BodyHellp")), 401),
    ] {
        let lines = [
            ("X-Twilio-Signature", signature.as_str()),
            ("X-Twilio-Webhooks-Signature-Settings", settings),
            ("I-Twilio-Idempotency-Token", "token-1"),
            ("X-Other", "x"),
        ];
        let answer = keyside.event(&event(&format!("POST {HOOK}"), &lines, "Body=Hello"));
        assert_eq!(answer.status, status, "{signature}");
    }
    let delivered = application.last();
    assert_eq!(
        delivered.header("i-twilio-idempotency-token"),
        Some("token-1".to_owned())
    );
    assert_eq!(
        delivered.header("x-twilio-webhooks-signature-settings"),
        Some(settings.to_owned())
    );
    assert_eq!(delivered.header("x-other"), None);
}

#[test]
fn an_event_may_be_a_get_request_where_the_provider_sends_such() {
    let application = application();
    let twilio = webhook("provider = \"twilio\"\naccount_sid = \"AC1\"", &application);
    let mut ids = Vec::new();
    for text in ["Hello", "Hello", "Other"] {
        let query = format!("?From=whatsapp%3A%2B1&Body={text}");
        let signature = sha1(&format!("{URL}{query}"));
        let lines = [("X-Twilio-Signature", signature.as_str())];
        let answer = twilio.event(&event(&format!("GET {HOOK}{query}"), &lines, ""));
        assert_eq!(answer.status, 200, "{}", answer.text());
        let delivered = application.last();
        assert_eq!(delivered.line(), format!("GET /app{query} HTTP/1.1"));
        ids.push(delivered.header("keyside-event-id").unwrap().to_owned());
        let forged = format!("GET {HOOK}{query}s");
        assert_eq!(twilio.event(&event(&forged, &lines, "")).status, 401);
    }
    assert!(ids[0] == ids[1] && ids[1] != ids[2], "{ids:?}");
    let plivo = webhook("provider = \"plivo\"\nauth_id = \"MA1\"", &application);
    let signature = sha256(TOKEN, &format!("{URL}?From=1&Text=Hello.n1"));
    let lines = [
        ("X-Plivo-Signature-V3", signature.as_str()),
        ("X-Plivo-Signature-V3-Nonce", "n1"),
    ];
    for (query, status) in [("?Text=Hello&From=1", 200), ("?Text=Hellp&From=1", 401)] {
        let answer = plivo.event(&event(&format!("GET {HOOK}{query}"), &lines, ""));
        assert_eq!(answer.status, status, "{query}");
    }
    let put = plivo.event(&event(&format!("PUT {HOOK}"), &lines, ""));
    assert_eq!((put.status, put.header("allow")), (405, Some("GET, POST")));
}
