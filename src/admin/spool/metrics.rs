//! The metrics of the spool: gauges, set before each reading.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::alarm::AlarmKind;
use super::alarms::alarms;
use crate::spool::{StoredState, Survey};

/// The gauges of a sidecar with a spool.
#[derive(Debug, Default)]
pub(in crate::admin) struct SpoolMetrics {
    events: Family<EventLabels, Gauge>,
    oldest: Family<DestinationLabels, Gauge<f64, AtomicU64>>,
    destination_up: Family<DestinationLabels, Gauge>,
    bytes: Gauge,
    kept_bytes: Gauge,
    max_bytes: Gauge,
    up: Gauge,
    durable: Gauge,
    set_aside: Gauge,
}

impl SpoolMetrics {
    /// Registers the gauges.
    pub(in crate::admin) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "spool_events",
            "Events in the spool: waiting, delivered and kept, or dead letters",
            metrics.events.clone(),
        );
        registry.register(
            "spool_oldest_seconds",
            "Age of the oldest waiting event; 0 while none waits",
            metrics.oldest.clone(),
        );
        registry.register(
            "spool_destination_up",
            "1 while the destination accepts events, 0 while it is down, fails or is paused",
            metrics.destination_up.clone(),
        );
        for (name, help, gauge) in [
            (
                "spool_bytes",
                "Bytes of the events in the spool",
                &metrics.bytes,
            ),
            (
                "spool_kept_bytes",
                "Bytes of the delivered events in the spool, which make room for new ones",
                &metrics.kept_bytes,
            ),
            (
                "spool_max_bytes",
                "Bytes past which the spool accepts no event",
                &metrics.max_bytes,
            ),
            (
                "spool_up",
                "1 while the spool accepts events, 0 while it is full or its disk fails",
                &metrics.up,
            ),
            (
                "spool_durable",
                "1 if the spool's folder outlives the process, the pod and the machine",
                &metrics.durable,
            ),
            (
                "spool_set_aside",
                "1 while a damaged file stands where it was set aside",
                &metrics.set_aside,
            ),
        ] {
            registry.register(name, help, gauge.clone());
        }
        metrics
    }

    /// Sets every gauge. Series of former destinations go.
    pub(in crate::admin) fn set(&self, survey: &Survey) {
        self.events.clear();
        self.oldest.clear();
        self.destination_up.clear();
        for to in &survey.destinations {
            let of = DestinationLabels {
                webhook: to.webhook.clone(),
                to: to.name.clone(),
            };
            let is_empty = StoredState::ALL.iter().all(|state| to.count(*state) == 0);
            if !to.is_configured && is_empty {
                continue;
            }
            for state in StoredState::ALL {
                let labels = EventLabels {
                    webhook: to.webhook.clone(),
                    to: to.name.clone(),
                    state: state.as_str(),
                };
                self.events
                    .get_or_create(&labels)
                    .set(whole(to.count(state)));
            }
            let age = to.oldest.unwrap_or_default().as_secs_f64();
            self.oldest.get_or_create(&of).set(age);
            let is_up = to.is_configured && to.trouble.is_none();
            self.destination_up.get_or_create(&of).set(is_up.into());
        }
        let alarms = alarms(survey);
        let has = |kind| alarms.iter().any(|alarm| alarm.kind == kind);
        self.bytes.set(whole(survey.numbers.bytes));
        self.kept_bytes.set(whole(survey.numbers.kept_bytes));
        self.max_bytes.set(whole(survey.max_size));
        let refuses = alarms.iter().any(|alarm| alarm.kind.refuses_events());
        self.up.set((!refuses).into());
        self.durable.set((!has(AlarmKind::NotDurable)).into());
        self.set_aside.set(has(AlarmKind::SetAside).into());
    }
}

fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct EventLabels {
    webhook: String,
    to: String,
    state: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DestinationLabels {
    webhook: String,
    to: String,
}
