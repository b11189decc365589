//! References to secrets, as they are written: `env:NAME`, `file:/path`, `systemd:NAME`, `exec:/program argument`.

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
    /// A scheme of which this build knows no more than the name.
    Unsupported(&'static str),
    /// What follows the scheme is not what the scheme wants.
    Malformed(&'static str),
}

impl fmt::Display for ReferenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal => f.write_str(
                "not a reference, expected where the secret lives (env:NAME, file:/path, systemd:NAME or \
                 exec:/program); the secret itself never stands in a configuration",
            ),
            Self::Unsupported(scheme) => {
                write!(f, "`{scheme}` is not supported by this build, expected env:, file:, systemd: or exec:")
            }
            Self::Malformed(expected) => write!(f, "not a reference, expected {expected}"),
        }
    }
}

impl std::error::Error for ReferenceError {}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if let Some(scheme) = LATER.iter().find(|scheme| text.starts_with(**scheme)) {
            return Err(ReferenceError::Unsupported(scheme));
        }
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
        }
    }
}

/// Schemes of the contract that come later.
const LATER: [&str; 4] = ["vault:", "aws-sm:", "gcp-sm:", "azure-kv:"];

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
        for (text, expected) in [
            ("env:ACME_TOKEN", Reference::Env("ACME_TOKEN".into())),
            ("env:_X", Reference::Env("_X".into())),
            ("file:/run/secrets/a b", Reference::File("/run/secrets/a b".into())),
            ("systemd:acme.token", Reference::Systemd("acme.token".into())),
            ("exec:/bin/pass", exec("/bin/pass", &[])),
            ("exec:/bin/pass show  acme", exec("/bin/pass", &["show", "acme"])),
            ("exec:/bin/op read \"op://v/my item\" \"\"", exec("/bin/op", &["read", "op://v/my item", ""])),
            ("exec:\"/opt/my tools/pass\" a\"b c\"d", exec("/opt/my tools/pass", &["ab cd"])),
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
            ("vault:secret/a#CANARY", "unsupported"),
            ("aws-sm:CANARY", "unsupported"),
            ("gcp-sm:CANARY", "unsupported"),
            ("azure-kv:CANARY", "unsupported"),
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
        ] {
            assert_eq!(text.parse::<Reference>().unwrap().to_string(), shown);
        }
    }
}
