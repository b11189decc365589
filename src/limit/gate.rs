//! One limit and those who wait for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::lease::{Lease, Wish};
use super::line::{Line, Waiter};
use super::meter::{LOOK, Later, Meter};
use super::tokens::Tokens;
use super::{Demand, Limited, Scope, Standing, Ticket, Why};
use crate::shared::BUDGET;
use crate::units::Quota;

/// Lets requests through as its meter says, and keeps in line who must wait.
#[derive(Debug)]
pub(super) struct Gate {
    scope: Scope,
    state: Mutex<State>,
    /// Somebody has come, the stock runs low, or the limit has changed.
    wake: Notify,
}

#[derive(Debug)]
struct State {
    meter: Meter,
    line: Line,
    /// Whether a task lets through those who wait.
    is_served: bool,
    /// When the next may go, as far as is known.
    next_at: Instant,
}

/// What the task does next that lets through those who wait.
enum Next {
    Wait(Instant),
    Ask(Arc<Lease>, Wish),
    GiveBack(Arc<Lease>, Quota, u32),
    End,
}

impl State {
    /// How long one waits who comes now and has so many before it.
    fn wait(&self, ahead: usize, now: Instant) -> Duration {
        self.meter.wait(self.next_at, ahead, now)
    }

    /// Refuses those of whom is known by now that their turn comes too late. Where the shared server counts, only what it has
    /// said of the next turn is known.
    fn dismiss(&mut self, now: Instant) {
        let Self { meter, line, next_at, .. } = self;
        let is_shared = meter.is_shared();
        line.dismiss(|ahead, waiter| {
            let wait = meter.wait(*next_at, if is_shared { 0 } else { ahead }, now);
            !wait.is_zero() && (ahead >= waiter.max_queue || now + wait > waiter.deadline)
        });
    }

    fn ask(&self, wanted: u32, now: Instant) -> Option<Next> {
        let (quota, recall) = (self.meter.quota(), self.meter.stock.recall(now));
        let lease = self.meter.lease().map(Arc::clone)?;
        Some(Next::Ask(lease, Wish { quota, wanted, ahead: AHEAD, recall }))
    }
}

impl Gate {
    pub(super) fn new(scope: Scope, quota: Quota, tokens: Tokens, lease: Option<Lease>) -> Self {
        Self::with(scope, Meter::new(quota, tokens, lease))
    }

    fn with(scope: Scope, meter: Meter) -> Self {
        let state = State { meter, line: Line::default(), is_served: false, next_at: Instant::now() };
        Self { scope, state: Mutex::new(state), wake: Notify::new() }
    }

    /// Goes on at another quota, and perhaps shared otherwise; `own` is what it may use alone. See
    /// [`Tokens::with_quota`]. Those who wait keep their places.
    pub(super) fn change(&self, quota: Quota, own: Quota, lease: Option<Lease>) {
        let mut state = self.state();
        state.meter = state.meter.at(quota, own, lease);
        state.dismiss(Instant::now());
        self.wake.notify_one();
    }

    /// Another one, at another quota, of which as much is used.
    pub(super) fn split(&self, quota: Quota, own: Quota, lease: Option<Lease>) -> Self {
        Self::with(self.scope, self.state().meter.at(quota, own, lease))
    }

    /// Whether forgetting it would change nothing.
    pub(super) fn is_rested(&self, now: Instant) -> bool {
        let state = self.state();
        !state.is_served && state.meter.is_rested(now)
    }

    /// Refuses what [`pass`](Self::pass) would refuse at once, as far as can be told without taking a token.
    pub(super) fn check(&self, demand: &Demand<'_>) -> Result<(), Limited> {
        let state = self.state();
        // What is known of the next turn was said by who decided then.
        if !state.meter.is_decided_as_before() {
            return Ok(());
        }
        let must_wait = |now| state.line.len() > 0 || !state.wait(0, now).is_zero();
        // As of its arrival the wait was longer still. Most had none even then, and need not ask what time it is.
        if !must_wait(demand.now) {
            return Ok(());
        }
        let now = Instant::now();
        if must_wait(now) { self.admit(&state, demand, now) } else { Ok(()) }
    }

