//! The refresh: asks programs and secret managers again from time to time.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use super::inputs::asked_references;
use super::{Live, ReloadCause, Reloader};
use crate::config::Reference;
use crate::credential::source::{Findings, read_all};
use crate::secret::Fingerprint;

impl Reloader {
    /// Asks all managers every `[reload] refresh`, sooner after a failure, and reloads when a value
    /// is new. Runs for as long as the process lives.
    pub(super) async fn refresh_managers(self: Arc<Self>) {
        let mut failures = 0;
        let mut refused = None;
        let mut last_asked = Instant::now();
        let mut finished = self.finished();
        loop {
            let managers = Arc::clone(&self.live.load().managers);
            // A reload between two refreshes may have found a silent manager.
            if failures == 0 && managers.any_failed() {
                failures = 1;
            }
            let session_due = managers.keep_sessions().await;
            let configured = self.live.load().config.reload.refresh;
            let due =
                interval(configured, failures, jitter()).map(|interval| last_asked + interval);
            let wake = due.into_iter().chain(session_due).min();
            // A reload may have changed `refresh`, found a manager down, or opened a session.
            tokio::select! {
                () = sleep_until_any(wake) => {}
                _ = finished.changed() => {}
            }
            if due.is_some_and(|due| due <= Instant::now()) {
                self.reload_new_values(&mut refused).await;
                failures = if managers.any_failed() {
                    failures.saturating_add(1)
                } else {
                    0
                };
                last_asked = Instant::now();
            }
        }
    }

    /// Asks all managers, and reloads if a value is new. Values `refused` by a load are not tried
    /// again.
    pub(super) async fn reload_new_values(&self, refused: &mut Option<Vec<NewValue>>) {
        let live = self.live();
        let managers = Arc::clone(&live.managers);
        let references = asked_references(&live.config)
            .into_iter()
            .filter(Reference::is_asked_for)
            .collect();
        drop(live);
        let failed_before = managers.any_failed();
        let findings = read_all(references, &managers).await.findings;
        let values = new_values(&self.live(), &findings);
        // Once a manager answers again, incomplete credentials can be filled.
        let is_back = failed_before && !managers.any_failed();
        if (!values.is_empty() || is_back) && refused.as_ref() != Some(&values) {
            let result = self.request_and_wait(ReloadCause::Manager).await;
            *refused = result.is_err().then_some(values);
        }
    }
}

/// A reference with the fingerprint of an unused value.
pub(super) type NewValue = (Reference, Fingerprint);

/// Returns the values from managers that are not in use.
fn new_values(live: &Live, findings: &Findings) -> Vec<NewValue> {
    let redis = live.config.limits.as_ref().map(|limits| &limits.redis);
    let redis_in_use = redis.zip(live.shared().and_then(|shared| shared.fingerprint()));
    let kept_back = live
        .credentials
        .values()
        .filter_map(|credential| credential.kept_back())
        .flat_map(|kept_back| kept_back.values());
    let known: HashSet<_> = live
        .credentials
        .values()
        .flat_map(|credential| credential.slots().values())
        .flat_map(|slot| slot.versions())
        .map(|version| (&version.reference, version.fingerprint()))
        .chain(kept_back)
        .chain(redis_in_use)
        .chain(
            live.webhook_values
                .iter()
                .map(|(reference, value)| (reference, *value)),
        )
        .collect();
    findings
        .iter()
        .filter_map(|(reference, found)| {
            let fingerprint = found.as_ref().ok()?.secret.fingerprint();
            Some((reference.clone(), fingerprint))
        })
        .filter(|(reference, fingerprint)| {
            !known.contains(&(reference, *fingerprint))
                && !is_state_key(live, reference, *fingerprint)
        })
        .collect()
}

/// True if a value is a key of the state in use.
fn is_state_key(live: &Live, reference: &Reference, fingerprint: Fingerprint) -> bool {
    let is_named = live
        .config
        .state
        .iter()
        .any(|state| state.key.contains(reference));
    is_named && live.state.iter().any(|state| state.has_key(fingerprint))
}

/// Returns the time from one refresh to the next; `None` while the refresh is "off" and nothing
/// failed.
///
/// After failures in a row the time begins at [`MIN_RETRY_INTERVAL`] and doubles. The `jitter`,
/// from 0 to 1, spreads the time: sidecars that lost a manager together must not return together.
fn interval(configured: Option<Duration>, failures: u32, jitter: f64) -> Option<Duration> {
    if failures == 0 {
        return configured;
    }
    let backed_off = MIN_RETRY_INTERVAL
        .saturating_mul(2_u32.saturating_pow(failures - 1))
        .min(MAX_RETRY_INTERVAL)
        .min(configured.unwrap_or(MAX_RETRY_INTERVAL));
    Some(backed_off.mul_f64(0.75 + jitter / 2.0))
}

/// Sleeps until a moment, or for ever.
async fn sleep_until_any(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake).await,
        None => std::future::pending().await,
    }
}

/// Returns the fraction of the current second: different enough between sidecars.
fn jitter() -> f64 {
    let nanos = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .subsec_nanos();
    f64::from(nanos) / 1e9
}

/// The time after a first failure: a manager that was restarted is back within seconds.
const MIN_RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// The longest time after any number of failures: a recovered manager is noticed within a minute.
const MAX_RETRY_INTERVAL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_doubles_with_failures_and_never_exceeds_the_configured_one() {
        let seconds = Duration::from_secs;
        for (configured, failures, expected) in [
            (None, 0, None),
            (Some(seconds(300)), 0, Some(seconds(300))),
            (None, 1, Some(seconds(1))),
            (Some(seconds(300)), 1, Some(seconds(1))),
            (Some(seconds(300)), 4, Some(seconds(8))),
            (Some(seconds(5)), 4, Some(seconds(5))),
            (Some(seconds(300)), 7, Some(seconds(60))),
            (None, u32::MAX, Some(seconds(60))),
        ] {
            assert_eq!(interval(configured, failures, 0.5), expected, "{failures}");
        }
    }

    #[test]
    fn the_jitter_spreads_a_retry_by_a_quarter_to_both_sides() {
        let millis = Duration::from_millis;
        assert_eq!(interval(None, 1, 0.0), Some(millis(750)));
        assert_eq!(interval(None, 1, 1.0), Some(millis(1250)));
    }
}
