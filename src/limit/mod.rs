//! How fast may be sent: what a request asks before it leaves.
//!
//! A send passes four: the account's pause, the recipient's [`Pairs`], the sender's [`Budget`], the account's own. A request of
//! administration passes the account's own. Each keeps in line who must wait, and refuses at once who would wait for
//! nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

mod gate;
mod line;
mod pairs;
mod tokens;

use gate::Gate;
pub use pairs::Pairs;
use tokens::{Bucket, Tokens};

pub use crate::provider::Scope;
use crate::provider::Throttle;
use crate::units::{Quota, Rate};

/// What a request asks for.
#[derive(Clone, Copy, Debug)]
pub struct Demand<'a> {
    /// The number that sends; empty where the request names none.
    pub sender: &'a str,
    /// Whom it writes to, where that is known.
    pub recipient: Option<&'a str>,
    /// Who asks: callers take turns.
    pub caller: u64,
    /// 0 to 7, the smallest first (RFC 9218).
    pub urgency: u8,
    /// When it came.
    pub now: Instant,
    /// How long it waits.
    pub patience: Patience,
}

impl Demand<'_> {
    fn deadline(&self) -> Instant {
        self.now + self.patience.max_wait
    }
}

/// How long a request may wait for its turn, and behind how many.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// The longest wait.
    pub max_wait: Duration,
    /// The most requests that wait for one limit at a time.
    pub max_queue: usize,
}

/// Leave to send one request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ticket {
    /// Of what the limit is.
    pub scope: Scope,
    /// How many more could leave at once.
    pub remaining: u32,
    /// How many could leave at once after a rest.
    pub burst: u32,
    /// How long it took to come.
    pub waited: Duration,
    /// The time in which `burst` requests may leave.
    pub window: Duration,
    /// How long it takes until `remaining` is `burst` again.
    pub reset: Duration,
}

/// The limits of a route; most are shared with other routes of its credential.
#[derive(Clone, Debug)]
pub struct Limiter {
    /// What all of them share.
    pub account: Arc<Account>,
    /// Of each sender.
    pub senders: Option<Arc<Budget>>,
    /// Of each sender and recipient.
    pub pairs: Option<Arc<Pairs>>,
    /// Of the messages of all senders together.
    pub sends: Option<Arc<Budget>>,
    /// Of administration.
    pub management: Option<Arc<Budget>>,
    /// How long a request waits for them.
    pub patience: Patience,
    /// Whether a message that the provider has throttled waits for another turn.
    pub retries: bool,
}

impl Limiter {
    /// Waits until a message may be sent.
    ///
    /// # Errors
    /// At once where that is not in time.
    pub async fn send(&self, demand: &Demand<'_>) -> Result<Option<Ticket>, Limited> {
        self.account.pass(demand).await?;
        let all = Demand { sender: "", ..*demand };
        // A token of the pair cannot be given back, so nobody takes one who would then wait in vain.
        if let Some(sends) = &self.sends {
            sends.check(&all)?;
        }
        if let Some(senders) = &self.senders {
            senders.check(demand)?;
        }
        let pair = self.pass_pair(demand).await?;
        let sender = pass(self.senders.as_deref(), demand).await?;
        let account = pass(self.sends.as_deref(), &all).await?;
        let waited = [pair, sender, account].iter().flatten().map(|ticket| ticket.waited).max();
        Ok(sender.or(account).or(pair).map(|ticket| Ticket { waited: waited.unwrap_or_default(), ..ticket }))
    }

    /// Waits until a request of administration may be sent.
    ///
    /// # Errors
    /// At once where that is not in time.
    pub async fn manage(&self, demand: &Demand<'_>) -> Result<Option<Ticket>, Limited> {
        self.account.pass(demand).await?;
        pass(self.management.as_deref(), &Demand { sender: "", ..*demand }).await
    }

    /// Takes note that the provider was asked too fast. It may have said for how long to stop.
    pub fn throttled(&self, throttle: &Throttle, sender: &str, recipient: Option<&str>, named: Option<Duration>) {
        match (throttle.scope, self.pairs.as_ref().zip(recipient)) {
            (Scope::Account, _) => self.account.throttled(throttle.pause, named),
            (Scope::Recipient, Some((pairs, recipient))) => pairs.throttled(sender, recipient, throttle.pause, named),
            // That of a recipient whom nobody could read concerns the sender.
            (Scope::Sender | Scope::Recipient, _) => {
                if let Some(senders) = &self.senders {
                    senders.gate(sender).throttled(named.unwrap_or(throttle.pause));
                }
            }
        }
    }

