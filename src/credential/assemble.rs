//! Assembly of a credential from found secrets and the credential of the load before.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::acceptance::{Acceptance, FallbackReason};
use super::access::tokens::AccessTokens;
use super::account::Credential;
use super::fault::CredentialFault;
use super::form::{misplaced, not_of_kind};
use super::kept_back::{KeptBack, KeptBackReason};
use super::previous::Previous;
use super::proof::ProofCache;
use super::reflection::Reflections;
use super::secret_set::SecretSet;
use super::slot::{LeftOut, Slot};
use super::source::error::SourceError;
use super::source::found::{Findings, FoundSecret};
use super::version::SecretVersion;
use crate::config::{CredentialConfig, Reference};
use crate::named::ByName;
use crate::provider::{Provider, SecretForm, SecretKind, SecretOrigin};
use crate::secret::Secret;

impl Credential {
    /// Assembles the credential of a load from the secrets found.
    ///
    /// Secrets known from `before` keep their age. Replaced secrets, with which requests were sent
    /// until now, become [`previous`]. While a secret manager gives no value, the slots of `before`
    /// stay: an outage of the manager is no fault of the configuration. All further references
    /// without a secret are among the [`faults`].
    ///
    /// [`previous`]: Self::previous
    /// [`faults`]: Self::faults
    #[must_use]
    pub fn assemble(
        name: &str,
        config: &CredentialConfig,
        findings: &Findings,
        before: Option<&Self>,
    ) -> Self {
        let provider = Arc::clone(&config.provider);
        // Under a different provider the name stands for a different account.
        let before = before.filter(|before| before.provider.name == provider.name);
        let (slots, faults) = fill_slots(name, config, findings, before);
        let previous = before
            .map(|before| previous_after(before, &slots, &provider, config.overlap))
            .unwrap_or_default();
        let unchanged = before.filter(|before| newest_of(before).equals(&slots, &provider));
        let acceptance = unchanged
            .map(|before| &before.acceptance)
            .filter(|acceptance| acceptance.fallback() == Some(FallbackReason::TooLittle))
            .map(Acceptance::copy)
            .unwrap_or_default();
        // A token from a different exchange would be for a different account.
        let access = before
            .filter(|before| before.provider.access_token == provider.access_token)
            .and_then(|before| access_tokens_of(before, &slots, &provider))
            .unwrap_or_default();
        Self {
            name: name.to_owned(),
            provider,
            proof: config.proof,
            max_age: config.max_age,
            max_hold: config.hold,
            has_route: config.has_route,
            slots,
            faults,
            kept_back: None,
            previous,
            acceptance,
            history: before
                .map(|before| Arc::clone(&before.history))
                .unwrap_or_default(),
            secret_history: unchanged
                .map(|before| Arc::clone(&before.secret_history))
                .unwrap_or_default(),
            access,
            proofs: ProofCache::default(),
            reflections: Reflections::default(),
        }
        .with_reflections()
    }

    /// Returns the credential, or the secrets of `before` if a secret that `before` has cannot be
    /// used.
    ///
    /// The secrets of a credential change together or not at all.
    #[must_use]
    pub fn or_kept(self, before: Option<&Self>) -> Self {
        let is_lost = |before: &&Self| {
            let mut lost = self.faults.iter().map(|fault| &fault.secret);
            before.provider.name == self.provider.name
                && lost.any(|secret| before.slots.contains_key(secret))
        };
        match before.filter(is_lost) {
            Some(before) => before.keep(&self, KeptBackReason::Unusable(self.faults.clone())),
            None => self,
        }
    }

