//! The exchange of secrets for an access token: OAuth 2 client credentials (RFC 6749, section 4.4),
//! or a login.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode, header};
use serde_json::Value;
use zeroize::{Zeroize, Zeroizing};

use super::super::missing::MissingSecret;
use super::super::secret_set::SecretSet;
use super::error::ExchangeFailure;
use crate::json::{self, RawObject};
use crate::provider::Inject;
use crate::provider::access::TokenExchange;
use crate::query;
use crate::secret::Secret;
use crate::upstream::{Outgoing, OutgoingBody, RequestLine, USER_AGENT, Upstream};

/// The places of token and lifetime in the issuer's answer.
///
/// A copy of the configuration, because an exchange under way outlives a reload.
pub(super) struct AnswerFields {
    token: Vec<String>,
    expires_in: Option<Vec<String>>,
    /// The lifetime of a token if the answer tells no time.
    default_lifetime: Duration,
}

impl AnswerFields {
    /// Copies the places from the provider's definition.
    pub(super) fn of(exchange: &TokenExchange) -> Self {
        Self {
            token: exchange.token.clone(),
            expires_in: exchange.expires_in.clone(),
            default_lifetime: exchange.lifetime,
        }
    }
}

/// Composes the request for a token.
///
/// # Errors
/// If the secret set lacks a secret for the request.
pub(super) fn compose(
    exchange: &TokenExchange,
    sent: SecretSet<'_>,
    host: &str,
) -> Result<Outgoing, MissingSecret> {
    let (media_type, body) = body(exchange, sent)?;
    let mut line = RequestLine::new(Method::POST, OutgoingBody::Secret(body));
    line.target(&exchange.path);
    for inject in &exchange.inject {
        if let Inject::Query { name, value } = inject {
            line.secret_parameter_with(name, |parameter| {
                sent.render(value, |text| parameter.push(text))
            })?;
        }
    }
    let mut head = line.headers(host);
    head.header(&header::ACCEPT_ENCODING, "identity");
    head.header(&header::ACCEPT, "application/json");
    head.header(&header::USER_AGENT, USER_AGENT);
    head.header(&header::CONTENT_TYPE, media_type);
    for inject in &exchange.inject {
        if let Inject::Header { name, value } = inject {
            head.secret_header_with(name, |header| sent.render(value, |text| header.push(text)))?;
        }
    }
    Ok(head.finish())
}

/// Composes the body: a form, or JSON if any injection goes into a JSON field.
fn body(
    exchange: &TokenExchange,
    sent: SecretSet<'_>,
) -> Result<(&'static str, Zeroizing<String>), MissingSecret> {
    let mut form = Zeroizing::new(String::with_capacity(MAX_BODY_TEXT + 4 * sent.length()));
    let mut object = None;
    for inject in &exchange.inject {
        match inject {
            Inject::FormField { name, value } => {
                query::begin_pair(&mut form, name);
                sent.render(value, |text| form.extend(query::encode(text)))?;
            }
            Inject::JsonField { pointer, value } => {
                let before: Zeroizing<String> = object
                    .take()
                    .unwrap_or_else(|| Zeroizing::new("{}".to_owned()));
                let mut text = Zeroizing::new(String::with_capacity(MAX_BODY_TEXT));
                sent.render(value, |piece| text.push_str(piece))?;
                let mut changed =
                    RawObject::parse(&before).ok_or_else(|| MissingSecret(pointer.join("/")))?;
                if !changed.set_string_at(pointer, &text) {
                    return Err(MissingSecret(pointer.join("/")));
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

/// Sends the request, and returns the token with the lifetime.
///
/// # Errors
/// If the issuer gives no answer, refuses the secrets, or answers without a usable token.
pub(super) async fn request_token(
    upstream: &Arc<Upstream>,
    request: Outgoing,
    fields: &AnswerFields,
) -> Result<(Secret, Duration), ExchangeFailure> {
    let failure = |problem: String| ExchangeFailure {
        is_refusal: false,
        problem,
    };
    let reply = upstream
        .ask_for_secret(request, EXCHANGE_TIMEOUT)
        .await
        .map_err(|error| failure(error.to_string()))?;
    if !reply.status.is_success() {
        return Err(ExchangeFailure {
            is_refusal: REFUSALS.contains(&reply.status),
            ..failure(format!("it answers {}", reply.status))
        });
    }
    let token = parse_answer(&reply.body, fields).map_err(|fault| failure(fault.to_string()));
    // The body holds the token. No connection shares the buffer any more.
    if let Ok(mut body) = reply.body.try_into_mut() {
        body.zeroize();
    }
    token
}

/// The fault of an issuer's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AnswerFault {
    /// The answer is not UTF-8.
    NotText,
    /// The answer has no token at the configured place.
    NoToken,
    /// The token has characters that no header may have.
    UnfitToken,
    /// The lifetime of the token is over.
    EndedToken,
}

impl fmt::Display for AnswerFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotText => "its answer is no text",
            Self::NoToken => "its answer has no token where one should be",
            Self::UnfitToken => "the token in its answer cannot be sent in a header",
            Self::EndedToken => "the token in its answer has ended already",
        })
    }
}

