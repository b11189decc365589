//! The access tokens of a secret set, and the failures of exchanges.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::error::{AccessTokenError, ExchangeFailure, MIN_RETRY};
use super::issued::IssuedToken;

/// The access tokens of a secret set. Reloads with equal secrets keep the tokens.
#[derive(Default)]
pub(in super::super) struct AccessTokens {
    /// The latest first. A replaced token may still appear in the answer to an earlier request.
    tokens: ArcSwap<Vec<Arc<IssuedToken>>>,
    /// Held by the exchange under way; a tokio mutex, because requests queue for the turn.
    turn: OnceLock<Arc<Mutex<Failures>>>,
}

impl AccessTokens {
    /// Returns the turn of the exchange. Most providers have no exchange, and no turn.
    pub(super) fn turn(&self) -> Arc<Mutex<Failures>> {
        Arc::clone(self.turn.get_or_init(Arc::default))
    }

    /// Returns the latest token, unless the token has ended or is no newer than the `refused`
    /// token.
    pub(in super::super) fn good(&self, refused: Option<&IssuedToken>) -> Option<Arc<IssuedToken>> {
        let tokens = self.tokens.load();
        let latest = tokens.first().filter(|issued| issued.is_good())?;
        refused
            .is_none_or(|refused| latest.is_newer_than(refused))
            .then(|| Arc::clone(latest))
    }

    /// Returns every token to redact from answers.
    pub(in super::super) fn all(&self) -> Arc<Vec<Arc<IssuedToken>>> {
        self.tokens.load_full()
    }

    /// Puts a token in front, and forgets the oldest beyond [`MAX_KEPT`].
    pub(super) fn keep(&self, issued: IssuedToken) -> Arc<IssuedToken> {
        let issued = Arc::new(issued);
        let mut tokens = vec![Arc::clone(&issued)];
        tokens.extend(self.tokens.load().iter().take(MAX_KEPT - 1).cloned());
        self.tokens.store(Arc::new(tokens));
        issued
    }
}

impl fmt::Debug for AccessTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessTokens")
            .field("tokens", &self.tokens.load().len())
            .finish_non_exhaustive()
    }
}

/// The failed exchanges since the last success.
#[derive(Default)]
pub(in super::super) struct Failures {
    count: u32,
    /// The last failure, and the earliest start of the next exchange.
    last: Option<(Instant, ExchangeFailure)>,
}

impl Failures {
    /// Returns the last failure while the next exchange must wait.
    pub(super) fn pause(&self) -> Option<AccessTokenError> {
        let (until, failure) = self.last.as_ref()?;
        let left = until
            .checked_duration_since(Instant::now())
            .filter(|left| !left.is_zero())?;
        Some(AccessTokenError::after(failure, left))
    }

    /// True if no exchange has failed since the last success.
    pub(super) fn is_first(&self) -> bool {
        self.count == 0
    }

    /// Adds a failure. The pause doubles with each, up to [`MAX_PAUSE`].
    pub(super) fn add(&mut self, failure: ExchangeFailure) -> AccessTokenError {
        let pause = MIN_RETRY
            .saturating_mul(2_u32.saturating_pow(self.count))
            .min(MAX_PAUSE);
        self.count = self.count.saturating_add(1);
        let error = AccessTokenError::after(&failure, pause);
        self.last = Some((Instant::now() + pause, failure));
        error
    }

    /// Forgets all failures. Returns true if there were any.
    pub(super) fn reset(&mut self) -> bool {
        std::mem::take(self).count > 0
    }
}

/// The longest pause between two failing exchanges: a corrected secret works within a minute.
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// The number of tokens to keep: answers under way may show the current token or the token before.
const MAX_KEPT: usize = 2;
