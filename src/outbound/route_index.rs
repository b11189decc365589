//! The index of the routes: by path and sender, and by credential. A look-up takes as long among three thousand
//! routes as among three.

use std::collections::{HashMap, HashSet};

use crate::provider::{OperationSet, Origin};

/// The positions of routes in a list, by path and sender and by credential. The list is in the order in which
/// routes are tried.
#[derive(Debug, Default)]
pub(super) struct RouteIndex {
    by_path: HashMap<Box<str>, SamePath>,
    by_credential: HashMap<Box<str>, Vec<usize>>,
    by_name: HashMap<Box<str>, usize>,
    /// The largest number of segments of a path.
    depth: usize,
}

/// The properties by which the index finds a route.
pub(super) struct RouteKeys<'r> {
    /// The name of the route.
    pub(super) name: &'r str,
    /// The path of the route: empty, or `/a/b`.
    pub(super) path: &'r str,
    /// The senders of the route; empty for any.
    pub(super) senders: &'r HashSet<String>,
    /// The name of the credential.
    pub(super) credential: &'r str,
    /// The account that paths name. A path leads to the route by its account as by a sender.
    pub(super) account: Option<&'r str>,
    /// The requests that the route takes, whatever their senders.
    pub(super) takes: RequestClass<'r>,
}

/// The requests that a route takes, whatever their senders. Two routes of one class judge a request without a
/// sender alike.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct RequestClass<'r> {
    /// The name of the provider.
    pub(super) provider: &'r str,
    /// The hosts by which a request may address the provider.
    pub(super) origins: Vec<&'r Origin>,
    /// The operations of the route.
    pub(super) operations: &'r OperationSet,
}

/// The routes with one path.
#[derive(Debug, Default)]
pub(super) struct SamePath {
    members: HashSet<usize>,
    /// The first route of each class and of each class without senders: together they judge every request without
    /// a sender as all routes would.
    first_of_class: Vec<usize>,
    by_sender: HashMap<Box<str>, Vec<usize>>,
}

impl RouteIndex {
    /// Indexes a list of routes.
    pub(super) fn new<'r>(routes: impl Iterator<Item = RouteKeys<'r>>) -> Self {
        let mut index = Self::default();
        let mut classes = HashSet::new();
        for (position, route) in routes.enumerate() {
            index.depth = index.depth.max(depth(route.path));
            index.by_name.insert(route.name.into(), position);
            let of_credential = index.by_credential.entry(route.credential.into());
            of_credential.or_default().push(position);
            let same_path = index.by_path.entry(route.path.into()).or_default();
            same_path.members.insert(position);
            if classes.insert((route.path, route.takes, route.senders.is_empty())) {
                same_path.first_of_class.push(position);
            }
            let senders = route.senders.iter().map(String::as_str);
            for sender in senders.chain(route.account) {
                let of_sender = same_path.by_sender.entry(sender.into());
                of_sender.or_default().push(position);
            }
        }
        index
    }

    /// Returns the routes with the longest path that begins `path`, and the length of that path.
    pub(super) fn at(&self, path: &str) -> Option<(usize, &SamePath)> {
        let slashes = path.bytes().enumerate().filter(|(_, byte)| *byte == b'/');
        // No route has a path of more segments: an endless path costs no more than a long one.
        let end = slashes.map(|(at, _)| at).skip(1).nth(self.depth);
        let mut prefix = end.and_then(|end| path.get(..end)).unwrap_or(path);
        loop {
            if let Some(same_path) = self.by_path.get(prefix) {
                return Some((prefix.len(), same_path));
            }
            prefix = prefix.get(..prefix.bytes().rposition(|byte| byte == b'/')?)?;
        }
    }

    /// Returns the route of this name, if it has the path of `same_path`.
    pub(super) fn named(&self, name: &str, same_path: &SamePath) -> Vec<usize> {
        let position = self.by_name.get(name).copied();
        position
            .filter(|position| same_path.members.contains(position))
            .into_iter()
            .collect()
    }

    /// Returns the routes of a credential.
    pub(super) fn of_credential(&self, credential: &str) -> &[usize] {
        self.by_credential
            .get(credential)
            .map_or(&[], Vec::as_slice)
    }
}

impl SamePath {
    /// Returns one route of each kind, in order. The first is the first route with the path.
    pub(super) fn first_of_class(&self) -> &[usize] {
        &self.first_of_class
    }

    /// True if a single route has the path, so that senders need not be looked at.
    pub(super) fn is_single(&self) -> bool {
        self.members.len() == 1
    }

    /// Returns the routes that may permit a request with the senders or accounts `named`, in order. The first route with the path
    /// is always among them, because its refusal counts if every route refuses.
    pub(super) fn candidates<'s>(&self, named: impl Iterator<Item = &'s str>) -> Vec<usize> {
        let of_senders = named.filter_map(|sender| self.by_sender.get(sender));
        let mut candidates: Vec<_> = of_senders.flatten().copied().collect();
        candidates.extend(&self.first_of_class);
        candidates.sort_unstable();
        candidates.dedup();
        candidates
    }
}

