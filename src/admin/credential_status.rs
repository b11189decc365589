//! Credentials with their secrets as JSON.

use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::credential::{
    Credential, KeptBack, Previous, RenewalProblem, SecretVersion, Slot, Standing,
    UnfinishedRotation, Verdict, Verification,
};
use crate::reload::{AGE_WARNING_SHARE, Live, concerns, overlap_concerns};
use crate::units::unix;

/// Returns the state of every credential: slots, sources, and the verdict of the provider.
#[must_use]
pub fn credentials(live: &Live) -> Value {
    live.credentials
        .values()
        .map(|credential| credential_status(credential, live))
        .collect()
}

/// Returns the state of a credential.
pub(super) fn credential_status(credential: &Credential, live: &Live) -> Value {
    let missing: Vec<_> = credential.missing().collect();
    let is_refused = credential.acceptance().is_refused();
    let secrets: Vec<_> = credential
        .slots()
        .iter()
        .map(|(name, slot)| SecretStatus::new(name, slot, credential.max_age, live))
        .collect();
    let unread: Vec<_> = live
        .unread_secrets(credential)
        .into_iter()
        .map(|unread| {
            json!({
                "secret": unread.secret,
                "reference": unread.reference.to_string(),
                "problem": unread.problem,
            })
        })
        .collect();
    let previous: Vec<_> = credential
        .previous()
        .iter()
        .map(PreviousStatus::new)
        .collect();
    let unfinished: Vec<_> = credential
        .unfinished_rotations()
        .all()
        .iter()
        .map(unfinished_status)
        .collect();
    let verification = credential
        .verification()
        .filter(|found| found.standing != Standing::Disproved);
    let facts = verification.as_ref().and_then(|found| found.facts());
    let concerns = facts
        .map(|facts| concerns(&credential.name, facts, &live.generation))
        .unwrap_or_default();
    json!({
        "name": credential.name,
        "provider": credential.provider.name,
        "usable": credential.is_usable(),
        "missing": missing,
        "unread": unread,
        "kept_back": credential.kept_back().map(kept_back_status),
        "renewal_problem": credential.renewal().problem().map(|problem| renewal_status(&problem)),
        "unfinished_rotations": unfinished,
        "overlap_concerns": overlap_concerns(live, credential),
        "refused_by_provider": is_refused,
        "sends": if credential.in_use().is_previous() { "previous" } else { "current" },
        "last_success_seconds_ago": credential.last_success().age().map(|age| age.as_secs()),
        "check": verification.map(|verification| verification_status(&verification)),
        "concerns": concerns,
        "previous": previous,
        "max_age_seconds": credential.max_age.as_secs(),
        "secrets": secrets,
    })
}

/// Returns the failure of a renewal.
fn renewal_status(problem: &RenewalProblem) -> Value {
    json!({
        "step": problem.step.failure(),
        "since": unix(problem.since),
        "reason": problem.reason,
    })
}

/// Returns a rotation that nobody has brought to its end.
fn unfinished_status(rotation: &UnfinishedRotation) -> Value {
    json!({
        "target": rotation.target,
        "author": rotation.author,
        "began": unix(rotation.began),
        "journal": rotation.journal,
        "unread": rotation.unread,
        "concern": rotation.concern(),
    })
}

/// Returns the reasons for which newer secrets are not in use.
fn kept_back_status(kept_back: &KeptBack) -> Value {
    json!({ "since": unix(kept_back.since), "reasons": kept_back.reasons() })
}

/// A secret of a credential: the current version, and the versions still accepted.
#[derive(Serialize)]
struct SecretStatus<'a> {
    name: &'a str,
    state: &'static str,
    /// Unix time of the last successful read, for a secret of a secret manager.
    confirmed: Option<u64>,
    accepted: Vec<VersionStatus>,
    #[serde(flatten)]
    current: VersionStatus,
}

impl<'a> SecretStatus<'a> {
    fn new(name: &'a str, slot: &Slot, max_age: Duration, live: &Live) -> Self {
        let age = slot.current.age();
        let state = if age > max_age {
            "overdue"
        } else if age > max_age.mul_f64(AGE_WARNING_SHARE) {
            "due"
        } else {
            "ok"
        };
        let last_read = live.managers.last_read(&slot.current.reference);
        Self {
            name,
            state,
            confirmed: last_read.and_then(|read| read.confirmed).map(unix),
            accepted: slot
                .accepted
                .iter()
                .map(|version| VersionStatus::new(version))
                .collect(),
            current: VersionStatus::new(&slot.current),
        }
    }
}

/// A version of a secret.
#[derive(Serialize)]
struct VersionStatus {
    fingerprint: String,
    reference: String,
    since: u64,
    since_from: &'static str,
    age_seconds: u64,
}

impl VersionStatus {
    fn new(version: &SecretVersion) -> Self {
        Self {
            fingerprint: version.fingerprint().to_string(),
            reference: version.reference.to_string(),
            since: unix(version.since()),
            since_from: version.since_from().as_str(),
            age_seconds: version.age().as_secs(),
        }
    }
}

/// A secret set that was replaced, and remains usable until `ends`.
#[derive(Serialize)]
struct PreviousStatus<'a> {
    secrets: Vec<PreviousSecret<'a>>,
    ends: u64,
    ends_in_seconds: u64,
}

#[derive(Serialize)]
struct PreviousSecret<'a> {
    name: &'a str,
    #[serde(flatten)]
    version: VersionStatus,
}

impl<'a> PreviousStatus<'a> {
    fn new(previous: &'a Previous) -> Self {
        let left = previous.until().saturating_duration_since(Instant::now());
        let secrets = previous
            .secrets()
            .iter()
            .map(|(name, version)| PreviousSecret {
                name,
                version: VersionStatus::new(version),
            });
        Self {
            secrets: secrets.collect(),
            ends: unix(SystemTime::now() + left),
            ends_in_seconds: left.as_secs(),
        }
    }
}

/// Returns the verdict of the provider about a token, with the time of the question.
fn verification_status(verification: &Verification) -> Value {
    let (result, reason, facts) = match &verification.verdict {
        Verdict::Proved(facts) => ("proved", None, Some(facts)),
        Verdict::Refused(refusal) => ("refused", Some(&refusal.reason), None),
        Verdict::Unproved(reason) => ("unproved", Some(reason), None),
    };
    json!({
        "result": result,
        "reason": reason,
        "asked_seconds_ago": verification.at.elapsed().as_secs(),
        "app": facts.map(|facts| &facts.app),
        "type": facts.map(|facts| &facts.kind),
        "expires": facts.and_then(|facts| facts.expires).map(unix),
        "data_access_expires": facts.and_then(|facts| facts.data_access_expires).map(unix),
        "ends_in_seconds": verification.ends_in().map(|left| left.as_secs()),
        "scopes": facts.map(|facts| &facts.scopes),
    })
}
