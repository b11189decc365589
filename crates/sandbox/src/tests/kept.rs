//! Tests of what the sandboxes of other providers than Meta keep: templates, files, and the state
//! of messages.

use data_encoding::BASE64;
use serde_json::{Value, json};

use super::{Got, Options, Sandbox, ask};
use crate::Dialect;
use crate::dialect::{new_private_key, public_key};

const KEY: &str = "CANARY0123456789";
const TWILIO_ACCOUNT: &str = "AC5a4d6b0e3f2c4e1f8a7b9c0d1e2f3a4b";

/// A sandbox of a provider, with the header line of its key.
struct Account {
    sandbox: Sandbox,
    key: String,
}

impl Account {
    async fn of(name: &str) -> Self {
        let sandbox = Sandbox::start(Options {
            provider: Dialect::named(name),
            tokens: vec![KEY.to_owned()],
            ..Options::default()
        })
        .await
        .unwrap();
        let login = BASE64.encode(format!("{TWILIO_ACCOUNT}:{KEY}").as_bytes());
        let key = match name {
            "360dialog" => format!("D360-API-KEY: {KEY}"),
            "infobip" => format!("Authorization: App {KEY}"),
            _ => format!("Authorization: Basic {login}"),
        };
        Self { sandbox, key }
    }

    async fn ask(&self, line: &str, body: &[u8]) -> Got {
        let head = format!("{line} HTTP/1.1\r\n{}", self.key);
        ask(self.sandbox.graph(), &head, body).await
    }
}

#[tokio::test]
async fn a_template_is_listed_read_and_gone_once_it_is_deleted() {
    for (name, path, field, list) in [
        (
            "360dialog",
            "/v1/configs/templates",
            "name",
            "waba_templates",
        ),
        (
            "infobip",
            "/whatsapp/2/senders/15550001111/templates",
            "name",
            "templates",
        ),
        ("twilio", "/v1/Content", "friendly_name", "contents"),
    ] {
        let account = Account::of(name).await;
        let listed = account.ask(&format!("GET {path}"), b"").await.json();
        assert_eq!(
            listed,
            json!({ "count": 0, "total": 0, list: [] }),
            "{name}"
        );
        let template = json!({ field: "order", "language": "en" }).to_string();
        let made = account
            .ask(&format!("POST {path}"), template.as_bytes())
            .await;
        assert_eq!(made.status, 201, "{name}: {}", made.text());
        let id = made.json()["sid"]
            .as_str()
            .or(made.json()["id"].as_str())
            .unwrap()
            .to_owned();
        let listed = account.ask(&format!("GET {path}"), b"").await.json();
        assert_eq!(listed[list][0][field], "order", "{name}: {listed}");
        for key in [id.as_str(), "order"] {
            let read = account.ask(&format!("GET {path}/{key}"), b"").await;
            assert_eq!(read.json()["language"], "en", "{name}: {}", read.text());
        }
        let deleted = account.ask(&format!("DELETE {path}/order"), b"").await;
        assert!(
            matches!(deleted.status, 200 | 204),
            "{name}: {}",
            deleted.text()
        );
        let again = account.ask(&format!("DELETE {path}/order"), b"").await;
        assert_eq!(again.status, 404, "{name}: {}", again.text());
        let listed = account.ask(&format!("GET {path}"), b"").await.json();
        assert_eq!(listed[list], json!([]), "{name}");
        // An object that nobody has made is answered with the sample.
        let unknown = account.ask(&format!("GET {path}/other"), b"").await;
        assert!(
            unknown.status == 200 || name == "360dialog",
            "{name}: {}",
            unknown.text()
        );
    }
}

#[tokio::test]
async fn the_newer_templates_of_360dialog_are_those_of_the_cloud_api() {
    let account = Account::of("360dialog").await;
    let template = json!({ "name": "order", "language": "en" }).to_string();
    let made = account.ask("POST /message_templates", template.as_bytes());
    let made = made.await;
    assert_eq!(made.status, 200, "{}", made.text());
    let listed = account.ask("GET /message_templates", b"").await.json();
    assert_eq!(listed["data"][0]["name"], "order", "{listed}");
    let deletion = "DELETE /message_templates?name=order";
    let deleted = account.ask(deletion, b"").await;
    assert_eq!(deleted.json(), json!({ "success": true }));
    assert_eq!(account.ask(deletion, b"").await.status, 404);
    let listed = account.ask("GET /message_templates", b"").await.json();
    assert_eq!(listed["data"], json!([]), "{listed}");
}

