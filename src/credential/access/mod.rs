//! The access token of one set of secrets: made when it is needed, kept while it is good, renewed ahead of its end.
//!
//! One exchange is under way at a time, however many requests wait for it. One that fails is not repeated at once, and a
//! token that is good meanwhile goes on.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

mod exchange;
mod mint;

pub(super) use mint::check_key;

use super::reflection::reflections;
use super::{Missing, Sent};
use crate::provider::AccessToken;
use crate::provider::access::Exchange;
use crate::secret::Secret;
use crate::upstream::Upstream;

/// Who gives access tokens for secrets.
#[derive(Clone, Copy)]
pub struct Issuer<'a> {
    /// Where.
    pub upstream: &'a Arc<Upstream>,
    /// Its name.
    pub host: &'a str,
}

/// The tokens of one set of secrets. It belongs to these secrets, and lives on over reloads as long as they do.
#[derive(Default)]
pub(super) struct Access {
    /// The latest first. One that was replaced may still be in an answer to come.
    tokens: ArcSwap<Vec<Arc<Issued>>>,
    turn: Arc<Mutex<Trouble>>,
}

/// An access token.
pub struct Issued {
    secret: Secret,
    reflections: Vec<Zeroizing<Vec<u8>>>,
    since: Instant,
    renew: Instant,
    end: Instant,
    /// Whether the one before it was refused.
    after_refusal: bool,
}

/// The exchanges that failed since the last that did not.
#[derive(Default)]
struct Trouble {
    failures: u32,
    last: Option<(Instant, Failure)>,
}

/// Why an exchange failed.
#[derive(Clone, Debug)]
struct Failure {
    is_refusal: bool,
    problem: String,
}

/// Why there is no access token.
#[derive(Clone, Debug)]
pub struct NoToken {
    /// Whether the secrets were refused, and others would help.
    pub is_refusal: bool,
    /// When it is worth while to ask again.
    pub retry_after: Duration,
    problem: String,
}

impl Issued {
    /// A token that is good for `lifetime` from now on.
    fn new(secret: Secret, lifetime: Duration, after_refusal: bool) -> Self {
        let since = Instant::now();
        let reflections = reflections(&secret);
        Self {
            secret,
            reflections,
            since,
            renew: since + lifetime.mul_f64(RENEWED),
            end: since + lifetime,
            after_refusal,
        }
    }

    /// The token itself.
    pub(super) fn secret(&self) -> &Secret {
        &self.secret
    }

    /// The byte sequences in which an answer could show it.
    pub fn reflections(&self) -> impl Iterator<Item = &[u8]> {
        self.reflections.iter().map(|form| &form[..])
    }

    /// Whether a new one could be better, where the provider refuses this one. Of two that are refused in a row neither is at
    /// fault.
    #[must_use]
    pub fn may_have_ended(&self) -> bool {
        !self.after_refusal || self.since.elapsed() > QUIET
    }
}

/// The access token that these secrets stand for, where the provider wants one; another than the one that was `refused`.
///
/// # Errors
/// Where there is none within ten seconds.
pub async fn access_token(
    sent: Sent<'_>,
    issuer: Issuer<'_>,
    refused: Option<&Issued>,
) -> Result<Option<Arc<Issued>>, NoToken> {
    let Some(kind) = &sent.credential().provider.access_token else { return Ok(None) };
    let access = sent.access();
    let at_hand = access.good(refused);
    let is_due = at_hand.as_ref().is_none_or(|issued| issued.renew <= Instant::now());
    let issued = match (kind, at_hand) {
        (_, Some(issued)) if !is_due => issued,
        (AccessToken::Minted(minted), _) => {
            let secret = mint::mint(minted, sent, issuer.upstream.now()).map_err(NoToken::of_a_key)?;
            access.keep(Issued::new(secret, minted.lifetime, refused.is_some()))
        }
        (AccessToken::Exchanged(exchange), Some(issued)) => {
            // It is good for a while yet, so nobody waits.
            if let Ok(turn) = Arc::clone(&access.turn).try_lock_owned()
                && turn.in_the_way().is_none()
            {
                drop(access.exchange(exchange, sent, issuer, None, turn)?);
            }
            issued
        }
        (AccessToken::Exchanged(exchange), None) => access.wait(exchange, sent, issuer, refused).await?,
    };
    Ok(Some(issued))
}

impl Access {
    /// The token that is good now, other than this one.
    pub(super) fn good(&self, refused: Option<&Issued>) -> Option<Arc<Issued>> {
        let tokens = self.tokens.load();
        let latest = tokens.first().filter(|issued| issued.end > Instant::now())?;
        // One that is older than the refused was refused before it, or has ended.
        let is_it = refused.is_some_and(|refused| latest.since <= refused.since);
        (!is_it).then(|| Arc::clone(latest))
    }

