//! The handshake by which Meta makes sure that a callback URL belongs to the app's owner:
//! <https://developers.facebook.com/docs/graph-api/webhooks/getting-started>.

use std::net::IpAddr;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Response, header};
use subtle::{Choice, ConstantTimeEq};
use tokio::time::Instant;

use super::error::InboundError;
use super::offences::Offences;
use crate::credential::Credential;
use crate::listener::network_of;
use crate::query;
use crate::upstream::AnswerBody;

/// Answers `GET path?hub.mode=subscribe&hub.verify_token=T&hub.challenge=C` with exactly C where T
/// is the verify token. The application takes no part.
///
/// The right token is answered whatever came before it: behind a proxy, the provider and a guesser
/// may have one address.
///
/// # Errors
/// 403 for a wrong verify token or a malformed handshake; 429 for a wrong token of an address that
/// sent too many of them, until the minute has passed.
pub(super) fn answer(
    request: &Parts,
    credential: &Credential,
    secret: &str,
    guesses: &Offences<IpAddr>,
    address: Option<IpAddr>,
) -> Result<Response<AnswerBody>, InboundError> {
    let challenge = challenge_of(request, credential, secret).map_err(|error| match error {
        InboundError::WrongVerifyToken if is_over(guesses, address) => InboundError::TooManyGuesses,
        error => error,
    })?;
    let mut response = Response::new(AnswerBody::Whole(Bytes::from(challenge)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Returns true if an address has used up its guesses of a minute.
fn is_over(guesses: &Offences<IpAddr>, address: Option<IpAddr>) -> bool {
    address.is_some_and(|address| guesses.is_over(&network_of(address), Instant::now()))
}

fn challenge_of(
    request: &Parts,
    credential: &Credential,
    secret: &str,
) -> Result<String, InboundError> {
    let query = request.uri.query().unwrap_or_default();
    // A probe of a load balancer or a browser names no token, and guesses nothing.
    if !query::fields(query).any(|pair| pair.name() == VERIFY_TOKEN) {
        return Err(InboundError::HandshakeRefused);
    }
    let token = only_value(query, VERIFY_TOKEN).ok_or(InboundError::WrongVerifyToken)?;
    if !is_accepted(credential, secret, &token) {
        let is_unread = credential
            .faults()
            .iter()
            .any(|fault| fault.secret == *secret);
        return Err(if is_unread {
            InboundError::VerifyTokenMissing
        } else {
            InboundError::WrongVerifyToken
        });
    }
    let malformed = |parameter| InboundError::HandshakeMalformed { parameter };
    only_value(query, MODE)
        .filter(|mode| mode == "subscribe")
        .ok_or(malformed(MODE))?;
    only_value(query, CHALLENGE)
        .filter(|challenge| is_plain(challenge))
        .ok_or(malformed(CHALLENGE))
}

/// Returns the value of a parameter found exactly once.
fn only_value(query: &str, name: &str) -> Option<String> {
    let mut values = query::fields(query)
        .filter(|pair| pair.name() == name)
        .map(|pair| pair.value().into_owned());
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

/// Returns true if the token is the current verify token or an accepted earlier version. All
/// versions are compared even after a match, so the time taken tells nothing.
fn is_accepted(credential: &Credential, secret: &str, token: &str) -> bool {
    let mut accepted = Choice::from(0);
    for (_, version) in credential.accepted(secret) {
        #[expect(
            clippy::disallowed_methods,
            reason = "the token that the provider names must be compared with the secret"
        )]
        let expected = version.secret().expose().as_bytes();
        accepted |= expected.ct_eq(token.as_bytes());
    }
    accepted.into()
}

/// Returns true for a challenge safe to send back. Meta's challenge is a number; text that
/// a browser could take for a page is refused.
fn is_plain(challenge: &str) -> bool {
    let is_plain_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.=+/:".contains(&byte);
    (1..=MAX_CHALLENGE).contains(&challenge.len()) && challenge.bytes().all(is_plain_byte)
}

/// The parameter with the verify token.
const VERIFY_TOKEN: &str = "hub.verify_token";
/// The parameter with the purpose of the request.
const MODE: &str = "hub.mode";
/// The parameter whose value is the answer.
const CHALLENGE: &str = "hub.challenge";
/// The bound on a challenge, in bytes; Meta's have some ten digits.
const MAX_CHALLENGE: usize = 256;
