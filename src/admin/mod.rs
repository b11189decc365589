//! What operators and orchestrators ask: whether it lives, whether it is ready, what it counts, what
//! it holds, and that it may reload.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use serde_json::json;

pub mod status;

use status::Parties;

use crate::limit::Usage;
use crate::metrics::{CredentialLabel, Metrics, SecretLabels, Used};
use crate::outbound::error::OutboundError;
use crate::outbound::guard::check_caller;
use crate::reload::Reloader;
use crate::response::{JSON, Kind, Refusal};

/// The admin listener's handler.
#[derive(Debug)]
pub struct Admin {
    reloader: Arc<Reloader>,
    metrics: Arc<Metrics>,
    draining: AtomicBool,
    started: std::time::Instant,
}

impl Admin {
    /// A handler that shows what `reloader` holds.
    #[must_use]
    pub fn new(reloader: Arc<Reloader>, metrics: Arc<Metrics>) -> Self {
        Self { reloader, metrics, draining: AtomicBool::new(false), started: std::time::Instant::now() }
    }

    /// From now on it is not ready.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Answers a request. Nothing changes over GET, and nothing that is shown is a secret.
    pub async fn handle(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let hosts: HashSet<String> = self.reloader.live().config.outbound.allowed_hosts.iter().cloned().collect();
        let caller = check_caller(request.headers(), &hosts);
        // This is no proxy: a target that names a host is meant for another.
        let target = if request.uri().authority().is_some() { Err(OutboundError::WrongHost) } else { Ok(()) };
        if let Err(error) = caller.and(target) {
            return error.refusal(None).to_response().map(Full::new);
        }
        let answer = match (request.method(), request.uri().path()) {
            (&Method::GET | &Method::HEAD, "/livez") => text(StatusCode::OK, "ok\n"),
            (&Method::GET | &Method::HEAD, "/readyz") => self.ready(),
            (&Method::GET | &Method::HEAD, "/metrics") => self.metrics(),
            (&Method::GET | &Method::HEAD, "/status") => self.status(request.uri().query().unwrap_or_default()),
            (&Method::POST, "/reload") => return self.reload().await.map(Full::new),
            (_, "/livez" | "/readyz" | "/metrics" | "/status") => wrong_method("GET, HEAD"),
            (_, "/reload") => wrong_method("POST"),
            _ => Refusal::new(
                NOT_FOUND,
                "there is nothing at this path",
                "ask for /livez, /readyz, /metrics, /status, or POST /reload",
            )
            .to_response(),
        };
        answer.map(Full::new)
    }

    fn ready(&self) -> Response<Bytes> {
        let mut reasons = Vec::new();
        if self.draining.load(Ordering::Relaxed) {
            reasons.push("draining: the sidecar is stopping".to_owned());
        }
        let live = self.reloader.live();
        for route in live.generation.policy.routes() {
            for missing in route.credential.missing() {
                let credential = &route.credential.name;
                let unread = live.unread().find(|unread| unread.credential == *credential && unread.secret == missing);
                let why = unread.map(|unread| format!(": `{}`: {}", unread.reference, unread.problem));
                let why = why.unwrap_or_default();
                reasons.push(format!("route {}: credential {credential} has no usable `{missing}`{why}", route.name));
            }
            if route.credential.standing().is_refused() {
                reasons
                    .push(format!("route {}: the provider refuses credential {}", route.name, route.credential.name));
            }
        }
        if reasons.is_empty() {
            return text(StatusCode::OK, "ready\n");
        }
        reasons.push(String::new());
        text(StatusCode::SERVICE_UNAVAILABLE, &reasons.join("\n"))
    }

    fn metrics(&self) -> Response<Bytes> {
        let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        let gauges = &self.metrics.credentials;
        // What is no longer there must not show as it last was.
        gauges.clear();
        for (name, credential) in &self.reloader.live().credentials {
            let label = CredentialLabel { credential: name.clone() };
            for (secret, slot) in credential.slots() {
                let labels = SecretLabels { credential: name.clone(), secret: secret.clone() };
                gauges.age.get_or_create(&labels).set(seconds(slot.current.age()));
            }
            gauges.max_age.get_or_create(&label).set(seconds(credential.max_age));
            if let Some(left) = credential.asked().and_then(|asked| asked.ends_in()) {
                gauges.expires.get_or_create(&label).set(seconds(left));
            }
            let usable = credential.missing().next().is_none() && !credential.standing().is_refused();
            gauges.usable.get_or_create(&label).set(i64::from(usable));
        }
        self.set_limits();
        let mut response = Response::new(Bytes::from(self.metrics.encode().unwrap_or_default()));
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8"),
        );
        response
    }

    fn set_limits(&self) {
        let gauges = &self.metrics.limits;
        gauges.clear();
        let used = |Usage { in_use, waiting, paused, .. }| Used { in_use, waiting, paused };
        for route in self.reloader.live().generation.policy.routes() {
            let limiter = &route.limiter;
            let budgets =
                [("sender", &limiter.senders), ("account", &limiter.sends), ("management", &limiter.management)];
            for (limit, budget) in budgets {
                if let Some(budget) = budget {
                    gauges.set(&route.name, limit, budget.terms().rate, used(budget.usage()));
                }
            }
            if let Some(pairs) = &limiter.pairs {
                gauges.set(&route.name, "recipient", pairs.quota().rate, used(pairs.usage()));
            }
        }
    }

    fn status(&self, query: &str) -> Response<Bytes> {
        let (draining, uptime) = (self.draining.load(Ordering::Relaxed), self.started.elapsed());
        let status = status::status(&self.reloader, draining, uptime, &Parties::in_query(query));
        let mut response = Response::new(Bytes::from(format!("{status:#}\n")));
        response.headers_mut().insert(header::CONTENT_TYPE, JSON);
        response
    }

    async fn reload(&self) -> Response<Bytes> {
        let result = self.reloader.ask_and_wait("POST /reload").await;
        let (status, body) = match result {
            Ok(changes) => (
                StatusCode::OK,
                json!({ "result": "success", "generation": self.reloader.live().generation.number, "changes": changes }),
            ),
            Err(reasons) => (StatusCode::UNPROCESSABLE_ENTITY, json!({ "result": "refused", "reasons": reasons })),
        };
        let mut response = Response::new(Bytes::from(format!("{body:#}\n")));
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, JSON);
        response
    }
}

fn text(status: StatusCode, body: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::copy_from_slice(body.as_bytes()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn wrong_method(allow: &'static str) -> Response<Bytes> {
    let kind = OutboundError::MethodNotAllowed.kind();
    let mut response = Refusal::new(kind, "this path does not take the method", format!("use {allow}")).to_response();
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    response
}

const NOT_FOUND: Kind = Kind::new("no_route", StatusCode::NOT_FOUND, 100);
