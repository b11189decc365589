//! The place to which links in answers lead: back to Keyside, by the name under which the
//! application called.

use std::borrow::Cow;

use http::request::Parts;
use http::{HeaderMap, HeaderName, header};

use super::hosts::host_of;
use super::policy::Permit;
use crate::listener::Link;
use crate::provider::{Network, Provider};

/// The rules of the configuration for links in answers.
#[derive(Debug, Default)]
pub struct LinkRules {
    /// Scheme and host of all links: `[outbound] public_origin`.
    pub public_origin: Option<String>,
    /// The peers, besides loopback, whose `X-Forwarded-Proto` and `X-Forwarded-Host` are believed.
    pub trusted_proxies: Vec<Network>,
}

/// The place to which the links of one answer lead.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LinkBase {
    /// The application called the provider by its own name: scheme and host of each link stay, and
    /// the path of the route is put in. An empty path changes no link.
    Provider {
        /// The path of the route, as in [`Permit::link_path`].
        path: String,
    },
    /// The application called Keyside by a name of Keyside's own.
    Keyside {
        /// Scheme, host, and the path of the route.
        origin: String,
    },
}

impl LinkBase {
    /// Returns the base for the links of a request's answer.
    pub(super) fn of(permit: &Permit<'_>, request: &Parts, link: &Link, rules: &LinkRules) -> Self {
        let origin = LinkOrigin::of(request, link, rules);
        origin.base(permit.link_path(), permit.provider(), rules)
    }

    /// True if no link changes.
    pub(super) fn keeps_links(&self) -> bool {
        matches!(self, Self::Provider { path } if path.is_empty())
    }

    /// Returns a URL of one of the provider's hosts, led to the base; `None` for another URL, and
    /// for a URL that stays.
    pub(super) fn relocated(&self, url: &str, provider: &Provider) -> Option<String> {
        let (scheme, rest) = url.split_once("://")?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at_checked(end)?;
        if !provider.origins().any(|origin| origin.is_at(authority)) {
            return None;
        }
        match self {
            Self::Provider { path } if path.is_empty() => None,
            Self::Provider { path } => Some(format!("{scheme}://{authority}{path}{target}")),
            Self::Keyside { origin } => Some(format!("{origin}{target}")),
        }
    }
}

/// The origin by which an application called, as far as its request tells.
#[derive(Debug, PartialEq, Eq)]
struct LinkOrigin<'r> {
    scheme: &'static str,
    authority: &'r str,
    /// True for a request in absolute form, as a proxy is asked.
    is_proxied: bool,
}

impl<'r> LinkOrigin<'r> {
    /// Reads the origin. A terminator of TLS in front tells the scheme and, if it changes `Host`,
    /// the host.
    fn of(request: &'r Parts, link: &Link, rules: &LinkRules) -> Self {
        let own = if link.is_tls() { "https" } else { "http" };
        let host = request
            .headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok())
            .unwrap_or_default();
        let is_believed = is_believed(link, rules);
        let forwarded = |name| {
            let first = first_of(&request.headers, name);
            first.filter(|_| is_believed)
        };
        let scheme = match forwarded(X_FORWARDED_PROTO) {
            Some("https") => "https",
            Some("http") => "http",
            _ => own,
        };
        let authority = forwarded(X_FORWARDED_HOST)
            .filter(|host| host_of(host).is_some())
            .unwrap_or(host);
        Self {
            scheme,
            authority,
            is_proxied: request.uri.authority().is_some(),
        }
    }

    fn base(&self, path: Cow<'_, str>, provider: &Provider, rules: &LinkRules) -> LinkBase {
        let is_provider = provider
            .origins()
            .any(|origin| origin.is_at(self.authority));
        // An application that uses Keyside as its proxy sends no TLS, so that a link with https
        // would lead past Keyside.
        if is_provider && !self.is_proxied {
            return LinkBase::Provider {
                path: path.into_owned(),
            };
        }
        let origin = match &rules.public_origin {
            Some(public) => format!("{public}{path}"),
            None => format!("{}://{}{path}", self.scheme, self.authority),
        };
        LinkBase::Keyside { origin }
    }
}

/// True if the peer is a process of this machine, or a named reverse proxy.
fn is_believed(link: &Link, rules: &LinkRules) -> bool {
    let address = link.peer().ip_or_loopback().to_canonical();
    let is_named = |network: &Network| network.contains(address);
    address.is_loopback() || rules.trusted_proxies.iter().any(is_named)
}

