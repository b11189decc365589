//! The limit of one sender, pair or account: a lock over pacer and queue, and the task that wakes
//! waiters.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::demand::{Demand, Limited, Ticket, Unasked};
use super::pacer::{LOST_POLL, Next, Pacer};
use super::pause::PauseReason;
use super::queue::{Queue, Waiter};
use super::remote::{RemoteBucket, RemotePause, TakeRequest};
use super::report::LimitStatus;
use super::terms::Terms;
use crate::provider::Scope;
use crate::shared::DECISION_TIMEOUT;
use crate::units::{Quota, saturated};

/// Lets requests through as the pacer decides, and keeps the rest in the queue.
#[derive(Debug)]
pub(super) struct Limit {
    scope: Scope,
    state: Mutex<State>,
    /// Wakes the task: a request has come, held tokens run low, or the limit has changed.
    wake: Notify,
}

#[derive(Debug)]
struct State {
    pacer: Pacer,
    queue: Queue<oneshot::Sender<Ticket>>,
    remote: Option<Arc<RemoteBucket>>,
    /// True while a task lets the waiting requests through.
    is_served: bool,
}

impl Limit {
    /// An unused limit.
    pub(super) fn new(scope: Scope, terms: Terms) -> Self {
        let pacer = Pacer::new(scope, terms.quota, terms.tokens, Instant::now());
        Self::with_pacer(scope, pacer, terms.remote)
    }

    fn with_pacer(scope: Scope, pacer: Pacer, remote: Option<Arc<RemoteBucket>>) -> Self {
        Self {
            scope,
            state: Mutex::new(State {
                pacer,
                queue: Queue::default(),
                remote,
                is_served: false,
            }),
            wake: Notify::new(),
        }
    }

    /// Changes the terms. Used tokens stay used, and waiting requests keep their places.
    pub(super) fn change(&self, terms: Terms) {
        let now = Instant::now();
        let mut state = self.lock();
        state.pacer = state.pacer.with_terms(terms.quota, terms.tokens, now);
        state.remote = terms.remote;
        state.follow_counter();
        state.dismiss(now);
        self.wake.notify_one();
    }

    /// A copy at new terms with the old debt and pause: a reload never refills the bucket.
    pub(super) fn copy_with_terms(&self, terms: Terms) -> Self {
        let now = Instant::now();
        let pacer = self.lock().pacer.with_terms(terms.quota, terms.tokens, now);
        Self::with_pacer(self.scope, pacer, terms.remote)
    }

    /// True if no request waits, and forgetting the limit would change no decision.
    pub(super) fn is_unused(&self, now: Instant) -> bool {
        let state = self.lock();
        state.queue.is_empty() && state.pacer.is_unused(now)
    }

    /// Refuses, without taking a token, a request to be refused at once by [`pass`](Self::pass).
    pub(super) fn check(&self, demand: &Demand<'_>, now: Instant) -> Result<(), Limited> {
        let state = self.lock();
        if state.queue.is_empty() && state.pacer.wait(0, now).is_zero() {
            return Ok(());
        }
        self.admit(&state, demand, now)
    }

    /// Refuses a request for which waiting is in vain.
    fn admit(&self, state: &State, demand: &Demand<'_>, now: Instant) -> Result<(), Limited> {
        let ahead = state.queue.ahead_of(demand.urgency, demand.application);
        let wait = state.pacer.wait(ahead, now);
        let most = if state.pacer.is_wait_known() {
            demand.patience.max_queue
        } else {
            demand.patience.max_queue.max(MAX_ASKING)
        };
        if now + wait > state.deadline(demand, now) || state.queue.len() >= most {
            return Err(self.limited(state, wait, now));
        }
        Ok(())
    }

    fn limited(&self, state: &State, retry_after: Duration, now: Instant) -> Limited {
        Limited {
            scope: self.scope,
            retry_after,
            waiting: state.queue.len(),
            is_closed: state.pacer.is_closed(),
            pause: state.pacer.pause_at(now).map(|pause| pause.reason),
        }
    }

    /// State of the limit.
    pub(super) fn status(&self) -> LimitStatus {
        let now = Instant::now();
        let state = self.lock();
        let pacer = &state.pacer;
        let waiting = state.queue.len();
        let (remaining, next_in) = pacer.remaining(now);
        let behind = pacer.interval().saturating_mul(saturated(waiting));
        LimitStatus {
            quota: pacer.quota(),
            remaining,
            interval: pacer.slowed_interval(now),
            waiting,
            wait: pacer.wait(waiting, now).max(next_in + behind),
            pause: pacer.pause_at(now),
            is_closed: pacer.is_closed(),
        }
    }

    /// Pauses the limit in all sidecars, for any reason but a throttle.
    pub(super) fn pause(&self, length: Duration, reason: PauseReason) {
        self.pause_with(|pacer, now| pacer.pause(length, reason, now));
    }

    /// Pauses the limit in all sidecars after a throttle: for the `named` time, else for `first`.
    pub(super) fn throttled(&self, first: Duration, named: Option<Duration>) {
        self.pause_with(|pacer, now| pacer.throttled(first, named, now));
    }

    fn pause_with(&self, pause: impl FnOnce(&mut Pacer, Instant) -> Option<RemotePause>) {
        let now = Instant::now();
        let mut state = self.lock();
        if let (Some(pause), Some(remote)) = (pause(&mut state.pacer, now), &state.remote) {
            remote.pause(pause);
        }
        state.dismiss(now);
    }

    /// The time in which an empty bucket becomes full; zero without a quota.
    pub(super) fn window(&self) -> Duration {
        let quota = self.lock().pacer.quota();
        quota.map_or(Duration::ZERO, Quota::window)
    }

