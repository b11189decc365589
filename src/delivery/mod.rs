//! Deliveries: from the spool to applications and streams.
//!
//! ```text
//! Deliveries::apply      destinations as configured, each with a worker of its own
//! └ DestinationWorker::run          takes events while lanes, health and room let one out
//!   └ Way::attempt       one attempt, with an outcome
//!     spool.settle       done, again later, a dead letter, or the destination is down
//! ```

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

pub mod application;
mod failure;
pub mod metrics;
pub mod publish;
mod room;
pub mod signature;
pub mod way;
mod worker;

use metrics::DeliveryMetrics;
use room::Room;
use way::Way;
use worker::{DeadLetters, DestinationWorker};

use crate::beat::next_beat_of_traffic;
use crate::boot::BootTime;
use crate::config::SpoolConfig;
use crate::spool::{
    Destination, Sealing, Spool, SpoolClock, SpoolDestination, SpoolError, SpoolRefusal,
};
use crate::trace::Tracer;

/// A destination with the way to it.
#[derive(Clone, Debug)]
pub struct DeliveryTarget {
    /// The destination as the spool knows it.
    pub config: SpoolDestination,
    /// The way to the destination.
    pub way: Arc<Way>,
}

/// The deliveries of all destinations, each with a worker: a destination that hangs holds no other
/// destination up.
#[derive(Debug)]
pub struct Deliveries {
    spool: Arc<Spool>,
    room: Room,
    metrics: DeliveryMetrics,
    state: Mutex<DeliveryState>,
    stop: watch::Sender<bool>,
    tracer: Tracer,
}

#[derive(Debug, Default)]
struct DeliveryState {
    /// The targets of the last load.
    targets: Vec<DeliveryTarget>,
    /// The destinations that the spool was told of.
    set: Vec<SpoolDestination>,
    workers: HashMap<WorkerKey, RunningWorker>,
}

/// The names of webhook and destination.
type WorkerKey = (String, String);

