//! The limits of an account, shared by all sidecars.

use std::num::NonZeroU32;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use redis::Script;

use crate::config::OnFailure;
use crate::limit::account_pause::AccountPause;
use crate::limit::pause::{MAX_PAUSE, NO_GROWTH, PauseLength};
use crate::shared::SharedServer;
use crate::units::{Quota, Rate, saturated};

/// The shared server, the account's name there, and the rules for the loss of the server.
#[derive(Clone, Debug)]
pub struct Sharing {
    server: Arc<SharedServer>,
    /// Pause of all sends of the account.
    pub(super) account_pause: Arc<AccountPause>,
    /// Prefix of the account's keys.
    pub(super) name: Arc<str>,
    on_failure: OnFailure,
    replicas: NonZeroU32,
}

/// The current counter of a limit's tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::limit) enum CountedBy {
    /// The sidecar, because the limit is not shared.
    Local,
    /// The shared server.
    Server,
    /// The sidecar, because the shared server is lost.
    LocalWhileLost(OnFailure),
}

/// A pause for all sidecars.
#[derive(Clone, Copy, Debug)]
pub(in crate::limit) struct RemotePause {
    length: PauseLength,
    /// Factor by which pauses in a row grow.
    growth: u32,
    /// True if the interval doubles after the pause.
    slows: bool,
}

impl RemotePause {
    /// A pause of a length, for any reason but a throttle.
    pub(in crate::limit) fn named(length: Duration) -> Self {
        Self {
            length: PauseLength {
                first: Duration::ZERO,
                named: Some(length),
            },
            growth: NO_GROWTH,
            slows: false,
        }
    }

    /// A pause after a throttle. Without growth, the interval doubles.
    pub(in crate::limit) fn after_throttle(length: PauseLength, growth: u32) -> Self {
        Self {
            length,
            growth,
            slows: growth == NO_GROWTH,
        }
    }
}

impl PartialEq for Sharing {
    /// Equal if the limits of an account count together, and alike while the server is lost.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.server, &other.server)
            && (&self.name, self.on_failure, self.replicas)
                == (&other.name, other.on_failure, other.replicas)
    }
}

impl Sharing {
    /// The limits of the account known to all sidecars by `name`. While the server does not answer,
    /// `on_failure` holds, and each sidecar alone may use one of `replicas` shares.
    #[must_use]
    pub fn new(
        server: Arc<SharedServer>,
        account_pause: Arc<AccountPause>,
        name: &str,
        on_failure: OnFailure,
        replicas: NonZeroU32,
    ) -> Self {
        let name = server.names().account(name).into();
        Self {
            server,
            account_pause,
            name,
            on_failure,
            replicas,
        }
    }

    /// The shared server.
    #[must_use]
    pub fn server(&self) -> &Arc<SharedServer> {
        &self.server
    }

    /// True if no request may go while the shared server is lost (`on_failure = "closed"`).
    #[must_use]
    pub fn closes_when_lost(&self) -> bool {
        self.on_failure == OnFailure::Closed
    }

    /// The current counter.
    pub(super) fn counted_by(&self) -> CountedBy {
        if self.server.is_up() {
            CountedBy::Server
        } else {
            CountedBy::LocalWhileLost(self.on_failure)
        }
    }

    /// Quota of all sidecars together at a rate.
    ///
    /// The provider counts arriving requests, the shared server leaving requests. A request delayed
    /// on the way leaves less room for later requests of other sidecars. Therefore the burst is
    /// smaller by the tokens of 50 ms, and by a sixteenth at most.
    #[must_use]
    pub fn shared_quota(rate: Rate) -> Quota {
        let count = rate.count.get();
        let in_delay = SEND_DELAY.as_nanos() * u128::from(count) / rate.per.as_nanos().max(1);
        let burst = count - saturated(in_delay).min(count / 16);
        Quota {
            rate,
            burst: NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN),
        }
    }

    /// Share of a quota for one sidecar alone while the server is lost; all of the quota if the
    /// limit is not shared.
    pub(in crate::limit) fn share_of(sharing: Option<&Self>, quota: Quota) -> Quota {
        sharing.map_or(quota, |sharing| quota.share(sharing.replicas))
    }

    /// Returns the rate of this sidecar now: its share of `rate` while it counts alone.
    #[must_use]
    pub fn rate_now(&self, rate: Rate) -> Rate {
        match self.counted_by() {
            CountedBy::LocalWhileLost(OnFailure::Local) => {
                Quota::from(rate).share(self.replicas).rate
            }
            CountedBy::LocalWhileLost(OnFailure::Open | OnFailure::Closed)
            | CountedBy::Server
            | CountedBy::Local => rate,
        }
    }

    /// Pauses the sends of the whole account in all sidecars.
    pub(in crate::limit) fn pause_account(&self, pause: RemotePause) {
        self.pause(self.account_pause_key(), pause);
    }

    /// Key of the pause of the account's sends.
    pub(super) fn account_pause_key(&self) -> String {
        format!("{}:taught", self.name)
    }

    /// Key of the server's epoch: the time at which the server began to count for the account.
    pub(super) fn epoch_key(&self) -> String {
        format!("{}:since", self.name)
    }

    /// Writes a pause into the shared server, without a wait: the answer that taught the pause is
    /// on its way to the application already.
    pub(super) fn pause(&self, key: String, pause: RemotePause) {
        let server = Arc::clone(&self.server);
        tokio::spawn(async move {
            let mut script = PAUSE.key(key);
            script
                .arg(micros(pause.length.first))
                .arg(pause.length.named.map_or(0, micros))
                .arg(pause.growth)
                .arg(u8::from(pause.slows))
                .arg(micros(MAX_PAUSE));
            server.run::<()>(&script).await.ok();
        });
    }
}

/// Whole microseconds, the unit of the scripts.
pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Longest delay of a request between the shared server and the provider for which the burst makes
/// room; with eight sidecars at 80 a second a provider refused none.
const SEND_DELAY: Duration = Duration::from_millis(50);
static PAUSE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/pause.lua")));
