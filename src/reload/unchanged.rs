//! Files that a reload need not read again: their metadata proves the content unchanged.

use std::collections::BTreeSet;

use super::Live;
use crate::config::Reference;
use crate::credential::Credential;
use crate::credential::source::{SeenFiles, path_of};

/// True if nobody has touched the files of the configuration since a load.
pub(super) fn is_same_text(before: &Live) -> bool {
    let seen = before.files.load();
    let mut files = before.config_files.iter();
    !before.config_files.is_empty() && files.all(|path| seen.is_unchanged(path))
}

/// Returns the credentials whose secrets cannot have changed since a load: all secrets come from
/// untouched files and from the environment, which never changes.
pub(super) fn unchanged_credentials(before: &Live) -> BTreeSet<String> {
    let seen = before.files.load();
    let whole = before
        .credentials
        .iter()
        .filter(|(_, credential)| is_whole(credential));
    whole
        .filter(|(name, _)| {
            let config = before.config.credentials.get(*name);
            config.is_some_and(|config| {
                let mut references = config.secrets.values().flatten();
                references.all(|reference| is_untouched(&seen, reference))
            })
        })
        .map(|(name, _)| name.clone())
        .collect()
}

/// True if a further reading of equal sources could bring no new value.
fn is_whole(credential: &Credential) -> bool {
    !credential.is_incomplete()
}

fn is_untouched(seen: &SeenFiles, reference: &Reference) -> bool {
    match (reference, path_of(reference)) {
        (Reference::Env(_), _) => true,
        (_, Some(path)) => seen.is_unchanged(&path),
        (_, None) => false,
    }
}