/// Reads token and lifetime from the issuer's answer.
fn parse_answer(body: &[u8], fields: &AnswerFields) -> Result<(Secret, Duration), AnswerFault> {
    let text = std::str::from_utf8(body).map_err(|_| AnswerFault::NotText)?;
    let written = json::text_at(text, &fields.token).ok_or(AnswerFault::NoToken)?;
    let bytes = Zeroizing::new(written.into_owned().into_bytes());
    let token = Secret::parse(bytes).map_err(|_| AnswerFault::UnfitToken)?;
    let seconds = fields
        .expires_in
        .as_ref()
        .and_then(|path| json::text_at(text, path)?.parse::<Value>().ok()?.as_f64());
    let lifetime = match seconds {
        None => fields.default_lifetime,
        Some(seconds) if seconds >= MIN_LIFETIME.as_secs_f64() => {
            Duration::try_from_secs_f64(seconds)
                .unwrap_or(MAX_LIFETIME)
                .min(MAX_LIFETIME)
        }
        Some(_) => return Err(AnswerFault::EndedToken),
    };
    Ok((token, lifetime))
}

/// The statuses for refused secrets: RFC 6749, section 5.2, has 400 and 401 for an unknown client.
const REFUSALS: [StatusCode; 3] = [
    StatusCode::BAD_REQUEST,
    StatusCode::UNAUTHORIZED,
    StatusCode::FORBIDDEN,
];
/// The time for an exchange: less than a request waits for a token.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(8);
/// An upper bound for the names and fixed texts of a body, in bytes: the buffer then never grows.
const MAX_BODY_TEXT: usize = 1024;
/// The shortest lifetime to believe: less would mean an exchange for every request.
const MIN_LIFETIME: Duration = Duration::from_secs(1);
/// The longest lifetime to believe: a token is renewed daily at the latest.
const MAX_LIFETIME: Duration = Duration::from_secs(86_400);

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> AnswerFields {
        AnswerFields {
            token: vec!["access_token".to_owned()],
            expires_in: Some(vec!["expires_in".to_owned()]),
            default_lifetime: Duration::from_secs(60),
        }
    }

    #[test]
    fn an_answer_needs_a_token_and_may_tell_its_lifetime() {
        for (body, expected) in [
            (r#"{"access_token":"abc","expires_in":3599}"#, Ok(3599)),
            (r#"{"access_token":"abc","expires_in":"3599"}"#, Ok(3599)),
            (r#"{"access_token":"abc"}"#, Ok(60)),
            (r#"{"access_token":"abc","expires_in":1e300}"#, Ok(86_400)),
            (
                r#"{"access_token":"abc","expires_in":0}"#,
                Err(AnswerFault::EndedToken),
            ),
            (r#"{"access_token":"abc","expires_in":-5}"#, Ok(60)),
            (r#"{"access_token":""}"#, Err(AnswerFault::UnfitToken)),
            (r#"{"access_token":"a\nb"}"#, Err(AnswerFault::UnfitToken)),
            (r#"{"access_token":["abc"]}"#, Err(AnswerFault::NoToken)),
            (r#"{"token":"abc"}"#, Err(AnswerFault::NoToken)),
            ("<html>", Err(AnswerFault::NoToken)),
            ("", Err(AnswerFault::NoToken)),
        ] {
            let lifetime =
                parse_answer(body.as_bytes(), &fields()).map(|(_, lifetime)| lifetime.as_secs());
            assert_eq!(lifetime, expected, "{body}");
        }
        let not_text = parse_answer(b"\xff", &fields()).map(drop);
        assert_eq!(not_text, Err(AnswerFault::NotText));
    }
}
