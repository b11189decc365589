//! A rate of each sender, or of an account.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::gate::Gate;
use super::lease::{Lease, Sharing};
use super::tokens::{Bucket, Tokens};
use super::{Demand, Limited, Scope, Ticket, Usage};
use crate::units::{Quota, Rate};

/// One quota for each of many senders, or for an account. It lives on over reloads: what was used stays used.
#[derive(Debug)]
pub struct Budget {
    scope: Scope,
    /// What its limits are called in the shared server.
    kind: &'static str,
    quota: Quota,
    sharing: Option<Sharing>,
    /// Whether senders have rates of their own, which are read from the provider.
    auto: bool,
    gates: Mutex<Gates>,
}

#[derive(Debug, Default)]
struct Gates {
    by_name: HashMap<Box<str>, Arc<Gate>>,
    /// How many there may be before those at rest are forgotten.
    sweep_at: usize,
    /// What the provider said of senders, and when.
    levels: HashMap<Box<str>, (Quota, Instant)>,
}

impl Budget {
    /// A budget of which nothing is used yet. With `auto`, rates are read from the provider, and `rate` is that of senders
    /// that were not read yet.
    #[must_use]
    pub fn new(scope: Scope, kind: &'static str, rate: Rate, auto: bool, sharing: Option<Sharing>) -> Self {
        let quota = whole(rate, sharing.as_ref());
        Self { scope, kind, quota, sharing, auto, gates: Mutex::default() }
    }

    /// Whether rates are read from the provider.
    #[must_use]
    pub fn is_auto(&self) -> bool {
        self.auto
    }

    /// Which of these senders, and of those in use, nothing was read of for `age`.
    #[must_use]
    pub fn unread(&self, senders: impl IntoIterator<Item = String>, age: Duration) -> Vec<String> {
        let gates = self.gates();
        let in_use = gates.by_name.keys().map(|name| name.to_string()).filter(|name| !name.is_empty());
        let mut all: Vec<_> = senders.into_iter().chain(in_use).collect();
        all.sort();
        all.dedup();
        all.retain(|name| gates.levels.get(name.as_str()).is_none_or(|(_, at)| at.elapsed() >= age));
        all
    }

    /// Takes what the provider says of a sender.
    pub fn set_level(&self, sender: &str, rate: Rate) {
        let mut gates = self.gates();
        let (quota, now) = (whole(rate, self.sharing.as_ref()), Instant::now());
        let before = gates.levels.insert(sender.into(), (quota, now)).map_or(self.quota, |(before, _)| before);
        if before != quota
            && let Some(gate) = gates.by_name.get_mut(sender)
        {
            *gate = Arc::new(gate.with_quota(quota, self.own(quota), self.lease(sender)));
        }
    }

    /// Its rate.
    #[must_use]
    pub fn rate(&self) -> Rate {
        self.quota.rate
    }

    /// How it is shared.
    #[must_use]
    pub fn sharing(&self) -> Option<&Sharing> {
        self.sharing.as_ref()
    }

    /// The same senders at another rate, or shared otherwise, with what each has used.
    #[must_use]
    pub fn changed(&self, rate: Rate, auto: bool, sharing: Option<Sharing>) -> Self {
        let changed = Self::new(self.scope, self.kind, rate, auto, sharing);
        let (quota, own) = (changed.quota, changed.own(changed.quota));
        let gates = self.gates();
        let all = gates.by_name.iter();
        let by_name =
            all.map(|(name, gate)| (name.clone(), Arc::new(gate.with_quota(quota, own, changed.lease(name)))));
        changed.gates().by_name = by_name.collect();
        changed
    }

    /// Lets nothing of a sender go for so long.
    pub(super) fn pause(&self, sender: &str, time: Duration) {
        self.gate(sender).pause(Instant::now() + time);
    }

    /// Lets nothing of a sender go for the `named` time, else for the `first`, and then more slowly.
    pub(super) fn throttled(&self, sender: &str, first: Duration, named: Option<Duration>) {
        self.gate(sender).throttled(first, named);
    }

    /// Waits for the sender's turn: the most urgent first, and callers in turns.
    ///
    /// # Errors
    /// At once where the turn could not come in time.
    pub async fn pass(&self, demand: &Demand<'_>) -> Result<Ticket, Limited> {
        self.gate(demand.sender).pass(demand).await
    }

