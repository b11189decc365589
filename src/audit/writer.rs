//! The thread that writes the audit file: no request waits for a disk.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use serde_json::{Map, Value};

use super::chain::{Chain, event};
use super::metrics::AuditMetrics;
use super::{AuditProblem, AuditScope, AuditSettings, AuditStatus};

/// An order to the writing thread.
pub(super) enum AuditOrder {
    Event(Map<String, Value>),
    /// Write to the file of these settings from now on, then reply.
    Follow(Option<AuditSettings>, Sender<io::Result<()>>),
    /// Sync the file to the disk, then reply.
    Flush(Sender<()>),
}

/// The state that the writing thread shares with its handles.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) has_file: AtomicBool,
    pub(super) records_requests: AtomicBool,
    /// The number of events lost since the last written line.
    lost: AtomicU64,
    metrics: AuditMetrics,
    status: Mutex<Option<AuditStatus>>,
}

impl Shared {
    pub(super) fn new(metrics: AuditMetrics) -> Self {
        Self {
            metrics,
            ..Self::default()
        }
    }

    /// Counts a lost event.
    pub(super) fn count_lost(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
        self.metrics.count_lost(1);
    }

    pub(super) fn status(&self) -> Option<AuditStatus> {
        let status = self.status.lock().clone()?;
        Some(AuditStatus {
            lost: self.metrics.lost(),
            ..status
        })
    }
}

/// The writing thread.
pub(super) struct Writer {
    shared: Arc<Shared>,
    open: Option<(AuditSettings, Chain)>,
    /// True if the path leads away from the open file, and could not be opened.
    is_elsewhere: bool,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            open: None,
            is_elsewhere: false,
        }
    }

    /// Takes orders until the last handle is dropped. A file that cannot be written is tried again
    /// by and by.
    pub(super) fn run(mut self, queue: &Receiver<AuditOrder>) {
        loop {
            let entry = if self.has_problem() {
                queue.recv_timeout(RETRY_INTERVAL)
            } else {
                queue.recv().map_err(RecvTimeoutError::from)
            };
            match entry {
                Ok(AuditOrder::Event(line)) => self.write(line),
                Ok(AuditOrder::Follow(settings, reply)) => {
                    reply.send(self.follow(settings)).ok();
                }
                Ok(AuditOrder::Flush(done)) => {
                    self.sync();
                    done.send(()).ok();
                }
                Err(RecvTimeoutError::Timeout) => self.retry(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Opens the file of these settings, if the open file is another. A path that was open before,
    /// and cannot be opened now, is a problem and no error: the lines go on into the open file.
    fn follow(&mut self, settings: Option<AuditSettings>) -> io::Result<()> {
        let Some(settings) = settings else {
            self.sync();
            self.open = None;
            self.is_elsewhere = false;
            self.shared.has_file.store(false, Ordering::Relaxed);
            *self.shared.status.lock() = None;
            return Ok(());
        };
        let is_known = self
            .open
            .as_ref()
            .is_some_and(|(open, _)| open.file == settings.file);
        if is_known {
            self.reopen_moved(&settings.file);
        } else {
            self.open_file(&settings)?;
        }
        if let Some((open, _)) = &mut self.open {
            *open = settings;
            let requests = open.scope == AuditScope::SecretsAndRequests;
            self.shared
                .records_requests
                .store(requests, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Opens the path of the open file anew, if the path leads elsewhere.
    fn reopen_moved(&mut self, path: &Path) {
        let Some((settings, chain)) = &self.open else {
            return;
        };
        if chain.is_at(path) {
            self.is_elsewhere = false;
            return;
        }
        let settings = settings.clone();
        match self.open_file(&settings) {
            Ok(()) => {
                tracing::info!(file = %path.display(), "the audit file was opened anew, and goes on after the last line")
            }
            Err(error) => {
                self.is_elsewhere = true;
                self.note_problem(&error, "the audit file was moved away and cannot be opened anew: lines go on into the moved file");
            }
        }
    }

    fn open_file(&mut self, settings: &AuditSettings) -> io::Result<()> {
        let after = self
            .open
            .as_ref()
            .map(|(_, chain)| chain.before().to_owned());
        let chain = Chain::open(&settings.file, after)?;
        self.sync();
        if chain.is_cut() {
            self.shared.count_lost();
        }
        *self.shared.status.lock() = Some(AuditStatus {
            file: settings.file.clone(),
            resumed_after: chain.before().to_owned(),
            problem: None,
            lost: 0,
        });
        self.open = Some((settings.clone(), chain));
        self.is_elsewhere = false;
        self.shared.has_file.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn write(&mut self, line: Map<String, Value>) {
        if !self.append(line) {
            self.shared.count_lost();
        }
    }

    /// Appends a line. Returns false if the line is lost.
    fn append(&mut self, line: Map<String, Value>) -> bool {
        if self.is_elsewhere
            && let Some((settings, _)) = &self.open
        {
            let path = settings.file.clone();
            self.reopen_moved(&path);
        }
        let Some((_, chain)) = &mut self.open else {
            return true;
        };
        let lost = self.shared.lost.swap(0, Ordering::Relaxed);
        match chain.append(line, lost) {
            Ok(()) => {
                self.note_success();
                true
            }
            Err(error) => {
                self.shared.lost.fetch_add(lost, Ordering::Relaxed);
                self.note_problem(&error, UNWRITABLE);
                false
            }
        }
    }

    /// Tries to write again: the line says how many events are lost.
    fn retry(&mut self) {
        self.append(event("written again", []));
    }

    fn sync(&mut self) {
        let synced = self.open.as_ref().map(|(_, chain)| chain.sync());
        if let Some(Err(error)) = synced {
            self.note_problem(&error, UNWRITABLE);
        }
    }

    fn has_problem(&self) -> bool {
        let status = self.shared.status.lock();
        status
            .as_ref()
            .is_some_and(|status| status.problem.is_some())
    }

    fn note_problem(&self, error: &io::Error, message: &'static str) {
        let mut status = self.shared.status.lock();
        let Some(status) = &mut *status else { return };
        let since = status.problem.as_ref().map(|problem| problem.since);
        if since.is_none() {
            tracing::error!(file = %status.file.display(), %error, "{message}");
        }
        status.problem = Some(AuditProblem {
            since: since.unwrap_or_else(SystemTime::now),
            reason: error.to_string(),
        });
    }

    fn note_success(&self) {
        let mut status = self.shared.status.lock();
        if let Some(status) = &mut *status
            && !self.is_elsewhere
            && status.problem.take().is_some()
        {
            let lost = self.shared.metrics.lost();
            tracing::warn!(file = %status.file.display(), lost, "the audit file can be written again; so many events are lost since the start");
        }
    }
}

/// The message about a file that takes no line.
const UNWRITABLE: &str = "the audit file cannot be written: events are lost";
/// The time between two tries to write a file that could not be written: few events are lost once
/// the disk has room again.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);
