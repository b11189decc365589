//! A secret set: the secrets of one request.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use data_encoding::BASE64;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::access::issued::IssuedToken;
use super::access::tokens::AccessTokens;
use super::account::Credential;
use super::forbidden::{FALLBACK_WINDOW, RequestSubject};
use super::missing::MissingSecret;
use super::previous::Previous;
use super::version::SecretVersion;
use crate::config::ProofForm;
use crate::provider::access::ACCESS_TOKEN;
use crate::provider::{Inject, Provider, Template, TemplatePart};
use crate::secret::{Fingerprint, Secret};

/// The secrets of a request: at most a value for each name, all of a single load.
#[derive(Clone, Copy, Debug)]
pub struct SecretSet<'c> {
    credential: &'c Credential,
    /// The replaced set in use; `None` for the newest.
    previous: Option<&'c Previous>,
    access_token: Option<&'c IssuedToken>,
}

impl Credential {
    /// Returns the secret set in use: the newest or, after the provider has refused the newest, the
    /// first previous set.
    #[must_use]
    pub fn in_use(&self) -> SecretSet<'_> {
        SecretSet {
            previous: self.fallback().filter(|_| self.acceptance().fell_back()),
            ..self.newest()
        }
    }

    /// Returns the newest secret set, even while requests fall back to a previous set.
    #[must_use]
    pub fn newest(&self) -> SecretSet<'_> {
        SecretSet {
            credential: self,
            previous: None,
            access_token: None,
        }
    }

    /// Returns the secret set to try after the provider refused `refused`, if there is any.
    #[must_use]
    pub fn alternative_to(&self, refused: SecretSet<'_>) -> Option<SecretSet<'_>> {
        if refused.is_previous() {
            return Some(self.newest());
        }
        self.fallback().map(|previous| SecretSet {
            previous: Some(previous),
            ..self.newest()
        })
    }

    /// Returns the predecessor of the newest set, if the newest set is `sent` and on trial: the
    /// predecessor may have more rights, unless the provider has just refused the subject to the
    /// predecessor too.
    #[must_use]
    pub fn predecessor_of(
        &self,
        sent: SecretSet<'_>,
        subject: &RequestSubject,
        now: Instant,
    ) -> Option<SecretSet<'_>> {
        if sent.is_previous() || self.forbidden().has(subject, now) {
            return None;
        }
        self.fallback()
            .filter(|previous| previous.replaced_since() < FALLBACK_WINDOW)
            .map(|previous| SecretSet {
                previous: Some(previous),
                ..self.newest()
            })
    }

    /// Returns the fingerprint of the secret set in use, to tell secrets apart in log lines.
    #[must_use]
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.in_use().fingerprint()
    }

    /// Returns the fingerprint of a secret in the secret set in use.
    #[must_use]
    pub fn fingerprint_in_use(&self, secret: &str) -> Option<Fingerprint> {
        let version = self.in_use().version(secret);
        version.map(|version| version.fingerprint())
    }

    /// Returns all previous secret sets, including expired sets.
    pub(super) fn previous_sets(&self) -> impl Iterator<Item = SecretSet<'_>> {
        self.previous().iter().map(|previous| SecretSet {
            previous: Some(previous),
            ..self.newest()
        })
    }

    fn fallback(&self) -> Option<&Previous> {
        self.first_complete()
            .filter(|previous| previous.is_in_time() || self.is_sent(previous))
    }

    /// Returns the first previous set with every secret for requests. A set without the key of the
    /// proof, for example, was never sent: the set counts for signatures alone.
    fn first_complete(&self) -> Option<&Previous> {
        self.previous.iter().find(|previous| {
            let mut needed = self.needed();
            needed.all(|secret| previous.get(secret).is_some())
        })
    }

    /// True if requests are sent with the previous set: the provider refuses every newer one, so
    /// the set outlives its overlap.
    #[must_use]
    pub fn is_sent(&self, previous: &Previous) -> bool {
        let is_first = self
            .first_complete()
            .is_some_and(|first| std::ptr::eq(first, previous));
        is_first && self.acceptance().fell_back()
    }

    /// Returns the next moment to look for previous sets whose overlap has ended. A set in use is
    /// looked at from time to time, since requests may be sent with a newer set at any moment.
    #[must_use]
    pub fn next_overlap_end(&self) -> Option<Instant> {
        let end_of = |previous: &Previous| {
            if self.is_sent(previous) {
                previous.until().max(Instant::now() + IN_USE_INTERVAL)
            } else {
                previous.until()
            }
        };
        self.previous().iter().map(end_of).min()
    }
}

