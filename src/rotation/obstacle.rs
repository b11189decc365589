//! The obstacles to a rotation, with advice, and the doubts about the end of a revoked secret.

use std::fmt;

use super::decision::Stop;
use super::emptied::EmptiedPlace;
use super::journal::JournalError;
use crate::config::{Reference, ReferenceError};
use crate::credential::source::{PlaceError, ProgramGoesOn, SecretPlace, SourceError};
use crate::credential::{CredentialFault, Verdict};
use crate::document::shown;
use crate::health::QueryError;
use crate::reload::ReloadError;
use crate::secret::Fingerprint;
use crate::shell::shell_word;

/// The obstacle to a rotation.
#[derive(Debug)]
pub enum Obstacle {
    /// There is no credential with the given name.
    NoCredential(String),
    /// The credential is there, and has no secret with the given name.
    UnknownSecret {
        /// The name of the credential.
        credential: String,
        /// The names of the secrets, each as the command takes it.
        known: Vec<String>,
    },
    /// No route sends with the credential: no upstream is known to ask.
    NoRoute(String),
    /// The provider gives no new secret in exchange for the old one.
    NoExchange {
        /// The name of the credential, and of the secret.
        secret: String,
        /// The title of the provider.
        provider: String,
    },
    /// The credential has no app secret. Meta exchanges no token without.
    NoAppSecret(String),
    /// The credential has no such secret.
    NoSecret {
        /// The name of the credential.
        credential: String,
        /// The name of the secret.
        secret: String,
    },
    /// A person may have chosen the secret, so no fingerprint shows the secret in use by a sidecar.
    Chosen {
        /// The name of the credential.
        credential: String,
        /// The name of the secret.
        secret: String,
    },
    /// Secrets of the credential cannot be used.
    Faults(Vec<CredentialFault>),
    /// The place is malformed.
    Place(ReferenceError),
    /// The place cannot be written.
    NotWritable(Box<WriteFault>),
    /// The place cannot be read.
    Unreadable(Box<ReadFault>),
    /// The place holds another secret than the source of the sidecars.
    HoldsOther(String),
    /// The place holds no secret any more, and nobody asks for a new one there.
    Emptied(Box<EmptiedPlace>),
    /// The journal cannot be used.
    Journal(JournalError),
    /// A program of an earlier rotation goes on, and may put its secret in place.
    ProgramGoesOn(ProgramGoesOn),
    /// The reading of a file was cut off by the end of the process.
    Interrupted,
    /// A reload is refused already, before anything has changed.
    Reload(ReloadError),
    /// The provider does not prove the secret in the source.
    Source(Box<SourceVerdict>),
    /// The provider gave no new token.
    Exchange(QueryError),
    /// The provider gave the old token back as the new token.
    SameToken,
    /// The given secret is the secret in use.
    Same,
    /// The provider does not prove the new secret.
    New(Box<Verdict>),
    /// The new secret does not have the form of its kind. Holds the problem.
    NewForm(String),
    /// The provider takes the new app secret for no proof yet: it may become the app's later.
    Early(Box<SecretPlace>, Box<Verdict>),
    /// The new secret could not be written.
    Write(Box<WriteFault>),
    /// The old secret could not be written back.
    WriteBack(Box<Self>, Box<WriteFault>),
    /// The reload with the new secret was refused.
    NewRefused(ReloadError),
    /// The reload succeeded, but requests are not sent with the new secret.
    NotInUse,
    /// A reloaded sidecar does not send with the new secret, for the given reason.
    Sidecar(String),
    /// The new secret did not come into use, and could not be revoked.
    NotTakenBack(Box<Self>, Fingerprint, Box<Doubt>),
    /// The evidence about a rotation that was cut off allows no decision.
    Stopped(Stop),
    /// The journal is about another place than the one that is named now.
    OtherPlace(String),
    /// The secret in place is not the one that was proved to be in use.
    Moved(String),
}