#[derive(Debug)]
struct RunningWorker {
    to: Arc<Destination>,
    way: Arc<ArcSwap<Way>>,
    /// Dropped to stop the worker.
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Deliveries {
    /// Opens the spool. Nothing is delivered before [`Self::apply`].
    ///
    /// # Errors
    /// If the spool cannot be opened.
    pub async fn open(
        config: SpoolConfig,
        sealing: Sealing,
        metrics: DeliveryMetrics,
        tracer: Tracer,
    ) -> Result<Arc<Self>, SpoolError> {
        let clock = SpoolClock::start(Instant::now(), SystemTime::now(), BootTime::now());
        let path = config.dir.clone();
        // A store that was not closed is verified, which takes seconds.
        let opened = tokio::task::spawn_blocking(move || Spool::open(config, sealing, clock)).await;
        let spool = opened.unwrap_or_else(|error| {
            Err(SpoolError::Folder {
                path,
                error: std::io::Error::other(error),
            })
        })?;
        let deliveries = Arc::new(Self {
            spool: Arc::new(spool),
            room: Room::new(),
            metrics,
            state: Mutex::default(),
            stop: watch::Sender::new(false),
            tracer,
        });
        tokio::spawn(expire(
            Arc::clone(&deliveries.spool),
            deliveries.stop.subscribe(),
        ));
        Ok(deliveries)
    }

    /// Returns the spool.
    #[must_use]
    pub fn spool(&self) -> &Arc<Spool> {
        &self.spool
    }

    /// Takes the bounds and the key of a load.
    pub fn configure(&self, config: &SpoolConfig, sealing: Sealing) {
        self.spool.configure(config, sealing);
    }

    /// Delivers to `targets` from now on. Destinations from before keep the events under way. Older
    /// events for a new destination are added in the background, if there are many.
    ///
    /// # Errors
    /// If the spool cannot take the destinations; the destinations before stay.
    pub async fn apply(self: &Arc<Self>, targets: &[DeliveryTarget]) -> Result<(), SpoolRefusal> {
        let configs: Vec<_> = targets.iter().map(|target| target.config.clone()).collect();
        if self.state.lock().set != configs {
            let spool = Arc::clone(&self.spool);
            let wanted = configs.clone();
            let mut setting =
                tokio::spawn(async move { spool.set_destinations(wanted).await.map(drop) });
            match timeout(SETTING_TIMEOUT, &mut setting).await {
                Ok(set) => set.unwrap_or(Err(SpoolRefusal::Broken))?,
                Err(_) => self.follow(setting),
            }
        }
        {
            let mut state = self.state.lock();
            state.set = configs;
            state.targets = targets.to_vec();
        }
        self.work();
        Ok(())
    }

    /// Waits in the background for the spool to take destinations.
    fn follow(self: &Arc<Self>, setting: JoinHandle<Result<(), SpoolRefusal>>) {
        let deliveries = Arc::clone(self);
        tokio::spawn(async move {
            let set = setting.await.unwrap_or(Err(SpoolRefusal::Broken));
            if let Err(error) = set
                && error != SpoolRefusal::Closed
            {
                tracing::error!(%error, "the spool has not taken all destinations: reload to try again");
                deliveries.state.lock().set.clear();
            }
            deliveries.work();
        });
    }

    /// Gives each destination a worker, and stops the workers of destinations that are gone.
    fn work(&self) {
        let mut locked = self.state.lock();
        let state = &mut *locked;
        if *self.stop.borrow() {
            return;
        }
        let mut before = std::mem::take(&mut state.workers);
        let targets: HashMap<_, _> = state
            .targets
            .iter()
            .map(|target| ((&*target.config.webhook, &*target.config.name), target))
            .collect();
        for to in self.spool.destinations() {
            let way = targets.get(&(to.webhook(), to.name()));
            let Some(way) = way.map(|target| Arc::clone(&target.way)) else {
                continue;
            };
            let key = (to.webhook().to_owned(), to.name().to_owned());
            let running = match before
                .remove(&key)
                .filter(|running| Arc::ptr_eq(&running.to, &to))
            {
                Some(running) => {
                    let before = running.way.swap(Arc::clone(&way));
                    if !before.leads_where(&way) {
                        running.to.begin_anew();
                    }
                    running
                }
                None => self.start(to, way),
            };
            state.workers.insert(key, running);
        }
    }

    fn start(&self, to: Arc<Destination>, way: Arc<Way>) -> RunningWorker {
        let way = Arc::new(ArcSwap::from(way));
        let worker = DestinationWorker {
            spool: Arc::clone(&self.spool),
            metrics: self.metrics.of(to.webhook(), to.name()),
            to: Arc::clone(&to),
            way: Arc::clone(&way),
            room: self.room.of_one(),
            dead: Mutex::new(DeadLetters::default()),
            tracer: self.tracer.clone(),
        };
        let (stop, stopped) = watch::channel(false);
        RunningWorker {
            to,
            way,
            stop,
            task: tokio::spawn(Arc::new(worker).run(stopped)),
        }
    }

    /// Ends: deliveries under way are finished within `time` or given back, and the spool is synced
    /// and closed.
    pub async fn stop(&self, time: Duration) {
        self.stop.send_replace(true);
        let workers = std::mem::take(&mut self.state.lock().workers);
        let deadline = Instant::now() + time;
        for running in workers.values() {
            running.stop.send_replace(true);
        }
        for (_, mut running) in workers {
            let ended = tokio::time::timeout_at(deadline, &mut running.task).await;
            if ended.is_err() {
                running.task.abort();
                running.task.await.ok();
            }
        }
        let spool = Arc::clone(&self.spool);
        tokio::task::spawn_blocking(move || spool.close())
            .await
            .ok();
    }
}

/// Does what time asks for, until the end.
async fn expire(spool: Arc<Spool>, mut stop: watch::Receiver<bool>) {
    let mut is_recounted = false;
    loop {
        // A store whose disk failed at the start opens later.
        is_recounted = is_recounted || spool.recount_orders().await.is_ok();
        tokio::select! {
            _ = stop.changed() => return,
            () = next_beat_of_traffic(EXPIRE_INTERVAL) => {}
        }
        if let Err(error) = spool.expire().await {
            tracing::debug!(%error, "old events stay a while longer");
        }
    }
}

/// The time that a load waits for the spool to take destinations: a transaction takes some
/// milliseconds, and a load goes on without a disk that hangs.
const SETTING_TIMEOUT: Duration = Duration::from_secs(1);
/// The time between two searches for events that are too old: `max_age` counts in hours, and a
/// search may cost a transaction.
const EXPIRE_INTERVAL: Duration = Duration::from_secs(30);
