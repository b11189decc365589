//! A tunnel through a proxy: CONNECT, RFC 9110, section 9.3.6.

use http::StatusCode;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zeroize::Zeroizing;

use super::proxy_error::ProxyFault;
use super::request::USER_AGENT;
use crate::egress::Proxy;

/// Asks a proxy for a tunnel to `target`, `HOST:PORT`. The name is the proxy's to resolve. Afterwards the stream leads to
/// the target.
///
/// # Errors
/// The reason why there is no tunnel; the target has seen nothing.
pub(super) async fn open<S>(stream: &mut S, proxy: &Proxy, target: &str) -> Result<(), ProxyFault>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let request = request(target, proxy.authorization());
    let sent = async {
        stream.write_all(request.as_bytes()).await?;
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

fn request(target: &str, authorization: Option<&str>) -> Zeroizing<String> {
    let length = 2 * target.len() + authorization.map_or(0, str::len) + ROOM_FOR_WORDS;
    // With room for all of it, no copy of the credentials stays behind.
    let mut request = Zeroizing::new(String::with_capacity(length));
    for piece in ["CONNECT ", target, " HTTP/1.1\r\nHost: ", target] {
        request.push_str(piece);
    }
    for piece in ["\r\nUser-Agent: ", USER_AGENT] {
        request.push_str(piece);
    }
    if let Some(authorization) = authorization {
        request.push_str("\r\nProxy-Authorization: ");
        request.push_str(authorization);
    }
    request.push_str("\r\n\r\n");
    request
}

/// Returns the status of an answer with a whole head; `None` for a partial head.
///
/// # Errors
/// Bytes of no head, a head that is too long, or bytes behind the head of a tunnel: a TLS server never speaks first, so
/// these bytes are not the target's.
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
/// The longest head of an answer.
const MAX_HEAD: usize = 16 * 1024;
/// The most headers of an answer.
const MAX_HEADERS: usize = 64;
/// The room for the words of a request around target and credentials.
const ROOM_FOR_WORDS: usize = 160;

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    #[test]
    fn a_request_names_the_target_and_has_credentials_only_for_the_proxy() {
        let plain = "CONNECT graph.facebook.com:443 HTTP/1.1\r\nHost: graph.facebook.com:443\r\nUser-Agent: ";
        let bare = request("graph.facebook.com:443", None);
        assert!(
            bare.starts_with(plain) && bare.ends_with("\r\n\r\n"),
            "{}",
            *bare
        );
        assert!(!bare.contains("Proxy-Authorization"));
        let known = request("graph.facebook.com:443", Some("Basic dTpw"));
        assert!(
            known.contains("\r\nProxy-Authorization: Basic dTpw\r\n"),
            "{}",
            *known
        );
        assert!(known.capacity() >= known.len() && known.len() <= 2 * 22 + 10 + ROOM_FOR_WORDS);
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
