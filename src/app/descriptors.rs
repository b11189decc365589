//! The file descriptors of the process: as many as the system allows, divided among listeners and
//! upstreams.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;
use crate::listener::Shares;
use crate::upstream::{UpstreamBounds, UpstreamKind};

/// The descriptors that the process may have open.
#[derive(Clone, Copy, Debug)]
pub struct Descriptors {
    limit: u64,
}

impl Descriptors {
    /// Returns the hard limit of the process, to which a start raises the soft limit.
    #[must_use]
    pub fn available() -> Self {
        let limit = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        Self { limit }
    }

    /// Raises the soft limit of the process to the hard limit. The soft limit is often 1024, for
    /// the sake of old programs.
    ///
    /// # Errors
    /// The system's reason.
    pub(super) fn raise() -> std::io::Result<()> {
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        let current = maximum;
        Ok(setrlimit(Resource::Nofile, Rlimit { current, maximum })?)
    }

    /// Divides the descriptors: sets the bounds of connections to upstreams, and returns the places
    /// of each listener.
    pub(super) fn divide(self, config: &Config) -> Shares {
        let shares = self.shares(config);
        UpstreamKind::Provider.bound(shares.to_providers());
        UpstreamKind::Application.bound(shares.to_applications());
        UpstreamKind::SecretManager.bound(TO_SECRET_MANAGERS);
        shares
    }

    /// Returns the places of each listener.
    fn shares(self, config: &Config) -> Shares {
        wanted(config).within(self.limit)
    }

    /// Returns the advice for a limit that is too low for the places that the configuration asks
    /// for.
    #[must_use]
    pub fn shortage(self, config: &Config) -> Option<String> {
        let wanted = wanted(config);
        let shares = self.shares(config);
        (shares != wanted).then(|| {
            format!(
                "the limit on open files is {}: at most {} connections of [outbound], {} of [inbound] and {} of \
                 [admin] are served at a time, instead of {}, {} and {}; raise the hard limit (ulimit -Hn, \
                 LimitNOFILE=)",
                self.limit,
                shares.outbound,
                shares.inbound,
                shares.admin,
                wanted.outbound,
                wanted.inbound,
                wanted.admin
            )
        })
    }
}

fn wanted(config: &Config) -> Shares {
    let has_inbound = !config.inbound.listen.is_empty();
    Shares {
        outbound: usize::try_from(config.outbound.max_connections).unwrap_or(usize::MAX),
        inbound: if has_inbound { MAX_INBOUND } else { 0 },
        admin: MAX_ADMIN,
        metrics: config.metrics.as_ref().map_or(0, |_| MAX_METRICS),
    }
}

/// The places for providers: bursts of events come over some hundred connections. `memory.rs` has
/// what they cost.
const MAX_INBOUND: usize = 512;
/// The connections to secret managers: each is asked about one secret after the other.
const TO_SECRET_MANAGERS: UpstreamBounds = UpstreamBounds { all: 16, each: 8 };
/// The places for operators: probes, metrics, a few people.
const MAX_ADMIN: usize = 64;
/// The places for those who only watch: a few probes and readers of metrics.
const MAX_METRICS: usize = 16;
