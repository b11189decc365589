//! The limits of a generation: carried over from the generation before, lest a reload refill a
//! bucket.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::Live;
use super::live::{ChangedLimits, LoadedServer};
use crate::config::{RouteConfig, SharedLimits};
use crate::limit::{
    AccountPause, KeyedLimits, LimitKind, LimitTerms, Limiter, Pairs, Patience, Sharing,
};
use crate::outbound::policy::{Policy, Route};
use crate::provider::{Provider, Scope};
use crate::units::{Quota, Rate};

/// Builder of the limiters of a generation. Routes of a credential share limits with equal terms,
/// because all of them send from the credential's numbers.
pub(super) struct LimiterBuilder<'a> {
    before: Option<&'a Policy>,
    /// The routes before, by name.
    before_by_name: HashMap<&'a str, &'a Route>,
    /// The routes to come, by credential.
    routes: HashMap<&'a str, Vec<&'a RouteConfig>>,
    shared: Option<(&'a SharedLimits, &'a LoadedServer)>,
    accounts: HashMap<&'a str, Arc<AccountPause>>,
    /// Limiters made or carried over already, by credential and kind. Only of credentials with
    /// several routes, so that a tenant with one route leaves no hole in the heap.
    keyed: HashMap<(&'a str, LimitKind), Vec<BuiltLimits>>,
    /// Pairs made or carried over already, by credential. Only of credentials with several routes.
    pairs: HashMap<&'a str, Vec<BuiltPairs>>,
    changes: ChangedLimits,
    /// The addresses of the limits in `changes`.
    changed: HashSet<usize>,
}

/// Limiters made or carried over already.
struct BuiltLimits {
    terms: LimitTerms,
    limits: Arc<KeyedLimits>,
}

/// Pairs made or carried over already.
struct BuiltPairs {
    quota: Option<Quota>,
    pairs: Arc<Pairs>,
}

impl<'a> LimiterBuilder<'a> {
    /// A builder with the limits of the generation `before` to carry over.
    pub(super) fn carried_over(
        before: Option<&'a Live>,
        routes: &'a [RouteConfig],
        shared: Option<(&'a SharedLimits, &'a LoadedServer)>,
    ) -> Self {
        let before = before.map(|before| &before.generation.policy);
        let routes_before = before.into_iter().flat_map(Policy::routes);
        let mut by_credential: HashMap<_, Vec<_>> = HashMap::new();
        for route in routes {
            let of_credential = by_credential.entry(route.credential.as_str());
            of_credential.or_default().push(route);
        }
        Self {
            before,
            before_by_name: routes_before
                .map(|route| (&*route.name, &**route))
                .collect(),
            routes: by_credential,
            shared,
            accounts: HashMap::new(),
            keyed: HashMap::new(),
            pairs: HashMap::new(),
            changes: ChangedLimits::default(),
            changed: HashSet::new(),
        }
    }

    /// The limiter of a route.
    pub(super) fn of(&mut self, route: &'a RouteConfig, provider: &Provider) -> Limiter {
        let sharing = self.sharing(&route.credential);
        let patience = Patience {
            max_wait: route.limits.max_wait,
            max_queue: route.limits.max_queue,
        };
        let has_rate = |kind| rate(route, kind).is_some();
        Limiter {
            account_pause: self.account_pause(&route.credential),
            senders: self.keyed(route, LimitKind::Sender),
            separately_metered: self.keyed(route, LimitKind::SeparatelyMetered),
            pairs: self.pairs(route, provider, sharing.as_ref()),
            sends: has_rate(LimitKind::AccountSends)
                .then(|| self.keyed(route, LimitKind::AccountSends)),
            management: has_rate(LimitKind::Management)
                .then(|| self.keyed(route, LimitKind::Management)),
            objects: self.keyed(route, LimitKind::Object),
            sharing,
            retries: route.limits.retry,
            patience,
        }
    }

