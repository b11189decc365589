//! Requests to callback URLs.

use std::fmt;
use std::io;
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

/// A callback URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Callback {
    tls: bool,
    host: String,
    port: u16,
    path: String,
}

impl Callback {
    /// Reads `http://HOST:PORT/PATH` or `https://...`.
    pub(super) fn parse(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let (tls, default_port) = match uri.scheme_str()? {
            "https" => (true, 443),
            "http" => (false, 80),
            _ => return None,
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Some(Self {
            tls,
            host: uri.host()?.to_owned(),
            port: uri.port_u16().unwrap_or(default_port),
            path: path.to_owned(),
        })
    }

    /// Returns the URL with more query parameters.
    pub(super) fn with_query(&self, query: &str) -> Self {
        let separator = if self.path.contains('?') { '&' } else { '?' };
        Self {
            path: format!("{}{separator}{query}", self.path),
            ..self.clone()
        }
    }

    /// Sends a request on a new connection and reads the answer.
    ///
    /// # Errors
    /// There is no whole answer within [`CALLBACK_TIMEOUT`].
    pub(super) async fn request(
        &self,
        tls: &Arc<ClientConfig>,
        method: Method,
        headers: Vec<(&'static str, String)>,
        body: Vec<u8>,
    ) -> Result<(StatusCode, Bytes), CallbackError> {
        let mut head = Request::builder()
            .method(method)
            .uri(&self.path)
            .header("Host", format!("{}:{}", self.host, self.port));
        for (name, value) in headers {
            head = head.header(name, value);
        }
        let exchange = self.exchange(tls, head.body(Full::from(body))?);
        tokio::time::timeout(CALLBACK_TIMEOUT, exchange)
            .await
            .unwrap_or(Err(CallbackError::Timeout))
    }

    async fn exchange(
        &self,
        tls: &Arc<ClientConfig>,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, Bytes), CallbackError> {
        let host = self.host.trim_matches(['[', ']']);
        let stream = TcpStream::connect((host, self.port)).await?;
        stream.set_nodelay(true)?;
        if !self.tls {
            return send(stream, request).await;
        }
        let name = ServerName::try_from(host.to_owned()).map_err(|_| CallbackError::ServerName)?;
        let connector = TlsConnector::from(Arc::clone(tls));
        send(connector.connect(name, stream).await?, request).await
    }
}

async fn send<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), CallbackError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    let read = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
    connection.abort();
    let body = read.map_err(|_| CallbackError::Answer)?;
    Ok((status, body.to_bytes()))
}

/// The reason for having no answer of a callback URL.
#[derive(Debug)]
pub enum CallbackError {
    /// No whole answer came in time.
    Timeout,
    /// The connection could not be opened, or TLS failed.
    Connect(io::Error),
    /// The host of the URL cannot be the name in a certificate.
    ServerName,
    /// The URL or a header is not valid in HTTP.
    Request(http::Error),
    /// The answer is not valid in HTTP, or broke off.
    Http(hyper::Error),
    /// The body of the answer is too large or broke off.
    Answer,
}

impl fmt::Display for CallbackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => f.write_str("no whole answer came within ten seconds"),
            Self::Connect(error) => write!(f, "{error}"),
            Self::ServerName => f.write_str("the host is no valid name for TLS"),
            Self::Request(error) => write!(f, "{error}"),
            Self::Http(error) => write!(f, "{error}"),
            Self::Answer => f.write_str("the body of the answer is over 64 KiB or broke off"),
        }
    }
}

impl std::error::Error for CallbackError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Connect(error) => Some(error),
            Self::Request(error) => Some(error),
            Self::Http(error) => Some(error),
            Self::Timeout | Self::ServerName | Self::Answer => None,
        }
    }
}

impl From<io::Error> for CallbackError {
    fn from(error: io::Error) -> Self {
        Self::Connect(error)
    }
}

impl From<http::Error> for CallbackError {
    fn from(error: http::Error) -> Self {
        Self::Request(error)
    }
}

impl From<hyper::Error> for CallbackError {
    fn from(error: hyper::Error) -> Self {
        Self::Http(error)
    }
}

/// The time for connecting, sending and the whole answer, as Meta allows about ten seconds.
const CALLBACK_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest body of an answer, in bytes. Only a challenge is ever read.
const MAX_ANSWER: usize = 64 * 1024;
