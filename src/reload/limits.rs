//! The limits of a generation: carried over from the one before, so that no reload refills anything.

use std::collections::HashMap;
use std::sync::Arc;

use super::Live;
use super::live::{ChangedBudgets, SharedServer};
use crate::config::{Route, SharedLimits};
use crate::limit::{Account, Budget, Limiter, Pairs, Patience, Scope, Sharing, Terms};
use crate::outbound::policy;
use crate::provider::Rates;
use crate::units::{Quota, Rate};

/// What routes of one credential share, because they send from the same numbers.
pub(super) struct Limits<'a> {
    before: &'a [policy::Route],
    routes: &'a [Route],
    shared: Option<(&'a SharedLimits, &'a SharedServer)>,
    accounts: HashMap<String, Arc<Account>>,
    budgets: Vec<(String, Of, Terms, Arc<Budget>)>,
    pairs: Vec<(String, Quota, Arc<Pairs>)>,
    changes: ChangedBudgets,
}

/// What a budget is of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Senders,
    Sends,
    Management,
}

impl Of {
    fn scope(self) -> Scope {
        match self {
            Self::Senders => Scope::Sender,
            Self::Sends | Self::Management => Scope::Account,
        }
    }

    /// What it is called in the shared server.
    fn kind(self) -> &'static str {
        match self {
            Self::Senders => "sender",
            Self::Sends => "sends",
            Self::Management => "management",
        }
    }

    fn rate(self, rates: Rates) -> Option<Rate> {
        match self {
            Self::Senders => rates.per_sender,
            Self::Sends => rates.per_account,
            Self::Management => rates.management,
        }
    }

    fn held(self, limiter: &Limiter) -> Option<&Arc<Budget>> {
        match self {
            Self::Senders => limiter.senders.as_ref(),
            Self::Sends => limiter.sends.as_ref(),
            Self::Management => limiter.management.as_ref(),
        }
    }
}

impl<'a> Limits<'a> {
    pub(super) fn after(
        before: Option<&'a Live>,
        routes: &'a [Route],
        shared: Option<(&'a SharedLimits, &'a SharedServer)>,
    ) -> Self {
        let before = before.map(|before| before.generation.policy.routes()).unwrap_or_default();
        let (accounts, changes) = (HashMap::new(), Vec::new());
        Self { before, routes, shared, accounts, budgets: Vec::new(), pairs: Vec::new(), changes }
    }

    /// Those of a route.
    pub(super) fn of(&mut self, route: &Route) -> Limiter {
        let sharing = self.sharing(&route.credential);
        let per_recipient = route.limits.rates.per_recipient;
        Limiter {
            account: self.account(&route.credential),
            senders: self.budget(route, Of::Senders),
            pairs: per_recipient.map(|quota| self.pairs(route, quota, sharing.as_ref())),
            sends: self.budget(route, Of::Sends),
            management: self.budget(route, Of::Management),
            sharing,
            retries: route.limits.retry,
            patience: Patience { max_wait: route.limits.max_wait, max_queue: route.limits.max_queue },
        }
    }

    /// The budgets that the generation brings other terms for. Until it is live they go on as they are.
    pub(super) fn changes(self) -> ChangedBudgets {
        self.changes
    }

    fn sharing(&mut self, credential: &str) -> Option<Sharing> {
        let (limits, (server, _)) = self.shared?;
        let account = self.account(credential);
        Some(Sharing::new(Arc::clone(server), account, credential, limits.on_failure, limits.replicas))
    }

    fn terms(&mut self, route: &Route, what: Of) -> Option<Terms> {
        let rates = route.limits.rates;
        let (rate, auto) = (what.rate(rates)?, what == Of::Senders && rates.auto);
        Some(Terms { rate, auto, sharing: self.sharing(&route.credential) })
    }

    fn account(&mut self, credential: &str) -> Arc<Account> {
        let old = of(self.before, credential).map(|route| &route.limiter.account).next();
        let account = self.accounts.entry(credential.to_owned());
        Arc::clone(account.or_insert_with(|| old.map(Arc::clone).unwrap_or_default()))
    }

    /// That of a route which has the same terms for the same; else what this route had, at its new terms.
    fn budget(&mut self, route: &Route, what: Of) -> Option<Arc<Budget>> {
        let credential = route.credential.as_str();
        let terms = self.terms(route, what)?;
        let mut made = self.budgets.iter().filter(|(name, of, ..)| name == credential && *of == what);
        if let Some((.., budget)) = made.find(|(_, _, made, _)| made.is_same(&terms)) {
            return Some(Arc::clone(budget));
        }
        let held = |route: &'a policy::Route| what.held(&route.limiter);
        let same = of(self.before, credential).filter_map(held).find(|budget| budget.terms().is_same(&terms));
        let of_route = of(self.before, credential).find(|old| *old.name == *route.name).and_then(held);
        let budget = match (same, of_route) {
            (Some(budget), _) => Arc::clone(budget),
            (None, Some(budget)) if self.goes_to_others(budget, credential, what) => {
                Arc::new(budget.split(terms.clone()))
            }
            (None, Some(budget)) => {
                self.changes.push((Arc::clone(budget), terms.clone()));
                Arc::clone(budget)
            }
            (None, None) => Arc::new(Budget::new(what.scope(), what.kind(), terms.clone())),
        };
        self.budgets.push((credential.to_owned(), what, terms, Arc::clone(&budget)));
        Some(budget)
    }

    /// Whether a budget is that of another route: at the terms it has, or at new ones.
    fn goes_to_others(&mut self, budget: &Arc<Budget>, credential: &str, what: Of) -> bool {
        let is_changed = self.changes.iter().any(|(changed, _)| Arc::ptr_eq(changed, budget));
        let terms = budget.terms();
        let mut others = self.routes.iter().filter(|route| route.credential == credential);
        is_changed || others.any(|other| self.terms(other, what).is_some_and(|other| other.is_same(&terms)))
    }

    /// At another quota, those from before have their say too until what was used of them has come back.
    fn pairs(&mut self, route: &Route, quota: Quota, sharing: Option<&Sharing>) -> Arc<Pairs> {
        let credential = route.credential.as_str();
        let made = self.pairs.iter().find(|(name, made, _)| name == credential && *made == quota);
        if let Some((_, _, pairs)) = made {
            return Arc::clone(pairs);
        }
        let mut old = of(self.before, credential).filter_map(|route| route.limiter.pairs.as_ref());
        let is_same = |pairs: &&Arc<Pairs>| pairs.quota() == quota && Sharing::is_alike(pairs.sharing(), sharing);
        let of_route = of(self.before, credential).find(|old| *old.name == *route.name);
        let before = of_route.and_then(|old| old.limiter.pairs.as_ref()).or_else(|| old.clone().next());
        let pairs = match old.find(is_same) {
            Some(pairs) => Arc::clone(pairs),
            None => Pairs::after(before, quota, sharing.cloned()),
        };
        self.pairs.push((credential.to_owned(), quota, Arc::clone(&pairs)));
        pairs
    }
}

fn of<'a>(routes: &'a [policy::Route], credential: &str) -> impl Iterator<Item = &'a policy::Route> + Clone {
    let credential = credential.to_owned();
    routes.iter().filter(move |route| route.credential.name == credential)
}
