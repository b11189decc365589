//! The secrets of one account at one provider, in their slots.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use zeroize::Zeroizing;

pub mod source;

use source::{Found, SourceError};

use crate::config::{CredentialConfig, Proof, Reference};
use crate::provider::{Provider, SecretForm};
use crate::query;
use crate::secret::{Fingerprint, Secret};

/// What [`source::read_all`] found, by reference.
pub type Findings = BTreeMap<Reference, Result<Found, SourceError>>;

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
    reflections: Vec<Zeroizing<Vec<u8>>>,
}

/// Where one secret lives.
#[derive(Debug)]
pub struct Slot {
    /// What is sent.
    pub current: Held,
    /// What is accepted as well.
    pub accepted: Vec<Held>,
}

/// Which secret of a slot something was signed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The one that is sent.
    Current,
    /// One that is listed behind it.
    Accepted,
}

impl Which {
    /// As metrics show it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Accepted => "accepted",
        }
    }
}

/// A secret with what may be told about it.
pub struct Held {
    secret: Arc<Secret>,
    /// Where it came from.
    pub reference: Reference,
    /// Since when it is there.
    pub since: SystemTime,
    /// How that is known.
    pub since_from: SinceFrom,
}

/// How the age of a secret is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SinceFrom {
    /// The source says when it was written.
    Source,
    /// This process saw it replace another.
    Change,
    /// It was there when this process began, and nothing tells since when.
    FirstSight,
}

impl SinceFrom {
    /// As status shows it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Change => "change",
            Self::FirstSight => "first sight",
        }
    }
}

impl Credential {
    /// Puts what was found into slots. What `before` held already keeps its age.
    ///
    /// # Errors
    /// Every secret that cannot be used, each by the name of its reference.
    pub fn assemble(
        name: &str,
        config: &CredentialConfig,
        findings: &Findings,
        before: Option<&Self>,
    ) -> Result<Self, Vec<CredentialFault>> {
        let mut slots = BTreeMap::new();
        let mut faults = Vec::new();
        for (secret, references) in &config.secrets {
            let form = config
                .provider
                .secrets
                .iter()
                .find(|kind| kind.name == *secret)
                .map_or(SecretForm::Text, |kind| kind.form);
            let slot_before = before.and_then(|before| before.slots.get(secret));
            let fault = |reference: &Reference, problem| CredentialFault {
                credential: name.to_owned(),
                secret: secret.clone(),
                reference: reference.clone(),
                problem,
            };
            let mut held = Vec::new();
            for (place, reference) in references.iter().enumerate() {
                match findings.get(reference) {
                    Some(Ok(found)) => match misplaced(form, &found.secret) {
                        Some(hint) => faults.push(fault(reference, hint.to_owned())),
                        None => held.push(Held::new(found, reference, slot_before)),
                    },
                    // Only the first must be there: the others are on their way in or out.
                    Some(Err(_)) if place > 0 => {}
                    Some(Err(error)) => faults.push(fault(reference, error.to_string())),
                    None => faults.push(fault(reference, SourceError::Cancelled.to_string())),
                }
            }
            let mut held = held.into_iter();
            if let Some(current) = held.next() {
                slots.insert(secret.clone(), Slot { current, accepted: held.collect() });
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let provider = Arc::clone(&config.provider);
        let mut reflections: Vec<_> =
            slots.values().flat_map(Slot::held).flat_map(|held| reflections(&held.secret)).collect();
        // The longest first: a secret that begins another would leave the other's end behind.
        reflections.sort_by_key(|form| std::cmp::Reverse(form.len()));
        Ok(Self { name: name.to_owned(), provider, proof: config.proof, max_age: config.max_age, slots, reflections })
    }

    /// The secret that is sent under this name, if the credential has it.
    #[must_use]
    pub fn current(&self, secret: &str) -> Option<&Secret> {
        self.slots.get(secret).map(|slot| &*slot.current.secret)
    }

    /// Every secret that counts under this name: the current one first, then those accepted beside it.
    pub fn accepted(&self, secret: &str) -> impl Iterator<Item = (Which, &Secret)> {
        let slot = self.slots.get(secret);
        let current = slot.map(|slot| (Which::Current, &*slot.current.secret));
        let others = slot.map(|slot| &slot.accepted).into_iter().flatten();
        current.into_iter().chain(others.map(|held| (Which::Accepted, &*held.secret)))
    }

    /// What tells its secrets from others in a log line: the fingerprint of the first that a request
    /// cannot do without.
    #[must_use]
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        let required = self.provider.secrets.iter().find(|secret| secret.required)?;
        self.slots.get(&required.name).map(|slot| slot.current.fingerprint())
    }

    /// The slots by the name of their secret.
    #[must_use]
    pub fn slots(&self) -> &BTreeMap<String, Slot> {
        &self.slots
    }

    /// The byte sequences in which an answer could show one of its secrets.
    pub fn reflections(&self) -> impl Iterator<Item = &[u8]> {
        self.reflections.iter().map(|form| &form[..])
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
    fn held(&self) -> impl Iterator<Item = &Held> {
        std::iter::once(&self.current).chain(&self.accepted)
    }
}

impl Held {
    fn new(found: &Found, reference: &Reference, before: Option<&Slot>) -> Self {
        let secret = Arc::clone(&found.secret);
        let known = before.and_then(|slot| slot.held().find(|held| held.secret.same_as(&secret)));
        let (since, since_from) = match (known, before) {
            (Some(known), _) => (known.since, known.since_from),
            (None, Some(_)) => (SystemTime::now(), SinceFrom::Change),
            (None, None) => match found.since {
                Some(since) => (since, SinceFrom::Source),
                None => (SystemTime::now(), SinceFrom::FirstSight),
            },
        };
        Self { secret, reference: reference.clone(), since, since_from }
    }

    /// The only form in which it is shown.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.secret.fingerprint()
    }

    /// How many bytes it has.
    #[must_use]
    pub fn length(&self) -> usize {
        #[expect(clippy::disallowed_methods, reason = "only the length is looked at")]
        self.secret.expose().len()
    }

    /// How old it is; zero where the clock went back.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.since.elapsed().unwrap_or_default()
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held")
            .field("fingerprint", &self.fingerprint())
            .field("reference", &self.reference)
            .finish_non_exhaustive()
    }
}

