//! The running sidecars that a command reloads, and the secret that each of them sends with.

use std::fmt;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::client::{ClientError, ask};
use crate::admin::credential_problems::kept_back_reasons;
use crate::json::words::list;
use crate::rotation::{RotationTarget, SecretHolder};
use crate::secret::Fingerprint;
use crate::units::Written;

/// The address of the admin listener in the default configuration.
pub(super) const DEFAULT_ADMIN: &str = "127.0.0.1:9900";

/// Reloads a sidecar until it sends with a secret, for at most `patience`: a secret that is written
/// to another place than the sidecar reads from takes its time.
///
/// # Errors
/// If the sidecar does not answer, refuses the secret, or sends with another one at the end.
pub(super) fn bring_into_use(
    admin: &str,
    target: &RotationTarget,
    secret: Fingerprint,
    patience: Duration,
) -> Result<(), NotInUse> {
    let began = Instant::now();
    let mut is_told = false;
    loop {
        let reloaded = ask(admin, "POST", "/reload").map_err(NotInUse::NoAnswer)?;
        let result = match sends_with(admin, target, secret) {
            Err(NotInUse::OtherSecret(_)) if reloaded.0 != 200 => {
                let reasons = reloaded.1.get("reasons").cloned().unwrap_or_default();
                Err(NotInUse::Refused(admin.to_owned(), reasons))
            }
            result => result,
        };
        match result {
            Err(NotInUse::OtherSecret(_) | NotInUse::Refused(..))
                if began.elapsed() + RELOAD_INTERVAL < patience =>
            {
                if !is_told {
                    let longest = Written(patience);
                    say!(
                        "   waiting up to {longest} for the sidecar at {admin} to read the new secret"
                    );
                    is_told = true;
                }
                sleep(RELOAD_INTERVAL);
            }
            result => return result,
        }
    }
}

/// Checks that a sidecar sends with a secret.
///
/// # Errors
/// If the sidecar does not answer, or sends with another secret.
pub(super) fn sends_with(
    admin: &str,
    target: &RotationTarget,
    secret: Fingerprint,
) -> Result<(), NotInUse> {
    let own = own_status(admin, target).map_err(NotInUse::NoAnswer)?;
    if is_sent(&own, target, secret) {
        return Ok(());
    }
    if let Some(fallback) = fallback_from(&own, admin, target, secret) {
        return Err(NotInUse::FellBack(Box::new(fallback)));
    }
    let kept_back: Vec<_> = kept_back_reasons(&own).collect();
    Err(if kept_back.is_empty() {
        NotInUse::OtherSecret(admin.to_owned())
    } else {
        NotInUse::KeptBack(admin.to_owned(), kept_back)
    })
}

/// Checks all answering sidecars for a fallback from the secret in the source, after a refusal by
/// the provider.
///
/// # Errors
/// If a sidecar has.
pub(super) fn must_not_fall_back(
    admins: &[String],
    target: &RotationTarget,
) -> Result<(), NotInUse> {
    let Some(current) = target.current() else {
        return Ok(());
    };
    let found = admins.iter().find_map(|admin| {
        let own = own_status(admin, target).ok()?;
        fallback_from(&own, admin, target, current)
    });
    found.map_or(Ok(()), |fallback| {
        Err(NotInUse::FellBack(Box::new(fallback)))
    })
}

/// Returns the fallback of a sidecar from a secret to an earlier one.
fn fallback_from(
    own: &Value,
    admin: &str,
    target: &RotationTarget,
    secret: Fingerprint,
) -> Option<Fallback> {
    let sent = sent_at(own, admin, &target.secret)?;
    let is_current = list(&own["secrets"]).any(|shown| is_version(shown, target, secret));
    let fell_back = own["sends"] == "previous" && is_current;
    fell_back.then(|| Fallback {
        admin: admin.to_owned(),
        refused: secret,
        sent: sent.in_use,
        name: target.name.clone(),
    })
}