    /// The limits with new terms. The terms change when the generation goes live, not before.
    pub(super) fn changes(self) -> ChangedLimits {
        self.changes
    }

    fn sharing(&mut self, credential: &'a str) -> Option<Sharing> {
        let (limits, (server, _)) = self.shared?;
        let account = self.account_pause(credential);
        Some(Sharing::new(
            Arc::clone(server),
            account,
            credential,
            limits.on_failure,
            limits.replicas,
        ))
    }

    fn terms(&mut self, route: &'a RouteConfig, kind: LimitKind) -> LimitTerms {
        let rate = rate(route, kind);
        LimitTerms {
            rate,
            auto: kind == LimitKind::Sender && rate.is_some() && route.limits.rates.auto,
            sharing: self.sharing(&route.credential).filter(|_| rate.is_some()),
        }
    }

    fn account_pause(&mut self, credential: &'a str) -> Arc<AccountPause> {
        let old = self
            .routes_before(credential)
            .map(|route| &route.limiter.account_pause)
            .next();
        let account = self.accounts.entry(credential);
        Arc::clone(account.or_insert_with(|| old.map(Arc::clone).unwrap_or_default()))
    }

    /// Reuses limits with equal terms; otherwise changes the route's old limits in place, or copies
    /// the old limits if another route goes on with them.
    fn keyed(&mut self, route: &'a RouteConfig, kind: LimitKind) -> Arc<KeyedLimits> {
        let credential = route.credential.as_str();
        let terms = self.terms(route, kind);
        let key = (credential, kind);
        let built = self.keyed.get(&key).into_iter().flatten();
        if let Some(built) = built.clone().find(|built| built.terms == terms) {
            return Arc::clone(&built.limits);
        }
        let old_limits = |route: &'a Route| limits_of(&route.limiter, kind);
        let with_equal_terms = self
            .routes_before(credential)
            .filter_map(old_limits)
            .find(|limits| limits.terms() == terms);
        let of_this_route = self.route_before(route).and_then(old_limits);
        let limits = match (with_equal_terms, of_this_route) {
            (Some(limits), _) => Arc::clone(limits),
            (None, Some(limits)) if self.goes_to_others(limits, credential, kind) => {
                Arc::new(limits.copy_with_terms(terms.clone()))
            }
            (None, Some(limits)) => {
                self.changed.insert(address(limits));
                let change = (Arc::clone(limits), terms.clone());
                self.changes.keyed.push(change);
                Arc::clone(limits)
            }
            (None, None) => Arc::new(KeyedLimits::new(kind, terms.clone())),
        };
        if self.has_several_routes(credential) {
            self.keyed.entry(key).or_default().push(BuiltLimits {
                terms,
                limits: Arc::clone(&limits),
            });
        }
        limits
    }

    /// True if another route goes on with the limits, at the old terms or at new terms.
    fn goes_to_others(
        &mut self,
        limits: &Arc<KeyedLimits>,
        credential: &'a str,
        kind: LimitKind,
    ) -> bool {
        let terms = limits.terms();
        let others = self.routes.get(credential).cloned().unwrap_or_default();
        self.changed.contains(&address(limits))
            || others
                .into_iter()
                .any(|other| self.terms(other, kind) == terms)
    }

