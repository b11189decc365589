//! A limit that many sidecars share, as one of them asks for it.

use std::num::NonZeroU32;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use redis::Script;
use tokio::time::Instant;

use super::account::{Account, LONGEST_PAUSE};
use crate::config::OnFailure;
use crate::shared::{Lost, Shared};
use crate::units::{Quota, Rate};

/// How the limits of one account are shared.
#[derive(Clone, Debug)]
pub struct Sharing {
    shared: Arc<Shared>,
    account: Arc<Account>,
    /// What the names of its limits begin with.
    name: Arc<str>,
    on_failure: OnFailure,
    replicas: NonZeroU32,
}

impl Sharing {
    /// Those of the account that all sidecars know by this name. While the server does not answer, `on_failure` holds, and
    /// each sidecar may use one of so many parts by itself.
    #[must_use]
    pub fn new(
        shared: Arc<Shared>,
        account: Arc<Account>,
        name: &str,
        on_failure: OnFailure,
        replicas: NonZeroU32,
    ) -> Self {
        let name = shared.names().account(name).into();
        Self { shared, account, name, on_failure, replicas }
    }

    /// The server that counts.
    #[must_use]
    pub fn server(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Whether nothing goes while the server does not answer.
    #[must_use]
    pub fn is_closed_alone(&self) -> bool {
        self.on_failure == OnFailure::Closed
    }

    /// Whether nothing goes now because the server does not answer.
    pub(super) fn is_closed_now(&self) -> bool {
        self.is_closed_alone() && !self.shared.is_up()
    }

    /// One of its limits. Those of the same kind and parts are the same in all sidecars.
    #[must_use]
    pub fn lease(&self, kind: &str, parts: &[&str]) -> Lease {
        let tokens = self.shared.names().below(&self.name, kind, parts);
        let taught = format!("{tokens}:taught");
        Lease { sharing: self.clone(), tokens, taught }
    }

    /// What all of them may use of a rate. The provider counts when requests arrive, and the server when they may go: one
    /// that was held up on its way leaves less room for those of the others behind it. So of what may come at once so much
    /// is kept back as comes in 50 ms, a sixteenth at most.
    #[must_use]
    pub fn whole(rate: Rate) -> Quota {
        let held_up = Duration::from_millis(50).as_nanos() * u128::from(rate.count.get()) / rate.per.as_nanos().max(1);
        let kept_back = u32::try_from(held_up).unwrap_or(u32::MAX).min(rate.count.get() / 16);
        Quota { rate, burst: NonZeroU32::new(rate.count.get() - kept_back).unwrap_or(NonZeroU32::MIN) }
    }

    /// The part of a quota that one sidecar may use by itself.
    #[must_use]
    pub fn part(&self, quota: Quota) -> Quota {
        let Quota { rate, burst } = quota;
        let burst = NonZeroU32::new(burst.get() / self.replicas).unwrap_or(NonZeroU32::MIN);
        Quota { rate: Rate { per: rate.per.saturating_mul(self.replicas.get()), ..rate }, burst }
    }

    /// Whether the limits of two loads are shared in the same way, or both not at all.
    #[must_use]
    pub fn is_alike(one: Option<&Self>, other: Option<&Self>) -> bool {
        match (one, other) {
            (Some(one), Some(other)) => {
                Arc::ptr_eq(&one.shared, &other.shared)
                    && (one.on_failure, one.replicas) == (other.on_failure, other.replicas)
            }
            (None, None) => true,
            _ => false,
        }
    }

    /// Pauses the whole account for all sidecars.
    pub(super) fn pause_account(&self, pause: SharedPause) {
        self.pause(self.account_key(), pause);
    }

    fn account_key(&self) -> String {
        format!("{}:taught", self.name)
    }

    fn since_key(&self) -> String {
        format!("{}:since", self.name)
    }

    /// The caller does not wait for it: its answer is on its way already.
    fn pause(&self, key: String, pause: SharedPause) {
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            let mut script = PAUSE.key(key);
            script.arg(micros(pause.first)).arg(pause.named.map_or(0, micros)).arg(pause.growth);
            script.arg(u8::from(pause.slows)).arg(micros(LONGEST_PAUSE));
            shared.run::<()>(&script).await.unwrap_or_default();
        });
    }
}

/// One limit in the shared server.
#[derive(Debug)]
pub struct Lease {
    sharing: Sharing,
    /// The key of its tokens.
    tokens: String,
    /// The key of what throttles have taught of it.
    taught: String,
}

