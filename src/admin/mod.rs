//! The admin listener: liveness, readiness, metrics, status and reload.

use std::collections::HashSet;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

mod egress_status;
mod events;
mod file_metrics;
mod limit_status;
mod metrics;
mod metrics_format;
pub mod problems;
mod process_metrics;
mod ready;
mod spool;
pub mod status;
mod status_query;
mod traffic;
mod webhook_status;

use events::Events;
use metrics::{Exposition, Stores};
use ready::{Subject, readiness};
pub use spool::watch_spool;
use status::Status;
use status_query::StatusQuery;

use crate::listener::{Link, overloaded};
use crate::outbound::error::OutboundError;
use crate::outbound::guard::check_caller;
use crate::outbound::hosts::{Hosts, named_upstream};
use crate::reload::{ReloadCause, Reloaded, Reloader};
use crate::response::{JSON, Refusal, RefusalKind};
use crate::spool::Spool;

/// The handler of the admin listener.
#[derive(Debug)]
pub struct Admin {
    reloader: Arc<Reloader>,
    metrics: Arc<Exposition>,
    spool: Option<Arc<Spool>>,
    events: Arc<Events>,
    /// Held by the answer that looks at all tenants: such answers take turns, because each is large.
    turn: Semaphore,
    /// The large answers that operators may leave unread at a time.
    unread: Arc<Semaphore>,
    draining: AtomicBool,
    started: Instant,
}

impl Admin {
    /// Makes a handler that shows the state of `reloader` and the metrics of `registry`.
    #[must_use]
    pub fn new(reloader: Arc<Reloader>, registry: Registry) -> Self {
        let spool = reloader.spool().cloned();
        let stores = spool.as_ref().map_or(Stores::None, |_| Stores::Spool);
        Self {
            reloader,
            metrics: Arc::new(Exposition::new(registry, stores)),
            events: Arc::new(Events::new(spool.clone())),
            spool,
            turn: Semaphore::new(1),
            unread: Arc::new(Semaphore::new(MAX_UNREAD)),
            draining: AtomicBool::new(false),
            started: Instant::now(),
        }
    }

    /// Returns the spool, if the sidecar has one.
    #[must_use]
    pub fn spool(&self) -> Option<Arc<Spool>> {
        self.spool.clone()
    }

    /// Makes `/readyz` fail from now on.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Answers a request. A GET changes nothing, and no answer contains a secret.
    pub async fn handle(&self, request: Request<Incoming>, link: &Link) -> Response<Full<Bytes>> {
        if let Err(error) = self.admit(&request, link) {
            return error.refusal(None).to_response().map(Full::new);
        }
        if let Some(answer) = self.watched(&request).await {
            return answer.map(Full::new);
        }
        let answer = match (request.method(), request.uri().path()) {
            (&Method::GET | &Method::HEAD, "/status") => {
                let query = request.uri().query().unwrap_or_default();
                self.bounded(|| self.status(StatusQuery::parse(query)))
                    .await
            }
            (&Method::POST, "/reload") => self.reload(link).await,
            (_, path) if Events::has(path) => {
                let audit = self.reloader.audit();
                self.bounded(|| self.events.answer(&request, link, audit.clone()))
                    .await
            }
            (_, "/status") => wrong_method("GET, HEAD"),
            (_, "/reload") => wrong_method("POST"),
            _ => Refusal::new(
                NOT_FOUND,
                "the admin listener has no such path",
                "ask for /livez, /readyz, /metrics, /status, /events, or POST /reload",
            )
            .to_response(),
        };
        answer.map(Full::new)
    }

    /// Answers a request of a reader that only watches, from any machine and whatever its `Host`: metrics and probes.
    pub async fn watch(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let answer = self.watched(&request).await.unwrap_or_else(|| {
            Refusal::new(
                NOT_FOUND,
                "the listener of [metrics] has no such path",
                "ask for /livez, /readyz or /metrics; [admin] has the others",
            )
            .to_response()
        });
        answer.map(Full::new)
    }

