//! The sending of traces and metrics, as a part of the process.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::admin::Admin;
use crate::reload::Reloader;
use crate::telemetry::metrics::TelemetryMetrics;
use crate::telemetry::{Exporter, TelemetryReceiver, TelemetryReceiverError};

/// The exporter, ready to run.
pub(super) struct Telemetry(Option<Exporter>);

/// The running exporter, if the configuration has `[telemetry]`.
#[derive(Debug)]
pub(super) struct RunningTelemetry(Option<(oneshot::Sender<()>, JoinHandle<()>)>);

impl Telemetry {
    /// Prepares the exporter, and registers its metrics.
    ///
    /// # Errors
    /// If the configuration names a receiver that cannot be one.
    pub(super) fn prepare(
        reloader: &Reloader,
        registry: &mut Registry,
    ) -> Result<Self, TelemetryReceiverError> {
        let live = reloader.live();
        let tracer = reloader.tracer();
        let Some((config, recorder)) = live.config.telemetry.as_ref().zip(tracer.recorder()) else {
            return Ok(Self(None));
        };
        let receiver = TelemetryReceiver::new(config, &live.egress)?;
        let metrics = TelemetryMetrics::register(registry);
        let exporter = Exporter::new(Arc::clone(recorder), receiver, metrics);
        Ok(Self(Some(exporter)))
    }

    /// Begins to send.
    pub(super) fn start(self, admin: &Arc<Admin>) -> RunningTelemetry {
        RunningTelemetry(self.0.map(|exporter| {
            let admin = Arc::clone(admin);
            let read = move || {
                let admin = Arc::clone(&admin);
                async move { admin.metrics_text().await }
            };
            let (stop, stopped) = oneshot::channel();
            (stop, tokio::spawn(exporter.run(read, stopped)))
        }))
    }
}

impl RunningTelemetry {
    /// Sends what is left, and ends within a bound.
    pub(super) async fn stop(self) {
        let Some((stop, mut task)) = self.0 else {
            return;
        };
        // Fails only if the task has ended.
        stop.send(()).ok();
        if timeout(FLUSH_TIMEOUT, &mut task).await.is_err() {
            task.abort();
            tracing::warn!(
                "the last traces and metrics are lost: the receiver of [telemetry] did not take them in time"
            );
        }
    }
}

/// The time for the last traces and metrics, after the drain: one request to a receiver in reach,
/// and a stop is not held up by one out of reach.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
