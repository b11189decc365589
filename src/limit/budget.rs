//! A rate of each sender, or of an account.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::gate::Gate;
use super::lease::{Lease, Sharing};
use super::tokens::{Bucket, Tokens};
use super::{Scope, Standing, Usage, Why};
use crate::units::{Quota, Rate};

/// One quota for each of many senders, or for an account. It lives on over reloads: what was used stays used.
#[derive(Debug)]
pub struct Budget {
    scope: Scope,
    /// What its limits are called in the shared server.
    kind: &'static str,
    state: Mutex<State>,
}

/// What a budget allows. It can change while requests wait.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The rate of each sender.
    pub rate: Rate,
    /// Whether senders have rates of their own, which are read from the provider. `rate` is that of those of whom nothing
    /// was read yet.
    pub auto: bool,
    /// How it is shared.
    pub sharing: Option<Sharing>,
}

#[derive(Debug)]
struct State {
    terms: Terms,
    gates: HashMap<Box<str>, Arc<Gate>>,
    /// How many there may be before those at rest are forgotten.
    sweep_at: usize,
    /// What the provider said of senders, and when.
    levels: HashMap<Box<str>, (Rate, Instant)>,
}

impl Terms {
    /// A rate that is the same for all senders, of this sidecar alone.
    #[must_use]
    pub fn fixed(rate: Rate) -> Self {
        Self { rate, auto: false, sharing: None }
    }

    /// Whether they are the same for everybody.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        (self.rate, self.auto) == (other.rate, other.auto)
            && Sharing::is_alike(self.sharing.as_ref(), other.sharing.as_ref())
    }

    /// What all who share a rate may use of it.
    fn whole(&self, rate: Rate) -> Quota {
        self.sharing.as_ref().map_or_else(|| rate.into(), |_| Sharing::whole(rate))
    }

    /// The part of a quota that this sidecar may use alone.
    fn own(&self, quota: Quota) -> Quota {
        self.sharing.as_ref().map_or(quota, |sharing| sharing.part(quota))
    }

    fn lease(&self, kind: &str, sender: &str) -> Option<Lease> {
        self.sharing.as_ref().map(|sharing| sharing.lease(kind, &[sender]))
    }
}

impl State {
    fn new(terms: Terms) -> Self {
        Self { terms, gates: HashMap::new(), sweep_at: 0, levels: HashMap::new() }
    }

    fn rate_of(&self, sender: &str) -> Rate {
        let level = self.levels.get(sender).filter(|_| self.terms.auto);
        level.map_or(self.terms.rate, |(rate, _)| *rate)
    }

    /// What a sender may use in all, what of it this sidecar may use alone, and who counts.
    fn terms_of(&self, kind: &str, sender: &str) -> (Quota, Quota, Option<Lease>) {
        let quota = self.terms.whole(self.rate_of(sender));
        (quota, self.terms.own(quota), self.terms.lease(kind, sender))
    }
}

impl Budget {
    /// A budget of which nothing is used yet.
    #[must_use]
    pub fn new(scope: Scope, kind: &'static str, terms: Terms) -> Self {
        Self { scope, kind, state: Mutex::new(State::new(terms)) }
    }

    /// What it allows now.
    #[must_use]
    pub fn terms(&self) -> Terms {
        self.state().terms.clone()
    }

    /// Which of these senders, and of those in use, nothing was read of for `age`.
    #[must_use]
    pub fn unread(&self, senders: impl IntoIterator<Item = String>, age: Duration) -> Vec<String> {
        let state = self.state();
        let in_use = state.gates.keys().map(|name| name.to_string()).filter(|name| !name.is_empty());
        let mut all: Vec<_> = senders.into_iter().chain(in_use).collect();
        all.sort();
        all.dedup();
        all.retain(|name| state.levels.get(name.as_str()).is_none_or(|(_, at)| at.elapsed() >= age));
        all
    }

    /// Takes what the provider says of a sender.
    pub fn set_level(&self, sender: &str, rate: Rate) {
        let mut state = self.state();
        let before = state.levels.insert(sender.into(), (rate, Instant::now()));
        if before.map_or(state.terms.rate, |(before, _)| before) != rate
            && let Some(gate) = state.gates.get(sender)
        {
            let (quota, own, lease) = state.terms_of(self.kind, sender);
            gate.change(quota, own, lease);
        }
    }