    /// Refuses one who has to wait, where that would be in vain.
    fn admit(&self, state: &State, demand: &Demand<'_>, now: Instant) -> Result<(), Limited> {
        let waiting = state.line.len();
        let wait = state.wait(state.line.ahead_of(demand.urgency, demand.caller), now);
        // While the server is asked nobody knows whether there is a wait at all.
        let is_known = !state.meter.is_shared() || state.meter.stock.is_short();
        let most = if is_known { demand.patience.max_queue } else { demand.patience.max_queue.max(MOST_ASKING) };
        if now + wait > deadline(state, demand, now) || waiting >= most {
            return Err(self.limited(state, wait));
        }
        Ok(())
    }

    fn limited(&self, state: &State, retry_after: Duration) -> Limited {
        let (waiting, is_closed) = (state.line.len(), state.meter.is_closed());
        let why = state.meter.halted(Instant::now()).map(|halt| halt.why);
        Limited { scope: self.scope, retry_after, waiting, is_closed, why }
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.state().line.len()
    }

    /// How it stands.
    pub(super) fn standing(&self) -> Standing {
        let (state, now) = (self.state(), Instant::now());
        let (meter, waiting) = (&state.meter, state.line.len());
        let ((remaining, next_in), spacing) = (meter.remaining(now), meter.spacing(now));
        let ahead = meter.interval().saturating_mul(u32::try_from(waiting).unwrap_or(u32::MAX));
        let wait = state.wait(waiting, now).max(next_in + ahead);
        let (quota, halt, is_closed) = (meter.quota(), meter.halted(now), meter.is_closed());
        Standing { quota, remaining, spacing, waiting, wait, halt, is_closed }
    }

    /// Lets nobody through for so long, in no sidecar.
    pub(super) fn pause(&self, time: Duration, why: Why) {
        let mut state = self.state();
        state.meter.pause(time, why);
        state.dismiss(Instant::now());
    }

    /// Lets nobody through for so long, and then more slowly.
    pub(super) fn throttled(&self, first: Duration, named: Option<Duration>) {
        let mut state = self.state();
        state.meter.throttled(first, named);
        state.dismiss(Instant::now());
    }

