//! The operations of routes that `senders` cannot bound.

use super::{Config, RouteConfig};
use crate::provider::{Operation, Provider, Segment};

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

impl Config {
    /// Returns a line for each route whose `senders` are numbers alone, where paths of allowed
    /// requests may name a sender by an id that bodies do not have.
    #[must_use]
    pub fn numbers_beside_ids(&self) -> Vec<String> {
        let routes = self.routes.iter().filter_map(|route| {
            let provider = &self.credentials.get(&route.credential)?.provider;
            let names = by_id(route, provider);
            (!names.is_empty()).then(|| {
                format!(
                    "route {}: `senders` are numbers alone, and requests of {} name the sender in the path, where the \
                     provider may have another name for it: list that name in `senders` too, or they get 403",
                    route.name,
                    names.join(", ")
                )
            })
        });
        routes.collect()
    }
}

/// Returns the allowed operations with an id of the sender in the path, of a route that lists
/// numbers alone. Bodies name the sender as well, perhaps by the number.
fn by_id(route: &RouteConfig, provider: &Provider) -> Vec<String> {
    let is_number = |sender: &String| sender.bytes().all(|byte| byte.is_ascii_digit());
    let lists_numbers = !route.senders.is_empty() && route.senders.iter().all(is_number);
    if !lists_numbers || provider.limits.sender.is_empty() {
        return Vec::new();
    }
    let is_id = |segment: &Segment| segment.is_sender() && *segment != Segment::Sender;
    let names_id = |operation: &&Operation| {
        operation.requests.iter().any(|request| {
            let mut methods = request.methods.iter();
            request.path.segments.iter().any(is_id)
                && methods.any(|method| route.operations.allows_method(operation, method))
        })
    };
    let operations = provider.operations.iter().filter(names_id);
    operations
        .filter_map(|operation| route.operations.written(operation))
        .collect()
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