#[tokio::test]
async fn an_upload_is_described_and_fetched_until_it_is_deleted() {
    let form = "--b\r\nContent-Disposition: form-data; name=\"messaging_product\"\r\n\r\nwhatsapp\r\n--b\r\n\
                Content-Disposition: form-data; name=\"file\"; filename=\"a.png\"\r\nContent-Type: image/png\r\n\r\npixels\r\n--b--\r\n";
    let account = Account::of("360dialog").await;
    let line = "POST /media HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=b";
    let head = format!("{line}\r\n{}", account.key);
    let uploaded = ask(account.sandbox.graph(), &head, form.as_bytes()).await;
    let id = uploaded.json()["id"].as_str().unwrap().to_owned();
    let about = account.ask(&format!("GET /{id}"), b"").await.json();
    assert_eq!(
        (&about["mime_type"], &about["file_size"]),
        (&json!("image/png"), &json!(6))
    );
    let url = about["url"].as_str().unwrap().to_owned();
    let path = url.strip_prefix("https://lookaside.fbsbx.com").unwrap();
    let fetched = account.ask(&format!("GET {path}"), b"").await;
    assert_eq!(fetched.text(), "pixels");
    assert_eq!(account.ask(&format!("DELETE /{id}"), b"").await.status, 200);
    for path in [format!("/{id}"), path.to_owned()] {
        assert_eq!(
            account.ask(&format!("GET {path}"), b"").await.status,
            404,
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_file_of_vonage_is_told_by_its_location() {
    let private = new_private_key().unwrap();
    let account = Account::of("vonage").await;
    account.sandbox.accept_token(&public_key(&private).unwrap());
    let jwt = super::providers::vonage_jwt(&private);
    let account = Account {
        key: format!("Authorization: Bearer {jwt}"),
        ..account
    };
    let uploaded = account.ask("POST /v3/media", b"pixels").await;
    assert_eq!(uploaded.status, 201, "{}", uploaded.text());
    let id = uploaded.json()["id"].as_str().unwrap().to_owned();
    assert!(
        uploaded.head.contains(&format!("location: /v3/media/{id}")),
        "{}",
        uploaded.head
    );
    let path = format!("/v3/media/{id}");
    assert_eq!(
        account.ask(&format!("GET {path}"), b"").await.text(),
        "pixels"
    );
    let about = account.ask(&format!("GET {path}/info"), b"").await.json();
    assert_eq!(about["media_size"], 6);
    assert_eq!(
        account.ask(&format!("DELETE {path}"), b"").await.status,
        204
    );
    assert_eq!(account.ask(&format!("GET {path}"), b"").await.status, 404);
}

#[tokio::test]
async fn the_state_of_a_message_names_its_parties() {
    let twilio = Account::of("twilio").await;
    let messages = format!("/2010-04-01/Accounts/{TWILIO_ACCOUNT}/Messages");
    let line =
        format!("POST {messages}.json HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded");
    let head = format!("{line}\r\n{}", twilio.key);
    let form = b"From=whatsapp%3A%2B1555&To=whatsapp%3A%2B1666&Body=x";
    let sent = ask(twilio.sandbox.graph(), &head, form).await.json();
    let id = sent["sid"].as_str().unwrap();
    let told = twilio
        .ask(&format!("GET {messages}/{id}.json"), b"")
        .await
        .json();
    assert_eq!(
        (&told["sid"], &told["to"]),
        (&sent["sid"], &Value::from("whatsapp:+1666"))
    );
    assert_eq!(told["status"], "delivered");

    let infobip = Account::of("infobip").await;
    let message = br#"{"from":"1555","to":"1666","content":{"text":"x"}}"#;
    let sent = infobip
        .ask("POST /whatsapp/1/message/text", message)
        .await
        .json();
    let id = sent["messageId"].as_str().unwrap();
    let reports = format!("GET /messages-api/1/reports?messageId={id}");
    let told = infobip.ask(&reports, b"").await.json();
    assert_eq!(told["results"][0]["destination"], "1666", "{told}");
}

#[tokio::test]
async fn a_message_of_360dialog_that_is_marked_as_read_is_no_message() {
    let account = Account::of("360dialog").await;
    let read = br#"{"messaging_product":"whatsapp","status":"read","message_id":"wamid.1","typing_indicator":{"type":"text"}}"#;
    let got = account.ask("POST /messages", read).await;
    assert_eq!(got.json(), json!({"success": true}));
    assert!(account.sandbox.accepted().is_empty());
    let sent = br#"{"messaging_product":"whatsapp","to":"15550001234","type":"template"}"#;
    for path in ["/messages", "/marketing_messages"] {
        let got = account.ask(&format!("POST {path}"), sent).await;
        assert!(got.json()["messages"][0]["id"].is_string(), "{path}");
    }
    assert_eq!(account.sandbox.accepted().len(), 2);
}
