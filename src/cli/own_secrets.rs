//! The secrets of a configuration outside of credentials, for the scan: keys, and the logins in
//! URLs.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use zeroize::Zeroizing;

use crate::config::{Config, DestinationTarget, EventWay, Reference};
use crate::credential::source::read_all;
use crate::egress::{Egress, Source};
use crate::query;
use crate::reload::Live;
use crate::scan::ConfiguredSecret;
use crate::secret::Secret;

/// A reference outside of credentials, with the key of the configuration.
pub(super) struct OwnReference<'c> {
    key: String,
    pub(super) reference: &'c Reference,
    holds: Holds,
}

/// The secret part of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    /// The value is a key.
    Key,
    /// The value is a URL with a secret login.
    Url,
}

/// Returns every reference of a configuration outside of credentials.
pub(super) fn own_references(config: &Config) -> Vec<OwnReference<'_>> {
    let mut all = Vec::new();
    let mut add = |key: String, reference, holds| {
        all.push(OwnReference {
            key,
            reference,
            holds,
        });
    };
    if let Some(limits) = &config.limits {
        add("limits.redis".to_owned(), &limits.redis, Holds::Url);
    }
    for reference in config.state.iter().flat_map(|state| &state.key) {
        add("state.key".to_owned(), reference, Holds::Key);
    }
    if let Some(reference) = config.egress.reference() {
        add("egress.proxy".to_owned(), reference, Holds::Url);
    }
    for webhook in &config.webhooks {
        for reference in &webhook.sign {
            add(
                format!("webhook.{}.sign", webhook.name),
                reference,
                Holds::Key,
            );
        }
        let to = match &webhook.way {
            EventWay::Direct(_) => &[],
            EventWay::Spooled(to) => to.as_slice(),
        };
        for to in to {
            if let DestinationTarget::Stream(target) = &to.target {
                let key = format!("webhook.{}.to.{}.server", webhook.name, to.name);
                add(key, &target.server, Holds::Url);
            }
        }
    }
    all
}

/// Reads the secrets outside of credentials, and the login of a proxy that the environment sets.
///
/// # Errors
/// A fault for each unreadable reference.
pub(super) async fn own_secrets(live: &Live) -> Result<Vec<ConfiguredSecret>, Vec<OwnSecretFault>> {
    let own = own_references(&live.config);
    let references: BTreeSet<_> = own.iter().map(|own| own.reference.clone()).collect();
    let read = read_all(references, &live.managers).await;
    let mut secrets = of_environment(&live.egress);
    let mut faults = Vec::new();
    for OwnReference {
        key,
        reference,
        holds,
    } in own
    {
        match read.findings.get(reference) {
            Some(Ok(found)) => {
                #[expect(
                    clippy::disallowed_methods,
                    reason = "the scan looks for the value, and prints its fingerprint alone"
                )]
                let value = found.secret.expose();
                let parts = match holds {
                    Holds::Key => vec![Zeroizing::new(key_of(value).to_owned())],
                    Holds::Url => logins(value),
                };
                secrets.extend(parts.iter().filter_map(|part| configured(&key, part)));
            }
            Some(Err(error)) => faults.push(OwnSecretFault::new(key, reference, error.to_string())),
            None => {
                let problem = "the value was not read".to_owned();
                faults.push(OwnSecretFault::new(key, reference, problem));
            }
        }
    }
    if faults.is_empty() {
        Ok(secrets)
    } else {
        Err(faults)
    }
}

/// A reference outside of credentials without a value, with the reason.
#[derive(Debug)]
pub(super) struct OwnSecretFault {
    key: String,
    reference: Reference,
    problem: String,
}

impl OwnSecretFault {
    fn new(key: String, reference: &Reference, problem: String) -> Self {
        Self {
            key,
            reference: reference.clone(),
            problem,
        }
    }
}

impl fmt::Display for OwnSecretFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: `{}`: {}", self.key, self.reference, self.problem)
    }
}

/// Returns the secrets in the URL of a proxy that a variable of the environment sets.
fn of_environment(egress: &Egress) -> Vec<ConfiguredSecret> {
    match (egress.source(), egress.proxy()) {
        (Source::Variable(name), Some(proxy)) => {
            let parts = logins(&proxy.secret_url());
            parts
                .iter()
                .filter_map(|part| configured(name, part))
                .collect()
        }
        _ => Vec::new(),
    }
}

fn configured(key: &str, value: &str) -> Option<ConfiguredSecret> {
    let secret = Secret::parse(Zeroizing::new(value.as_bytes().to_vec())).ok()?;
    Some(ConfiguredSecret {
        kind: key.to_owned(),
        fingerprint: secret.fingerprint(),
        secret: Arc::new(secret),
    })
}

/// Returns a key without the mark in front, which some programs leave out.
fn key_of(value: &str) -> &str {
    value.strip_prefix("whsec_").unwrap_or(value)
}

/// Returns the secrets in a URL: the password, or a token in the place of the user, and the
/// password of Sentinels. A password with escapes is there twice: as written, and as meant.
fn logins(url: &str) -> Vec<Zeroizing<String>> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (rest, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = rest.split('/').next().unwrap_or_default();
    let login = authority.rsplit_once('@').map(|(login, _)| login);
    let password = login.map(|login| login.split_once(':').map_or(login, |(_, it)| it));
    let sentinel = query::fields(parameters)
        .find(|pair| pair.is_named(&["sentinel_password"]))
        .map(|pair| pair.written.split_once('=').map_or("", |(_, value)| value));
    let mut all = Vec::new();
    for written in password.into_iter().chain(sentinel) {
        let meant = percent_decode_str(written).decode_utf8().ok();
        if let Some(meant) = meant.filter(|meant| meant != written) {
            all.push(Zeroizing::new(meant.into_owned()));
        }
        all.push(Zeroizing::new(written.to_owned()));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secrets_of_a_url_are_its_password_or_token_alone() {
        for (url, expected) in [
            ("redis://limits:6379/0", &[][..]),
            ("redis://:pass@limits", &["pass"]),
            ("rediss://user:p%40ss@limits/3", &["p@ss", "p%40ss"]),
            ("nats://token@a,b", &["token"]),
            ("http://user:pass@proxy:3128/", &["pass"]),
            ("user:pass@proxy:3128", &["pass"]),
            (
                "redis+sentinel://:a@s1,s2/main?sentinel_password=b",
                &["a", "b"],
            ),
            ("limits", &[]),
        ] {
            let found = logins(url);
            let found: Vec<_> = found.iter().map(|text| text.as_str()).collect();
            assert_eq!(found, expected, "{url}");
        }
    }
}
