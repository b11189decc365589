//! The account of a sandbox: its secrets in files, and the provider's side of them.

use std::path::{Path, PathBuf};

use keyside_sandbox::{self as sandbox, Dialect, Key, KeyKind};

use super::files::{FileError, read_or_create, replace, toml_string};

/// An account. The type has no `Debug`, so that no secret is printed.
pub(super) struct SandboxAccount {
    /// The file of the secret that authorizes requests.
    pub(super) file: PathBuf,
    kind: KeyKind,
    /// The provider's side of that secret: the secret itself, or the public key.
    pub(super) key: String,
    /// The secret or private key with which the provider signs events.
    pub(super) signing_key: String,
    /// The verify token of Meta's handshake.
    pub(super) verify_token: String,
    /// The keys of `[credential.NAME]`, with their values in TOML.
    pub(super) credential: Vec<(&'static str, String)>,
}

impl SandboxAccount {
    /// Reads the account of Meta or of another provider from a directory. Missing secrets are made.
    pub(super) fn new(dir: &Path, provider: Option<&'static Dialect>) -> Result<Self, FileError> {
        match provider {
            None => Self::of_meta(dir),
            Some(dialect) => Self::of_provider(dir, dialect),
        }
    }

    fn of_meta(dir: &Path) -> Result<Self, FileError> {
        let secret = |name| read_or_create(&dir.join(name), || Ok(sandbox::new_app_secret()));
        let names = ["token", "app_secret", "verify_token"];
        Ok(Self {
            file: dir.join("token"),
            kind: KeyKind::Text,
            key: read_or_create(&dir.join("token"), || Ok(sandbox::new_token()))?,
            signing_key: secret("app_secret")?,
            verify_token: secret("verify_token")?,
            credential: names.map(|name| reference(dir, name)).to_vec(),
        })
    }

    fn of_provider(dir: &Path, dialect: &'static Dialect) -> Result<Self, FileError> {
        let key = providers_half(dir, &dialect.key)?;
        let signing = dialect.events.as_ref();
        let signing_key = match signing {
            Some(signing) => providers_half(dir, &signing.key)?,
            None => String::new(),
        };
        for (name, value) in dialect.names {
            replace(&dir.join(name), &format!("{value}\n"))?;
        }
        let mut files = vec![dialect.key.name];
        files.extend(dialect.names.iter().map(|(name, _)| *name));
        let signing_name = signing.map(|signing| signing.key.name);
        // A provider may sign events with the key of requests: its file is listed already.
        files.extend(signing_name.filter(|name| *name != dialect.key.name));
        let mut credential: Vec<_> = files.iter().map(|name| reference(dir, name)).collect();
        let parameters = dialect.parameters.iter();
        credential.extend(parameters.map(|(name, value)| (*name, format!("\"{value}\""))));
        Ok(Self {
            file: dir.join(dialect.key.name),
            kind: dialect.key.kind,
            key,
            signing_key,
            verify_token: String::new(),
            credential,
        })
    }

    /// Returns the provider's side of the secret that is in the file now.
    ///
    /// Returns nothing for an unreadable or empty file: a file that is being replaced may be
    /// missing for a moment.
    pub(super) async fn current_key(&self) -> Option<String> {
        let text = tokio::fs::read_to_string(&self.file).await.ok()?;
        match (self.kind, text.trim()) {
            (_, "") => None,
            (KeyKind::Rsa, private) => sandbox::public_key(private).ok(),
            (_, text) => Some(text.to_owned()),
        }
    }
}

/// Returns the key of a credential with the reference to its file.
fn reference(dir: &Path, name: &'static str) -> (&'static str, String) {
    (name, toml_string("file:", &dir.join(name)))
}

/// Makes a secret if its file is missing. Returns the provider's side of the secret.
fn providers_half(dir: &Path, key: &Key) -> Result<String, FileError> {
    let file = dir.join(key.name);
    match key.kind {
        KeyKind::Text => read_or_create(&file, || Ok(sandbox::new_app_secret())),
        KeyKind::Login => {
            let login = || Ok(format!("sandbox:{}", sandbox::new_app_secret()));
            read_or_create(&file, login)
        }
        KeyKind::Rsa => {
            let private = read_or_create(&file, sandbox::new_private_key)?;
            let public = sandbox::public_key(&private)
                .map_err(|error| FileError::Key(file.clone(), error))?;
            replace(&file.with_extension("pub"), &public)?;
            Ok(public)
        }
        KeyKind::Ed25519 => {
            let seed_file = dir.join("seed");
            let seed = read_or_create(&seed_file, sandbox::new_seed)?;
            let public = sandbox::public_key_of_seed(&seed)
                .map_err(|error| FileError::Key(seed_file, error))?;
            replace(&file, &format!("{public}\n"))?;
            Ok(seed)
        }
    }
}
