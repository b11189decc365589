//! References to secrets, as they are written: `env:NAME`, `file:/path`, `systemd:NAME`, `exec:/program argument`,
//! `vault:MOUNT/PATH#FIELD`, `aws-sm:NAME#FIELD`, `gcp-sm:projects/P/secrets/S`, `azure-kv:VAULT/NAME`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::Reference;
use crate::document::is_showable;

/// Why a text is not a reference. Does not hold the text, which may be the secret itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReferenceError {
    /// No scheme: most likely the secret itself.
    Literal,
    /// A secret manager that this build was made without.
    Unsupported(&'static str),
    /// What follows the scheme is not what the scheme wants.
    Malformed(&'static str),
}

impl fmt::Display for ReferenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal => f.write_str(
                "not a reference, expected where the secret lives (env:NAME, file:/path, systemd:NAME, exec:/program, \
                 vault:MOUNT/PATH#FIELD, aws-sm:NAME, gcp-sm:projects/P/secrets/S or azure-kv:VAULT/NAME); the \
                 secret itself never stands in a configuration",
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
        let (scheme, rest) = text.split_once(':').ok_or(ReferenceError::Literal)?;
        match scheme {
            "env" => name(rest)
                .filter(|name| !name.contains(['-', '.']))
                .map(Self::Env)
                .ok_or(ReferenceError::Malformed("env: and the name of a variable, not its content")),
            "file" => path(rest)
                .map(Self::File)
                .ok_or(ReferenceError::Malformed("file: and an absolute path, such as file:/run/secrets/token")),
            "systemd" => name(rest)
                .map(Self::Systemd)
                .ok_or(ReferenceError::Malformed("systemd: and the name of a credential, without a path")),
            "exec" => exec(rest),
            "vault" => vault(rest),
            "aws-sm" if !cfg!(feature = "aws") => Err(ReferenceError::Unsupported("aws")),
            "aws-sm" => aws(rest),
            "gcp-sm" if !cfg!(feature = "gcp") => Err(ReferenceError::Unsupported("gcp")),
            "gcp-sm" => gcp(rest),
            "azure-kv" if !cfg!(feature = "azure") => Err(ReferenceError::Unsupported("azure")),
            "azure-kv" => azure(rest),
            _ => Err(ReferenceError::Literal),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Systemd(name) => write!(f, "systemd:{name}"),
            // The arguments are left out: they are the likeliest place for what nobody should read.
            Self::Exec { program, .. } => write!(f, "exec:{}", program.display()),
            Self::Vault { path, field } => write!(f, "vault:{path}#{field}"),
            Self::Aws { name, field: Some(field) } => write!(f, "aws-sm:{name}#{field}"),
            Self::Aws { name, field: None } => write!(f, "aws-sm:{name}"),
            Self::Gcp { secret } => write!(f, "gcp-sm:{secret}"),
            Self::Azure { vault, name } => write!(f, "azure-kv:{vault}/{name}"),
        }
    }
}

impl Reference {
    /// Whether it lives in a secret manager, which can fail at any time and come back by itself.
    #[must_use]
    pub fn is_managed(&self) -> bool {
        match self {
            Self::Env(_) | Self::File(_) | Self::Systemd(_) | Self::Exec { .. } => false,
            Self::Vault { .. } | Self::Aws { .. } | Self::Gcp { .. } | Self::Azure { .. } => true,
        }
    }

    /// Whether it changes without anything to see from here, so that it must be asked for again: in a secret manager,
    /// or behind a program, which often asks one.
    #[must_use]
    pub fn is_asked_for(&self) -> bool {
        self.is_managed() || matches!(self, Self::Exec { .. })
    }
}

/// A name that will be shown in errors; a secret that was pasted behind the scheme is not one.
fn name(text: &str) -> Option<String> {
    let parts_are_words = text.split('_').all(|part| part.is_empty() || is_showable(part));
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    (begins && text.len() <= 128 && text.chars().all(plain) && parts_are_words).then(|| text.to_owned())
}

