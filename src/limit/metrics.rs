//! The metrics of limits.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::report::LimitUsage;
use crate::units::Rate;

/// The use of each limit: gauges, set before each reading of the metrics.
#[derive(Debug, Default)]
pub struct LimitMetrics {
    rate: Family<LimitLabels, Gauge<f64, AtomicU64>>,
    in_use: Family<LimitLabels, Gauge>,
    waiting: Family<LimitLabels, Gauge>,
    paused: Family<LimitLabels, Gauge>,
}

impl LimitMetrics {
    /// Registers the families, all without a series.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "limit_per_second",
            "Requests a second that a limit lets through",
            metrics.rate.clone(),
        );
        registry.register(
            "limit_in_use",
            "Senders, recipients, accounts or objects that have used some of their limit",
            metrics.in_use.clone(),
        );
        registry.register(
            "limit_waiting",
            "Requests in the queue of a limit",
            metrics.waiting.clone(),
        );
        registry.register(
            "limit_paused",
            "Senders, recipients, accounts or objects that are paused",
            metrics.paused.clone(),
        );
        metrics
    }

    /// Removes every series. Without this, removed routes would keep their last values.
    pub fn clear(&self) {
        self.rate.clear();
        self.in_use.clear();
        self.waiting.clear();
        self.paused.clear();
    }

    /// Sets the rate in force, if any, and the use of one limit of a route: `sender`, `recipient`,
    /// `account`, `management` or `object`. With slowed keys, the rate of the slowest counts.
    pub fn set(&self, route: &str, limit: &'static str, rate: Option<Rate>, usage: LimitUsage) {
        let labels = LimitLabels {
            route: route.to_owned(),
            limit,
        };
        if let Some(rate) = rate {
            let full = f64::from(rate.count.get()) / rate.per.as_secs_f64();
            let slowest = usage.slowest.map(|interval| 1.0 / interval.as_secs_f64());
            let in_force = slowest.map_or(full, |slowest| slowest.min(full));
            self.rate.get_or_create(&labels).set(in_force);
        }
        self.in_use.get_or_create(&labels).set(count(usage.in_use));
        self.waiting
            .get_or_create(&labels)
            .set(count(usage.waiting));
        self.paused.get_or_create(&labels).set(count(usage.paused));
    }
}

fn count(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct LimitLabels {
    route: String,
    limit: &'static str,
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_rate_is_that_of_the_slowest_key() {
        let metrics = LimitMetrics::register(&mut Registry::default());
        let rate = Rate {
            count: NonZeroU32::new(80).unwrap(),
            per: Duration::from_secs(1),
        };
        for (slowest, expected) in [(None, 80.0), (Some(100), 10.0), (Some(1), 80.0)] {
            let usage = LimitUsage {
                slowest: slowest.map(Duration::from_millis),
                ..LimitUsage::default()
            };
            metrics.set("acme", "sender", Some(rate), usage);
            let labels = LimitLabels {
                route: "acme".to_owned(),
                limit: "sender",
            };
            let shown = metrics.rate.get_or_create(&labels).get();
            assert!((shown - expected).abs() < 0.001, "{slowest:?}: {shown}");
        }
    }
}
