//! Tests of the sandboxes of other providers than Meta.

use data_encoding::{BASE64, BASE64URL_NOPAD};
use rcgen::SigningKey;
use serde_json::{Value, json};

use super::{Got, Options, Sandbox, ask, ids};
use crate::Dialect;
use crate::dialect::{new_private_key, public_key};

const KEY: &str = "CANARY0123456789";

async fn of(name: &str, options: Options) -> Sandbox {
    let tokens = vec![KEY.to_owned()];
    Sandbox::start(Options {
        provider: Dialect::named(name),
        tokens,
        ..options
    })
    .await
    .unwrap()
}

/// Messages in the vendors' forms: provider, path, header, body, status. `{key}` and `{to}` are
/// replaced.
#[rustfmt::skip]
const MESSAGES: [(&str, &str, &str, &str, u16); 26] = [
    ("360dialog", "/messages", "D360-API-KEY: {key}", r#"{"messaging_product":"whatsapp","to":"{to}","type":"text","text":{"body":"x"}}"#, 200),
    ("infobip", "/whatsapp/1/message/text", "Authorization: App {key}", r#"{"from":"1","to":"{to}","content":{"text":"x"}}"#, 200),
    ("infobip", "/whatsapp/1/message/template", "Authorization: App {key}", r#"{"messages":[{"from":"1","to":"{to}"}]}"#, 200),
    ("twilio", "/2010-04-01/Accounts/AC5a4d6b0e3f2c4e1f8a7b9c0d1e2f3a4b/Messages.json", "Authorization: Basic AC5a4d6b0e3f2c4e1f8a7b9c0d1e2f3a4b:{key}", "From=whatsapp%3A%2B1&To=whatsapp%3A%2B{to}&Body=x", 201),
    ("bird", "/workspaces/5a4d6b0e-3f2c-4e1f-8a7b-9c0d1e2f3a4b/channels/6b5e7c1f-4a3d-4f2a-9b8c-0d1e2f3a4b5c/messages", "Authorization: AccessKey {key}", r#"{"to":"{to}"}"#, 202),
    ("bird-platform", "/v1/whatsapp/messages", "Authorization: Bearer {key}", r#"{"from":"+1","to":"+{to}","text":{"body":"x"}}"#, 202),
    ("messagebird", "/v1/send", "Authorization: AccessKey {key}", r#"{"to":"+{to}","from":"channel","type":"text"}"#, 200),
    ("ycloud", "/v2/whatsapp/messages", "X-API-Key: {key}", r#"{"from":"1","to":"{to}","type":"text"}"#, 200),
    ("ycloud", "/v2/whatsapp/messages/sendDirectly", "X-API-Key: {key}", r#"{"from":"1","to":"{to}","type":"text"}"#, 200),
    ("telnyx", "/v2/messages/whatsapp", "Authorization: Bearer {key}", r#"{"from":"+1","to":"+{to}","whatsapp_message":{}}"#, 200),
    ("wati", "/api/ext/v3/conversations/messages/text", "Authorization: Bearer {key}", r#"{"to":"{to}"}"#, 200),
    ("wati", "/12345/api/v1/sendTemplateMessage", "Authorization: Bearer {key}", r#"{"to":"{to}"}"#, 200),
    ("zenvia", "/v2/channels/whatsapp/messages", "X-API-TOKEN: {key}", r#"{"from":"1","to":"{to}","contents":[]}"#, 200),
    ("cm", "/v1.0/message", "X-CM-PRODUCTTOKEN: {key}", r#"{"messages":{"msg":[{"from":"1","to":[{"number":"{to}"}]}]}}"#, 200),
    ("cm", "/v1.0/message", "Accept: */*", r#"{"messages":{"authentication":{"productToken":"{key}"},"msg":[{"to":[{"number":"{to}"}]}]}}"#, 200),
    ("plivo", "/v1/Account/MAXXXXXXXXXXXXXXXXXX/Message/", "Authorization: Basic MAXXXXXXXXXXXXXXXXXX:{key}", r#"{"src":"1","dst":"{to}"}"#, 202),
    ("gupshup", "/wa/api/v1/msg", "apikey: {key}", "source=1&destination={to}", 202),
    ("wassenger", "/v1/messages", "Token: {key}", r#"{"phone":"+{to}","message":"x"}"#, 200),
    ("clickatell", "/v1/message", "Authorization: {key}", r#"{"messages":[{"channel":"whatsapp","to":"{to}"}]}"#, 202),
    ("haptik", "/v1.0/log_message_from_user/", "client-id: sandbox-client\r\nAuthorization: Bearer {key}", r#"{"to":"{to}"}"#, 200),
    ("chat-api", "/instance12345/sendMessage?token={key}", "Accept: */*", r#"{"phone":{to},"body":"x"}"#, 200),
    ("interakt", "/v1/public/message/", "Authorization: Basic {key}", r#"{"fullPhoneNumber":"{to}"}"#, 200),
    ("aisensy", "/campaign/t1/api", "Accept: */*", r#"{"apiKey":"{key}","destination":"{to}"}"#, 200),
    ("kaleyra", "/v1/HXAP0000000000IN/messages", "api-key: {key}", "to={to}&channel=WhatsApp", 200),
    ("kaleyra", "/v1/HXAP0000000000IN/messages", "Accept: */*", "to={to}&api-key={key}", 200),
    ("respond-io", "/v2/contact/phone:+1/message", "Authorization: Bearer {key}", r#"{"to":"{to}"}"#, 200),
];

/// Sends a message of [`MESSAGES`].
async fn send(
    sandbox: &Sandbox,
    (_, path, header, body, _): (&str, &str, &str, &str, u16),
    key: &str,
    to: &str,
) -> Got {
    let (header, login) = header
        .split_once(" Basic ")
        .filter(|(_, login)| login.contains(':'))
        .unwrap_or((header, ""));
    let mut header = header.replace("{key}", key);
    if !login.is_empty() {
        header = format!(
            "{header} Basic {}",
            BASE64.encode(login.replace("{key}", key).as_bytes())
        );
    }
    let kind = if body.starts_with('{') {
        "application/json"
    } else {
        "application/x-www-form-urlencoded"
    };
    let head = format!(
        "POST {} HTTP/1.1\r\nContent-Type: {kind}\r\n{header}",
        path.replace("{key}", key)
    );
    ask(
        sandbox.graph(),
        &head,
        body.replace("{key}", key).replace("{to}", to).as_bytes(),
    )
    .await
}

#[tokio::test]
async fn each_provider_accepts_its_key_in_its_place_only() {
    for message in MESSAGES {
        let (name, _, _, _, accepted) = message;
        let sandbox = of(name, Options::default()).await;
        let got = send(&sandbox, message, KEY, "15550001234").await;
        assert_eq!(got.status, accepted, "{message:?} {}", got.text());
        assert!(
            got.text().contains(&sandbox.accepted()[0].wamid),
            "{name} {}",
            got.text()
        );
        assert_eq!(sandbox.accepted()[0].token, ids::fingerprint(KEY), "{name}");
        assert_eq!(
            send(&sandbox, message, "ANOTHER", "15550001234")
                .await
                .status,
            401,
            "{name}"
        );
        assert_eq!(
            send(&sandbox, message, KEY, "15550000190").await.status,
            401,
            "{name}"
        );
        let throttled = if name == "clickatell" { 400 } else { 429 };
        assert_eq!(
            send(&sandbox, message, KEY, "15550130429").await.status,
            throttled,
            "{name}"
        );
        let bare = (
            name,
            message.1.split('?').next().unwrap(),
            "Accept: */*",
            r#"{"to":"1"}"#,
            401,
        );
        assert_eq!(send(&sandbox, bare, KEY, "1").await.status, 401, "{name}");
        assert_eq!(sandbox.accepted().len(), 1, "{name}");
        let seen = ask(sandbox.graph(), "GET /_sandbox/requests HTTP/1.1", b"")
            .await
            .text();
        let sends = ask(sandbox.graph(), "GET /_sandbox/sends HTTP/1.1", b"")
            .await
            .text();
        assert!(
            !seen.contains("CANARY") && !sends.contains("CANARY"),
            "{name} keeps its key: {seen} {sends}"
        );
    }
}

#[tokio::test]
async fn the_messages_cover_every_provider() {
    let with_tokens = ["vonage", "sinch", "route-mobile"];
    for dialect in Dialect::all() {
        let tried = MESSAGES.iter().any(|(name, ..)| *name == dialect.name)
            || with_tokens.contains(&dialect.name);
        assert!(tried, "{}", dialect.name);
    }
}

#[tokio::test]
async fn refusals_read_as_the_vendors_write_them() {
    for (name, place, refused, throttled) in [
        ("twilio", "/code", json!(20003), json!(20429)),
        (
            "ycloud",
            "/error/code",
            json!("UNAUTHORIZED"),
            json!("TOO_MANY_REQUESTS"),
        ),
        (
            "telnyx",
            "/errors/0/code",
            json!("unauthorized"),
            json!("10011"),
        ),
        ("infobip", "/errorCode", Value::Null, json!("E429")),
        (
            "zenvia",
            "/code",
            json!("AUTHENTICATION_ERROR"),
            Value::Null,
        ),
    ] {
        let message = *MESSAGES.iter().find(|(of, ..)| *of == name).unwrap();
        let sandbox = of(name, Options::default()).await;
        let at = |got: Got| got.json().pointer(place).cloned().unwrap_or_default();
        assert_eq!(
            at(send(&sandbox, message, "ANOTHER", "1").await),
            refused,
            "{name}"
        );
        assert_eq!(
            at(send(&sandbox, message, KEY, "15550130429").await),
            throttled,
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_pair_that_is_too_fast_has_an_error_of_its_own_where_the_vendor_has_one() {
    for (name, place, expected) in [
        ("360dialog", "/error/code", json!(131_056)),
        ("ycloud", "/error/whatsappApiError/code", json!("131056")),
        ("twilio", "/code", json!(20429)),
    ] {
        let message = *MESSAGES.iter().find(|(of, ..)| *of == name).unwrap();
        let sandbox = of(name, Options::default()).await;
        let got = send(&sandbox, message, KEY, "15550131056").await;
        assert_eq!(
            (got.status, got.json().pointer(place)),
            (429, Some(&expected)),
            "{name}"
        );
    }
}

#[tokio::test]
async fn the_rate_is_per_sender_or_else_per_account() {
    let sandbox = of(
        "twilio",
        Options {
            per_sender: Some(1),
            ..Options::default()
        },
    )
    .await;
    let mut message = *MESSAGES
        .iter()
        .find(|(name, ..)| *name == "twilio")
        .unwrap();
    assert_eq!(send(&sandbox, message, KEY, "1").await.status, 201);
    assert_eq!(send(&sandbox, message, KEY, "2").await.status, 429);
    message.3 = "From=whatsapp%3A%2B2&To={to}";
    assert_eq!(send(&sandbox, message, KEY, "3").await.status, 201);
    let sandbox = of(
        "bird",
        Options {
            per_sender: Some(1),
            ..Options::default()
        },
    )
    .await;
    let message = *MESSAGES.iter().find(|(name, ..)| *name == "bird").unwrap();
    assert_eq!(send(&sandbox, message, KEY, "1").await.status, 202);
    assert_eq!(send(&sandbox, message, KEY, "2").await.status, 429);
}

#[tokio::test]
async fn an_unknown_path_fails() {
    let sandbox = of("ycloud", Options::default()).await;
    let head = format!("POST /v2/teapots HTTP/1.1\r\nX-API-Key: {KEY}");
    assert_eq!(ask(sandbox.graph(), &head, b"{}").await.status, 404);
    let other_account =
        "POST /2010-04-01/Accounts/AC00000000000000000000000000000000/Messages.json HTTP/1.1";
    let login = BASE64.encode(format!("AC5a4d6b0e3f2c4e1f8a7b9c0d1e2f3a4b:{KEY}").as_bytes());
    let sandbox = of("twilio", Options::default()).await;
    let head = format!("{other_account}\r\nAuthorization: Basic {login}");
    assert_eq!(ask(sandbox.graph(), &head, b"").await.status, 404);
}

/// The exchange of a key at a provider, and a path for messages.
struct KeyExchange {
    provider: &'static str,
    /// Path and headers of the request for a token.
    head: String,
    /// The body of the request for a token.
    body: String,
    sends: &'static str,
}

/// The base64 of the login at Sinch.
fn sinch_login() -> String {
    BASE64.encode(format!("6b5e7c1f-4a3d-4f2a-9b8c-0d1e2f3a4b5c:{KEY}").as_bytes())
}

fn key_exchanges() -> [KeyExchange; 3] {
    let form = "Content-Type: application/x-www-form-urlencoded";
    let login = sinch_login();
    [
        KeyExchange {
            provider: "sinch",
            head: format!("/oauth2/token HTTP/1.1\r\nAuthorization: Basic {login}\r\n{form}"),
            body: "grant_type=client_credentials".to_owned(),
            sends: "/v1/projects/5a4d6b0e-3f2c-4e1f-8a7b-9c0d1e2f3a4b/messages:send",
        },
        KeyExchange {
            provider: "infobip",
            head: format!("/auth/1/oauth2/token HTTP/1.1\r\n{form}"),
            body: format!(
                "grant_type=client_credentials&client_id=sandbox-client&client_secret={KEY}"
            ),
            sends: "/whatsapp/1/message/text",
        },
        KeyExchange {
            provider: "route-mobile",
            head: "/auth/v1/login/ HTTP/1.1\r\nContent-Type: application/json".to_owned(),
            body: json!({"username": "sandbox", "password": KEY}).to_string(),
            sends: "/wba/v1/messages",
        },
    ]
}

impl KeyExchange {
    /// Exchanges the key for a token.
    async fn token(&self, sandbox: &Sandbox) -> String {
        let head = format!("POST {}", self.head);
        let answer = ask(sandbox.graph(), &head, self.body.as_bytes())
            .await
            .json();
        let token = answer["access_token"].as_str();
        token.or(answer["JWTAUTH"].as_str()).unwrap().to_owned()
    }

    /// Sends a message with a token.
    async fn send(&self, sandbox: &Sandbox, token: &str) -> Got {
        let scheme = match self.provider {
            "route-mobile" => "",
            _ => "Bearer ",
        };
        let head = format!(
            "POST {} HTTP/1.1\r\nAuthorization: {scheme}{token}",
            self.sends
        );
        ask(sandbox.graph(), &head, b"{}").await
    }
}

#[tokio::test]
async fn a_key_is_exchanged_for_a_token_and_is_no_token() {
    for exchange in key_exchanges() {
        let name = exchange.provider;
        let sandbox = of(name, Options::default()).await;
        let token = exchange.token(&sandbox).await;
        assert_eq!(exchange.send(&sandbox, &token).await.status, 200, "{name}");
        assert_eq!(sandbox.accepted()[0].token, ids::fingerprint(KEY), "{name}");
        assert_eq!(exchange.send(&sandbox, KEY).await.status, 401, "{name}");
    }
}

#[tokio::test]
async fn a_wrong_key_is_not_exchanged() {
    for exchange in key_exchanges() {
        let sandbox = of(exchange.provider, Options::default()).await;
        let head = exchange.head.replace(&sinch_login(), "eDp5");
        let body = exchange.body.replace(KEY, "ANOTHER");
        let head = format!("POST {head}");
        let refused = ask(sandbox.graph(), &head, body.as_bytes()).await;
        assert_eq!(refused.status, 401, "{}", exchange.provider);
    }
}

#[tokio::test]
async fn a_token_from_an_exchange_expires() {
    for exchange in key_exchanges() {
        let name = exchange.provider;
        let sandbox = of(name, Options::default()).await;
        let token = exchange.token(&sandbox).await;
        let over = json!({"token": token, "scopes": ["exchanged"], "expires_at": 1}).to_string();
        let head = "POST /_sandbox/tokens HTTP/1.1";
        ask(sandbox.graph(), head, over.as_bytes()).await;
        let expired = exchange.send(&sandbox, &token).await;
        assert_eq!(expired.status, 401, "{name}");
        // Only Sinch says in a header that the token is expired.
        let is_named = expired.head.contains("expired");
        assert_eq!(is_named, name == "sinch", "{}", expired.head);
    }
}

#[tokio::test]
async fn an_exchange_needs_all_required_parameters() {
    let sandbox = of("infobip", Options::default()).await;
    let query = format!("client_id=sandbox-client&client_secret={KEY}");
    let ask_for = async |query: &str| {
        let head = format!(
            "POST /auth/1/oauth2/token?{query} HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded"
        );
        ask(sandbox.graph(), &head, b"").await.status
    };
    assert_eq!(ask_for(&query).await, 400);
    assert_eq!(
        ask_for(&format!("{query}&grant_type=client_credentials")).await,
        200
    );
    let seen = ask(sandbox.graph(), "GET /_sandbox/requests HTTP/1.1", b"")
        .await
        .text();
    assert!(
        seen.contains("client_secret=[redacted]") && !seen.contains(KEY),
        "{seen}"
    );
}

#[tokio::test]
async fn a_jwt_must_be_signed_with_the_accounts_key_and_be_current() {
    let private = new_private_key().unwrap();
    let other = new_private_key().unwrap();
    let sandbox = of("vonage", Options::default()).await;
    sandbox.accept_token(&public_key(&private).unwrap());
    let now = crate::clock::unix_time();
    let application = "5a4d6b0e-3f2c-4e1f-8a7b-9c0d1e2f3a4b";
    let good = json!({"application_id": application, "iat": now, "exp": now + 900, "jti": "1"});
    let but = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims
    };
    for (claims, key, status) in [
        (good.clone(), &private, 202),
        (good.clone(), &other, 401),
        (but("application_id", json!("another")), &private, 401),
        (but("exp", json!(now - 1)), &private, 401),
        (but("iat", json!(now + 3600)), &private, 401),
        (but("jti", json!("")), &private, 401),
    ] {
        let head = format!(
            "POST /v1/messages HTTP/1.1\r\nAuthorization: Bearer {}",
            signed("RS256", &claims, key)
        );
        let got = ask(sandbox.graph(), &head, br#"{"to":"1"}"#).await;
        assert_eq!(got.status, status, "{claims} {}", got.text());
    }
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nAuthorization: Bearer {}",
        signed("none", &good, &private)
    );
    assert_eq!(ask(sandbox.graph(), &head, b"{}").await.status, 401);
    assert_eq!(
        sandbox.accepted()[0].token,
        ids::fingerprint(&public_key(&private).unwrap())
    );
}

/// A JWT of the account at Vonage.
pub(super) fn vonage_jwt(key: &str) -> String {
    let now = crate::clock::unix_time();
    let application = "5a4d6b0e-3f2c-4e1f-8a7b-9c0d1e2f3a4b";
    let claims = json!({"application_id": application, "iat": now, "exp": now + 900, "jti": "1"});
    signed("RS256", &claims, key)
}

fn signed(algorithm: &str, claims: &Value, key: &str) -> String {
    let encode = |part: String| BASE64URL_NOPAD.encode(part.as_bytes());
    let signed = format!(
        "{}.{}",
        encode(json!({"alg": algorithm, "typ": "JWT"}).to_string()),
        encode(claims.to_string())
    );
    let key = rcgen::KeyPair::from_pem(key).unwrap();
    format!(
        "{signed}.{}",
        BASE64URL_NOPAD.encode(&key.sign(signed.as_bytes()).unwrap())
    )
}