    /// Lets no request of administration go for so long.
    pub fn spare_account(&self, time: Duration) {
        if let Some(management) = &self.management {
            management.gate("").pause(Instant::now() + time);
        }
    }

    /// Lets nothing of a sender go for so long.
    pub fn rest_sender(&self, sender: &str, time: Duration) {
        if let Some(senders) = &self.senders {
            senders.gate(sender).pause(Instant::now() + time);
        }
    }

    async fn pass_pair(&self, demand: &Demand<'_>) -> Result<Option<Ticket>, Limited> {
        match self.pairs.as_ref().zip(demand.recipient) {
            Some((pairs, recipient)) => pairs.pass(demand, recipient).await.map(Some),
            None => Ok(None),
        }
    }
}

/// Waits for a turn where there is a budget.
async fn pass(budget: Option<&Budget>, demand: &Demand<'_>) -> Result<Option<Ticket>, Limited> {
    match budget {
        Some(budget) => budget.pass(demand).await.map(Some),
        None => Ok(None),
    }
}

/// A request that cannot leave within its patience.
#[derive(Clone, Copy, Debug)]
pub struct Limited {
    /// Of what the limit is.
    pub scope: Scope,
    /// When it could.
    pub retry_after: Duration,
    /// How many wait for the same.
    pub waiting: usize,
}

/// One account: what all its requests share. It lives on over reloads.
#[derive(Debug, Default)]
pub struct Account {
    pause: Mutex<Option<Pause>>,
}

/// For how long nothing goes.
#[derive(Clone, Copy, Debug)]
struct Pause {
    until: Instant,
    /// How long it is in all.
    time: Duration,
}

impl Pause {
    /// One from now: for the `named` time, or else for the `first`, `growth` times as long as that `before`, where this
    /// came back before as much time again had passed.
    fn after(before: Option<Self>, named: Option<Duration>, first: Duration, growth: u32) -> Self {
        let now = Instant::now();
        let in_a_row = before.filter(|before| before.until + before.time > now);
        let grown = in_a_row.map_or(first, |before| before.time.saturating_mul(growth));
        let time = named.unwrap_or(grown).min(LONGEST_PAUSE);
        Self { until: now + time, time }
    }
}

impl Account {
    /// Lets nothing go for the `named` time; else for longer each time in a row.
    fn throttled(&self, first: Duration, named: Option<Duration>) {
        let mut pause = self.pause();
        // What was on its way meanwhile says nothing new.
        if named.is_some() || pause.is_none_or(|pause| pause.until <= Instant::now()) {
            *pause = Some(Pause::after(*pause, named, first, 2));
        }
    }

    /// Until when nothing goes, where that is so.
    #[must_use]
    pub fn paused_until(&self) -> Option<Instant> {
        self.pause().map(|pause| pause.until).filter(|until| *until > Instant::now())
    }

    /// Waits until the account may be used.
    ///
    /// # Errors
    /// At once where that is not in time.
    pub async fn pass(&self, demand: &Demand<'_>) -> Result<(), Limited> {
        while let Some(until) = self.paused_until() {
            if until > demand.deadline() {
                return Err(Limited {
                    scope: Scope::Account,
                    retry_after: until.saturating_duration_since(Instant::now()),
                    waiting: 0,
                });
            }
            sleep_until(until).await;
        }
        Ok(())
    }

    fn pause(&self) -> MutexGuard<'_, Option<Pause>> {
        self.pause.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a limit is used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// How many senders, or recipients, are remembered.
    pub in_use: usize,
    /// How many requests wait.
    pub waiting: usize,
    /// To how many nothing goes, because the provider said so.
    pub paused: usize,
    /// Until when at the latest.
    pub paused_until: Option<Instant>,
}

