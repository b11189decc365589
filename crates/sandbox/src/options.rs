//! The options of a sandbox.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use http::StatusCode;

use crate::dialect::Dialect;

/// The options of a sandbox.
#[derive(Clone)]
pub struct Options {
    /// The emulated provider; Meta if there is none.
    ///
    /// With another provider, options about media, proofs, senders, pairs and the status of
    /// throttled requests have no effect.
    pub provider: Option<&'static Dialect>,
    /// The address of the Graph host, or of the provider's host; port 0 for any port.
    pub listen: SocketAddr,
    /// The address of the media host; port 0 for any port.
    pub media_listen: SocketAddr,
    /// The host, with a port if needed, in links to media; by default the address of the media
    /// host.
    pub media_host: Option<String>,
    /// True if the hosts speak TLS, with a certificate of the sandbox's own authority.
    pub tls: bool,
    /// The tokens of Meta with both WhatsApp scopes, or the keys of another provider, that are
    /// valid from the start. Of a key pair the provider has the public key.
    pub tokens: Vec<String>,
    /// The secret of the app; without a secret proofs are not checked.
    pub app_secret: Option<String>,
    /// "Require App Secret": calls without a proof fail.
    pub require_proof: bool,
    /// The phone number ids that may send; empty for any digits.
    pub senders: Vec<String>,
    /// The messages per second of one sender; error 130429 beyond.
    pub per_sender: Option<u32>,
    /// True if each pair of sender and recipient has a limit: a message in 6 s and 45 at once;
    /// error 131056 beyond.
    pub pair_limit: bool,
    /// The HTTP status of errors 130429 and 131056.
    pub throttle_status: ThrottleStatus,
    /// The delay of every answer of the Graph host, or of the provider's host.
    pub latency: Duration,
    /// The trusted authorities of callback URLs with TLS, in PEM; by default the sandbox's own
    /// authority.
    pub callback_ca: Option<Vec<u8>>,
    /// The state of the account and its numbers, as questions about them are answered.
    pub standing: AccountStanding,
}

/// The state of the account and its numbers, as questions about them are answered. No other
/// behaviour depends on this state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountStanding {
    /// `status` of every number.
    pub number_status: String,
    /// `quality_rating` of every number.
    pub quality: String,
    /// The messaging limit of the business.
    pub tier: String,
    /// `can_send_message` of the health of every number.
    pub health: String,
    /// True if the app is subscribed to the account.
    pub subscribed: bool,
    /// The callback URL set on every number.
    pub number_callback: Option<String>,
    /// The callback URL set on the account.
    pub account_callback: Option<String>,
}

impl Default for AccountStanding {
    fn default() -> Self {
        Self {
            number_status: "CONNECTED".to_owned(),
            quality: "GREEN".to_owned(),
            tier: "TIER_250".to_owned(),
            health: "AVAILABLE".to_owned(),
            subscribed: true,
            number_callback: None,
            account_callback: None,
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            provider: None,
            listen: any_port,
            media_listen: any_port,
            media_host: None,
            tls: false,
            tokens: Vec::new(),
            app_secret: None,
            require_proof: false,
            senders: Vec::new(),
            per_sender: None,
            pair_limit: false,
            throttle_status: ThrottleStatus::BadRequest,
            latency: Duration::ZERO,
            callback_ca: None,
            standing: AccountStanding::default(),
        }
    }
}

/// The HTTP status of throttled requests to Meta.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThrottleStatus {
    /// 400, as Meta documents it.
    BadRequest,
    /// 429, as Meta documented it before.
    TooManyRequests,
}

impl From<ThrottleStatus> for StatusCode {
    fn from(status: ThrottleStatus) -> Self {
        match status {
            ThrottleStatus::BadRequest => Self::BAD_REQUEST,
            ThrottleStatus::TooManyRequests => Self::TOO_MANY_REQUESTS,
        }
    }
}

impl FromStr for ThrottleStatus {
    type Err = ThrottleStatusError;

    /// Reads `400` or `429`.
    fn from_str(text: &str) -> Result<Self, ThrottleStatusError> {
        match text {
            "400" => Ok(Self::BadRequest),
            "429" => Ok(Self::TooManyRequests),
            _ => Err(ThrottleStatusError),
        }
    }
}

/// A status for throttled requests that Meta never had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThrottleStatusError;

impl fmt::Display for ThrottleStatusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected 400 or 429")
    }
}

impl std::error::Error for ThrottleStatusError {}
