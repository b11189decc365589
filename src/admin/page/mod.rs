//! `GET /`: the status page for people. The page shows what `/status` says, the problems first,
//! with small plots of the last hour, and follows the sidecar by server-sent events. The page loads
//! nothing: style and script stand in the document, and the policy allows no others.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use tokio::sync::{Mutex, Semaphore, watch};
use tokio::time::Instant;

mod document;
mod html;
mod parts;
mod plot;
mod security;
mod summary;
mod updates;
mod view;

pub use updates::AdminBody;

use parts::{Part, parts};
use summary::Summary;
use view::View;

use super::backlog::Backlogs;
use super::source::StatusSource;
use super::status_query::StatusQuery;
use crate::listener::overloaded;
use crate::traffic::History;

/// The page, and those who look at it.
#[derive(Debug)]
pub(super) struct StatusPage {
    source: Arc<StatusSource>,
    /// The last hour of all routes.
    history: Arc<History>,
    backlogs: Arc<Backlogs>,
    /// The last look at all tenants, which all viewers share. The lock is the turn of looking.
    made: Mutex<Option<MadeSummary>>,
    /// The places of those who follow the sidecar.
    places: Arc<Semaphore>,
    /// Becomes true when the sidecar ends.
    over: watch::Sender<bool>,
}

/// A look at all tenants.
#[derive(Debug)]
struct MadeSummary {
    at: Instant,
    took: Duration,
    summary: Arc<Summary>,
}

impl MadeSummary {
    /// True while the look is new enough: thousands of tenants take longer to look at, and are
    /// looked at less often.
    fn is_fresh(&self) -> bool {
        let time = (self.took * LOOK_SHARE).clamp(FRESH, STALE);
        self.at.elapsed() < time
    }
}

impl StatusPage {
    pub(super) fn new(
        source: Arc<StatusSource>,
        history: Arc<History>,
        backlogs: Arc<Backlogs>,
    ) -> Self {
        Self {
            source,
            history,
            backlogs,
            made: Mutex::default(),
            places: Arc::new(Semaphore::new(MAX_FOLLOWERS)),
            over: watch::Sender::new(false),
        }
    }

    /// Returns the backlogs that the page shows.
    pub(super) fn backlogs(&self) -> &Arc<Backlogs> {
        &self.backlogs
    }

    /// Ends the stream of every viewer with a last look.
    pub(super) fn end(&self) {
        self.over.send_replace(true);
    }

    /// Returns the whole page.
    pub(super) async fn whole(&self, query: &str) -> Response<Bytes> {
        let view = View::parse(query);
        let parts = self.parts_of(&view).await;
        let html = document::whole(&view, &parts);
        let mut response = Response::new(Bytes::from(html.into_string()));
        let headers = response.headers_mut();
        security::add_to(headers);
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/html; charset=utf-8"),
        );
        response
    }

    /// Returns the stream of what changes in a view, or a refusal where too many follow already.
    pub(super) fn follow(self: &Arc<Self>, query: &str) -> Response<AdminBody> {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            return overloaded().to_response().map(AdminBody::from);
        };
        let body = updates::follow(Arc::clone(self), View::parse(query), place);
        event_stream(body)
    }

    /// Returns the head of the stream, for `HEAD`.
    pub(super) fn head_of_stream() -> Response<AdminBody> {
        event_stream(AdminBody::from(Bytes::new()))
    }

    /// Returns the parts of a view as they are now. All that takes longer with more tenants runs on
    /// another thread.
    async fn parts_of(&self, view: &View) -> Vec<Part> {
        let Some(summary) = self.summary().await else {
            return Vec::new();
        };
        let backlogs = Arc::clone(&self.backlogs);
        let view = view.clone();
        tokio::task::spawn_blocking(move || parts(&summary, &backlogs, &view))
            .await
            .unwrap_or_default()
    }

    /// Returns a look at all tenants; `None` while the process ends.
    async fn summary(&self) -> Option<Arc<Summary>> {
        let mut made = self.made.lock().await;
        if let Some(made) = made.as_ref().filter(|made| made.is_fresh()) {
            return Some(Arc::clone(&made.summary));
        }
        let status = self.source.status(StatusQuery::default());
        let history = Arc::clone(&self.history);
        let backlogs = Arc::clone(&self.backlogs);
        let began = Instant::now();
        let summarize = move || Arc::new(Summary::new(status, &history, &backlogs));
        let summary = tokio::task::spawn_blocking(summarize).await.ok()?;
        *made = Some(MadeSummary {
            at: Instant::now(),
            took: began.elapsed(),
            summary: Arc::clone(&summary),
        });
        Some(summary)
    }
}

fn event_stream(body: AdminBody) -> Response<AdminBody> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    security::add_to(headers);
    let stream = HeaderValue::from_static("text/event-stream; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, stream);
    response
}

/// The viewers that follow the sidecar at a time, so that others of the admin listener's 64 places
/// are left.
const MAX_FOLLOWERS: usize = 16;
/// The time for which a look at all tenants serves all viewers: half the interval at which a viewer
/// asks.
const FRESH: Duration = Duration::from_secs(1);
/// The longest time for which a look serves all viewers, however long the look takes: the age up to
/// which people trust a page that renews itself.
const STALE: Duration = Duration::from_secs(30);
/// The part of the time of one thread, as a divisor, that looks take at most: 5 %, so that the page
/// costs little beside traffic.
const LOOK_SHARE: u32 = 20;
