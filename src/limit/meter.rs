//! Whether the next may go, and when: tokens, pauses, a slower pace, and who counts.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::lease::{Lease, Mode, SharedPause};
use super::stock::Stock;
use super::tokens::Tokens;
use super::{Halt, Ticket, Why};
use crate::config::OnFailure;
use crate::units::Quota;

/// What one limit lets through.
#[derive(Debug)]
pub(super) struct Meter {
    quota: Quota,
    /// Its own. Where there is a lease, they are the part of the quota that this sidecar may use alone, and so many are
    /// taken as go through while the server counts, so that they are a measure when it is lost.
    tokens: Tokens,
    lease: Option<Arc<Lease>>,
    /// Nobody goes before it is over.
    halt: Option<Halt>,
    /// Slower than the tokens come.
    slow: Option<Slow>,
    /// What is held of a shared limit.
    pub(super) stock: Stock,
    /// Who decided the last time.
    decided: Option<Mode>,
    /// How many tokens have yet to be taken for what has happened already.
    owed: u32,
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
pub(super) enum Later {
    At(Instant),
    /// When the shared server was asked.
    Asked,
}

impl Meter {
    pub(super) fn new(quota: Quota, tokens: Tokens, lease: Option<Lease>) -> Self {
        let (lease, stock) = (lease.map(Arc::new), Stock::new());
        Self { quota, tokens, lease, halt: None, slow: None, stock, decided: None, owed: 0 }
    }

    /// The same at another quota, and perhaps shared otherwise; `own` is what it may use alone. What is held of a shared
    /// limit is let go.
    pub(super) fn at(&self, quota: Quota, own: Quota, lease: Option<Lease>) -> Self {
        let now = Instant::now();
        let used = if self.is_shared() {
            self.stock.full_in(now).as_nanos() / self.interval().as_nanos().max(1)
        } else {
            self.used(now)
        };
        let mut changed =
            Self { halt: self.halt, slow: self.slow, ..Self::new(quota, self.tokens.with_quota(own), lease) };
        // Another server may know nothing of it.
        let full_in = times(quota.interval(), used);
        changed.stock.begin(full_in, full_in, now);
        changed.stock.goes_on(&self.stock);
        changed
    }

    pub(super) fn quota(&self) -> Quota {
        self.quota
    }

    pub(super) fn lease(&self) -> Option<&Arc<Lease>> {
        self.lease.as_ref()
    }

    pub(super) fn is_shared(&self) -> bool {
        self.mode() == Some(Mode::Shared)
    }

    /// Whether nothing goes because the shared limits are lost.
    pub(super) fn is_closed(&self) -> bool {
        self.mode() == Some(Mode::Alone(OnFailure::Closed))
    }

    /// Whether who decides now is the one who decided the last time.
    pub(super) fn is_decided_as_before(&self) -> bool {
        self.decided == self.mode()
    }

    /// Whether forgetting it would change nothing.
    pub(super) fn is_rested(&self, now: Instant) -> bool {
        let is_free = self.halted(now).is_none() && self.spacing(now).is_none();
        is_free && self.tokens.full_in(now).is_zero() && self.stock.full_in(now).is_zero()
    }

    /// Lets nobody through for so long, in no sidecar.
    pub(super) fn pause(&mut self, time: Duration, why: Why) {
        // Each answer says again what the first has said: who waits for the end of it goes then.
        if why == Why::NearLimit && self.halted(Instant::now()).is_some() {
            return;
        }
        self.halt = later(self.halt, Halt { until: Instant::now() + time, why });
        let named = Some(time);
        if let Some(lease) = &self.lease {
            lease.pause(SharedPause { first: Duration::ZERO, named, growth: 1, slows: false });
        }
    }

