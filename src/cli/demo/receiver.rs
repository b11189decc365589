//! What stands for an application that receives.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio::task::JoinHandle;

use super::Outcome;
use crate::config::ListenAddress;
use crate::listener::{Drainer, Link, Listener, Terms, drain};

/// An event as it arrived.
#[derive(Clone, Debug)]
pub(super) struct Received {
    /// `Keyside-Event-Id`.
    pub(super) id: String,
    /// The body.
    pub(super) body: String,
}

/// Takes every event that comes to it.
pub(super) struct Receiver {
    address: ListenAddress,
    events: Arc<Mutex<Vec<Received>>>,
    task: JoinHandle<()>,
    /// Without it the listener would take its end for begun.
    _drainer: Drainer,
}

impl Receiver {
    pub(super) fn start() -> Outcome<Self> {
        let listener = Listener::bind(&ListenAddress::Tcp(([127, 0, 0, 1], 0).into()), &[])?;
        let (address, events) = (listener.address(), Arc::<Mutex<Vec<_>>>::default());
        let taken = Arc::clone(&events);
        let handler = move |request, _: Arc<Link>| take(request, Arc::clone(&taken));
        let (drainer, begun) = drain();
        let task = tokio::spawn(listener.serve(handler, Terms::local(), Default::default(), begun));
        Ok(Self { address, events, task, _drainer: drainer })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> &ListenAddress {
        &self.address
    }

    /// What arrived so far.
    pub(super) fn events(&self) -> Vec<Received> {
        lock(&self.events).clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn take(request: Request<Incoming>, events: Arc<Mutex<Vec<Received>>>) -> Response<Full<Bytes>> {
    let id = request.headers().get("keyside-event-id").and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
    let mut response = Response::default();
    match request.into_body().collect().await {
        Ok(body) => {
            let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
            lock(&events).push(Received { id, body });
        }
        Err(_) => *response.status_mut() = http::StatusCode::BAD_REQUEST,
    }
    response
}

fn lock(events: &Mutex<Vec<Received>>) -> MutexGuard<'_, Vec<Received>> {
    events.lock().unwrap_or_else(PoisonError::into_inner)
}
