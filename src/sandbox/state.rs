//! Everything the sandbox knows, each part under its own lock, none of them held across an await.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;
use subtle::ConstantTimeEq;

use super::media::{self, Media};
use super::pace::Pace;
use super::record::Records;
use super::template::Templates;
use super::token::Tokens;
use super::webhook::{Order, Webhooks};

/// The app that all tokens belong to.
pub(super) const APP: &str = "634974688087057";
/// The account that is there without being named.
pub(super) const ACCOUNT: &str = "114503234599312";
/// The number that is there without being named.
pub(super) const SENDER: &str = "107878721936019";

/// How the sandbox was asked to behave.
#[derive(Clone)]
pub(super) struct Rules {
    /// The scheme in links to itself.
    pub(super) scheme: &'static str,
    /// Scheme and authority in the links to media.
    pub(super) media_origin: String,
    /// The secret of the app, if proofs can be checked.
    pub(super) app_secret: Option<String>,
    /// "Require App Secret".
    pub(super) require_proof: bool,
    /// The numbers that may send; empty for any.
    pub(super) senders: Vec<String>,
    /// Messages per second and number.
    pub(super) per_sender: Option<u32>,
    /// Whether one number may be written to too often.
    pub(super) pair_limit: bool,
    /// The status that throttles have.
    pub(super) throttle_status: StatusCode,
    /// How long every answer takes.
    pub(super) latency: Duration,
}

/// The state of one sandbox.
pub(super) struct State {
    pub(super) rules: Rules,
    pub(super) tokens: Tokens,
    pub(super) records: Records,
    pub(super) pace: Pace,
    pub(super) templates: Templates,
    pub(super) media: Media,
    pub(super) uploads: Mutex<HashMap<String, (u64, u64)>>,
    pub(super) profiles: Mutex<HashMap<String, serde_json::Value>>,
    pub(super) blocked: Mutex<HashMap<String, Vec<String>>>,
    pub(super) webhooks: Arc<Webhooks>,
}

impl State {
    /// A fresh one.
    pub(super) fn new(rules: Rules, webhooks: Webhooks) -> State {
        State {
            rules,
            tokens: Tokens::default(),
            records: Records::default(),
            pace: Pace::default(),
            templates: Templates::default(),
            media: Media::default(),
            uploads: Mutex::default(),
            profiles: Mutex::default(),
            blocked: Mutex::default(),
            webhooks: Arc::new(webhooks),
        }
    }

    /// Sends events of users as ordered; a picture gets its place among the media first.
    pub(super) fn order(&self, mut order: Order) {
        if order.needs_image() {
            order.image = Some(media::receive(self, SENDER));
        }
        tokio::spawn(Arc::clone(&self.webhooks).carry_out(order));
    }

    /// Whether this is the app secret, in constant time.
    pub(super) fn is_app_secret(&self, secret: &str) -> bool {
        let known = self.rules.app_secret.as_ref();
        known.is_some_and(|known| bool::from(known.as_bytes().ct_eq(secret.as_bytes())))
    }

    /// Whether a number may send.
    pub(super) fn is_sender(&self, id: &str) -> bool {
        if self.rules.senders.is_empty() { is_id(id) } else { self.rules.senders.iter().any(|sender| sender == id) }
    }

    #[cfg(test)]
    pub(super) fn for_tests() -> State {
        let authority = super::tls::Authority::new().unwrap();
        let rules = Rules {
            scheme: "http",
            media_origin: "http://127.0.0.1:9444".to_owned(),
            app_secret: None,
            require_proof: false,
            senders: Vec::new(),
            per_sender: None,
            pair_limit: false,
            throttle_status: StatusCode::BAD_REQUEST,
            latency: Duration::ZERO,
        };
        State::new(rules, Webhooks::new(authority.client(None).unwrap(), None))
    }
}

/// Whether it has the form of an object id.
pub(super) fn is_id(text: &str) -> bool {
    !text.is_empty() && text.len() <= 20 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Locks. A panic elsewhere leaves plain data behind, which is still right.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
