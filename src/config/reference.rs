//! References to secrets, as they are written: `env:NAME`, `file:/path`, `file:/path#FIELD`,
//! `systemd:NAME`, `exec:/program argument`, `vault:MOUNT/PATH#FIELD`, `aws-sm:NAME#FIELD`,
//! `gcp-sm:projects/P/secrets/S`, `azure-kv:VAULT/NAME`, `k8s:NAMESPACE/NAME#KEY`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::Reference;
use crate::document::reads_as_name;

/// The error of a malformed reference. The error never contains the text, because the text may be
/// the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReferenceError {
    /// The text has no known scheme, and most likely is a literal secret.
    Literal,
    /// The text has no known scheme, and yet looks like a reference. Holds the form that is meant.
    Probable(&'static str),
    /// The secret manager is not compiled into this build. Holds the name of the Cargo feature.
    Unsupported(&'static str),
    /// The text after the scheme is wrong. Holds the expected form.
    Malformed(&'static str),
}

impl fmt::Display for ReferenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal => f.write_str(
                "not a reference, expected where the secret lives (env:NAME, file:/path, systemd:NAME, exec:/program, \
                 vault:MOUNT/PATH#FIELD, aws-sm:NAME, gcp-sm:projects/P/secrets/S, azure-kv:VAULT/NAME or \
                 k8s:NAMESPACE/NAME#KEY); the secret itself never stands in a configuration",
            ),
            Self::Probable(meant) => write!(
                f,
                "not a reference, did you mean {meant}? The secret itself never stands in a configuration"
            ),
            Self::Unsupported(feature) => {
                write!(f, "this build has no `{feature}`; build Keyside with `--features {feature}`")
            }
            Self::Malformed(expected) => write!(f, "not a reference, expected {expected}"),
        }
    }
}

impl std::error::Error for ReferenceError {}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let Some((scheme, rest)) = text.split_once(':') else {
            return Err(meant_by(text));
        };
        match scheme {
            "env" => name(rest)
                .filter(|name| !name.contains(['-', '.']))
                .map(Self::Env)
                .ok_or(ReferenceError::Malformed(
                    "env: and the name of a variable, not its content",
                )),
            "file" => file(rest),
            "systemd" => name(rest)
                .map(Self::Systemd)
                .ok_or(ReferenceError::Malformed(
                    "systemd: and the name of a credential, without a path",
                )),
            "exec" => exec(rest),
            "vault" => vault(rest),
            "aws-sm" if !cfg!(feature = "aws") => Err(ReferenceError::Unsupported("aws")),
            "aws-sm" => aws(rest),
            "gcp-sm" if !cfg!(feature = "gcp") => Err(ReferenceError::Unsupported("gcp")),
            "gcp-sm" => gcp(rest),
            "azure-kv" if !cfg!(feature = "azure") => Err(ReferenceError::Unsupported("azure")),
            "azure-kv" => azure(rest),
            "k8s" => kubernetes(rest),
            _ => Err(scheme_meant_by(scheme)),
        }
    }
}

/// Returns the error of a text without a scheme.
fn meant_by(text: &str) -> ReferenceError {
    if text.starts_with(['/', '~']) || text.starts_with("./") || text.starts_with("../") {
        ReferenceError::Probable("file: before an absolute path, such as file:/run/secrets/token")
    } else if text.starts_with(['$', '%']) {
        ReferenceError::Probable("env: before the name of a variable, such as env:ACME_TOKEN")
    } else {
        ReferenceError::Literal
    }
}

/// Returns the error of an unknown scheme.
fn scheme_meant_by(scheme: &str) -> ReferenceError {
    let small = scheme.to_ascii_lowercase();
    let near = SCHEMES
        .iter()
        .find(|known| strsim::damerau_levenshtein(&small, known.trim_end_matches(':')) <= 1);
    let renamed = RENAMED
        .iter()
        .find(|(other, _)| *other == small)
        .map(|(_, known)| known);
    near.or(renamed).map_or(ReferenceError::Literal, |known| {
        ReferenceError::Probable(known)
    })
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::FileField { path, field } => write!(f, "file:{}#{field}", path.display()),
            Self::Systemd(name) => write!(f, "systemd:{name}"),
            // The arguments are left out, because a secret may stand among them.
            Self::Exec { program, .. } => write!(f, "exec:{}", program.display()),
            Self::Vault { path, field } => write!(f, "vault:{path}#{field}"),
            Self::Aws {
                name,
                field: Some(field),
            } => write!(f, "aws-sm:{name}#{field}"),
            Self::Aws { name, field: None } => write!(f, "aws-sm:{name}"),
            Self::Gcp { secret } => write!(f, "gcp-sm:{secret}"),
            Self::Azure { vault, name } => write!(f, "azure-kv:{vault}/{name}"),
            Self::Kubernetes {
                namespace: Some(namespace),
                name,
                key,
            } => write!(f, "k8s:{namespace}/{name}#{key}"),
            Self::Kubernetes { name, key, .. } => write!(f, "k8s:{name}#{key}"),
        }
    }
}