    /// Goes on at other terms. What was used stays used, and those who wait keep their places.
    pub fn change(&self, terms: &Terms) {
        let mut state = self.state();
        if state.terms.is_same(terms) {
            return;
        }
        state.terms = terms.clone();
        for (name, gate) in &state.gates {
            let (quota, own, lease) = state.terms_of(self.kind, name);
            gate.change(quota, own, lease);
        }
    }

    /// Another one at other terms, of which as much is used.
    #[must_use]
    pub fn split(&self, terms: Terms) -> Self {
        let before = self.state();
        let mut state = State { levels: before.levels.clone(), ..State::new(terms) };
        for (name, gate) in &before.gates {
            let (quota, own, lease) = state.terms_of(self.kind, name);
            state.gates.insert(name.clone(), Arc::new(gate.split(quota, own, lease)));
        }
        Self { scope: self.scope, kind: self.kind, state: Mutex::new(state) }
    }

    /// Lets nothing of a sender go for so long.
    pub(super) fn pause(&self, sender: &str, time: Duration, why: Why) {
        self.gate(sender).pause(time, why);
    }

    /// Lets nothing of a sender go for the `named` time, else for the `first`, and then more slowly.
    pub(super) fn throttled(&self, sender: &str, first: Duration, named: Option<Duration>) {
        self.gate(sender).throttled(first, named);
    }

    /// Counts messages that came in, without a wait: those that are let out wait for them.
    pub fn count(&self, sender: &str, messages: u32) {
        self.gate(sender).count(messages);
    }

