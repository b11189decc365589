//! A query to a provider that Keyside makes for itself, with a credential.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, header};
use serde_json::Value;
use zeroize::{Zeroize, Zeroizing};

use super::error::QueryError;
use crate::credential::{MissingSecret, SecretRefusal, SecretSet, TokenFacts, Verdict};
use crate::provider::{Inject, Meaning, Template};
use crate::upstream::{ClockReading, Outgoing, OutgoingBody, RequestLine, USER_AGENT, Upstream};

/// The credential and the upstream of queries to a provider.
pub struct ProviderQuery<'a> {
    /// The secrets of the query.
    pub secrets: SecretSet<'a>,
    /// The upstream that answers the query.
    pub upstream: &'a Arc<Upstream>,
    /// The value for the Host header.
    pub host: &'a str,
}

impl ProviderQuery<'_> {
    /// Sends a GET with the credential, and returns the JSON of the answer, which may be the
    /// provider's error.
    ///
    /// # Errors
    /// No answer, or an answer that is not JSON.
    pub async fn get(&self, target: &str) -> Result<Value, QueryError> {
        self.send(target, &[], self.injections()).await
    }

    /// Sends a GET with these parameters and no credential, whose answer may hold a new token.
    pub(super) async fn get_with_parameters(
        &self,
        target: &str,
        parameters: &[(&str, &str)],
    ) -> Result<Value, QueryError> {
        let clock = self.upstream.read_clock();
        let request = self.compose(target, parameters, &[], clock)?;
        let reply = self.upstream.ask_for_secret(request, QUERY_TIMEOUT).await?;
        let answer = serde_json::from_slice(&reply.body).map_err(|_| QueryError::NotJson);
        if let Ok(mut body) = reply.body.try_into_mut() {
            body.zeroize();
        }
        answer
    }

    /// Asks Graph's `debug_token` about a token.
    pub(super) async fn debug_token(&self, token: &str) -> Result<Value, QueryError> {
        let parameters = [("input_token", token)];
        self.send("/debug_token", &parameters, self.injections())
            .await
    }

    /// Asks Graph for the webhooks of an app, with the app's own token: the id and the secret of
    /// the app. <https://developers.facebook.com/docs/graph-api/reference/app/subscriptions>
    ///
    /// # Errors
    /// No app secret, no answer, or an answer that is not JSON.
    pub async fn app_subscriptions(&self, app: &str) -> Result<Value, QueryError> {
        let token = Zeroizing::new(format!("{app}|{}", self.app_secret()?));
        let parameters = [("access_token", token.as_str())];
        let target = format!("/{app}/subscriptions");
        self.send(&target, &parameters, &[]).await
    }

    /// Sends a GET with the credential. A success proves that the provider accepts the credential.
    pub(super) async fn verify_by_get(&self, path: &Template) -> Verdict {
        let Some(path) = path.text() else {
            return Verdict::Unproved("the account lacks a value to ask with".to_owned());
        };
        let clock = self.upstream.read_clock();
        let request = match self.compose(&path, &[], self.injections(), clock) {
            Ok(request) => request,
            Err(missing) => return Verdict::Unproved(QueryError::from(missing).to_string()),
        };
        let reply = match self.upstream.ask(request, QUERY_TIMEOUT).await {
            Ok(reply) => reply,
            Err(error) => return Verdict::Unproved(error.to_string()),
        };
        if reply.status.is_success() {
            return Verdict::Proved(TokenFacts::default());
        }
        let body = serde_json::from_slice(&reply.body).unwrap_or_default();
        let status = reply.status.as_u16();
        let errors = &self.secrets.credential().provider.errors;
        match errors.meaning(status, None, &body) {
            Meaning::CredentialRefused => Verdict::Refused(SecretRefusal::new(format!(
                "the provider refuses it (status {status})"
            ))),
            _ => Verdict::Unproved(format!("the question was answered with {status}")),
        }
    }

    /// Returns the value of the app secret.
    pub(super) fn app_secret(&self) -> Result<&str, QueryError> {
        let (_, app_secret) = self.secret_names();
        Ok(self.secrets.expose(app_secret)?)
    }

    /// Returns the value of the token.
    pub(super) fn token(&self) -> Result<&str, QueryError> {
        let (token, _) = self.secret_names();
        Ok(self.secrets.expose(token)?)
    }

    /// Returns the verdict that blames the token.
    pub(super) fn refuses_token(&self, reason: impl Into<String>) -> Verdict {
        let (token, _) = self.secret_names();
        Verdict::Refused(SecretRefusal::of(token, reason))
    }

    /// Returns the verdict against a token that is good, and not for a sender.
    pub(super) fn refuses_token_for_sender(&self, reason: String) -> Verdict {
        let (token, _) = self.secret_names();
        Verdict::Refused(SecretRefusal {
            is_of_sender: true,
            ..SecretRefusal::of(token, reason)
        })
    }

    /// Returns the verdict that blames the app secret: the proof was made with a secret other than
    /// the app's.
    pub(super) fn refuses_proof_key(&self) -> Verdict {
        let (_, app_secret) = self.secret_names();
        let reason = "the app secret is not that of the token's app: it was probably reset at the provider, \
                      or belongs to another app";
        Verdict::Refused(SecretRefusal::of(app_secret, reason))
    }

    /// Returns the provider's names for its token and app secret.
    fn secret_names(&self) -> (&str, &str) {
        let names = self.injections().iter().find_map(|inject| match inject {
            Inject::AppSecretProof { token, key } => Some((token.as_str(), key.as_str())),
            _ => None,
        });
        names.unwrap_or(("token", "app_secret"))
    }

    /// Returns the injections that give a request the credential.
    fn injections(&self) -> &[Inject] {
        &self.secrets.provider().inject
    }

    async fn send(
        &self,
        target: &str,
        parameters: &[(&str, &str)],
        injections: &[Inject],
    ) -> Result<Value, QueryError> {
        let (answer, clock_was_off) = self.send_once(target, parameters, injections).await?;
        // Graph judges the proof by Graph's clock. The answer has just corrected the clock of the
        // upstream, so the next proof has the right time.
        if clock_was_off && refuses_proof(&answer) {
            let (answer, _) = self.send_once(target, parameters, injections).await?;
            return Ok(answer);
        }
        Ok(answer)
    }

    /// Returns the answer, and true if the request was signed by a time other than the provider's.
    async fn send_once(
        &self,
        target: &str,
        parameters: &[(&str, &str)],
        injections: &[Inject],
    ) -> Result<(Value, bool), QueryError> {
        let clock = self.upstream.read_clock();
        let request = self.compose(target, parameters, injections, clock)?;
        let reply = self.upstream.ask(request, QUERY_TIMEOUT).await?;
        let answer = serde_json::from_slice(&reply.body).map_err(|_| QueryError::NotJson)?;
        Ok((answer, clock.was_wrong(reply.date)))
    }

    fn compose(
        &self,
        target: &str,
        parameters: &[(&str, &str)],
        injections: &[Inject],
        clock: ClockReading,
    ) -> Result<Outgoing, MissingSecret> {
        let mut line = RequestLine::new(Method::GET, OutgoingBody::empty());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        line.target(path);
        line.query(query);
        for (name, value) in parameters {
            line.secret_parameter(name, value);
        }
        for inject in injections {
            match inject {
                Inject::AppSecretProof { token, key } => {
                    if let Some(proof) = self.secrets.app_secret_proof(token, key, clock.time)? {
                        line.query(&proof);
                    }
                }
                Inject::Query { name, value } => {
                    line.secret_parameter_with(name, |parameter| {
                        self.secrets.render(value, |text| parameter.push(text))
                    })?;
                }
                Inject::Header { .. } | Inject::JsonField { .. } | Inject::FormField { .. } => {}
            }
        }
        let mut head = line.headers(self.host);
        head.header(&header::ACCEPT_ENCODING, "identity");
        head.header(&header::ACCEPT, "application/json");
        head.header(&header::USER_AGENT, USER_AGENT);
        for inject in injections {
            if let Inject::Header { name, value } = inject {
                head.secret_header_with(name, |header| {
                    self.secrets.render(value, |text| header.push(text))
                })?;
            }
        }
        Ok(head.finish())
    }
}

/// True if Graph refuses the proof of a request. Every wrong parameter has this code; only the
/// message names the proof.
pub(super) fn refuses_proof(answer: &Value) -> bool {
    let message = answer.pointer("/error/message").and_then(Value::as_str);
    number_at(answer, "/error/code") == Some(100)
        && message.is_some_and(|message| message.contains("appsecret_proof"))
}

/// Returns a number of an answer.
pub fn number_at(answer: &Value, pointer: &str) -> Option<i64> {
    answer.pointer(pointer).and_then(Value::as_i64)
}

/// The time for one query. Only a reload waits for queries, and asks all providers at the same
/// time.
const QUERY_TIMEOUT: Duration = Duration::from_secs(5);