impl<'c> SecretSet<'c> {
    /// Returns the secret with the given name, if the set has one.
    #[must_use]
    pub fn get(self, secret: &str) -> Option<&'c Secret> {
        self.version(secret).map(|version| version.secret())
    }

    /// Returns the credential of the set.
    #[must_use]
    pub fn credential(self) -> &'c Credential {
        self.credential
    }

    /// Returns the provider, with the account of the set.
    #[must_use]
    pub fn provider(self) -> &'c Provider {
        match self.previous {
            Some(previous) => &previous.provider,
            None => &self.credential.provider,
        }
    }

    /// True if a newer set has replaced the set.
    #[must_use]
    pub fn is_previous(self) -> bool {
        self.previous.is_some()
    }

    /// Records an acceptance by the provider: requests are sent with the set from now on.
    ///
    /// Returns true if requests were sent with a different set before.
    pub fn note_accepted(self) -> bool {
        if self.is_previous() {
            self.credential.acceptance.fall_back()
        } else {
            self.credential.disprove_refusal();
            self.credential.acceptance.use_newest()
        }
    }

    /// Returns a copy with an access token besides.
    #[must_use]
    pub fn with_access_token(self, access_token: Option<&'c IssuedToken>) -> Self {
        Self {
            access_token,
            ..self
        }
    }

    /// True if a good access token for the set is at hand.
    #[must_use]
    pub fn has_access_token(self) -> bool {
        self.access_tokens().good(None).is_some()
    }

    /// Returns the access tokens of the set.
    pub(super) fn access_tokens(self) -> &'c Arc<AccessTokens> {
        match self.previous {
            Some(previous) => &previous.access,
            None => &self.credential.access,
        }
    }

    /// True if every secret and the account are equal: an equal token with a different app secret
    /// makes a different set.
    #[must_use]
    pub fn is_same_as(self, other: SecretSet<'_>) -> bool {
        let mut names = self
            .credential
            .slots
            .keys()
            .chain(other.credential.slots.keys());
        let has_same = names.all(|name| match (self.get(name), other.get(name)) {
            (Some(ours), Some(theirs)) => ours.same_as(theirs),
            (ours, theirs) => ours.is_none() && theirs.is_none(),
        });
        has_same && self.provider().authorizes_as(other.provider())
    }

    /// Returns the fingerprint of the first required secret.
    #[must_use]
    pub fn fingerprint(self) -> Option<Fingerprint> {
        let required = self
            .credential
            .provider
            .secrets
            .iter()
            .find(|secret| secret.required)?;
        self.version(&required.name)
            .map(|version| version.fingerprint())
    }

    /// Returns the length in bytes of all secrets and the access token together.
    ///
    /// Buffers for a request are sized by the length, because a growing buffer leaves copies of
    /// secrets behind.
    #[must_use]
    pub fn length(self) -> usize {
        let secrets: usize = self
            .credential
            .slots
            .keys()
            .filter_map(|name| self.version(name))
            .map(|version| version.length())
            .sum();
        #[expect(clippy::disallowed_methods, reason = "only the length is looked at")]
        let access_token = self
            .access_token
            .map_or(0, |issued| issued.secret().expose().len());
        secrets + access_token
    }

    /// Returns the value of a secret, for a request to the provider and for no other use.
    ///
    /// # Errors
    /// If the set has no secret with the given name.
    pub fn expose(self, secret: &str) -> Result<&'c str, MissingSecret> {
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place where a secret enters a request"
        )]
        self.secret(secret).map(Secret::expose)
    }

    /// Returns a secret of the set, or the access token under its name.
    fn secret(self, name: &str) -> Result<&'c Secret, MissingSecret> {
        let found = match name {
            ACCESS_TOKEN => self.access_token.map(IssuedToken::secret),
            name => self.get(name),
        };
        found.ok_or_else(|| MissingSecret(name.to_owned()))
    }

    /// Passes the pieces of a template to `push` piece by piece: no buffer holds a secret in
    /// between.
    ///
    /// # Errors
    /// If the template names a secret outside of the set.
    pub fn render(
        self,
        template: &Template,
        mut push: impl FnMut(&str),
    ) -> Result<(), MissingSecret> {
        for part in &template.parts {
            match part {
                TemplatePart::Text(text) => push(text),
                TemplatePart::Name(name) => push(self.expose(name)?),
                TemplatePart::Basic(parts) => push(&self.basic(parts)?),
            }
        }
        Ok(())
    }

    /// Returns the HTTP Basic values of requests with the set, each as a separate secret.
    pub(super) fn basics(self) -> Vec<Secret> {
        let provider = self.provider();
        let exchanged = provider
            .exchange()
            .map(|exchange| exchange.inject.as_slice())
            .unwrap_or_default();
        provider
            .inject
            .iter()
            .chain(exchanged)
            .filter_map(Inject::template)
            .flat_map(|template| &template.parts)
            .filter_map(|part| match part {
                TemplatePart::Basic(parts) => self.basic(parts).ok(),
                _ => None,
            })
            .filter_map(|basic| Secret::parse(Zeroizing::new(basic.as_bytes().to_vec())).ok())
            .collect()
    }

    fn basic(self, parts: &[TemplatePart]) -> Result<Zeroizing<String>, MissingSecret> {
        let mut plain = Zeroizing::new(String::with_capacity(MAX_BASIC_TEXT + self.length()));
        for part in parts {
            match part {
                TemplatePart::Text(text) => plain.push_str(text),
                TemplatePart::Name(name) => plain.push_str(self.expose(name)?),
                TemplatePart::Basic(_) => {}
            }
        }
        Ok(Zeroizing::new(BASE64.encode(plain.as_bytes())))
    }

    /// Returns the query parameters to prove possession of the app secret `key` along with `token`,
    /// or `None` if the credential has no app secret or the proof is off.
    ///
    /// The current form has `appsecret_proof` and `appsecret_time`; the proof covers the time and
    /// is good for five minutes: <https://developers.facebook.com/docs/facebook-login/security>.
    /// Meta's own SDK puts the parameters into the query of every method. `now` is the time by the
    /// provider's clock.
    ///
    /// # Errors
    /// If there is no token, or if the set lacks the configured app secret.
    pub fn app_secret_proof(
        self,
        token: &str,
        key: &str,
        now: SystemTime,
    ) -> Result<Option<Arc<str>>, MissingSecret> {
        let time = match self.credential.proof {
            ProofForm::Off => return Ok(None),
            ProofForm::Classic => None,
            ProofForm::Auto => Some(now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()),
        };
        let Some(secret) = self.get(key) else {
            return if self.credential.names(key) {
                Err(MissingSecret(key.to_owned()))
            } else {
                Ok(None)
            };
        };
        let token = self.secret(token)?;
        Ok(Some(self.credential.proofs.parameters(token, secret, time)))
    }

    fn version(self, secret: &str) -> Option<&'c Arc<SecretVersion>> {
        match self.previous {
            Some(previous) => previous.get(secret),
            None => self.credential.slots.get(secret).map(|slot| &slot.current),
        }
    }
}

/// The time between two looks at a previous set that is in use after its overlap: an overlap lasts
/// minutes at least.
const IN_USE_INTERVAL: Duration = Duration::from_secs(10);
/// An upper bound for the fixed text around the secrets of an HTTP Basic value, for example a user
/// name, in bytes: the buffer then never moves and leaves no copy behind.
const MAX_BASIC_TEXT: usize = 512;
