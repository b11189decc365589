//! A credential: the secrets of an account at a provider, as of one generation.

use std::sync::Arc;
use std::time::Duration;

use super::acceptance::Acceptance;
use super::access::issued::IssuedToken;
use super::access::tokens::AccessTokens;
use super::fault::CredentialFault;
use super::forbidden::ForbiddenRequests;
use super::history::{CredentialHistory, SecretHistory};
use super::hold::Hold;
use super::kept_back::KeptBack;
use super::previous::{LastEvent, Previous};
use super::proof::ProofCache;
use super::reflection::Reflections;
use super::renewal::Renewal;
use super::slot::{SecretRole, Slot};
use super::unfinished::UnfinishedRotations;
use super::verification::{Standing, Verification};
use super::version::SecretVersion;
use crate::config::ProofForm;
use crate::named::ByName;
use crate::provider::{Inject, Provider};
use crate::secret::{Fingerprint, Secret};

/// The secrets of an account at a provider, as of one generation.
///
/// A request holds the credential of its generation from start to end. Token and app secret of a
/// request are therefore always of one load, even while a reload publishes new secrets.
#[derive(Debug)]
pub struct Credential {
    /// The credential's name in the configuration.
    pub name: String,
    /// The provider of the account.
    pub provider: Arc<Provider>,
    /// The form of `appsecret_proof` for each call.
    pub proof: ProofForm,
    /// The age at which a secret should have been rotated (`max_age`).
    pub max_age: Duration,
    /// The time for which a request waits for a new secret while the provider refuses every secret
    /// (`hold`).
    pub max_hold: Duration,
    pub(super) has_route: bool,
    /// The slots by the name of the secret.
    pub(super) slots: ByName<Slot>,
    /// The references without a secret.
    pub(super) faults: Vec<CredentialFault>,
    /// The newer secrets that are not in use.
    pub(super) kept_back: Option<KeptBack>,
    /// Replaced secret sets, the first fallback first.
    pub(super) previous: Vec<Previous>,
    pub(super) acceptance: Acceptance,
    pub(super) history: Arc<CredentialHistory>,
    pub(super) secret_history: Arc<SecretHistory>,
    /// The access tokens of the newest secret set.
    pub(super) access: Arc<AccessTokens>,
    pub(super) proofs: ProofCache,
    /// The secrets to redact from answers.
    pub(super) reflections: Reflections,
}

impl Credential {
    /// Returns the current secret with the given name, if the credential has one.
    #[must_use]
    pub fn current(&self, secret: &str) -> Option<&Secret> {
        self.slots.get(secret).map(|slot| slot.current.secret())
    }

    /// Returns the fingerprint of the current secret with the given name, as may be shown for a
    /// secret of its kind.
    #[must_use]
    pub fn fingerprint_of(&self, secret: &str) -> Option<Fingerprint> {
        let slot = self.slots.get(secret);
        slot.map(|slot| slot.current.fingerprint())
    }

    /// Returns every secret for signatures of webhooks, with the role of the secret.
    ///
    /// The current secret comes first, then the secrets listed behind in the configuration, then
    /// the secrets replaced within `overlap`.
    pub fn accepted(&self, secret: &str) -> impl Iterator<Item = (SecretRole, &SecretVersion)> {
        let slot = self.slots.get(secret);
        let current = slot.map(|slot| (SecretRole::Current, &*slot.current));
        let listed = slot
            .into_iter()
            .flat_map(|slot| &slot.accepted)
            .map(|version| (SecretRole::Accepted, &**version));
        let is_in_slot = move |version: &SecretVersion| {
            slot.into_iter()
                .flat_map(Slot::versions)
                .any(|listed| listed.secret().same_as(version.secret()))
        };
        let replaced = self
            .previous
            .iter()
            .filter_map(move |previous| previous.get(secret))
            .filter(move |version| !is_in_slot(version))
            .map(move |version| {
                (
                    SecretRole::Previous(self.last_with(secret, version)),
                    &**version,
                )
            });
        current.into_iter().chain(listed).chain(replaced)
    }