    /// Refuses what [`pass`](Self::pass) would refuse at once, and takes nothing.
    ///
    /// # Errors
    /// Where the turn could not come in time.
    pub fn check(&self, demand: &Demand<'_>) -> Result<(), Limited> {
        self.gate(demand.sender).check(demand)
    }

    /// Counts messages that came in, without a wait: those that are let out wait for them.
    pub fn count(&self, sender: &str, messages: u32) {
        self.gate(sender).count(messages);
    }

    /// How it is used now.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let gates = self.gates();
        let all = || gates.by_name.values();
        Usage {
            in_use: all().count(),
            waiting: all().map(|gate| gate.waiting()).sum(),
            paused: all().filter_map(|gate| gate.paused_until()).count(),
            paused_until: all().filter_map(|gate| gate.paused_until()).max(),
        }
    }

    fn gate(&self, sender: &str) -> Arc<Gate> {
        let mut gates = self.gates();
        if let Some(gate) = gates.by_name.get(sender) {
            return Arc::clone(gate);
        }
        if gates.by_name.len() >= gates.sweep_at {
            // A sender that has rested long enough is the same as one never seen.
            let now = Instant::now();
            gates.by_name.retain(|_, gate| Arc::strong_count(gate) > 1 || !gate.is_rested(now));
            gates.sweep_at = (gates.by_name.len() * 2).clamp(MIN_SWEEP, MAX_SENDERS);
        }
        // No account has so many numbers; those beyond it share what one has.
        let name = if gates.by_name.len() < MAX_SENDERS { sender } else { "" };
        let quota = gates.levels.get(name).map_or(self.quota, |(quota, _)| *quota);
        let tokens = || Tokens::Own(Bucket::new(self.own(quota)));
        let gate = || Arc::new(Gate::new(self.scope, quota, tokens(), self.lease(name)));
        Arc::clone(gates.by_name.entry(name.into()).or_insert_with(gate))
    }

    /// The part of a quota that this sidecar may use alone.
    fn own(&self, quota: Quota) -> Quota {
        self.sharing.as_ref().map_or(quota, |sharing| sharing.part(quota))
    }

    fn lease(&self, sender: &str) -> Option<Lease> {
        self.sharing.as_ref().map(|sharing| sharing.lease(self.kind, &[sender]))
    }

    fn gates(&self) -> MutexGuard<'_, Gates> {
        self.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What all who share a rate may use of it.
fn whole(rate: Rate, sharing: Option<&Sharing>) -> Quota {
    sharing.map_or_else(|| rate.into(), |_| Sharing::whole(rate))
}

