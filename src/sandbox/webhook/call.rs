//! One request to a callback URL.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Where a callback URL leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    tls: bool,
    host: String,
    port: u16,
    path: String,
}

/// What went wrong.
pub(super) type Failure = Box<dyn std::error::Error + Send + Sync>;

impl Target {
    /// From `http://host:port/path` or `https://...`.
    pub(super) fn parse(url: &str) -> Option<Target> {
        let uri: Uri = url.parse().ok()?;
        let tls = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Some(Target { tls, host: uri.host()?.to_owned(), port, path })
    }

    /// The same with more parameters.
    pub(super) fn with_query(&self, query: &str) -> Target {
        let separator = if self.path.contains('?') { '&' } else { '?' };
        Target { path: format!("{}{separator}{query}", self.path), ..self.clone() }
    }
}

/// Sends a request on a connection of its own and reads the answer, within ten seconds.
pub(super) async fn ask(
    target: &Target,
    tls: &Arc<ClientConfig>,
    method: Method,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
) -> Result<(StatusCode, Vec<u8>), Failure> {
    let whole = async {
        let host = target.host.trim_matches(['[', ']']);
        let stream = TcpStream::connect((host, target.port)).await?;
        stream.set_nodelay(true)?;
        if !target.tls {
            return exchange(stream, target, method, headers, body).await;
        }
        let name = ServerName::try_from(host.to_owned())?;
        let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await?;
        exchange(stream, target, method, headers, body).await
    };
    tokio::time::timeout(TIME, whole).await.unwrap_or_else(|_| Err("it took longer than ten seconds".into()))
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    target: &Target,
    method: Method,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
) -> Result<(StatusCode, Vec<u8>), Failure> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let mut request =
        Request::builder().method(method).uri(&target.path).header("Host", format!("{}:{}", target.host, target.port));
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let answer = sender.send_request(request.body(Full::new(Bytes::from(body)))?).await?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER).collect().await?.to_bytes().to_vec();
    connection.abort();
    Ok((status, body))
}

const TIME: Duration = Duration::from_secs(10);
const ANSWER: usize = 64 * 1024;