fn path(text: &str) -> Option<PathBuf> {
    let is_plain = !text.contains(char::is_control) && !text.ends_with('/');
    (text.starts_with('/') && is_plain).then(|| PathBuf::from(text))
}

/// A name in a secret manager. It will be shown too, so none of its words may look like a secret.
fn managed(text: &str, also: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c) || also.contains(c);
    let words_are_showable = text.split(|c| also.contains(c)).all(|word| word.is_empty() || name_is_showable(word));
    let fits = !text.is_empty() && text.len() <= 512 && text.chars().all(plain);
    (fits && words_are_showable).then(|| text.to_owned())
}

/// Unique parts of the clouds' names are longer than words and mix letters and digits: 36 characters at most.
fn name_is_showable(word: &str) -> bool {
    is_showable(word) || word.split('-').all(|part| part.len() <= 12 && !part.starts_with("EAA"))
}

/// Segments without `.` and `..`, none of them empty.
fn segments(text: &str) -> Option<String> {
    let are_names = text.split('/').all(|segment| !matches!(segment, "" | "." | ".."));
    managed(text, "/").filter(|_| are_names)
}

fn vault(text: &str) -> Result<Reference, ReferenceError> {
    let parts = text.split_once('#').and_then(|(path, field)| Some((segments(path)?, managed(field, "")?)));
    let parts = parts.filter(|(path, _)| path.contains('/'));
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
        ["projects", _, "secrets", _, "versions", version] => version.parse::<u32>().is_ok() || *version == "latest",
        _ => false,
    };
    let secret = segments(text).filter(|_| is_whole).ok_or(ReferenceError::Malformed(
        "gcp-sm:projects/PROJECT/secrets/SECRET, with /versions/NUMBER where it is not to be the latest",
    ))?;
    Ok(Reference::Gcp { secret })
}