    /// Returns the credential as it was, with the settings of `candidate`, whose secrets are kept
    /// back.
    ///
    /// An app secret that only the proof of requests refuses is accepted for webhooks at once: the
    /// provider signs events with the new secret as soon as the secret was reset.
    #[must_use]
    pub fn keep(&self, candidate: &Self, reason: KeptBackReason) -> Self {
        let kept_back = KeptBack::new(reason, &candidate.slots, self.kept_back());
        let mut copy = self.copy();
        if let KeptBackReason::Refused { refusal, .. } = &kept_back.reason
            && let Some(key) = candidate.proof_key()
            && refusal.secret.as_deref() == Some(key)
            && let Some(new) = candidate.slots.get(key)
            && let Some(slot) = copy.slots.get_mut(key)
        {
            slot.accept(&new.current);
        }
        // The account belongs to the secrets: a key's new id beside the old key would be a pair
        // without precedent.
        if candidate.provider.authorizes_as(&copy.provider) {
            copy.provider = Arc::clone(&candidate.provider);
        }
        copy.proof = candidate.proof;
        copy.max_age = candidate.max_age;
        copy.max_hold = candidate.max_hold;
        copy.has_route = candidate.has_route;
        copy.kept_back = Some(kept_back);
        copy.with_reflections()
    }

    /// Returns a line for each further reference whose value is left out.
    pub fn left_out(&self) -> impl Iterator<Item = String> {
        self.slots.iter().flat_map(move |(secret, slot)| {
            let name = &self.name;
            slot.left_out
                .iter()
                .map(move |LeftOut { reference, hint }| {
                    format!("credential.{name}.{secret}: `{reference}`: left out: {hint}")
                })
        })
    }

    /// Returns the credential under another name.
    #[must_use]
    pub fn renamed(&self, name: &str) -> Self {
        let mut copy = self.copy();
        name.clone_into(&mut copy.name);
        copy.with_reflections()
    }

    /// Removes a secret that turned out to be unusable, for the reason `problem`.
    #[must_use]
    pub fn without(mut self, secret: &str, problem: &str) -> Self {
        if let Some(slot) = self.slots.remove(secret) {
            self.faults.push(CredentialFault {
                credential: self.name.clone(),
                secret: secret.to_owned(),
                reference: slot.current.reference.clone(),
                problem: problem.to_owned(),
            });
        }
        self
    }

    /// Returns a copy without previous secret sets whose overlap has ended; `None` if there are
    /// none.
    #[must_use]
    pub fn without_expired(&self) -> Option<Self> {
        let previous: Vec<_> = self
            .previous
            .iter()
            .filter(|previous| previous.is_in_time() || self.is_sent(previous))
            .cloned()
            .collect();
        if previous.len() == self.previous.len() {
            return None;
        }
        let mut copy = self.copy();
        copy.previous = previous;
        Some(copy.with_reflections())
    }

    /// Returns a copy with these sets behind the previous sets; `None` if every set is previous
    /// already, or is current.
    #[must_use]
    pub fn with_previous(&self, sets: Vec<Previous>) -> Option<Self> {
        let mut copy = self.copy();
        for set in sets {
            let is_known = copy.previous.iter().any(|known| known.is_same_as(&set));
            if !is_known && !set.equals(&copy.slots, &copy.provider) && !set.secrets.is_empty() {
                copy.previous.push(set);
            }
        }
        copy.previous.truncate(MAX_PREVIOUS);
        (copy.previous.len() > self.previous.len()).then(|| copy.with_reflections())
    }

    /// Returns a copy in an equal state, for [`Self::with_reflections`] to complete.
    fn copy(&self) -> Self {
        Self {
            name: self.name.clone(),
            provider: Arc::clone(&self.provider),
            proof: self.proof,
            max_age: self.max_age,
            max_hold: self.max_hold,
            has_route: self.has_route,
            slots: self.slots.clone(),
            faults: self.faults.clone(),
            kept_back: self.kept_back.clone(),
            previous: self.previous.clone(),
            acceptance: self.acceptance.copy(),
            history: Arc::clone(&self.history),
            secret_history: Arc::clone(&self.secret_history),
            access: Arc::clone(&self.access),
            proofs: ProofCache::default(),
            reflections: Reflections::default(),
        }
    }

