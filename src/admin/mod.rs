//! The admin listener: liveness, readiness, metrics, status and reload.

use std::collections::HashSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

pub mod backlog;
pub mod credential_problems;
pub mod credential_status;
mod egress_status;
mod events;
mod file_metrics;
mod limit_status;
mod memory_status;
mod metrics;
mod metrics_format;
mod page;
pub mod problems;
mod process_metrics;
mod ready;
mod source;
mod spool;
pub mod status;
mod status_query;
mod traffic;
mod webhook_status;

use backlog::Backlogs;
use events::Events;
use metrics::{Exposition, Stores};
pub use page::AdminBody;
use page::StatusPage;
use ready::{Subject, readiness};
use source::StatusSource;
pub use spool::watch_spool;
use status_query::StatusQuery;

use crate::listener::{Link, overloaded};
use crate::outbound::error::OutboundError;
use crate::outbound::guard::{Callers, check_caller};
use crate::outbound::hosts::{Hosts, named_upstream};
use crate::reload::{ReloadCause, Reloaded, Reloader};
use crate::response::{JSON, Refusal, RefusalKind};
use crate::spool::Spool;
use crate::traffic::History;

/// The handler of the admin listener.
#[derive(Debug)]
pub struct Admin {
    source: Arc<StatusSource>,
    metrics: Arc<Exposition>,
    events: Arc<Events>,
    page: Arc<StatusPage>,
    /// Held by the answer that looks at all tenants: such answers take turns, because each is
    /// large.
    turn: Semaphore,
    /// The large answers that operators may leave unread at a time.
    unread: Arc<Semaphore>,
}

impl Admin {
    /// Makes a handler that shows the state of `reloader`, the metrics of `registry` and the last
    /// hour of all routes.
    #[must_use]
    pub fn new(reloader: Arc<Reloader>, registry: Registry, history: Arc<History>) -> Self {
        let source = Arc::new(StatusSource::new(reloader));
        let spool = source.spool.clone();
        let stores = spool.as_ref().map_or(Stores::None, |_| Stores::Spool);
        let page = StatusPage::new(Arc::clone(&source), history, Arc::default());
        Self {
            source,
            metrics: Arc::new(Exposition::new(registry, stores)),
            events: Arc::new(Events::new(spool)),
            page: Arc::new(page),
            turn: Semaphore::new(1),
            unread: Arc::new(Semaphore::new(MAX_UNREAD)),
        }
    }

    /// Returns the spool, if the sidecar has one.
    #[must_use]
    pub fn spool(&self) -> Option<Arc<Spool>> {
        self.source.spool.clone()
    }

    /// Returns the backlogs of destinations, for the watch over the spool.
    #[must_use]
    pub fn backlogs(&self) -> &Arc<Backlogs> {
        self.page.backlogs()
    }

    /// Makes `/readyz` fail from now on.
    pub fn drain(&self) {
        self.source.drain();
    }

    /// Ends what viewers of the status page follow.
    pub fn end(&self) {
        self.page.end();
    }

    /// Answers a request. A GET changes nothing, and no answer contains a secret.
    pub async fn handle(&self, request: Request<Incoming>, link: &Link) -> Response<AdminBody> {
        if let Err(error) = self.admit(&request, link) {
            link.request_is_read();
            return error.refusal(None).to_response().map(AdminBody::from);
        }
        if let (&Method::GET, UPDATES) = (request.method(), request.uri().path()) {
            // The end of the viewer's side is not hidden: nobody waits for the end of this answer.
            return self.page.follow(request.uri().query().unwrap_or_default());
        }
        link.request_is_read();
        if let Some(answer) = self.watched(&request).await {
            return answer.map(AdminBody::from);
        }
        let answer = match (request.method(), request.uri().path()) {
            (&Method::HEAD, UPDATES) => return StatusPage::head_of_stream(),
            (&Method::GET | &Method::HEAD, "/") => {
                let query = request.uri().query().unwrap_or_default();
                self.bounded(|| self.page.whole(query)).await
            }
            (&Method::GET | &Method::HEAD, "/status") => {
                let query = request.uri().query().unwrap_or_default();
                self.bounded(|| self.status(StatusQuery::parse(query)))
                    .await
            }
            (&Method::POST, "/reload") => self.reload(link).await,
            (_, path) if Events::has(path) => {
                let audit = self.source.reloader.audit();
                self.bounded(|| self.events.answer(&request, link, audit.clone()))
                    .await
            }
            (_, "/" | "/status" | UPDATES) => wrong_method("GET, HEAD"),
            (_, "/reload") => wrong_method("POST"),
            _ => Refusal::new(
                NOT_FOUND,
                "the admin listener has no such path",
                "ask for / (the status page), /livez, /readyz, /metrics, /status, /events, or POST /reload",
            )
            .to_response(),
        };
        answer.map(AdminBody::from)
    }

