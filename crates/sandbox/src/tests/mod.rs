//! Tests over real connections, from the view of a client.

mod kept;
mod made;
mod providers;
mod refused;
mod settled;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

const TOKEN: &str = "EAATESTTOKEN";
const SENDER: &str = "107878721936019";

/// An answer.
struct Got {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    fn code(&self) -> i64 {
        self.json()["error"]["code"].as_i64().unwrap()
    }
}

async fn sandbox(options: Options) -> Sandbox {
    Sandbox::start(Options {
        tokens: vec![TOKEN.to_owned()],
        ..options
    })
    .await
    .unwrap()
}

async fn exchange(to: SocketAddr, head: &str, body: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(to).await?;
    let head = format!(
        "{head}\r\nHost: {to}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(answer)
}

async fn ask(to: SocketAddr, head: &str, body: &[u8]) -> Got {
    let answer = exchange(to, head, body).await.unwrap();
    let end = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    Got {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head,
        body: answer[end + 4..].to_vec(),
    }
}

fn authorized(line: &str) -> String {
    format!("{line} HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\nUser-Agent: test")
}

fn text_to(to: &str) -> Vec<u8> {
    json!({"messaging_product": "whatsapp", "to": to, "type": "text", "text": {"body": "hello"}})
        .to_string()
        .into()
}

async fn send(sandbox: &Sandbox, to: &str) -> Got {
    let head = authorized(&format!("POST /v23.0/{SENDER}/messages"));
    ask(sandbox.graph(), &head, &text_to(to)).await
}

#[tokio::test]
async fn a_message_is_accepted_answered_and_recorded() {
    let sandbox = sandbox(Options::default()).await;
    let got = send(&sandbox, "13437772910").await;
    assert_eq!(got.status, 200, "{}", got.text());
    assert!(got.text().starts_with(
        r#"{"messaging_product":"whatsapp","contacts":[{"input":"13437772910","wa_id":"13437772910"}],"messages":[{"id":"wamid.HBgLMTM0Mzc3NzI5MTAVAgARGB"#
    ));
    for header in [
        "facebook-api-version: v23.0",
        "x-business-use-case-usage: {\"",
        "x-fb-request-id: A",
        "etag: \"",
    ] {
        assert!(got.head.contains(header), "{header} in {}", got.head);
    }
    let [sent] = <[Accepted; 1]>::try_from(sandbox.accepted()).unwrap();
    assert_eq!(
        (
            sent.sender.as_str(),
            sent.recipient.as_str(),
            sent.kind.as_str()
        ),
        (SENDER, "13437772910", "text")
    );
    assert_eq!(sent.token, ids::fingerprint(TOKEN));
}

#[tokio::test]
async fn the_links_between_pages_of_templates_work() {
    let sandbox = sandbox(Options::default()).await;
    let mut names = Vec::new();
    let mut path = "/v23.0/114503234599312/message_templates?limit=2&fields=name".to_owned();
    loop {
        let page = ask(sandbox.graph(), &authorized(&format!("GET {path}")), b"")
            .await
            .json();
        names.extend(
            page["data"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| item["name"].as_str().unwrap().to_owned()),
        );
        let Some(next) = page["paging"]["next"].as_str() else {
            break;
        };
        assert!(next.contains(&format!("access_token={TOKEN}")), "{next}");
        let origin = format!("http://{}", sandbox.graph());
        path = next.strip_prefix(&origin).unwrap().to_owned();
    }
    assert_eq!(names.len(), 5);
}

/// Uploads a picture of six bytes. Returns the media id.
async fn upload(sandbox: &Sandbox) -> String {
    let form = b"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a;b c.png\"\r\n\
        Content-Type: image/png\r\n\r\n\x89PNG\r\n\r\n--b\r\nContent-Disposition: form-data; \
        name=\"messaging_product\"\r\n\r\nwhatsapp\r\n--b--\r\n";
    let head = authorized(&format!("POST /v23.0/{SENDER}/media"));
    let head = format!("{head}\r\nContent-Type: multipart/form-data; boundary=b");
    let answer = ask(sandbox.graph(), &head, form).await.json();
    answer["id"].as_str().unwrap().to_owned()
}

/// Asks for the description of a file.
async fn describe(sandbox: &Sandbox, id: &str) -> Got {
    let head = authorized(&format!("GET /v23.0/{id}?phone_number_id={SENDER}"));
    ask(sandbox.graph(), &head, b"").await
}

/// Asks for the description of a file. Returns the path of its link on the media host.
async fn link(sandbox: &Sandbox, id: &str) -> String {
    let description = describe(sandbox, id).await.json();
    let origin = format!("http://{}", sandbox.media());
    let path = description["url"].as_str().unwrap().strip_prefix(&origin);
    path.unwrap().to_owned()
}

#[tokio::test]
async fn media_is_uploaded_described_and_deleted() {
    let sandbox = sandbox(Options::default()).await;
    let id = upload(&sandbox).await;
    let described = describe(&sandbox, &id).await;
    let text = described.text();
    assert!(text.starts_with(r#"{"url":"http:\/\/127.0.0.1:"#), "{text}");
    let described = described.json();
    assert_eq!(described["file_size"], 6);
    assert_eq!(described["mime_type"], "image/png");
    let delete = authorized(&format!("DELETE /v23.0/{id}"));
    let deleted = ask(sandbox.graph(), &delete, b"").await;
    assert_eq!(deleted.text(), r#"{"success":true}"#);
    assert_eq!(describe(&sandbox, &id).await.code(), 100);
}

#[tokio::test]
async fn media_is_downloaded_under_its_whole_name() {
    let sandbox = sandbox(Options::default()).await;
    let id = upload(&sandbox).await;
    let path = link(&sandbox, &id).await;
    let got = ask(sandbox.media(), &authorized(&format!("GET {path}")), b"").await;
    assert_eq!(got.status, 200);
    assert_eq!(got.body, b"\x89PNG\r\n");
    // The name is `a;b c.png` without the characters that would need quotes.
    let name = "content-disposition: inline;filename=abc.png";
    assert!(got.head.contains(name), "{}", got.head);
}

#[tokio::test]
async fn the_media_host_needs_a_link_a_token_and_a_user_agent() {
    let sandbox = sandbox(Options::default()).await;
    let id = upload(&sandbox).await;
    let path = link(&sandbox, &id).await;
    let without_token = format!("GET {path} HTTP/1.1\r\nUser-Agent: test");
    let without_agent = format!("GET {path} HTTP/1.1\r\nAuthorization: Bearer {TOKEN}");
    let without_link = authorized("GET /whatsapp_business/attachments/?mid=1");
    for (head, status) in [
        (without_token, 401),
        (without_agent, 400),
        (without_link, 404),
    ] {
        let got = ask(sandbox.media(), &head, b"").await;
        assert_eq!(got.status, status, "{head}");
    }
}

#[tokio::test]
async fn the_id_of_an_upload_session_contains_a_query() {
    let sandbox = sandbox(Options::default()).await;
    let open = authorized(
        "POST /v23.0/634974688087057/uploads?file_name=a&file_length=4&file_type=image/png",
    );
    let id = ask(sandbox.graph(), &open, b"").await.json()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(id.starts_with("upload:") && id.contains("?sig="), "{id}");
    let fill =
        format!("POST /v23.0/{id} HTTP/1.1\r\nAuthorization: OAuth {TOKEN}\r\nfile_offset: 0");
    let filled = ask(sandbox.graph(), &fill, b"1234").await;
    assert!(
        filled.json()["h"].as_str().unwrap().starts_with("4::"),
        "{}",
        filled.text()
    );
    let requests = ask(sandbox.graph(), "GET /_sandbox/requests HTTP/1.1", b"")
        .await
        .json();
    assert_eq!(requests[1]["scheme"], "OAuth");
}

#[tokio::test]
async fn the_authority_of_the_sandbox_vouches_for_all_host_names() {
    use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
    let sandbox = sandbox(Options {
        tls: true,
        ..Options::default()
    })
    .await;
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(sandbox.ca_pem().as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let config = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
    for name in [
        "localhost",
        "127.0.0.1",
        "::1",
        "graph.facebook.com",
        "lookaside.fbsbx.com",
    ] {
        for address in [sandbox.graph(), sandbox.media()] {
            let stream = TcpStream::connect(address).await.unwrap();
            let connector = tokio_rustls::TlsConnector::from(Arc::clone(&config));
            connector
                .connect(ServerName::try_from(name).unwrap(), stream)
                .await
                .unwrap();
        }
    }
}

#[tokio::test]
async fn a_dropped_sandbox_stops_listening() {
    let sandbox = sandbox(Options::default()).await;
    let address = sandbox.graph();
    sandbox.shutdown();
    tokio::task::yield_now().await;
    assert!(TcpStream::connect(address).await.is_err());
}
