//! One limit and those who wait for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::lease::{Lease, Mode, SharedPause, Wish};
use super::line::{Line, Place};
use super::stock::Stock;
use super::tokens::{Bucket, Tokens};
use super::{Demand, Limited, Scope, Ticket};
use crate::config::OnFailure;
use crate::shared::BUDGET;
use crate::units::Quota;

/// Lets requests through as fast as its tokens come, and keeps in line who must wait.
#[derive(Debug)]
pub(super) struct Gate {
    scope: Scope,
    quota: Quota,
    /// Its own, of which so many are taken as go through, whoever counts: so they are a true measure when nobody else is
    /// there to count. Where there is a lease, they are the part of the quota that this sidecar may use alone.
    tokens: Tokens,
    lease: Option<Lease>,
    state: Mutex<State>,
    /// Somebody has come, or the stock runs low.
    wake: Notify,
}

#[derive(Debug)]
struct State {
    line: Line,
    /// Whether a task lets through those who wait.
    is_served: bool,
    /// When the next may go, as far as is known.
    next_at: Instant,
    /// Nobody goes before this.
    paused_until: Option<Instant>,
    /// Slower than the tokens come.
    slow: Option<Slow>,
    /// What is held of a shared limit.
    stock: Stock,
    /// Who decided the last time.
    decided: Option<Mode>,
}

/// What the provider has taught: its limit is lower than ours, or others use it too.
#[derive(Clone, Copy, Debug)]
struct Slow {
    /// How far apart requests go, as of `since`.
    spacing: Duration,
    since: Instant,
    /// When the last one went.
    last: Instant,
}

impl Slow {
    /// From second to second a little faster again, which probes where the limit is.
    fn spacing(&self, now: Instant) -> Duration {
        let seconds = i32::try_from((now - self.since).as_secs()).unwrap_or(i32::MAX);
        self.spacing.mul_f64(RECOVERY.powi(seconds))
    }
}

/// When there may be a token.
enum Later {
    At(Instant),
    /// When the shared server was asked.
    Asked,
}

/// What the task does next that lets through those who wait.
enum Next {
    Wait(Instant),
    Ask(u32),
    GiveBack(u32),
    End,
}

impl State {
    fn new() -> Self {
        let (line, stock) = (Line::default(), Stock::new());
        Self { line, is_served: false, next_at: Instant::now(), paused_until: None, slow: None, stock, decided: None }
    }
}

impl Gate {
    pub(super) fn new(scope: Scope, quota: Quota, tokens: Tokens, lease: Option<Lease>) -> Self {
        Self { scope, quota, tokens, lease, state: Mutex::new(State::new()), wake: Notify::new() }
    }

    /// The same at another quota, and perhaps shared otherwise; `own` is what it may use alone. See
    /// [`Bucket::with_quota`]. Those who wait go on at the old one.
    pub(super) fn with_quota(&self, quota: Quota, own: Quota, lease: Option<Lease>) -> Self {
        let tokens = match &self.tokens {
            Tokens::Own(bucket) => bucket.with_quota(own),
            Tokens::Pair(..) => Bucket::new(own),
        };
        let changed = Self::new(self.scope, quota, Tokens::Own(tokens), lease);
        let State { paused_until, slow, .. } = *self.state();
        *changed.state() = State { paused_until, slow, ..State::new() };
        changed
    }

    /// Whether forgetting it would change nothing.
    pub(super) fn is_rested(&self, now: Instant) -> bool {
        let state = self.state();
        let bucket_is_rested = match &self.tokens {
            Tokens::Own(bucket) => bucket.is_rested(now),
            Tokens::Pair(..) => true,
        };
        !state.is_served && state.paused_until.is_none_or(|until| until <= now) && bucket_is_rested
    }

    /// Refuses what [`pass`](Self::pass) would refuse at once, as far as can be told without taking a token.
    pub(super) fn check(&self, demand: &Demand<'_>) -> Result<(), Limited> {
        let (state, now) = (self.state(), Instant::now());
        // What is known of the next turn was said by who decided then.
        let is_known = state.decided == self.mode();
        let must_wait = is_known && (state.line.len() > 0 || !self.wait(&state, 0, now).is_zero());
        if must_wait { self.admit(&state, demand, now) } else { Ok(()) }
    }

