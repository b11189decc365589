//! An application that receives events from Keyside.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use super::DemoResult;
use crate::config::ListenAddress;
use crate::listener::metrics::KindMetrics;
use crate::listener::{ConnectionBounds, Connections, Drainer, Families, Link, Listener, drain};

/// An event as it arrived.
#[derive(Clone, Debug)]
pub(super) struct ReceivedEvent {
    /// The value of `Keyside-Event-Id`.
    pub(super) id: String,
    /// The body.
    pub(super) body: String,
}

/// A server for events. Events with a poisonous text get 400, all others 200.
pub(super) struct Receiver {
    address: ListenAddress,
    inbox: Arc<Inbox>,
    running: Mutex<Option<RunningListener>>,
}

#[derive(Default)]
struct Inbox {
    events: Mutex<Vec<ReceivedEvent>>,
    /// The poisonous text, if there is any.
    refused: Mutex<Option<&'static str>>,
}

/// A listener with connections, until the drop.
struct RunningListener {
    task: JoinHandle<()>,
    /// A dropped drainer makes the listener's connections end.
    _drainer: Drainer,
}

impl Receiver {
    /// Listens on any port of localhost.
    pub(super) fn start() -> DemoResult<Self> {
        let any_port = ListenAddress::Tcp(([127, 0, 0, 1], 0).into());
        let listener = Listener::bind(&any_port, Families::Both, &[])?;
        let address = listener.address();
        let inbox = Arc::default();
        let running = RunningListener::serve(listener, &inbox);
        Ok(Self {
            address,
            inbox,
            running: Mutex::new(Some(running)),
        })
    }

    /// Ends the server; connections are refused from now on.
    pub(super) fn kill(&self) {
        drop(self.running.lock().take());
    }

    /// Starts the server again, at the address of before.
    pub(super) fn restart(&self) -> DemoResult<()> {
        let listener = Listener::bind(&self.address, Families::Both, &[])?;
        *self.running.lock() = Some(RunningListener::serve(listener, &self.inbox));
        Ok(())
    }

    /// Answers 400 to events with the text from now on.
    pub(super) fn refuse(&self, text: Option<&'static str>) {
        *self.inbox.refused.lock() = text;
    }

    /// Returns the address of the server.
    pub(super) fn address(&self) -> &ListenAddress {
        &self.address
    }

    /// Returns the events that have arrived.
    pub(super) fn events(&self) -> Vec<ReceivedEvent> {
        self.inbox.events.lock().clone()
    }
}

impl RunningListener {
    fn serve(listener: Listener, inbox: &Arc<Inbox>) -> Self {
        let inbox = Arc::clone(inbox);
        let handler = move |request, _: Arc<Link>| receive(request, Arc::clone(&inbox));
        let (drainer, begun) = drain();
        let task = tokio::spawn(listener.serve(
            handler,
            ConnectionBounds::local(),
            Arc::new(Connections::new(
                MAX_CONNECTIONS,
                None,
                KindMetrics::unread("receiver"),
            )),
            begun,
        ));
        Self {
            task,
            _drainer: drainer,
        }
    }
}

impl Drop for RunningListener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn receive(request: Request<Incoming>, inbox: Arc<Inbox>) -> Response<Full<Bytes>> {
    let id = request
        .headers()
        .get("keyside-event-id")
        .and_then(|id| id.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let mut response = Response::default();
    match request.into_body().collect().await {
        Ok(body) => {
            let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
            let refused = *inbox.refused.lock();
            if refused.is_some_and(|text| body.contains(text)) {
                *response.status_mut() = StatusCode::BAD_REQUEST;
            } else {
                inbox.events.lock().push(ReceivedEvent { id, body });
            }
        }
        Err(_) => *response.status_mut() = StatusCode::BAD_REQUEST,
    }
    response
}

/// The bound on connections: Keyside alone calls.
const MAX_CONNECTIONS: usize = 64;
