//! The requests to the reloader, and their service: one piece of work at a time.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::alarms::{Alarms, next_overlap_warning};
use super::cause::{Causes, ReloadCause};
use super::{ReloadError, ReloadResult, Reloaded, Reloader};
use crate::beat::next_beat;
use crate::credential::source::{LateAnswers, LateReads};
use crate::service_manager;

/// A request to the reloader, with a channel for the result.
#[derive(Debug)]
pub struct ReloadRequest {
    work: Work,
    pub(super) reply: Option<oneshot::Sender<ReloadResult>>,
}

/// The work of the reloader. One piece is done at a time.
#[derive(Clone, Debug)]
pub(super) enum Work {
    /// Load everything again, for the given cause.
    Reload(ReloadCause),
    /// Try the secrets of incomplete credentials again, and the files that cannot be used.
    RetryIncomplete,
    /// Put late answers of programs and secret managers in use.
    TakeAnswers(LateAnswers),
}

impl ReloadRequest {
    /// Returns the cause of a reload; `None` for other work.
    pub(super) fn cause(&self) -> Option<ReloadCause> {
        match &self.work {
            Work::Reload(cause) => Some(cause.clone()),
            Work::RetryIncomplete | Work::TakeAnswers(_) => None,
        }
    }

    /// True if whoever asks waits for late answers as well: a person, or a renewal whose new token
    /// may be in a manager. The checks of files and managers go on without them.
    fn waits_for_late(&self) -> bool {
        match &self.work {
            Work::Reload(cause) => match cause {
                ReloadCause::Request(_) | ReloadCause::BeforeRenewal | ReloadCause::Renewal => true,
                ReloadCause::Hangup
                | ReloadCause::File
                | ReloadCause::Manager
                | ReloadCause::AnotherTry
                | ReloadCause::RefusedConfiguration
                | ReloadCause::Retry => false,
            },
            Work::RetryIncomplete | Work::TakeAnswers(_) => false,
        }
    }
}

impl Reloader {
    /// Requests a reload without waiting. If the queue is full, a reload is about to start anyway.
    pub fn request(&self, cause: ReloadCause) {
        self.requests
            .try_send(ReloadRequest {
                work: Work::Reload(cause),
                reply: None,
            })
            .ok();
    }

    /// Tries the secrets of incomplete credentials and unusable files again, and waits for the end.
    pub(super) async fn retry_and_wait(&self) {
        let live = self.live();
        let mut credentials = live.credentials.values();
        let is_complete = !credentials.any(|credential| credential.is_incomplete());
        if is_complete && live.kept_inputs.is_empty() {
            return;
        }
        self.work_and_wait(Work::RetryIncomplete).await.ok();
    }

    /// Requests a reload and waits for the changes.
    ///
    /// # Errors
    /// If the reload is refused, or the process ends. For a person also if nothing changed while a
    /// program or a secret manager could not be read: a new value may be there.
    pub async fn request_and_wait(&self, cause: ReloadCause) -> ReloadResult {
        self.work_and_wait(Work::Reload(cause)).await
    }

    pub(super) async fn work_and_wait(&self, work: Work) -> ReloadResult {
        let (reply, result) = oneshot::channel();
        let request = ReloadRequest {
            work,
            reply: Some(reply),
        };
        self.requests
            .send(request)
            .await
            .map_err(|_| ReloadError::Stopping)?;
        result.await.map_err(|_| ReloadError::Stopping)?
    }

