//! Traces and metrics to a receiver of OTLP over HTTP: <https://opentelemetry.io/docs/specs/otlp/>.
//!
//! The messages come from the crate `opentelemetry-proto`. The SDK of OpenTelemetry is left out: it
//! would bring a thread, a second client of HTTP and a second registry of metrics. Requests go
//! through this program's own client, and the metrics are the families of `/metrics`.
//!
//! No work waits for the receiver. Refused spans stay in a queue with a bound, and are lost past
//! the bound; refused metrics are outdated a minute later. Both losses are counted.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

mod encoded;
mod exposition;
pub mod metrics;
mod pace;
mod receiver;
mod resource;

use encoded::ProcessFacts;
use metrics::TelemetryMetrics;
use pace::{ExportPace, PaceChange};
use receiver::{NotTaken, TelemetrySignal};
pub use receiver::{TelemetryReceiver, TelemetryReceiverError};

use crate::trace::{Recorder, SpanRecord};

/// Sends traces and metrics, until the end of the process.
#[derive(Debug)]
pub struct Exporter {
    recorder: Arc<Recorder>,
    receiver: TelemetryReceiver,
    described: Arc<ProcessFacts>,
    metrics: TelemetryMetrics,
    pace: ExportPace,
    /// The spans that the receiver has not taken yet.
    pending: Option<Batch>,
}

/// Spans in the form of a request, with their number.
#[derive(Clone, Debug)]
struct Batch {
    body: Bytes,
    spans: u64,
}

impl Exporter {
    /// Returns an exporter of the spans in the queue of `recorder`.
    #[must_use]
    pub fn new(
        recorder: Arc<Recorder>,
        receiver: TelemetryReceiver,
        metrics: TelemetryMetrics,
    ) -> Self {
        Self {
            recorder,
            receiver,
            described: Arc::new(ProcessFacts::new(resource::own(), SystemTime::now())),
            metrics,
            pace: ExportPace::default(),
            pending: None,
        }
    }

    /// Sends what there is from time to time, until `stop`; then once more. `read` returns the
    /// metrics as OpenMetrics text.
    pub async fn run<F>(mut self, read: impl Fn() -> F, mut stop: oneshot::Receiver<()>)
    where
        F: Future<Output = Option<String>>,
    {
        let mut metrics_due = Instant::now() + FIRST_METRICS;
        loop {
            let now = Instant::now();
            let spans_due = self.pace.not_before().max(now + SPAN_INTERVAL);
            let is_quiet = now < self.pace.not_before();
            tokio::select! {
                biased;
                _ = &mut stop => break,
                () = self.recorder.batch(), if !is_quiet => {}
                () = sleep_until(spans_due.min(metrics_due)) => {}
            }
            let now = Instant::now();
            if now >= metrics_due {
                metrics_due = now + METRICS_INTERVAL;
                self.send_metrics(read().await).await;
            }
            if now >= self.pace.not_before() {
                self.send_spans().await;
            }
        }
        self.send_spans().await;
        self.send_metrics(read().await).await;
    }

    /// Sends the spans in the queue, as long as the receiver takes them.
    async fn send_spans(&mut self) {
        self.metrics
            .count_lost(TelemetrySignal::Traces, self.recorder.take_lost());
        while let Some(batch) = self.next_batch().await {
            let sent = self
                .receiver
                .send(TelemetrySignal::Traces, batch.body.clone())
                .await;
            let is_waiting = matches!(&sent, Err(error) if error.may_pass());
            if is_waiting {
                self.pending = Some(batch);
            } else {
                let lost = match &sent {
                    Ok(rejected) => *rejected,
                    Err(_) => batch.spans,
                };
                self.metrics.count_lost(TelemetrySignal::Traces, lost);
            }
            self.note(TelemetrySignal::Traces, sent);
            if is_waiting {
                return;
            }
        }
    }

    /// Returns the spans that the receiver has not taken, or the next ones of the queue.
    async fn next_batch(&mut self) -> Option<Batch> {
        if let Some(pending) = self.pending.take() {
            return Some(pending);
        }
        let spans = self.recorder.take(MAX_BATCH);
        if spans.is_empty() {
            return None;
        }
        let described = Arc::clone(&self.described);
        let encode = move |spans: Vec<SpanRecord>| Batch {
            spans: spans.len() as u64,
            body: described.spans(spans),
        };
        tokio::task::spawn_blocking(move || encode(spans))
            .await
            .ok()
    }

    /// Sends metrics. Metrics that the receiver does not take are lost: the next ones tell more.
    async fn send_metrics(&mut self, text: Option<String>) {
        let Some(text) = text else {
            return;
        };
        let described = Arc::clone(&self.described);
        let encode = move || described.metrics(&text, SystemTime::now());
        let Ok(body) = tokio::task::spawn_blocking(encode).await else {
            return;
        };
        let sent = self.receiver.send(TelemetrySignal::Metrics, body).await;
        let lost = sent.as_ref().map_or(1, |rejected| u64::from(*rejected > 0));
        self.metrics.count_lost(TelemetrySignal::Metrics, lost);
        self.note(TelemetrySignal::Metrics, sent);
    }

    /// Takes note of a result: a line at the begin of the trouble, and a line at the end.
    fn note(&mut self, signal: TelemetrySignal, sent: Result<u64, NotTaken>) {
        let change = match &sent {
            Ok(_) => {
                self.metrics.taken();
                self.pace.succeeded()
            }
            Err(_) => {
                self.metrics.not_taken();
                self.pace.failed(Instant::now())
            }
        };
        let receiver = self.receiver.url();
        let signal = signal.as_str();
        match (change, sent) {
            (PaceChange::Began, Err(error)) => tracing::warn!(
                receiver,
                signal,
                %error,
                "telemetry is not taken: look at the receiver of [telemetry] otlp; spans wait in a queue with a bound, and requests \
                 go on"
            ),
            (PaceChange::Ended, _) => tracing::info!(receiver, signal, "telemetry is taken again"),
            (PaceChange::None | PaceChange::Began, _) => {}
        }
    }
}

/// The longest wait of a span for further spans, so a trace is soon complete.
const SPAN_INTERVAL: Duration = Duration::from_secs(1);
/// The spans of one request to the receiver: about 300 kB, far below the 4 MiB that receivers take.
const MAX_BATCH: usize = 512;
/// The interval of metrics: the default of OpenTelemetry's SDKs.
const METRICS_INTERVAL: Duration = Duration::from_secs(60);
/// The time after which metrics are sent for the first time, so that a wrong receiver is noticed
/// soon after the start.
const FIRST_METRICS: Duration = Duration::from_secs(2);
