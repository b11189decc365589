//! The secrets of one account at one provider, in their slots.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use zeroize::Zeroizing;

mod access;
mod asked;
mod fault;
mod held;
mod previous;
mod reflection;
mod sent;
pub mod source;

use access::Access;
pub use access::{Issued, Issuer, NoToken, access_token};
pub use asked::{Asked, Facts, Use, Verdict};
pub use fault::CredentialFault;
pub use held::{Held, SinceFrom};
pub use previous::Previous;
use reflection::reflections;
pub use sent::{Missing, Sent};
use source::{Findings, SourceError};

use crate::config::{CredentialConfig, Proof, Reference};
use crate::provider::{Inject, Provider, SecretForm};
use crate::secret::{Fingerprint, Secret};

/// One account's secrets as of one generation. A request that holds it sees a token and an app secret
/// that belong together, whatever is reloaded meanwhile.
#[derive(Debug)]
pub struct Credential {
    /// Its name in the configuration.
    pub name: String,
    /// The provider that it is for.
    pub provider: Arc<Provider>,
    /// Which form of `appsecret_proof` goes with each call.
    pub proof: Proof,
    /// How old a secret may become.
    pub max_age: Duration,
    slots: BTreeMap<String, Slot>,
    faults: Vec<CredentialFault>,
    previous: Vec<Previous>,
    standing: Standing,
    asked: Arc<ArcSwapOption<Asked>>,
    access: Arc<Access>,
    reflections: Vec<Zeroizing<Vec<u8>>>,
}

/// Where one secret lives.
#[derive(Clone, Debug)]
pub struct Slot {
    /// What is sent.
    pub current: Arc<Held>,
    /// What is accepted as well.
    pub accepted: Vec<Arc<Held>>,
}

/// Which secret of a slot something was signed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The one that is sent.
    Current,
    /// One that is listed behind it.
    Accepted,
    /// One that was sent until it was replaced.
    Previous,
}

impl Which {
    /// As metrics show it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Accepted => "accepted",
            Self::Previous => "previous",
        }
    }
}

impl Credential {
    /// Puts what was found into slots. What `before` held already keeps its age, and what it sent until
    /// now becomes previous where it is replaced. What a secret manager did not give stays as `before` has it: a manager
    /// that is down is no fault of what is configured. All else that gives no secret is among its [`faults`].
    ///
    /// [`faults`]: Self::faults
    #[must_use]
    pub fn assemble(name: &str, config: &CredentialConfig, findings: &Findings, before: Option<&Self>) -> Self {
        let provider = Arc::clone(&config.provider);
        // Under another provider the name stands for another account.
        let before = before.filter(|before| before.provider.name == provider.name);
        let mut slots = BTreeMap::new();
        let mut faults = Vec::new();
        let unread = |references: &Vec<Reference>| references.first().is_some_and(|first| is_unread(first, findings));
        let incomplete = config.secrets.values().any(unread);
        for (secret, references) in &config.secrets {
            // Where a manager does not answer, its last value goes on, and so does all that belongs to it: a new
            // token with an old app secret would be a pair that never was.
            let held = before.and_then(|before| before.slots.get(secret));
            let held = held.filter(|slot| incomplete && Some(&slot.current.reference) == references.first());
            if let Some(slot) = held {
                slots.insert(secret.clone(), slot.clone());
                continue;
            }
            match Slot::fill(name, secret, references, config, findings, before) {
                Ok(slot) => slots.extend(slot.map(|slot| (secret.clone(), slot))),
                Err(more) => faults.extend(more),
            }
        }
        let previous = before.map(|before| previous::after(before, &slots, config.overlap)).unwrap_or_default();
        // What is known of the same secrets stays known.
        let same = before.filter(|before| previous::are_current(before, &slots));
        let asked = same.map(|before| Arc::clone(&before.asked)).unwrap_or_default();
        // Of another account, or of another exchange, it would be another token.
        let before = before.filter(|before| before.provider.access_token == provider.access_token);
        let access = before.and_then(|before| previous::access(before, &slots)).unwrap_or_default();
        let credential = Self {
            name: name.to_owned(),
            provider,
            proof: config.proof,
            max_age: config.max_age,
            slots,
            faults,
            previous,
            standing: Standing::default(),
            asked,
            access,
            reflections: Vec::new(),
        };
        Self { reflections: credential.all_reflections(), ..credential }
    }

