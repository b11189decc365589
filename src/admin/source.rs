//! The state of the sidecar, for all answers that show it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::time::Instant;

use super::status::Status;
use super::status_query::StatusQuery;
use crate::reload::{Live, Reloader};
use crate::spool::Spool;

/// The sidecar as the answers of the admin listener see it.
#[derive(Debug)]
pub(super) struct StatusSource {
    pub(super) reloader: Arc<Reloader>,
    pub(super) spool: Option<Arc<Spool>>,
    draining: AtomicBool,
    started: Instant,
}

impl StatusSource {
    pub(super) fn new(reloader: Arc<Reloader>) -> Self {
        Self {
            spool: reloader.spool().cloned(),
            reloader,
            draining: AtomicBool::new(false),
            started: Instant::now(),
        }
    }

    /// Returns the generation in use.
    pub(super) fn live(&self) -> Arc<Live> {
        self.reloader.live()
    }

    /// Notes that the sidecar is stopping.
    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// True once the sidecar is stopping.
    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Takes hold of the state at this moment.
    pub(super) fn status(&self, query: StatusQuery) -> Status {
        Status {
            live: self.live(),
            last: self.reloader.last(),
            draining: self.is_draining(),
            uptime: self.started.elapsed(),
            query,
            audit: self.reloader.audit().status(),
            overdue: self.reloader.sends().overdue(),
            memory: self.reloader.memory().report(),
            kept_answers: self.reloader.sends().kept_answers(),
            spool: self.spool.clone(),
            deliveries: self.reloader.delivery_metrics(),
        }
    }
}