    /// Lets nobody through for so long, and then at half the pace, until some seconds have passed without it happening
    /// again.
    pub(super) fn throttled(&mut self, first: Duration, named: Option<Duration>) {
        let (now, pause) = (Instant::now(), named.unwrap_or(first));
        // What was on its way meanwhile says nothing new, unless it says for how long.
        let is_halted = self.halted(now).is_some_and(|halt| halt.why == Why::Throttled);
        if is_halted && named.is_none() {
            return;
        }
        self.halt = later(self.halt, Halt { until: now + pause, why: Why::Throttled });
        if let Some(lease) = &self.lease {
            lease.pause(SharedPause { first, named, growth: 1, slows: true });
        }
        if is_halted {
            return;
        }
        let pace = self.interval();
        let spacing = self.slow.map_or(pace, |slow| slow.spacing(now)).max(pace) * 2;
        self.slow = Some(Slow { spacing: spacing.min(pace * SLOWEST), since: now + pause, last: now });
    }

    /// Takes tokens for what has happened already. Where there are not so many, and nobody else counts, nobody goes until
    /// they have come.
    pub(super) fn count(&mut self, events: u32) {
        self.owed = self.owed.saturating_add(events);
        self.pay(Instant::now());
        let most = LONGEST_DEBT.as_nanos() / self.interval().as_nanos().max(1);
        let most = if self.is_shared() { 0 } else { u32::try_from(most).unwrap_or(u32::MAX).max(1) };
        self.owed = self.owed.min(most);
    }

    fn pay(&mut self, now: Instant) {
        while self.owed > 0 && self.tokens.take(now).is_ok() {
            self.owed -= 1;
        }
    }

    /// Until when nobody goes, and why, where that is so.
    pub(super) fn halted(&self, now: Instant) -> Option<Halt> {
        let halt = self.halt.filter(|halt| halt.until > now);
        if self.owed == 0 {
            return halt;
        }
        // What has come since is not taken before somebody asks.
        let owed = self.owed.saturating_sub(self.remaining(now).0);
        let until = now + self.interval().saturating_mul(owed);
        if owed > 0 { later(halt, Halt { until, why: Why::Received }) } else { halt }
    }

    /// How many could go now, and in how much time one.
    pub(super) fn remaining(&self, now: Instant) -> (u32, Duration) {
        match &self.tokens {
            Tokens::Own(bucket) if !self.is_shared() => bucket.quota().left(self.tokens.full_in(now)),
            Tokens::Own(_) | Tokens::Pair(..) => self.quota.left(self.stock.full_in(now)),
        }
    }

    /// How far apart requests go, where that is further than the quota says.
    pub(super) fn spacing(&self, now: Instant) -> Option<Duration> {
        self.slow.map(|slow| slow.spacing(now)).filter(|spacing| *spacing > self.interval())
    }

    /// How long it takes until a token comes to one behind so many, where the next comes at `next_at`.
    pub(super) fn wait(&self, next_at: Instant, ahead: usize, now: Instant) -> Duration {
        let first = next_at.max(self.halted(now).map_or(now, |halt| halt.until)).saturating_duration_since(now);
        if ahead == 0 {
            return first;
        }
        let pace = if self.is_shared() { self.stock.pace() } else { self.spacing(now).unwrap_or_default() };
        let interval = self.interval().max(pace);
        first + interval.saturating_mul(u32::try_from(ahead).unwrap_or(u32::MAX))
    }

    /// A token, or when the next can be had.
    pub(super) fn take(&mut self, now: Instant) -> Result<Ticket, Later> {
        match self.halt {
            Some(halt) if halt.until > now => return Err(Later::At(halt.until)),
            _ => self.halt = None,
        }
        let mode = self.mode();
        let before = std::mem::replace(&mut self.decided, mode);
        self.hand_over(before, now);
        match mode {
            Some(Mode::Shared) => self.take_shared(now),
            Some(Mode::Alone(OnFailure::Open)) => Ok(Ticket::full(self.quota)),
            Some(Mode::Alone(OnFailure::Closed)) => Err(Later::At(now + LOOK)),
            None | Some(Mode::Alone(OnFailure::Local)) => self.take_own(now).map_err(Later::At),
        }
    }

