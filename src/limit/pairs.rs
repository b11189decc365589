//! How much one sender may send to one recipient.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use governor::RateLimiter;
use governor::clock::MonotonicClock;
use governor::middleware::StateInformationMiddleware;
use tokio::time::Instant;

use super::account::Pause;
use super::gate::Gate;
use super::lease::{Lease, SharedPause, Sharing};
use super::seldom::Seldom;
use super::states::{Pair, States};
use super::tokens::{Tokens, governor_quota, ticket};
use super::{Demand, Halt, Limited, Scope, Standing, Ticket, Usage, Why};
use crate::units::Quota;

type Governor = RateLimiter<Pair, States, MonotonicClock, StateInformationMiddleware>;

/// The pairs of one account. Each takes 16 bytes and its part of what is free in a table, 43 at most; those whose tokens are all back are
/// forgotten, which with Meta's quota is 6 seconds after a message, so that a million recipients in an hour are some
/// 2,000 at a time.
#[derive(Debug)]
pub struct Pairs {
    quota: Quota,
    sharing: Option<Sharing>,
    /// The gates at which somebody waits. A gate looks at what holds up its pair, so these are behind a lock of their own.
    gates: Seldom<HashMap<Pair, Arc<Gate>>>,
    held_up: Seldom<HeldUp>,
    /// Several, so that forgetting never holds up a request for long.
    shards: Vec<Shard>,
    /// A phone number is nowhere kept in the clear.
    hasher: RandomState,
}

/// What holds up pairs: most of the time nothing.
#[derive(Debug)]
struct HeldUp {
    pauses: HashMap<Pair, Pause>,
    /// Those whose place these took, and until when they have a say.
    before: Option<(Arc<Pairs>, Instant)>,
    /// When pauses that are over were last taken out.
    swept_at: Instant,
}

impl HeldUp {
    fn is_empty(&self) -> bool {
        self.pauses.is_empty() && self.before.is_none()
    }

    /// Forgets pauses after which another would not be one in a row.
    fn forget_old(&mut self, now: Instant) {
        self.pauses.retain(|_, pause| pause.until + pause.time > now);
        self.swept_at = now;
    }

    /// How long a pair is held up, if it is.
    fn look(&mut self, pair: Pair) -> Result<(), Duration> {
        let now = Instant::now();
        if now.saturating_duration_since(self.swept_at) > SWEEP {
            self.forget_old(now);
        }
        if let Some(pause) = self.pauses.get(&pair).filter(|pause| pause.until > now) {
            return Err(pause.until - now);
        }
        match &self.before {
            Some((old, until)) if *until > now => drop(old.take(pair)?),
            _ => self.before = None,
        }
        Ok(())
    }
}

/// Dropped, however a wait ends, it lets a gate go at which nobody waits any more.
struct Forgotten<'p> {
    pairs: &'p Pairs,
    pair: Pair,
}

impl Drop for Forgotten<'_> {
    fn drop(&mut self) {
        self.pairs.gates.change(|gates| {
            if gates.get(&self.pair).is_some_and(|gate| gate.waiting() == 0) {
                gates.remove(&self.pair);
            }
        });
    }
}

#[derive(Debug)]
struct Shard {
    governor: Governor,
    states: States,
    began: Instant,
    /// How many pairs there may be before those at rest are forgotten.
    sweep_at: AtomicUsize,
}

impl Pairs {
    /// Pairs at a quota that takes the place of another. What was used of that is not known by name, so for as long as
    /// it takes to come back both have to agree: nothing is given away.
    #[must_use]
    pub fn after(before: Option<&Arc<Self>>, quota: Quota, sharing: Option<Sharing>) -> Arc<Self> {
        let before = before.map(|before| (Arc::clone(before), Instant::now() + before.own_quota().window()));
        let own = sharing.as_ref().map_or(quota, |sharing| sharing.part(quota));
        let shard = || {
            let (states, began) = (States::default(), Instant::now());
            let governor = Governor::new(governor_quota(own), states.clone(), MonotonicClock);
            Shard { governor, states, began, sweep_at: AtomicUsize::new(MIN_SWEEP) }
        };
        let shards = (0..SHARDS).map(|_| shard()).collect();
        let hasher = before.as_ref().map_or_else(RandomState::new, |(before, _)| before.hasher.clone());
        let pauses = before.as_ref().and_then(|(before, _)| before.held_up.look(|held_up| held_up.pauses.clone()));
        let held_up = HeldUp { pauses: pauses.unwrap_or_default(), before, swept_at: Instant::now() };
        let held_up = Seldom::new(held_up, HeldUp::is_empty);
        let gates = Seldom::new(HashMap::new(), HashMap::is_empty);
        Arc::new(Self { quota, sharing, gates, held_up, shards, hasher })
    }

