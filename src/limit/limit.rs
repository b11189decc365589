//! The limit of one sender, pair or account: a lock over a turnstile, and the task that wakes
//! waiters.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::demand::{Demand, Limited, Ticket, UnqueuedMessages};
use super::pacer::{Next, Pacer};
use super::pause::{PauseLength, PauseReason};
use super::remote::{CountedBy, RemoteBucket, RemotePause, TakeReply, TakeRequest};
use super::report::LimitStatus;
use super::terms::Terms;
use super::turnstile::{Place, Turnstile};
use crate::provider::Scope;
use crate::units::Quota;

/// A lock over the turnstile of a limit.
#[derive(Debug)]
pub(super) struct Limit {
    state: Mutex<LimitState>,
    /// Wakes the task: a request has come, held tokens run low, or the limit has changed.
    wake: Notify,
}

#[derive(Debug)]
struct LimitState {
    turnstile: Turnstile<oneshot::Sender<Ticket>>,
    remote: Option<Arc<RemoteBucket>>,
    /// True while a task lets the waiting requests through.
    is_served: bool,
}

impl Limit {
    /// An unused limit.
    pub(super) fn new(scope: Scope, terms: Terms) -> Self {
        let pacer = Pacer::new(scope, terms.quota, terms.tokens, Instant::now());
        Self::with_pacer(pacer, terms.remote)
    }

    fn with_pacer(pacer: Pacer, remote: Option<Arc<RemoteBucket>>) -> Self {
        Self {
            state: Mutex::new(LimitState {
                turnstile: Turnstile::new(pacer),
                remote,
                is_served: false,
            }),
            wake: Notify::new(),
        }
    }

    /// Changes the terms. Used tokens stay used, and waiting requests keep their places.
    pub(super) fn change(&self, terms: Terms) {
        let now = Instant::now();
        let mut state = self.lock(now);
        let old_quota = state.turnstile.pacer.quota;
        let old_remote = std::mem::replace(&mut state.remote, terms.remote);
        let counted_by = state.counted_by();
        let pacer = &mut state.turnstile.pacer;
        // Held tokens are worth an interval of the old quota, so they are returned before the quota
        // changes.
        let held = pacer.return_all();
        *pacer = pacer.with_terms(terms.quota, terms.tokens, now);
        pacer.set_counter(counted_by, now);
        state.turnstile.dismiss(now);
        self.wake.notify_one();
        if let (Some(remote), Some(quota), 1..) = (old_remote, old_quota, held) {
            tokio::spawn(async move { remote.give_back(quota, held).await });
        }
    }

    /// A copy at new terms with the old debt and pause: a reload never refills the bucket.
    pub(super) fn copy_with_terms(&self, terms: Terms) -> Self {
        let now = Instant::now();
        let pacer = &self.lock(now).turnstile.pacer;
        let copy = pacer.with_terms(terms.quota, terms.tokens, now);
        Self::with_pacer(copy, terms.remote)
    }

    /// True if no request waits, and forgetting the limit would change no decision.
    pub(super) fn is_unused(&self, now: Instant) -> bool {
        self.lock(now).turnstile.is_unused(now)
    }

    /// Refuses, without taking a token, a request to be refused at once by [`pass`](Self::pass).
    pub(super) fn check(&self, demand: &Demand<'_>, now: Instant) -> Result<(), Limited> {
        self.lock(now).turnstile.check(demand, now)
    }

    /// State of the limit.
    pub(super) fn status(&self) -> LimitStatus {
        let now = Instant::now();
        self.lock(now).turnstile.status(now)
    }

    /// Pauses the limit in all sidecars, for any reason but a throttle.
    pub(super) fn pause(&self, length: Duration, reason: PauseReason) {
        self.pause_with(|pacer, now| pacer.pause(length, reason, now));
    }

    /// Pauses the limit in all sidecars after a throttle.
    pub(super) fn throttled(&self, length: PauseLength) {
        self.pause_with(|pacer, now| pacer.throttled(length, now));
    }

    fn pause_with(&self, pause: impl FnOnce(&mut Pacer, Instant) -> Option<RemotePause>) {
        let now = Instant::now();
        let mut state = self.lock(now);
        let pause = pause(&mut state.turnstile.pacer, now);
        state.turnstile.dismiss(now);
        if let (Some(pause), Some(remote)) = (pause, &state.remote) {
            remote.pause(pause);
        }
    }

    /// The time in which an empty bucket becomes full; zero without a quota.
    pub(super) fn window(&self) -> Duration {
        let quota = self.lock(Instant::now()).turnstile.pacer.quota;
        quota.map_or(Duration::ZERO, Quota::window)
    }

    /// Takes tokens for messages that cannot wait: received messages, and those to the further
    /// recipients of a message.
    pub(super) fn charge(&self, messages: UnqueuedMessages) {
        if messages.count() == 0 {
            return;
        }
        let now = Instant::now();
        let mut state = self.lock(now);
        state.turnstile.pacer.charge(messages, now);
        if !state.turnstile.pacer.is_shared() {
            return;
        }
        if let Some((remote, request)) = state.request(messages.count(), now) {
            // The debt for received messages may be as long as the window of the bucket: see
            // `take.lua`.
            let window = request.quota.window();
            let ahead = match messages {
                UnqueuedMessages::Received(_) => window,
                UnqueuedMessages::Sent(count) => {
                    let interval = request.quota.interval();
                    window.saturating_add(interval.saturating_mul(count))
                }
            };
            tokio::spawn(async move {
                remote.take(TakeRequest { ahead, ..request }).await.ok();
            });
        }
    }

