//! The way out of this machine: straight, or through an HTTP proxy that opens tunnels (CONNECT).
//!
//! Connections to providers, issuers of tokens and secret managers take this way. Connections
//! within a site never do: to applications, to Redis and message servers, and to the API of the
//! cluster.

mod environment;
mod proxy;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

pub use environment::EnvironmentError;
use environment::ProxyVariables;
pub use proxy::{Proxy, ProxyUrlError};

use crate::config::BypassRule;
use crate::provider::Origin;
use crate::secret::Secret;

/// The way out, as configuration and environment set it.
#[derive(Clone, Debug)]
pub struct Egress {
    way: WayOut,
    /// The place that the way was read from.
    source: Source,
    bypass: Arc<[BypassRule]>,
}

/// The way to one origin.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum WayOut {
    /// A connection to the origin itself.
    Straight,
    /// A tunnel that a proxy opens.
    Through(Arc<Proxy>),
    /// No way, for this reason: the proxy's URL could not be read, and a connection past the proxy
    /// would break the rules of the site; or nothing proves the host.
    Closed(Arc<str>),
}

/// The place that a way was read from, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The absence of a proxy in configuration and environment.
    Nothing,
    /// A variable of the environment.
    Variable(&'static str),
    /// `egress.proxy`, with the reference as it is written.
    Reference(Arc<str>),
    /// The authorities of a provider, which cannot be used: nothing proves the hosts.
    Authorities,
}

impl Egress {
    /// Makes an egress without a proxy.
    #[must_use]
    pub fn straight() -> Self {
        Self {
            way: WayOut::Straight,
            source: Source::Nothing,
            bypass: Arc::default(),
        }
    }

    /// Makes the egress that `HTTPS_PROXY` and `NO_PROXY` set, in either case of letters.
    ///
    /// # Errors
    /// If the variable has no URL of a proxy.
    pub fn of_environment(
        variable: impl Fn(&str) -> Option<String>,
        no_proxy: &[BypassRule],
    ) -> Result<Self, EnvironmentError> {
        let found = ProxyVariables::read(variable)?;
        let Some((name, proxy)) = found.proxy else {
            return Ok(Self::straight());
        };
        Ok(Self {
            way: WayOut::Through(Arc::new(proxy)),
            source: Source::Variable(name),
            bypass: found.bypass.iter().chain(no_proxy).cloned().collect(),
        })
    }

    /// Makes the egress through the proxy of a URL that a reference names.
    ///
    /// # Errors
    /// If the value is no URL of a proxy.
    pub fn of_reference(
        reference: &str,
        url: &Secret,
        no_proxy: &[BypassRule],
    ) -> Result<Self, ProxyUrlError> {
        #[expect(
            clippy::disallowed_methods,
            reason = "the proxy keeps its own credentials, and is sent nothing else"
        )]
        let proxy = Proxy::parse(url.expose())?;
        Ok(Self {
            way: WayOut::Through(Arc::new(proxy)),
            source: Source::Reference(reference.into()),
            bypass: no_proxy.into(),
        })
    }

    /// Makes the egress of a reference without a readable URL: only hosts of `no_proxy` are
    /// reached.
    #[must_use]
    pub fn closed(reference: &str, reason: &str, no_proxy: &[BypassRule]) -> Self {
        Self {
            way: WayOut::Closed(reason.into()),
            source: Source::Reference(reference.into()),
            bypass: no_proxy.into(),
        }
    }

    /// Makes the egress to hosts that nothing proves, for the given reason: no host is reached.
    #[must_use]
    pub fn shut(reason: &str) -> Self {
        Self {
            way: WayOut::Closed(reason.into()),
            source: Source::Authorities,
            bypass: Arc::default(),
        }
    }

    /// Returns this egress with other hosts that are reached without the proxy.
    #[must_use]
    pub fn with_bypass(&self, no_proxy: &[BypassRule]) -> Self {
        Self {
            bypass: no_proxy.into(),
            ..self.clone()
        }
    }

    /// Returns the way to an origin. Loopback never lies behind a proxy, and without TLS nothing
    /// leaves the site: only a receiver of telemetry may stand at `http://` on another machine.
    #[must_use]
    pub fn way_to(&self, origin: &Origin) -> WayOut {
        if self.source == Source::Authorities {
            return self.way.clone();
        }
        let is_bypassed = || self.bypass.iter().any(|rule| rule.covers(origin));
        if !origin.tls || is_loopback(&origin.host) || is_bypassed() {
            return WayOut::Straight;
        }
        self.way.clone()
    }

    /// Returns the proxy without credentials, `http://HOST:PORT`, if there is one.
    #[must_use]
    pub fn proxy(&self) -> Option<&Arc<Proxy>> {
        match &self.way {
            WayOut::Through(proxy) => Some(proxy),
            WayOut::Straight | WayOut::Closed(_) => None,
        }
    }

    /// Returns the reason why there is no way out, if the proxy's URL could not be read.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        match &self.way {
            WayOut::Closed(reason) => Some(reason),
            WayOut::Straight | WayOut::Through(_) => None,
        }
    }

    /// Returns the place that the way was read from.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Returns the number of rules about hosts that are reached without the proxy.
    #[must_use]
    pub fn bypass(&self) -> &[BypassRule] {
        &self.bypass
    }

    /// True if connections of `other` take the same ways.
    #[must_use]
    pub fn leads_as(&self, other: &Self) -> bool {
        self.way == other.way && self.bypass == other.bypass
    }
}