    /// Its quota.
    #[must_use]
    pub fn quota(&self) -> Quota {
        self.quota
    }

    /// How they are shared.
    #[must_use]
    pub fn sharing(&self) -> Option<&Sharing> {
        self.sharing.as_ref()
    }

    /// The part of it that this sidecar may use alone.
    pub(super) fn own_quota(&self) -> Quota {
        self.sharing.as_ref().map_or(self.quota, |sharing| sharing.part(self.quota))
    }

    /// How they are used now.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let now = Instant::now();
        let pauses = |held_up: &mut HeldUp| held_up.pauses.values().map(|pause| pause.until).collect();
        let mut paused: Vec<_> = self.held_up.look(pauses).unwrap_or_default();
        paused.retain(|until| *until > now);
        let waiting = self.gates.look(|gates| gates.values().map(|gate| gate.waiting()).sum());
        Usage {
            in_use: self.shards.iter().map(|shard| shard.governor.len()).sum(),
            waiting: waiting.unwrap_or_default(),
            paused: paused.len(),
            paused_until: paused.into_iter().max(),
        }
    }

    /// How a recipient stands; where limits are shared, only the server knows what is left.
    #[must_use]
    pub fn standing(&self, sender: &str, recipient: &str) -> Standing {
        let (pair, now) = (self.pair(sender, recipient), Instant::now());
        let gate = self.gates.look(|gates| gates.get(&pair).cloned()).flatten();
        let state = self.shard(pair).filter(|_| self.sharing.is_none());
        let full_at = state.and_then(|shard| Some(shard.began + Duration::from_nanos(shard.states.of(pair)?)));
        let full_in = full_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        let (quota, waiting) = (self.quota, gate.map_or(0, |gate| gate.waiting()));
        let (remaining, next_in) = quota.left(full_in);
        let ahead = quota.interval().saturating_mul(u32::try_from(waiting).unwrap_or(u32::MAX));
        let halt = self.halted(pair, now);
        let wait = halt.map_or(next_in, |halt| halt.until - now).max(next_in) + ahead;
        let is_closed = self.sharing.as_ref().is_some_and(Sharing::is_closed_now);
        Standing { quota, remaining, spacing: None, waiting, wait, halt, is_closed }
    }

    fn shard(&self, pair: Pair) -> Option<&Shard> {
        // The table of a shard takes the lower bits.
        let [high, low, ..] = pair.0.get().to_be_bytes();
        self.shards.get(usize::from(u16::from_be_bytes([high, low])) % SHARDS)
    }

    fn halted(&self, pair: Pair, now: Instant) -> Option<Halt> {
        let until = self.held_up.look(|held_up| held_up.pauses.get(&pair).map(|pause| pause.until)).flatten();
        until.filter(|until| *until > now).map(|until| Halt { until, why: Why::Throttled })
    }

    /// Waits for the recipient's turn. Others are not held up by it.
    ///
    /// # Errors
    /// Where the turn could not come in time.
    pub(super) async fn pass(self: &Arc<Self>, demand: &Demand<'_>, recipient: &str) -> Result<Ticket, Limited> {
        let pair = self.pair(demand.sender, recipient);
        let waiting = self.gates.look(|gates| gates.get(&pair).cloned()).flatten();
        let gate = match (waiting, &self.sharing) {
            (Some(gate), _) => gate,
            (None, None) => match self.take(pair) {
                Ok(ticket) => return Ok(ticket),
                Err(_) => self.gate(pair, None),
            },
            (None, Some(sharing)) => self.gate(pair, Some(sharing.lease(KIND, &[demand.sender, recipient]))),
        };
        let _forgotten = Forgotten { pairs: self, pair };
        let passed = gate.pass(demand).await;
        passed.map_err(|limited| Limited { why: self.halted(pair, Instant::now()).map(|halt| halt.why), ..limited })
    }

    fn gate(self: &Arc<Self>, pair: Pair, lease: Option<Lease>) -> Arc<Gate> {
        let tokens = Tokens::Pair(Arc::clone(self), pair);
        let gate = || Arc::new(Gate::new(Scope::Recipient, self.quota, tokens, lease));
        self.gates.change(|gates| Arc::clone(gates.entry(pair).or_insert_with(gate)))
    }

    /// Lets nothing go to a recipient for the `named` time; else for four times as long each time in a row, as Meta says:
    /// "4^X seconds, X = 0, 1, 2, ...".
    pub(super) fn throttled(&self, sender: &str, recipient: &str, first: Duration, named: Option<Duration>) {
        let (pair, now) = (self.pair(sender, recipient), Instant::now());
        let is_new = self.held_up.change(|held_up| {
            held_up.forget_old(now);
            let pauses = &mut held_up.pauses;
            let before = pauses.get(&pair).copied();
            // What was on its way meanwhile says nothing new.
            let is_news = named.is_some() || before.is_none_or(|pause| pause.until <= now);
            let is_new = is_news && (before.is_some() || pauses.len() < MOST_PAUSES);
            if is_new {
                pauses.insert(pair, Pause::after(before, named, first, GROWTH));
            }
            is_new
        });
        if let Some(sharing) = self.sharing.as_ref().filter(|_| is_new) {
            let pause = SharedPause { first, named, growth: GROWTH, slows: false };
            sharing.lease(KIND, &[sender, recipient]).pause(pause);
        }
    }

    /// A token, or how long it takes until there is one.
    pub(super) fn take(&self, pair: Pair) -> Result<Ticket, Duration> {
        self.held_up.look(|held_up| held_up.look(pair)).unwrap_or(Ok(()))?;
        let Some(shard) = self.shard(pair) else { return Err(Duration::ZERO) };
        if shard.governor.len() >= shard.sweep_at.load(Ordering::Relaxed) {
            shard.governor.retain_recent();
            shard.sweep_at.store((2 * shard.governor.len()).max(MIN_SWEEP), Ordering::Relaxed);
        }
        ticket(shard.governor.check_key(&pair), self.quota)
    }

    fn pair(&self, sender: &str, recipient: &str) -> Pair {
        Pair(NonZeroU64::new(self.hasher.hash_one((sender, recipient))).unwrap_or(NonZeroU64::MIN))
    }
}