    /// Answers a request of a reader that only watches, from any machine and whatever its `Host`:
    /// metrics and probes.
    pub async fn watch(&self, request: Request<Incoming>) -> Response<AdminBody> {
        let answer = self.watched(&request).await.unwrap_or_else(|| {
            Refusal::new(
                NOT_FOUND,
                "the listener of [metrics] has no such path",
                "ask for /livez, /readyz or /metrics; [admin] has the others",
            )
            .to_response()
        });
        answer.map(AdminBody::from)
    }

    /// Answers a request for metrics or a probe; `None` for any other path.
    async fn watched(&self, request: &Request<Incoming>) -> Option<Response<Bytes>> {
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        Some(match request.uri().path() {
            "/livez" | "/readyz" | "/metrics" if !is_read => wrong_method("GET, HEAD"),
            "/livez" => text(StatusCode::OK, "ok\n"),
            "/readyz" => match Subject::in_query(request.uri().query().unwrap_or_default()) {
                Some(subject) => self.ready(subject).await,
                None => text(StatusCode::BAD_REQUEST, UNKNOWN_PARAMETER),
            },
            "/metrics" => self.bounded(|| self.metrics(request.headers())).await,
            _ => return None,
        })
    }

    /// Makes an answer. While other large ones are unread, a large answer waits, and is refused
    /// after [`UNREAD_WAIT`]: thousands of routes have megabytes of status.
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

    /// Answers a probe of a load balancer at another listener, whatever its `Host`; `None` for any
    /// other request. The answer has no reasons: the Internet may read it.
    #[must_use]
    pub async fn probe(&self, method: &Method, path: &str) -> Option<Response<Bytes>> {
        let is_read = matches!(*method, Method::GET | Method::HEAD);
        match path {
            "/livez" | "/readyz" if !is_read => Some(wrong_method("GET, HEAD")),
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
        let live = self.source.live();
        let hosts = Hosts {
            upstreams: HashSet::new(),
            allowed: live.config.outbound.allowed_hosts.iter().cloned().collect(),
        };
        let is_of_page =
            request.method().is_safe() && matches!(request.uri().path(), "/" | UPDATES);
        let callers = if is_of_page {
            Callers::OwnPages
        } else {
            Callers::Programs
        };
        check_caller(request.headers(), &hosts, link, callers)?;
        // Without upstreams, a target in absolute form can only name this listener.
        named_upstream(request.uri(), &hosts, link).map(drop)
    }

    async fn ready(&self, subject: Subject) -> Response<Bytes> {
        if self.source.is_draining() {
            let reason = "draining: the sidecar is stopping\n";
            return text(StatusCode::SERVICE_UNAVAILABLE, reason);
        }
        let live = self.source.live();
        let spool = self.spool();
        on_another_thread(move || {
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
        let live = self.source.live();
        let spool = self.spool();
        on_another_thread(move || {
            let survey = spool.map(|spool| spool.survey());
            metrics.answer(&live, survey.as_ref(), &headers)
        })
        .await
    }

    /// Returns all metrics as OpenMetrics text; `None` while the process ends.
    pub async fn metrics_text(&self) -> Option<String> {
        let _turn = self.turn.acquire().await;
        let metrics = Arc::clone(&self.metrics);
        let live = self.source.live();
        let spool = self.spool();
        let read = move || {
            let survey = spool.map(|spool| spool.survey());
            metrics.text(&live, survey.as_ref())
        };
        tokio::task::spawn_blocking(read).await.ok()
    }

    async fn status(&self, query: StatusQuery) -> Response<Bytes> {
        let _turn = self.turn.acquire().await;
        let status = self.source.status(query);
        on_another_thread(move || {
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
            "generation": self.source.live().generation.number,
            "changes": changes,
            "kept_back": reloaded.kept_back,
        })
    }

    async fn reload(&self, link: &Link) -> Response<Bytes> {
        let cause = ReloadCause::Request(link.caller());
        let result = self.source.reloader.request_and_wait(cause).await;
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

/// Makes an answer on another thread. Looking at thousands of routes takes longer than a request of
/// an application may be held up.
async fn on_another_thread(
    answer: impl FnOnce() -> Response<Bytes> + Send + 'static,
) -> Response<Bytes> {
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
        "this path does not accept the method",
        format!("use {allow}"),
    )
    .to_response();
    response
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static(allow));
    response
}

/// The answer to an unknown parameter of `/readyz`.
const UNKNOWN_PARAMETER: &str = "the parameters of /readyz are route=NAME, webhook=NAME and all\n";
/// The path of the updates of the status page.
const UPDATES: &str = "/page/updates";
/// The longest answer that counts as small, in bytes: only the answers about many tenants are
/// longer.
const LARGE: usize = 64 * 1024;
/// Large answers that may be unread at a time: a scrape and a person are served side by side. With
/// a thousand routes, each answer takes about a megabyte.
const MAX_UNREAD: usize = 2;
/// The longest wait of a large answer for others to be read: half of the time that Prometheus gives
/// an answer.
const UNREAD_WAIT: Duration = Duration::from_secs(5);
/// The refusal of an unknown path; the slug is the one for an unknown route.
const NOT_FOUND: RefusalKind = RefusalKind::new("no_route", StatusCode::NOT_FOUND, 100);
