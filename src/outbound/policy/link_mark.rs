//! The mark in links of answers that names the route of the link.

use super::route::Route;

/// The path of a route in a link that names the route.
pub(super) fn marked_path(route: &Route) -> String {
    format!("{}{ROUTE_MARK}{}", route.path, route.name)
}

/// The route that a link of an answer names, and the rest of the path.
pub(super) fn marked_route(path: &str) -> (Option<&str>, &str) {
    let Some(marked) = path.strip_prefix(ROUTE_MARK) else {
        return (None, path);
    };
    let end = marked.find('/').unwrap_or(marked.len());
    match marked.split_at_checked(end) {
        Some((name, "")) => (Some(name), "/"),
        Some((name, rest)) => (Some(name), rest),
        None => (None, path),
    }
}

/// The beginning of a link that names its route. The name follows, then the path of the provider.
const ROUTE_MARK: &str = "/keyside-route/";
