//! The exchange of secrets for an access token: OAuth 2 client credentials (RFC 6749, section 4.4), or a login.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::Value;
use zeroize::{Zeroize, Zeroizing};

use super::super::{Missing, Sent};
use super::Failure;
use crate::json::{self, RawObject};
use crate::provider::Inject;
use crate::provider::access::Exchange;
use crate::query;
use crate::secret::Secret;
use crate::upstream::{Head, Outgoing, OutgoingBody, Upstream};

/// How the answer is read; a copy, for what goes on when the configuration is another.
pub(super) struct Reading {
    token: Vec<String>,
    expires_in: Option<Vec<String>>,
    lifetime: Duration,
}

impl Reading {
    pub(super) fn of(exchange: &Exchange) -> Self {
        let Exchange { token, expires_in, lifetime, .. } = exchange;
        Self { token: token.clone(), expires_in: expires_in.clone(), lifetime: *lifetime }
    }
}

/// Writes the request.
///
/// # Errors
/// Where a secret is missing.
pub(super) fn compose(exchange: &Exchange, sent: Sent<'_>, host: &str) -> Result<Outgoing, Missing> {
    let (media_type, body) = body(exchange, sent)?;
    // Room for all of it at once: what grew would leave copies of the secrets behind.
    let mut head = Head::with_capacity(1024 + exchange.path.len() + body.len() + 8 * sent.length());
    head.push(b"POST ");
    head.push(exchange.path.as_bytes());
    let mut separator: &[u8] = b"?";
    for inject in &exchange.inject {
        if let Inject::Query { name, value } = inject {
            head.push(std::mem::replace(&mut separator, b"&"));
            query::encode(name).for_each(|piece| head.push(piece.as_bytes()));
            head.push(b"=");
            sent.render(value, |text| query::encode(text).for_each(|piece| head.push_secret(piece.as_bytes())))?;
        }
    }
    head.push(b" HTTP/1.1\r\nhost: ");
    head.push(host.as_bytes());
    head.push(b"\r\naccept: application/json\r\n");
    head.push(concat!("user-agent: keyside/", env!("CARGO_PKG_VERSION"), "\r\n").as_bytes());
    head.push(format!("content-type: {media_type}\r\ncontent-length: {}\r\n", body.len()).as_bytes());
    for inject in &exchange.inject {
        if let Inject::Header { name, value } = inject {
            head.push(name.as_str().as_bytes());
            head.push(b": ");
            sent.render(value, |text| head.push_secret(text.as_bytes()))?;
            head.push(b"\r\n");
        }
    }
    head.push(b"\r\n");
    head.push_secret(body.as_bytes());
    Ok(Outgoing::new(Method::POST, head, OutgoingBody::Whole(Bytes::new())))
}

/// A form, or JSON where anything goes into JSON.
fn body(exchange: &Exchange, sent: Sent<'_>) -> Result<(&'static str, Zeroizing<String>), Missing> {
    let mut form = Zeroizing::new(String::with_capacity(BODY + 4 * sent.length()));
    let mut object = None;
    for inject in &exchange.inject {
        match inject {
            Inject::FormField { name, value } => {
                query::begin_pair(&mut form, name);
                sent.render(value, |text| form.extend(query::encode(text)))?;
            }
            Inject::JsonField { pointer, value } => {
                let before: Zeroizing<String> = object.take().unwrap_or_else(|| Zeroizing::new("{}".to_owned()));
                let mut text = Zeroizing::new(String::with_capacity(BODY));
                sent.render(value, |piece| text.push_str(piece))?;
                let mut changed = RawObject::parse(&before).ok_or_else(|| Missing(pointer.join("/")))?;
                if !changed.set_string_at(pointer, &text) {
                    return Err(Missing(pointer.join("/")));
                }
                object = Some(Zeroizing::new(changed.to_string()));
            }
            Inject::Header { .. } | Inject::Query { .. } | Inject::AppSecretProof { .. } => {}
        }
    }
    Ok(match object {
        Some(object) => ("application/json", object),
        None => ("application/x-www-form-urlencoded", form),
    })
}

/// Asks, and gives the token with the time for which it is good.
pub(super) async fn ask(
    upstream: &Arc<Upstream>,
    request: Outgoing,
    reading: &Reading,
) -> Result<(Secret, Duration), Failure> {
    let failure = |problem: String| Failure { is_refusal: false, problem };
    let reply = upstream.ask(request, TIME).await.map_err(|error| failure(error.to_string()))?;
    match reply.status {
        status if status.is_success() => {}
        status => {
            // RFC 6749, section 5.2, has 400 and 401 for a client that it does not know.
            let refusals = [StatusCode::BAD_REQUEST, StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN];
            return Err(Failure { is_refusal: refusals.contains(&status), ..failure(format!("it answers {status}")) });
        }
    }
    let read = read(&reply.body, reading).map_err(|problem| failure(problem.to_owned()));
    // Where nobody else holds it; the buffers of a connection go on to its next answer.
    if let Ok(mut body) = reply.body.try_into_mut() {
        body.zeroize();
    }
    read
}

fn read(body: &[u8], reading: &Reading) -> Result<(Secret, Duration), &'static str> {
    let text = std::str::from_utf8(body).map_err(|_| "its answer is no text")?;
    let token = json::text_at(text, &reading.token).ok_or("its answer has no token where one should be")?;
    let token = Secret::parse(Zeroizing::new(token.into_owned().into_bytes()));
    let token = token.map_err(|_| "the token in its answer is none that could be sent")?;
    let named = reading.expires_in.as_ref().and_then(|path| json::text_at(text, path)?.parse::<Value>().ok()?.as_f64());
    let lifetime = match named {
        None => reading.lifetime,
        Some(seconds) if seconds >= SHORTEST.as_secs_f64() => {
            Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST).min(LONGEST)
        }
        Some(_) => return Err("the token in its answer has ended already"),
    };
    Ok((token, lifetime))
}

/// For one exchange.
const TIME: Duration = Duration::from_secs(8);
/// Longer than the names and constants that such a body has.
const BODY: usize = 1024;
/// A token that is good for less would be renewed all the time.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(86_400);

#[cfg(test)]
mod tests {
    use super::*;

    fn reading() -> Reading {
        let path = |text: &str| vec![text.to_owned()];
        Reading { token: path("access_token"), expires_in: Some(path("expires_in")), lifetime: Duration::from_secs(60) }
    }

    #[test]
    fn an_answer_has_a_token_and_says_how_long_it_is_good() {
        for (body, expected) in [
            (r#"{"access_token":"abc","expires_in":3599}"#, Some(3599)),
            (r#"{"access_token":"abc","expires_in":"3599"}"#, Some(3599)),
            (r#"{"access_token":"abc"}"#, Some(60)),
            (r#"{"access_token":"abc","expires_in":1e300}"#, Some(86_400)),
            (r#"{"access_token":"abc","expires_in":0}"#, None),
            (r#"{"access_token":"abc","expires_in":-5}"#, Some(60)),
            (r#"{"access_token":""}"#, None),
            (r#"{"access_token":"a\nb"}"#, None),
            (r#"{"access_token":["abc"]}"#, None),
            (r#"{"token":"abc"}"#, None),
            ("<html>", None),
            ("", None),
        ] {
            let read = read(body.as_bytes(), &reading()).ok().map(|(_, lifetime)| lifetime.as_secs());
            assert_eq!(read, expected, "{body}");
        }
        assert!(read(b"\xff", &reading()).is_err());
    }
}
