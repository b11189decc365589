//! The division of the process's file descriptors among its listeners and its upstreams.

use super::connections::spare;
use crate::upstream::UpstreamBounds;

/// The places of each kind of listener.
///
/// Each kind has a share of its own, so that no crowd at one listener starves another, or the
/// connections to providers and applications.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// The places for applications.
    pub outbound: usize,
    /// The places for providers; 0 without a webhook.
    pub inbound: usize,
    /// The places for operators.
    pub admin: usize,
    /// The places for those who only watch; 0 without `[metrics]`.
    pub metrics: usize,
}

impl Shares {
    /// The connections to providers: one for each place of an application, and some that only other
    /// hosts than the busiest may have.
    #[must_use]
    pub fn to_providers(self) -> UpstreamBounds {
        relayed(self.outbound)
    }

    /// The connections to applications: as for providers.
    #[must_use]
    pub fn to_applications(self) -> UpstreamBounds {
        relayed(self.inbound)
    }

    /// Lowers the shares, each in the same proportion, until their descriptors fit into `limit`.
    #[must_use]
    pub fn within(self, limit: u64) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let reserve = RESERVE.min(limit / 2);
        let outbound = relaying(self.outbound);
        let inbound = relaying(self.inbound);
        let admin = answering(self.admin);
        let metrics = answering(self.metrics);
        let wanted = outbound + inbound + admin + metrics;
        let there = limit - reserve;
        if wanted <= there {
            return self;
        }
        let share_of = |wanted_here: usize| there.saturating_mul(wanted_here) / wanted;
        Self {
            outbound: places(share_of(outbound), relaying).min(self.outbound),
            inbound: places(share_of(inbound), relaying).min(self.inbound),
            admin: places(share_of(admin), answering)
                .max(MIN_ADMIN)
                .min(self.admin),
            metrics: places(share_of(metrics), answering).min(self.metrics),
        }
    }
}

/// The descriptors of a listener whose every connection may need another one to a provider or an
/// application.
fn relaying(places: usize) -> usize {
    match places {
        0 => 0,
        places => places + 2 * spare(places) + relayed(places).all,
    }
}

/// The descriptors of a listener that answers by itself.
fn answering(places: usize) -> usize {
    match places {
        0 => 0,
        places => places + 2 * spare(places),
    }
}

/// The connections to upstreams for the requests of a listener with this number of places. An
/// upstream that stalls leaves a sixteenth of the listener's places, and of the connections, to
/// requests for other upstreams.
fn relayed(places: usize) -> UpstreamBounds {
    UpstreamBounds {
        all: places + spare(places),
        each: places - places / 16,
    }
}

/// The largest number of places whose descriptors fit into a share; one at least.
fn places(share: usize, descriptors: impl Fn(usize) -> usize) -> usize {
    let mut places = share / descriptors(1).max(1) + share / 2;
    while places > 1 && descriptors(places) > share {
        places -= 1;
    }
    places.max(1)
}

/// Descriptors for everything else: the log, files with secrets, secret managers, the shared
/// server, signals.
const RESERVE: usize = 64;
/// Places for operators, however few descriptors there are: probes, metrics and a person.
const MIN_ADMIN: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_lowered_in_proportion_until_they_fit() {
        let wanted = Shares {
            outbound: 1024,
            inbound: 1024,
            admin: 256,
            metrics: 0,
        };
        for limit in [64, 100, 256, 512, 1024, 4096, 4768, 20_000, u64::MAX] {
            let shares = wanted.within(limit);
            if limit >= 5000 {
                assert_eq!(shares, wanted, "{limit}");
                continue;
            }
            assert_eq!(shares.outbound, shares.inbound, "{limit}");
            assert!(shares.outbound >= 1 && shares.admin >= MIN_ADMIN, "{limit}");
            let used = relaying(shares.outbound) + relaying(shares.inbound) + shares.admin;
            assert!(used as u64 <= limit, "{limit}: {shares:?}");
        }
        assert_eq!(wanted.within(1024).outbound, 207);
    }

    #[test]
    fn without_a_webhook_the_outbound_listener_has_more() {
        let wanted = Shares {
            outbound: 1024,
            inbound: 0,
            admin: 256,
            metrics: 0,
        };
        let shares = wanted.within(1024);
        assert_eq!(shares.inbound, 0);
        assert!(shares.outbound > 350, "{shares:?}");
    }
}