/// Reloads a sidecar until it accepts events that are signed with a secret, for at most `patience`.
///
/// # Errors
/// If the sidecar does not answer, or does not know the secret.
pub(super) fn accepts(
    admin: &str,
    target: &RotationTarget,
    secret: Fingerprint,
    patience: Duration,
) -> Result<(), NotInUse> {
    let began = Instant::now();
    loop {
        ask(admin, "POST", "/reload").map_err(NotInUse::NoAnswer)?;
        let own = own_status(admin, target).map_err(NotInUse::NoAnswer)?;
        if is_accepted(&own, target, secret) {
            return Ok(());
        }
        if began.elapsed() + RELOAD_INTERVAL >= patience {
            return Err(NotInUse::OtherSecret(admin.to_owned()));
        }
        sleep(RELOAD_INTERVAL);
    }
}

/// The fingerprints of a secret at a sidecar.
pub(super) struct SidecarSecret {
    /// The admin listener of the sidecar.
    pub(super) admin: String,
    /// The version in use.
    pub(super) in_use: String,
    /// The replaced versions within the overlap.
    pub(super) replaced: Vec<String>,
}

/// Returns the fingerprints of a secret at each answering sidecar.
pub(super) fn sent(admins: &[String], target: &RotationTarget) -> Vec<SidecarSecret> {
    let at = |admin: &String| sent_at(&own_status(admin, target).ok()?, admin, &target.secret);
    admins.iter().filter_map(at).collect()
}

fn sent_at(own: &Value, admin: &str, secret: &str) -> Option<SidecarSecret> {
    let of = |secrets: &Value| {
        let named = list(secrets).find(|shown| shown["name"] == secret)?;
        named["fingerprint"].as_str().map(str::to_owned)
    };
    let mut replaced: Vec<_> = list(&own["previous"])
        .filter_map(|set| of(&set["secrets"]))
        .collect();
    let current = of(&own["secrets"]);
    let in_use = if own["sends"] == "previous" && !replaced.is_empty() {
        replaced.remove(0)
    } else {
        current.clone()?
    };
    replaced.retain(|version| *version != in_use && Some(version) != current.as_ref());
    Some(SidecarSecret {
        admin: admin.to_owned(),
        in_use,
        replaced,
    })
}

/// Returns the other credentials of each answering sidecar, with the secrets of requests.
pub(super) fn holders(admins: &[String], target: &RotationTarget) -> Vec<SecretHolder> {
    let at = |admin: &String| {
        let (_, status) = ask(admin, "GET", "/status").ok()?;
        Some(holders_at(&status, admin, target))
    };
    admins.iter().filter_map(at).flatten().collect()
}

fn holders_at(status: &Value, admin: &str, target: &RotationTarget) -> Vec<SecretHolder> {
    let mut holders = Vec::new();
    for credential in list(&status["credentials"]) {
        let name = credential["name"].as_str().unwrap_or_default();
        if name == target.credential {
            continue;
        }
        let sent = list(&credential["secrets"])
            .filter_map(|secret| secret["name"].as_str())
            .filter_map(|secret| sent_at(credential, admin, secret));
        holders.extend(sent.map(|sent| SecretHolder {
            credential: name.to_owned(),
            sidecar: Some(sent.admin),
            fingerprint: sent.in_use,
        }));
    }
    holders
}

/// Waits until a request with a secret has succeeded at a sidecar, for at most `patience`. Returns
/// the admin listener of the sidecar.
pub(super) fn first_success<'a>(
    admins: &'a [String],
    target: &RotationTarget,
    secret: Fingerprint,
    patience: Duration,
) -> Option<&'a String> {
    let began = Instant::now();
    let has_sent = |admin: &&String| {
        own_status(admin, target).is_ok_and(|own| {
            let success = own.get("last_success_seconds_ago");
            is_sent(&own, target, secret) && success.is_some_and(Value::is_u64)
        })
    };
    loop {
        let found = admins.iter().find(has_sent);
        if found.is_some() || began.elapsed() >= patience {
            return found;
        }
        sleep(SUCCESS_INTERVAL);
    }
}