    /// The pairs of a route, if pairs are counted or can be throttled by the provider.
    fn pairs(
        &mut self,
        route: &'a RouteConfig,
        provider: &Provider,
        sharing: Option<&Sharing>,
    ) -> Option<Arc<Pairs>> {
        let quota = route.limits.rates.per_recipient;
        let mut throttles = provider.errors.throttled.iter();
        if quota.is_none() && !throttles.any(|throttle| throttle.scope == Scope::Recipient) {
            return None;
        }
        let credential = route.credential.as_str();
        let mut built = self.pairs.get(credential).into_iter().flatten();
        if let Some(built) = built.find(|built| built.quota == quota) {
            return Some(Arc::clone(&built.pairs));
        }
        let mut old = self
            .routes_before(credential)
            .filter_map(|route| route.limiter.pairs.as_ref());
        let of_this_route = self
            .route_before(route)
            .and_then(|old| old.limiter.pairs.as_ref());
        let before = of_this_route.or_else(|| old.clone().next());
        let with_equal_terms = old.find(|pairs| have_terms(pairs, quota, sharing));
        let pairs = match (with_equal_terms, before) {
            (Some(pairs), _) => Arc::clone(pairs),
            (None, Some(before)) if self.pairs_go_to_others(before, credential, sharing) => {
                Arc::new(before.copy_with_terms(quota, sharing.cloned()))
            }
            (None, Some(before)) => {
                self.changed.insert(address(before));
                let pairs = Arc::new(before.successor(quota, sharing.cloned()));
                self.changes.pairs.push(Arc::clone(&pairs));
                pairs
            }
            (None, None) => Arc::new(Pairs::new(quota, sharing.cloned())),
        };
        if self.has_several_routes(credential) {
            self.pairs.entry(credential).or_default().push(BuiltPairs {
                quota,
                pairs: Arc::clone(&pairs),
            });
        }
        Some(pairs)
    }

    /// True if another route goes on with the buckets of the pairs, at the old terms or at new
    /// terms.
    fn pairs_go_to_others(
        &self,
        pairs: &Arc<Pairs>,
        credential: &str,
        sharing: Option<&Sharing>,
    ) -> bool {
        let mut others = self.routes.get(credential).into_iter().flatten();
        self.changed.contains(&address(pairs))
            || others.any(|other| have_terms(pairs, other.limits.rates.per_recipient, sharing))
    }

    /// True if the limits of a route of the credential may be those of a later route too.
    fn has_several_routes(&self, credential: &str) -> bool {
        self.routes
            .get(credential)
            .is_some_and(|routes| routes.len() > 1)
    }

    /// The routes of a credential in the generation before.
    fn routes_before(&self, credential: &str) -> impl Iterator<Item = &'a Route> + Clone + use<'a> {
        let before = self.before.map(|before| before.routes_of(credential));
        before.into_iter().flatten()
    }

    /// The route of this name in the generation before, if the credential is equal.
    fn route_before(&self, route: &RouteConfig) -> Option<&'a Route> {
        let before = self.before_by_name.get(route.name.as_str()).copied();
        before.filter(|before| before.credential.name == route.credential)
    }
}

/// Rate of a kind of limit on a route.
fn rate(route: &RouteConfig, kind: LimitKind) -> Option<Rate> {
    let rates = route.limits.rates;
    match kind {
        LimitKind::Sender => rates.per_sender,
        LimitKind::SeparatelyMetered => rates.apart,
        LimitKind::AccountSends => rates.per_account,
        LimitKind::Management => rates.management,
        LimitKind::Pair | LimitKind::Object => None,
    }
}

fn limits_of(limiter: &Limiter, kind: LimitKind) -> Option<&Arc<KeyedLimits>> {
    match kind {
        LimitKind::Sender => Some(&limiter.senders),
        LimitKind::SeparatelyMetered => Some(&limiter.separately_metered),
        LimitKind::AccountSends => limiter.sends.as_ref(),
        LimitKind::Management => limiter.management.as_ref(),
        LimitKind::Object => Some(&limiter.objects),
        LimitKind::Pair => None,
    }
}

/// True if pairs already have the terms of a route of their credential. Without a quota nothing is
/// shared.
fn have_terms(pairs: &Pairs, quota: Option<Quota>, sharing: Option<&Sharing>) -> bool {
    pairs.quota() == quota && pairs.sharing() == sharing.filter(|_| quota.is_some())
}

/// The identity of limits.
fn address<T>(limits: &Arc<T>) -> usize {
    Arc::as_ptr(limits).addr()
}
