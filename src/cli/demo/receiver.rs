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
use crate::listener::{ConnectionBounds, Connections, Drainer, Link, Listener, drain};

/// An event as it arrived.
#[derive(Clone, Debug)]
pub(super) struct ReceivedEvent {
    /// The value of `Keyside-Event-Id`.
    pub(super) id: String,
    /// The body.
    pub(super) body: String,
}

/// A server that accepts every event.
pub(super) struct Receiver {
    address: ListenAddress,
    events: Arc<Mutex<Vec<ReceivedEvent>>>,
    task: JoinHandle<()>,
    /// Kept because a dropped drainer would make the listener drain.
    _drainer: Drainer,
}

impl Receiver {
    /// Listens on any port of localhost.
    pub(super) fn start() -> DemoResult<Self> {
        let any_port = ListenAddress::Tcp(([127, 0, 0, 1], 0).into());
        let listener = Listener::bind(&any_port, &[])?;
        let address = listener.address();
        let events = Arc::<Mutex<Vec<_>>>::default();
        let shared = Arc::clone(&events);
        let handler = move |request, _: Arc<Link>| receive(request, Arc::clone(&shared));
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
        Ok(Self {
            address,
            events,
            task,
            _drainer: drainer,
        })
    }

    /// Returns the address of the server.
    pub(super) fn address(&self) -> &ListenAddress {
        &self.address
    }

    /// Returns the events that have arrived.
    pub(super) fn events(&self) -> Vec<ReceivedEvent> {
        self.events.lock().clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn receive(
    request: Request<Incoming>,
    events: Arc<Mutex<Vec<ReceivedEvent>>>,
) -> Response<Full<Bytes>> {
    let id = request.headers().get("keyside-event-id");
    let id = id.and_then(|id| id.to_str().ok()).unwrap_or_default();
    let id = id.to_owned();
    let mut response = Response::default();
    match request.into_body().collect().await {
        Ok(body) => {
            let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
            events.lock().push(ReceivedEvent { id, body });
        }
        Err(_) => *response.status_mut() = StatusCode::BAD_REQUEST,
    }
    response
}

/// The bound on connections: Keyside alone calls.
const MAX_CONNECTIONS: usize = 64;
