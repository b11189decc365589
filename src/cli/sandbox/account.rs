//! The account that a sandbox has: its secrets, in files, and what the provider knows of them.

use std::path::{Path, PathBuf};

use super::files::{Failure, kept, quoted, replace};
use crate::sandbox::{self, Dialect, Key, Kind};

/// An account. It has no `Debug`: the provider's halves are secrets.
pub(super) struct Account {
    /// The file of the secret that requests are made with, and what it is.
    pub(super) file: PathBuf,
    kind: Kind,
    /// What the provider has of that secret.
    pub(super) key: String,
    /// What the provider signs events with.
    pub(super) signing: String,
    /// What Meta's handshake names.
    pub(super) verify_token: String,
    /// The keys of `[credential.NAME]`, with their values in TOML.
    pub(super) credential: Vec<(&'static str, String)>,
}

impl Account {
    /// An account at Meta, or at another provider. What is not there yet is made.
    pub(super) fn new(dir: &Path, provider: Option<&'static Dialect>) -> Result<Account, Failure> {
        let reference = |name| (name, quoted("file:", &dir.join(name)));
        let Some(dialect) = provider else {
            let secret = |name| kept(&dir.join(name), || Ok(sandbox::new_app_secret()));
            return Ok(Account {
                file: dir.join("token"),
                kind: Kind::Text,
                key: kept(&dir.join("token"), || Ok(sandbox::new_token()))?,
                signing: secret("app_secret")?,
                verify_token: secret("verify_token")?,
                credential: ["token", "app_secret", "verify_token"].map(reference).to_vec(),
            });
        };
        let key = providers_half(dir, &dialect.key)?;
        let webhook = dialect.webhook.as_ref();
        let signing = webhook.map(|webhook| providers_half(dir, &webhook.key)).transpose()?;
        for (name, value) in dialect.names {
            replace(&dir.join(name), &format!("{value}\n"))?;
        }
        let mut secrets = vec![dialect.key.name];
        secrets.extend(dialect.names.iter().map(|(name, _)| *name));
        secrets.extend(webhook.map(|webhook| webhook.key.name).filter(|name| *name != dialect.key.name));
        let parameters = dialect.parameters.iter().map(|(name, value)| (*name, format!("\"{value}\"")));
        Ok(Account {
            file: dir.join(dialect.key.name),
            kind: dialect.key.kind,
            key,
            signing: signing.unwrap_or_default(),
            verify_token: String::new(),
            credential: secrets.into_iter().map(reference).chain(parameters).collect(),
        })
    }

    /// What the provider has of the secret that is in the file now. Nothing where that cannot be read: a file that is being
    /// replaced may be missing or empty for a moment.
    pub(super) async fn current_key(&self) -> Option<String> {
        let text = tokio::fs::read_to_string(&self.file).await.ok()?;
        match (self.kind, text.trim()) {
            (_, "") => None,
            (Kind::Rsa, private) => sandbox::public_key(private).ok(),
            (_, text) => Some(text.to_owned()),
        }
    }
}

/// Makes a secret if it is not there, and tells what the provider has of it.
fn providers_half(dir: &Path, key: &Key) -> Result<String, Failure> {
    let file = dir.join(key.name);
    match key.kind {
        Kind::Text => kept(&file, || Ok(sandbox::new_app_secret())),
        Kind::Login => kept(&file, || Ok(format!("sandbox:{}", sandbox::new_app_secret()))),
        Kind::Rsa => {
            let public = sandbox::public_key(&kept(&file, sandbox::new_private_key)?)?;
            replace(&file.with_extension("pub"), &public)?;
            Ok(public)
        }
        Kind::Ed25519 => {
            let seed = kept(&dir.join("seed"), sandbox::new_seed)?;
            replace(&file, &format!("{}\n", sandbox::public_key_of_seed(&seed)?))?;
            Ok(seed)
        }
    }
}
