//! The routes with equal paths, and the choice among them by the host and the senders of a request.

use std::collections::{HashMap, HashSet};

use crate::provider::{OperationSet, Origin};

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
    /// The name of the provider.
    pub(super) provider: &'r str,
    /// The hosts by which a request may address the provider.
    pub(super) origins: Vec<&'r Origin>,
    /// The operations of the route.
    pub(super) operations: &'r OperationSet,
}

/// The routes with one path.
#[derive(Debug)]
pub(super) struct SamePath {
    /// The first route.
    first: usize,
    /// `None` for a single route: nothing has to be told apart.
    shared: Option<Box<SharedPath>>,
}

/// Several routes with one path.
#[derive(Debug, Default)]
struct SharedPath {
    members: HashSet<usize>,
    all: Alike,
    /// The routes that a request may mean which names a host of their providers.
    by_host: HashMap<Box<str>, Alike>,
    by_sender: HashMap<Box<str>, Vec<usize>>,
}

/// The routes that a request without a sender may mean.
#[derive(Debug, Default)]
struct Alike {
    count: usize,
    /// True if two routes have different credentials.
    differ: bool,
    /// The classes, in the order of their first routes.
    classes: Vec<RouteClass>,
}

/// The routes that judge every request without a sender alike.
#[derive(Debug)]
struct RouteClass {
    first: usize,
    /// The first route whose credential is not that of the first.
    of_another_credential: Option<usize>,
}

/// The properties that routes of a class have in common. A route without senders takes a request
/// that names one.
#[derive(PartialEq, Eq, Hash)]
struct ClassKey<'r> {
    /// The host that the class is for; `None` for requests without a host.
    host: Option<&'r str>,
    /// The origins at the host, which differ in their ports.
    origins: Vec<&'r Origin>,
    provider: &'r str,
    operations: &'r OperationSet,
    takes_any_sender: bool,
}

impl SamePath {
    /// Indexes the routes with one path, each with its position; `None` without a route.
    pub(super) fn new(routes: &[(usize, RouteKeys<'_>)]) -> Option<Self> {
        let (first, _) = routes.first()?;
        Some(Self {
            first: *first,
            shared: (routes.len() > 1).then(|| Box::new(SharedPath::new(routes))),
        })
    }

    /// True for the position of one of the routes.
    pub(super) fn has(&self, position: usize) -> bool {
        match &self.shared {
            Some(shared) => shared.members.contains(&position),
            None => position == self.first,
        }
    }

    /// Returns the only route with the path, so that senders need not be looked at; `None` if
    /// several have it.
    pub(super) fn single(&self) -> Option<&[usize]> {
        let only = std::slice::from_ref(&self.first);
        self.shared.is_none().then_some(only)
    }

    /// True if a request means the only route at the host that it names, if any.
    pub(super) fn is_alone(&self, host: Option<&str>) -> bool {
        self.shared
            .as_ref()
            .is_none_or(|shared| shared.alike(host).is_some_and(|alike| alike.count == 1))
    }

    /// True if routes with different credentials are at the host that a request names, if any.
    pub(super) fn has_credentials(&self, host: Option<&str>) -> bool {
        self.alike(host).is_some_and(|alike| alike.differ)
    }

    /// Returns the first route of each class at a host, in order: together they judge every request
    /// without a sender as all routes would.
    pub(super) fn first_of_class(&self, host: Option<&str>) -> impl Iterator<Item = usize> {
        let only = self.shared.is_none().then_some(self.first);
        let classes = self.classes(host).map(|class| class.first);
        only.into_iter().chain(classes)
    }

    /// Returns up to two routes of each class at a host, with different credentials: a route of
    /// each class whose credential is not a given one is among them, if there is any.
    pub(super) fn rivals(&self, host: Option<&str>) -> impl Iterator<Item = usize> {
        self.classes(host)
            .flat_map(|class| [Some(class.first), class.of_another_credential])
            .flatten()
    }

    /// Returns the routes that may permit a request with the senders or accounts `named`, in order.
    /// The first route with the path is always among them, because its refusal counts if every
    /// route refuses.
    pub(super) fn candidates<'s>(
        &self,
        host: Option<&str>,
        named: impl Iterator<Item = &'s str>,
    ) -> Vec<usize> {
        let mut candidates = vec![self.first];
        let Some(shared) = &self.shared else {
            return candidates;
        };
        let of_senders = named.filter_map(|sender| shared.by_sender.get(sender));
        candidates.extend(of_senders.flatten());
        candidates.extend(self.first_of_class(host));
        candidates.sort_unstable();
        candidates.dedup();
        candidates
    }

    fn classes(&self, host: Option<&str>) -> impl Iterator<Item = &RouteClass> {
        self.alike(host)
            .into_iter()
            .flat_map(|alike| &alike.classes)
    }

    fn alike(&self, host: Option<&str>) -> Option<&Alike> {
        self.shared.as_ref()?.alike(host)
    }
}

impl SharedPath {
    fn new<'r>(routes: &[(usize, RouteKeys<'r>)]) -> Self {
        let mut shared = Self::default();
        let mut places = HashMap::new();
        let mut credentials: HashMap<Option<&str>, &str> = HashMap::new();
        for (position, route) in routes {
            shared.members.insert(*position);
            let senders = route.senders.iter().map(String::as_str);
            for sender in senders.chain(route.account) {
                let of_sender = shared.by_sender.entry(sender.into());
                of_sender.or_default().push(*position);
            }
            let hosts: HashSet<&'r str> = route.origins.iter().map(|it| &*it.host).collect();
            for host in std::iter::once(None).chain(hosts.into_iter().map(Some)) {
                let alike = match host {
                    None => &mut shared.all,
                    Some(host) => shared.by_host.entry(host.into()).or_default(),
                };
                let first = credentials.entry(host).or_insert(route.credential);
                alike.count += 1;
                alike.differ |= *first != route.credential;
                let known = places.entry(ClassKey::of(route, host));
                let (place, credential) = *known.or_insert((alike.classes.len(), route.credential));
                match alike.classes.get_mut(place) {
                    None => alike.classes.push(RouteClass {
                        first: *position,
                        of_another_credential: None,
                    }),
                    Some(class) if credential != route.credential => {
                        class.of_another_credential.get_or_insert(*position);
                    }
                    Some(_) => {}
                }
            }
        }
        shared
    }

    /// Returns the routes at the host that a request names, or all routes for a request without a
    /// host.
    fn alike(&self, host: Option<&str>) -> Option<&Alike> {
        match host {
            Some(host) => self.by_host.get(host),
            None => Some(&self.all),
        }
    }
}

impl<'r> ClassKey<'r> {
    fn of(route: &RouteKeys<'r>, host: Option<&'r str>) -> Self {
        let origins = route.origins.iter().copied();
        Self {
            host,
            origins: origins
                .filter(|origin| host.is_some_and(|host| origin.host == host))
                .collect(),
            provider: route.provider,
            operations: route.operations,
            takes_any_sender: route.senders.is_empty(),
        }
    }
}