    /// Takes tokens for what has happened already, without a wait.
    pub(super) fn count(&self, events: u32) {
        let mut state = self.state();
        state.meter.count(events);
        if let Some(lease) = state.meter.lease().filter(|_| state.meter.is_shared()).map(Arc::clone) {
            let quota = state.meter.quota();
            // At most a window's worth can be owed: see `take.lua`.
            let recall = state.meter.stock.recall(Instant::now());
            let wish = Wish { quota, wanted: events, ahead: quota.window(), recall };
            tokio::spawn(async move { lease.take(wish).await.map(drop).unwrap_or_default() });
        }
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// At once where the turn could not come in time, and when it has not come after all.
    pub(super) async fn pass(self: &Arc<Self>, demand: &Demand<'_>) -> Result<Ticket, Limited> {
        let now = Instant::now();
        let (deadline, number, turn) = {
            let mut state = self.state();
            if state.line.len() == 0 {
                match state.meter.take(now) {
                    Ok(ticket) => {
                        self.look_after_stock(&mut state, now);
                        return Ok(Ticket { scope: self.scope, ..ticket });
                    }
                    Err(Later::At(at)) => state.next_at = at,
                    Err(Later::Asked) => state.next_at = now,
                }
            }
            self.admit(&state, demand, now)?;
            let (turn, told) = oneshot::channel();
            let (caller, max_queue) = (demand.caller, demand.patience.max_queue);
            let waiter = Waiter { caller, turn, deadline: demand.deadline(), max_queue };
            let number = state.line.join(demand.urgency, waiter);
            self.serve_or_wake(&mut state);
            (deadline(&state, demand, now), number, told)
        };
        let waiting = Waiting { gate: self, number };
        match timeout_at(deadline, turn).await {
            Ok(Ok(ticket)) => Ok(Ticket { scope: self.scope, waited: demand.now.elapsed(), ..ticket }),
            // It turned out to be too late, or others came who were more urgent.
            Ok(Err(_)) | Err(_) => Err(waiting.give_up(demand)),
        }
    }

    /// Has tokens asked for before there are none.
    fn look_after_stock(self: &Arc<Self>, state: &mut State, now: Instant) {
        let meter = &state.meter;
        if meter.is_shared() && meter.stock.ask_at() <= now && meter.wanted(0, now) > 0 {
            self.serve_or_wake(state);
        }
    }

    fn serve_or_wake(self: &Arc<Self>, state: &mut State) {
        if std::mem::replace(&mut state.is_served, true) {
            self.wake.notify_one();
        } else {
            tokio::spawn(Arc::clone(self).serve());
        }
    }

    /// Lets them through one by one, until nobody is left and nothing is held.
    async fn serve(self: Arc<Self>) {
        loop {
            match self.let_through() {
                Next::Wait(at) => tokio::select! {
                    () = sleep_until(at) => {}
                    () = self.wake.notified() => {}
                },
                Next::Ask(lease, wish) => {
                    let answer = lease.take(wish).await;
                    let mut state = self.state();
                    let is_still_asked = state.meter.lease().is_some_and(|asked| Arc::ptr_eq(asked, &lease));
                    if let Ok(grant) = answer
                        && is_still_asked
                    {
                        state.meter.stock.add(grant, wish.wanted, Instant::now());
                    }
                }
                Next::GiveBack(lease, quota, count) => lease.give_back(quota, count).await,
                Next::End => return,
            }
        }
    }

    /// Lets through those whose turn it is, and says what to do then.
    fn let_through(&self) -> Next {
        let mut state = self.state();
        let now = Instant::now();
        while state.line.len() > 0 {
            match state.meter.take(now) {
                Ok(ticket) => {
                    // One who has just given up leaves the token to the next.
                    while state.line.next().is_some_and(|waiter| waiter.turn.send(ticket).is_err()) {}
                }
                Err(Later::At(at)) => {
                    state.next_at = at;
                    if state.meter.lease().is_none() {
                        return Next::Wait(at);
                    }
                    state.dismiss(now);
                    if state.line.len() > 0 {
                        // Who decides may change meanwhile.
                        return Next::Wait(at.min(now + LOOK));
                    }
                }
                Err(Later::Asked) => {
                    let wanted = state.meter.wanted(state.line.len(), now);
                    return state.ask(wanted, now).unwrap_or(Next::Wait(now + LOOK));
                }
            }
        }
        if state.meter.is_shared()
            && let Some(next) = self.keep_stock(&mut state, now)
        {
            return next;
        }
        state.meter.stock.rest();
        state.is_served = false;
        Next::End
    }

    /// What there is to do for what is held of a shared limit, while nobody waits.
    fn keep_stock(&self, state: &mut State, now: Instant) -> Option<Next> {
        let wanted = state.meter.wanted(0, now);
        if wanted > 0 && state.meter.stock.ask_at() <= now {
            return state.ask(wanted, now);
        }
        let (stale, quota) = (state.meter.take_stale(now), state.meter.quota());
        match state.meter.lease() {
            Some(lease) if stale > 0 => Some(Next::GiveBack(Arc::clone(lease), quota, stale)),
            _ => state.meter.stock.stale_at().map(Next::Wait),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a request may be kept: one that would not wait at all still waits for the shared server's word.
fn deadline(state: &State, demand: &Demand<'_>, now: Instant) -> Instant {
    if state.meter.is_shared() { demand.deadline().max(now + BUDGET) } else { demand.deadline() }
}

/// A place in the line, given up however the wait ends.
struct Waiting<'g> {
    gate: &'g Gate,
    number: u64,
}

impl Waiting<'_> {
    /// What one is told who gives up: when another that comes now could go.
    fn give_up(&self, demand: &Demand<'_>) -> Limited {
        let mut state = self.gate.state();
        state.line.leave(self.number);
        let ahead = state.line.ahead_of(demand.urgency, demand.caller);
        self.gate.limited(&state, state.wait(ahead, Instant::now()))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.gate.state().line.leave(self.number);
    }
}

/// How early a token may be taken of which the time has not come: longer than the way to the server and back, so that
/// none is late for it.
const AHEAD: Duration = Duration::from_millis(50);
/// How many may wait for the server's word on whether they have to wait.
const MOST_ASKING: usize = 1000;
