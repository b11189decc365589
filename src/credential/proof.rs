//! `appsecret_proof`: the proof that the sender of a token has the app secret too.

use std::fmt;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use parking_lot::Mutex;
use sha2::Sha256;

use crate::secret::{Fingerprint, Secret};

/// The last proof of a credential, kept for the requests of the same second.
///
/// The requests of a second share a proof, and an HMAC over a token of usual length takes more
/// instructions than any other step of a request.
#[derive(Default)]
pub(super) struct ProofCache {
    last: Mutex<Option<(ProofInputs, Arc<str>)>>,
}

/// Everything that a proof depends on. Fingerprints tell the few secrets of a credential apart.
#[derive(Clone, Copy, PartialEq, Eq)]
struct ProofInputs {
    token: Fingerprint,
    key: Fingerprint,
    time: Option<u64>,
}

impl ProofCache {
    /// Returns the query parameters of the proof for `token` with the app secret `key`.
    ///
    /// `time` is in seconds since 1970; without it, the proof has the classic form, which never
    /// ends.
    pub(super) fn parameters(&self, token: &Secret, key: &Secret, time: Option<u64>) -> Arc<str> {
        let inputs = ProofInputs {
            token: token.fingerprint(),
            key: key.fingerprint(),
            time,
        };
        let mut last = self.last.lock();
        match &*last {
            Some((known, parameters)) if *known == inputs => Arc::clone(parameters),
            _ => {
                let parameters: Arc<str> = made(token, key, time).into();
                *last = Some((inputs, Arc::clone(&parameters)));
                parameters
            }
        }
    }
}

impl fmt::Debug for ProofCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProofCache")
    }
}

fn made(token: &Secret, key: &Secret, time: Option<u64>) -> String {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where the app secret signs"
    )]
    let (token, key) = (token.expose(), key.expose());
    // HMAC takes a key of any length: the error cannot happen.
    let Ok(mac) = Hmac::<Sha256>::new_from_slice(key.as_bytes()) else {
        return String::new();
    };
    let mac = mac.chain_update(token);
    let Some(time) = time else {
        let proof = mac.finalize().into_bytes();
        return format!("appsecret_proof={}", HEXLOWER.encode_display(&proof));
    };
    let proof = mac.chain_update(format!("|{time}")).finalize().into_bytes();
    format!(
        "appsecret_proof={}&appsecret_time={time}",
        HEXLOWER.encode_display(&proof)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::parse(text.as_bytes().to_vec().into()).unwrap()
    }

    #[test]
    fn a_proof_is_made_anew_for_another_second_token_or_key_and_only_then() {
        let cache = ProofCache::default();
        let table = [
            ("token", "key", Some(1), false),
            ("token", "key", Some(1), true),
            ("token", "key", Some(2), false),
            ("other", "key", Some(2), false),
            ("other", "other", Some(2), false),
            ("other", "other", None, false),
            ("other", "other", None, true),
            ("token", "key", Some(1), false),
        ];
        let mut last: Arc<str> = "".into();
        for (token, key, time, is_kept) in table {
            let token = secret(token);
            let key = secret(key);
            let parameters = cache.parameters(&token, &key, time);
            assert_eq!(*parameters, *made(&token, &key, time));
            assert_eq!(Arc::ptr_eq(&parameters, &last), is_kept, "{parameters}");
            last = parameters;
        }
    }

    #[test]
    fn proofs_equal_those_of_openssl() {
        // printf 'token|1700000000' | openssl dgst -sha256 -hmac key
        let cache = ProofCache::default();
        let timed = cache.parameters(&secret("token"), &secret("key"), Some(1_700_000_000));
        assert_eq!(
            &*timed,
            "appsecret_proof=558cee36341f33e63c051e331db23b4e3da964dd49038b22484b7f01f8da9811&appsecret_time=1700000000"
        );
        let classic = cache.parameters(&secret("token"), &secret("key"), None);
        assert_eq!(
            &*classic,
            "appsecret_proof=646b8eac0c4ae4178299c9bd924e2bf073dfb07e024901a8c864f65b9462bf0d"
        );
    }
}
