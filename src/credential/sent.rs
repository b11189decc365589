//! The secrets that go out with a request.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::{Credential, Held, Previous};
use crate::config::Proof;
use crate::provider::{Part, Template};
use crate::secret::{Fingerprint, Secret};

/// The secrets that one request goes out with: one of each name, as they belong together.
#[derive(Clone, Copy, Debug)]
pub struct Sent<'c> {
    pub(super) credential: &'c Credential,
    pub(super) previous: Option<&'c Previous>,
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
        names.filter_map(|name| self.held(name)).map(|held| held.length()).sum()
    }

    /// The value of a secret. For what goes to the provider, and nothing else.
    ///
    /// # Errors
    /// Where there is none of this name.
    pub fn expose(self, secret: &str) -> Result<&'c str, Missing> {
        #[expect(clippy::disallowed_methods, reason = "the one place where a secret enters a request")]
        self.get(secret).map(Secret::expose).ok_or_else(|| Missing(secret.to_owned()))
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
            }
        }
        Ok(())
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
