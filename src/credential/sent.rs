//! The secrets that go out with a request.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use data_encoding::{BASE64, HEXLOWER};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::access::{Access, Issued};
use super::{Credential, Held, Previous};
use crate::config::Proof;
use crate::provider::access::ACCESS_TOKEN;
use crate::provider::{Inject, Part, Template};
use crate::secret::{Fingerprint, Secret};

/// The secrets that one request goes out with: one of each name, as they belong together.
#[derive(Clone, Copy, Debug)]
pub struct Sent<'c> {
    pub(super) credential: &'c Credential,
    pub(super) previous: Option<&'c Previous>,
    pub(super) access_token: Option<&'c Issued>,
}

impl<'c> Sent<'c> {
    /// The secret of this name, if there is one.
    #[must_use]
    pub fn get(self, secret: &str) -> Option<&'c Secret> {
        self.held(secret).map(|held| held.secret())
    }

    /// Whose secrets they are.
    #[must_use]
    pub fn credential(self) -> &'c Credential {
        self.credential
    }

    /// Whether they are those from before.
    #[must_use]
    pub fn is_previous(self) -> bool {
        self.previous.is_some()
    }

    /// The same with the access token that they stand for, where there is one.
    #[must_use]
    pub fn carrying(self, access_token: Option<&'c Issued>) -> Self {
        Self { access_token, ..self }
    }

    /// Whether they have an access token that is good now.
    #[must_use]
    pub fn has_access_token(self) -> bool {
        self.access().good(None).is_some()
    }

    pub(super) fn access(self) -> &'c Arc<Access> {
        match self.previous {
            Some(previous) => &previous.access,
            None => &self.credential.access,
        }
    }

    /// Whether these are the same secrets, all of them: a token with another app secret is another pair.
    #[must_use]
    pub fn is_same_as(self, other: Sent<'_>) -> bool {
        let mut names = self.credential.slots.keys().chain(other.credential.slots.keys());
        names.all(|name| match (self.get(name), other.get(name)) {
            (Some(one), Some(another)) => one.same_as(another),
            (one, another) => one.is_none() && another.is_none(),
        })
    }

    /// The fingerprint of the first that a request cannot do without.
    #[must_use]
    pub fn fingerprint(self) -> Option<Fingerprint> {
        let required = self.credential.provider.secrets.iter().find(|secret| secret.required)?;
        self.held(&required.name).map(|held| held.fingerprint())
    }

    /// How many bytes all of them have.
    #[must_use]
    pub fn length(self) -> usize {
        let names = self.credential.slots.keys();
        let secrets: usize = names.filter_map(|name| self.held(name)).map(|held| held.length()).sum();
        #[expect(clippy::disallowed_methods, reason = "only the length is looked at")]
        let access_token = self.access_token.map_or(0, |issued| issued.secret().expose().len());
        secrets + access_token
    }

    /// The value of a secret. For what goes to the provider, and nothing else.
    ///
    /// # Errors
    /// Where there is none of this name.
    pub fn expose(self, secret: &str) -> Result<&'c str, Missing> {
        let found = match secret {
            ACCESS_TOKEN => self.access_token.map(Issued::secret),
            secret => self.get(secret),
        };
        #[expect(clippy::disallowed_methods, reason = "the one place where a secret enters a request")]
        found.map(Secret::expose).ok_or_else(|| Missing(secret.to_owned()))
    }

    /// Gives the pieces of a template one after the other, so that no buffer holds a secret in between.
    ///
    /// # Errors
    /// Where it names a secret that is not there.
    pub fn render(self, template: &Template, mut push: impl FnMut(&str)) -> Result<(), Missing> {
        for part in &template.parts {
            match part {
                Part::Text(text) => push(text),
                Part::Name(name) => push(self.expose(name)?),
                Part::Basic(parts) => push(&self.basic(parts)?),
            }
        }
        Ok(())
    }

    /// What goes out of them in the form of HTTP Basic, each as a secret.
    pub(super) fn basics(self) -> Vec<Secret> {
        let provider = &self.credential.provider;
        let exchanged = provider.exchange().map(|exchange| exchange.inject.as_slice()).unwrap_or_default();
        let templates = provider.inject.iter().chain(exchanged).filter_map(Inject::template);
        let basics = templates.flat_map(|template| &template.parts).filter_map(|part| match part {
            Part::Basic(parts) => self.basic(parts).ok(),
            _ => None,
        });
        basics.filter_map(|basic| Secret::parse(Zeroizing::new(basic.as_bytes().to_vec())).ok()).collect()
    }

    fn basic(self, parts: &[Part]) -> Result<Zeroizing<String>, Missing> {
        let mut plain = Zeroizing::new(String::with_capacity(BASIC + self.length()));
        for part in parts {
            match part {
                Part::Text(text) => plain.push_str(text),
                Part::Name(name) => plain.push_str(self.expose(name)?),
                Part::Basic(_) => {}
            }
        }
        Ok(Zeroizing::new(BASE64.encode(plain.as_bytes())))
    }

    /// `appsecret_proof`, and `appsecret_time` in the current form, in which the proof covers the time
    /// and is good for five minutes: <https://developers.facebook.com/docs/facebook-login/security>.
    /// Meta's own SDK puts them in the query of every method. `None` where there is to be no `key` to sign with. `now` is
    /// the time at the provider.
    ///
    /// # Errors
    /// Where there is no such token, or no key though there is to be one.
    pub fn app_secret_proof(self, token: &str, key: &str, now: SystemTime) -> Result<Option<String>, Missing> {
        let form = self.credential.proof;
        if form == Proof::Off {
            return Ok(None);
        }
        let Some(key) = self.get(key) else {
            let lacks = self.previous.is_none() && self.credential.lacks(key);
            return if lacks { Err(Missing(key.to_owned())) } else { Ok(None) };
        };
        let token = self.expose(token)?;
        #[expect(clippy::disallowed_methods, reason = "the one place where the app secret signs")]
        let key = key.expose().as_bytes();
        let mac = Hmac::<Sha256>::new_from_slice(key).map_err(|_| Missing("app_secret".to_owned()))?;
        let mac = mac.chain_update(token);
        Ok(Some(match form {
            Proof::Classic => format!("appsecret_proof={}", HEXLOWER.encode_display(&mac.finalize().into_bytes())),
            Proof::Auto | Proof::Off => {
                let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
                let mac = mac.chain_update(format!("|{now}"));
                let proof = mac.finalize().into_bytes();
                format!("appsecret_proof={}&appsecret_time={now}", HEXLOWER.encode_display(&proof))
            }
        }))
    }

    fn held(self, secret: &str) -> Option<&'c Arc<Held>> {
        match self.previous {
            Some(previous) => previous.get(secret),
            None => self.credential.slots.get(secret).map(|slot| &slot.current),
        }
    }
}

/// A secret that a request needs and the credential does not have, by its name.
#[derive(Debug)]
pub struct Missing(pub String);

/// Longer than any user name that is a parameter, so that the value does not move while it grows.
const BASIC: usize = 512;