    /// How many more to ask the shared server for now, where so many wait; none where there are enough. Nothing is taken
    /// ahead for a pair, whose gate is there only while somebody waits at it.
    pub(super) fn wanted(&self, waiting: usize, now: Instant) -> u32 {
        match &self.tokens {
            Tokens::Own(_) => self.stock.wanted(waiting, self.quota, now),
            Tokens::Pair(..) => u32::try_from(waiting).unwrap_or(u32::MAX),
        }
    }

    /// Takes out of what is held what nobody used in time, and says how many they are.
    pub(super) fn take_stale(&mut self, now: Instant) -> u32 {
        self.stock.take_stale(self.quota, now)
    }

    /// The time in which one token comes to all sidecars, or to this one where it is alone.
    pub(super) fn interval(&self) -> Duration {
        if self.is_shared() { self.quota.interval() } else { self.tokens.interval() }
    }

    /// How many of its own tokens are used.
    fn used(&self, now: Instant) -> u128 {
        self.tokens.full_in(now).as_nanos().div_ceil(self.tokens.interval().as_nanos().max(1))
    }

    fn mode(&self) -> Option<Mode> {
        self.lease.as_ref().map(|lease| lease.mode())
    }

    /// Gives nothing away where another decides now than the last time.
    fn hand_over(&mut self, before: Option<Mode>, now: Instant) {
        match (before, self.decided) {
            (Some(Mode::Shared), Some(Mode::Alone(_))) => {
                // Nobody knows what the others hold and have under way, so none begins with a burst.
                let in_a_second = Duration::from_secs(1).as_nanos() / self.tokens.interval().as_nanos().max(1);
                (0..in_a_second).take_while(|_| self.tokens.take(now).is_ok()).for_each(drop);
                self.stock.begin(Duration::ZERO, Duration::ZERO, now);
            }
            (Some(Mode::Alone(_)), Some(Mode::Shared)) => {
                // What was used of its own part was used of the whole, whatever the server knows of it.
                let full_in = times(self.quota.interval(), self.used(now));
                // If that has forgotten, the others have used as much, and some of them still go by themselves for a moment.
                let full_in_if_lost = (self.tokens.full_in(now) + self.tokens.interval()).min(self.quota.window());
                self.stock.begin(full_in, full_in_if_lost, now);
            }
            _ => {}
        }
    }

    fn take_own(&mut self, now: Instant) -> Result<Ticket, Instant> {
        self.pay(now);
        if self.owed > 0 {
            return Err(now + self.interval().saturating_mul(self.owed));
        }
        if let Some(slow) = self.slow {
            let spacing = slow.spacing(now);
            match slow.last + spacing {
                _ if spacing <= self.interval() => self.slow = None,
                at if at > now => return Err(at),
                _ => {}
            }
        }
        let ticket = self.tokens.take(now).map_err(|wait| now + wait)?;
        if let Some(slow) = &mut self.slow {
            slow.last = now;
        }
        Ok(ticket)
    }

    fn take_shared(&mut self, now: Instant) -> Result<Ticket, Later> {
        match self.stock.take(now) {
            Ok(()) => {
                self.tokens.take(now).map(drop).unwrap_or_default();
                let left = self.stock.left().min(self.quota.burst.get());
                Ok(Ticket::with_left(self.quota, left))
            }
            Err(Some(due)) => Err(Later::At(due)),
            Err(None) if self.stock.ask_at() > now => Err(Later::At(self.stock.ask_at())),
            Err(None) => Err(Later::Asked),
        }
    }
}

fn times(interval: Duration, count: u128) -> Duration {
    interval.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX))
}

/// That of two which ends later.
fn later(one: Option<Halt>, other: Halt) -> Option<Halt> {
    Some(one.filter(|one| one.until > other.until).unwrap_or(other))
}

/// However much comes in at once.
const LONGEST_DEBT: Duration = Duration::from_secs(10);
/// How much closer requests go with each second that passes.
const RECOVERY: f64 = 0.85;
/// At most so many times as far apart as the tokens come.
const SLOWEST: u32 = 32;
/// How often is looked whether the shared server is back, or gone.
pub(super) const LOOK: Duration = Duration::from_millis(100);