impl Reference {
    /// True for a source that never changes while the process runs: a new value takes a restart.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        matches!(self, Self::Env(_))
    }

    /// Returns true for a secret manager. Secret managers can fail at any time and recover without
    /// help.
    #[must_use]
    pub fn is_managed(&self) -> bool {
        match self {
            Self::Env(_)
            | Self::File(_)
            | Self::FileField { .. }
            | Self::Systemd(_)
            | Self::Exec { .. } => false,
            Self::Vault { .. }
            | Self::Aws { .. }
            | Self::Gcp { .. }
            | Self::Azure { .. }
            | Self::Kubernetes { .. } => true,
        }
    }

    /// Returns true for a secret that can change without a sign on this machine, so that Keyside
    /// must ask again.
    ///
    /// A secret in a secret manager or behind a program is asked for. Programs often ask a secret
    /// manager.
    #[must_use]
    pub fn is_asked_for(&self) -> bool {
        self.is_managed() || matches!(self, Self::Exec { .. })
    }

    /// Returns what to do instead, if nothing can ever be written to the place that the reference
    /// names.
    #[must_use]
    pub fn why_not_a_place(&self) -> Option<&'static str> {
        match self {
            Self::Env(_) => Some(
                "a variable of a running process keeps its value; use file: or a secret manager",
            ),
            Self::Systemd(_) => Some(
                "systemd gives a unit its credentials at the start; write the file that LoadCredential= names and restart the unit",
            ),
            Self::Gcp { secret }
                if secret.contains("/versions/") && !secret.ends_with("/latest") =>
            {
                Some("a version keeps its value; use a reference without /versions/NUMBER")
            }
            _ => None,
        }
    }
}

/// Reads a name for error messages, and refuses a secret pasted behind the scheme.
fn name(text: &str) -> Option<String> {
    let parts_are_words = text
        .split('_')
        .all(|part| part.is_empty() || reads_as_name(part));
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    (begins && text.len() <= MAX_NAME_LENGTH && text.chars().all(plain) && parts_are_words)
        .then(|| text.to_owned())
}

/// Reads the path of a file. The text behind the last `#` names a field, unless a slash follows.
fn file(text: &str) -> Result<Reference, ReferenceError> {
    let malformed = ReferenceError::Malformed(
        "file: and an absolute path, such as file:/run/secrets/token, with #FIELD where the file is a JSON object or has \
         lines NAME=value",
    );
    let reference = match text.rsplit_once('#') {
        Some((before, field)) if !field.contains('/') => path(before)
            .zip(managed(field, ""))
            .map(|(path, field)| Reference::FileField { path, field }),
        _ => path(text).map(Reference::File),
    };
    reference.ok_or(malformed)
}

fn path(text: &str) -> Option<PathBuf> {
    let is_plain = !text.contains(char::is_control) && !text.ends_with('/');
    (text.starts_with('/') && is_plain).then(|| PathBuf::from(text))
}

/// Reads a name in a secret manager. Error messages will show the name, so no word may look like a
/// secret.
fn managed(text: &str, also: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c) || also.contains(c);
    let words_are_showable = text
        .split(|c| also.contains(c))
        .all(|word| word.is_empty() || name_is_showable(word));
    let fits = !text.is_empty() && text.len() <= MAX_MANAGED_LENGTH && text.chars().all(plain);
    (fits && words_are_showable).then(|| text.to_owned())
}

/// Returns true for a word of a cloud's name, whose unique parts mix letters and digits: a UUID has
/// up to 12 per part.
fn name_is_showable(word: &str) -> bool {
    reads_as_name(word)
        || word
            .split('-')
            .all(|part| part.len() <= 12 && !part.starts_with("EAA"))
}

/// Reads segments, none of which is empty, `.` or `..`.
fn segments(text: &str) -> Option<String> {
    let are_names = text
        .split('/')
        .all(|segment| !matches!(segment, "" | "." | ".."));
    managed(text, "/").filter(|_| are_names)
}

fn vault(text: &str) -> Result<Reference, ReferenceError> {
    let parts = text
        .split_once('#')
        .and_then(|(path, field)| Some((segments(path)?, managed(field, "")?)))
        .filter(|(path, _)| path.contains('/'));
    let (path, field) = parts.ok_or(ReferenceError::Malformed(
        "vault:MOUNT/PATH#FIELD as the vault command takes them, such as vault:kv/whatsapp/acme#token",
    ))?;
    Ok(Reference::Vault { path, field })
}

