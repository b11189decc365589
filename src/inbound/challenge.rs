//! The handshake with which Meta makes sure that a callback URL is its owner's:
//! <https://developers.facebook.com/docs/graph-api/webhooks/getting-started>.

use std::net::IpAddr;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Response, header};
use subtle::{Choice, ConstantTimeEq};

use super::error::InboundError;
use super::offences::Offences;
use crate::credential::Credential;
use crate::listener::network_of;
use crate::query;
use crate::upstream::AnswerBody;

/// Answers `GET path?hub.mode=subscribe&hub.verify_token=T&hub.challenge=C` with exactly C where T is
/// the verify token; no application is needed. Who guesses wrong too often is not listened to for the
/// rest of the minute.
///
/// # Errors
/// 403 and 429.
pub(super) fn answer(
    request: &Parts,
    credential: &Credential,
    secret: &str,
    guesses: &Offences<IpAddr>,
    address: Option<IpAddr>,
) -> Result<Response<AnswerBody>, InboundError> {
    if address.is_some_and(|address| guesses.is_over(&network_of(address))) {
        return Err(InboundError::TooManyGuesses);
    }
    let text = request.uri.query().unwrap_or_default();
    let (mode, token, challenge) =
        (only(text, "hub.mode"), only(text, "hub.verify_token"), only(text, "hub.challenge"));
    let (Some(mode), Some(token), Some(challenge)) = (mode, token, challenge) else {
        return Err(InboundError::HandshakeRefused);
    };
    if mode != "subscribe" || !is_accepted(credential, secret, &token) || !is_plain(&challenge) {
        return Err(InboundError::HandshakeRefused);
    }
    let mut response = Response::new(AnswerBody::Whole(Bytes::from(challenge)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// The value of a parameter that is there exactly once.
fn only(text: &str, name: &str) -> Option<String> {
    let mut values = query::fields(text).filter(|pair| pair.name() == name).map(|pair| pair.value().into_owned());
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

/// Whether the token is the current verify token or one of those accepted beside it; each is compared,
/// whatever the others said.
fn is_accepted(credential: &Credential, secret: &str, token: &str) -> bool {
    let mut accepted = Choice::from(0);
    for (_, held) in credential.accepted(secret) {
        #[expect(clippy::disallowed_methods, reason = "what the provider names must be compared with it")]
        let expected = held.secret().expose().as_bytes();
        accepted |= expected.ct_eq(token.as_bytes());
    }
    accepted.into()
}

/// Meta's challenge is a number. Nothing that a browser could take for a page is sent back.
fn is_plain(challenge: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.=+/:".contains(&byte);
    (1..=256).contains(&challenge.len()) && challenge.bytes().all(plain)
}
