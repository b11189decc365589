//! The watch over files: a reload after a change of content.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::inputs::RELOAD_PATIENCE;
use super::{ReloadCause, Reloader};
use crate::credential::source::{Digests, digests};

impl Reloader {
    /// Looks at the content of all files every `[reload] watch`, for as long as the process lives.
    ///
    /// Content and not events of the file system: Kubernetes replaces a link above the files, and some mounts
    /// tell of no change at all.
    pub(super) async fn watch_files(self: Arc<Self>) {
        let mut refused = None;
        loop {
            // Only the interval is taken along: a `Live` held while sleeping would keep replaced secrets in memory.
            let interval = self.live.load().config.reload.watch;
            tokio::time::sleep(interval.unwrap_or(DISABLED_CHECK_INTERVAL)).await;
            if interval.is_some() {
                self.reload_changed_files(&mut refused).await;
            }
        }
    }

    /// Looks for new secrets after the provider refused a request for the secret. A look-up is answered once new
    /// secrets are in use.
    ///
    /// Files are looked at a few times a second at most. Secret managers, which may charge for each request, are
    /// asked every second in the first minute of refusals, and then every [`MAX_ASK_INTERVAL`] at most. Files and
    /// values of a refused load are then tried again: the provider may accept the values by now. Then the provider is
    /// asked why it refuses what is in use.
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
            self.reload_changed_files(&mut refused_files).await;
            if asks_managers {
                asked.spawn(Arc::clone(&self).ask_managers());
                // A manager that hangs holds up no look at files.
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
    }

    /// Reloads if the content of any file has changed. Content `refused` by a load is not tried again.
    async fn reload_changed_files(&self, refused: &mut Option<Digests>) {
        let live = self.live();
        let paths: Vec<_> = live.digests.keys().cloned().collect();
        let Ok(now) = tokio::task::spawn_blocking(move || digests(paths)).await else {
            return;
        };
        if now != live.digests && refused.as_ref() != Some(&now) {
            let result = self.request_and_wait(ReloadCause::File).await;
            *refused = result.is_err().then_some(now);
        }
    }
}

/// The refusals of late, which decide when secret managers are asked.
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

/// The time between two looks at the configuration while the watch is "off".
const DISABLED_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The time between two look-ups after refused requests: reading a few files five times a second costs little.
const LOOKUP_INTERVAL: Duration = Duration::from_millis(200);
/// The time between two requests to secret managers just after a secret was refused: a new secret is on its way.
const MIN_ASK_INTERVAL: Duration = Duration::from_secs(1);
/// The time between two requests to secret managers while refusals go on.
const MAX_ASK_INTERVAL: Duration = Duration::from_secs(10);
/// The time for which a new secret is expected at any moment.
const URGENT: Duration = Duration::from_secs(60);
/// The time without a refusal after which the next refusal is a new incident.
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
