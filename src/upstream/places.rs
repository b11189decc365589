//! The places of connections to upstreams: how many there may be, and whose idle connection makes
//! room.
//!
//! Each place stands for a file descriptor, from the look-up of a name to the end of the
//! connection. The kinds of upstream have places of their own, so that a crowd of events leaves
//! descriptors for messages, and the other way round. An upstream that stalls leaves some places of
//! its kind to the others.
//!
//! The places are statics, and no argument of an upstream: file descriptors belong to the process,
//! and upstreams are made by many rooms, for requests, events, secrets, traces and questions of the
//! doctor. A second set of places would give the same descriptors away twice. The sidecar sets the
//! bounds at its start, before a listener accepts; other commands run without bounds.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::place::UpstreamPlace;
use super::pool::Pool;

/// The kind of an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamKind {
    /// A provider, or an issuer of access tokens.
    Provider,
    /// An application that gets events.
    Application,
    /// A secret manager.
    SecretManager,
    /// A receiver of traces and metrics.
    Telemetry,
}

/// The number of connections to the upstreams of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpstreamBounds {
    /// Most connections to all upstreams together.
    pub all: usize,
    /// Most connections to one upstream, while other upstreams of the kind are in use.
    pub each: usize,
}

/// The places of one kind of upstream.
#[derive(Debug)]
pub(super) struct KindPlaces {
    kind: &'static str,
    max_all: AtomicUsize,
    max_each: AtomicUsize,
    taken: AtomicUsize,
    /// The pools of all upstreams of the kind.
    pools: Mutex<Vec<Weak<Pool>>>,
    refusals: Mutex<PlaceRefusals>,
}

/// One upstream's share of the places of its kind.
#[derive(Clone, Debug)]
pub(super) struct UpstreamPlaces {
    places: &'static KindPlaces,
    /// The number of places that the upstream has.
    taken_by_upstream: Arc<AtomicUsize>,
}

impl UpstreamKind {
    /// Sets the number of connections to the upstreams of this kind. Without a call there is no
    /// bound.
    pub fn bound(self, bounds: UpstreamBounds) {
        let places = self.places();
        places.max_all.store(bounds.all, Ordering::Relaxed);
        places.max_each.store(bounds.each, Ordering::Relaxed);
    }

    fn places(self) -> &'static KindPlaces {
        match self {
            Self::Provider => &PROVIDERS,
            Self::Application => &APPLICATIONS,
            Self::SecretManager => &SECRET_MANAGERS,
            Self::Telemetry => &TELEMETRY,
        }
    }

    /// The places for a new upstream with this pool.
    pub(super) fn places_for(self, pool: &Arc<Pool>) -> UpstreamPlaces {
        self.places().join(pool)
    }
}

impl KindPlaces {
    const fn new(kind: &'static str) -> Self {
        Self {
            kind,
            max_all: AtomicUsize::new(usize::MAX),
            max_each: AtomicUsize::new(usize::MAX),
            taken: AtomicUsize::new(0),
            pools: Mutex::new(Vec::new()),
            refusals: Mutex::new(PlaceRefusals {
                logged: None,
                unlogged: 0,
            }),
        }
    }

    fn join(&'static self, pool: &Arc<Pool>) -> UpstreamPlaces {
        let mut pools = self.pools.lock();
        pools.retain(|pool| pool.strong_count() > 0);
        pools.push(Arc::downgrade(pool));
        UpstreamPlaces {
            places: self,
            taken_by_upstream: Arc::default(),
        }
    }

    /// The pools of the upstreams in use. Dropping a pool closes the connections, which give back
    /// their places, so no lock is held at the drop.
    fn pools(&self) -> Vec<Arc<Pool>> {
        self.pools.lock().iter().filter_map(Weak::upgrade).collect()
    }

    fn has_one_upstream(&self) -> bool {
        let pools = self.pools.lock();
        let in_use = pools.iter().filter(|pool| pool.strong_count() > 0);
        in_use.take(2).count() < 2
    }

    /// Closes the connection that is idle longest, of any upstream; false if no connection is idle.
    fn close_idlest(&self) -> bool {
        let pools = self.pools();
        let idle = pools
            .iter()
            .filter_map(|pool| Some((pool.idle_since()?, pool)));
        match idle.min_by_key(|(since, _)| *since) {
            Some((_, pool)) => pool.close_idlest(),
            None => false,
        }
    }

    fn bounds_for_one(&self) -> UpstreamBounds {
        let all = self.max_all.load(Ordering::Relaxed);
        let each = if self.has_one_upstream() {
            all
        } else {
            self.max_each.load(Ordering::Relaxed)
        };
        UpstreamBounds { all, each }
    }
}

