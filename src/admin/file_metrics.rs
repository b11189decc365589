//! The metrics of certificates and of the files with certificates.

use std::time::SystemTime;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::reload::{INBOUND, Live};
use crate::tls::Stage;

/// The gauges of certificates and their files.
#[derive(Debug)]
pub(super) struct FileMetrics {
    expires: Family<ListenerLabel, Gauge>,
    ends_soon: Family<ListenerLabel, Gauge>,
    kept_back: Family<KeyLabel, Gauge>,
}

impl FileMetrics {
    /// Registers the gauges.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            expires: Family::default(),
            ends_soon: Family::default(),
            kept_back: Family::default(),
        };
        registry.register(
            "certificate_expires_seconds",
            "Seconds until the certificate of a listener ends; 0 past the end",
            metrics.expires.clone(),
        );
        registry.register(
            "certificate_ends_soon",
            "1 in the last fifth of the life of a listener's certificate, in its last two weeks at most, and past the end",
            metrics.ends_soon.clone(),
        );
        registry.register(
            "file_kept_back",
            "1 while a file of certificates, or a value that is no credential's, cannot be used, and what was read before stays in use",
            metrics.kept_back.clone(),
        );
        metrics
    }

    /// Sets the gauges.
    pub(super) fn set(&self, live: &Live, now: SystemTime) {
        self.expires.clear();
        self.ends_soon.clear();
        self.kept_back.clear();
        for (key, tls) in live.server_tls.each() {
            let listener = match key {
                INBOUND => "inbound",
                _ => "outbound",
            };
            if let Some(validity) = &tls.validity {
                let left = i64::try_from(validity.left(now)).unwrap_or(i64::MAX);
                let label = ListenerLabel { listener };
                self.expires.get_or_create(&label).set(left);
                let ends_soon = matches!(validity.stage(now), Stage::Ending | Stage::Expired);
                self.ends_soon.get_or_create(&label).set(ends_soon.into());
            }
            let key = KeyLabel {
                key: key.to_owned(),
            };
            self.kept_back.get_or_create(&key).set(0);
        }
        for kept in &live.kept_inputs {
            let key = kept.serves.key();
            self.kept_back.get_or_create(&KeyLabel { key }).set(1);
        }
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ListenerLabel {
    listener: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KeyLabel {
    key: String,
}
