//! What a reload has changed, in words.

use std::collections::HashSet;
use std::path::PathBuf;

use super::Live;
use crate::credential::Credential;

/// The secrets that differ: credential, secret, and what happened in words.
pub(super) fn rotated(before: &Live, live: &Live) -> Vec<(String, String, String)> {
    let mut all = Vec::new();
    for (name, credential) in &live.credentials {
        let Some(old) = before.credentials.get(name) else { continue };
        for secret in credential.changed_since(old) {
            let fingerprint = |credential: &Credential| {
                credential
                    .slots()
                    .get(secret)
                    .map_or_else(|| "none".to_owned(), |slot| slot.current.fingerprint().to_string())
            };
            all.push((name.clone(), secret.to_owned(), format!("{} -> {}", fingerprint(old), fingerprint(credential))));
        }
    }
    all
}

/// What a reload changed, for people.
pub(super) fn changes(before: &Live, live: &Live) -> Vec<String> {
    let mut all: Vec<_> = rotated(before, live)
        .into_iter()
        .map(|(credential, secret, how)| format!("credential {credential}: {secret} {how}"))
        .collect();
    let names = |live: &Live| -> (HashSet<String>, HashSet<String>) {
        (
            live.credentials.keys().cloned().collect(),
            live.config.routes.iter().map(|route| route.name.clone()).collect(),
        )
    };
    let ((old_credentials, old_routes), (credentials, routes)) = (names(before), names(live));
    for (what, old, new) in [("credential", old_credentials, credentials), ("route", old_routes, routes)] {
        all.extend(new.difference(&old).map(|name| format!("{what} {name}: added")));
        all.extend(old.difference(&new).map(|name| format!("{what} {name}: removed")));
    }
    for route in &live.config.routes {
        if let Some(old) = before.config.routes.iter().find(|old| old.name == route.name)
            && old != route
        {
            all.push(format!("route {}: changed", route.name));
        }
    }
    if all.is_empty() {
        let is_changed = |path: &&PathBuf| before.digests.get(*path) != live.digests.get(*path);
        all.extend(live.digests.keys().filter(is_changed).map(|path| format!("{}: changed", path.display())));
    }
    all.sort();
    all
}