    /// Returns the place of the previous set that ends last, of the sets with an equal secret.
    fn last_with(&self, secret: &str, version: &SecretVersion) -> usize {
        let has_equal = |previous: &Previous| {
            let own = previous.get(secret);
            own.is_some_and(|own| own.secret().same_as(version.secret()))
        };
        let sets = self.previous.iter().enumerate();
        sets.filter(|(_, previous)| has_equal(previous))
            .max_by_key(|(_, previous)| previous.until())
            .map(|(place, _)| place)
            .unwrap_or_default()
    }

    /// Returns the slots by the name of the secret.
    #[must_use]
    pub fn slots(&self) -> &ByName<Slot> {
        &self.slots
    }

    /// Returns the references without a secret.
    #[must_use]
    pub fn faults(&self) -> &[CredentialFault] {
        &self.faults
    }

    /// Returns the newer secrets of the sources that are not in use, with the reason.
    #[must_use]
    pub fn kept_back(&self) -> Option<&KeptBack> {
        self.kept_back.as_ref()
    }

    /// True if a source holds no secret, or a secret that cannot be used: it is worth trying again.
    #[must_use]
    pub fn is_incomplete(&self) -> bool {
        self.kept_back.is_some() || !self.faults.is_empty()
    }

    /// True if a route sends with the credential: else the secrets serve webhooks alone.
    #[must_use]
    pub fn has_route(&self) -> bool {
        self.has_route
    }

    /// Returns the names of absent secrets that requests need; none without a route.
    ///
    /// Requests need the provider's required secrets, and the key of `appsecret_proof` if the
    /// configuration has a reference for the key.
    pub fn missing(&self) -> impl Iterator<Item = &str> {
        self.needed()
            .filter(|secret| self.current(secret).is_none())
    }

    /// Returns the names of all secrets for requests; none without a route.
    pub(super) fn needed(&self) -> impl Iterator<Item = &str> {
        let kinds = self.provider.secrets.iter().filter(|_| self.has_route);
        let required = kinds
            .filter(|secret| secret.required)
            .map(|secret| secret.name.as_str());
        let proof_key = self
            .proof_key()
            .filter(|key| self.has_route && self.proof != ProofForm::Off && self.names(key));
        required.chain(proof_key)
    }