    fn with_reflections(mut self) -> Self {
        self.reflections = all_reflections(&self);
        self
    }
}

/// True if a secret manager gave no value for the first reference, or the load did not wait for the
/// value of any.
fn are_unread(references: &[Reference], findings: &Findings) -> bool {
    let mut each = references.iter().enumerate();
    each.any(|(place, reference)| match findings.get(reference) {
        Some(Err(SourceError::Late)) => true,
        Some(Err(_)) => place == 0 && reference.is_managed(),
        Some(Ok(_)) | None => false,
    })
}

/// Fills a slot for each configured secret, and collects the references without a secret.
fn fill_slots(
    name: &str,
    config: &CredentialConfig,
    findings: &Findings,
    before: Option<&Credential>,
) -> (ByName<Slot>, Vec<CredentialFault>) {
    let mut all = config.secrets.values();
    let is_incomplete = all.any(|references| are_unread(references, findings));
    let mut slots = ByName::default();
    let mut faults = Vec::new();
    for (secret, references) in &config.secrets {
        // While a manager gives a secret no value, the whole credential stays unchanged: a new
        // token with an old app secret would be a pair without precedent.
        let kept = before
            .and_then(|before| before.slots.get(secret))
            .filter(|slot| is_incomplete && Some(&slot.current.reference) == references.first());
        if let Some(slot) = kept {
            slots.insert(secret.clone(), slot.clone());
            continue;
        }
        match fill_slot(name, secret, references, config, findings, before) {
            Ok(slot) => slots.extend(slot.map(|slot| (secret.clone(), slot))),
            Err(more) => faults.extend(more),
        }
    }
    (slots, faults)
}

/// Fills a slot with the secrets that `references` lead to; `None` without references.
fn fill_slot(
    credential: &str,
    name: &str,
    references: &[Reference],
    config: &CredentialConfig,
    findings: &Findings,
    before: Option<&Credential>,
) -> Result<Option<Slot>, Vec<CredentialFault>> {
    let kind = config.provider.secret(name);
    let origin = kind.map_or(SecretOrigin::Chosen, |kind| kind.origin);
    let slot_before = before.and_then(|before| before.slots.get(name));
    let mut faults = Vec::new();
    let mut versions = Vec::new();
    let mut left_out = Vec::new();
    for (place, reference) in references.iter().enumerate() {
        let problem = match findings.get(reference) {
            Some(Ok(found)) => match misplaced_in(kind, &found.secret) {
                // A warning names the reference: the first secret is good alone.
                Some(hint) if place > 0 && !has_accepted(slot_before, reference) => {
                    left_out.push(LeftOut {
                        reference: reference.clone(),
                        hint,
                    });
                    continue;
                }
                // The fault keeps the good value that the reference had.
                Some(hint) => hint.to_owned(),
                None => {
                    versions.push(version_of(found, origin, reference, name, before));
                    continue;
                }
            },
            // Only the first reference must lead to a secret: the others are for secrets that come
            // or go.
            Some(Err(_)) | None if place > 0 => continue,
            Some(Err(error)) => error.to_string(),
            None => SourceError::Cancelled.to_string(),
        };
        faults.push(CredentialFault {
            credential: credential.to_owned(),
            secret: name.to_owned(),
            reference: reference.clone(),
            problem,
        });
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let mut versions = versions.into_iter();
    Ok(versions.next().map(|current| Slot {
        current,
        accepted: versions.collect(),
        left_out,
    }))
}

/// Makes a version of the secret `name` that was found. An equal one in `before` passes its age on.
fn version_of(
    found: &FoundSecret,
    origin: SecretOrigin,
    reference: &Reference,
    name: &str,
    before: Option<&Credential>,
) -> Arc<SecretVersion> {
    let slot = before.and_then(|before| before.slots.get(name));
    let previous = before.into_iter().flat_map(|before| &before.previous);
    let replaced = previous.filter_map(|previous| previous.get(name));
    let known = slot
        .into_iter()
        .flat_map(Slot::versions)
        .chain(replaced.map(Arc::as_ref));
    let current = slot.map(|slot| slot.current.as_ref());
    Arc::new(SecretVersion::new(found, origin, reference, known, current))
}

/// True if a good value of a further reference is in a slot.
fn has_accepted(slot: Option<&Slot>, reference: &Reference) -> bool {
    let mut accepted = slot.into_iter().flat_map(|slot| &slot.accepted);
    accepted.any(|version| version.reference == *reference)
}

/// Returns a hint if a value plainly is not a secret of this kind.
fn misplaced_in(kind: Option<&SecretKind>, secret: &Secret) -> Option<&'static str> {
    let form = kind.map_or(SecretForm::Text, |kind| kind.form);
    let origin = kind.map_or(SecretOrigin::Chosen, |kind| kind.origin);
    let is_random_text =
        |kind: &&SecretKind| kind.form == SecretForm::Text && kind.origin == SecretOrigin::Random;
    let of_kind = || not_of_kind(kind.filter(is_random_text)?, secret);
    misplaced(form, origin, secret).or_else(of_kind)
}

