//! The valid tokens and keys. Secrets are not kept: a token is known by its SHA-256.

use std::collections::HashMap;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use crate::clock::unix_time;

/// The permissions and the lifetime of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    /// The permissions.
    pub(crate) scopes: Vec<String>,
    /// The Unix time at which the token expires; 0 for never.
    pub(crate) expires_at: u64,
    /// The Unix time at which the token was issued.
    pub(crate) issued_at: u64,
}

impl Grant {
    /// The grant of most system users' tokens: messaging and management, without an end.
    pub(crate) fn usual() -> Self {
        Self {
            scopes: vec![MANAGEMENT.to_owned(), MESSAGING.to_owned()],
            expires_at: 0,
            issued_at: unix_time(),
        }
    }

    /// Returns true if the grant contains the scope.
    pub(crate) fn has(&self, scope: &str) -> bool {
        self.scopes.iter().any(|granted| granted == scope)
    }
}

/// The state of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TokenState {
    /// The token works.
    Good(Grant),
    /// The token worked until this Unix time.
    Expired(u64),
    /// The token was revoked.
    Revoked,
    /// The token was never issued.
    Unknown,
}

/// The tokens ever issued.
#[derive(Default)]
pub(crate) struct Tokens {
    /// The grant of each token by its SHA-256, without a grant after revocation.
    grants: Mutex<HashMap<[u8; 32], Option<Grant>>>,
    /// The tokens that are public keys in PEM, kept to verify JWTs signed with the private keys.
    public_keys: Mutex<Vec<String>>,
}

impl Tokens {
    /// Makes a token valid, even a revoked token.
    pub(crate) fn issue(&self, token: &str, grant: Grant) {
        self.keep_public_key(token);
        self.grants.lock().insert(digest(token), Some(grant));
    }

    /// Makes an unknown token valid; a revoked token stays revoked.
    pub(crate) fn introduce(&self, token: &str) {
        self.keep_public_key(token);
        self.grants
            .lock()
            .entry(digest(token))
            .or_insert_with(|| Some(Grant::usual()));
    }

    /// Revokes a token and returns true if the token was valid.
    pub(crate) fn revoke(&self, token: &str) -> bool {
        let mut grants = self.grants.lock();
        let grant = grants.get_mut(&digest(token));
        grant.is_some_and(|grant| grant.take().is_some())
    }

    /// Returns the public keys, including revoked keys.
    pub(crate) fn public_keys(&self) -> Vec<String> {
        self.public_keys.lock().clone()
    }

    /// Returns the state of a token. The lookup is by hash, so its duration reveals nothing about
    /// valid tokens.
    pub(crate) fn state(&self, token: &str) -> TokenState {
        match self.grants.lock().get(&digest(token)) {
            None => TokenState::Unknown,
            Some(None) => TokenState::Revoked,
            Some(Some(grant)) if grant.expires_at != 0 && grant.expires_at <= unix_time() => {
                TokenState::Expired(grant.expires_at)
            }
            Some(Some(grant)) => TokenState::Good(grant.clone()),
        }
    }

    fn keep_public_key(&self, token: &str) {
        let mut keys = self.public_keys.lock();
        if token.starts_with("-----BEGIN PUBLIC KEY-----") && keys.iter().all(|key| key != token) {
            keys.push(token.to_owned());
        }
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// The scope for messages and media.
pub(crate) const MESSAGING: &str = "whatsapp_business_messaging";

/// The scope for accounts, numbers and templates.
pub(crate) const MANAGEMENT: &str = "whatsapp_business_management";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_from_unknown_to_good_to_revoked() {
        let tokens = Tokens::default();
        assert_eq!(tokens.state("EAA1"), TokenState::Unknown);
        tokens.introduce("EAA1");
        assert!(matches!(tokens.state("EAA1"), TokenState::Good(_)));
        assert!(tokens.revoke("EAA1"));
        tokens.introduce("EAA1");
        assert_eq!(tokens.state("EAA1"), TokenState::Revoked);
    }

    #[test]
    fn a_token_past_its_end_is_expired() {
        let tokens = Tokens::default();
        let grant = Grant {
            expires_at: 1_700_000_000,
            ..Grant::usual()
        };
        tokens.issue("EAA1", grant);
        assert_eq!(tokens.state("EAA1"), TokenState::Expired(1_700_000_000));
    }
}