    /// How it is used now.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let state = self.state();
        let all: Vec<_> = state.gates.values().map(|gate| gate.standing()).collect();
        let halts = || all.iter().filter_map(|standing| standing.halt);
        Usage {
            in_use: all.len(),
            waiting: all.iter().map(|standing| standing.waiting).sum(),
            paused: halts().count(),
            paused_until: halts().map(|halt| halt.until).max(),
        }
    }

    /// How a sender stands; as one that was never seen where nothing is known of it.
    #[must_use]
    pub fn standing(&self, sender: &str) -> Standing {
        let state = self.state();
        let at_rest = || {
            let quota = state.terms.whole(state.rate_of(sender));
            let (remaining, wait) = (quota.burst.get(), Duration::ZERO);
            let is_closed = state.terms.sharing.as_ref().is_some_and(Sharing::is_closed_now);
            Standing { quota, remaining, spacing: None, waiting: 0, wait, halt: None, is_closed }
        };
        state.gates.get(sender).map_or_else(at_rest, |gate| gate.standing())
    }

    /// Those of all senders who are not at rest, at most so many of them: first those for whom most requests wait, and
    /// among these those to whom least is left.
    #[must_use]
    pub fn busiest(&self, most: usize) -> Vec<(String, Standing)> {
        let state = self.state();
        let all = state.gates.iter().map(|(name, gate)| (name.to_string(), gate.standing()));
        let mut all: Vec<_> = all.filter(|(_, standing)| !standing.is_at_rest()).collect();
        all.sort_by_key(|(_, standing)| (Reverse(standing.waiting), standing.halt.is_none(), standing.remaining));
        all.truncate(most);
        all
    }

    /// Where the requests of a sender pass, the most urgent first, and callers in turns.
    pub(super) fn gate(&self, sender: &str) -> Arc<Gate> {
        let mut state = self.state();
        if let Some(gate) = state.gates.get(sender) {
            return Arc::clone(gate);
        }
        if state.gates.len() >= state.sweep_at {
            // A sender that has rested long enough is the same as one never seen.
            let now = Instant::now();
            state.gates.retain(|_, gate| Arc::strong_count(gate) > 1 || !gate.is_rested(now));
            state.sweep_at = (state.gates.len() * 2).clamp(MIN_SWEEP, MAX_SENDERS);
        }
        // No account has so many numbers; those beyond it share what one has.
        let name = if state.gates.len() < MAX_SENDERS { sender } else { "" };
        let (quota, own, lease) = state.terms_of(self.kind, name);
        let gate = || Arc::new(Gate::new(self.scope, quota, Tokens::Own(Bucket::new(own)), lease));
        Arc::clone(state.gates.entry(name.into()).or_insert_with(gate))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const MIN_SWEEP: usize = 1024;
/// The most senders that are told apart at a time.
const MAX_SENDERS: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::{Demand, Limited, Patience, Ticket};
    use std::num::NonZeroU32;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn rate(count: u32, per: Duration) -> Rate {
        Rate { count: NonZeroU32::new(count).unwrap(), per }
    }

    fn demand(sender: &str, patience: Patience) -> Demand<'_> {
        Demand { sender, recipient: None, caller: 1, urgency: 3, now: Instant::now(), patience }
    }

    fn budget(rate: Rate) -> Budget {
        Budget::new(Scope::Sender, "sender", Terms::fixed(rate))
    }

    async fn pass(budget: &Budget, demand: &Demand<'_>) -> Result<Ticket, Limited> {
        budget.gate(demand.sender).pass(demand).await
    }

    const SECOND: Duration = Duration::from_secs(1);
    const IMPATIENT: Patience = Patience { max_wait: Duration::ZERO, max_queue: 10 };

    #[tokio::test]
    async fn senders_do_not_share_a_bucket() {
        let budget = budget(rate(2, 60 * SECOND));
        for sender in ["1", "2"] {
            assert_eq!(pass(&budget, &demand(sender, IMPATIENT)).await.unwrap().remaining, 1);
            assert_eq!(pass(&budget, &demand(sender, IMPATIENT)).await.unwrap().remaining, 0);
            let limited = pass(&budget, &demand(sender, IMPATIENT)).await.unwrap_err();
            assert!(limited.retry_after > 29 * SECOND && limited.retry_after <= 30 * SECOND);
        }
    }

    #[tokio::test]
    async fn a_changed_rate_gives_nothing_away() {
        for (old, new) in [(10, 40), (40, 10), (10, 10)] {
            let budget = budget(rate(old, 60 * SECOND));
            while pass(&budget, &demand("1", IMPATIENT)).await.is_ok() {}
            let changed = budget.split(Terms::fixed(rate(new, 60 * SECOND)));
            assert!(pass(&changed, &demand("1", IMPATIENT)).await.is_err(), "{old} -> {new}");
            assert_eq!(pass(&changed, &demand("2", IMPATIENT)).await.unwrap().remaining, new - 1);
        }
    }

    #[tokio::test]
    async fn a_half_used_bucket_stays_half_used_at_another_rate() {
        let budget = budget(rate(100, 3600 * SECOND));
        for _ in 0..50 {
            pass(&budget, &demand("1", IMPATIENT)).await.unwrap();
        }
        let changed = budget.split(Terms::fixed(rate(10, 3600 * SECOND)));
        assert_eq!(pass(&changed, &demand("1", IMPATIENT)).await.unwrap().remaining, 4);
    }

    /// Of 30 who wait for a rate that then is changed, and of newcomers, so many go in half a second.
    async fn gone_after_a_change(old: u32, new: u32) -> usize {
        let budget = Arc::new(budget(rate(old, SECOND)));
        while pass(&budget, &demand("1", IMPATIENT)).await.is_ok() {}
        let gone = Arc::new(AtomicUsize::new(0));
        let spawn = || {
            let (budget, gone) = (Arc::clone(&budget), Arc::clone(&gone));
            tokio::spawn(async move {
                let patience = Patience { max_wait: 30 * SECOND, max_queue: 100 };
                pass(&budget, &demand("1", patience)).await.unwrap();
                gone.fetch_add(1, Ordering::Relaxed);
            })
        };
        let mut tasks: Vec<_> = (0..30).map(|_| spawn()).collect();
        tokio::time::sleep(SECOND / 20).await;
        let before = gone.load(Ordering::Relaxed);
        budget.change(&Terms::fixed(rate(new, SECOND)));
        tasks.extend((0..30).map(|_| spawn()));
        tokio::time::sleep(SECOND / 2).await;
        tasks.iter().for_each(tokio::task::JoinHandle::abort);
        gone.load(Ordering::Relaxed) - before
    }

    #[tokio::test]
    async fn what_came_in_is_paid_before_anything_goes() {
        let budget = budget(rate(50, SECOND));
        budget.count("1", 60);
        let standing = budget.standing("1");
        assert_eq!((standing.remaining, standing.halt.map(|halt| halt.why)), (0, Some(Why::Received)));
        assert!(pass(&budget, &demand("1", IMPATIENT)).await.is_err());
        tokio::time::sleep(SECOND * 3 / 10).await;
        assert!(budget.standing("1").halt.is_none(), "it is over though nobody has asked since");
        let mut passed = 0;
        while pass(&budget, &demand("1", IMPATIENT)).await.is_ok() {
            passed += 1;
        }
        assert!((3..=8).contains(&passed), "{passed} of 15 that came passed, and 10 were owed");
        let slow = Budget::new(Scope::Sender, "sender", Terms::fixed(rate(5, 60 * SECOND)));
        slow.count("1", 3);
        assert_eq!(slow.standing("1").remaining, 2);
    }

    #[tokio::test]
    async fn a_changed_rate_is_that_of_those_who_wait_already_too() {
        let (slower, faster) = (gone_after_a_change(40, 10).await, gone_after_a_change(10, 40).await);
        assert!((4..=6).contains(&slower) && (18..=21).contains(&faster), "{slower}, {faster}");
    }

    #[tokio::test]
    async fn those_over_the_limit_wait_in_order_of_arrival() {
        let budget = Arc::new(budget(rate(1, SECOND / 50)));
        let patience = Patience { max_wait: SECOND, max_queue: 100 };
        let order = Arc::new(Mutex::new(Vec::new()));
        let tasks: Vec<_> = (0..10)
            .map(|turn| {
                let (budget, order) = (Arc::clone(&budget), Arc::clone(&order));
                tokio::spawn(async move {
                    pass(&budget, &demand("1", patience)).await.unwrap();
                    order.lock().unwrap().push(turn);
                })
            })
            .collect();
        let start = std::time::Instant::now();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), (0..10).collect::<Vec<_>>());
        assert!(start.elapsed() >= Duration::from_millis(170));
    }

    #[tokio::test]
    async fn a_wait_that_would_be_too_long_is_refused_at_once_and_a_full_queue_too() {
        let budget = Arc::new(budget(rate(1, SECOND)));
        let patience = Patience { max_wait: 3 * SECOND, max_queue: 2 };
        pass(&budget, &demand("1", patience)).await.unwrap();
        let waiting: Vec<_> = (0..2)
            .map(|_| {
                let budget = Arc::clone(&budget);
                tokio::spawn(async move { pass(&budget, &demand("1", patience)).await })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(20)).await;
        let start = std::time::Instant::now();
        let limited = pass(&budget, &demand("1", patience)).await.unwrap_err();
        assert_eq!(limited.waiting, 2);
        assert!(limited.retry_after > 2 * SECOND && limited.retry_after <= 3 * SECOND, "{limited:?}");
        let short = Patience { max_wait: SECOND, max_queue: 100 };
        assert!(pass(&budget, &demand("1", short)).await.is_err());
        assert!(start.elapsed() < Duration::from_millis(50));
        for task in waiting {
            task.abort();
        }
    }

    #[tokio::test]
    async fn one_who_leaves_the_queue_makes_room_in_it() {
        let budget = Arc::new(budget(rate(1, SECOND / 10)));
        let patience = Patience { max_wait: SECOND, max_queue: 1 };
        pass(&budget, &demand("1", patience)).await.unwrap();
        let gone = tokio::spawn({
            let budget = Arc::clone(&budget);
            async move { pass(&budget, &demand("1", patience)).await }
        });
        tokio::time::sleep(Duration::from_millis(10)).await;
        gone.abort();
        assert!(gone.await.is_err());
        assert_eq!((budget.usage().in_use, budget.usage().waiting), (1, 0));
        pass(&budget, &demand("1", patience)).await.unwrap();
    }

    #[tokio::test]
    async fn however_many_names_are_used_the_table_has_a_bound() {
        let budget = budget(rate(2, 3600 * SECOND));
        let mut refused = 0;
        for sender in 0..MAX_SENDERS + 100 {
            refused += usize::from(pass(&budget, &demand(&sender.to_string(), IMPATIENT)).await.is_err());
        }
        assert_eq!((budget.usage().in_use, refused), (MAX_SENDERS + 1, 98));
        assert!(pass(&budget, &demand("0", IMPATIENT)).await.is_ok(), "one that is known has its own");
    }

    #[tokio::test]
    async fn senders_at_rest_are_forgotten() {
        let budget = budget(rate(1000, SECOND / 100));
        for sender in 0..5000 {
            pass(&budget, &demand(&sender.to_string(), IMPATIENT)).await.unwrap();
            if sender % 1000 == 0 {
                tokio::time::sleep(Duration::from_millis(15)).await;
            }
        }
        assert!(budget.usage().in_use <= 3 * MIN_SWEEP, "{:?}", budget.usage());
    }
}
