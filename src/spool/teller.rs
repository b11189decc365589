//! The way of a commit's reports to those who wait: all reports of a transaction in one piece.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, UnboundedSender};

use super::destination::Destinations;
use super::tables::DestinationId;

/// The call that tells of a committed change.
pub(super) type CommitReport = Box<dyn FnOnce() + Send>;

/// A transaction that is on disk.
pub(super) struct Committed {
    pub(super) reports: Vec<CommitReport>,
    /// The destinations with new events to deliver.
    pub(super) touched: BTreeSet<DestinationId>,
}

/// Tells of commits on the thread of requests. A wake-up from the writer's thread is a system call:
/// one for a transaction, and not one for each of a hundred orders.
pub(super) struct Teller {
    destinations: Arc<Destinations>,
    /// The task that tells; `None` without a runtime.
    task: Option<UnboundedSender<Committed>>,
}

impl Teller {
    /// Starts the task on the runtime of the caller. The task ends with the teller.
    pub(super) fn start(destinations: Arc<Destinations>) -> Self {
        let task = Handle::try_current().ok().map(|runtime| {
            let (sender, mut commits) = mpsc::unbounded_channel();
            let destinations = Arc::clone(&destinations);
            runtime.spawn(async move {
                while let Some(committed) = commits.recv().await {
                    tell(committed, &destinations);
                }
            });
            sender
        });
        Self { destinations, task }
    }

    /// Tells all who wait for a transaction.
    pub(super) fn tell(&self, committed: Committed) {
        let untold = match &self.task {
            Some(task) => task.send(committed).err().map(|unsent| unsent.0),
            None => Some(committed),
        };
        // Without a runtime nobody but threads may wait.
        if let Some(committed) = untold {
            tell(committed, &self.destinations);
        }
    }
}

fn tell(committed: Committed, destinations: &Destinations) {
    committed.reports.into_iter().for_each(|report| report());
    destinations.ring(&committed.touched);
}
