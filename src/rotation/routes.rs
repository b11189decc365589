//! The routes of a credential, with the upstream for queries about the token.

use super::obstacle::Obstacle;
use super::target::RotationTarget;
use crate::credential::{Credential, SecretSet, TokenNeeds, Verdict};
use crate::health::{self, Endpoints, ProviderQuery, Uses};
use crate::outbound::policy::Route;
use crate::reload::{Live, needs_of};

/// A credential with its first route, and the senders of all its routes.
pub(super) struct TokenRoutes<'l> {
    pub(super) credential: &'l Credential,
    /// `None` for a credential of webhooks alone: no upstream is known to ask.
    route: Option<&'l Route>,
    senders: Vec<&'l str>,
    /// True if each route names its senders.
    pub(super) names_senders: bool,
    needs: TokenNeeds,
}

impl<'l> TokenRoutes<'l> {
    /// Finds the routes of the credential of a secret to rotate.
    ///
    /// # Errors
    /// If no route sends with a secret that requests carry.
    pub(super) fn of(live: &'l Live, target: &RotationTarget) -> Result<Self, Obstacle> {
        let name = &target.credential;
        let routes: Vec<_> = live.generation.policy.routes_of(name).collect();
        let mut needs = TokenNeeds::default();
        for route in &routes {
            needs.add(needs_of(route));
        }
        let route = routes.first().copied();
        let credential = match route {
            Some(route) => &*route.credential,
            None => live
                .credentials
                .get(name)
                .filter(|credential| !target.is_carried(credential))
                .ok_or_else(|| Obstacle::NoRoute(name.clone()))?,
        };
        Ok(Self {
            credential,
            route,
            needs,
            names_senders: routes.iter().all(|route| !route.senders.is_empty()),
            senders: routes
                .iter()
                .flat_map(|route| &route.senders)
                .map(String::as_str)
                .collect(),
        })
    }

    /// True if a route sends with the credential.
    pub(super) fn has_route(&self) -> bool {
        self.route.is_some()
    }

    /// True if the provider can be asked about secrets.
    pub(super) fn can_ask(&self) -> bool {
        self.has_route() && self.credential.provider.can_be_asked()
    }

    /// Asks the provider about a secret set, for the senders of all routes. The secrets of the
    /// source are in use.
    pub(super) async fn verify(&self, secrets: SecretSet<'_>) -> Verdict {
        let Some(route) = self.route else {
            return Verdict::Unproved("no route sends with it".to_owned());
        };
        let endpoints = Endpoints {
            upstream: &route.upstream,
            host: &route.host,
            issuer: route.issuer(),
        };
        let uses = Uses {
            needs: &self.needs,
            senders: &self.senders,
            in_use: Some(self.credential.newest()),
        };
        health::verify(secrets, endpoints, uses).await
    }

    /// Returns a query to the provider with a secret set; `None` without a route.
    pub(super) fn query<'q>(&'q self, secrets: SecretSet<'q>) -> Option<ProviderQuery<'q>> {
        let route = self.route?;
        Some(ProviderQuery {
            secrets,
            upstream: &route.upstream,
            host: &route.host,
        })
    }
}