/// One quota for each of many senders, or for an account. It lives on over reloads: what was used stays used.
#[derive(Debug)]
pub struct Budget {
    scope: Scope,
    quota: Quota,
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
    pub fn new(scope: Scope, rate: Rate, auto: bool) -> Self {
        Self { scope, quota: rate.into(), auto, gates: Mutex::default() }
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
        let (quota, now) = (Quota::from(rate), Instant::now());
        let before = gates.levels.insert(sender.into(), (quota, now)).map_or(self.quota, |(before, _)| before);
        if before != quota
            && let Some(gate) = gates.by_name.get_mut(sender)
        {
            *gate = Arc::new(gate.with_quota(quota));
        }
    }

    /// What it is of.
    #[must_use]
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// Its rate.
    #[must_use]
    pub fn rate(&self) -> Rate {
        self.quota.rate
    }

    /// The same senders at another rate, with what each has used.
    #[must_use]
    pub fn with_rate(&self, rate: Rate, auto: bool) -> Self {
        let quota = rate.into();
        let gates = self.gates();
        let by_name =
            gates.by_name.iter().map(|(name, gate)| (name.clone(), Arc::new(gate.with_quota(quota)))).collect();
        let gates = Gates { by_name, sweep_at: 0, levels: HashMap::new() };
        Self { scope: self.scope, quota, auto, gates: Mutex::new(gates) }
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
        let gate = || Arc::new(Gate::new(self.scope, Tokens::Own(Bucket::new(quota))));
        Arc::clone(gates.by_name.entry(name.into()).or_insert_with(gate))
    }

    fn gates(&self) -> MutexGuard<'_, Gates> {
        self.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// However often it comes back.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
const MIN_SWEEP: usize = 1024;
/// The most senders that are told apart at a time.
const MAX_SENDERS: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
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
        let budget = Budget::new(Scope::Sender, rate(2, 60 * SECOND), false);
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
            let budget = Budget::new(Scope::Sender, rate(old, 60 * SECOND), false);
            while budget.pass(&demand("1", IMPATIENT)).await.is_ok() {}
            let changed = budget.with_rate(rate(new, 60 * SECOND), false);
            assert!(changed.pass(&demand("1", IMPATIENT)).await.is_err(), "{old} -> {new}");
            assert_eq!(changed.pass(&demand("2", IMPATIENT)).await.unwrap().remaining, new - 1);
        }
    }

    #[tokio::test]
    async fn a_half_used_bucket_stays_half_used_at_another_rate() {
        let budget = Budget::new(Scope::Sender, rate(100, 3600 * SECOND), false);
        for _ in 0..50 {
            budget.pass(&demand("1", IMPATIENT)).await.unwrap();
        }
        let changed = budget.with_rate(rate(10, 3600 * SECOND), false);
        assert_eq!(changed.pass(&demand("1", IMPATIENT)).await.unwrap().remaining, 4);
    }

    #[tokio::test]
    async fn those_over_the_limit_wait_in_order_of_arrival() {
        let budget = Arc::new(Budget::new(Scope::Sender, rate(1, SECOND / 50), false));
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
        let budget = Arc::new(Budget::new(Scope::Sender, rate(1, SECOND), false));
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
        let budget = Arc::new(Budget::new(Scope::Sender, rate(1, SECOND / 10), false));
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
        let budget = Budget::new(Scope::Sender, rate(2, 3600 * SECOND), false);
        let mut refused = 0;
        for sender in 0..MAX_SENDERS + 100 {
            refused += usize::from(budget.pass(&demand(&sender.to_string(), IMPATIENT)).await.is_err());
        }
        assert_eq!((budget.usage().in_use, refused), (MAX_SENDERS + 1, 98));
        assert!(budget.pass(&demand("0", IMPATIENT)).await.is_ok(), "one that is known has its own");
    }

    #[tokio::test]
    async fn senders_at_rest_are_forgotten() {
        let budget = Budget::new(Scope::Sender, rate(1000, SECOND / 100), false);
        for sender in 0..5000 {
            budget.pass(&demand(&sender.to_string(), IMPATIENT)).await.unwrap();
            if sender % 1000 == 0 {
                tokio::time::sleep(Duration::from_millis(15)).await;
            }
        }
        assert!(budget.usage().in_use <= 3 * MIN_SWEEP, "{:?}", budget.usage());
    }
}
