//! How fast may be sent: what a request asks before it leaves.
//!
//! A send passes four: the account's pause, the recipient's [`Pairs`], the sender's [`Budget`], the account's own. A request of
//! administration passes the account's own. Each keeps in line who must wait, and refuses at once who would wait for
//! nothing.
//!
//! With [`Sharing`] they are those of many sidecars: a server counts, and each asks it for what it needs next.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

mod account;
mod budget;
mod gate;
mod lease;
mod line;
mod meter;
mod pairs;
mod seldom;
mod states;
mod stock;
mod tokens;

pub use account::Account;
pub use budget::{Budget, Terms};
pub use lease::{Grant, Lease, Recall, Sharing, Wish};
pub use pairs::Pairs;

use account::GROWTH;
use gate::Gate;
use lease::SharedPause;

pub use crate::provider::Scope;
use crate::provider::Throttle;
use crate::units::Quota;

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

/// How long a request may wait for its turn, and behind how many; by default not at all.
#[derive(Clone, Copy, Debug, Default)]
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

impl Ticket {
    fn with_left(quota: Quota, remaining: u32) -> Self {
        let (burst, interval) = (quota.burst.get(), quota.interval());
        let reset = interval.saturating_mul(burst.saturating_sub(remaining));
        Self { remaining, burst, window: interval.saturating_mul(burst), reset, ..Self::default() }
    }

    fn full(quota: Quota) -> Self {
        Self::with_left(quota, quota.burst.get())
    }
}

/// The limits of a route; most are shared with other routes of its credential. By default there are none.
#[derive(Clone, Debug, Default)]
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
    /// With whom they are shared, if they are.
    pub sharing: Option<Sharing>,
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
        let ticket = self.pass_send(demand).await.map_err(|limited| self.account.or_paused(limited))?;
        // It may have been paused while this one waited.
        self.account.pass(demand).await?;
        Ok(ticket)
    }

    async fn pass_send(&self, demand: &Demand<'_>) -> Result<Option<Ticket>, Limited> {
        let all = Demand { sender: "", ..*demand };
        let account = self.sends.as_ref().map(|sends| sends.gate(""));
        let sender = self.senders.as_ref().map(|senders| senders.gate(demand.sender));
        // A token of the pair cannot be given back, so nobody takes one who would then wait in vain.
        account.as_ref().map_or(Ok(()), |account| account.check(&all))?;
        sender.as_ref().map_or(Ok(()), |sender| sender.check(demand))?;
        let pair = self.pass_pair(demand).await?;
        let sender = pass(sender, demand).await?;
        let account = pass(account, &all).await?;
        let waited = [pair, sender, account].iter().flatten().map(|ticket| ticket.waited).max();
        Ok(sender.or(account).or(pair).map(|ticket| Ticket { waited: waited.unwrap_or_default(), ..ticket }))
    }

    /// Waits until a request of administration may be sent.
    ///
    /// # Errors
    /// At once where that is not in time.
    pub async fn manage(&self, demand: &Demand<'_>) -> Result<Option<Ticket>, Limited> {
        self.account.pass(demand).await?;
        let gate = self.management.as_ref().map(|management| management.gate(""));
        let passed = pass(gate, &Demand { sender: "", ..*demand }).await;
        let ticket = passed.map_err(|limited| self.account.or_paused(limited))?;
        self.account.pass(demand).await?;
        Ok(ticket)
    }

    /// Takes note that the provider was asked too fast. It may have said for how long to stop.
    pub fn throttled(&self, throttle: &Throttle, sender: &str, recipient: Option<&str>, named: Option<Duration>) {
        match (throttle.scope, self.pairs.as_ref().zip(recipient)) {
            (Scope::Account, _) => {
                self.account.throttled(throttle.pause, named);
                if let Some(sharing) = &self.sharing {
                    let pause = SharedPause { first: throttle.pause, named, growth: GROWTH, slows: false };
                    sharing.pause_account(pause);
                }
            }
            (Scope::Recipient, Some((pairs, recipient))) => pairs.throttled(sender, recipient, throttle.pause, named),
            // That of a recipient whom nobody could read concerns the sender.
            (Scope::Sender | Scope::Recipient, _) => {
                if let Some(senders) = &self.senders {
                    senders.throttled(sender, throttle.pause, named);
                }
            }
        }
    }

    /// Lets no request of administration go for so long.
    pub fn spare_account(&self, time: Duration) {
        if let Some(management) = &self.management {
            management.pause("", time, Why::NearLimit);
        }
    }

    /// Lets nothing of a sender go for so long.
    pub fn rest_sender(&self, sender: &str, time: Duration) {
        if let Some(senders) = &self.senders {
            senders.pause(sender, time, Why::NothingLeft);
        }
    }

    async fn pass_pair(&self, demand: &Demand<'_>) -> Result<Option<Ticket>, Limited> {
        match self.pairs.as_ref().zip(demand.recipient) {
            Some((pairs, recipient)) => pairs.pass(demand, recipient).await.map(Some),
            None => Ok(None),
        }
    }
}