    /// Those that an answer may show.
    pub(super) fn all(&self) -> Arc<Vec<Arc<Issued>>> {
        self.tokens.load_full()
    }

    fn keep(&self, issued: Issued) -> Arc<Issued> {
        let issued = Arc::new(issued);
        let mut tokens = vec![Arc::clone(&issued)];
        tokens.extend(self.tokens.load().iter().take(KEPT - 1).cloned());
        self.tokens.store(Arc::new(tokens));
        issued
    }

    async fn wait(
        self: &Arc<Self>,
        exchange: &Exchange,
        sent: Sent<'_>,
        issuer: Issuer<'_>,
        refused: Option<&Issued>,
    ) -> Result<Arc<Issued>, NoToken> {
        let until = Instant::now() + WAIT;
        let late = |_| NoToken::late(issuer.host);
        let turn = timeout_at(until, Arc::clone(&self.turn).lock_owned()).await.map_err(late)?;
        if let Some(issued) = self.good(refused) {
            return Ok(issued);
        }
        if let Some(trouble) = turn.in_the_way() {
            return Err(trouble);
        }
        let task = self.exchange(exchange, sent, issuer, refused, turn)?;
        match timeout_at(until, task).await.map_err(late)? {
            Ok(result) => result,
            Err(_) => Err(NoToken::late(issuer.host)),
        }
    }

    /// Begins an exchange, which goes on when whoever began it is gone: others may wait for it, and the turn is its own.
    fn exchange(
        self: &Arc<Self>,
        exchange: &Exchange,
        sent: Sent<'_>,
        issuer: Issuer<'_>,
        refused: Option<&Issued>,
        mut turn: OwnedMutexGuard<Trouble>,
    ) -> Result<tokio::task::JoinHandle<Result<Arc<Issued>, NoToken>>, NoToken> {
        let request = exchange::compose(exchange, sent, issuer.host).map_err(NoToken::of_a_key)?;
        let (access, upstream, host) = (Arc::clone(self), Arc::clone(issuer.upstream), issuer.host.to_owned());
        let reading = exchange::Reading::of(exchange);
        let (credential, after_refusal) = (sent.credential().name.clone(), refused.is_some());
        Ok(tokio::spawn(async move {
            match exchange::ask(&upstream, request, &reading).await {
                Ok((secret, lifetime)) => {
                    if turn.failures > 0 {
                        tracing::info!(credential, host, "the exchange for an access token works again");
                    }
                    *turn = Trouble::default();
                    Ok(access.keep(Issued::new(secret, lifetime, after_refusal)))
                }
                Err(failure) => {
                    let problem = format!("the exchange at {host} for an access token failed: {}", failure.problem);
                    if turn.failures == 0 {
                        tracing::warn!(credential, "{problem}");
                    }
                    Err(turn.fail(Failure { problem, ..failure }))
                }
            }
        }))
    }
}

impl Trouble {
    /// Why it is too early for another exchange, where it is.
    fn in_the_way(&self) -> Option<NoToken> {
        let (until, failure) = self.last.as_ref()?;
        let left = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
        Some(NoToken { is_refusal: failure.is_refusal, retry_after: left, problem: failure.problem.clone() })
    }

    fn fail(&mut self, failure: Failure) -> NoToken {
        let pause = BACK_OFF.saturating_mul(2_u32.saturating_pow(self.failures)).min(LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        let no_token = NoToken { is_refusal: failure.is_refusal, retry_after: pause, problem: failure.problem.clone() };
        self.last = Some((Instant::now() + pause, failure));
        no_token
    }
}

impl NoToken {
    fn late(host: &str) -> Self {
        let problem = format!("the exchange at {host} for an access token takes too long");
        Self { is_refusal: false, retry_after: BACK_OFF, problem }
    }

    fn of_a_key(Missing(secret): Missing) -> Self {
        let problem = format!("no access token can be made: there is no usable `{secret}`");
        Self { is_refusal: false, retry_after: BACK_OFF, problem }
    }
}

impl fmt::Display for NoToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("tokens", &self.tokens.load().len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued").field("fingerprint", &self.secret.fingerprint()).finish_non_exhaustive()
    }
}

/// The part of its life after which a token is renewed.
const RENEWED: f64 = 0.8;
/// The longest that a request waits for a token; an exchange itself has a little less.
const WAIT: Duration = Duration::from_secs(10);
const BACK_OFF: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// For so long a token that took the place of a refused one is not replaced when it is refused itself.
const QUIET: Duration = Duration::from_secs(60);
/// Answers that are under way when a token is replaced show that one or the one before.
const KEPT: usize = 2;
