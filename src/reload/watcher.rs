//! The watch over files: a reload after a change of content.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::inputs::RELOAD_PATIENCE;
use super::notices::{Followed, Gap, Notices};
use super::{ReloadCause, Reloader};
use crate::beat::next_beat;
use crate::credential::source::{Care, SeenFiles};

impl Reloader {
    /// Checks all files for changes, for as long as the process lives.
    ///
    /// The files are checked after a notice, and every [`POLL_INTERVAL`] for changes without a
    /// notice. If the kernel does not give notice of every change, the files are checked every
    /// `[reload] watch`.
    pub(super) async fn watch_files(self: Arc<Self>) {
        let mut watch = FileWatch::default();
        let mut finished = self.finished();
        loop {
            // Only the interval is taken along: a `Live` held while sleeping would keep replaced
            // secrets in memory.
            let interval = self.live.load().config.reload.watch;
            match interval {
                Some(interval) => {
                    let poll_interval = self.poll_interval();
                    let woken = watch.wait(interval, poll_interval, &mut finished).await;
                    self.follow_files(&mut watch).await;
                    let care = watch.care();
                    let is_loaded = self.reload_changed_files(care, &mut watch.refused).await;
                    if !is_loaded && woken != WakeReason::Reload && watch.is_retry_due(woken) {
                        self.try_refused_again().await;
                    }
                }
                None => {
                    finished.changed().await.ok();
                }
            }
        }
    }

    /// Returns the time between two checks without a notice.
    fn poll_interval(&self) -> Duration {
        if self.refused_load.lock().is_empty() {
            POLL_INTERVAL
        } else {
            RETRY_INTERVAL
        }
    }

    /// Loads a refused configuration again: only the refused load knows all of its files, and one
    /// of them may be mended by now. A refusal for the same reasons is not logged again.
    async fn try_refused_again(&self) {
        if !self.refused_load.lock().is_empty() {
            self.request_and_wait(ReloadCause::AnotherTry).await.ok();
        }
    }

    /// Follows the folders of all files in use. Logs once if there are too many folders.
    async fn follow_files(&self, watch: &mut FileWatch) {
        let live = self.live();
        let Some(notices) = watch.notices.clone() else {
            return;
        };
        let before = std::mem::take(&mut watch.followed);
        let had_gap = before.as_ref().and_then(|followed| followed.gap);
        let follow = move || {
            let files = live.files.load();
            let paths: Vec<_> = files.paths().map(Path::to_owned).collect();
            notices.follow(&paths, &live.config_files, &before.unwrap_or_default())
        };
        watch.followed = tokio::task::spawn_blocking(follow).await.ok();
        let gap = watch.followed.as_ref().and_then(|followed| followed.gap);
        if gap == Some(Gap::TooManyFolders) && gap != had_gap {
            tracing::warn!(
                "the kernel tells of changes in no more folders: every file is looked at instead; raise \
                 fs.inotify.max_user_watches"
            );
        }
    }

    /// Looks for new secrets after the provider refused a request for the secret. A look-up is
    /// answered once new secrets are in use.
    ///
    /// Files are checked a few times a second at most. Secret managers, which may charge for each
    /// request, are asked every second in the first minute of refusals, and then every
    /// [`MAX_ASK_INTERVAL`] at most. Files and values of a refused load are then tried again: the
    /// provider may accept the values by now. Then the provider is asked why it refuses what is in
    /// use.
    pub(super) async fn look_up_secrets(
        self: Arc<Self>,
        mut lookups: mpsc::Receiver<oneshot::Sender<()>>,
    ) {
        let mut waiting = Vec::new();
        let mut refused_files = None;
        let mut refusals = Refusals::default();
        let mut asked = JoinSet::new();
        while lookups.recv_many(&mut waiting, usize::MAX).await > 0 {
            // A question to managers that is under way still is asked once more after its end.
            while asked.try_join_next().is_some() {}
            let asks_managers = asked.is_empty() && refusals.asks_managers(Instant::now());
            if asks_managers {
                refused_files = None;
            }
            self.reload_changed_files(Care::Metadata, &mut refused_files)
                .await;
            if asks_managers {
                asked.spawn(Arc::clone(&self).ask_managers());
                // A hanging manager holds up no check of files.
                timeout(RELOAD_PATIENCE, asked.join_next()).await.ok();
            }
            for done in waiting.drain(..) {
                done.send(()).ok();
            }
            // A provider that thinks about the question holds up no look-up.
            let asking = Arc::clone(&self);
            tokio::spawn(async move { asking.ask_about_refused_credentials().await });
            tokio::time::sleep(LOOKUP_INTERVAL).await;
        }
    }

    /// Tries incomplete credentials again, and asks managers for new values.
    async fn ask_managers(self: Arc<Self>) {
        self.retry_and_wait().await;
        self.reload_new_values(&mut None).await;
        self.finished.send_replace(());
    }

    /// Reloads if the content of any file has changed, and returns true then. Content `refused` by
    /// a load is not tried again.
    async fn reload_changed_files(&self, care: Care, refused: &mut Option<SeenFiles>) -> bool {
        let live = self.live();
        let files = live.files.load_full();
        let check = move || {
            let now = files.checked(care).0;
            let is_changed = now != *files;
            (now, is_changed)
        };
        let Ok((now, is_changed)) = tokio::task::spawn_blocking(check).await else {
            return false;
        };
        if !is_changed {
            // An equal content may have new metadata, noted here so that the next check need not
            // read the file.
            live.files.store(Arc::new(now));
            return false;
        }
        if refused.as_ref() == Some(&now) {
            return false;
        }
        drop(live);
        let result = self.request_and_wait(ReloadCause::File).await;
        *refused = result.is_err().then_some(now);
        true
    }
}

