//! Asks programs and secret managers again, from time to time.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use super::load::all_references;
use super::{Live, Reloader};
use crate::config::Reference;
use crate::credential::source::{Findings, read_all};
use crate::secret::Fingerprint;

impl Reloader {
    /// Asks every `refresh`, sooner where something was not to be had, and asks for a reload when there is something
    /// new, for as long as the process lives.
    pub(super) async fn refresh(self: Arc<Self>) {
        let (mut failures, mut refused, mut asked) = (0, None, Instant::now());
        loop {
            let managers = Arc::clone(&self.live.load().managers);
            // A reload between two times may have found one that does not answer.
            if failures == 0 && managers.any_failed() {
                failures = 1;
            }
            let look = Instant::now() + LOOK;
            let session_due = managers.keep_sessions().await.unwrap_or(look);
            let due = self.interval(failures).map(|interval| asked + interval);
            tokio::time::sleep_until(due.unwrap_or(look).min(session_due).min(look)).await;
            if due.is_some_and(|due| due <= Instant::now()) {
                self.ask_again(&mut refused).await;
                failures = if managers.any_failed() { failures.saturating_add(1) } else { 0 };
                asked = Instant::now();
            }
        }
    }

    /// How long from one time to the next, after so many failures in a row; `None` where that is "off".
    fn interval(&self, failures: u32) -> Option<Duration> {
        let configured = self.live.load().config.reload.refresh;
        if failures == 0 {
            return configured;
        }
        let backed_off = BACK_OFF.saturating_mul(2_u32.saturating_pow(failures - 1)).min(MOST);
        // Sidecars that lost their manager at one time do not come back at one time.
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().subsec_nanos();
        Some(backed_off.min(configured.unwrap_or(MOST)).mul_f64(0.75 + f64::from(nanos) / 2e9))
    }

    /// Reloads if there is something new; what was `refused` once is not tried again until it is another still.
    pub(super) async fn ask_again(&self, refused: &mut Option<Vec<News>>) {
        let (references, managers) = {
            let live = self.live();
            let all = all_references(&live.config);
            (all.into_iter().filter(Reference::is_asked_for).collect(), Arc::clone(&live.managers))
        };
        let failed_before = managers.any_failed();
        let findings = read_all(references, &managers).await.findings;
        let news = news(&self.live(), &findings);
        let is_back = failed_before && !managers.any_failed();
        if (!news.is_empty() || is_back) && refused.as_ref() != Some(&news) {
            let result = self.ask_and_wait("a secret manager has a new value").await;
            *refused = result.is_err().then_some(news);
        }
    }
}

/// A value that is not the one in use.
type News = (Reference, Fingerprint);

fn news(live: &Live, findings: &Findings) -> Vec<News> {
    let slots = || live.credentials.values().flat_map(|credential| credential.slots().values());
    let of_limits = live.config.limits.as_ref().map(|limits| &limits.redis);
    let is_held = |reference: &Reference, fingerprint: Fingerprint| {
        if of_limits == Some(reference) && live.shared().and_then(|shared| shared.fingerprint()) == Some(fingerprint) {
            return true;
        }
        let all = slots().flat_map(|slot| std::iter::once(&slot.current).chain(&slot.accepted));
        all.filter(|held| held.reference == *reference).any(|held| held.fingerprint() == fingerprint)
    };
    let found = findings
        .iter()
        .filter_map(|(reference, found)| Some((reference.clone(), found.as_ref().ok()?.secret.fingerprint())));
    found.filter(|(reference, fingerprint)| !is_held(reference, *fingerprint)).collect()
}

/// How soon a reload that found a manager down has an effect here.
const LOOK: Duration = Duration::from_secs(5);
const BACK_OFF: Duration = Duration::from_secs(1);
const MOST: Duration = Duration::from_secs(60);