/// Returns the first entry of a list in a header: the entry of the proxy next to the client.
fn first_of(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let value = headers.get(name)?.to_str().ok()?;
    value.split(',').next().map(str::trim)
}

const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::Request;

    use super::*;
    use crate::listener::Peer;
    use crate::provider::presets;

    fn meta() -> Arc<Provider> {
        presets::provider("meta").unwrap()
    }

    /// The text of a link to the media host after relocation.
    fn led(peer: &str, path: &str, headers: &[(&str, &str)], rules: &LinkRules) -> String {
        let mut request = Request::builder().uri("/v23.0/1");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).unwrap().into_parts().0;
        let link = Link::new(Peer::Tcp(peer.parse().unwrap()));
        let base = LinkOrigin::of(&request, &link, rules).base(path.into(), &meta(), rules);
        let url = "https://lookaside.fbsbx.com/whatsapp_business/attachments/?mid=1";
        base.relocated(url, &meta())
            .unwrap_or_else(|| "kept".to_owned())
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn a_link_leads_to_the_name_by_which_the_application_called() {
        const END: &str = "/whatsapp_business/attachments/?mid=1";
        let none = LinkRules::default();
        let named = LinkRules {
            public_origin: None,
            trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
        };
        let public = LinkRules {
            public_origin: Some("https://wa.example.com".to_owned()),
            trusted_proxies: Vec::new(),
        };
        let near = "127.0.0.1:5000";
        let far = "10.0.0.9:5000";
        let host = ("host", "localhost:8080");
        let https = ("x-forwarded-proto", "https");
        let front = ("x-forwarded-host", "front.test, inner.test");
        let own = ("host", "graph.facebook.com");
        for (peer, path, headers, rules, expected) in [
            (near, "", &[host][..], &none, "http://localhost:8080"),
            (near, "/acme", &[host], &none, "http://localhost:8080/acme"),
            (near, "", &[host, https], &none, "https://localhost:8080"),
            (near, "", &[host, https, front], &none, "https://front.test"),
            (
                far,
                "",
                &[host, https, front],
                &none,
                "http://localhost:8080",
            ),
            (far, "", &[host, https, front], &named, "https://front.test"),
            (
                near,
                "",
                &[host, ("x-forwarded-proto", "gopher")],
                &none,
                "http://localhost:8080",
            ),
            (
                near,
                "",
                &[host, ("x-forwarded-host", "a@b")],
                &none,
                "http://localhost:8080",
            ),
            (
                near,
                "",
                &[host, https, front],
                &public,
                "https://wa.example.com",
            ),
            (
                near,
                "/acme",
                &[host],
                &public,
                "https://wa.example.com/acme",
            ),
            (near, "", &[own], &none, "kept"),
            (near, "", &[own, https], &public, "kept"),
            (
                near,
                "",
                &[("host", "GRAPH.facebook.com:443")],
                &none,
                "kept",
            ),
            (
                near,
                "",
                &[host, ("x-forwarded-host", "graph.facebook.com")],
                &none,
                "kept",
            ),
            (
                near,
                "/acme",
                &[own],
                &none,
                "https://lookaside.fbsbx.com/acme",
            ),
            (
                near,
                "",
                &[("host", "graph.facebook.com:8443")],
                &none,
                "http://graph.facebook.com:8443",
            ),
        ] {
            let found = led(peer, path, headers, rules);
            let expected = match expected {
                "kept" => expected.to_owned(),
                origin => format!("{origin}{END}"),
            };
            assert_eq!(found, expected, "{peer} {path} {headers:?}");
        }
    }

    #[test]
    fn a_link_elsewhere_and_a_link_in_an_own_name_stay() {
        let keyside = LinkBase::Keyside {
            origin: "http://localhost:8080".to_owned(),
        };
        for url in [
            "https://cdn.example.com/a",
            "https://graph.facebook.com.evil.test/a",
            "graph.facebook.com/a",
        ] {
            assert_eq!(keyside.relocated(url, &meta()), None, "{url}");
        }
        let own = LinkBase::Provider {
            path: String::new(),
        };
        assert!(own.keeps_links());
        assert_eq!(own.relocated("https://graph.facebook.com/a", &meta()), None);
    }
}
