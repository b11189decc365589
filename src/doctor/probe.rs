//! The probes of a webhook: requests as a provider would send them, genuine and forged.

use std::fmt;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use bytes::Bytes;
use data_encoding::{BASE64, HEXLOWER};
use http::{HeaderName, Method, header};
use zeroize::Zeroizing;

use super::public_url::PublicUrl;
use crate::config::WebhookPath;
use crate::credential::Credential;
use crate::inbound::probe::ProbeMark;
use crate::inbound::sign::{HeaderLine, SignError, UnsignedEvent, sign};
use crate::provider::webhook::{
    Algorithm, Scheme, SchemeKind, StaticToken, TokenPlace, WebhookSpec,
};
use crate::secret::{Secret, SecretError};
use crate::upstream::{Outgoing, OutgoingBody, RequestLine, USER_AGENT};

/// The maker of probes for one webhook.
pub(super) struct ProbeMaker<'p> {
    pub(super) url: &'p PublicUrl,
    pub(super) credential: &'p Credential,
    pub(super) spec: &'p WebhookSpec,
    /// The scheme of the signatures: one whose secret the credential has.
    pub(super) scheme: &'p Scheme,
}

/// The key that signs a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProbeKey {
    /// The secret of the credential.
    Own,
    /// A key made for the moment, which is nobody's.
    Forged,
}

/// Returns the scheme of probes at a webhook with this path: a signature, or else a fixed token;
/// `None` if the credential has the secret of no scheme.
pub(super) fn scheme_of<'p>(
    spec: &'p WebhookSpec,
    credential: &Credential,
    path: &WebhookPath,
) -> Option<&'p Scheme> {
    let has_secret = |scheme: &&Scheme| credential.current(&scheme.secret).is_some();
    let signs = |scheme: &&Scheme| !matches!(scheme.kind, SchemeKind::Static(_));
    // The token stands in the path exactly where the path of the webhook says so.
    let fits = |scheme: &&Scheme| match &scheme.kind {
        SchemeKind::Static(token) => (token.place == TokenPlace::Path) == path.token,
        _ => true,
    };
    let mut usable = spec.schemes.iter().filter(has_secret).filter(fits);
    usable.clone().find(signs).or_else(|| usable.next())
}

/// Returns the reason for which nobody but the provider can make a genuine event of a scheme;
/// `None` if Keyside can.
pub(super) fn unprobable(scheme: &Scheme) -> Option<&'static str> {
    match &scheme.kind {
        SchemeKind::Signature(signature) if signature.algorithm == Algorithm::Ed25519 => {
            Some("the provider signs with a private key, which nobody else has")
        }
        SchemeKind::Static(token) if !token.addresses.is_empty() => {
            Some("events are accepted from the provider's addresses alone")
        }
        _ => None,
    }
}