impl Default for Egress {
    fn default() -> Self {
        Self::straight()
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("no proxy"),
            Self::Variable(name) => f.write_str(name),
            Self::Reference(reference) => f.write_str(reference),
            Self::Authorities => f.write_str("ca"),
        }
    }
}

/// The way out in one line, for people.
impl fmt::Display for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.way {
            WayOut::Straight => f.write_str("straight, without a proxy"),
            WayOut::Through(proxy) => write!(f, "through {proxy} ({})", self.source),
            WayOut::Closed(reason) => write!(f, "closed: `{}`: {reason}", self.source),
        }
    }
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']).trim_end_matches('.');
    let is_name = host == "localhost" || host.ends_with(".localhost");
    let address = host.parse();
    is_name || address.is_ok_and(|address: IpAddr| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    fn through(url: &str, no_proxy: &[&str]) -> Egress {
        let url = Secret::parse(Zeroizing::new(url.as_bytes().to_vec())).unwrap();
        let rules: Vec<_> = no_proxy.iter().map(|rule| rule.parse().unwrap()).collect();
        Egress::of_reference("env:P", &url, &rules).unwrap()
    }

    #[test]
    fn every_origin_but_loopback_and_the_named_lies_behind_the_proxy() {
        let egress = through("http://proxy.corp:3128", &["vault.corp"]);
        for (origin, expected) in [
            ("https://graph.facebook.com", true),
            ("https://vault.corp:8200", false),
            ("https://localhost:8443", false),
            ("https://graph.localhost", false),
            ("https://127.0.0.9", false),
            ("https://[::1]:8443", false),
            ("http://127.0.0.1:8080", false),
            ("https://10.0.0.1", true),
        ] {
            let way = egress.way_to(&origin.parse().unwrap());
            assert_eq!(way != WayOut::Straight, expected, "{origin}");
        }
    }

    #[test]
    fn an_unreadable_url_closes_the_way_and_opens_no_other() {
        let rules = ["vault.corp".parse().unwrap()];
        let egress = Egress::closed("file:/p", "the file is empty", &rules);
        let to = |origin: &str| egress.way_to(&origin.parse().unwrap());
        assert!(matches!(
            to("https://graph.facebook.com"),
            WayOut::Closed(_)
        ));
        assert_eq!(to("https://vault.corp"), WayOut::Straight);
    }

    #[test]
    fn ways_are_equal_by_the_whole_url() {
        let way = |url: &str| through(url, &[]).way_to(&"https://a.example".parse().unwrap());
        assert_eq!(way("http://u:p@proxy:3128"), way("http://u:p@proxy:3128"));
        assert_ne!(way("http://u:p@proxy:3128"), way("http://u:q@proxy:3128"));
        assert_ne!(way("http://proxy:3128"), way("https://proxy:3128"));
    }

    #[test]
    fn nothing_that_is_shown_has_the_password() {
        let egress = through("http://user:hunter2@proxy.corp:3128", &[]);
        let shown = format!("{egress} {egress:?}");
        assert!(shown.contains("http://proxy.corp:3128"), "{shown}");
        assert!(
            !shown.contains("hunter2") && !shown.contains("user"),
            "{shown}"
        );
    }
}