    /// True if requests can be sent, as far as is known; without a route, if every secret of
    /// webhooks is there.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        if !self.has_route {
            return self.faults.is_empty();
        }
        self.missing().next().is_none() && !self.acceptance.is_refused() && !self.has_ended()
    }

    /// True once the token is past the end that the provider told, and no other secret set is left
    /// to send with.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let left = self
            .verification()
            .and_then(|verification| verification.expires_in());
        left.is_some_and(|left| left.is_zero()) && self.alternative_to(self.newest()).is_none()
    }

    /// Returns the name of the secret that signs `appsecret_proof`, for providers with a proof.
    #[must_use]
    pub fn proof_key(&self) -> Option<&str> {
        self.provider.inject.iter().find_map(|inject| match inject {
            Inject::AppSecretProof { key, .. } => Some(key.as_str()),
            _ => None,
        })
    }

    /// Returns the name of the token that the provider tells about when asked.
    fn asked_token(&self) -> &str {
        let names = self.provider.inject.iter().find_map(|inject| match inject {
            Inject::AppSecretProof { token, .. } => Some(token.as_str()),
            _ => None,
        });
        names.unwrap_or("token")
    }

    /// True if the configuration has a reference for the secret, with a value or without.
    pub(super) fn names(&self, secret: &str) -> bool {
        self.current(secret).is_some() || self.faults.iter().any(|fault| fault.secret == secret)
    }

    /// Returns the replaced secret sets: the latest first, but a set refused by the provider comes
    /// after the set accepted instead.
    #[must_use]
    pub fn previous(&self) -> &[Previous] {
        &self.previous
    }

    /// Returns the provider's acceptance of the secret sets, as traffic shows.
    #[must_use]
    pub fn acceptance(&self) -> &Acceptance {
        &self.acceptance
    }

    /// Returns the requests forbidden to every secret at hand.
    #[must_use]
    pub fn forbidden(&self) -> &ForbiddenRequests {
        &self.history.forbidden
    }

    /// Returns the hold, for requests while the provider refuses every secret set.
    #[must_use]
    pub fn hold(&self) -> &Hold {
        &self.secret_history.hold
    }

    /// Returns the state of renewals.
    #[must_use]
    pub fn renewal(&self) -> &Renewal {
        &self.history.renewal
    }

    /// Returns the rotations that a process began and did not bring to their end.
    #[must_use]
    pub fn unfinished_rotations(&self) -> &UnfinishedRotations {
        &self.history.unfinished
    }

    /// Notes an event that a secret of this role signed.
    pub fn note_match(&self, role: SecretRole) {
        if let SecretRole::Previous(place) = role
            && let Some(previous) = self.previous.get(place)
        {
            previous.last_match.note();
        }
    }

    /// Returns the last event whose signature none of the secrets makes.
    #[must_use]
    pub fn last_forgery(&self) -> &LastEvent {
        &self.history.last_forgery
    }

    /// Returns the last successful request with the newest secret set. Loads with equal secrets
    /// share the event; new secrets begin without.
    #[must_use]
    pub fn last_success(&self) -> &LastEvent {
        &self.secret_history.last_success
    }

    /// Returns the last answer of the provider about the newest secret set, if the provider was
    /// asked.
    #[must_use]
    pub fn verification(&self) -> Option<Arc<Verification>> {
        self.secret_history.verification.load_full()
    }

    /// True for the id of a page that the token may use, as far as the provider has told. Messenger
    /// and WhatsApp take messages at one path.
    #[must_use]
    pub fn is_page(&self, id: &str) -> bool {
        let verification = self.secret_history.verification.load();
        let facts = verification.as_ref().and_then(|found| found.facts());
        facts.is_some_and(|facts| facts.pages.iter().any(|page| page == id))
    }

    /// Stores an answer of the provider about the newest secret set.
    pub fn keep_verification(&self, mut verification: Verification) {
        if let Some((issued, age)) = verification.issue()
            && let Some(slot) = self.slots.get(self.asked_token())
        {
            slot.current.note_issue(issued, age, verification.at);
        }
        let before = self.verification();
        let same = before.filter(|before| before.verdict == verification.verdict);
        // While the provider refuses requests as well, an accepted request from before disproves
        // nothing.
        if let Some(same) = same.filter(|_| !self.acceptance.is_refused()) {
            verification.standing = same.standing_of_same();
        }
        self.secret_history
            .verification
            .store(Some(Arc::new(verification)));
    }

    /// Notes on a refusal of the newest secret set that a request with the set was accepted. The
    /// verdict stays, for the comparison with the next answer.
    pub(super) fn disprove_refusal(&self) {
        let kept = &self.secret_history.verification;
        let verification = kept.load();
        if let Some(found) = verification.as_ref().filter(|found| found.is_disprovable()) {
            kept.store(Some(Arc::new(Verification {
                standing: Standing::Disproved,
                ..Verification::clone(found)
            })));
        }
    }

    /// Returns the texts to redact from answers.
    pub fn reflections(&self) -> impl Iterator<Item = &[u8]> {
        self.reflections.iter()
    }

    /// Returns the access tokens to redact from answers, of the newest and of previous secret sets.
    #[must_use]
    pub fn issued_tokens(&self) -> Vec<Arc<IssuedToken>> {
        if self.provider.access_token.is_none() {
            return Vec::new();
        }
        let previous = self.previous.iter().map(|previous| &previous.access);
        std::iter::once(&self.access)
            .chain(previous)
            .flat_map(|access| access.all().to_vec())
            .collect()
    }

    /// Returns the names of the secrets with a current value different from `before`.
    pub fn changed_since<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = &'a str> {
        self.slots.iter().filter_map(|(name, slot)| {
            let is_equal = before
                .slots
                .get(name)
                .is_some_and(|old| old.current.fingerprint() == slot.current.fingerprint());
            (!is_equal).then_some(name.as_str())
        })
    }
}
