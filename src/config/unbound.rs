//! The operations of routes that `senders` cannot bound.

use super::{Config, RouteConfig};
use crate::provider::{Operation, Provider};

impl Config {
    /// Returns a line for each route with `senders` and with operations beyond their reach.
    #[must_use]
    pub fn unbound_by_senders(&self) -> Vec<String> {
        let routes = self.routes.iter().filter_map(|route| {
            let credential = self.credentials.get(&route.credential)?;
            let names = unbound(route, &credential.provider);
            (!names.is_empty()).then(|| {
                format!(
                    "route {}: `senders` does not bound {}: requests of these operations may name no sender, and then \
                     reach whatever the credential reaches",
                    route.name,
                    names.join(", ")
                )
            })
        });
        routes.collect()
    }
}

/// Returns the allowed operations with a request without a sender.
fn unbound(route: &RouteConfig, provider: &Provider) -> Vec<String> {
    if route.senders.is_empty() {
        return Vec::new();
    }
    let is_unbound = |operation: &&Operation| {
        let mut requests = operation.requests.iter();
        requests.any(|request| {
            let mut methods = request.methods.iter();
            let is_allowed =
                methods.any(|method| route.operations.allows_method(operation, method));
            is_allowed && !request.is_bound_by_senders()
        })
    };
    let unbound = provider.operations.iter().filter(is_unbound);
    unbound
        .filter_map(|operation| route.operations.written(operation))
        .collect()
}