fn aws(text: &str) -> Result<Reference, ReferenceError> {
    let parts = match text.split_once('#') {
        Some((name, field)) => managed(name, "/+=@:").zip(managed(field, "").map(Some)),
        None => managed(text, "/+=@:").map(|name| (name, None)),
    };
    let (name, field) = parts.ok_or(ReferenceError::Malformed(
        "aws-sm: and the name or ARN of a secret, with #FIELD where it is a JSON object, such as \
         aws-sm:whatsapp/acme#token",
    ))?;
    Ok(Reference::Aws { name, field })
}

fn gcp(text: &str) -> Result<Reference, ReferenceError> {
    let parts: Vec<_> = text.split('/').collect();
    let is_whole = match parts.as_slice() {
        ["projects", _, "secrets", _] => true,
        ["projects", _, "secrets", _, "versions", version] => {
            version.parse::<u32>().is_ok() || *version == "latest"
        }
        _ => false,
    };
    let secret = segments(text).filter(|_| is_whole).ok_or(ReferenceError::Malformed(
        "gcp-sm:projects/PROJECT/secrets/SECRET, with /versions/NUMBER where it is not to be the latest",
    ))?;
    Ok(Reference::Gcp { secret })
}

fn azure(text: &str) -> Result<Reference, ReferenceError> {
    let plain = |name: &&str| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    let parts = text
        .split_once('/')
        .filter(|(_, name)| plain(name))
        .and_then(|(vault, name)| managed(vault, ":").zip(managed(name, "")));
    let (vault, name) = parts.ok_or(ReferenceError::Malformed(
        "azure-kv:VAULT/NAME, where VAULT is the vault's name or its host, such as azure-kv:acme-keys/whatsapp-token",
    ))?;
    Ok(Reference::Azure { vault, name })
}

/// Reads the names of a namespace, a Secret and a key:
/// <https://kubernetes.io/docs/concepts/overview/working-with-objects/names/>.
fn kubernetes(text: &str) -> Result<Reference, ReferenceError> {
    let plain = |name: &str, also: &str| {
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || also.contains(c);
        let is_word = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        let ends = [name.chars().next(), name.chars().next_back()];
        (name.chars().all(is_plain) && ends.into_iter().all(is_word))
            .then(|| managed(name, ""))
            .flatten()
    };
    let parts = text.split_once('#').and_then(|(object, key)| {
        let (namespace, name) = match object.split_once('/') {
            Some((namespace, name)) => (Some(plain(namespace, "-")?), name),
            None => (None, object),
        };
        Some(Reference::Kubernetes {
            namespace,
            name: plain(name, "-.")?,
            key: managed(key, "").filter(|key| !matches!(key.as_str(), "." | ".."))?,
        })
    });
    parts.ok_or(ReferenceError::Malformed(
        "k8s:NAME#KEY or k8s:NAMESPACE/NAME#KEY, a key of a Secret of the cluster, such as k8s:shop/acme-whatsapp#token",
    ))
}

fn exec(text: &str) -> Result<Reference, ReferenceError> {
    let malformed = ReferenceError::Malformed(
        "exec: and the absolute path of a program with its arguments, with pairs of double quotes",
    );
    let mut words = words(text).ok_or(malformed)?.into_iter();
    let program = words.next().and_then(|word| path(&word)).ok_or(malformed)?;
    let arguments = words.collect();
    Ok(Reference::Exec { program, arguments })
}

/// Splits a command at white space outside double quotes. There is no shell, and no escape
/// character.
fn words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            c if c.is_control() && c != '\t' => return None,
            c if c.is_whitespace() && !quoted => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    (!quoted).then_some(words)
}

/// The schemes, with their colons.
const SCHEMES: [&str; 9] = [
    "env:",
    "file:",
    "systemd:",
    "exec:",
    "vault:",
    "aws-sm:",
    "gcp-sm:",
    "azure-kv:",
    "k8s:",
];
/// Names of sources in other tools.
const RENAMED: [(&str, &str); 13] = [
    ("environment", "env:"),
    ("path", "file:"),
    ("cmd", "exec:"),
    ("command", "exec:"),
    ("hcvault", "vault:"),
    ("openbao", "vault:"),
    ("bao", "vault:"),
    ("aws", "aws-sm:"),
    ("azure", "azure-kv:"),
    ("gcp", "gcp-sm:"),
    ("google", "gcp-sm:"),
    ("kubernetes", "k8s:"),
    ("kube", "k8s:"),
];
/// The longest name of an environment variable or systemd credential, in bytes: short enough for an
/// error message.
const MAX_NAME_LENGTH: usize = 128;
/// The longest name in a secret manager, in bytes, as in AWS Secrets Manager:
/// <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html>
const MAX_MANAGED_LENGTH: usize = 512;
