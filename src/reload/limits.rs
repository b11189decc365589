//! The limits of a generation: carried over from the one before, so that no reload refills anything.

use std::collections::HashMap;
use std::sync::Arc;

use super::Live;
use super::shared::SharedServer;
use crate::config::{Route, SharedLimits};
use crate::limit::{Account, Budget, Limiter, Pairs, Patience, Scope, Sharing};
use crate::outbound::policy;
use crate::units::{Quota, Rate};

/// What routes of one credential share, because they send from the same numbers.
pub(super) struct Limits<'a> {
    before: &'a [policy::Route],
    shared: Option<(&'a SharedLimits, &'a SharedServer)>,
    accounts: HashMap<String, Arc<Account>>,
    budgets: Vec<(String, Of, Arc<Budget>)>,
    pairs: Vec<(String, Quota, Arc<Pairs>)>,
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

    fn held(self, limiter: &Limiter) -> Option<&Arc<Budget>> {
        match self {
            Self::Senders => limiter.senders.as_ref(),
            Self::Sends => limiter.sends.as_ref(),
            Self::Management => limiter.management.as_ref(),
        }
    }
}

impl<'a> Limits<'a> {
    pub(super) fn after(before: Option<&'a Live>, shared: Option<(&'a SharedLimits, &'a SharedServer)>) -> Self {
        let before = before.map(|before| before.generation.policy.routes()).unwrap_or_default();
        Self { before, shared, accounts: HashMap::new(), budgets: Vec::new(), pairs: Vec::new() }
    }

    /// Those of a route.
    pub(super) fn of(&mut self, route: &Route) -> Limiter {
        let rates = route.limits.rates;
        let account = self.account(&route.credential);
        let sharing = self.shared.map(|(limits, (shared, _))| {
            let (shared, account) = (Arc::clone(shared), Arc::clone(&account));
            Sharing::new(shared, account, &route.credential, limits.on_failure, limits.replicas)
        });
        Limiter {
            account,
            senders: rates.per_sender.map(|rate| self.budget(route, rate, Of::Senders, sharing.as_ref())),
            pairs: rates.per_recipient.map(|quota| self.pairs(&route.credential, quota, sharing.as_ref())),
            sends: rates.per_account.map(|rate| self.budget(route, rate, Of::Sends, sharing.as_ref())),
            management: rates.management.map(|rate| self.budget(route, rate, Of::Management, sharing.as_ref())),
            sharing,
            retries: route.limits.retry,
            patience: Patience { max_wait: route.limits.max_wait, max_queue: route.limits.max_queue },
        }
    }

    fn account(&mut self, credential: &str) -> Arc<Account> {
        let old = of(self.before, credential).map(|route| &route.limiter.account).next();
        let account = self.accounts.entry(credential.to_owned());
        Arc::clone(account.or_insert_with(|| old.map(Arc::clone).unwrap_or_default()))
    }

    /// That of a route which has the same rate for the same; else what this route had, at its new rate.
    fn budget(&mut self, route: &Route, rate: Rate, what: Of, sharing: Option<&Sharing>) -> Arc<Budget> {
        let credential = route.credential.as_str();
        let auto = what == Of::Senders && route.limits.rates.auto;
        let is_same = |budget: &Arc<Budget>| {
            (budget.rate(), budget.is_auto()) == (rate, auto) && Sharing::is_alike(budget.sharing(), sharing)
        };
        let made = self.budgets.iter().find(|(name, of, budget)| name == credential && *of == what && is_same(budget));
        if let Some((_, _, budget)) = made {
            return Arc::clone(budget);
        }
        let held = |route: &'a policy::Route| what.held(&route.limiter);
        let same_rate = of(self.before, credential).filter_map(held).find(|budget| is_same(budget));
        let same_route = of(self.before, credential).find(|old| *old.name == *route.name).and_then(held);
        let budget = match (same_rate, same_route) {
            (Some(budget), _) => Arc::clone(budget),
            (None, Some(budget)) => Arc::new(budget.changed(rate, auto, sharing.cloned())),
            (None, None) => Arc::new(Budget::new(what.scope(), what.kind(), rate, auto, sharing.cloned())),
        };
        self.budgets.push((credential.to_owned(), what, Arc::clone(&budget)));
        budget
    }

    /// At another quota, those from before have their say too until what was used of them has come back.
    fn pairs(&mut self, credential: &str, quota: Quota, sharing: Option<&Sharing>) -> Arc<Pairs> {
        let made = self.pairs.iter().find(|(name, made, _)| name == credential && *made == quota);
        if let Some((_, _, pairs)) = made {
            return Arc::clone(pairs);
        }
        let mut old = of(self.before, credential).filter_map(|route| route.limiter.pairs.as_ref());
        let is_same = |pairs: &&Arc<Pairs>| pairs.quota() == quota && Sharing::is_alike(pairs.sharing(), sharing);
        let pairs = match old.clone().find(is_same) {
            Some(pairs) => Arc::clone(pairs),
            None => Pairs::after(old.next(), quota, sharing.cloned()),
        };
        self.pairs.push((credential.to_owned(), quota, Arc::clone(&pairs)));
        pairs
    }
}

fn of<'a>(routes: &'a [policy::Route], credential: &str) -> impl Iterator<Item = &'a policy::Route> + Clone {
    let credential = credential.to_owned();
    routes.iter().filter(move |route| route.credential.name == credential)
}
