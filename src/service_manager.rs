//! Messages to the service manager of the process, such as systemd: sd_notify(3). Without a service
//! manager, nothing is said.

use std::time::Duration;

use sd_notify::NotifyState;

/// Tells that the sidecar serves, with a line for people.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Tells the beginning of a reload. [`ready`] tells the end, after a refusal as well.
pub fn reloading() {
    let mut states = vec![NotifyState::Reloading];
    // systemd takes the time for proof that the message is not an older one.
    states.extend(NotifyState::monotonic_usec_now().ok());
    tell(&states);
}

/// Tells that the sidecar stops.
pub fn stopping(status: &str) {
    tell(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

/// Sends signs of life, as often as the service manager asks for. The task shares the thread of the
/// requests: the signs end when requests are no longer served. Returns at once without a question.
pub async fn show_life() {
    let Some(patience) = sd_notify::watchdog_enabled() else {
        return;
    };
    loop {
        tell(&[NotifyState::Watchdog]);
        tokio::time::sleep(interval(patience)).await;
    }
}

/// Returns the time between two signs of life: two may be lost within `patience`.
fn interval(patience: Duration) -> Duration {
    (patience / 3).max(MIN_INTERVAL)
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be told (NOTIFY_SOCKET)");
    }
}

/// The shortest time between two signs of life: a hundred a second cost no CPU time worth a word,
/// whatever the unit file says.
const MIN_INTERVAL: Duration = Duration::from_millis(10);
