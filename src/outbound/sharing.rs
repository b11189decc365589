//! The routes that share a path, or a path and a host of providers.

use std::collections::{BTreeSet, HashMap};

/// The routes of each path, and among them the routes of each host.
#[derive(Debug, Default)]
pub(super) struct PathSharing {
    paths: HashMap<String, SamePath>,
    /// True if a path has routes with different credentials. Few configurations have one.
    differ: bool,
}

/// The routes with one path.
#[derive(Debug, Default)]
struct SamePath {
    all: Sharers,
    hosts: HashMap<String, Sharers>,
}

/// Routes that a request without a sender may mean.
#[derive(Debug, Default)]
struct Sharers {
    count: usize,
    /// The credential of the first route.
    credential: String,
    /// True if another route has another credential.
    differ: bool,
}

impl PathSharing {
    /// Adds a route with the hosts of its provider.
    pub(super) fn add<'r>(
        &mut self,
        path: &str,
        hosts: impl Iterator<Item = &'r str>,
        credential: &str,
    ) {
        let same_path = self.paths.entry(path.to_owned()).or_default();
        same_path.all.add(credential);
        self.differ |= same_path.all.differ;
        for host in hosts.collect::<BTreeSet<_>>() {
            let of_host = same_path.hosts.entry(host.to_owned()).or_default();
            of_host.add(credential);
        }
    }

    /// Returns true if a single route has the path, and the host that the request names, if any.
    pub(super) fn is_alone(&self, path: &str, host: Option<&str>) -> bool {
        self.sharers(path, host)
            .is_some_and(|sharers| sharers.count == 1)
    }

    /// Returns true if routes with different credentials have the path, and the host that the request names, if any.
    pub(super) fn has_credentials(&self, path: &str, host: Option<&str>) -> bool {
        self.differ
            && self
                .sharers(path, host)
                .is_some_and(|sharers| sharers.differ)
    }

    fn sharers(&self, path: &str, host: Option<&str>) -> Option<&Sharers> {
        let same_path = self.paths.get(path)?;
        match host {
            Some(host) => same_path.hosts.get(host),
            None => Some(&same_path.all),
        }
    }
}

impl Sharers {
    fn add(&mut self, credential: &str) {
        if self.count == 0 {
            credential.clone_into(&mut self.credential);
        }
        self.count += 1;
        self.differ |= self.credential != credential;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_share_a_path_or_a_path_and_a_host() {
        let mut sharing = PathSharing::default();
        for (path, hosts, credential) in [
            ("", ["graph", "media"], "acme"),
            ("", ["twilio", "twilio"], "sms"),
            ("/a", ["graph", "media"], "acme"),
            ("/a", ["graph", "other"], "acme"),
            ("/a", ["twilio", "media"], "sms"),
        ] {
            sharing.add(path, hosts.into_iter(), credential);
        }
        for (path, host, is_alone, has_credentials) in [
            ("", None, false, true),
            ("", Some("graph"), true, false),
            ("", Some("twilio"), true, false),
            ("", Some("unknown"), false, false),
            ("/a", None, false, true),
            ("/a", Some("graph"), false, false),
            ("/a", Some("media"), false, true),
            ("/b", None, false, false),
        ] {
            let found = (
                sharing.is_alone(path, host),
                sharing.has_credentials(path, host),
            );
            assert_eq!(found, (is_alone, has_credentials), "{path} {host:?}");
        }
    }
}
