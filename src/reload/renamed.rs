//! Credentials under a new name in a configuration: a new name makes no new account, so all
//! knowledge of the secrets goes along.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Live;
use crate::config::{Config, CredentialConfig};
use crate::credential::Credential;

/// The credentials of the load before, under the names of now.
pub(super) type EarlierCredentials = BTreeMap<String, Arc<Credential>>;

/// Returns the credentials of the load `before`, under the names that `config` has for them.
pub(super) fn earlier_of(config: &Config, before: Option<&Live>) -> EarlierCredentials {
    let Some(before) = before else {
        return EarlierCredentials::new();
    };
    let mut earlier = before.credentials.clone();
    for (old, new) in renames(&before.config.credentials, &config.credentials) {
        if let Some(credential) = earlier.remove(old) {
            earlier.insert(new.to_owned(), Arc::new(credential.renamed(new)));
        }
    }
    earlier
}

/// Returns the old and the new name of each credential that a new credential with equal provider
/// and references has replaced.
fn renames<'c>(
    before: &'c BTreeMap<String, CredentialConfig>,
    now: &'c BTreeMap<String, CredentialConfig>,
) -> BTreeMap<&'c str, &'c str> {
    let gone = before.iter().filter(|(name, _)| !now.contains_key(*name));
    let mut renames = BTreeMap::new();
    for (old, earlier) in gone {
        let mut new = now.iter().filter(|(name, now)| {
            !before.contains_key(*name)
                && now.provider.name == earlier.provider.name
                && now.secrets == earlier.secrets
        });
        // Between two names, the earlier name cannot be told.
        if let (Some((new, _)), None) = (new.next(), new.next()) {
            renames.insert(old.as_str(), new.as_str());
        }
    }
    renames
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(accounts: &[(&str, &str)]) -> BTreeMap<String, CredentialConfig> {
        let tables = accounts.iter().map(|(name, file)| {
            format!(
                "[credential.{name}]\nprovider = \"meta\"\ntoken = \"file:/{file}\"\n\
                 [[route]]\ncredential = \"{name}\"\npath = \"/{name}\"\n"
            )
        });
        let text = tables.collect::<String>();
        Config::parse(&text, "f").unwrap().credentials
    }

    #[test]
    fn a_name_is_followed_by_its_references_if_there_is_one_new_name_alone() {
        let before = credentials(&[("a", "one"), ("b", "two")]);
        type Accounts = &'static [(&'static str, &'static str)];
        let cases: [(Accounts, &[(&str, &str)]); 6] = [
            (&[("a", "one"), ("b", "two")], &[]),
            (&[("c", "one"), ("b", "two")], &[("a", "c")]),
            (&[("c", "one"), ("d", "two")], &[("a", "c"), ("b", "d")]),
            (&[("c", "one"), ("d", "one"), ("b", "two")], &[]),
            (&[("a", "one"), ("b", "two"), ("c", "one")], &[]),
            (&[("c", "three"), ("b", "two")], &[]),
        ];
        for (now, expected) in cases {
            let named = credentials(now);
            let renames = renames(&before, &named);
            let expected = BTreeMap::from_iter(expected.iter().copied());
            assert_eq!(renames, expected, "{now:?}");
        }
    }
}