impl ProbeMaker<'_> {
    /// True if the provider's events are forms, which are small.
    pub(super) fn sends_forms(&self) -> bool {
        matches!(self.scheme.kind, SchemeKind::UrlParams(_))
    }

    /// Makes a probe of `length` bytes at least, signed with a key.
    ///
    /// # Errors
    /// If the signature cannot be made.
    pub(super) fn event(
        &self,
        mark: &ProbeMark,
        length: usize,
        key: ProbeKey,
        random: [u8; 32],
    ) -> Result<Outgoing, ProbeError> {
        let is_form = self.sends_forms();
        let body = if is_form {
            mark.form()
        } else {
            mark.json(length)
        };
        let forged;
        let secret = match key {
            ProbeKey::Own => self
                .credential
                .current(&self.scheme.secret)
                .ok_or(ProbeError::MissingSecret)?,
            ProbeKey::Forged => {
                forged = self.forged_secret(random)?;
                &forged
            }
        };
        let content_type = if is_form {
            "application/x-www-form-urlencoded"
        } else {
            "application/json"
        };
        if let SchemeKind::Static(token) = &self.scheme.kind {
            return Ok(self.with_token(token, secret, body, content_type));
        }
        let only = WebhookSpec {
            schemes: vec![self.scheme.clone()],
            ..self.spec.clone()
        };
        let event = UnsignedEvent {
            body: &body,
            is_form,
            url: Some(&self.url.whole),
            time: std::time::SystemTime::now(),
            nonce: mark.as_str(),
            id: mark.as_str(),
        };
        let lines = sign(&only, secret, &event).map_err(ProbeError::Signature)?;
        let mut line = RequestLine::new(Method::POST, OutgoingBody::Whole(body));
        line.target(&self.url.target);
        Ok(self.finish(line, content_type, &lines))
    }

    /// Makes a secret in the form of the scheme's keys.
    fn forged_secret(&self, random: [u8; 32]) -> Result<Secret, ProbeError> {
        let text = match &self.scheme.kind {
            SchemeKind::Signature(signature) if signature.algorithm == Algorithm::Ed25519 => {
                let pair = Ed25519KeyPair::from_seed_unchecked(&random)
                    .map_err(|_| ProbeError::Signature(SignError::Key("an Ed25519 seed")))?;
                BASE64.encode(&[&random[..], pair.public_key().as_ref()].concat())
            }
            SchemeKind::Signature(signature) => {
                format!("{}{}", signature.key_prefix, BASE64.encode(&random))
            }
            // Hexadecimal digits may stand in a path as they are.
            _ => HEXLOWER.encode(&random),
        };
        Secret::parse(Zeroizing::new(text.into_bytes())).map_err(ProbeError::ForgedSecret)
    }

    fn finish(&self, line: RequestLine, content_type: &str, lines: &[HeaderLine]) -> Outgoing {
        let mut head = line.headers(&self.url.origin.authority());
        head.header(&header::USER_AGENT, USER_AGENT);
        head.header(&header::ACCEPT_ENCODING, "identity");
        head.header(&header::CONTENT_TYPE, content_type);
        if let Some(user) = &self.url.user {
            let value = Zeroizing::new(format!("Basic {}", BASE64.encode(user.as_bytes())));
            head.secret_header(&header::AUTHORIZATION, &value);
        }
        for HeaderLine { name, value } in lines {
            if let Ok(name) = HeaderName::from_bytes(name.as_bytes()) {
                head.header(&name, value);
            }
        }
        head.finish()
    }

    /// Makes an event with the fixed token of a provider without signatures.
    fn with_token(
        &self,
        token: &StaticToken,
        secret: &Secret,
        body: Bytes,
        content_type: &str,
    ) -> Outgoing {
        #[expect(
            clippy::disallowed_methods,
            reason = "a provider without signatures sends the secret itself, and so does its probe"
        )]
        let text = secret.expose();
        let mut line = RequestLine::new(Method::POST, OutgoingBody::Whole(body));
        match &token.place {
            TokenPlace::Path => {
                line.target(self.url.before_token());
                line.secret_segment(text);
            }
            _ => line.target(&self.url.target),
        }
        if let TokenPlace::Query(name) = &token.place {
            line.secret_parameter(name, text);
        }
        let mut head = line.headers(&self.url.origin.authority());
        head.header(&header::USER_AGENT, USER_AGENT);
        head.header(&header::ACCEPT_ENCODING, "identity");
        head.header(&header::CONTENT_TYPE, content_type);
        match &token.place {
            TokenPlace::Header(name) => head.secret_header(name, text),
            TokenPlace::Basic => {
                let value = Zeroizing::new(format!("Basic {}", BASE64.encode(text.as_bytes())));
                head.secret_header(&header::AUTHORIZATION, &value);
            }
            TokenPlace::Query(_) | TokenPlace::Path => {}
        }
        head.finish()
    }

    /// Makes a handshake, with the verify token or with a forged one.
    pub(super) fn handshake(
        &self,
        challenge: &str,
        key: ProbeKey,
        random: [u8; 32],
    ) -> Option<Outgoing> {
        let secret = self.spec.challenge.as_deref()?;
        let mut line = RequestLine::new(Method::GET, OutgoingBody::empty());
        line.target(&self.url.target);
        line.query("hub.mode=subscribe");
        line.query(&format!("hub.challenge={challenge}"));
        match key {
            ProbeKey::Forged => {
                line.query(&format!("hub.verify_token={}", HEXLOWER.encode(&random)))
            }
            ProbeKey::Own => {
                #[expect(
                    clippy::disallowed_methods,
                    reason = "the provider sends the verify token in the handshake, and so does the probe"
                )]
                let token = self.credential.current(secret)?.expose();
                line.secret_parameter("hub.verify_token", token);
            }
        }
        let mut head = line.headers(&self.url.origin.authority());
        head.header(&header::USER_AGENT, USER_AGENT);
        head.header(&header::ACCEPT_ENCODING, "identity");
        Some(head.finish())
    }
}

/// The reason why a probe cannot be made.
#[derive(Debug)]
pub(super) enum ProbeError {
    /// The credential has no secret to sign with.
    MissingSecret,
    /// The form of the scheme's keys is none of a secret.
    ForgedSecret(SecretError),
    /// The signature cannot be made.
    Signature(SignError),
}

impl fmt::Display for ProbeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingSecret => f.write_str("the secret is missing"),
            Self::ForgedSecret(error) => fmt::Display::fmt(error, f),
            Self::Signature(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl std::error::Error for ProbeError {}