/// A verdict of the provider about the secret in the source. Sidecars may send with an earlier one.
#[derive(Debug)]
pub struct SourceVerdict {
    /// The source.
    pub source: Reference,
    /// The fingerprint of the secret.
    pub secret: Option<Fingerprint>,
    /// The verdict.
    pub verdict: Verdict,
}

/// A place that was not written.
#[derive(Debug)]
pub struct WriteFault {
    /// The place.
    pub place: SecretPlace,
    /// The reason.
    pub error: PlaceError,
}

/// A place that was not read.
#[derive(Debug)]
pub struct ReadFault {
    /// The place.
    pub place: SecretPlace,
    /// The reason.
    pub error: SourceError,
}

/// The reason to doubt the end of a revoked token.
#[derive(Debug)]
pub enum Doubt {
    /// The revocation failed.
    Revocation(QueryError),
    /// The provider says, after the revocation, that the token is good.
    StillGood,
    /// The provider does not say if the token is good.
    Unproved(QueryError),
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCredential(name) => write!(f, "there is no credential `{}`", shown(name)),
            Self::UnknownSecret { credential, known } => fmt_unknown(f, credential, known),
            Self::NoRoute(name) => write!(f, "no route sends with `{name}`"),
            Self::NoExchange { secret, provider } => write!(
                f,
                "`{secret}` is for {provider}, which gives no new one in exchange: make a new one in the provider's \
                 dashboard, and give it with `--new -` (standard input) or `--new REFERENCE`"
            ),
            Self::NoAppSecret(name) => write!(
                f,
                "`{name}` has no app_secret, without which Meta exchanges no token"
            ),
            Self::NoSecret { credential, secret } => write!(f, "`{credential}` has no {secret}"),
            Self::Chosen { credential, secret } => write!(
                f,
                "`{credential}.{secret}` may have been chosen by a person, so its fingerprint differs in each process and \
                 nothing proves which one a sidecar uses: put the new one in its place, and reload"
            ),
            Self::Faults(faults) => {
                let texts: Vec<_> = faults.iter().map(ToString::to_string).collect();
                f.write_str(&texts.join("; "))
            }
            Self::Reload(error) => write!(f, "a reload is refused: {error}"),
            Self::Source(verdict) => fmt::Display::fmt(verdict, f),
            Self::Exchange(error) => fmt::Display::fmt(error, f),
            Self::SameToken => f.write_str("the provider gave the same token back"),
            Self::Same => f.write_str("the new secret is the same as the one in use"),
            Self::New(verdict) => write!(f, "the new secret is {verdict}"),
            Self::NewForm(problem) => write!(f, "the new secret: {problem}"),
            Self::NewRefused(error) => write!(f, "the new secret was refused: {error}"),
            Self::NotInUse => f.write_str("the new secret did not come into use"),
            Self::Sidecar(problem) => f.write_str(problem),
            Self::NotTakenBack(obstacle, new, doubt) => write!(
                f,
                "{obstacle}; the old secret stays in use, and the new one, {new}, may be good: {doubt}"
            ),
            Self::Stopped(stop) => f.write_str(advice(*stop)),
            Self::ProgramGoesOn(error) => fmt::Display::fmt(error, f),
            Self::Emptied(emptied) => fmt::Display::fmt(emptied, f),
            Self::Interrupted => f.write_str("the process is ending"),
            Self::Place(_)
            | Self::Early(..)
            | Self::NotWritable(_)
            | Self::Write(_)
            | Self::Unreadable(_)
            | Self::HoldsOther(_)
            | Self::WriteBack(..)
            | Self::OtherPlace(_)
            | Self::Moved(_)
            | Self::Journal(_) => self.fmt_place(f),
        }
    }
}

/// Writes the message about an unknown secret, with the names that the command takes.
fn fmt_unknown(f: &mut fmt::Formatter<'_>, credential: &str, known: &[String]) -> fmt::Result {
    write!(f, "`{credential}` has no secret of this name, ")?;
    if known.is_empty() {
        f.write_str(
            "and none that can be rotated by command: put a new one in its place, and reload",
        )
    } else {
        write!(f, "expected {}", known.join(", "))
    }
}

