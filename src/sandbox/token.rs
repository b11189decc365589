//! The tokens and keys that are valid here. No secret is kept: they are known by their SHA-256.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

use super::state::lock;

/// Sends and reads messages and media.
pub(super) const MESSAGING: &str = "whatsapp_business_messaging";
/// Administers accounts, numbers and templates.
pub(super) const MANAGEMENT: &str = "whatsapp_business_management";

/// What a token may do, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Grant {
    /// The permissions.
    pub(super) scopes: Vec<String>,
    /// Unix time of its end; 0 for never.
    pub(super) expires_at: u64,
    /// Unix time of its beginning.
    pub(super) issued_at: u64,
}

impl Grant {
    /// Both scopes, for ever: what a system user's token usually has.
    pub(super) fn usual() -> Grant {
        Grant { scopes: vec![MANAGEMENT.to_owned(), MESSAGING.to_owned()], expires_at: 0, issued_at: now() }
    }
}

/// How a token stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It works.
    Good(Grant),
    /// It did until then.
    Expired(u64),
    /// It did until it was taken back.
    Revoked,
    /// Nobody issued it.
    Unknown,
}

/// All tokens ever issued.
#[derive(Default)]
pub(super) struct Tokens {
    issued: Mutex<HashMap<[u8; 32], Option<Grant>>>,
    /// Those that are public keys in PEM, with which the tokens are checked that a caller signs himself.
    public_keys: Mutex<Vec<String>>,
}

impl Tokens {
    /// Makes a token valid, also one that was revoked.
    pub(super) fn issue(&self, token: &str, grant: Grant) {
        self.keep_public(token);
        lock(&self.issued).insert(digest(token), Some(grant));
    }

    /// Makes a token valid unless it is known already, be it as a revoked one.
    pub(super) fn introduce(&self, token: &str) {
        self.keep_public(token);
        lock(&self.issued).entry(digest(token)).or_insert_with(|| Some(Grant::usual()));
    }

    /// Takes a token back. Says whether there was one.
    pub(super) fn revoke(&self, token: &str) -> bool {
        let mut tokens = lock(&self.issued);
        tokens.get_mut(&digest(token)).is_some_and(|grant| grant.take().is_some())
    }

    /// The public keys, also those that were taken back.
    pub(super) fn public_keys(&self) -> Vec<String> {
        lock(&self.public_keys).clone()
    }

    fn keep_public(&self, token: &str) {
        let mut keys = lock(&self.public_keys);
        if token.starts_with("-----BEGIN PUBLIC KEY-----") && keys.iter().all(|key| key != token) {
            keys.push(token.to_owned());
        }
    }

    /// How a token stands. Found by its hash, so the time it takes tells nothing about valid ones.
    pub(super) fn standing(&self, token: &str) -> Standing {
        match lock(&self.issued).get(&digest(token)) {
            None => Standing::Unknown,
            Some(None) => Standing::Revoked,
            Some(Some(grant)) if grant.expires_at != 0 && grant.expires_at <= now() => {
                Standing::Expired(grant.expires_at)
            }
            Some(Some(grant)) => Standing::Good(grant.clone()),
        }
    }
}

/// Unix time.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_from_unknown_to_good_to_revoked() {
        let tokens = Tokens::default();
        assert_eq!(tokens.standing("EAA1"), Standing::Unknown);
        tokens.introduce("EAA1");
        assert!(matches!(tokens.standing("EAA1"), Standing::Good(_)));
        assert!(tokens.revoke("EAA1"));
        tokens.introduce("EAA1");
        assert_eq!(tokens.standing("EAA1"), Standing::Revoked);
    }

    #[test]
    fn a_token_past_its_time_is_expired() {
        let tokens = Tokens::default();
        tokens.issue("EAA1", Grant { expires_at: 1_700_000_000, ..Grant::usual() });
        assert_eq!(tokens.standing("EAA1"), Standing::Expired(1_700_000_000));
    }
}