/// A secret as it is, percent-encoded, and escaped as in JSON, as far as these differ.
///
/// A short one is left out: a verify token may well be `whatsapp`, and an answer without that word
/// would be no answer any more.
fn reflections(secret: &Secret) -> Vec<Zeroizing<Vec<u8>>> {
    #[expect(clippy::disallowed_methods, reason = "what is looked for in answers must be known")]
    let value = secret.expose();
    if value.len() < SHORTEST_REFLECTION {
        return Vec::new();
    }
    let encoded = query::encode(value).collect::<String>();
    let lower = lower_escapes(&encoded);
    let escaped = value.replace('\\', r"\\").replace('"', r#"\""#);
    let slashed = escaped.replace('/', r"\/");
    let mut forms = vec![Zeroizing::new(value.as_bytes().to_vec())];
    for form in [encoded, lower, escaped, slashed].map(|form| Zeroizing::new(form.into_bytes())) {
        if !forms.contains(&form) {
            forms.push(form);
        }
    }
    forms
}

/// `%2F` as `%2f`: both are written.
fn lower_escapes(encoded: &str) -> String {
    let mut digits = 0;
    encoded
        .chars()
        .map(|c| {
            let is_digit = digits > 0;
            digits = if c == '%' { 2 } else { u8::saturating_sub(digits, 1) };
            if is_digit { c.to_ascii_lowercase() } else { c }
        })
        .collect()
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
        SecretForm::MetaToken if app_secret => {
            Some("32 hex digits are an app secret; put the access token (EAA...) there")
        }
        SecretForm::AppSecret if value.starts_with("EAA") => {
            Some("EAA... is an access token; put the app secret (32 hex digits) there")
        }
        SecretForm::Text | SecretForm::MetaToken | SecretForm::AppSecret => None,
    }
}

/// A secret that cannot be used.
#[derive(Debug)]
pub struct CredentialFault {
    credential: String,
    secret: String,
    reference: Reference,
    problem: String,
}

impl fmt::Display for CredentialFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { credential, secret, reference, problem } = self;
        write!(f, "credential.{credential}.{secret}: `{reference}`: {problem}")
    }
}

impl std::error::Error for CredentialFault {}

const SHORTEST_REFLECTION: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_known_in_the_ways_in_which_it_may_be_written() {
        let secret = Secret::parse(Zeroizing::new(b"abc/def+ghi\"j%k".to_vec())).unwrap();
        let forms = reflections(&secret);
        let forms: Vec<_> = forms.iter().map(|form| std::str::from_utf8(form).unwrap()).collect();
        let expected = [
            "abc/def+ghi\"j%k",
            "abc%2Fdef%2Bghi%22j%25k",
            "abc%2fdef%2bghi%22j%25k",
            "abc/def+ghi\\\"j%k",
            "abc\\/def+ghi\\\"j%k",
        ];
        assert_eq!(forms, expected);
    }
}