fn depth(path: &str) -> usize {
    path.matches('/').count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A route as the index sees it, and the answers of its class: the sender that a request names for the class, if
    /// the class takes the request.
    #[derive(Clone, Debug)]
    struct Route {
        path: &'static str,
        senders: HashSet<String>,
        class: usize,
    }

    /// A request as routes judge it.
    #[derive(Clone, Debug)]
    struct Request {
        path: String,
        /// For each class: `None` if the class takes no such request, else the sender in the path, if any.
        named: Vec<Option<Option<&'static str>>>,
        /// The senders in the query.
        query: Vec<&'static str>,
    }

    fn index(routes: &[Route]) -> RouteIndex {
        const CLASSES: [&str; 3] = ["a", "b", "c"];
        let operations = OperationSet::default();
        RouteIndex::new(routes.iter().map(|route| RouteKeys {
            name: route.path,
            path: route.path,
            senders: &route.senders,
            credential: CLASSES[route.class],
            account: None,
            takes: RequestClass {
                provider: CLASSES[route.class],
                origins: Vec::new(),
                operations: &operations,
            },
        }))
    }

    fn has_path(route: &Route, path: &str) -> bool {
        path.strip_prefix(route.path)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    fn permits(route: &Route, request: &Request) -> bool {
        request.named[route.class].is_some_and(|in_path| {
            let mut named = in_path.into_iter().chain(request.query.iter().copied());
            route.senders.is_empty() || named.all(|sender| route.senders.contains(sender))
        })
    }

    /// The route that permits the request, and the route whose refusal counts: by trying one route after the other.
    fn scanned(routes: &[Route], request: &Request) -> Option<(Option<usize>, usize)> {
        let fitting: Vec<_> = (0..routes.len())
            .filter(|&at| has_path(&routes[at], &request.path))
            .collect();
        let longest = fitting.iter().map(|&at| routes[at].path.len()).max()?;
        let tried: Vec<_> = fitting
            .into_iter()
            .filter(|&at| routes[at].path.len() == longest)
            .collect();
        let permitting = tried
            .iter()
            .copied()
            .find(|&at| permits(&routes[at], request));
        Some((permitting, tried[0]))
    }

    fn looked_up(routes: &[Route], request: &Request) -> Option<(Option<usize>, usize)> {
        let index = index(routes);
        let (_, same_path) = index.at(&request.path)?;
        let in_path = request.named.iter().copied().flatten().flatten();
        let named = in_path.chain(request.query.iter().copied());
        let candidates = same_path.candidates(named);
        let permitting = candidates
            .iter()
            .copied()
            .find(|&at| permits(&routes[at], request));
        Some((permitting, candidates[0]))
    }

    #[test]
    fn the_longest_path_that_ends_at_a_slash_is_found() {
        let route = |path| Route {
            path,
            senders: HashSet::new(),
            class: 0,
        };
        let index = index(&["", "/a", "/a/b", "/c/d/e"].map(route));
        for (path, expected) in [
            ("/", Some(0)),
            ("", Some(0)),
            ("//", Some(0)),
            ("/x", Some(0)),
            ("/a", Some(2)),
            ("/a/", Some(2)),
            ("/a/x/y/z/w/v", Some(2)),
            ("/ab", Some(0)),
            ("/a/b", Some(4)),
            ("/a/b/c", Some(4)),
            ("/a/bc", Some(2)),
            ("/c/d", Some(0)),
            ("/c/d/e/f", Some(6)),
            ("*", None),
            ("a/b", None),
        ] {
            let found = index.at(path).map(|(length, _)| length);
            assert_eq!(found, expected, "{path}");
        }
    }

    #[test]
    fn a_sender_leads_to_its_routes_and_to_one_route_of_each_class() {
        let route = |senders: &[&str], class| Route {
            path: "",
            senders: senders.iter().map(|&sender| sender.to_owned()).collect(),
            class,
        };
        let routes = [
            route(&["1"], 0),
            route(&["2"], 0),
            route(&["3", "4"], 0),
            route(&["4"], 1),
            route(&[], 0),
            route(&[], 0),
        ];
        let index = index(&routes);
        let (_, same_path) = index.at("/x").unwrap();
        for (named, expected) in [
            (&[][..], &[0, 3, 4][..]),
            (&["2"], &[0, 1, 3, 4]),
            (&["4"], &[0, 2, 3, 4]),
            (&["2", "3"], &[0, 1, 2, 3, 4]),
            (&["5"], &[0, 3, 4]),
        ] {
            let found = same_path.candidates(named.iter().copied());
            assert_eq!(found, expected, "{named:?}");
        }
        assert_eq!(index.of_credential("a"), [0, 1, 2, 4, 5]);
        assert_eq!(index.of_credential("c"), [] as [usize; 0]);
    }

    const SENDERS: [&str; 3] = ["1", "2", "3"];

    fn routes() -> impl Strategy<Value = Vec<Route>> {
        let path = prop::sample::select(vec!["", "/a", "/a/b", "/a/b/c", "/ab", "/b"]);
        let senders = prop::collection::hash_set(prop::sample::select(SENDERS.to_vec()), 0..3);
        let route = (path, senders, 0..3_usize).prop_map(|(path, senders, class)| Route {
            path,
            senders: senders.into_iter().map(str::to_owned).collect(),
            class,
        });
        prop::collection::vec(route, 0..12)
    }

    fn requests() -> impl Strategy<Value = Request> {
        let sender = || prop::sample::select(SENDERS.to_vec());
        let named = prop::option::of(prop::option::of(sender()));
        (
            "(/(a|b|ab|c)?){0,6}|[*a/]{1,4}",
            prop::collection::vec(named, 3),
            prop::collection::vec(sender(), 0..3),
        )
            .prop_map(|(path, named, query)| Request { path, named, query })
    }

    proptest! {
        #[test]
        fn a_look_up_decides_like_a_scan(routes in routes(), request in requests()) {
            prop_assert_eq!(looked_up(&routes, &request), scanned(&routes, &request));
        }
    }
}
