//! The spool and the deliveries of a load.

use std::sync::Arc;

use super::{Live, LoadError, Reloader};
use crate::delivery::Deliveries;
use crate::delivery::metrics::DeliveryMetrics;
use crate::spool::{Seal, Sealing, Spool};
use crate::trace::Tracer;

impl Reloader {
    /// Returns the store of events that wait on disk, if the configuration has one.
    #[must_use]
    pub fn spool(&self) -> Option<&Arc<Spool>> {
        self.deliveries
            .as_ref()
            .map(|deliveries| deliveries.spool())
    }

    /// Returns the deliveries of events that wait on disk, if the configuration has a spool.
    #[must_use]
    pub fn deliveries(&self) -> Option<&Arc<Deliveries>> {
        self.deliveries.as_ref()
    }

    /// Returns the metrics of deliveries, with the health of each destination.
    #[must_use]
    pub fn delivery_metrics(&self) -> DeliveryMetrics {
        self.metrics.deliveries.clone()
    }

    /// Takes the destinations of a load: the last step that can fail. The spool knows the
    /// destinations of each webhook before an event arrives for them.
    ///
    /// # Errors
    /// If the spool cannot take the destinations.
    pub(super) async fn take_destinations(&self, live: &Live) -> Result<(), LoadError> {
        let Some((deliveries, config)) = self.deliveries.as_ref().zip(live.config.spool.as_ref())
        else {
            return Ok(());
        };
        deliveries.configure(config, sealing(live));
        let applied = deliveries.apply(&live.targets).await;
        applied.map_err(LoadError::Destinations)
    }
}

/// Opens the spool of the first load; `None` without `[spool]`.
///
/// # Errors
/// If the spool cannot be opened, or takes no destinations.
pub(super) async fn open(
    live: &Live,
    metrics: &DeliveryMetrics,
    tracer: Tracer,
) -> Result<Option<Arc<Deliveries>>, LoadError> {
    let Some(config) = &live.config.spool else {
        return Ok(None);
    };
    let opened = Deliveries::open(config.clone(), sealing(live), metrics.clone(), tracer).await;
    let deliveries = opened.map_err(LoadError::Spool)?;
    let applied = deliveries.apply(&live.targets).await;
    applied.map_err(LoadError::Destinations)?;
    Ok(Some(deliveries))
}

/// Returns the sealing of events: with the keys of `[state] key`, if there are any.
fn sealing(live: &Live) -> Sealing {
    let is_wanted = live
        .config
        .state
        .as_ref()
        .is_some_and(|state| !state.key.is_empty());
    if !is_wanted {
        return Sealing::Off;
    }
    let keys = live.state.iter().flat_map(|state| state.spool_keys());
    Seal::new(keys).map_or(Sealing::KeyMissing, Sealing::On)
}