const MIN_SWEEP: usize = 1024;
/// The most senders that are told apart at a time.
const MAX_SENDERS: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::Patience;
    use std::num::NonZeroU32;

    fn rate(count: u32, per: Duration) -> Rate {
        Rate { count: NonZeroU32::new(count).unwrap(), per }
    }

    fn demand(sender: &str, patience: Patience) -> Demand<'_> {
        Demand { sender, recipient: None, caller: 1, urgency: 3, now: Instant::now(), patience }
    }

    const SECOND: Duration = Duration::from_secs(1);
    const IMPATIENT: Patience = Patience { max_wait: Duration::ZERO, max_queue: 10 };

    #[tokio::test]
    async fn senders_do_not_share_a_bucket() {
        let budget = Budget::new(Scope::Sender, "sender", rate(2, 60 * SECOND), false, None);
        for sender in ["1", "2"] {
            assert_eq!(budget.pass(&demand(sender, IMPATIENT)).await.unwrap().remaining, 1);
            assert_eq!(budget.pass(&demand(sender, IMPATIENT)).await.unwrap().remaining, 0);
            let limited = budget.pass(&demand(sender, IMPATIENT)).await.unwrap_err();
            assert!(limited.retry_after > 29 * SECOND && limited.retry_after <= 30 * SECOND);
        }
    }

    #[tokio::test]
    async fn a_changed_rate_gives_nothing_away() {
        for (old, new) in [(10, 40), (40, 10), (10, 10)] {
            let budget = Budget::new(Scope::Sender, "sender", rate(old, 60 * SECOND), false, None);
            while budget.pass(&demand("1", IMPATIENT)).await.is_ok() {}
            let changed = budget.changed(rate(new, 60 * SECOND), false, None);
            assert!(changed.pass(&demand("1", IMPATIENT)).await.is_err(), "{old} -> {new}");
            assert_eq!(changed.pass(&demand("2", IMPATIENT)).await.unwrap().remaining, new - 1);
        }
    }

    #[tokio::test]
    async fn a_half_used_bucket_stays_half_used_at_another_rate() {
        let budget = Budget::new(Scope::Sender, "sender", rate(100, 3600 * SECOND), false, None);
        for _ in 0..50 {
            budget.pass(&demand("1", IMPATIENT)).await.unwrap();
        }
        let changed = budget.changed(rate(10, 3600 * SECOND), false, None);
        assert_eq!(changed.pass(&demand("1", IMPATIENT)).await.unwrap().remaining, 4);
    }

    #[tokio::test]
    async fn those_over_the_limit_wait_in_order_of_arrival() {
        let budget = Arc::new(Budget::new(Scope::Sender, "sender", rate(1, SECOND / 50), false, None));
        let patience = Patience { max_wait: SECOND, max_queue: 100 };
        let order = Arc::new(Mutex::new(Vec::new()));
        let tasks: Vec<_> = (0..10)
            .map(|turn| {
                let (budget, order) = (Arc::clone(&budget), Arc::clone(&order));
                tokio::spawn(async move {
                    budget.pass(&demand("1", patience)).await.unwrap();
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
        let budget = Arc::new(Budget::new(Scope::Sender, "sender", rate(1, SECOND), false, None));
        let patience = Patience { max_wait: 3 * SECOND, max_queue: 2 };
        budget.pass(&demand("1", patience)).await.unwrap();
        let waiting: Vec<_> = (0..2)
            .map(|_| {
                let budget = Arc::clone(&budget);
                tokio::spawn(async move { budget.pass(&demand("1", patience)).await })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(20)).await;
        let start = std::time::Instant::now();
        let limited = budget.pass(&demand("1", patience)).await.unwrap_err();
        assert_eq!(limited.waiting, 2);
        assert!(limited.retry_after > 2 * SECOND && limited.retry_after <= 3 * SECOND, "{limited:?}");
        let short = Patience { max_wait: SECOND, max_queue: 100 };
        assert!(budget.pass(&demand("1", short)).await.is_err());
        assert!(start.elapsed() < Duration::from_millis(50));
        for task in waiting {
            task.abort();
        }
    }

    #[tokio::test]
    async fn one_who_leaves_the_queue_makes_room_in_it() {
        let budget = Arc::new(Budget::new(Scope::Sender, "sender", rate(1, SECOND / 10), false, None));
        let patience = Patience { max_wait: SECOND, max_queue: 1 };
        budget.pass(&demand("1", patience)).await.unwrap();
        let gone = tokio::spawn({
            let budget = Arc::clone(&budget);
            async move { budget.pass(&demand("1", patience)).await }
        });
        tokio::time::sleep(Duration::from_millis(10)).await;
        gone.abort();
        assert!(gone.await.is_err());
        assert_eq!((budget.usage().in_use, budget.usage().waiting), (1, 0));
        budget.pass(&demand("1", patience)).await.unwrap();
    }

    #[tokio::test]
    async fn however_many_names_are_used_the_table_has_a_bound() {
        let budget = Budget::new(Scope::Sender, "sender", rate(2, 3600 * SECOND), false, None);
        let mut refused = 0;
        for sender in 0..MAX_SENDERS + 100 {
            refused += usize::from(budget.pass(&demand(&sender.to_string(), IMPATIENT)).await.is_err());
        }
        assert_eq!((budget.usage().in_use, refused), (MAX_SENDERS + 1, 98));
        assert!(budget.pass(&demand("0", IMPATIENT)).await.is_ok(), "one that is known has its own");
    }

    #[tokio::test]
    async fn senders_at_rest_are_forgotten() {
        let budget = Budget::new(Scope::Sender, "sender", rate(1000, SECOND / 100), false, None);
        for sender in 0..5000 {
            budget.pass(&demand(&sender.to_string(), IMPATIENT)).await.unwrap();
            if sender % 1000 == 0 {
                tokio::time::sleep(Duration::from_millis(15)).await;
            }
        }
        assert!(budget.usage().in_use <= 3 * MIN_SWEEP, "{:?}", budget.usage());
    }
}