    /// Answers a request for metrics or a probe; `None` for any other path.
    async fn watched(&self, request: &Request<Incoming>) -> Option<Response<Bytes>> {
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        Some(match request.uri().path() {
            "/livez" | "/readyz" | "/metrics" if !is_read => wrong_method("GET, HEAD"),
            "/livez" => text(StatusCode::OK, "ok\n"),
            "/readyz" => {
                let query = request.uri().query().unwrap_or_default();
                self.ready(Subject::in_query(query)).await
            }
            "/metrics" => self.bounded(|| self.metrics(request.headers())).await,
            _ => return None,
        })
    }

    /// Makes an answer. While other large ones are unread, a large answer waits, and is refused after [`UNREAD_WAIT`]:
    /// thousands of routes have megabytes of status.
    async fn bounded<F>(&self, make: impl Fn() -> F) -> Response<Bytes>
    where
        F: Future<Output = Response<Bytes>>,
    {
        let answer = make().await;
        if answer.body().len() <= LARGE {
            return answer;
        }
        if let Ok(permit) = Arc::clone(&self.unread).try_acquire_owned() {
            return large(answer, permit);
        }
        // An answer that waits is not kept: it would need the memory that it waits for.
        drop(answer);
        match timeout(UNREAD_WAIT, Arc::clone(&self.unread).acquire_owned()).await {
            Ok(Ok(permit)) => large(make().await, permit),
            Ok(Err(_)) | Err(_) => overloaded().to_response(),
        }
    }

    /// Answers a probe of a load balancer at another listener, whatever its `Host`; `None` for any other request.
    /// The answer has no reasons: the Internet may read it.
    #[must_use]
    pub async fn probe(&self, method: &Method, path: &str) -> Option<Response<Bytes>> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return None;
        }
        match path {
            "/livez" => Some(text(StatusCode::OK, "ok\n")),
            "/readyz" => {
                let status = self.ready(Subject::Sidecar).await.status();
                let words = if status.is_success() {
                    "ready\n"
                } else {
                    "not ready\n"
                };
                Some(text(status, words))
            }
            _ => None,
        }
    }

    /// Refuses browsers, foreign host names and requests to a proxy.
    fn admit(&self, request: &Request<Incoming>, link: &Link) -> Result<(), OutboundError> {
        let live = self.reloader.live();
        let hosts = Hosts {
            upstreams: HashSet::new(),
            allowed: live.config.outbound.allowed_hosts.iter().cloned().collect(),
        };
        check_caller(request.headers(), &hosts, link)?;
        // Without upstreams, a target in absolute form can only name this listener.
        named_upstream(request.uri(), &hosts, link).map(drop)
    }

    async fn ready(&self, subject: Subject) -> Response<Bytes> {
        if self.draining.load(Ordering::Relaxed) {
            let reason = "draining: the sidecar is stopping\n";
            return text(StatusCode::SERVICE_UNAVAILABLE, reason);
        }
        let live = self.reloader.live();
        let spool = self.spool.clone();
        aside(move || {
            let survey = spool.map(|spool| spool.survey());
            let (status, reasons) = readiness(&live, survey.as_ref(), &subject);
            text(status, &reasons)
        })
        .await
    }

    async fn metrics(&self, headers: &HeaderMap) -> Response<Bytes> {
        let _turn = self.turn.acquire().await;
        let metrics = Arc::clone(&self.metrics);
        let headers = headers.clone();
        let live = self.reloader.live();
        let spool = self.spool.clone();
        aside(move || {
            let survey = spool.map(|spool| spool.survey());
            metrics.answer(&live, survey.as_ref(), &headers)
        })
        .await
    }

    /// Returns all metrics as OpenMetrics text; `None` while the process ends.
    pub async fn metrics_text(&self) -> Option<String> {
        let _turn = self.turn.acquire().await;
        let metrics = Arc::clone(&self.metrics);
        let live = self.reloader.live();
        let spool = self.spool.clone();
        let read = move || {
            let survey = spool.map(|spool| spool.survey());
            metrics.text(&live, survey.as_ref())
        };
        tokio::task::spawn_blocking(read).await.ok()
    }

    async fn status(&self, query: StatusQuery) -> Response<Bytes> {
        let _turn = self.turn.acquire().await;
        let status = Status {
            live: self.reloader.live(),
            last: self.reloader.last(),
            draining: self.draining.load(Ordering::Relaxed),
            uptime: self.started.elapsed(),
            query,
            audit: self.reloader.audit().status(),
            overdue: self.reloader.sends().overdue(),
            spool: self.spool.clone(),
            deliveries: self.reloader.delivery_metrics(),
        };
        aside(move || {
            let mut response = Response::new(Bytes::from(status.to_text()));
            response.headers_mut().insert(header::CONTENT_TYPE, JSON);
            response
        })
        .await
    }

    fn reloaded(&self, reloaded: &Reloaded) -> Value {
        let changes: Vec<_> = reloaded.changes.iter().map(ToString::to_string).collect();
        json!({
            "result": "success",
            "generation": self.reloader.live().generation.number,
            "changes": changes,
            "kept_back": reloaded.kept_back,
        })
    }

    async fn reload(&self, link: &Link) -> Response<Bytes> {
        let cause = ReloadCause::Request(link.client());
        let result = self.reloader.request_and_wait(cause).await;
        let (status, body) = match result {
            Ok(reloaded) => (StatusCode::OK, self.reloaded(&reloaded)),
            Err(error) => (
                StatusCode::UNPROCESSABLE_ENTITY,
                json!({ "result": "refused", "reasons": error.reasons() }),
            ),
        };
        let mut response = Response::new(Bytes::from(format!("{body:#}\n")));
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, JSON);
        response
    }
}