/// The watch over the files in use.
struct FileWatch {
    /// `None` where the kernel gives no notices.
    notices: Option<Notices>,
    /// `None` before the first check.
    followed: Option<Followed>,
    /// The contents that a load has refused.
    refused: Option<SeenFiles>,
    last_read: Instant,
    /// The last time at which a refused configuration was due to be tried again.
    last_try: Instant,
}

/// The reason for a check of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WakeReason {
    /// The kernel gave notice of a change in a followed folder.
    Notice,
    /// A reload has ended, perhaps with new files.
    Reload,
    Time,
}

impl Default for FileWatch {
    fn default() -> Self {
        Self {
            notices: Notices::open().ok(),
            followed: None,
            refused: None,
            last_read: Instant::now(),
            last_try: Instant::now(),
        }
    }
}

impl FileWatch {
    /// Waits for the next check of files: after a notice or a reload, or after `poll_interval`
    /// without a notice.
    async fn wait(
        &mut self,
        interval: Duration,
        poll_interval: Duration,
        finished: &mut watch::Receiver<()>,
    ) -> WakeReason {
        let has_notices = self.followed.as_ref().is_some_and(|it| it.gap.is_none());
        let Some(notices) = self.notices.as_ref().filter(|_| has_notices) else {
            next_beat(interval).await;
            return WakeReason::Time;
        };
        let woken = tokio::select! {
            () = notices.wait() => WakeReason::Notice,
            _ = finished.changed() => WakeReason::Reload,
            () = next_beat(interval.max(poll_interval)) => return WakeReason::Time,
        };
        next_beat(interval).await;
        woken
    }

    /// Returns the care of the next check.
    fn care(&mut self) -> Care {
        if self.last_read.elapsed() < READ_INTERVAL {
            return Care::Metadata;
        }
        self.last_read = Instant::now();
        Care::Content
    }

    /// Returns true if a refused configuration is to be tried again, and notes the time.
    fn is_retry_due(&mut self, woken: WakeReason) -> bool {
        let is_due = woken == WakeReason::Notice || self.last_try.elapsed() >= RETRY_INTERVAL;
        if is_due {
            self.last_try = Instant::now();
        }
        is_due
    }
}

/// The recent refusals, which decide when secret managers are asked.
#[derive(Default)]
struct Refusals {
    began: Option<Instant>,
    last: Option<Instant>,
    last_asked: Option<Instant>,
}

impl Refusals {
    /// Records a refusal. Returns true if secret managers are to be asked now.
    fn asks_managers(&mut self, now: Instant) -> bool {
        let since = |then: Option<Instant>| then.map(|then| now.saturating_duration_since(then));
        if since(self.last).is_none_or(|quiet| quiet >= QUIET) {
            self.began = Some(now);
        }
        self.last = Some(now);
        let is_urgent = since(self.began).is_some_and(|lasting| lasting < URGENT);
        let interval = if is_urgent {
            MIN_ASK_INTERVAL
        } else {
            MAX_ASK_INTERVAL
        };
        let is_due = since(self.last_asked).is_none_or(|asked| asked >= interval);
        if is_due {
            self.last_asked = Some(now);
        }
        is_due
    }
}

/// The time between two checks of metadata without a notice: a folder may be mounted over another.
const POLL_INTERVAL: Duration = Duration::from_secs(60);
/// The time between two tries of a refused configuration, without a notice of a change: reading a
/// thousand files takes a tenth of a second of another thread.
const RETRY_INTERVAL: Duration = Duration::from_secs(15);
/// The time between two reads of all files, whatever their metadata: for file systems that keep the
/// time of a changed file.
const READ_INTERVAL: Duration = Duration::from_secs(600);
/// The time between two look-ups after refused requests: reading a few files five times a second
/// costs little.
const LOOKUP_INTERVAL: Duration = Duration::from_millis(200);
/// The time between two requests to secret managers just after a secret was refused: a new secret
/// is on its way.
const MIN_ASK_INTERVAL: Duration = Duration::from_secs(1);
/// The time between two requests to secret managers while refusals go on: managers bill requests,
/// and an outage of the provider may last hours.
const MAX_ASK_INTERVAL: Duration = Duration::from_secs(10);
/// The time for which a new secret is expected at any moment: whoever revokes a secret has put the
/// new one in place, or is about to.
const URGENT: Duration = Duration::from_secs(60);
/// The time without a refusal after which the next refusal is a new incident: requests in flight
/// are done by then.
const QUIET: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn managers_are_asked_every_second_for_a_minute_and_then_every_ten_seconds() {
        let mut refusals = Refusals::default();
        let begin = Instant::now();
        let mut asked = Vec::new();
        for tenth in 0..900 {
            let now = begin + Duration::from_millis(tenth * 100);
            if refusals.asks_managers(now) {
                asked.push(tenth / 10);
            }
        }
        let expected: Vec<_> = (0..60).chain([69, 79, 89]).collect();
        assert_eq!(asked, expected);
        let later = begin + Duration::from_secs(200);
        assert!(refusals.asks_managers(later));
        assert!(
            refusals.asks_managers(later + Duration::from_secs(1)),
            "a new incident"
        );
    }
}