    /// Serves requests for reloads, one reload at a time, and drops previous secrets at the end of
    /// the overlap. All requests waiting at the start of a reload share the result.
    pub(super) async fn serve(self: Arc<Self>, mut queue: mpsc::Receiver<ReloadRequest>) {
        let mut waiting = Vec::new();
        let mut sent = HashSet::new();
        let mut alarms = Alarms::default();
        self.keep_sights(&mut sent).await;
        loop {
            let number = self.live.load().generation.number;
            tokio::select! {
                count = queue.recv_many(&mut waiting, MAX_REQUESTS) => if count == 0 { return },
                () = self.next_overlap_end() => self.drop_expired().await,
                () = self.next_overlap_warning() => {}
                () = next_beat(STATE_INTERVAL) => {}
            }
            let has_work = !waiting.is_empty();
            if has_work {
                let (result, late) = self.work(&waiting).await;
                // The reader of the reply may end the process at once: the replaced secrets are on
                // disk by then.
                self.sync_overlaps().await;
                self.reply(&mut waiting, result, late);
            } else {
                self.sync_overlaps().await;
            }
            alarms.raise_overlaps(&self.live());
            self.keep_sights(&mut sent).await;
            // A sync of the state without a change is no work for the watchers.
            if has_work || self.live.load().generation.number != number {
                self.finished.send_replace(());
            }
            // A storm of signals costs a bounded share of the processor, and the last signal
            // counts.
            tokio::time::sleep(MIN_INTERVAL).await;
        }
    }

    /// Does the work of all waiting requests at once: a reload tries incomplete credentials again
    /// as well. Returns the result with the reads that the work did not wait for.
    async fn work(&self, waiting: &[ReloadRequest]) -> (ReloadResult, LateReads) {
        let mut changes = Vec::new();
        for request in waiting {
            if let Work::TakeAnswers(answers) = &request.work
                && let Ok(taken) = self.take_answers(answers).await
            {
                changes.extend(taken.changes);
            }
        }
        let causes = waiting.iter().filter_map(ReloadRequest::cause);
        if let Some(causes) = Causes::new(causes) {
            service_manager::reloading();
            let result = self.reload(&causes).await;
            service_manager::ready(&self.summary());
            return result;
        }
        let is_retry = |request: &ReloadRequest| matches!(request.work, Work::RetryIncomplete);
        let late = if waiting.iter().any(is_retry) {
            self.retry_incomplete().await
        } else {
            LateReads::default()
        };
        let kept_back = self.live().kept_back();
        (Ok(Reloaded { changes, kept_back }), late)
    }

    /// Replies to the requests. Requests that wait for late answers get their reply after these.
    fn reply(
        self: &Arc<Self>,
        waiting: &mut Vec<ReloadRequest>,
        result: ReloadResult,
        late: LateReads,
    ) {
        let is_late = !late.is_empty();
        let (later, now): (Vec<_>, Vec<_>) = waiting
            .drain(..)
            .partition(|request| is_late && request.waits_for_late());
        for reply in now.into_iter().filter_map(|request| request.reply) {
            reply.send(result.clone()).ok();
        }
        if is_late {
            tokio::spawn(Arc::clone(self).follow_up(late, result, later));
        }
    }

    /// Waits until the next overlap of a previous secret set ends.
    async fn next_overlap_end(&self) {
        let end = self
            .live
            .load()
            .credentials
            .values()
            .filter_map(|credential| credential.next_overlap_end())
            .min();
        match end {
            Some(end) => tokio::time::sleep_until(end).await,
            None => std::future::pending().await,
        }
    }

    /// Waits until the next overlap of a previous secret set is nearly over.
    async fn next_overlap_warning(&self) {
        let warning = next_overlap_warning(&self.live.load(), Instant::now());
        match warning {
            Some(warning) => tokio::time::sleep_until(warning).await,
            None => std::future::pending().await,
        }
    }
}

/// The number of requests in the queue. All waiting requests share one reload: more would gain no
/// reload.
pub(super) const MAX_REQUESTS: usize = 16;
/// The time between two syncs with the folder of the state, without a reload in between: what a
/// crash loses is a minute old.
const STATE_INTERVAL: Duration = Duration::from_secs(60);
/// The time between two reloads: at most 50 a second, however many signals arrive.
const MIN_INTERVAL: Duration = Duration::from_millis(20);