/// The bytes of a large answer, with the permit to leave it unread.
struct LargeAnswer {
    bytes: Bytes,
    _permit: OwnedSemaphorePermit,
}

fn large(answer: Response<Bytes>, permit: OwnedSemaphorePermit) -> Response<Bytes> {
    answer.map(|bytes| {
        Bytes::from_owner(LargeAnswer {
            bytes,
            _permit: permit,
        })
    })
}

impl AsRef<[u8]> for LargeAnswer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Makes an answer on another thread. Looking at thousands of routes takes longer than a request of an application may
/// be held up.
async fn aside(answer: impl FnOnce() -> Response<Bytes> + Send + 'static) -> Response<Bytes> {
    tokio::task::spawn_blocking(answer)
        .await
        .unwrap_or_else(|_| text(StatusCode::SERVICE_UNAVAILABLE, "the sidecar is stopping\n"))
}

fn text(status: StatusCode, body: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::copy_from_slice(body.as_bytes()));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

fn wrong_method(allow: &'static str) -> Response<Bytes> {
    let kind = OutboundError::MethodNotAllowed.kind();
    let mut response = Refusal::new(
        kind,
        "this path does not take the method",
        format!("use {allow}"),
    )
    .to_response();
    response
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static(allow));
    response
}

/// The longest answer that counts as small, in bytes.
const LARGE: usize = 64 * 1024;
/// Large answers that may be unread at a time; with a thousand routes each has about a megabyte.
const MAX_UNREAD: usize = 2;
/// The longest wait of a large answer for others to be read: half of the time that Prometheus gives an answer.
const UNREAD_WAIT: Duration = Duration::from_secs(5);
/// The refusal of an unknown path; the slug is the one for an unknown route.
const NOT_FOUND: RefusalKind = RefusalKind::new("no_route", StatusCode::NOT_FOUND, 100);
