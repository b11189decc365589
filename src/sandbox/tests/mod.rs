//! The sandbox from outside: over real connections, as a client sees it.

mod providers;
mod refused;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

const TOKEN: &str = "EAATESTTOKEN";
const SENDER: &str = "107878721936019";

/// What came back.
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
    Sandbox::start(Options { tokens: vec![TOKEN.to_owned()], ..options }).await.unwrap()
}

async fn exchange(to: SocketAddr, head: &str, body: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(to).await?;
    let head = format!("{head}\r\nHost: {to}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(answer)
}

async fn ask(to: SocketAddr, head: &str, body: &[u8]) -> Got {
    let answer = exchange(to, head, body).await.unwrap();
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    Got { status: head.split(' ').nth(1).unwrap().parse().unwrap(), head, body: answer[end + 4..].to_vec() }
}

fn authorized(line: &str) -> String {
    format!("{line} HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\nUser-Agent: test")
}

fn text_to(to: &str) -> Vec<u8> {
    json!({"messaging_product": "whatsapp", "to": to, "type": "text", "text": {"body": "hello"}}).to_string().into()
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
    for header in ["facebook-api-version: v23.0", "x-business-use-case-usage: {\"", "x-fb-request-id: A", "etag: \""] {
        assert!(got.head.contains(header), "{header} in {}", got.head);
    }
    let [sent] = <[Accepted; 1]>::try_from(sandbox.accepted()).unwrap();
    assert_eq!((sent.sender.as_str(), sent.recipient.as_str(), sent.kind.as_str()), (SENDER, "13437772910", "text"));
    assert_eq!(sent.token, ids::fingerprint(TOKEN));
}

#[tokio::test]
async fn templates_come_page_by_page_with_a_link_that_works() {
    let sandbox = sandbox(Options::default()).await;
    let mut names = Vec::new();
    let mut path = "/v23.0/114503234599312/message_templates?limit=2&fields=name".to_owned();
    loop {
        let page = ask(sandbox.graph(), &authorized(&format!("GET {path}")), b"").await.json();
        names.extend(page["data"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap().to_owned()));
        let Some(next) = page["paging"]["next"].as_str() else {
            break;
        };
        assert!(next.contains(&format!("access_token={TOKEN}")), "{next}");
        let origin = format!("http://{}", sandbox.graph());
        path = next.strip_prefix(&origin).unwrap().to_owned();
    }
    assert_eq!(names.len(), 5);
}

#[tokio::test]
async fn media_goes_up_is_described_and_comes_down() {
    let sandbox = sandbox(Options::default()).await;
    let form = b"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a b.png\"\r\n\
        Content-Type: image/png\r\n\r\n\x89PNG\r\n\r\n--b\r\nContent-Disposition: form-data; \
        name=\"messaging_product\"\r\n\r\nwhatsapp\r\n--b--\r\n";
    let head = authorized(&format!("POST /v23.0/{SENDER}/media"));
    let head = format!("{head}\r\nContent-Type: multipart/form-data; boundary=b");
    let id = ask(sandbox.graph(), &head, form).await.json()["id"].as_str().unwrap().to_owned();

    let described = ask(sandbox.graph(), &authorized(&format!("GET /v23.0/{id}?phone_number_id={SENDER}")), b"").await;
    assert!(described.text().starts_with(r#"{"url":"http:\/\/127.0.0.1:"#), "{}", described.text());
    let described = described.json();
    assert_eq!((described["file_size"].as_u64(), described["mime_type"].as_str()), (Some(6), Some("image/png")));

    let url = described["url"].as_str().unwrap();
    let path = url.strip_prefix(&format!("http://{}", sandbox.media())).unwrap();
    let got = ask(sandbox.media(), &authorized(&format!("GET {path}")), b"").await;
    assert_eq!((got.status, got.body.as_slice()), (200, &b"\x89PNG\r\n"[..]));
    assert!(got.head.contains("content-disposition: inline;filename=ab.png"), "{}", got.head);
    let bare = ask(sandbox.media(), &format!("GET {path} HTTP/1.1\r\nUser-Agent: test"), b"").await;
    assert_eq!(bare.status, 401);
    let nobody = format!("GET {path} HTTP/1.1\r\nAuthorization: Bearer {TOKEN}");
    assert_eq!(ask(sandbox.media(), &nobody, b"").await.status, 400);
    assert_eq!(ask(sandbox.media(), &authorized("GET /whatsapp_business/attachments/?mid=1"), b"").await.status, 404);

    let deleted = ask(sandbox.graph(), &authorized(&format!("DELETE /v23.0/{id}")), b"").await;
    assert_eq!(deleted.text(), r#"{"success":true}"#);
    assert_eq!(ask(sandbox.graph(), &authorized(&format!("GET /v23.0/{id}")), b"").await.code(), 100);
}

#[tokio::test]
async fn an_upload_session_has_a_name_with_a_query() {
    let sandbox = sandbox(Options::default()).await;
    let open = authorized("POST /v23.0/634974688087057/uploads?file_name=a&file_length=4&file_type=image/png");
    let id = ask(sandbox.graph(), &open, b"").await.json()["id"].as_str().unwrap().to_owned();
    assert!(id.starts_with("upload:") && id.contains("?sig="), "{id}");
    let fill = format!("POST /v23.0/{id} HTTP/1.1\r\nAuthorization: OAuth {TOKEN}\r\nfile_offset: 0");
    let filled = ask(sandbox.graph(), &fill, b"1234").await;
    assert!(filled.json()["h"].as_str().unwrap().starts_with("4::"), "{}", filled.text());
    let requests = ask(sandbox.graph(), "GET /_sandbox/requests HTTP/1.1", b"").await.json();
    assert_eq!(requests[1]["scheme"], "OAuth");
}

#[tokio::test]
async fn its_own_authority_vouches_for_all_its_names() {
    use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
    let sandbox = sandbox(Options { tls: true, ..Options::default() }).await;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(sandbox.ca_pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
    for name in ["localhost", "127.0.0.1", "::1", "graph.facebook.com", "lookaside.fbsbx.com"] {
        for address in [sandbox.graph(), sandbox.media()] {
            let stream = TcpStream::connect(address).await.unwrap();
            let connector = tokio_rustls::TlsConnector::from(Arc::clone(&config));
            connector.connect(ServerName::try_from(name).unwrap(), stream).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_dropped_sandbox_stops() {
    let sandbox = sandbox(Options::default()).await;
    let address = sandbox.graph();
    sandbox.shutdown();
    tokio::task::yield_now().await;
    assert!(TcpStream::connect(address).await.is_err());
}
