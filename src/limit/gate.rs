//! One limit and those who wait for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::line::{Line, Place};
use super::tokens::{Bucket, Tokens};
use super::{Demand, Limited, Scope, Ticket};
use crate::units::Quota;

/// Lets requests through as fast as its tokens come, and keeps in line who must wait.
#[derive(Debug)]
pub(super) struct Gate {
    scope: Scope,
    tokens: Tokens,
    state: Mutex<State>,
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

impl State {
    fn new() -> Self {
        Self { line: Line::default(), is_served: false, next_at: Instant::now(), paused_until: None, slow: None }
    }
}

impl Gate {
    pub(super) fn new(scope: Scope, tokens: Tokens) -> Self {
        Self { scope, tokens, state: Mutex::new(State::new()) }
    }

    /// The same at another quota: see [`Bucket::with_quota`]. Those who wait go on at the old one.
    pub(super) fn with_quota(&self, quota: Quota) -> Self {
        let tokens = match &self.tokens {
            Tokens::Own(bucket) => bucket.with_quota(quota),
            Tokens::Pair(..) => Bucket::new(quota),
        };
        let changed = Self::new(self.scope, Tokens::Own(tokens));
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
        state.line.len() == 0 && state.paused_until.is_none_or(|until| until <= now) && bucket_is_rested
    }

    /// Refuses what [`pass`](Self::pass) would refuse at once, as far as can be told without taking a token.
    pub(super) fn check(&self, demand: &Demand<'_>) -> Result<(), Limited> {
        let (state, now) = (self.state(), Instant::now());
        let must_wait = state.line.len() > 0 || !self.wait(&state, 0, now).is_zero();
        if must_wait { self.admit(&state, demand, now) } else { Ok(()) }
    }

    /// Refuses one who has to wait, where that would be in vain.
    fn admit(&self, state: &State, demand: &Demand<'_>, now: Instant) -> Result<(), Limited> {
        let waiting = state.line.len();
        let wait = self.wait(state, state.line.ahead_of(demand.urgency, demand.caller), now);
        if now + wait > demand.deadline() || waiting >= demand.patience.max_queue {
            return Err(Limited { scope: self.scope, retry_after: wait, waiting });
        }
        Ok(())
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.state().line.len()
    }

    /// Lets nobody through before `until`.
    pub(super) fn pause(&self, until: Instant) {
        let mut state = self.state();
        state.paused_until = state.paused_until.max(Some(until));
    }

    /// Lets nobody through for so long, and then at half the pace, until some seconds have passed without it happening
    /// again.
    pub(super) fn throttled(&self, pause: Duration) {
        let (mut state, now) = (self.state(), Instant::now());
        // What was on its way meanwhile says nothing new.
        if state.paused_until.is_some_and(|until| until > now) {
            return;
        }
        state.paused_until = Some(now + pause);
        let pace = self.tokens.interval();
        let spacing = state.slow.map_or(pace, |slow| slow.spacing(now)).max(pace) * 2;
        state.slow = Some(Slow { spacing: spacing.min(pace * SLOWEST), since: now + pause, last: now });
    }

    /// Takes tokens for what has happened already. Where there are not so many, nobody goes until they would have come.
    pub(super) fn count(&self, events: u32) {
        let mut state = self.state();
        let taken = (0..events).take_while(|_| self.tokens.take().is_ok()).count();
        let owed = events.saturating_sub(u32::try_from(taken).unwrap_or(u32::MAX));
        if owed > 0 {
            let owed = self.tokens.interval().saturating_mul(owed).min(LONGEST_DEBT);
            state.paused_until = Some(state.paused_until.unwrap_or_else(Instant::now).max(Instant::now()) + owed);
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
                    Ok(ticket) => return Ok(ticket),
                    Err(at) => state.next_at = at,
                }
            }
            self.admit(&state, demand, now)?;
            let (waiter, turn) = oneshot::channel();
            let place = state.line.join(demand.urgency, demand.caller, waiter);
            if !std::mem::replace(&mut state.is_served, true) {
                tokio::spawn(Arc::clone(self).serve());
            }
            (place, turn)
        };
        let waiting = Waiting { gate: self, place };
        match timeout_at(demand.deadline(), turn).await {
            Ok(Ok(ticket)) => Ok(Ticket { waited: demand.now.elapsed(), ..ticket }),
            // Others came who were more urgent.
            Ok(Err(_)) | Err(_) => Err(waiting.give_up()),
        }
    }

    /// How long it takes until a token comes to one behind so many.
    fn wait(&self, state: &State, ahead: usize, now: Instant) -> Duration {
        let first = state.next_at.max(state.paused_until.unwrap_or(now)).saturating_duration_since(now);
        first + self.tokens.interval().saturating_mul(u32::try_from(ahead).unwrap_or(u32::MAX))
    }

    /// A token, or when the next can be had.
    fn take(&self, state: &mut State, now: Instant) -> Result<Ticket, Instant> {
        match state.paused_until {
            Some(until) if until > now => return Err(until),
            _ => state.paused_until = None,
        }
        if let Some(slow) = state.slow {
            let spacing = slow.spacing(now);
            match slow.last + spacing {
                _ if spacing <= self.tokens.interval() => state.slow = None,
                at if at > now => return Err(at),
                _ => {}
            }
        }
        let ticket =
            self.tokens.take().map(|ticket| Ticket { scope: self.scope, ..ticket }).map_err(|wait| now + wait)?;
        if let Some(slow) = &mut state.slow {
            slow.last = now;
        }
        Ok(ticket)
    }

    /// Lets them through one by one, until nobody is left.
    async fn serve(self: Arc<Self>) {
        while let Some(next_at) = self.let_through() {
            sleep_until(next_at).await;
        }
    }

    /// Lets through those whose turn it is. When the next may go; `None` where nobody waits.
    fn let_through(&self) -> Option<Instant> {
        let mut state = self.state();
        while state.line.len() > 0 {
            match self.take(&mut state, Instant::now()) {
                Ok(ticket) => {
                    // One who has just given up leaves the token to the next.
                    while state.line.next().is_some_and(|waiter| waiter.send(ticket).is_err()) {}
                }
                Err(at) => {
                    state.next_at = at;
                    return Some(at);
                }
            }
        }
        state.is_served = false;
        None
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
        Limited {
            scope: self.gate.scope,
            retry_after: self.gate.wait(&state, ahead, Instant::now()),
            waiting: state.line.len(),
        }
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
