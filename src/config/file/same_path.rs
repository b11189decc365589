//! Routes with one path: requests must tell them apart by host, account or sender.

use std::collections::HashMap;

use crate::config::{OutboundConfig, RouteConfig};
use crate::document::Position;
use crate::provider::{Origin, Provider};

/// The earlier routes with one path, by host. Only routes that requests cannot tell apart by host
/// or account are compared.
#[derive(Default)]
pub(super) struct EarlierSamePath {
    hosts: HashMap<String, SameHost>,
}

/// The earlier routes with one path and one host, by the variable of accounts in paths; `None` for
/// routes without accounts.
type SameHost = HashMap<Option<String>, OfVariable>;

/// The earlier routes whose accounts are values of one variable.
#[derive(Default)]
struct OfVariable {
    all: EarlierRoutes,
    /// The routes of each account.
    values: HashMap<String, EarlierRoutes>,
}

/// Earlier routes that only senders tell apart.
#[derive(Default)]
struct EarlierRoutes {
    /// The first route of each of two credentials.
    firsts: Vec<(String, Position)>,
    /// The first route that any sender may use.
    open: Option<Position>,
    /// The first route of each sender.
    senders: HashMap<String, Position>,
}

/// The hosts at which routes of two providers may meet.
pub(super) struct SharedHosts<'a> {
    pub(super) provider: &'a Provider,
    pub(super) outbound: &'a OutboundConfig,
}

impl<'a> SharedHosts<'a> {
    /// Returns the origins that count. In alias mode the hosts tell two providers apart that share
    /// the host of media alone: a link there names the route.
    fn origins(&self) -> impl Iterator<Item = &'a Origin> + use<'a> {
        let provider = self.provider;
        let is_alias_mode = self.outbound.tls.is_some();
        let media = provider
            .media_upstream
            .iter()
            .filter(move |_| !is_alias_mode && provider.graph_answers);
        provider.origins_without_links().chain(media)
    }
}

impl EarlierSamePath {
    /// Returns the place of a route that some sender could use as well as this one.
    pub(super) fn clash(&self, route: &RouteConfig, shared: &SharedHosts<'_>) -> Option<&Position> {
        let alike = self.not_told_apart(shared);
        alike
            .filter_map(|alike| alike.clash(route, shared.provider))
            .min()
    }

    /// Returns the place of the first route with another credential.
    pub(super) fn of_another_credential(
        &self,
        route: &RouteConfig,
        shared: &SharedHosts<'_>,
    ) -> Option<&Position> {
        let alike = self.not_told_apart(shared);
        alike
            .filter_map(|alike| alike.of_another_credential(route))
            .min()
    }

    /// Returns the routes whose requests neither the host nor the account in the path tells from
    /// requests to the provider of `shared`. A request that names neither is refused, as long as
    /// both providers know its path.
    fn not_told_apart(&self, shared: &SharedHosts<'_>) -> impl Iterator<Item = &EarlierRoutes> {
        let provider = shared.provider;
        let same_hosts = shared
            .origins()
            .filter_map(|origin| self.hosts.get(&origin.host));
        same_hosts
            .flatten()
            .filter_map(|(variable, routes)| match &provider.account {
                Some(account) if variable.as_ref() == Some(&account.variable) => {
                    routes.values.get(&account.value)
                }
                _ => Some(&routes.all),
            })
    }

    pub(super) fn add(&mut self, route: &RouteConfig, shared: &SharedHosts<'_>, at: &Position) {
        let account = shared.provider.account.as_ref();
        let variable = account.map(|account| account.variable.clone());
        for origin in shared.origins() {
            let same_host = self.hosts.entry(origin.host.clone()).or_default();
            let of_variable = same_host.entry(variable.clone()).or_default();
            of_variable.all.add(route, at);
            if let Some(account) = account {
                let of_account = of_variable.values.entry(account.value.clone());
                of_account.or_default().add(route, at);
            }
        }
    }
}

impl EarlierRoutes {
    /// Returns the place of a route that some sender could use as well as this one.
    ///
    /// The route is chosen before a body is read, so senders in bodies cannot tell two routes
    /// apart.
    fn clash(&self, route: &RouteConfig, provider: &Provider) -> Option<&Position> {
        let (_, first) = self.firsts.first()?;
        if provider.names_senders_in_bodies() || route.senders.is_empty() {
            return Some(first);
        }
        let shared = route
            .senders
            .iter()
            .filter_map(|sender| self.senders.get(sender));
        shared.chain(&self.open).min()
    }

    /// Returns the place of the first route with another credential.
    fn of_another_credential(&self, route: &RouteConfig) -> Option<&Position> {
        let mut firsts = self.firsts.iter();
        firsts
            .find(|(credential, _)| *credential != route.credential)
            .map(|(_, at)| at)
    }

    fn add(&mut self, route: &RouteConfig, at: &Position) {
        let is_known = |(credential, _): &(String, Position)| *credential == route.credential;
        if self.firsts.len() < 2 && !self.firsts.iter().any(is_known) {
            self.firsts.push((route.credential.clone(), at.clone()));
        }
        if route.senders.is_empty() {
            self.open.get_or_insert_with(|| at.clone());
        }
        for sender in &route.senders {
            let first = self.senders.entry(sender.clone());
            first.or_insert_with(|| at.clone());
        }
    }
}
