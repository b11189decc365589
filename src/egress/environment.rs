//! The variables by which programs find a proxy: `HTTPS_PROXY` and `NO_PROXY`.

use std::fmt;

use super::proxy::{Proxy, ProxyUrlError};
use crate::config::BypassRule;

/// The proxy of the environment.
pub(super) struct ProxyVariables {
    /// The proxy, with the name of its variable.
    pub(super) proxy: Option<(&'static str, Proxy)>,
    pub(super) bypass: Vec<BypassRule>,
}

/// The fault of a variable. The message never shows the value.
#[derive(Debug, PartialEq, Eq)]
pub struct EnvironmentError {
    variable: &'static str,
    error: ProxyUrlError,
}

impl ProxyVariables {
    /// Reads the variables. A name in lower case goes before the same name in upper case, as in
    /// curl; an empty variable is none. Unreadable entries of `NO_PROXY`, which other programs may
    /// understand, are skipped.
    pub(super) fn read(
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, EnvironmentError> {
        let first = |names: [&'static str; 2]| {
            names.into_iter().find_map(|name| {
                let value = variable(name)?;
                (!value.trim().is_empty()).then_some((name, value))
            })
        };
        let proxy = first(["https_proxy", "HTTPS_PROXY"])
            .map(|(name, url)| match Proxy::parse(&url) {
                Ok(proxy) => Ok((name, proxy)),
                Err(error) => Err(EnvironmentError {
                    variable: name,
                    error,
                }),
            })
            .transpose()?;
        let listed = first(["no_proxy", "NO_PROXY"]).map(|(_, list)| list);
        let bypass = listed
            .unwrap_or_default()
            .split([',', ' '])
            .filter_map(|entry| entry.parse().ok())
            .collect();
        Ok(Self { proxy, bypass })
    }
}

impl fmt::Display for EnvironmentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}; `proxy = \"off\"` in [egress] ignores the variable",
            self.variable, self.error
        )
    }
}

impl std::error::Error for EnvironmentError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<ProxyVariables, EnvironmentError> {
        ProxyVariables::read(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_lower_case_goes_first_and_an_empty_variable_is_none() {
        for (variables, expected) in [
            (&[][..], None),
            (
                &[("HTTPS_PROXY", "http://up:1")],
                Some(("HTTPS_PROXY", "http://up:1")),
            ),
            (
                &[("https_proxy", "low:2")],
                Some(("https_proxy", "http://low:2")),
            ),
            (
                &[
                    ("HTTPS_PROXY", "http://up:1"),
                    ("https_proxy", "http://low:2"),
                ],
                Some(("https_proxy", "http://low:2")),
            ),
            (
                &[("HTTPS_PROXY", "http://up:1"), ("https_proxy", " ")],
                Some(("HTTPS_PROXY", "http://up:1")),
            ),
            (
                &[("HTTP_PROXY", "http://up:1"), ("ALL_PROXY", "http://up:1")],
                None,
            ),
        ] {
            let proxy = read(variables).unwrap().proxy;
            let found = proxy.map(|(name, proxy)| (name, proxy.to_string()));
            let found = found.as_ref().map(|(name, proxy)| (*name, proxy.as_str()));
            assert_eq!(found, expected, "{variables:?}");
        }
    }

    #[test]
    fn entries_of_no_proxy_are_separated_by_commas_or_spaces_and_skipped_if_unreadable() {
        let listed = |list| {
            let variables = [("HTTPS_PROXY", "http://up:1"), ("NO_PROXY", list)];
            read(&variables).unwrap().bypass.len()
        };
        assert_eq!(listed(".corp, 10.0.0.0/8 host:8443,,http://x"), 3);
        assert_eq!(listed("*"), 1);
        assert_eq!(listed(""), 0);
    }

    #[test]
    fn a_fault_names_the_variable_and_no_value() {
        let error = read(&[("HTTPS_PROXY", "socks5://hunter2@proxy:1080")])
            .err()
            .unwrap();
        let shown = error.to_string();
        assert!(
            shown.starts_with("HTTPS_PROXY: ") && !shown.contains("hunter2"),
            "{shown}"
        );
    }
}
