//! A tunnel through a proxy: CONNECT, RFC 9110, section 9.3.6.

use http::{Method, StatusCode, header};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::outgoing::Outgoing;
use super::proxy_error::ProxyFault;
use super::request::{RequestLine, USER_AGENT};
use super::request_body::OutgoingBody;
use crate::egress::Proxy;

/// Asks a proxy for a tunnel to `target`, `HOST:PORT`. The name is the proxy's to resolve.
/// Afterwards the stream leads to the target.
///
/// # Errors
/// The reason why there is no tunnel; the target has seen nothing.
pub(super) async fn open<S>(stream: &mut S, proxy: &Proxy, target: &str) -> Result<(), ProxyFault>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let request = request(target, proxy.authorization());
    if request.is_malformed {
        return Err(ProxyFault::Unwritable);
    }
    let sent = async {
        stream.write_all(request.head.as_slice()).await?;
        stream.flush().await
    };
    sent.await.map_err(|_| ProxyFault::Closed)?;
    let mut received = Vec::with_capacity(FIRST_READ);
    loop {
        match stream.read_buf(&mut received).await {
            Ok(0) | Err(_) => return Err(ProxyFault::Closed),
            Ok(_) => {}
        }
        if let Some(status) = status_of(&received)? {
            return match status {
                status if status.is_success() => Ok(()),
                StatusCode::PROXY_AUTHENTICATION_REQUIRED => Err(ProxyFault::CredentialsRefused {
                    had_credentials: proxy.authorization().is_some(),
                }),
                status => Err(ProxyFault::Refused(status)),
            };
        }
    }
}

/// Writes the request for a tunnel, whose target is the authority alone.
fn request(target: &str, authorization: Option<&str>) -> Outgoing {
    let mut line = RequestLine::new(Method::CONNECT, OutgoingBody::empty());
    line.target(target);
    let mut head = line.headers(target);
    head.header(&header::USER_AGENT, USER_AGENT);
    if let Some(authorization) = authorization {
        head.secret_header(&header::PROXY_AUTHORIZATION, authorization);
    }
    head.finish()
}

/// Returns the status of an answer with a whole head; `None` for a partial head.
///
/// # Errors
/// Bytes of no head, a head that is too long, or bytes behind the head of a tunnel: a TLS server
/// never speaks first, so these bytes are not the target's.
fn status_of(received: &[u8]) -> Result<Option<StatusCode>, ProxyFault> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut answer = httparse::Response::new(&mut headers);
    let end = match answer.parse(received) {
        Ok(httparse::Status::Complete(end)) => end,
        Ok(httparse::Status::Partial) if received.len() < MAX_HEAD => return Ok(None),
        Ok(httparse::Status::Partial) | Err(_) => return Err(ProxyFault::Malformed),
    };
    let status = answer
        .code
        .and_then(|code| StatusCode::from_u16(code).ok())
        .ok_or(ProxyFault::Malformed)?;
    if status.is_success() && end < received.len() {
        return Err(ProxyFault::Malformed);
    }
    Ok(Some(status))
}

/// The room for the first bytes of an answer: `200 Connection established` with a header or two.
const FIRST_READ: usize = 1024;
/// The longest head of a proxy's answer, in bytes. Proxies answer CONNECT in some hundred bytes,
/// and a refusal with cookies and a long challenge in a few thousand: the bound ends an answer
/// without an end.
const MAX_HEAD: usize = 16 * 1024;
/// The most headers of a proxy's answer: several times the dozen of a talkative proxy. The parser
/// keeps 32 bytes for each on the stack.
const MAX_HEADERS: usize = 64;

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    #[test]
    fn a_request_names_the_target_and_has_credentials_only_for_the_proxy() {
        let place = "graph.facebook.com:443";
        let common =
            format!("CONNECT {place} HTTP/1.1\r\nhost: {place}\r\nuser-agent: {USER_AGENT}\r\n");
        for (authorization, header) in [
            (None, ""),
            (Some("Basic dTpw"), "proxy-authorization: Basic dTpw\r\n"),
        ] {
            let request = request(place, authorization);
            let text = std::str::from_utf8(request.head.as_slice()).unwrap();
            assert_eq!(text, format!("{common}{header}\r\n"));
        }
    }

    #[test]
    fn the_credentials_are_wiped() {
        let mut request = request("a:443", Some("Basic dTpw"));
        request.head.wipe();
        let text = std::str::from_utf8(request.head.as_slice()).unwrap();
        assert!(!text.contains("dTpw"), "{text}");
    }

    #[tokio::test]
    async fn a_target_that_would_end_its_line_is_not_sent() {
        let proxy = Proxy::parse("http://proxy:3128").unwrap();
        let (mut here, mut there) = duplex(1024);
        let opened = open(&mut here, &proxy, "a:443 HTTP/1.1\r\nX: y").await;
        assert_eq!(opened, Err(ProxyFault::Unwritable));
        drop(here);
        assert_eq!(there.read_buf(&mut Vec::new()).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn each_answer_opens_the_tunnel_or_tells_the_fault() {
        use ProxyFault::{Closed, CredentialsRefused, Malformed, Refused};
        let long = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(MAX_HEAD));
        for (answer, expected) in [
            ("HTTP/1.1 200 Connection established\r\n\r\n", Ok(())),
            ("HTTP/1.0 200 OK\r\nProxy-Agent: x\r\n\r\n", Ok(())),
            ("HTTP/1.1 204 Fine\r\n\r\n", Ok(())),
            (
                "HTTP/1.1 407 Who\r\nProxy-Authenticate: Basic\r\nContent-Length: 2\r\n\r\nno",
                Err(CredentialsRefused {
                    had_credentials: true,
                }),
            ),
            (
                "HTTP/1.1 403 No\r\n\r\n",
                Err(Refused(StatusCode::FORBIDDEN)),
            ),
            (
                "HTTP/1.1 504 No\r\n\r\n",
                Err(Refused(StatusCode::GATEWAY_TIMEOUT)),
            ),
            (
                "HTTP/1.1 100 Go on\r\n\r\n",
                Err(Refused(StatusCode::CONTINUE)),
            ),
            ("HTTP/1.1 200 OK\r\n\r\nmore", Err(Malformed)),
            ("SSH-2.0-OpenSSH\r\n\r\n", Err(Malformed)),
            (&long, Err(Malformed)),
            ("HTTP/1.1 200 O", Err(Closed)),
            ("", Err(Closed)),
        ] {
            let proxy = Proxy::parse("http://u:p@proxy:3128").unwrap();
            let (mut here, mut there) = duplex(64 * 1024);
            there.write_all(answer.as_bytes()).await.unwrap();
            there.shutdown().await.unwrap();
            assert_eq!(open(&mut here, &proxy, "a:443").await, expected, "{answer}");
        }
    }

    #[tokio::test]
    async fn an_answer_may_come_byte_by_byte() {
        let proxy = Proxy::parse("http://proxy:3128").unwrap();
        let (mut here, mut there) = duplex(1);
        let answering = async {
            let mut seen = Vec::new();
            while !seen.ends_with(b"\r\n\r\n") {
                there.read_buf(&mut seen).await.unwrap();
            }
            there.write_all(b"HTTP/1.1 200 OK\r\n\r\nS").await.unwrap();
        };
        let (opened, ()) = tokio::join!(
            async {
                let opened = open(&mut here, &proxy, "a:443").await;
                assert_eq!(here.read_u8().await.unwrap(), b'S');
                opened
            },
            answering
        );
        assert_eq!(opened, Ok(()));
    }
}