impl UpstreamPlaces {
    /// Takes a place, if need be the place of the connection that is idle longest; `None` if every
    /// connection is at work, or if the upstream has reached the bound of places.
    pub(super) fn take(&self) -> Option<UpstreamPlace> {
        let place = self.take_free().or_else(|| {
            let is_full = self.taken() >= self.places.max_all.load(Ordering::Relaxed);
            if is_full && self.places.close_idlest() {
                self.take_free()
            } else {
                None
            }
        });
        if place.is_none() {
            self.places.note_refusal();
        }
        place
    }

    fn take_free(&self) -> Option<UpstreamPlace> {
        let bounds = self.places.bounds_for_one();
        // A single thread takes places and other threads only give them back, so the count cannot
        // grow after this look.
        if self.taken() >= bounds.all || self.taken_by_upstream() >= bounds.each {
            return None;
        }
        Some(UpstreamPlace::take(
            &self.places.taken,
            &self.taken_by_upstream,
        ))
    }

    /// The number of connections to this upstream, open or being opened.
    pub(super) fn taken_by_upstream(&self) -> usize {
        self.taken_by_upstream.load(Ordering::Relaxed)
    }

    fn taken(&self) -> usize {
        self.places.taken.load(Ordering::Relaxed)
    }
}

/// Closes the idle connections to every upstream: the process found no file descriptor.
pub(super) fn close_all_idle() {
    for places in [&PROVIDERS, &APPLICATIONS, &SECRET_MANAGERS, &TELEMETRY] {
        places.pools().iter().for_each(|pool| pool.close_all());
    }
}

/// The connections that found no place: the first is logged at once, the others once a minute with
/// a count.
#[derive(Debug)]
struct PlaceRefusals {
    logged: Option<Instant>,
    unlogged: u64,
}

impl PlaceRefusals {
    /// Counts a refusal. Returns the number to log, if a line is due.
    fn note(&mut self, now: Instant) -> Option<u64> {
        self.unlogged += 1;
        if self.logged.is_some_and(|at| now - at < LOG_INTERVAL) {
            return None;
        }
        self.logged = Some(now);
        Some(std::mem::take(&mut self.unlogged))
    }
}

impl KindPlaces {
    fn note_refusal(&self) {
        if let Some(count) = self.refusals.lock().note(Instant::now()) {
            tracing::warn!(
                upstreams = self.kind,
                count,
                max = self.max_all.load(Ordering::Relaxed),
                "no connection could be opened: every place is taken, and no connection is idle; \
                 a higher limit on open files (ulimit -n, LimitNOFILE=) gives more places"
            );
        }
    }
}

static PROVIDERS: KindPlaces = KindPlaces::new("providers");
static APPLICATIONS: KindPlaces = KindPlaces::new("applications");
static SECRET_MANAGERS: KindPlaces = KindPlaces::new("secret managers");
static TELEMETRY: KindPlaces = KindPlaces::new("receivers of telemetry");
/// The time between two log lines about refusals: a minute, as for each summary in the log.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    /// A kind of upstream of its own, with `count` upstreams.
    fn kind(all: usize, each: usize, count: usize) -> Vec<(Arc<Pool>, UpstreamPlaces)> {
        let places: &'static KindPlaces = Box::leak(Box::new(KindPlaces::new("tests")));
        places.max_all.store(all, Ordering::Relaxed);
        places.max_each.store(each, Ordering::Relaxed);
        let upstream = || {
            let pool = Pool::new();
            let places = places.join(&pool);
            (pool, places)
        };
        std::iter::repeat_with(upstream).take(count).collect()
    }

    fn taken(places: &UpstreamPlaces) -> Vec<UpstreamPlace> {
        std::iter::from_fn(|| places.take()).collect()
    }

    #[test]
    fn an_upstream_leaves_places_to_others_where_there_are_others() {
        for (all, each, count, expected) in [
            (4, 3, 1, vec![4]),
            (4, 3, 2, vec![3, 1]),
            (4, 4, 2, vec![4, 0]),
            (10, 4, 3, vec![4, 4, 2]),
        ] {
            let upstreams = kind(all, each, count);
            let places: Vec<_> = upstreams.iter().map(|(_, places)| taken(places)).collect();
            let counts: Vec<_> = places.iter().map(Vec::len).collect();
            assert_eq!(counts, expected, "{all} {each} {count}");
            drop(places);
            assert_eq!(taken(&upstreams[0].1).len(), expected[0], "given back");
        }
    }

    #[test]
    fn a_dropped_upstream_counts_no_more() {
        let mut upstreams = kind(4, 3, 2);
        upstreams.pop();
        assert_eq!(taken(&upstreams[0].1).len(), 4);
    }

    #[test]
    fn refusals_are_logged_once_a_minute() {
        let start = Instant::now();
        let mut refusals = PlaceRefusals {
            logged: None,
            unlogged: 0,
        };
        let logged: Vec<_> = [0, 1, 59, 60, 61, 200]
            .map(|second| refusals.note(start + Duration::from_secs(second)))
            .into();
        assert_eq!(logged, [Some(1), None, None, Some(3), None, Some(2)]);
    }
}
