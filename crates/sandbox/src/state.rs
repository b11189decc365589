//! The state of a sandbox: rules, stores and webhooks.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use subtle::ConstantTimeEq;

use crate::ids;
use crate::options::AccountStanding;
use crate::store::group::Groups;
use crate::store::kept::Kept;
use crate::store::media::Media;
use crate::store::number::Numbers;
use crate::store::object::Objects;
use crate::store::pace::Pace;
use crate::store::record::Records;
use crate::store::template::Templates;
use crate::store::token::Tokens;
use crate::store::upload::Uploads;
use crate::webhook::{Order, Webhooks};

/// The state of one sandbox.
pub(crate) struct State {
    pub(crate) rules: Rules,
    pub(crate) tokens: Tokens,
    pub(crate) records: Records,
    pub(crate) pace: Pace,
    pub(crate) templates: Templates,
    pub(crate) groups: Groups,
    pub(crate) media: Media,
    pub(crate) kept: Kept,
    pub(crate) uploads: Uploads,
    pub(crate) numbers: Numbers,
    pub(crate) objects: Objects,
    pub(crate) webhooks: Arc<Webhooks>,
}

impl State {
    /// An empty state.
    pub(crate) fn new(rules: Rules, webhooks: Webhooks) -> Self {
        Self {
            rules,
            tokens: Tokens::default(),
            records: Records::default(),
            pace: Pace::default(),
            templates: Templates::default(),
            groups: Groups::default(),
            media: Media::default(),
            kept: Kept::default(),
            uploads: Uploads::default(),
            numbers: Numbers::default(),
            objects: Objects::default(),
            webhooks: Arc::new(webhooks),
        }
    }

    /// Starts to send the events of an order. The picture of an order for pictures is stored first.
    pub(crate) fn place(&self, mut order: Order) {
        if order.needs_picture() {
            let origin = &self.rules.media_origin;
            order.picture = Some(self.media.receive_picture(ids::SENDER, origin));
        }
        tokio::spawn(Arc::clone(&self.webhooks).carry_out(order));
    }

    /// Compares a secret with the app secret, in constant time.
    pub(crate) fn is_app_secret(&self, secret: &str) -> bool {
        let known = self.rules.app_secret.as_ref();
        known.is_some_and(|known| bool::from(known.as_bytes().ct_eq(secret.as_bytes())))
    }

    /// Returns true for a phone number id that may send.
    pub(crate) fn is_sender(&self, id: &str) -> bool {
        let senders = &self.rules.senders;
        if senders.is_empty() {
            ids::is_object_id(id)
        } else {
            senders.iter().any(|sender| sender == id)
        }
    }

    #[cfg(test)]
    pub(crate) fn for_tests() -> Self {
        let authority = crate::tls::Authority::new().unwrap();
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
            standing: AccountStanding::default(),
        };
        Self::new(rules, Webhooks::new(authority.client(None).unwrap(), None))
    }
}

/// The options of a sandbox, as handlers need them.
#[derive(Clone)]
pub(crate) struct Rules {
    /// The scheme of links to the sandbox.
    pub(crate) scheme: &'static str,
    /// The scheme and authority of links to media.
    pub(crate) media_origin: String,
    /// The secret of the app; without a secret proofs are not checked.
    pub(crate) app_secret: Option<String>,
    /// "Require App Secret": calls without a proof fail.
    pub(crate) require_proof: bool,
    /// The phone number ids that may send; empty for any.
    pub(crate) senders: Vec<String>,
    /// The messages per second of one sender.
    pub(crate) per_sender: Option<u32>,
    /// True if the rate of each pair is limited.
    pub(crate) pair_limit: bool,
    /// The status of throttled requests.
    pub(crate) throttle_status: StatusCode,
    /// The delay of every answer.
    pub(crate) latency: Duration,
    /// The state of the account and its numbers.
    pub(crate) standing: AccountStanding,
}