    /// The same without what is previous no longer; `None` where all of it still is.
    #[must_use]
    pub fn without_expired(&self) -> Option<Self> {
        let previous: Vec<_> = self.previous.iter().filter(|previous| previous.is_in_time()).cloned().collect();
        if previous.len() == self.previous.len() {
            return None;
        }
        let standing = Standing::default();
        if !previous.is_empty() {
            standing.fell_back.store(self.standing.fell_back(), Ordering::Relaxed);
        }
        let (name, provider) = (self.name.clone(), Arc::clone(&self.provider));
        let (proof, max_age) = (self.proof, self.max_age);
        let (slots, faults) = (self.slots.clone(), self.faults.clone());
        let (asked, access) = (Arc::clone(&self.asked), Arc::clone(&self.access));
        let reflections = Vec::new();
        let credential =
            Self { name, provider, proof, max_age, slots, faults, previous, standing, asked, access, reflections };
        Some(Self { reflections: credential.all_reflections(), ..credential })
    }

    /// The secret that is sent under this name, if the credential has it.
    #[must_use]
    pub fn current(&self, secret: &str) -> Option<&Secret> {
        self.slots.get(secret).map(|slot| slot.current.secret())
    }

    /// Every secret that counts under this name: the current one first, then those listed behind it, then
    /// those that were replaced lately.
    pub fn accepted(&self, secret: &str) -> impl Iterator<Item = (Which, &Held)> {
        let slot = self.slots.get(secret);
        let current = slot.map(|slot| (Which::Current, &*slot.current));
        let listed = slot.into_iter().flat_map(|slot| &slot.accepted).map(|held| (Which::Accepted, &**held));
        let is_listed = move |held: &Held| {
            slot.into_iter().flat_map(Slot::held).any(|listed| listed.secret().same_as(held.secret()))
        };
        let replaced = self.previous.iter().filter_map(move |previous| previous.get(secret));
        let replaced = replaced.filter(move |held| !is_listed(held)).map(|held| (Which::Previous, &**held));
        current.into_iter().chain(listed).chain(replaced)
    }