    /// Waits for a turn, from `now` on.
    ///
    /// # Errors
    /// At once if the turn cannot come in time, and later if the turn has not come in time.
    pub(super) async fn pass(
        self: &Arc<Self>,
        demand: &Demand<'_>,
        now: Instant,
    ) -> Result<Ticket, Limited> {
        let (number, turn, deadline) = {
            let mut state = self.lock(now);
            match state.turnstile.enter(demand, now, oneshot::channel)? {
                Place::Through(ticket) => {
                    if state.turnstile.runs_low(now) {
                        self.serve_or_wake(&mut state);
                    }
                    return Ok(ticket);
                }
                Place::Waiting {
                    number,
                    deadline,
                    turn,
                } => {
                    self.serve_or_wake(&mut state);
                    (number, turn, deadline)
                }
            }
        };
        let waiting = QueuePlace {
            limit: self,
            number,
        };
        match timeout_at(deadline, turn).await {
            Ok(Ok(ticket)) => Ok(Ticket {
                waited: demand.arrived.elapsed(),
                ..ticket
            }),
            // The turn would have come too late, or more urgent requests went before.
            Ok(Err(_)) | Err(_) => Err(waiting.refusal(demand)),
        }
    }

    fn serve_or_wake(self: &Arc<Self>, state: &mut LimitState) {
        if std::mem::replace(&mut state.is_served, true) {
            self.wake.notify_one();
        } else {
            tokio::spawn(Arc::clone(self).serve());
        }
    }

    /// Lets the waiting requests through, until no request is left and no token is held.
    async fn serve(self: Arc<Self>) {
        loop {
            match self.let_through() {
                Next::At(at) => tokio::select! {
                    () = sleep_until(at) => {}
                    () = self.wake.notified() => {}
                },
                Next::Ask(wanted) => self.ask(wanted).await,
                Next::GiveBack(count) => self.give_back(count).await,
                Next::Rest => return,
            }
        }
    }

    /// Lets through all requests with a turn now, and returns the next step.
    fn let_through(&self) -> Next {
        let now = Instant::now();
        let mut state = self.lock(now);
        let next = state
            .turnstile
            .let_through(now, |turn, ticket| turn.send(ticket).is_ok());
        state.is_served = next != Next::Rest;
        next
    }

    async fn ask(&self, wanted: u32) {
        let now = Instant::now();
        let asking = self.lock(now).request(wanted, now);
        let Some((remote, request)) = asking else {
            return;
        };
        let Ok(reply) = remote.take(request).await else {
            return;
        };
        if !self.add(reply, &remote, wanted) && reply.count > 0 {
            remote.give_back(request.quota, reply.count).await;
        }
    }

    /// Adds the tokens of a reply; false if a reload has given the limit a new bucket meanwhile.
    fn add(&self, reply: TakeReply, remote: &Arc<RemoteBucket>, wanted: u32) -> bool {
        let now = Instant::now();
        let mut state = self.lock(now);
        let current = state.remote.as_ref();
        let is_same = current.is_some_and(|current| Arc::ptr_eq(current, remote));
        if is_same {
            state.turnstile.add(reply, wanted, now);
        }
        is_same
    }

    async fn give_back(&self, count: u32) {
        let shared = {
            let state = self.lock(Instant::now());
            state.remote.clone().zip(state.turnstile.pacer.quota)
        };
        if let Some((remote, quota)) = shared {
            remote.give_back(quota, count).await;
        }
    }

    /// Locks the state, which follows the shared server first: the counting is handed over, if the
    /// server was lost or is back since the last time. `now` is the time of what is decided then:
    /// with a later time of its own, the hand-over would make a request without patience too late.
    fn lock(&self, now: Instant) -> MutexGuard<'_, LimitState> {
        let mut state = self.state.lock();
        let counted_by = state.counted_by();
        if counted_by != state.turnstile.pacer.counted_by {
            state.turnstile.pacer.set_counter(counted_by, now);
        }
        state
    }
}

impl LimitState {
    fn counted_by(&self) -> CountedBy {
        self.remote
            .as_ref()
            .map_or(CountedBy::Local, |remote| remote.counted_by())
    }

    fn request(&self, wanted: u32, now: Instant) -> Option<(Arc<RemoteBucket>, TakeRequest)> {
        let remote = Arc::clone(self.remote.as_ref()?);
        Some((remote, self.turnstile.request(wanted, now)?))
    }
}

/// Waits for a turn from `now` on, if there is a limit.
pub(super) async fn pass(
    limit: Option<&Arc<Limit>>,
    demand: &Demand<'_>,
    now: Instant,
) -> Result<Ticket, Limited> {
    match limit {
        Some(limit) => limit.pass(demand, now).await,
        None => Ok(Ticket::default()),
    }
}

/// A place in the queue, given up however the wait ends.
struct QueuePlace<'l> {
    limit: &'l Limit,
    number: u64,
}

impl QueuePlace<'_> {
    /// The refusal for a waiter past the deadline.
    fn refusal(&self, demand: &Demand<'_>) -> Limited {
        let now = Instant::now();
        let mut state = self.limit.lock(now);
        state.turnstile.leave(self.number);
        state.turnstile.refusal(demand, now)
    }
}

impl Drop for QueuePlace<'_> {
    fn drop(&mut self) {
        self.limit.state.lock().turnstile.leave(self.number);
    }
}