/// Returns the credential of a secret in the status of a sidecar; null without.
fn own_status(admin: &str, target: &RotationTarget) -> Result<Value, ClientError> {
    let (_, status) = ask(admin, "GET", "/status")?;
    let credentials = status.get("credentials").unwrap_or(&Value::Null);
    let own = list(credentials).find(|credential| credential["name"] == target.credential.as_str());
    Ok(own.cloned().unwrap_or_default())
}

/// True if the secret is in use, or accepted in signatures of events.
fn is_accepted(own: &Value, target: &RotationTarget, secret: Fingerprint) -> bool {
    let fingerprint = secret.to_string();
    list(&own["secrets"]).any(|shown| {
        let accepted = list(&shown["accepted"]);
        let mut versions = accepted.chain(std::iter::once(shown));
        shown["name"] == target.secret.as_str()
            && versions.any(|version| version["fingerprint"] == fingerprint)
    })
}

/// True if requests carry the secret.
fn is_sent(own: &Value, target: &RotationTarget, secret: Fingerprint) -> bool {
    own["sends"] == "current"
        && list(&own["secrets"]).any(|shown| is_version(shown, target, secret))
}

/// True if a shown version has the name and the fingerprint of a secret.
fn is_version(shown: &Value, target: &RotationTarget, secret: Fingerprint) -> bool {
    shown["name"] == target.secret.as_str() && shown["fingerprint"] == secret.to_string()
}

/// The reasons why a sidecar does not send with a secret.
#[derive(Debug)]
pub(super) enum NotInUse {
    /// The admin listener cannot be asked.
    NoAnswer(ClientError),
    /// The sidecar refused the reload, with these reasons.
    Refused(String, Value),
    /// The sidecar keeps the secret back, for these reasons.
    KeptBack(String, Vec<String>),
    /// The provider refused a request with the secret, and the sidecar sends with an earlier
    /// secret.
    FellBack(Box<Fallback>),
    /// The sidecar sends with another secret.
    OtherSecret(String),
}

/// A sidecar that sends with an earlier secret, because the provider refused a request with the
/// newest.
#[derive(Debug)]
pub(super) struct Fallback {
    admin: String,
    refused: Fingerprint,
    /// The fingerprint of the secret in requests.
    sent: String,
    /// The name of the secret for `keyside rotate`.
    name: String,
}

impl fmt::Display for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            admin,
            refused,
            sent,
            name,
        } = self;
        write!(
            f,
            "the provider refused a request with {refused}, so the sidecar at {admin} sends with the earlier secret, {sent}: \
             put a good one in place with `keyside rotate {name} --new -`"
        )
    }
}

impl NotInUse {
    /// True for a sidecar that sends with an earlier secret because the provider refused the
    /// newest.
    pub(super) fn is_fallback(&self) -> bool {
        matches!(self, Self::FellBack(_))
    }
}

impl fmt::Display for NotInUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer(error) => fmt::Display::fmt(error, f),
            Self::Refused(admin, reasons) => {
                write!(f, "the sidecar at {admin} refused the reload: {reasons}")
            }
            Self::KeptBack(admin, reasons) => write!(
                f,
                "the sidecar at {admin} keeps the secret back: {}",
                reasons.join("; ")
            ),
            Self::FellBack(fallback) => fmt::Display::fmt(fallback, f),
            Self::OtherSecret(admin) => write!(
                f,
                "the sidecar at {admin} does not send with the secret; does it read the same source?"
            ),
        }
    }
}

impl std::error::Error for NotInUse {}

/// The time between two reloads of a sidecar that does not have the secret yet: a reload reads all
/// sources.
const RELOAD_INTERVAL: Duration = Duration::from_secs(1);
/// The time between two looks for a successful request: people wait for the command, and a look is
/// a small request on this machine.
const SUCCESS_INTERVAL: Duration = Duration::from_millis(250);