    /// What tells its secrets from others in a log line: the fingerprint of the first that a request
    /// cannot do without.
    #[must_use]
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.sent().fingerprint()
    }

    /// The slots by the name of their secret.
    #[must_use]
    pub fn slots(&self) -> &BTreeMap<String, Slot> {
        &self.slots
    }

    /// The references that gave no secret.
    #[must_use]
    pub fn faults(&self) -> &[CredentialFault] {
        &self.faults
    }

    /// The secrets that no request goes out without, and that are not there: those that the provider requires, and what
    /// signs requests, where there is to be one.
    pub fn missing(&self) -> impl Iterator<Item = &str> {
        let required = self.provider.secrets.iter().filter(|secret| secret.required).map(|secret| secret.name.as_str());
        let signing = self.provider.inject.iter().filter_map(|inject| match inject {
            Inject::AppSecretProof { key, .. } => Some(key.as_str()),
            _ => None,
        });
        let signing = signing.filter(|key| self.proof != Proof::Off && self.lacks(key));
        required.filter(|secret| self.current(secret).is_none()).chain(signing)
    }

    /// Whether there is to be a secret of this name, and none is.
    fn lacks(&self, secret: &str) -> bool {
        self.current(secret).is_none() && self.faults.iter().any(|fault| fault.secret == secret)
    }

    /// What was sent before, the latest first but for one that the provider has refused.
    #[must_use]
    pub fn previous(&self) -> &[Previous] {
        &self.previous
    }

    /// How the provider takes it.
    #[must_use]
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// What came of asking the provider about it, if it was asked.
    #[must_use]
    pub fn asked(&self) -> Option<Arc<Asked>> {
        self.asked.load_full()
    }

    /// Keeps what came of asking.
    pub fn keep(&self, asked: Asked) {
        self.asked.store(Some(Arc::new(asked)));
    }

    /// What requests go out with: what is current, or, where the provider has refused that, what was
    /// before.
    #[must_use]
    pub fn sent(&self) -> Sent<'_> {
        let previous = self.previous.first().filter(|previous| self.standing.fell_back() && previous.is_in_time());
        Sent { credential: self, previous, access_token: None }
    }

    /// What is current, whatever requests go out with.
    #[must_use]
    pub fn newest(&self) -> Sent<'_> {
        Sent { credential: self, previous: None, access_token: None }
    }

    /// What else requests could go out with.
    #[must_use]
    pub fn instead_of(&self, sent: Sent<'_>) -> Option<Sent<'_>> {
        if sent.previous.is_some() {
            return Some(Sent { credential: self, previous: None, access_token: None });
        }
        let previous = self.previous.first().filter(|previous| previous.is_in_time());
        previous.map(|previous| Sent { credential: self, previous: Some(previous), access_token: None })
    }

    /// The byte sequences in which an answer could show one of its secrets.
    pub fn reflections(&self) -> impl Iterator<Item = &[u8]> {
        self.reflections.iter().map(|form| &form[..])
    }

    /// The access tokens that an answer could show too.
    #[must_use]
    pub fn issued(&self) -> Vec<Arc<Issued>> {
        if self.provider.access_token.is_none() {
            return Vec::new();
        }
        let previous = self.previous.iter().map(|previous| &previous.access);
        std::iter::once(&self.access).chain(previous).flat_map(|access| access.all().to_vec()).collect()
    }

    fn all_reflections(&self) -> Vec<Zeroizing<Vec<u8>>> {
        let current = self.slots.values().flat_map(Slot::held);
        let held = current.chain(self.previous.iter().flat_map(Previous::held));
        let secrets = held.flat_map(|held| reflections(held.secret()));
        // What HTTP Basic makes of them is as good as they are.
        let previous = self.previous.iter().map(|previous| Sent { previous: Some(previous), ..self.newest() });
        let basic = std::iter::once(self.newest()).chain(previous).flat_map(Sent::basics);
        let mut all: Vec<_> = secrets.chain(basic.flat_map(|basic| reflections(&basic))).collect();
        // The longest first: a secret that begins another would leave the other's end behind.
        all.sort_by_key(|form| std::cmp::Reverse(form.len()));
        all.dedup();
        all
    }

    /// The names of the secrets whose current value is another than in `before`.
    pub fn changed_since<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = &'a str> {
        self.slots.iter().filter_map(|(name, slot)| {
            let same =
                before.slots.get(name).is_some_and(|old| old.current.fingerprint() == slot.current.fingerprint());
            (!same).then_some(name.as_str())
        })
    }
}