/// How many times as long each pause in a row is as the one before.
const GROWTH: u32 = 4;
/// What they are called in the shared server.
const KIND: &str = "pair";
/// A million pairs are then some 10,400 in each table, which doubles after 12,288.
const SHARDS: usize = 96;
const MIN_SWEEP: usize = 64;
const MOST_PAUSES: usize = 10_000;
const SWEEP: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::Patience;
    use crate::units::Rate;

    #[tokio::test]
    async fn one_who_gives_up_leaves_nothing_behind() {
        let one = std::num::NonZeroU32::MIN;
        let quota = Quota { rate: Rate { count: one, per: Duration::from_secs(60) }, burst: one };
        let pairs = Pairs::after(None, quota, None);
        let patience = Patience { max_wait: Duration::from_secs(600), max_queue: 10 };
        let pass = || {
            let pairs = Arc::clone(&pairs);
            tokio::spawn(async move {
                let now = Instant::now();
                let demand = Demand { sender: "1", recipient: Some("2"), caller: 1, urgency: 3, now, patience };
                pairs.pass(&demand, "2").await.is_ok()
            })
        };
        assert!(pass().await.unwrap());
        let waiting = [pass(), pass()];
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!((pairs.standing("1", "2").waiting, pairs.gates.look(|gates| gates.len())), (2, Some(1)));
        for waiting in waiting {
            waiting.abort();
            assert!(waiting.await.is_err());
        }
        assert_eq!((pairs.standing("1", "2").waiting, pairs.gates.look(|gates| gates.len())), (0, None));
    }
}