impl fmt::Display for SourceVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            source,
            secret,
            verdict,
        } = self;
        write!(f, "the secret in {source}")?;
        if let Some(secret) = secret {
            write!(f, " ({secret})")?;
        }
        write!(f, " is {verdict}")?;
        match verdict {
            Verdict::Refused(_) => f.write_str(
                "; the sidecars may send with an earlier one. Put a good one there with `--new -`",
            ),
            _ => Ok(()),
        }
    }
}

impl Obstacle {
    /// Writes the message about a place or a journal; nothing for another obstacle.
    fn fmt_place(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Place(error) => write!(f, "the place to write is {error}"),
            Self::Early(place, verdict) => {
                write!(
                    f,
                    "the new secret is {verdict}. If it becomes the app's secret only later, give the secret a second reference \
                     that holds nothing yet, reload, and run the command again: it puts the new one there, and sidecars accept \
                     events signed with it at once. Or put it in {place} by hand now: sidecars send with the old one until the \
                     provider changes over, and a restart before that would lose the old one"
                )?;
                match place.by_hand() {
                    Some(command) => write!(f, "; by hand: {command}"),
                    None => Ok(()),
                }
            }
            Self::NotWritable(fault) | Self::Write(fault) => {
                write!(f, "{}: {}", fault.place, fault.error)?;
                match fault.place.by_hand() {
                    Some(command) => write!(f, "; by hand: {command}"),
                    None => Ok(()),
                }
            }
            Self::Unreadable(fault) => write!(f, "{}: {}", fault.place, fault.error),
            Self::HoldsOther(place) => write!(
                f,
                "{place} holds another secret than the one in use: put the one in use there, or name the right place"
            ),
            Self::WriteBack(obstacle, fault) => write!(
                f,
                "{obstacle}; the old secret is good, but could not be written back to {}: {}",
                fault.place, fault.error
            ),
            Self::OtherPlace(place) => write!(
                f,
                "a rotation into another place was cut off: go on with it first, with --place {}",
                shell_word(place)
            ),
            Self::Moved(place) => write!(
                f,
                "{place} does not hold the secret that is in use: somebody else has written meanwhile, and nothing was revoked"
            ),
            Self::Journal(error) => fmt::Display::fmt(error, f),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Revocation(error) => fmt::Display::fmt(error, f),
            Self::StillGood => f.write_str("the provider says that it is still good"),
            Self::Unproved(error) => write!(f, "nothing proves that it is dead ({error})"),
        }
    }
}

impl From<JournalError> for Obstacle {
    fn from(error: JournalError) -> Self {
        Self::Journal(error)
    }
}

impl std::error::Error for Obstacle {}
impl std::error::Error for Doubt {}

fn advice(stop: Stop) -> &'static str {
    match stop {
        Stop::NoAnswer => {
            "a rotation was cut off, and the provider does not tell which of its secrets are alive: nothing was changed"
        }
        Stop::DeadInPlace => {
            "a rotation was cut off with a dead secret in place: let `rotate` go on from there; nothing was revoked"
        }
        Stop::OtherDead => {
            "a rotation was cut off, and somebody else has put a secret in place that the provider refuses: put a good one \
             there; nothing was revoked"
        }
        Stop::AllDead => {
            "a rotation was cut off, and the provider refuses both of its secrets: make a new one in the provider's \
             dashboard, and put it in place"
        }
        Stop::Hidden => {
            "a rotation was cut off while a program wrote the new secret, and nothing tells which one is in place: let \
             `rotate` go on from there; nothing was revoked"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_in_advice_can_be_copied_into_a_shell() {
        let place = Obstacle::OtherPlace("exec:/bin/put \"acme\"".to_owned());
        let expected = "--place 'exec:/bin/put \"acme\"'";
        assert!(place.to_string().contains(expected), "{place}");
    }
}