fn azure(text: &str) -> Result<Reference, ReferenceError> {
    let plain = |name: &&str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    let parts = text.split_once('/').filter(|(_, name)| plain(name));
    let parts = parts.and_then(|(vault, name)| managed(vault, ":").zip(managed(name, "")));
    let (vault, name) = parts.ok_or(ReferenceError::Malformed(
        "azure-kv:VAULT/NAME, where VAULT is the vault's name or its host, such as azure-kv:acme-keys/whatsapp-token",
    ))?;
    Ok(Reference::Azure { vault, name })
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

/// Splits at white space, but not inside double quotes; there is no shell and no escape.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_names_where_the_secret_lives() {
        let exec = |program: &str, arguments: &[&str]| Reference::Exec {
            program: program.into(),
            arguments: arguments.iter().map(ToString::to_string).collect(),
        };
        let vault = |path: &str, field: &str| Reference::Vault { path: path.into(), field: field.into() };
        let aws = |name: &str, field: Option<&str>| Reference::Aws { name: name.into(), field: field.map(Into::into) };
        let gcp = |secret: &str| Reference::Gcp { secret: secret.into() };
        let azure = |vault: &str, name: &str| Reference::Azure { vault: vault.into(), name: name.into() };
        for (text, expected) in [
            ("env:ACME_TOKEN", Reference::Env("ACME_TOKEN".into())),
            ("env:_X", Reference::Env("_X".into())),
            ("file:/run/secrets/a b", Reference::File("/run/secrets/a b".into())),
            ("systemd:acme.token", Reference::Systemd("acme.token".into())),
            ("exec:/bin/pass", exec("/bin/pass", &[])),
            ("exec:/bin/pass show  acme", exec("/bin/pass", &["show", "acme"])),
            ("exec:/bin/op read \"op://v/my item\" \"\"", exec("/bin/op", &["read", "op://v/my item", ""])),
            ("exec:\"/opt/my tools/pass\" a\"b c\"d", exec("/opt/my tools/pass", &["ab cd"])),
            ("vault:kv/whatsapp/acme#token", vault("kv/whatsapp/acme", "token")),
            ("vault:secret/apps/a_b.c-d#app_secret", vault("secret/apps/a_b.c-d", "app_secret")),
            ("aws-sm:prod/acme", aws("prod/acme", None)),
            ("aws-sm:prod/acme#token", aws("prod/acme", Some("token"))),
            (
                "aws-sm:arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/acme-AbC123#token",
                aws("arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/acme-AbC123", Some("token")),
            ),
            ("gcp-sm:projects/acme-prod/secrets/token", gcp("projects/acme-prod/secrets/token")),
            ("gcp-sm:projects/12345/secrets/token/versions/7", gcp("projects/12345/secrets/token/versions/7")),
            ("azure-kv:acme-keys/wa-token", azure("acme-keys", "wa-token")),
            ("azure-kv:acme-keys.vault.azure.cn/wa-token", azure("acme-keys.vault.azure.cn", "wa-token")),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_reference_is_refused_and_not_repeated() {
        use ReferenceError::{Literal, Malformed, Unsupported};
        for (text, expected) in [
            ("EAACANARY", "literal"),
            ("Bearer CANARY", "literal"),
            ("123456:CANARY", "literal"),
            ("ENV:CANARY", "literal"),
            ("", "literal"),
            ("vault:CANARY", "malformed"),
            ("vault:kv#CANARY", "malformed"),
            ("vault:kv/CANARY", "malformed"),
            ("vault:kv/a#", "malformed"),
            ("vault:/kv/CANARY#a", "malformed"),
            ("vault:kv/../CANARY#a", "malformed"),
            ("vault:kv//CANARY#a", "malformed"),
            ("vault:kv/a?CANARY#a", "malformed"),
            ("vault:kv/a#EAACANARY0123456789abcdefghijklmnopq", "malformed"),
            ("aws-sm:", "malformed"),
            ("aws-sm:CANARY#", "malformed"),
            ("aws-sm:EAACANARY0123456789abcdefghijklmnopq", "malformed"),
            ("gcp-sm:CANARY", "malformed"),
            ("gcp-sm:projects/p/secrets/CANARY/versions/x", "malformed"),
            ("gcp-sm:projects//secrets/CANARY", "malformed"),
            ("azure-kv:CANARY", "malformed"),
            ("azure-kv:a/b/CANARY", "malformed"),
            ("azure-kv:a/CAN_ARY", "malformed"),
            ("env:", "malformed"),
            ("env:A B", "malformed"),
            ("env:A-B", "malformed"),
            ("env:1A", "malformed"),
            ("env:EAACANARY0123456789abcdefghijklmnopq", "malformed"),
            ("file:run/secrets/CANARY", "malformed"),
            ("file:", "malformed"),
            ("file:/run/secrets/", "malformed"),
            ("file:~/CANARY", "malformed"),
            ("systemd:/CANARY", "malformed"),
            ("systemd:..", "malformed"),
            ("exec:CANARY", "malformed"),
            ("exec:", "malformed"),
            ("exec:/bin/a \"CANARY", "malformed"),
        ] {
            let error = text.parse::<Reference>().unwrap_err();
            let kind = match error {
                Literal => "literal",
                Unsupported(_) => "unsupported",
                Malformed(_) => "malformed",
            };
            assert_eq!(kind, expected, "{text}");
            assert!(!format!("{error} {error:?}").contains("CANARY"), "{text}");
        }
    }

    #[test]
    fn a_reference_is_shown_as_it_was_written_without_arguments() {
        for (text, shown) in [
            ("env:A", "env:A"),
            ("file:/a/b", "file:/a/b"),
            ("systemd:a", "systemd:a"),
            ("exec:/bin/pass CANARY", "exec:/bin/pass"),
            ("vault:kv/acme#token", "vault:kv/acme#token"),
            ("aws-sm:acme", "aws-sm:acme"),
            ("aws-sm:acme#token", "aws-sm:acme#token"),
            ("gcp-sm:projects/p/secrets/s", "gcp-sm:projects/p/secrets/s"),
            ("azure-kv:v/n", "azure-kv:v/n"),
        ] {
            assert_eq!(text.parse::<Reference>().unwrap().to_string(), shown);
        }
    }
}
