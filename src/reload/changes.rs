//! The changes that a reload has made.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Live;
use crate::config::{RouteConfig, WebhookConfig};
use crate::credential::source::path_of;
use crate::secret::Fingerprint;

/// A change made by a reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The current value of a secret was replaced.
    Secret(ReplacedSecret),
    /// A credential, route or webhook was added.
    Added {
        /// "credential", "route" or "webhook".
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// A credential, route or webhook was removed.
    Removed {
        /// "credential", "route" or "webhook".
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// The settings of a route or webhook were changed.
    Settings {
        /// "route" or "webhook".
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// The content of a file was changed, without an effect that has a name.
    File(PathBuf),
}

/// A secret whose current value was replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplacedSecret {
    /// The name of the credential.
    pub credential: String,
    /// The name of the secret.
    pub secret: String,
    old: Option<Fingerprint>,
    new: Option<Fingerprint>,
}

impl ReplacedSecret {
    /// Returns the fingerprints before and after, as "OLD -> NEW".
    #[must_use]
    pub fn fingerprints(&self) -> String {
        let shown = |fingerprint: Option<Fingerprint>| {
            fingerprint.map_or_else(|| "none".to_owned(), |fingerprint| fingerprint.to_string())
        };
        format!("{} -> {}", shown(self.old), shown(self.new))
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(replaced) => write!(
                f,
                "credential {}: {} {}",
                replaced.credential,
                replaced.secret,
                replaced.fingerprints()
            ),
            Self::Added { kind, name } => write!(f, "{kind} {name}: added"),
            Self::Removed { kind, name } => write!(f, "{kind} {name}: removed"),
            Self::Settings { kind, name } => write!(f, "{kind} {name}: changed"),
            Self::File(path) => write!(f, "{}: changed", path.display()),
        }
    }
}

/// The differences between two loads.
#[derive(Default)]
pub(super) struct Comparison {
    pub(super) replaced: Vec<ReplacedSecret>,
    pub(super) changes: Vec<Change>,
    /// A line for each secret that the later load keeps back.
    pub(super) kept_back: Vec<String>,
}

impl Comparison {
    /// Compares two loads on a thread of its own, which also frees the load before: with thousands
    /// of routes, both take longer than a request may be held up.
    pub(super) async fn aside(before: Arc<Live>, live: Arc<Live>) -> Self {
        let compare = move || Self {
            replaced: replaced_secrets(&before, &live),
            changes: changes(&before, &live),
            kept_back: live.kept_back(),
        };
        tokio::task::spawn_blocking(compare)
            .await
            .unwrap_or_default()
    }
}

/// Returns the secrets whose current value differs, of credentials that both loads have.
fn replaced_secrets(before: &Live, live: &Live) -> Vec<ReplacedSecret> {
    let mut all = Vec::new();
    for (name, credential) in &live.credentials {
        let Some(old) = before.credentials.get(name) else {
            continue;
        };
        if Arc::ptr_eq(old, credential) {
            continue;
        }
        for secret in credential.changed_since(old) {
            all.push(ReplacedSecret {
                credential: name.clone(),
                secret: secret.to_owned(),
                old: old.fingerprint_of(secret),
                new: credential.fingerprint_of(secret),
            });
        }
    }
    all
}

/// Returns everything that a reload has changed, in the order of the texts.
fn changes(before: &Live, live: &Live) -> Vec<Change> {
    let mut all: Vec<_> = replaced_secrets(before, live)
        .into_iter()
        .map(Change::Secret)
        .collect();
    if !Arc::ptr_eq(&before.config, &live.config) {
        all.extend(changes_of_configuration(before, live));
    }
    if all.is_empty() {
        let now = live.files.load();
        let then = before.files.load();
        all.extend(
            now.paths()
                .filter(|path| now.differs(&then, path))
                .filter(|path| !has_unused_secret(live, path) && !live.has_kept_file(path))
                .map(|path| Change::File(path.to_owned())),
        );
    }
    all.sort_by_cached_key(ToString::to_string);
    all
}

