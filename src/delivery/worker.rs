//! The worker of one destination: takes events from the spool, sends the events, and notes the
//! outcomes.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::failure;
use super::metrics::DestinationMetrics;
use super::room::RoomOfOne;
use super::way::{Attempt, Way};
use crate::spool::{
    AttemptEnd, AttemptOutcome, AttemptVerdict, Delivery, Destination, HealthChange, Look, Spool,
    SpoolRefusal, TroubleKind,
};
use crate::trace::Tracer;
use crate::traffic::{Burst, Streak};

/// The worker of one destination.
#[derive(Debug)]
pub(super) struct DestinationWorker {
    pub(super) spool: Arc<Spool>,
    pub(super) to: Arc<Destination>,
    /// The way to the destination, which a reload changes.
    pub(super) way: Arc<ArcSwap<Way>>,
    pub(super) room: RoomOfOne,
    pub(super) metrics: DestinationMetrics,
    pub(super) dead: Mutex<DeadLetters>,
    pub(super) tracer: Tracer,
}

/// The dead letters since the last log line about them.
#[derive(Debug, Default)]
pub(super) struct DeadLetters {
    logged: Option<Instant>,
    unlogged: u64,
}

impl DestinationWorker {
    /// Delivers events until the spool is closed or `stop` changes. Then no further event is taken,
    /// and those under way are finished.
    pub(super) async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut under_way = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                _ = stop.changed() => break,
                taken = self.take(&mut under_way) => match taken {
                    Ok(()) => {}
                    Err(SpoolRefusal::Closed) => break,
                    Err(error) => {
                        tracing::warn!(webhook = self.to.webhook(), to = self.to.name(), %error, "no event can be taken from the spool");
                        tokio::time::sleep(BROKEN).await;
                    }
                },
            }
            while under_way.try_join_next().is_some() {}
        }
        while under_way.join_next().await.is_some() {}
    }

    /// Takes the next events, and begins to send them. An event is read when it has room in memory,
    /// so that destinations that hang fill the disk alone.
    async fn take(self: &Arc<Self>, under_way: &mut JoinSet<()>) -> Result<(), SpoolRefusal> {
        let mut bytes = 0;
        loop {
            let mut room = self.room.enter(bytes, MAX_TAKEN).await;
            match self.spool.look(&self.to, room.bounds()).await? {
                Look::Events(events) => {
                    for delivery in events {
                        let place = room.part(delivery.request.body.len());
                        let worker = Arc::clone(self);
                        under_way.spawn(async move {
                            worker.deliver(delivery).await;
                            drop(place);
                        });
                    }
                    return Ok(());
                }
                Look::TooLarge(size) => bytes = size,
                Look::Nothing(wait) => {
                    drop(room);
                    self.spool.wait(&self.to, wait).await;
                }
            }
        }
    }

    async fn deliver(&self, delivery: Delivery) {
        // load_full, not load: a guard held across an await would pin a slot of the swap.
        let way = self.way.load_full();
        let (outcome, failure) = match way.attempt(&delivery, &self.tracer).await {
            Attempt::Ended(outcome, failure) => (outcome, failure),
            // The delivery is given back: its destination is not at fault.
            Attempt::NotMade => return tokio::time::sleep(NOT_MADE).await,
        };
        let (burst, ended) = match &failure {
            Some(failure) => (self.metrics.failed(failure), None),
            None => (None, self.metrics.succeeded(SystemTime::now())),
        };
        let received_ms = delivery.event.head.received_ms;
        let id = delivery.event.head.id.clone();
        // Without an outcome on disk the event is delivered once more after the next start.
        let end = failure.map_or_else(
            || outcome.into(),
            |failure| AttemptEnd {
                outcome,
                reason: failure::told(&failure),
            },
        );
        let reason = end.reason.clone();
        let Ok(settled) = self.spool.settle(delivery, end).await else {
            return;
        };
        self.tell_change(settled.change, &reason);
        // A trouble has log lines of its own.
        if settled.change == HealthChange::None && self.to.trouble().is_none() {
            self.tell_failures(settled.verdict, burst.as_ref(), ended.as_ref());
        }
        match settled.verdict {
            AttemptVerdict::Done => self.metrics.delivered(received_ms, SystemTime::now()),
            AttemptVerdict::Dead => self.tell_dead(&id, outcome, &reason),
            AttemptVerdict::Again { .. } | AttemptVerdict::Down { .. } | AttemptVerdict::Paused => {
            }
        }
    }

    fn tell_change(&self, change: HealthChange, reason: &str) {
        let webhook = self.to.webhook();
        let to = self.to.name();
        match change {
            HealthChange::None => {}
            HealthChange::Ended(kind) => {
                let trouble = word(kind);
                tracing::info!(webhook, to, trouble, "destination accepts events again");
            }
            HealthChange::Began(TroubleKind::Down) => {
                tracing::warn!(
                    webhook,
                    to,
                    reason,
                    "destination is down: its events wait on disk, and a probe goes out every 2 s at the latest"
                );
            }
            HealthChange::Began(TroubleKind::Failing) => {
                tracing::warn!(
                    webhook,
                    to,
                    reason,
                    "destination fails: its events wait on disk, and one at a time goes out as a probe"
                );
            }
            HealthChange::Began(TroubleKind::Paused) => {
                tracing::error!(
                    webhook,
                    to,
                    reason,
                    "destination refuses everything and is paused: its events wait on disk, and a probe goes out every 30 s"
                );
            }
        }
    }

    /// Logs failed attempts of a destination that is not in trouble, and their end.
    fn tell_failures(
        &self,
        verdict: AttemptVerdict,
        burst: Option<&Burst>,
        ended: Option<&Streak>,
    ) {
        let webhook = self.to.webhook();
        let to = self.to.name();
        if let (AttemptVerdict::Again { after, .. }, Some(burst)) = (verdict, burst) {
            tracing::warn!(
                webhook,
                to,
                class = burst.failure.class.of_destination(),
                status = burst.failure.status,
                count = burst.count,
                reason = burst.failure.reason,
                what_to_do = burst.failure.remedy(),
                next_attempt_s = after.as_secs(),
                "events are not delivered, and are tried again"
            );
        }
        if let Some(ended) = ended {
            let class = ended.failure.class.of_destination();
            let failed = ended.count;
            tracing::info!(webhook, to, class, failed, "events are delivered again");
        }
    }

    /// Logs a dead letter; further dead letters of the minute are summed up by the next line.
    fn tell_dead(&self, event: &str, outcome: AttemptOutcome, reason: &str) {
        let now = Instant::now();
        let unlogged = {
            let mut dead = self.dead.lock();
            if dead.logged.is_some_and(|logged| now < logged + QUIET) {
                dead.unlogged += 1;
                return;
            }
            dead.logged = Some(now);
            std::mem::take(&mut dead.unlogged)
        };
        tracing::warn!(
            webhook = self.to.webhook(),
            to = self.to.name(),
            event,
            %outcome,
            reason,
            unlogged_before = (unlogged > 0).then_some(unlogged),
            "event is a dead letter: see it with `keyside events show`, send it again with `keyside events replay`"
        );
    }
}

fn word(kind: TroubleKind) -> &'static str {
    match kind {
        TroubleKind::Down => "down",
        TroubleKind::Failing => "failing",
        TroubleKind::Paused => "paused",
    }
}

/// The bound on events that are taken at a time: the default of `lanes`.
const MAX_TAKEN: usize = 32;
/// The wait after a failure of the spool: no busy loop, and short beside the trouble of a full
/// disk.
const BROKEN: Duration = Duration::from_millis(500);
/// The wait of an event for which Keyside has no connection left, or no key: about the time of a
/// delivery, which frees a connection.
const NOT_MADE: Duration = Duration::from_millis(200);
/// The time between two log lines about dead letters: a minute, as for each summary in the log.
const QUIET: Duration = Duration::from_secs(60);
