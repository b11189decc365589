//! The audit file: a record of events around secrets, in which later changes show, because each
//! line has the hash of the line before.
//!
//! Lines have names, fingerprints and outcomes; never a secret, a phone number or a message's text.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, channel, sync_channel};
use std::time::{Duration, SystemTime};

use serde_json::Value;

mod chain;
pub mod metrics;
mod verify;
mod writer;

pub use chain::check_writable;
use chain::event;
use metrics::AuditMetrics;
pub use verify::{AuditError, AuditFault, VerifiedFiles, verify};
use writer::{AuditOrder, Shared, Writer};

/// `[audit]`: the file, and the events to record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditSettings {
    /// The file to which lines are appended.
    pub file: PathBuf,
    /// The events to record.
    pub scope: AuditScope,
}

/// The events that an audit file records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditScope {
    /// Events around secrets.
    Secrets,
    /// Events around secrets, and each request.
    SecretsAndRequests,
}

/// The state of the audit file.
#[derive(Clone, Debug)]
pub struct AuditStatus {
    /// The file.
    pub file: PathBuf,
    /// The hash of the last line at the time of opening.
    pub resumed_after: String,
    /// The reason for which the file cannot be written.
    pub problem: Option<AuditProblem>,
    /// The number of events lost since the start of the process.
    pub lost: u64,
}

/// The reason for which the audit file cannot be written.
#[derive(Clone, Debug)]
pub struct AuditProblem {
    /// The time of the first failure.
    pub since: SystemTime,
    /// The reason of the last failure.
    pub reason: String,
}

/// The writer of the audit file. The default writes nothing. Clones write to one file.
#[derive(Clone, Debug, Default)]
pub struct Audit {
    entries: Option<SyncSender<AuditOrder>>,
    shared: Arc<Shared>,
}

impl Audit {
    /// Starts the writing thread, so no request waits for a disk. [`Audit::follow`] names the file.
    #[must_use]
    pub fn start(metrics: AuditMetrics) -> Self {
        let (entries, queue) = sync_channel(QUEUE);
        let shared = Arc::new(Shared::new(metrics));
        let writer = Writer::new(Arc::clone(&shared));
        // Without a thread the queue is closed, and `follow` fails.
        std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || writer.run(&queue))
            .ok();
        Self {
            entries: Some(entries),
            shared,
        }
    }

    /// Writes to the file of these settings from now on. A path that leads to another file than
    /// before is opened anew, and the chain goes on in the new file. Waits for the disk, at most
    /// `FOLLOW_TIMEOUT`: a disk that hangs holds up no reload of secrets.
    ///
    /// # Errors
    /// If a file that was not in use before cannot be read and written.
    pub fn follow(&self, settings: Option<&AuditSettings>) -> io::Result<()> {
        let (reply, result) = channel();
        let order = AuditOrder::Follow(settings.cloned(), reply);
        let Some(entries) = &self.entries else {
            return Ok(());
        };
        // An order that finds no room is dropped here, and then there is no reply.
        entries.try_send(order).ok();
        match result.recv_timeout(FOLLOW_TIMEOUT) {
            Ok(result) => result,
            Err(_) if self.is_at(settings) => Ok(()),
            Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the disk does not answer",
            )),
        }
    }

    /// True if these settings name the file in use, or no file is named and none is in use.
    fn is_at(&self, settings: Option<&AuditSettings>) -> bool {
        let file = self.status().map(|status| status.file);
        file.as_ref() == settings.map(|settings| &settings.file)
    }

    /// Returns the state of the file; `None` without a file.
    #[must_use]
    pub fn status(&self) -> Option<AuditStatus> {
        self.shared.status()
    }

    /// Returns true if the configuration asks for records of requests too.
    #[must_use]
    pub fn records_requests(&self) -> bool {
        self.has_file() && self.shared.records_requests.load(Ordering::Relaxed)
    }

    /// Records an event without waiting. Events lost to a slow disk are counted, and the next
    /// written line has the count.
    pub fn record<const N: usize>(&self, name: &str, fields: [(&str, Value); N]) {
        let Some(entries) = self.entries.as_ref().filter(|_| self.has_file()) else {
            return;
        };
        if entries
            .try_send(AuditOrder::Event(event(name, fields)))
            .is_err()
        {
            self.shared.count_lost();
        }
    }

    /// Waits until all recorded events are on the disk, at most a second (`FLUSH_TIMEOUT`).
    pub fn flush(&self) {
        let (done, wait) = channel();
        if self
            .entries
            .as_ref()
            .is_some_and(|entries| entries.try_send(AuditOrder::Flush(done)).is_ok())
        {
            wait.recv_timeout(FLUSH_TIMEOUT).ok();
        }
    }

    fn has_file(&self) -> bool {
        self.shared.has_file.load(Ordering::Relaxed)
    }
}

/// The bound on events waiting for the disk: some seconds of a busy sidecar with records of
/// requests, and at most a few MiB.
const QUEUE: usize = 4096;
/// The wait of a reload for the disk: longer than a slow sync, and a reload does not hang at a dead
/// mount.
const FOLLOW_TIMEOUT: Duration = Duration::from_secs(2);
/// The wait of a shutdown for the disk: the end of a process does not hang at a dead mount.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