/// Returns the newest secret set of a credential as a `Previous`.
fn newest_of(credential: &Credential) -> Previous {
    let secrets = credential
        .slots
        .iter()
        .map(|(name, slot)| (name.clone(), Arc::clone(&slot.current)));
    Previous {
        secrets: secrets.collect(),
        provider: Arc::clone(&credential.provider),
        access: Arc::clone(&credential.access),
        replaced: Instant::now(),
        until: Instant::now(),
        last_match: Arc::default(),
    }
}

/// Returns the access tokens of the secrets in `slots`, if `before` has, or lately had, equal
/// secrets.
fn access_tokens_of(
    before: &Credential,
    slots: &ByName<Slot>,
    provider: &Provider,
) -> Option<Arc<AccessTokens>> {
    std::iter::once(newest_of(before))
        .chain(before.previous.iter().cloned())
        .find(|set| set.equals(slots, provider))
        .map(|set| set.access)
}

/// Returns the previous secret sets once `slots` replace `before`, the latest first.
fn previous_after(
    before: &Credential,
    slots: &ByName<Slot>,
    provider: &Provider,
    overlap: Duration,
) -> Vec<Previous> {
    let replaced = Previous {
        until: Instant::now() + overlap,
        ..newest_of(before)
    };
    // If the provider refused the replaced set, the set accepted instead stays the first fallback.
    let is_sent = |previous: &&Previous| before.is_sent(previous);
    let (accepted, earlier): (Vec<_>, Vec<_>) = before.previous.iter().partition(is_sent);
    accepted
        .into_iter()
        .chain([&replaced])
        .chain(earlier)
        // A set that is current (again) is not previous. The set in use outlives its overlap.
        .filter(|previous| previous.is_in_time() || before.is_sent(previous))
        .filter(|previous| !previous.equals(slots, provider))
        .take(MAX_PREVIOUS)
        .cloned()
        .collect()
}

/// Collects the secrets to redact from answers.
fn all_reflections(credential: &Credential) -> Reflections {
    let versions = credential
        .slots
        .values()
        .flat_map(Slot::versions)
        .chain(credential.previous.iter().flat_map(Previous::versions));
    let plain = versions.map(SecretVersion::shared);
    // A user name and password in the form of HTTP Basic are worth as much as in plain text.
    let basic = std::iter::once(credential.newest())
        .chain(credential.previous_sets())
        .flat_map(SecretSet::basics)
        .map(Arc::new);
    Reflections::of(plain.chain(basic))
}

/// The number of previous secret sets to keep: enough for a rotation with two failures.
const MAX_PREVIOUS: usize = 4;
