//! The reasons why a rotation ended early, with the secret in use and advice.

use std::fmt;

use super::holders::SecretHolder;
use super::obstacle::{Doubt, Obstacle};
use crate::config::Reference;
use crate::health::QueryError;
use crate::secret::Fingerprint;
use crate::shell::shell_word;

/// The end of a failed rotation: the obstacle, and the secrets left good.
#[derive(Debug)]
pub enum RotationError {
    /// The rotation ended before there was a new secret, and changed nothing.
    Unchanged(Obstacle),
    /// The answer to the exchange is lost: there may be a new token that nobody knows.
    ExchangeLost(QueryError),
    /// The old secret stays in use.
    TakenBack {
        /// The obstacle.
        obstacle: Obstacle,
        /// The place with the old secret back in, if the new secret had been written.
        restored: Option<String>,
        /// The fate of the new secret.
        fate: NewSecretFate,
    },
    /// The rotation is not at its end, and the journal has what is needed to bring it there.
    Unfinished {
        /// The obstacle.
        obstacle: Obstacle,
        /// The name of the secret, as the command takes it.
        name: String,
        /// The place of the journal.
        journal: String,
    },
    /// The new secret is in use without proof, and the old secret is kept.
    Unproved(Box<UnprovedSecret>),
    /// The new secret is in use, and other credentials send with the old secret: nothing is
    /// revoked.
    Held(Box<HeldSecret>),
    /// The new secret is in use, and the old one may be good.
    OldMayBeGood {
        /// The name of the secret, as the command takes it.
        name: String,
        /// The fingerprint of the old secret.
        old: Fingerprint,
        /// The reason why the old secret may be good.
        doubt: Box<Doubt>,
        /// The place of the journal.
        journal: String,
    },
}

/// A new secret in use without proof.
#[derive(Debug)]
pub struct UnprovedSecret {
    /// The name of the secret for `keyside revoke`.
    pub target: String,
    /// The fingerprint of the new secret.
    pub new: Option<Fingerprint>,
    /// The fingerprint of the old secret.
    pub old: Option<Fingerprint>,
    /// True if the provider revokes the old secret when asked.
    pub is_revocable: bool,
    /// The place of the journal.
    pub journal: String,
}

/// A secret in use at other credentials, and therefore not revoked.
#[derive(Debug)]
pub struct HeldSecret {
    /// The name of the rotated secret for `keyside revoke`.
    pub name: String,
    /// The fingerprint of the secret.
    pub secret: Fingerprint,
    /// The other credentials.
    pub holders: Vec<SecretHolder>,
    /// The source of the new secret.
    pub source: Reference,
    /// The place of the journal.
    pub journal: String,
}

/// The fate of a new secret that did not come into use.
#[derive(Debug)]
pub enum NewSecretFate {
    /// The provider has revoked the new secret.
    Revoked,
    /// A user gave the new secret, and may use it elsewhere.
    Untouched,
}

impl fmt::Display for RotationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unchanged(obstacle) => write!(f, "{obstacle}; nothing was changed"),
            Self::ExchangeLost(error) => write!(
                f,
                "{error}; nothing was changed. The answer to the exchange is lost: {UNKNOWN_TOKEN}. Try again"
            ),
            Self::TakenBack {
                obstacle,
                restored,
                fate,
            } => {
                write!(f, "{obstacle}; ")?;
                if let Some(place) = restored {
                    write!(f, "the old secret is good and is back in {place}; ")?;
                }
                let fate = match fate {
                    NewSecretFate::Revoked => "was revoked",
                    NewSecretFate::Untouched => "is not in use",
                };
                write!(f, "the old secret stays in use, and the new one {fate}")
            }
            Self::Unfinished {
                obstacle,
                name,
                journal,
            } => write!(
                f,
                "{obstacle}. The rotation is not at its end, and no secret is lost: run `keyside rotate {name}` again \
                 to go on. Until then keep the journal, {journal}"
            ),
            Self::Unproved(unproved) => fmt::Display::fmt(unproved, f),
            Self::Held(held) => fmt::Display::fmt(held, f),
            Self::OldMayBeGood {
                name,
                old,
                doubt,
                journal,
            } => write!(
                f,
                "the new secret is in use, but the old one, {old}, may be good: {doubt}. Run `keyside revoke {name}` to \
                 try again. Until the old one is dead, its value is kept in the journal, {journal}"
            ),
        }
    }
}

impl fmt::Display for HeldSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            secret,
            holders,
            source,
            journal,
        } = self;
        let names: Vec<_> = holders.iter().map(ToString::to_string).collect();
        // A message leaves out the arguments of a program.
        let new = match source {
            Reference::Exec { .. } => "-".to_owned(),
            source => shell_word(&source.to_string()).into_owned(),
        };
        write!(
            f,
            "the new secret is in use, and nothing was revoked, because other credentials send with the old one, {secret}: {}. \
             Rotate them to the new value too (`keyside rotate NAME --new {new}`), then run `keyside revoke {name}`. \
             Until the old one is dead, its value is kept in the journal, {journal}",
            names.join(", ")
        )
    }
}

impl fmt::Display for UnprovedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |known: Option<Fingerprint>| known.map(|known| known.to_string());
        let end = if self.is_revocable {
            "was not revoked"
        } else {
            "must not be deleted yet"
        };
        write!(
            f,
            "{} is in use, but nothing proves that it may do what the old one may: no request with it has succeeded. The old \
             secret, {}, {end}. Send a message; when it has succeeded, end the rotation with `keyside revoke {}`. Until then \
             keep the journal, {}",
            shown(self.new).unwrap_or_default(),
            shown(self.old).unwrap_or_default(),
            self.target,
            self.journal
        )
    }
}

/// The consequence of an exchange without an answer. A token can be revoked by its value alone.
pub const UNKNOWN_TOKEN: &str = "Meta may have made a token that nobody knows, and that lives until its end; if no such token may \
    exist, revoke all tokens of the System User in Business Settings, and make a new one";

impl std::error::Error for RotationError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_in_advice_can_be_copied_into_a_shell() {
        for (source, expected) in [
            ("file:/run/acme/token", "--new file:/run/acme/token`"),
            (
                "file:/run/my acme/token",
                "--new 'file:/run/my acme/token'`",
            ),
            // The arguments, which no message shows, are a part of the reference.
            ("exec:/bin/pass acme", "--new -`"),
        ] {
            let held = HeldSecret {
                name: "acme".to_owned(),
                secret: shown_in_tests(),
                holders: Vec::new(),
                source: source.parse().unwrap(),
                journal: String::new(),
            };
            assert!(held.to_string().contains(expected), "{held}");
        }
    }

    fn shown_in_tests() -> Fingerprint {
        let secret = crate::secret::Secret::parse(b"EAATOKEN".to_vec().into());
        secret.unwrap().fingerprint().of_random_key()
    }
}
