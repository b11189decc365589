//! The log lines about the health of routes: failures summed up, and their end.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::Instant;

use super::generation::Generation;
use crate::beat::next_beat_of_traffic;
use crate::log::{is_on_terminal, without_numbers};
use crate::traffic::{Burst, Recovery, Streak};

/// Logs, as often as once a minute and kind, the failures that no line has told of.
pub async fn sum_up_failures(generation: Arc<ArcSwap<Generation>>) {
    loop {
        next_beat_of_traffic(INTERVAL).await;
        let live = generation.load_full();
        for route in live.policy.routes() {
            let summary = route.traffic.sum_up(Instant::now());
            for burst in &summary.bursts {
                log_burst(&route.name, &route.credential.name, burst);
            }
            for ended in &summary.ended {
                log_end(&route.name, ended, ended.last - ended.since);
            }
            if is_on_terminal()
                && let Some(count) = route.traffic.sum_up_successes(Instant::now())
            {
                log_successes(&route.name, &route.credential.name, count);
            }
        }
    }
}

/// Logs failures of one kind.
pub(super) fn log_burst(route: &str, credential: &str, burst: &Burst) {
    let failure = &burst.failure;
    tracing::warn!(
        route,
        credential,
        class = failure.class.as_str(),
        status = failure.status,
        provider_code = failure.code.as_deref(),
        provider_subcode = failure.subcode.as_deref(),
        fbtrace_id = failure.trace.as_deref(),
        count = burst.count,
        reason = failure.reason,
        what_to_do = failure.remedy(),
        "requests fail"
    );
}

fn log_successes(route: &str, credential: &str, count: u64) {
    tracing::info!(route, credential, count, "requests succeed");
}

/// Logs the end of failures, and of a restriction; on a terminal, the first success as well.
pub(super) fn log_recovery(route: &str, credential: &str, recovery: &Recovery) {
    if recovery.is_first && is_on_terminal() {
        log_successes(route, credential, 1);
    }
    if let Some(streak) = &recovery.streak {
        log_end(route, streak, streak.since.elapsed());
    }
    if let Some(ended) = &recovery.restriction {
        tracing::info!(
            route,
            sender = without_numbers(&ended.sender),
            provider_code = ended.failure.code.as_deref(),
            refusals = ended.count,
            for_s = ended.since.elapsed().as_secs(),
            "the provider no longer restricts sending: a message has passed"
        );
    }
}

/// Logs the end of failures that lasted for `lasted`.
fn log_end(route: &str, streak: &Streak, lasted: Duration) {
    tracing::info!(
        route,
        class = streak.failure.class.as_str(),
        provider_code = streak.failure.code.as_deref(),
        failed = streak.count,
        for_s = lasted.as_secs(),
        "requests succeed again"
    );
}

/// The time between two looks for failures to tell of: the end of failures is told within ten
/// seconds.
const INTERVAL: Duration = Duration::from_secs(10);