/// Who decides now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// The shared server.
    Shared,
    /// Nobody but this sidecar.
    Alone(OnFailure),
}

/// What to take.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// Of a bucket of this quota.
    pub quota: Quota,
    /// Up to so many.
    pub wanted: u32,
    /// Those too that come within this time.
    pub ahead: Duration,
    /// What is known of the bucket here.
    pub recall: Recall,
}

/// What a sidecar knows of a shared bucket.
#[derive(Clone, Copy, Debug, Default)]
pub struct Recall {
    /// In how much time, at the earliest, all tokens can be there, where the server knows what was taken of it.
    pub full_in: Duration,
    /// The same where the server has forgotten.
    pub full_in_if_lost: Duration,
    /// Since when the server has counted, by its own clock; 0 where nothing is known.
    pub since: u64,
}

/// What was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// How many tokens.
    pub count: u32,
    /// How long ago (`Err`), or in how long, the first is good.
    pub first: Result<Duration, Duration>,
    /// How far apart the others are.
    pub spacing: Duration,
    /// How many are left.
    pub left: u32,
    /// In how much time all are there again, if nobody takes one.
    pub full_in: Duration,
    /// How long it is of no use to ask again, where nothing was taken.
    pub wait: Duration,
    /// Since when the server counts, by its own clock.
    pub since: u64,
}

impl Grant {
    /// From when on each token is good.
    pub(super) fn due(self, now: Instant) -> impl Iterator<Item = Instant> {
        (0..self.count).map(move |number| {
            let offset = self.spacing.saturating_mul(number);
            match self.first {
                Ok(first) => now + first + offset,
                Err(past) => now + offset.saturating_sub(past),
            }
        })
    }
}

impl Lease {
    pub(super) fn mode(&self) -> Mode {
        if self.sharing.shared.is_up() { Mode::Shared } else { Mode::Alone(self.sharing.on_failure) }
    }

    /// Takes tokens.
    ///
    /// # Errors
    /// Where the server does not answer in time.
    pub async fn take(&self, wish: Wish) -> Result<Grant, Lost> {
        let Wish { quota, wanted, ahead, recall } = wish;
        let mut script = TAKE.key(&self.tokens);
        script.key(&self.taught).key(self.sharing.account_key()).key(self.sharing.since_key());
        script.arg(micros(quota.interval()).max(1)).arg(quota.burst.get()).arg(wanted).arg(micros(ahead));
        script.arg(micros(recall.full_in)).arg(micros(recall.full_in_if_lost)).arg(recall.since);
        type Answer = (i64, i64, i64, i64, i64, i64, i64, u64);
        let answer: Answer = self.sharing.shared.run(&script).await?;
        let (count, first, spacing, left, full, wait, account, since) = answer;
        let time = |micros: i64| Duration::from_micros(micros.unsigned_abs());
        if account > 0 {
            self.sharing.account.paused_elsewhere(time(account));
        }
        Ok(Grant {
            count: u32::try_from(count).unwrap_or_default(),
            first: if first >= 0 { Ok(time(first)) } else { Err(time(first)) },
            spacing: time(spacing),
            left: u32::try_from(left).unwrap_or_default(),
            full_in: time(full),
            wait: time(wait),
            since,
        })
    }

    /// Gives back what nobody used. Where the server is lost, it is lost too.
    pub(super) async fn give_back(&self, quota: Quota, count: u32) {
        let mut script = GIVE_BACK.key(&self.tokens);
        script.arg(micros(quota.interval()).max(1)).arg(count);
        self.sharing.shared.run::<()>(&script).await.unwrap_or_default();
    }

    /// Lets nothing go, for all sidecars.
    pub(super) fn pause(&self, pause: SharedPause) {
        self.sharing.pause(self.taught.clone(), pause);
    }
}

/// A pause that all sidecars keep.
#[derive(Clone, Copy, Debug)]
pub(super) struct SharedPause {
    /// How long the first is, where the provider has not said.
    pub(super) first: Duration,
    /// How long the provider said that it is.
    pub(super) named: Option<Duration>,
    /// How many times as long each in a row is as the one before.
    pub(super) growth: u32,
    /// Whether it goes slower afterwards.
    pub(super) slows: bool,
}

/// Less than a microsecond is none.
fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

static TAKE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/take.lua")));
static GIVE_BACK: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/give_back.lua")));
static PAUSE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/pause.lua")));
