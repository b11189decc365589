//! A question to a provider, which Keyside asks by itself.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde_json::Value;

use crate::credential::{Facts, Missing, Sent, Verdict};
use crate::provider::{Inject, Meaning, Template};
use crate::query;
use crate::upstream::{Head, Outgoing, OutgoingBody, Upstream};

/// Whom to ask, and with what.
pub struct Question<'a> {
    /// The secrets.
    pub sent: Sent<'a>,
    /// Where.
    pub upstream: &'a Arc<Upstream>,
    /// Its name.
    pub host: &'a str,
}

impl Question<'_> {
    /// The answer to a GET with the credential.
    pub(super) async fn get(&self, target: &str) -> Result<Value, String> {
        self.ask(target, &[], true).await
    }

    /// Whether the provider takes the credential: any success of a GET says so.
    pub(super) async fn is_taken(&self, path: &Template) -> Verdict {
        let asked = path.text().ok_or_else(|| "the account lacks a value to ask with".to_owned());
        let asked = asked.and_then(|path| self.compose(&path, &[], true).map_err(missing));
        let request = match asked {
            Ok(request) => request,
            Err(reason) => return Verdict::Unproved(reason),
        };
        let reply = match self.upstream.ask(request, TIME).await {
            Ok(reply) => reply,
            Err(error) => return Verdict::Unproved(error.to_string()),
        };
        let body = serde_json::from_slice(&reply.body).unwrap_or_default();
        let status = reply.status.as_u16();
        match self.sent.credential().provider.errors.meaning(status, None, &body) {
            _ if reply.status.is_success() => Verdict::Proved(Facts::default()),
            Meaning::CredentialRefused => Verdict::Refused(format!("the provider refuses it (status {status})")),
            _ => Verdict::Unproved(format!("the question was answered with {status}")),
        }
    }

    /// The same, with the token as a parameter of the question too.
    pub(super) async fn about_itself(&self, target: &str, parameter: &str) -> Result<Value, String> {
        let (token, _) = self.names();
        let token = self.sent.expose(token).map_err(missing)?;
        self.about(target, parameter, token).await
    }

    /// The same with another token as the parameter.
    pub(super) async fn about(&self, target: &str, parameter: &str, token: &str) -> Result<Value, String> {
        self.ask(target, &[(parameter, token)], true).await
    }

    /// The answer to a GET with nothing but these parameters.
    pub(super) async fn get_with(&self, target: &str, parameters: &[(&str, &str)]) -> Result<Value, String> {
        self.ask(target, parameters, false).await
    }

    /// The value of the app secret.
    pub(super) fn app_secret(&self) -> Result<&str, String> {
        self.sent.expose(self.names().1).map_err(missing)
    }

    /// The value of the token.
    pub(super) fn token(&self) -> Result<&str, String> {
        self.sent.expose(self.names().0).map_err(missing)
    }

    /// What the provider calls its token and its app secret.
    fn names(&self) -> (&str, &str) {
        let inject = &self.sent.credential().provider.inject;
        let names = inject.iter().find_map(|inject| match inject {
            Inject::AppSecretProof { token, key } => Some((token.as_str(), key.as_str())),
            _ => None,
        });
        names.unwrap_or(("token", "app_secret"))
    }

    async fn ask(&self, target: &str, parameters: &[(&str, &str)], signed: bool) -> Result<Value, String> {
        let (answer, clock_was_off) = self.ask_once(target, parameters, signed).await?;
        // The answer tells what time it is there, by which the proof in the question was judged.
        if clock_was_off && refuses_proof(&answer) {
            return self.ask_once(target, parameters, signed).await.map(|(answer, _)| answer);
        }
        Ok(answer)
    }

    async fn ask_once(&self, target: &str, parameters: &[(&str, &str)], signed: bool) -> Result<(Value, bool), String> {
        let request = self.compose(target, parameters, signed).map_err(missing)?;
        let reply = self.upstream.ask(request, TIME).await.map_err(|error| error.to_string())?;
        let answer = serde_json::from_slice(&reply.body).map_err(|_| "the answer is no JSON".to_owned())?;
        Ok((answer, reply.clock_was_off))
    }

    fn compose(&self, target: &str, parameters: &[(&str, &str)], signed: bool) -> Result<Outgoing, Missing> {
        let values: usize = parameters.iter().map(|(name, value)| name.len() + 3 * value.len() + 2).sum();
        let mut head = Head::with_capacity(1024 + target.len() + values + 8 * self.sent.length());
        head.push(b"GET ");
        head.push(target.as_bytes());
        let mut separator: &[u8] = if target.contains('?') { b"&" } else { b"?" };
        let mut begin = |head: &mut Head| head.push(std::mem::replace(&mut separator, b"&"));
        for (name, value) in parameters {
            begin(&mut head);
            head.push(name.as_bytes());
            head.push(b"=");
            query::encode(value).for_each(|piece| head.push_secret(piece.as_bytes()));
        }
        let inject = self.sent.credential().provider.inject.iter().filter(|_| signed);
        for inject in inject.clone() {
            match inject {
                Inject::AppSecretProof { token, key } => {
                    if let Some(proof) = self.sent.app_secret_proof(token, key, self.upstream.now())? {
                        begin(&mut head);
                        head.push(proof.as_bytes());
                    }
                }
                Inject::Query { name, value } => {
                    begin(&mut head);
                    query::encode(name).for_each(|piece| head.push(piece.as_bytes()));
                    head.push(b"=");
                    let mut push =
                        |text: &str| query::encode(text).for_each(|piece| head.push_secret(piece.as_bytes()));
                    self.sent.render(value, &mut push)?;
                }
                Inject::Header { .. } | Inject::JsonField { .. } | Inject::FormField { .. } => {}
            }
        }
        head.push(b" HTTP/1.1\r\nhost: ");
        head.push(self.host.as_bytes());
        head.push(b"\r\naccept: application/json\r\n");
        head.push(concat!("user-agent: keyside/", env!("CARGO_PKG_VERSION"), "\r\n").as_bytes());
        for inject in inject {
            if let Inject::Header { name, value } = inject {
                head.push(name.as_str().as_bytes());
                head.push(b": ");
                self.sent.render(value, |text| head.push_secret(text.as_bytes()))?;
                head.push(b"\r\n");
            }
        }
        head.push(b"\r\n");
        Ok(Outgoing::new(Method::GET, head, OutgoingBody::Whole(Bytes::new())))
    }
}

/// Whether Graph refuses the proof of a request. Meta says so in words only; the code is that of any wrong parameter.
pub(super) fn refuses_proof(answer: &Value) -> bool {
    let says_so = |message: &str| message.contains("appsecret_proof");
    answer.pointer("/error/code").and_then(Value::as_i64) == Some(100)
        && answer.pointer("/error/message").and_then(Value::as_str).is_some_and(says_so)
}

fn missing(Missing(secret): Missing) -> String {
    format!("there is no `{secret}` to ask with")
}

/// For one question.
const TIME: Duration = Duration::from_secs(5);