    /// Refuses one who has to wait, where that would be in vain.
    fn admit(&self, state: &State, demand: &Demand<'_>, now: Instant) -> Result<(), Limited> {
        let waiting = state.line.len();
        let wait = self.wait(state, state.line.ahead_of(demand.urgency, demand.caller), now);
        // While the server is asked nobody knows whether there is a wait at all.
        let is_known = !self.is_shared() || state.stock.is_short();
        let most = if is_known { demand.patience.max_queue } else { demand.patience.max_queue.max(MOST_ASKING) };
        if now + wait > self.deadline(demand, now) || waiting >= most {
            return Err(self.limited(wait, waiting));
        }
        Ok(())
    }

    /// How long a request may be kept: one that would not wait at all still waits for the shared server's word.
    fn deadline(&self, demand: &Demand<'_>, now: Instant) -> Instant {
        if self.is_shared() { demand.deadline().max(now + BUDGET) } else { demand.deadline() }
    }

    fn limited(&self, retry_after: Duration, waiting: usize) -> Limited {
        let is_closed = self.mode() == Some(Mode::Alone(OnFailure::Closed));
        Limited { scope: self.scope, retry_after, waiting, is_closed }
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.state().line.len()
    }

    /// Lets nobody through before `until`, in no sidecar.
    pub(super) fn pause(&self, until: Instant) {
        let mut state = self.state();
        state.paused_until = state.paused_until.max(Some(until));
        let named = Some(until.saturating_duration_since(Instant::now()));
        if let Some(lease) = &self.lease {
            lease.pause(SharedPause { first: Duration::ZERO, named, growth: 1, slows: false });
        }
    }

    /// Lets nobody through for so long, and then at half the pace, until some seconds have passed without it happening
    /// again.
    pub(super) fn throttled(&self, first: Duration, named: Option<Duration>) {
        let (mut state, now, pause) = (self.state(), Instant::now(), named.unwrap_or(first));
        // What was on its way meanwhile says nothing new.
        if state.paused_until.is_some_and(|until| until > now) {
            return;
        }
        state.paused_until = Some(now + pause);
        if let Some(lease) = &self.lease {
            lease.pause(SharedPause { first, named, growth: 1, slows: true });
        }
        let pace = self.interval();
        let spacing = state.slow.map_or(pace, |slow| slow.spacing(now)).max(pace) * 2;
        state.slow = Some(Slow { spacing: spacing.min(pace * SLOWEST), since: now + pause, last: now });
    }

    /// Takes tokens for what has happened already. Where there are not so many, nobody goes until they would have come.
    pub(super) fn count(self: &Arc<Self>, events: u32) {
        let mut state = self.state();
        let taken = (0..events).take_while(|_| self.tokens.take().is_ok()).count();
        if self.is_shared() {
            let gate = Arc::clone(self);
            tokio::spawn(async move { gate.count_shared(events).await });
            return;
        }
        let owed = events.saturating_sub(u32::try_from(taken).unwrap_or(u32::MAX));
        if owed > 0 {
            let owed = self.interval().saturating_mul(owed).min(LONGEST_DEBT);
            state.paused_until = Some(state.paused_until.unwrap_or_else(Instant::now).max(Instant::now()) + owed);
        }
    }

    /// At most a window's worth can be owed: see `take.lua`.
    async fn count_shared(&self, events: u32) {
        if let Some(lease) = &self.lease {
            let (ahead, full_in) = (self.quota.window(), Duration::ZERO);
            let wish = Wish { quota: self.quota, wanted: events, ahead, full_in };
            lease.take(wish).await.map(drop).unwrap_or_default();
        }
    }

