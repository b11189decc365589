//! The index of the routes: by path, host and sender, and by credential. A look-up takes as long
//! among ten thousand routes as among three, whether the routes differ in their paths, their hosts,
//! their senders or their credentials.

use std::collections::HashMap;

use super::same_path::{RouteKeys, SamePath};

/// The positions of routes in a list, by path and sender and by credential. The list is in the
/// order in which routes are tried.
#[derive(Debug, Default)]
pub(super) struct RouteIndex {
    by_path: HashMap<Box<str>, SamePath>,
    by_credential: HashMap<Box<str>, Vec<usize>>,
    by_name: HashMap<Box<str>, usize>,
    /// The largest number of segments of a path.
    depth: usize,
}

impl RouteIndex {
    /// Indexes a list of routes.
    pub(super) fn new<'r>(routes: impl Iterator<Item = RouteKeys<'r>>) -> Self {
        let mut index = Self::default();
        let mut by_path: HashMap<_, Vec<_>> = HashMap::new();
        for (position, route) in routes.enumerate() {
            index.depth = index.depth.max(depth(route.path));
            index.by_name.insert(route.name.into(), position);
            let of_credential = index.by_credential.entry(route.credential.into());
            of_credential.or_default().push(position);
            let same_path = by_path.entry(route.path).or_default();
            same_path.push((position, route));
        }
        index.by_path = by_path
            .into_iter()
            .filter_map(|(path, routes)| Some((path.into(), SamePath::new(&routes)?)))
            .collect();
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
            .filter(|position| same_path.has(*position))
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

fn depth(path: &str) -> usize {
    path.matches('/').count()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::provider::{OperationSet, Origin};

    /// A route as the index sees it, and the answers of its class: the sender that a request names
    /// for the class, if the class takes the request.
    #[derive(Clone, Debug)]
    struct Route {
        path: &'static str,
        senders: HashSet<String>,
        class: usize,
        credential: &'static str,
        hosts: HashSet<&'static str>,
    }

    /// A request as routes judge it.
    #[derive(Clone, Debug)]
    struct Request {
        path: String,
        host: Option<&'static str>,
        /// For each class: `None` if the class takes no such request, else the sender in the path,
        /// if any.
        named: Vec<Option<Option<&'static str>>>,
        /// The senders in the query.
        query: Vec<&'static str>,
    }

    /// The decision about a request.
    #[derive(Debug, PartialEq)]
    struct Decision {
        /// The route that permits the request.
        permitting: Option<usize>,
        /// The route whose refusal counts if every route refuses.
        first: usize,
        /// True for a single route with the path, and with the host if the request names one.
        is_alone: bool,
        has_credentials: bool,
        /// The credentials of the routes that take the request if nobody asks for its senders.
        taking: HashSet<&'static str>,
    }

    fn index(routes: &[Route]) -> RouteIndex {
        const CLASSES: [&str; 3] = ["a", "b", "c"];
        let operations = OperationSet::default();
        let origins: Vec<Vec<Origin>> = routes
            .iter()
            .map(|route| {
                let hosts = route.hosts.iter();
                hosts
                    .map(|host| format!("https://{host}").parse().unwrap())
                    .collect()
            })
            .collect();
        RouteIndex::new(
            routes
                .iter()
                .zip(&origins)
                .map(|(route, origins)| RouteKeys {
                    name: route.path,
                    path: route.path,
                    senders: &route.senders,
                    credential: route.credential,
                    account: None,
                    provider: CLASSES[route.class],
                    origins: origins.iter().collect(),
                    operations: &operations,
                }),
        )
    }

    fn has_path(route: &Route, path: &str) -> bool {
        path.strip_prefix(route.path)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    fn is_at(route: &Route, request: &Request) -> bool {
        request.host.is_none_or(|host| route.hosts.contains(host))
    }

    fn permits(route: &Route, request: &Request) -> bool {
        is_at(route, request)
            && request.named[route.class].is_some_and(|in_path| {
                let mut named = in_path.into_iter().chain(request.query.iter().copied());
                route.senders.is_empty() || named.all(|sender| route.senders.contains(sender))
            })
    }

    /// The credentials of those routes at the host of a request that take it, whatever its senders.
    fn taking(
        routes: &[Route],
        positions: impl Iterator<Item = usize>,
        request: &Request,
    ) -> HashSet<&'static str> {
        let taking = positions
            .filter(|&at| is_at(&routes[at], request) && request.named[routes[at].class].is_some());
        taking.map(|at| routes[at].credential).collect()
    }

    /// The decision by trying one route after the other.
    fn scanned(routes: &[Route], request: &Request) -> Option<Decision> {
        let fitting: Vec<_> = (0..routes.len())
            .filter(|&at| has_path(&routes[at], &request.path))
            .collect();
        let longest = fitting.iter().map(|&at| routes[at].path.len()).max()?;
        let tried: Vec<_> = fitting
            .into_iter()
            .filter(|&at| routes[at].path.len() == longest)
            .collect();
        let mut each = tried.iter().copied();
        let at_host = || tried.iter().filter(|&&at| is_at(&routes[at], request));
        let credentials: HashSet<_> = at_host().map(|&at| routes[at].credential).collect();
        Some(Decision {
            permitting: each.find(|&at| permits(&routes[at], request)),
            first: tried[0],
            // A single route needs no host to be found.
            is_alone: tried.len() == 1 || at_host().count() == 1,
            has_credentials: credentials.len() > 1,
            taking: taking(routes, tried.iter().copied(), request),
        })
    }

    fn looked_up(routes: &[Route], request: &Request) -> Option<Decision> {
        let index = index(routes);
        let (_, same_path) = index.at(&request.path)?;
        let in_path = request.named.iter().copied().flatten().flatten();
        let named = in_path.chain(request.query.iter().copied());
        let candidates = same_path.candidates(request.host, named);
        let mut each = candidates.iter().copied();
        let judged: Vec<_> = if same_path.single().is_some() {
            vec![candidates[0]]
        } else {
            same_path.rivals(request.host).collect()
        };
        // Whatever the credential of a route: a rival with another one is found, if there is any.
        let taking = taking(routes, judged.into_iter(), request);
        Some(Decision {
            permitting: each.find(|&at| permits(&routes[at], request)),
            first: candidates[0],
            is_alone: same_path.is_alone(request.host),
            has_credentials: same_path.has_credentials(request.host),
            taking,
        })
    }

    fn route(path: &'static str, senders: &[&str], class: usize) -> Route {
        Route {
            path,
            senders: senders.iter().map(|&sender| sender.to_owned()).collect(),
            class,
            credential: ["a", "b", "c"][class],
            hosts: HashSet::new(),
        }
    }

    #[test]
    fn the_longest_path_that_ends_at_a_slash_is_found() {
        let index = index(&["", "/a", "/a/b", "/c/d/e"].map(|path| route(path, &[], 0)));
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
        let routes = [
            route("", &["1"], 0),
            route("", &["2"], 0),
            route("", &["3", "4"], 0),
            route("", &["4"], 1),
            route("", &[], 0),
            route("", &[], 0),
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
            let found = same_path.candidates(None, named.iter().copied());
            assert_eq!(found, expected, "{named:?}");
        }
        assert_eq!(index.of_credential("a"), [0, 1, 2, 4, 5]);
        assert_eq!(index.of_credential("c"), [] as [usize; 0]);
    }

    /// The largest number of routes that any step of a decision looks at, if routes differ in one
    /// property.
    fn looked_at(vary: impl Fn(usize, &mut Route)) -> usize {
        const MANY: usize = 10_000;
        let mut routes = vec![route("", &[], 0); MANY];
        for (number, route) in routes.iter_mut().enumerate() {
            vary(number, route);
        }
        let last = routes.last().unwrap().clone();
        let index = index(&routes);
        let (_, same_path) = index.at(&format!("{}/x", last.path)).unwrap();
        let sender = last.senders.iter().map(String::as_str);
        let host = last.hosts.iter().next().copied();
        [
            same_path.candidates(host, sender.clone()).len(),
            same_path.candidates(None, sender).len(),
            same_path.first_of_class(host).count(),
            same_path.first_of_class(None).count(),
            same_path.rivals(host).count(),
            same_path.rivals(None).count(),
        ]
        .into_iter()
        .max()
        .unwrap()
    }

    fn text(number: usize, prefix: &str) -> &'static str {
        Box::leak(format!("{prefix}{number}").into_boxed_str())
    }

    #[test]
    fn a_decision_looks_at_few_routes_of_ten_thousand() {
        let by_path = looked_at(|number, route| route.path = text(number, "/t"));
        let by_sender = looked_at(|number, route| {
            route.senders.insert(number.to_string());
        });
        let by_sender_and_credential = looked_at(|number, route| {
            route.senders.insert(number.to_string());
            route.credential = text(number, "t");
        });
        let by_host = looked_at(|number, route| {
            route.credential = text(number, "t");
            route.hosts = HashSet::from(["common", text(number, "h")]);
        });
        let all = [by_path, by_sender, by_sender_and_credential, by_host];
        assert!(all.iter().all(|count| *count <= 3), "{all:?}");
    }

    const SENDERS: [&str; 3] = ["1", "2", "3"];
    const HOSTS: [&str; 3] = ["one", "two", "three"];

    fn routes() -> impl Strategy<Value = Vec<Route>> {
        let path = prop::sample::select(vec!["", "/a", "/a/b", "/a/b/c", "/ab", "/b"]);
        let senders = prop::collection::hash_set(prop::sample::select(SENDERS.to_vec()), 0..3);
        let hosts = prop::collection::hash_set(prop::sample::select(HOSTS[..2].to_vec()), 0..3);
        let credential = prop::sample::select(vec!["x", "y"]);
        let route = (path, senders, 0..3_usize, credential, hosts).prop_map(
            |(path, senders, class, credential, hosts)| Route {
                path,
                senders: senders.into_iter().map(str::to_owned).collect(),
                class,
                credential,
                hosts,
            },
        );
        prop::collection::vec(route, 0..12)
    }

    fn requests() -> impl Strategy<Value = Request> {
        let sender = || prop::sample::select(SENDERS.to_vec());
        let named = prop::option::of(prop::option::of(sender()));
        (
            "(/(a|b|ab|c)?){0,6}|[*a/]{1,4}",
            prop::option::of(prop::sample::select(HOSTS.to_vec())),
            prop::collection::vec(named, 3),
            prop::collection::vec(sender(), 0..3),
        )
            .prop_map(|(path, host, named, query)| Request {
                path,
                host,
                named,
                query,
            })
    }

    proptest! {
        #[test]
        fn a_look_up_decides_like_a_scan(routes in routes(), request in requests()) {
            prop_assert_eq!(looked_up(&routes, &request), scanned(&routes, &request));
        }
    }
}
