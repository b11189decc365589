//! The routes of a credential, with the upstream for queries about the token.

use crate::credential::{SecretSet, TokenNeeds, Verdict};
use crate::health::{self, Endpoints, ProviderQuery, Uses};
use crate::outbound::policy::Route;
use crate::reload::{Live, needs_of};

/// The first route of a credential, and the senders of all routes of the credential.
pub(super) struct TokenRoutes<'l> {
    pub(super) route: &'l Route,
    senders: Vec<&'l str>,
    /// True if each route names its senders.
    pub(super) names_senders: bool,
    needs: TokenNeeds,
}

impl<'l> TokenRoutes<'l> {
    /// Finds the routes of a credential; `None` if there are none.
    pub(super) fn find(live: &'l Live, credential: &str) -> Option<Self> {
        let routes: Vec<_> = live.generation.policy.routes_of(credential).collect();
        let mut needs = TokenNeeds::default();
        for route in &routes {
            needs.add(needs_of(route));
        }
        Some(Self {
            needs,
            names_senders: routes.iter().all(|route| !route.senders.is_empty()),
            route: routes.first()?,
            senders: routes
                .iter()
                .flat_map(|route| &route.senders)
                .map(String::as_str)
                .collect(),
        })
    }

    /// Asks the provider about a secret set, for the senders of all routes. The secrets of the source are in use.
    pub(super) async fn verify(&self, secrets: SecretSet<'_>) -> Verdict {
        let endpoints = Endpoints {
            upstream: &self.route.upstream,
            host: &self.route.host,
            issuer: self.route.issuer(),
        };
        let uses = Uses {
            needs: &self.needs,
            senders: &self.senders,
            in_use: Some(self.route.credential.newest()),
        };
        health::verify(secrets, endpoints, uses).await
    }

    /// Returns a query to the provider with a secret set.
    pub(super) fn query<'q>(&'q self, secrets: SecretSet<'q>) -> ProviderQuery<'q> {
        ProviderQuery {
            secrets,
            upstream: &self.route.upstream,
            host: &self.route.host,
        }
    }
}
