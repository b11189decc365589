//! The running sidecars that a command reloads, and the secret that each of them sends with.

use std::fmt;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::client::{ClientError, ask};
use super::problems::kept_back_reasons;
use super::table::list;
use crate::rotation::Target;
use crate::secret::Fingerprint;

/// The address of the admin listener in the default configuration.
pub(super) const DEFAULT_ADMIN: &str = "127.0.0.1:9900";

/// Reloads a sidecar until it sends with a secret, for at most `patience`: a secret that is written to another place than
/// the sidecar reads from takes its time.
///
/// # Errors
/// If the sidecar does not answer, refuses the secret, or sends with another one at the end.
pub(super) fn bring_into_use(
    admin: &str,
    target: &Target,
    secret: Fingerprint,
    patience: Duration,
) -> Result<(), NotInUse> {
    let began = Instant::now();
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
    target: &Target,
    secret: Fingerprint,
) -> Result<(), NotInUse> {
    let (_, status) = ask(admin, "GET", "/status").map_err(NotInUse::NoAnswer)?;
    let credentials = status.get("credentials").unwrap_or(&Value::Null);
    let own = list(credentials)
        .find(|credential| credential["name"] == target.credential.as_str())
        .unwrap_or(&Value::Null);
    let fingerprint = secret.to_string();
    let is_used = own["sends"] == "current"
        && list(own.get("secrets").unwrap_or(&Value::Null)).any(|shown| {
            shown["name"] == target.secret.as_str() && shown["fingerprint"] == fingerprint
        });
    if is_used {
        return Ok(());
    }
    let kept_back: Vec<_> = kept_back_reasons(own).collect();
    Err(if kept_back.is_empty() {
        NotInUse::OtherSecret(admin.to_owned())
    } else {
        NotInUse::KeptBack(admin.to_owned(), kept_back)
    })
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
    /// The sidecar sends with another secret.
    OtherSecret(String),
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
            Self::OtherSecret(admin) => write!(
                f,
                "the sidecar at {admin} does not send with the secret; does it read the same source?"
            ),
        }
    }
}

/// The time between two reloads of a sidecar that does not have the secret yet.
const RELOAD_INTERVAL: Duration = Duration::from_secs(1);