impl Slot {
    /// The secrets that `references` lead to; none where there are no references.
    fn fill(
        credential: &str,
        name: &str,
        references: &[Reference],
        config: &CredentialConfig,
        findings: &Findings,
        before: Option<&Credential>,
    ) -> Result<Option<Self>, Vec<CredentialFault>> {
        let kind = config.provider.secrets.iter().find(|kind| kind.name == *name);
        let form = kind.map_or(SecretForm::Text, |kind| kind.form);
        let slot_before = before.and_then(|before| before.slots.get(name));
        let replaced = before.into_iter().flat_map(|before| &before.previous).filter_map(|previous| previous.get(name));
        let known = || slot_before.into_iter().flat_map(Self::held).chain(replaced.clone().map(Arc::as_ref));
        let mut faults = Vec::new();
        let mut held = Vec::new();
        for (place, reference) in references.iter().enumerate() {
            let problem = match findings.get(reference) {
                Some(Ok(found)) => match misplaced(form, &found.secret) {
                    Some(hint) => hint.to_owned(),
                    None => {
                        held.push(Arc::new(Held::new(found, reference, known(), slot_before.is_some())));
                        continue;
                    }
                },
                // Only the first must be there: the others are on their way in or out.
                Some(Err(_)) | None if place > 0 => continue,
                Some(Err(error)) => error.to_string(),
                None => SourceError::Cancelled.to_string(),
            };
            let (credential, secret) = (credential.to_owned(), name.to_owned());
            faults.push(CredentialFault { credential, secret, reference: reference.clone(), problem });
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let mut held = held.into_iter();
        Ok(held.next().map(|current| Self { current, accepted: held.collect() }))
    }

    /// All that it holds, what is sent first.
    pub fn held(&self) -> impl Iterator<Item = &Held> {
        std::iter::once(&self.current).chain(&self.accepted).map(Arc::as_ref)
    }
}

/// How the provider takes a credential, as its answers tell.
#[derive(Debug, Default)]
pub struct Standing {
    fell_back: AtomicBool,
    refused: AtomicBool,
    objected: AtomicBool,
}

impl Standing {
    /// Whether requests go out with what was sent before, because the provider refuses what is current.
    #[must_use]
    pub fn fell_back(&self) -> bool {
        self.fell_back.load(Ordering::Relaxed)
    }

    /// Whether the provider has refused all that there is to send, and nothing since.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }

    /// Takes note that the provider took one set of secrets; true where it is another than before.
    pub fn take_to(&self, sent: Sent<'_>) -> bool {
        self.refused.store(false, Ordering::Relaxed);
        self.fell_back.swap(sent.is_previous(), Ordering::Relaxed) != sent.is_previous()
    }

    /// Takes note that the provider objects to what is sent; true for the first time.
    pub fn is_first_objection(&self) -> bool {
        !self.objected.swap(true, Ordering::Relaxed)
    }

    /// Takes note that the provider refused all that there is; true for the first time.
    pub fn refuse(&self) -> bool {
        !self.refused.swap(true, Ordering::Relaxed)
    }
}

/// Whether a secret manager did not give this.
#[must_use]
pub fn is_unread(reference: &Reference, findings: &Findings) -> bool {
    reference.is_managed() && findings.get(reference).is_some_and(Result::is_err)
}

/// All references of a configuration.
#[must_use]
pub fn references(credentials: &BTreeMap<String, CredentialConfig>) -> BTreeSet<Reference> {
    credentials.values().flat_map(|credential| credential.secrets.values().flatten().cloned()).collect()
}

/// What a value plainly is instead of what it should be.
fn misplaced(form: SecretForm, secret: &Secret) -> Option<&'static str> {
    #[expect(clippy::disallowed_methods, reason = "looks at the shape of the value and says nothing of it")]
    let value = secret.expose();
    let app_secret = value.len() == 32 && value.bytes().all(|b| b.is_ascii_hexdigit());
    match form {
        SecretForm::PrivateKey => access::check_key(secret).err(),
        // Whatever is no key goes into one line of a request.
        _ if value.contains(['\r', '\n']) => Some("it has lines, as a key in PEM has; put a value of one line there"),
        SecretForm::MetaToken if app_secret => {
            Some("32 hex digits are an app secret; put the access token (EAA...) there")
        }
        SecretForm::AppSecret if value.starts_with("EAA") => {
            Some("EAA... is an access token; put the app secret (32 hex digits) there")
        }
        SecretForm::Text | SecretForm::MetaToken | SecretForm::AppSecret => None,
    }
}
