//! How much one sender may send to one recipient.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::RateLimiter;
use governor::clock::MonotonicClock;
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::HashMapStateStore;
use tokio::time::Instant;

use super::account::Pause;
use super::gate::Gate;
use super::lease::{Lease, SharedPause, Sharing};
use super::tokens::{Tokens, governor_quota, ticket};
use super::{Demand, Limited, Scope, Ticket, Usage};
use crate::units::Quota;

type Governor = RateLimiter<u64, HashMapStateStore<u64>, MonotonicClock, StateInformationMiddleware>;

/// The pairs of one account. Each takes 16 bytes and its part of a table, 39 at most; those whose tokens are all back are
/// forgotten, which with Meta's quota is 6 seconds after a message, so that a million recipients in an hour are some
/// 2,000 at a time.
#[derive(Debug)]
pub struct Pairs {
    quota: Quota,
    sharing: Option<Sharing>,
    /// Those whose place these took, and until when they have a say.
    before: Mutex<Option<(Arc<Self>, Instant)>>,
    /// Several, so that forgetting never holds up a request for long.
    shards: Vec<Shard>,
    /// A phone number is nowhere kept in the clear.
    hasher: RandomState,
    /// The gates at which somebody waits.
    gates: Mutex<HashMap<Pair, Arc<Gate>>>,
    pauses: Mutex<HashMap<Pair, Pause>>,
}

#[derive(Debug)]
struct Shard {
    governor: Governor,
    /// How many pairs there may be before those at rest are forgotten.
    sweep_at: AtomicUsize,
}

/// A sender and a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pair(u64);

impl Pairs {
    /// Pairs at a quota that takes the place of another. What was used of that is not known by name, so for as long as
    /// it takes to come back both have to agree: nothing is given away.
    #[must_use]
    pub fn after(before: Option<&Arc<Self>>, quota: Quota, sharing: Option<Sharing>) -> Arc<Self> {
        let before = before.map(|before| (Arc::clone(before), Instant::now() + before.own_quota().window()));
        let own = sharing.as_ref().map_or(quota, |sharing| sharing.part(quota));
        let shard = || Shard {
            governor: RateLimiter::hashmap_with_clock(governor_quota(own), MonotonicClock).with_middleware(),
            sweep_at: AtomicUsize::new(MIN_SWEEP),
        };
        let shards = (0..SHARDS).map(|_| shard()).collect();
        let (gates, pauses) = (Mutex::default(), Mutex::default());
        let hasher = before.as_ref().map_or_else(RandomState::new, |(before, _)| before.hasher.clone());
        Arc::new(Self { quota, sharing, before: Mutex::new(before), shards, hasher, gates, pauses })
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
        let pauses = self.pauses.lock().unwrap_or_else(PoisonError::into_inner);
        let paused = || pauses.values().map(|pause| pause.until).filter(|until| *until > Instant::now());
        Usage {
            in_use: self.shards.iter().map(|shard| shard.governor.len()).sum(),
            waiting: self.gates().values().map(|gate| gate.waiting()).sum(),
            paused: paused().count(),
            paused_until: paused().max(),
        }
    }

    /// Waits for the recipient's turn. Others are not held up by it.
    ///
    /// # Errors
    /// Where the turn could not come in time.
    pub(super) async fn pass(self: &Arc<Self>, demand: &Demand<'_>, recipient: &str) -> Result<Ticket, Limited> {
        let pair = self.pair(demand.sender, recipient);
        let waiting = self.gates().get(&pair).cloned();
        let gate = match (waiting, &self.sharing) {
            (Some(gate), _) => gate,
            (None, None) => match self.take(pair) {
                Ok(ticket) => return Ok(ticket),
                Err(_) => self.gate(pair, None),
            },
            (None, Some(sharing)) => self.gate(pair, Some(sharing.lease(KIND, &[demand.sender, recipient]))),
        };
        let passed = gate.pass(demand).await;
        let mut gates = self.gates();
        if gates.get(&pair).is_some_and(|gate| gate.waiting() == 0) {
            gates.remove(&pair);
        }
        passed
    }

    fn gate(self: &Arc<Self>, pair: Pair, lease: Option<Lease>) -> Arc<Gate> {
        let tokens = Tokens::Pair(Arc::clone(self), pair);
        let gate = || Arc::new(Gate::new(Scope::Recipient, self.quota, tokens, lease));
        Arc::clone(self.gates().entry(pair).or_insert_with(gate))
    }

    /// Lets nothing go to a recipient for the `named` time; else for four times as long each time in a row, as Meta says:
    /// "4^X seconds, X = 0, 1, 2, ...".
    pub(super) fn throttled(&self, sender: &str, recipient: &str, first: Duration, named: Option<Duration>) {
        let (pair, now) = (self.pair(sender, recipient), Instant::now());
        let mut pauses = self.pauses.lock().unwrap_or_else(PoisonError::into_inner);
        pauses.retain(|_, pause| pause.until + pause.time > now);
        let before = pauses.get(&pair).copied();
        // What was on its way meanwhile says nothing new.
        let is_news = named.is_some() || before.is_none_or(|pause| pause.until <= now);
        if is_news && (before.is_some() || pauses.len() < MOST_PAUSES) {
            pauses.insert(pair, Pause::after(before, named, first, GROWTH));
            if let Some(sharing) = &self.sharing {
                let pause = SharedPause { first, named, growth: GROWTH, slows: false };
                sharing.lease(KIND, &[sender, recipient]).pause(pause);
            }
        }
    }

    /// A token, or how long it takes until there is one.
    pub(super) fn take(&self, pair: Pair) -> Result<Ticket, Duration> {
        let now = Instant::now();
        let paused = self.pauses.lock().unwrap_or_else(PoisonError::into_inner).get(&pair).map(|pause| pause.until);
        if let Some(until) = paused.filter(|until| *until > now) {
            return Err(until - now);
        }
        let mut before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
        match &*before {
            Some((old, until)) if *until > now => drop(old.take(pair)?),
            _ => *before = None,
        }
        drop(before);
        let place = usize::try_from(pair.0 % SHARDS).unwrap_or_default();
        let Some(shard) = self.shards.get(place) else { return Err(Duration::ZERO) };
        if shard.governor.len() >= shard.sweep_at.load(Ordering::Relaxed) {
            shard.governor.retain_recent();
            shard.governor.shrink_to_fit();
            shard.sweep_at.store((2 * shard.governor.len()).max(MIN_SWEEP), Ordering::Relaxed);
        }
        ticket(shard.governor.check_key(&pair.0), self.quota)
    }

    fn pair(&self, sender: &str, recipient: &str) -> Pair {
        Pair(self.hasher.hash_one((sender, recipient)))
    }

    fn gates(&self) -> MutexGuard<'_, HashMap<Pair, Arc<Gate>>> {
        self.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many times as long each pause in a row is as the one before.
const GROWTH: u32 = 4;
/// What they are called in the shared server.
const KIND: &str = "pair";
const SHARDS: u64 = 64;
const MIN_SWEEP: usize = 64;
const MOST_PAUSES: usize = 10_000;
