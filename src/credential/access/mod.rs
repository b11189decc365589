//! Access tokens: made for the first request, kept while good, renewed ahead of the end.
//!
//! However many requests wait, a secret set has a single exchange under way at a time. A failed
//! exchange is not repeated at once, and a good token stays in use meanwhile.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

mod error;
mod exchange;
pub(super) mod issued;
mod mint;
pub(super) mod signing_key;
pub(super) mod tokens;

pub use error::AccessTokenError;
use error::ExchangeFailure;
use issued::IssueCause;
pub use issued::IssuedToken;
use tokens::{AccessTokens, Failures};

use super::secret_set::SecretSet;
use crate::provider::AccessToken;
use crate::provider::access::TokenExchange;
use crate::upstream::Upstream;

/// The server for exchanges of secrets for access tokens.
#[derive(Clone, Copy)]
pub struct TokenIssuer<'a> {
    /// The upstream of the server.
    pub upstream: &'a Arc<Upstream>,
    /// The value for the Host header.
    pub host: &'a str,
}

/// Returns an access token for a secret set, or `None` if the provider takes the plain secrets.
///
/// A `refused` token, or an older token, is not returned again.
///
/// # Errors
/// If no token is there within 10 s, or no exchange may be tried yet.
pub async fn access_token(
    secrets: SecretSet<'_>,
    issuer: TokenIssuer<'_>,
    refused: Option<&IssuedToken>,
) -> Result<Option<Arc<IssuedToken>>, AccessTokenError> {
    let Some(kind) = &secrets.provider().access_token else {
        return Ok(None);
    };
    let tokens = secrets.access_tokens();
    let at_hand = tokens.good(refused);
    let is_fresh = at_hand.as_ref().is_some_and(|issued| !issued.is_due());
    let issued = match (kind, at_hand) {
        (_, Some(issued)) if is_fresh => issued,
        (AccessToken::Minted(minted), _) => {
            let token = mint::mint(minted, secrets, issuer.upstream.read_clock().time)
                .map_err(AccessTokenError::without_key)?;
            tokens.keep(IssuedToken::new(
                token,
                minted.lifetime,
                IssueCause::of(refused),
            ))
        }
        (AccessToken::Exchanged(exchange), Some(issued)) => {
            // Due for renewal, but good for a while yet: the exchange runs beside the request.
            if let Ok(turn) = tokens.turn().try_lock_owned()
                && turn.pause().is_none()
            {
                drop(tokens.start_exchange(exchange, secrets, issuer, None, turn)?);
            }
            issued
        }
        (AccessToken::Exchanged(exchange), None) => {
            tokens
                .wait_for_exchange(exchange, secrets, issuer, refused)
                .await?
        }
    };
    Ok(Some(issued))
}

type ExchangeTask = JoinHandle<Result<Arc<IssuedToken>, AccessTokenError>>;

impl AccessTokens {
    async fn wait_for_exchange(
        self: &Arc<Self>,
        exchange: &TokenExchange,
        secrets: SecretSet<'_>,
        issuer: TokenIssuer<'_>,
        refused: Option<&IssuedToken>,
    ) -> Result<Arc<IssuedToken>, AccessTokenError> {
        let deadline = Instant::now() + MAX_WAIT;
        let late = |_| AccessTokenError::late(issuer.host);
        let turn = timeout_at(deadline, self.turn().lock_owned())
            .await
            .map_err(late)?;
        // The request with the turn before may have brought a token, or a failure.
        if let Some(issued) = self.good(refused) {
            return Ok(issued);
        }
        if let Some(pause) = turn.pause() {
            return Err(pause);
        }
        let task = self.start_exchange(exchange, secrets, issuer, refused, turn)?;
        timeout_at(deadline, task)
            .await
            .map_err(late)?
            .unwrap_or_else(|_| Err(AccessTokenError::late(issuer.host)))
    }

    /// Starts an exchange in a separate task, with the turn in hand to the end: several requests
    /// may wait for the exchange, and the first request may hang up.
    fn start_exchange(
        self: &Arc<Self>,
        exchange: &TokenExchange,
        secrets: SecretSet<'_>,
        issuer: TokenIssuer<'_>,
        refused: Option<&IssuedToken>,
        mut turn: OwnedMutexGuard<Failures>,
    ) -> Result<ExchangeTask, AccessTokenError> {
        let request = exchange::compose(exchange, secrets, issuer.host)
            .map_err(AccessTokenError::without_key)?;
        let tokens = Arc::clone(self);
        let upstream = Arc::clone(issuer.upstream);
        let host = issuer.host.to_owned();
        let fields = exchange::AnswerFields::of(exchange);
        let credential = secrets.credential().name.clone();
        let cause = IssueCause::of(refused);
        Ok(tokio::spawn(async move {
            match exchange::request_token(&upstream, request, &fields).await {
                Ok((token, lifetime)) => {
                    if turn.reset() {
                        tracing::info!(
                            credential,
                            host,
                            "the exchange for an access token works again"
                        );
                    }
                    Ok(tokens.keep(IssuedToken::new(token, lifetime, cause)))
                }
                Err(failure) => {
                    let problem = format!(
                        "the exchange at {host} for an access token failed: {}",
                        failure.problem
                    );
                    if turn.is_first() {
                        tracing::warn!(credential, "{problem}");
                    }
                    Err(turn.add(ExchangeFailure { problem, ..failure }))
                }
            }
        }))
    }
}

/// The longest wait of a request for a token. An exchange has two seconds less, so that the
/// application is told the reason of the failure.
const MAX_WAIT: Duration = Duration::from_secs(10);