/// Returns the credentials, routes and webhooks that a reload has added, removed or changed.
fn changes_of_configuration(before: &Live, live: &Live) -> Vec<Change> {
    let mut all = added_and_removed(
        "credential",
        &before.credentials.keys().map(String::as_str).collect(),
        &live.credentials.keys().map(String::as_str).collect(),
    );
    all.extend(changes_of("route", &routes(before), &routes(live)));
    all.extend(changes_of("webhook", &webhooks(before), &webhooks(live)));
    all
}

fn routes(live: &Live) -> BTreeMap<&str, &RouteConfig> {
    let routes = live.config.routes.iter();
    routes.map(|route| (route.name.as_str(), route)).collect()
}

fn webhooks(live: &Live) -> BTreeMap<&str, &WebhookConfig> {
    let webhooks = live.config.webhooks.iter();
    webhooks
        .map(|webhook| (webhook.name.as_str(), webhook))
        .collect()
}

/// Returns the entries of one kind that were added, removed or changed.
fn changes_of<T: PartialEq>(
    kind: &'static str,
    old: &BTreeMap<&str, &T>,
    new: &BTreeMap<&str, &T>,
) -> Vec<Change> {
    let mut all = added_and_removed(
        kind,
        &old.keys().copied().collect(),
        &new.keys().copied().collect(),
    );
    let is_changed = |name: &str, now: &T| old.get(name).is_some_and(|then| *then != now);
    let changed = new.iter().filter(|(name, now)| is_changed(name, now));
    all.extend(changed.map(|(name, _)| Change::Settings {
        kind,
        name: (*name).to_owned(),
    }));
    all
}

/// True if the file belongs to a credential whose newer secrets are kept back: its content has no
/// effect.
fn has_unused_secret(live: &Live, path: &Path) -> bool {
    live.credentials
        .values()
        .filter(|credential| credential.kept_back().is_some())
        .filter_map(|credential| live.config.credentials.get(&credential.name))
        .flat_map(|config| config.secrets.values().flatten())
        .any(|reference| path_of(reference).is_some_and(|file| file == path))
}

fn added_and_removed(
    kind: &'static str,
    old: &BTreeSet<&str>,
    new: &BTreeSet<&str>,
) -> Vec<Change> {
    let added = new.difference(old).map(|name| Change::Added {
        kind,
        name: (*name).to_owned(),
    });
    let removed = old.difference(new).map(|name| Change::Removed {
        kind,
        name: (*name).to_owned(),
    });
    added.chain(removed).collect()
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;
    use crate::secret::Secret;

    #[test]
    fn names_that_only_one_load_has_are_added_or_removed() {
        for (old, new, expected) in [
            (vec![], vec![], vec![]),
            (vec!["a"], vec!["a"], vec![]),
            (vec![], vec!["a"], vec!["route a: added"]),
            (vec!["a"], vec![], vec!["route a: removed"]),
            (
                vec!["a", "b"],
                vec!["b", "c"],
                vec!["route c: added", "route a: removed"],
            ),
        ] {
            let changes = added_and_removed(
                "route",
                &old.iter().copied().collect(),
                &new.iter().copied().collect(),
            );
            let texts: Vec<_> = changes.iter().map(ToString::to_string).collect();
            assert_eq!(texts, expected, "{old:?} -> {new:?}");
        }
    }

    #[test]
    fn entries_whose_settings_differ_are_changed() {
        let old = BTreeMap::from([("same", &1), ("gone", &1), ("other", &1)]);
        let new = BTreeMap::from([("same", &1), ("new", &1), ("other", &2)]);
        let changes = changes_of("webhook", &old, &new);
        let texts: Vec<_> = changes.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "webhook new: added",
                "webhook gone: removed",
                "webhook other: changed"
            ]
        );
    }

    #[test]
    fn a_replaced_secret_shows_fingerprints_and_no_value() {
        let secret = Secret::parse(Zeroizing::new(b"EAAsecret".to_vec())).unwrap();
        let change = Change::Secret(ReplacedSecret {
            credential: "acme".to_owned(),
            secret: "token".to_owned(),
            old: None,
            new: Some(secret.fingerprint()),
        });
        let expected = format!("credential acme: token none -> {}", secret.fingerprint());
        assert_eq!(change.to_string(), expected);
    }
}