    /// Takes tokens for messages that cannot wait: received messages, and those to the further recipients of a message.
    pub(super) fn charge(&self, messages: Unasked) {
        if messages.count() == 0 {
            return;
        }
        let now = Instant::now();
        let mut state = self.lock();
        state.pacer.charge(messages, now);
        if !state.pacer.is_shared() {
            return;
        }
        if let Some((remote, request)) = state.request(messages.count(), now) {
            // The debt for received messages may be as long as the window of the bucket: see `take.lua`.
            let window = request.quota.window();
            let ahead = match messages {
                Unasked::Received(_) => window,
                Unasked::Sent(count) => {
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
            let mut state = self.lock();
            if state.queue.is_empty()
                && let Ok(ticket) = state.pacer.decide(1, now)
            {
                if state.pacer.runs_low(now) {
                    self.serve_or_wake(&mut state);
                }
                return Ok(ticket);
            }
            self.admit(&state, demand, now)?;
            let (turn, receiver) = oneshot::channel();
            let waiter = Waiter {
                application: demand.application,
                turn,
                deadline: demand.deadline(),
                max_queue: demand.patience.max_queue,
            };
            let number = state.queue.join(demand.urgency, waiter);
            self.serve_or_wake(&mut state);
            (number, receiver, state.deadline(demand, now))
        };
        let waiting = Waiting {
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

    fn serve_or_wake(self: &Arc<Self>, state: &mut State) {
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
        let mut state = self.lock();
        loop {
            let waiting = state.queue.len();
            match state.pacer.decide(waiting, now) {
                Ok(ticket) => state.hand_out(ticket),
                Err(Next::At(at)) if waiting > 0 && state.remote.is_some() => {
                    // The server's reply may have made some requests hopeless.
                    state.dismiss(now);
                    if !state.queue.is_empty() {
                        // The counter may change meanwhile.
                        return Next::At(at.min(now + LOST_POLL));
                    }
                }
                Err(next) => {
                    state.is_served = next != Next::Rest;
                    return next;
                }
            }
        }
    }

    async fn ask(&self, wanted: u32) {
        let asking = self.lock().request(wanted, Instant::now());
        let Some((remote, request)) = asking else {
            return;
        };
        let reply = remote.take(request).await;
        let mut state = self.lock();
        // A reload may have given the limit a new bucket meanwhile.
        let current = state.remote.as_ref();
        let is_same = current.is_some_and(|current| Arc::ptr_eq(current, &remote));
        if let (Ok(reply), true) = (reply, is_same) {
            state.pacer.add(reply, wanted, Instant::now());
        }
    }

    async fn give_back(&self, count: u32) {
        let shared = {
            let state = self.lock();
            state.remote.clone().zip(state.pacer.quota())
        };
        if let Some((remote, quota)) = shared {
            remote.give_back(quota, count).await;
        }
    }

    /// Locks the state, which follows the shared server first.
    fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock();
        state.follow_counter();
        state
    }
}

impl State {
    /// Hands the counting over, if the shared server was lost or is back since the last time.
    fn follow_counter(&mut self) {
        if let Some(remote) = &self.remote
            && remote.counted_by() != self.pacer.counted_by()
        {
            self.pacer.count_by(remote.counted_by(), Instant::now());
        }
    }

    /// Gives a ticket to the next waiting request.
    fn hand_out(&mut self, ticket: Ticket) {
        // A request without a receiver has just given up, and leaves the ticket to the next.
        while let Some(waiter) = self.queue.next() {
            if waiter.turn.send(ticket).is_ok() {
                return;
            }
        }
    }

    /// Refuses the requests known to be too late. While the shared server counts, only
    /// the next turn is known.
    fn dismiss(&mut self, now: Instant) {
        let pacer = &self.pacer;
        self.queue.dismiss(|ahead, waiter| {
            let wait = pacer.wait(if pacer.is_shared() { 0 } else { ahead }, now);
            !wait.is_zero() && (ahead >= waiter.max_queue || now + wait > waiter.deadline)
        });
    }

    fn request(&self, wanted: u32, now: Instant) -> Option<(Arc<RemoteBucket>, TakeRequest)> {
        let remote = Arc::clone(self.remote.as_ref()?);
        let request = TakeRequest {
            quota: self.pacer.quota()?,
            wanted,
            ahead: ASK_AHEAD,
            known: self.pacer.view(now),
        };
        Some((remote, request))
    }

    /// Time until which a request may be kept: even a request without patience waits for the
    /// shared server's reply.
    fn deadline(&self, demand: &Demand<'_>, now: Instant) -> Instant {
        if self.pacer.is_shared() {
            demand.deadline().max(now + DECISION_TIMEOUT)
        } else {
            demand.deadline()
        }
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
struct Waiting<'l> {
    limit: &'l Limit,
    number: u64,
}

impl Waiting<'_> {
    /// The refusal for a waiter past the deadline, with an honest Retry-After: the time after
    /// which a new request could go.
    fn refusal(&self, demand: &Demand<'_>) -> Limited {
        let now = Instant::now();
        let mut state = self.limit.lock();
        state.queue.leave(self.number);
        let ahead = state.queue.ahead_of(demand.urgency, demand.application);
        self.limit
            .limited(&state, state.pacer.wait(ahead, now), now)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.limit.state.lock().queue.leave(self.number);
    }
}

/// Time by which a token may be taken before becoming good: longer than the
/// way to the shared server and back, lest a token come too late.
const ASK_AHEAD: Duration = Duration::from_millis(50);
/// Most requests in the queue while the shared server is asked and the wait is not known.
const MAX_ASKING: usize = 1000;