    /// Until when nobody goes, where that is so.
    pub(super) fn paused_until(&self) -> Option<Instant> {
        self.state().paused_until.filter(|until| *until > Instant::now())
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// At once where the turn could not come in time, and when it has not come after all.
    pub(super) async fn pass(self: &Arc<Self>, demand: &Demand<'_>) -> Result<Ticket, Limited> {
        let now = Instant::now();
        let (place, turn) = {
            let mut state = self.state();
            if state.line.len() == 0 {
                match self.take(&mut state, now) {
                    Ok(ticket) => {
                        self.look_after_stock(&mut state, now);
                        return Ok(ticket);
                    }
                    Err(Later::At(at)) => state.next_at = at,
                    Err(Later::Asked) => state.next_at = now,
                }
            }
            self.admit(&state, demand, now)?;
            let (waiter, turn) = oneshot::channel();
            let place = state.line.join(demand.urgency, demand.caller, waiter);
            self.serve_or_wake(&mut state);
            (place, turn)
        };
        let waiting = Waiting { gate: self, place };
        match timeout_at(self.deadline(demand, now), turn).await {
            Ok(Ok(ticket)) => Ok(Ticket { waited: demand.now.elapsed(), ..ticket }),
            // Others came who were more urgent.
            Ok(Err(_)) | Err(_) => Err(waiting.give_up()),
        }
    }

    /// How long it takes until a token comes to one behind so many.
    fn wait(&self, state: &State, ahead: usize, now: Instant) -> Duration {
        let first = state.next_at.max(state.paused_until.unwrap_or(now)).saturating_duration_since(now);
        let interval = self.interval().max(state.stock.pace());
        first + interval.saturating_mul(u32::try_from(ahead).unwrap_or(u32::MAX))
    }

    /// The time in which one token comes to all sidecars, or to this one where it is alone.
    fn interval(&self) -> Duration {
        if self.is_shared() { self.quota.interval() } else { self.tokens.interval() }
    }

    fn mode(&self) -> Option<Mode> {
        self.lease.as_ref().map(Lease::mode)
    }

    fn is_shared(&self) -> bool {
        self.mode() == Some(Mode::Shared)
    }

    /// A token, or when the next can be had.
    fn take(&self, state: &mut State, now: Instant) -> Result<Ticket, Later> {
        match state.paused_until {
            Some(until) if until > now => return Err(Later::At(until)),
            _ => state.paused_until = None,
        }
        let mode = self.mode();
        let before = std::mem::replace(&mut state.decided, mode);
        self.hand_over(state, before, now);
        let ticket = match mode {
            Some(Mode::Shared) => self.take_shared(state, now)?,
            Some(Mode::Alone(OnFailure::Open)) => Ticket::full(self.quota),
            Some(Mode::Alone(OnFailure::Closed)) => return Err(Later::At(now + LOOK)),
            None | Some(Mode::Alone(OnFailure::Local)) => self.take_own(state, now).map_err(Later::At)?,
        };
        Ok(Ticket { scope: self.scope, ..ticket })
    }

    /// Gives nothing away where another decides now than the last time.
    fn hand_over(&self, state: &mut State, before: Option<Mode>, now: Instant) {
        match (before, state.decided) {
            (Some(Mode::Shared), Some(Mode::Alone(_))) => {
                // Nobody knows what the others hold and have under way, so none begins with a burst.
                let in_a_second = Duration::from_secs(1).as_nanos() / self.tokens.interval().as_nanos().max(1);
                (0..in_a_second).take_while(|_| self.tokens.take().is_ok()).for_each(drop);
                state.stock.begin(Duration::ZERO, now);
            }
            (Some(Mode::Alone(_)), Some(Mode::Shared)) => {
                // What was used of its own part was used of the whole, whatever the server knows of it.
                let full_in = self.tokens.take().map_or(self.quota.window(), |ticket| ticket.reset);
                state.stock.begin(full_in, now);
            }
            _ => {}
        }
    }

    fn take_own(&self, state: &mut State, now: Instant) -> Result<Ticket, Instant> {
        if let Some(slow) = state.slow {
            let spacing = slow.spacing(now);
            match slow.last + spacing {
                _ if spacing <= self.interval() => state.slow = None,
                at if at > now => return Err(at),
                _ => {}
            }
        }
        let ticket = self.tokens.take().map_err(|wait| now + wait)?;
        if let Some(slow) = &mut state.slow {
            slow.last = now;
        }
        Ok(ticket)
    }

    fn take_shared(&self, state: &mut State, now: Instant) -> Result<Ticket, Later> {
        match state.stock.take(now) {
            Ok(()) => {
                self.tokens.take().map(drop).unwrap_or_default();
                let left = state.stock.left().min(self.quota.burst.get());
                Ok(Ticket::with_left(self.quota, left))
            }
            Err(Some(due)) => Err(Later::At(due)),
            Err(None) if state.stock.ask_at() > now => Err(Later::At(state.stock.ask_at())),
            Err(None) => Err(Later::Asked),
        }
    }

    /// Has tokens asked for before there are none.
    fn look_after_stock(self: &Arc<Self>, state: &mut State, now: Instant) {
        if self.is_shared() && state.stock.ask_at() <= now && state.stock.wanted(0, self.quota, now) > 0 {
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
            match (self.let_through(), &self.lease) {
                (Next::Wait(at), _) => tokio::select! {
                    () = sleep_until(at) => {}
                    () = self.wake.notified() => {}
                },
                (Next::Ask(wanted), Some(lease)) => {
                    let full_in = self.state().stock.full_in(Instant::now());
                    let answer = lease.take(Wish { quota: self.quota, wanted, ahead: AHEAD, full_in }).await;
                    if let Ok(grant) = answer {
                        self.state().stock.add(grant, wanted, Instant::now());
                    }
                }
                (Next::GiveBack(count), Some(lease)) => lease.give_back(self.quota, count).await,
                (Next::Ask(_) | Next::GiveBack(_), None) | (Next::End, _) => return,
            }
        }
    }

    /// Lets through those whose turn it is, and says what to do then.
    fn let_through(&self) -> Next {
        let mut state = self.state();
        let now = Instant::now();
        while state.line.len() > 0 {
            match self.take(&mut state, now) {
                Ok(ticket) => {
                    // One who has just given up leaves the token to the next.
                    while state.line.next().is_some_and(|waiter| waiter.send(ticket).is_err()) {}
                }
                Err(Later::At(at)) => {
                    state.next_at = at;
                    // Who decides may change meanwhile.
                    return Next::Wait(if self.lease.is_some() { at.min(now + LOOK) } else { at });
                }
                Err(Later::Asked) => return Next::Ask(state.stock.wanted(state.line.len(), self.quota, now)),
            }
        }
        if self.is_shared() {
            let wanted = state.stock.wanted(0, self.quota, now);
            if wanted > 0 && state.stock.ask_at() <= now {
                return Next::Ask(wanted);
            }
            match (state.stock.take_stale(self.quota, now), state.stock.stale_at()) {
                (0, None) => {}
                (0, Some(at)) => return Next::Wait(at),
                (stale, _) => return Next::GiveBack(stale),
            }
        }
        state.is_served = false;
        Next::End
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the line, given up however the wait ends.
struct Waiting<'g> {
    gate: &'g Gate,
    place: Place,
}

impl Waiting<'_> {
    fn give_up(&self) -> Limited {
        let mut state = self.gate.state();
        let ahead = state.line.before(self.place);
        state.line.leave(self.place);
        self.gate.limited(self.gate.wait(&state, ahead, Instant::now()), state.line.len())
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.gate.state().line.leave(self.place);
    }
}

/// However much comes in at once.
const LONGEST_DEBT: Duration = Duration::from_secs(10);
/// How much closer requests go with each second that passes.
const RECOVERY: f64 = 0.85;
/// At most so many times as far apart as the tokens come.
const SLOWEST: u32 = 32;
/// How early a token may be taken of which the time has not come: longer than the way to the server and back, so that
/// none is late for it.
const AHEAD: Duration = Duration::from_millis(50);
/// How often is looked whether the shared server is back, or gone.
const LOOK: Duration = Duration::from_millis(100);
/// How many may wait for the server's word on whether they have to wait.
const MOST_ASKING: usize = 1000;
