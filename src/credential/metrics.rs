//! The metrics of credentials.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::secret::Fingerprint;

/// The counter of replaced secrets by credential and result. Clones share the family.
#[derive(Clone, Debug)]
pub struct Rotations(Family<RotationLabels, Counter>);

impl Rotations {
    /// Registers the family, without a series.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let family = Family::default();
        registry.register(
            "rotations",
            "Replaced secrets by credential and result",
            Family::clone(&family),
        );
        Self(family)
    }

    /// Makes every series of a credential, at 0: an alarm notices no first event of a new series.
    pub fn begin(&self, credential: &str) {
        for result in RESULTS {
            drop(self.0.get_or_create(&RotationLabels {
                credential: credential.to_owned(),
                result,
            }));
        }
    }

    /// Counts the end of a rotation.
    pub fn count(&self, credential: &str, result: &'static str) {
        self.0
            .get_or_create(&RotationLabels {
                credential: credential.to_owned(),
                result,
            })
            .inc();
    }
}

/// The age and the state of each credential: gauges, set before each reading of the metrics.
#[derive(Debug)]
pub struct CredentialMetrics {
    age: Family<SecretLabels, Gauge>,
    info: Family<InfoLabels, Gauge>,
    confirmed: Family<CredentialLabel, Gauge>,
    max_age: Family<CredentialLabel, Gauge>,
    expires: Family<CredentialLabel, Gauge>,
    usable: Family<CredentialLabel, Gauge>,
    kept_back: Family<CredentialLabel, Gauge>,
    sends_previous: Family<CredentialLabel, Gauge>,
    rotation_unfinished: Family<CredentialLabel, Gauge>,
}

impl CredentialMetrics {
    /// Registers the families, all without a series.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            age: Family::default(),
            info: Family::default(),
            confirmed: Family::default(),
            max_age: Family::default(),
            expires: Family::default(),
            usable: Family::default(),
            kept_back: Family::default(),
            sends_previous: Family::default(),
            rotation_unfinished: Family::default(),
        };
        registry.register(
            "credential_age_seconds",
            "Age of a secret",
            metrics.age.clone(),
        );
        registry.register(
            "credential_info",
            "1 for each secret, with the fingerprint of the value in use",
            metrics.info.clone(),
        );
        registry.register(
            "credential_confirmed_timestamp_seconds",
            "Time at which secret managers and programs last gave all secrets of a credential",
            metrics.confirmed.clone(),
        );
        registry.register(
            "credential_max_age_seconds",
            "Age that the secrets of a credential may reach, as configured",
            metrics.max_age.clone(),
        );
        registry.register(
            "credential_expires_seconds",
            "Time until a token expires, where the provider sets an end",
            metrics.expires.clone(),
        );
        registry.register(
            "credential_usable",
            "1 if requests can be sent with the credential, else 0",
            metrics.usable.clone(),
        );
        registry.register(
            "credential_kept_back",
            "1 if a source has a secret that cannot be used, and the secret before it stays in use, else 0",
            metrics.kept_back.clone(),
        );
        registry.register(
            "credential_sends_previous",
            "1 if requests are sent with the previous secret, because the provider refuses the newer one, else 0",
            metrics.sends_previous.clone(),
        );
        registry.register(
            "credential_rotation_unfinished",
            "1 if a rotation was cut off and nobody has brought it to its end; else absent",
            metrics.rotation_unfinished.clone(),
        );
        metrics
    }

    /// Removes every series. Without this, removed credentials would keep their last values.
    pub fn clear(&self) {
        self.age.clear();
        self.info.clear();
        self.confirmed.clear();
        self.max_age.clear();
        self.expires.clear();
        self.usable.clear();
        self.kept_back.clear();
        self.sends_previous.clear();
        self.rotation_unfinished.clear();
    }

    /// Sets the age of one secret.
    pub fn set_age(&self, credential: &str, secret: &str, age: Duration) {
        let labels = SecretLabels {
            credential: credential.to_owned(),
            secret: secret.to_owned(),
        };
        self.age.get_or_create(&labels).set(seconds(age));
    }

    /// Sets the fingerprint of the value in use of one secret.
    pub fn set_info(&self, credential: &str, secret: &str, fingerprint: Fingerprint) {
        let labels = InfoLabels {
            credential: credential.to_owned(),
            secret: secret.to_owned(),
            fingerprint: fingerprint.to_string(),
        };
        self.info.get_or_create(&labels).set(1);
    }

    /// Sets the time at which the sources last gave all secrets of a credential.
    pub fn set_confirmed(&self, credential: &str, at: SystemTime) {
        let since_epoch = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.confirmed
            .get_or_create(&label(credential))
            .set(seconds(since_epoch));
    }

    /// Sets the configured bound of the age of a credential's secrets.
    pub fn set_max_age(&self, credential: &str, max_age: Duration) {
        self.max_age
            .get_or_create(&label(credential))
            .set(seconds(max_age));
    }

    /// Sets the time until a credential's token expires.
    pub fn set_expires(&self, credential: &str, left: Duration) {
        self.expires
            .get_or_create(&label(credential))
            .set(seconds(left));
    }

    /// Sets the usability of a credential: true if requests can be sent.
    pub fn set_usable(&self, credential: &str, is_usable: bool) {
        self.usable
            .get_or_create(&label(credential))
            .set(i64::from(is_usable));
    }

    /// Sets whether newer secrets of a credential are kept back.
    pub fn set_kept_back(&self, credential: &str, is_kept_back: bool) {
        self.kept_back
            .get_or_create(&label(credential))
            .set(i64::from(is_kept_back));
    }

    /// Sets whether requests are sent with the previous secrets of a credential.
    pub fn set_sends_previous(&self, credential: &str, is_previous: bool) {
        self.sends_previous
            .get_or_create(&label(credential))
            .set(i64::from(is_previous));
    }

    /// Tells of a cut-off rotation of a credential's secret. Other credentials have no series:
    /// hundreds of tenants would have a zero each.
    pub fn set_rotation_unfinished(&self, credential: &str) {
        self.rotation_unfinished
            .get_or_create(&label(credential))
            .set(1);
    }
}

/// The number of credentials up to which each has all its series from the start. With more, an idle
/// credential has the gauges of its main secret alone, so that the page stays small with hundreds
/// of tenants.
pub const FEW_CREDENTIALS: usize = 32;
/// The results of rotations.
const RESULTS: [&str; 6] = [
    "replaced",
    "refused",
    "fell_back",
    "renewal_impossible",
    "renewal_failed",
    "revocation_failed",
];

fn label(credential: &str) -> CredentialLabel {
    CredentialLabel {
        credential: credential.to_owned(),
    }
}

/// Returns whole seconds, as gauges hold them.
fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RotationLabels {
    credential: String,
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct SecretLabels {
    credential: String,
    secret: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct InfoLabels {
    credential: String,
    secret: String,
    fingerprint: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CredentialLabel {
    credential: String,
}