/// Waits for a turn where there is a limit.
async fn pass(gate: Option<Arc<Gate>>, demand: &Demand<'_>) -> Result<Option<Ticket>, Limited> {
    match gate {
        Some(gate) => gate.pass(demand).await.map(Some),
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
    /// Whether that is so because the shared limits are lost, and nothing goes without them.
    pub is_closed: bool,
    /// Why nothing goes at all for now, where that is so.
    pub why: Option<Why>,
}

impl Limited {
    /// One that is refused because the shared server cannot be asked.
    #[must_use]
    pub fn closed() -> Self {
        let retry_after = Duration::from_secs(1);
        Self { scope: Scope::Account, retry_after, waiting: 0, is_closed: true, why: None }
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

/// How one limit stands.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// What it allows.
    pub quota: Quota,
    /// How many could go at once.
    pub remaining: u32,
    /// How far apart they go, where the provider was asked too fast and that is further than the quota says.
    pub spacing: Option<Duration>,
    /// How many wait.
    pub waiting: usize,
    /// How long another would wait behind them.
    pub wait: Duration,
    /// Until when nobody goes, where that is so.
    pub halt: Option<Halt>,
    /// Whether nobody goes because the shared limits are lost.
    pub is_closed: bool,
}

impl Standing {
    fn is_at_rest(&self) -> bool {
        let is_free = self.halt.is_none() && self.spacing.is_none();
        is_free && self.waiting == 0 && self.remaining == self.quota.burst.get()
    }
}

/// A time in which nothing goes.
#[derive(Clone, Copy, Debug)]
pub struct Halt {
    /// When it is over.
    pub until: Instant,
    /// What it is for.
    pub why: Why,
}

/// Why nothing goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The provider has refused something as too fast.
    Throttled,
    /// The provider says that nearly all is used.
    NearLimit,
    /// The provider says that nothing is left.
    NothingLeft,
    /// More came in than was left, and that counts too.
    Received,
}

impl Why {
    /// As an explanation has it.
    #[must_use]
    pub fn explained(self) -> &'static str {
        match self {
            Self::Throttled => "the provider was asked too fast",
            Self::NearLimit => "the provider says that nearly all is used",
            Self::NothingLeft => "the provider says that nothing is left",
            Self::Received => "more came in than was left, which counts too",
        }
    }

    /// The one that the status names so.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let all = [Self::Throttled, Self::NearLimit, Self::NothingLeft, Self::Received];
        all.into_iter().find(|why| why.as_str() == name)
    }

    /// As it stands in the status.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Throttled => "throttled",
            Self::NearLimit => "near_limit",
            Self::NothingLeft => "nothing_left",
            Self::Received => "received",
        }
    }
}
