//! Hosts that are reached without the proxy, as `no_proxy` and the variable `NO_PROXY` name them.

use std::net::IpAddr;
use std::str::FromStr;

use crate::document::Malformed;
use crate::provider::{Network, Origin};

/// An entry of `no_proxy`: `*`, a host with all hosts below it, an address or a network, each
/// perhaps with a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BypassRule {
    hosts: BypassedHosts,
    /// The only port that the rule is about; `None` for every port.
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum BypassedHosts {
    All,
    /// A host in lower case, without a dot at either end, and all hosts below it.
    Below(String),
    Network(Network),
}

impl BypassRule {
    /// Returns the rule for clients that know no ports in such rules: the host without its port, if
    /// the rule covers `port`.
    #[must_use]
    pub fn without_port(&self, port: u16) -> Option<String> {
        if self.port.is_some_and(|own| own != port) {
            return None;
        }
        Some(match &self.hosts {
            BypassedHosts::All => "*".to_owned(),
            BypassedHosts::Below(name) => name.clone(),
            BypassedHosts::Network(network) => network.to_string(),
        })
    }

    /// Returns true if the rule names the host and the port of an origin. Names are never resolved:
    /// a network covers only origins that are written as addresses.
    #[must_use]
    pub fn covers(&self, origin: &Origin) -> bool {
        if self.port.is_some_and(|port| port != origin.port) {
            return false;
        }
        match &self.hosts {
            BypassedHosts::All => true,
            BypassedHosts::Below(name) => {
                let host = origin.host.trim_end_matches('.');
                host.strip_suffix(name.as_str())
                    .is_some_and(|before| before.is_empty() || before.ends_with('.'))
            }
            BypassedHosts::Network(network) => {
                let address = origin.host.trim_matches(['[', ']']).parse();
                address.is_ok_and(|address: IpAddr| network.contains(address))
            }
        }
    }
}

impl FromStr for BypassRule {
    type Err = Malformed;

    /// Reads an entry as curl, Go and Python do: a dot or `*.` in front of a host changes nothing.
    fn from_str(text: &str) -> Result<Self, Malformed> {
        let text = text.trim();
        if text == "*" {
            return Ok(Self {
                hosts: BypassedHosts::All,
                port: None,
            });
        }
        if let Ok(network) = text.parse() {
            return Ok(Self {
                hosts: BypassedHosts::Network(network),
                port: None,
            });
        }
        let (host, port) = match text.rsplit_once(':') {
            // The last colon of an IPv6 address stands inside the brackets.
            Some((host, port)) if !port.ends_with(']') => {
                let port = port.parse().map_err(|_| NOT_A_RULE)?;
                (host, Some(port))
            }
            _ => (text, None),
        };
        let address = host.strip_prefix('[').and_then(|v6| v6.strip_suffix(']'));
        let hosts = match address.unwrap_or(host).parse::<IpAddr>() {
            Ok(address) => BypassedHosts::Network(Network::from(address)),
            Err(_) => BypassedHosts::Below(name(host)?),
        };
        Ok(Self { hosts, port })
    }
}

fn name(host: &str) -> Result<String, Malformed> {
    let bare = host.strip_prefix('*').unwrap_or(host).trim_matches('.');
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if bare.is_empty() || !bare.chars().all(plain) {
        return Err(NOT_A_RULE);
    }
    Ok(bare.to_ascii_lowercase())
}

const NOT_A_RULE: Malformed = Malformed::new(
    "not a host, expected one such as \"example.com\", \".example.com\", \"10.0.0.0/8\", \"host:8443\" or \"*\"",
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_covers_a_host_and_all_below_it_an_address_or_a_network() {
        for (rule, origin, expected) in [
            ("*", "https://graph.facebook.com", true),
            ("facebook.com", "https://facebook.com", true),
            ("facebook.com", "https://graph.facebook.com", true),
            (".facebook.com", "https://graph.facebook.com", true),
            (".facebook.com", "https://facebook.com", true),
            ("*.facebook.com", "https://graph.facebook.com", true),
            ("FaceBook.com.", "https://graph.facebook.com", true),
            ("facebook.com", "https://notfacebook.com", false),
            ("graph.facebook.com", "https://facebook.com", false),
            ("facebook.com:443", "https://graph.facebook.com", true),
            ("facebook.com:8443", "https://graph.facebook.com", false),
            ("facebook.com:8443", "https://facebook.com:8443", true),
            ("10.0.0.0/8", "https://10.2.3.4", true),
            ("10.0.0.0/8", "https://11.2.3.4", false),
            ("10.0.0.0/8", "https://ten.example", false),
            ("10.2.3.4", "https://10.2.3.4:8443", true),
            ("10.2.3.4:443", "https://10.2.3.4:8443", false),
            ("2001:db8::/32", "https://[2001:db8::7]", true),
            ("[2001:db8::7]", "https://[2001:db8::7]:8443", true),
            ("[2001:db8::7]:8443", "https://[2001:db8::7]:8443", true),
            ("[2001:db8::7]:8443", "https://[2001:db8::7]", false),
            ("2001:db8::7", "https://[2001:db8::8]", false),
        ] {
            let parsed: BypassRule = rule.parse().unwrap();
            assert_eq!(
                parsed.covers(&origin.parse().unwrap()),
                expected,
                "{rule} {origin}"
            );
        }
    }

    #[test]
    fn a_rule_without_its_port_is_for_that_port_alone() {
        for (rule, port, expected) in [
            ("*", 443, Some("*")),
            (".corp.example", 443, Some("corp.example")),
            ("corp.example:443", 443, Some("corp.example")),
            ("corp.example:8443", 443, None),
            ("10.0.0.0/8", 443, Some("10.0.0.0/8")),
            ("[2001:db8::1]:443", 443, Some("2001:db8::1/128")),
        ] {
            let rule: BypassRule = rule.parse().unwrap();
            assert_eq!(rule.without_port(port).as_deref(), expected, "{rule:?}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for text in [
            "",
            ".",
            "*.",
            "http://a",
            "a/b",
            "a:b",
            "a:99999",
            "[::1",
            "10.0.0.0/40",
        ] {
            assert!(text.parse::<BypassRule>().is_err(), "{text}");
        }
    }
}
