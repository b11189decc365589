//! Questions to providers about credentials, and the verdicts.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Live;
use crate::config::Config;
use crate::credential::{
    Credential, SecretRefusal, Standing, TokenFacts, TokenIssuer, TokenNeeds, TokenUse, Verdict,
    Verification,
};
use crate::health::{self, Endpoints, Uses};
use crate::log::without_numbers;
use crate::outbound::generation::Generation;
use crate::outbound::policy::Route;
use crate::provider::{HealthCheck, OperationKind};
use crate::secret::Fingerprint;
use crate::upstream::Upstream;

/// A credential with the upstreams to ask at, and the senders to ask for.
pub(super) struct CredentialCheck {
    pub(super) credential: Arc<Credential>,
    upstream: Arc<Upstream>,
    host: Arc<str>,
    issuer: Arc<Upstream>,
    issuer_host: Arc<str>,
    senders: BTreeSet<String>,
    needs: TokenNeeds,
    /// The credential in use so far, with which a question that refuses the new secrets is asked
    /// again.
    in_use: Option<Arc<Credential>>,
}

/// Asks the providers about every credential with `check`, even if an answer is known already.
pub async fn verify_all(live: &Live) -> Vec<(Arc<Credential>, Verification)> {
    run_checks(checks(&live.config, &live.generation)).await
}

/// Asks the provider about one credential; `None` for a credential about which no provider is
/// asked.
pub async fn verify_one(live: &Live, credential: &str) -> Option<Verification> {
    let mut checks = checks(&live.config, &live.generation);
    let check = checks.find(|check| check.credential.name == credential)?;
    Some(check.run().await)
}

/// Returns the names of the credentials about which a provider can be asked.
#[must_use]
pub fn questions(live: &Live) -> BTreeSet<String> {
    checks(&live.config, &live.generation)
        .map(|check| check.credential.name.clone())
        .collect()
}

/// Returns a check for each whole credential with `check` and a route.
pub(super) fn checks<'a>(
    config: &'a Config,
    generation: &'a Generation,
) -> impl Iterator<Item = CredentialCheck> + 'a {
    let mut checks: HashMap<&str, CredentialCheck> = HashMap::new();
    for route in generation.policy.routes() {
        let credential = &route.credential;
        let name = credential.name.as_str();
        let is_wanted = config
            .credentials
            .get(name)
            .is_some_and(|config| config.check);
        let is_whole = credential.missing().next().is_none();
        if !is_wanted || !is_whole || !credential.provider.can_be_asked() {
            continue;
        }
        let check = checks.entry(name).or_insert_with(|| CredentialCheck {
            credential: Arc::clone(credential),
            upstream: Arc::clone(&route.upstream),
            host: Arc::clone(&route.host),
            issuer: Arc::clone(&route.issuer),
            issuer_host: Arc::clone(&route.issuer_host),
            senders: BTreeSet::new(),
            needs: TokenNeeds::default(),
            in_use: None,
        });
        check.needs.add(needs_of(route));
        check.senders.extend(route.senders.iter().cloned());
    }
    checks.into_values()
}

/// Runs all checks at once: a silent provider delays no further check.
pub(super) async fn run_checks(
    checks: impl Iterator<Item = CredentialCheck>,
) -> Vec<(Arc<Credential>, Verification)> {
    let mut running = JoinSet::new();
    for check in checks {
        running.spawn(async move {
            let verification = check.run().await;
            (check.credential, verification)
        });
    }
    running.join_all().await
}

impl CredentialCheck {
    /// Returns the check of new secrets beside the credential in use so far.
    pub(super) fn beside(self, in_use: Option<Arc<Credential>>) -> Self {
        Self { in_use, ..self }
    }

    async fn run(&self) -> Verification {
        let endpoints = Endpoints {
            upstream: &self.upstream,
            host: &self.host,
            issuer: TokenIssuer {
                upstream: &self.issuer,
                host: &self.issuer_host,
            },
        };
        let senders: Vec<_> = self.senders.iter().map(String::as_str).collect();
        let uses = Uses {
            needs: &self.needs,
            senders: &senders,
            in_use: self.in_use.as_deref().map(Credential::in_use),
        };
        let ask = |secrets| health::verify(secrets, endpoints, uses);
        let mut verdict = ask(self.credential.newest()).await;
        // A secret with few rights may be refused a question that it need not ask: a question that
        // the secrets in use may not ask either proves nothing about the new secrets.
        if let (Verdict::Refused(_), Some(in_use)) = (&verdict, &self.in_use)
            && matches!(self.credential.provider.health, Some(HealthCheck::Get(_)))
            && let Verdict::Refused(refusal) = ask(in_use.in_use()).await
        {
            verdict = Verdict::Unproved(format!(
                "{}, and the secrets in use as well: the question of `health` tells nothing",
                refusal.reason
            ));
        }
        Verification {
            at: Instant::now(),
            provider_time: self.upstream.read_clock().time,
            verdict,
            standing: Standing::Untested,
        }
    }
}

/// The effect of a verdict on traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum VerdictEffect {
    /// Traffic goes on as before.
    None,
    /// The credential counts as accepted again.
    Accept,
    /// The credential counts as refused: there is no secret set left to send with.
    Refuse,
}

/// The state of a credential at the time of a verdict.
#[derive(Clone, Copy, Debug)]
pub(super) struct CredentialAtVerdict {
    /// True if the provider has refused the credential, and has accepted no request since.
    pub(super) is_refused: bool,
    /// True if another secret set is left to send with.
    pub(super) has_alternative: bool,
}

/// Decides the effect of a verdict: the verdict stands for the provider's answer to a request,
/// until the first request.
pub(super) fn effect_of(verdict: &Verdict, credential: CredentialAtVerdict) -> VerdictEffect {
    match verdict {
        // Requests of other senders may be good.
        Verdict::Refused(refusal) if refusal.is_of_sender => VerdictEffect::None,
        Verdict::Refused(_) if !credential.has_alternative => VerdictEffect::Refuse,
        Verdict::Proved(_) if credential.is_refused => VerdictEffect::Accept,
        Verdict::Refused(_) | Verdict::Proved(_) | Verdict::Unproved(_) => VerdictEffect::None,
    }
}

/// Logs a verdict, with advice.
pub(super) fn log_verdict(credential: &Credential, generation: &Generation, verdict: &Verdict) {
    let name = &credential.name;
    let fingerprint = credential
        .newest()
        .fingerprint()
        .map(tracing::field::display);
    match verdict {
        Verdict::Proved(facts) => {
            tracing::info!(
                credential = name,
                fingerprint,
                "the provider accepts the token"
            );
            for concern in concerns(name, facts, generation) {
                tracing::warn!(credential = name, "the token {concern}");
            }
        }
        Verdict::Refused(refusal) => {
            let fingerprint = guilty(credential, refusal).map(tracing::field::display);
            let reason = without_numbers(&refusal.reason);
            let what = refusal
                .secret
                .as_deref()
                .unwrap_or("secret")
                .replace('_', " ");
            tracing::error!(
                credential = name,
                fingerprint,
                reason,
                "the provider refuses the {what}: put a new one in its place{}{}",
                and_restart(credential, refusal.secret.as_deref()),
                and_events(credential)
            );
        }
        Verdict::Unproved(reason) => {
            tracing::warn!(
                credential = name,
                fingerprint,
                reason,
                "the provider could not be asked about the token: the token is in use without proof"
            );
        }
    }
}

/// Returns what to do besides for a secret whose source never changes while the process runs.
/// Without a name, any secret counts.
fn and_restart(credential: &Credential, secret: Option<&str>) -> &'static str {
    let mut slots = credential.slots().iter();
    let is_fixed = slots.any(|(name, slot)| {
        secret.is_none_or(|secret| secret == name) && slot.current.reference.is_fixed()
    });
    if is_fixed {
        " and restart: the environment of a running process never changes"
    } else {
        ""
    }
}

/// Returns what the events of a credential's webhooks add to a refusal.
fn and_events(credential: &Credential) -> &'static str {
    let forgery = credential.last_forgery().age();
    if forgery.is_some_and(|age| age < RECENT) {
        "; events of its webhooks are refused as forged as well"
    } else {
        ""
    }
}

/// Returns the fingerprint of the secret that a refusal blames, or else of the first required
/// secret.
pub(super) fn guilty(credential: &Credential, refusal: &SecretRefusal) -> Option<Fingerprint> {
    let blamed = refusal
        .secret
        .as_ref()
        .and_then(|secret| credential.fingerprint_of(secret));
    blamed.or_else(|| credential.newest().fingerprint())
}

/// Returns reasons to replace an accepted token, with advice, each phrased to follow "the token".
#[must_use]
pub fn concerns(credential: &str, facts: &TokenFacts, generation: &Generation) -> Vec<String> {
    let need = generation
        .policy
        .routes_of(credential)
        .map(use_of)
        .max()
        .unwrap_or(TokenUse::Sending);
    let too_wide = facts.too_wide(need);
    let mut concerns = Vec::new();
    if !too_wide.is_empty() {
        concerns.push(format!(
            "may do more than its routes need: make one without these scopes: {}",
            too_wide.join(" ")
        ));
    }
    let mut needs = TokenNeeds::default();
    for route in generation.policy.routes_of(credential) {
        needs.add(needs_of(route));
    }
    let lacking = facts.lacking(&needs);
    if !lacking.is_empty() {
        concerns.push(format!(
            "may do less than some requests of its routes need: make one with these scopes: {}",
            lacking.join(" ")
        ));
    }
    let mut routes = generation.policy.routes_of(credential);
    let open = routes.find(|route| route.senders.is_empty());
    if let Some(route) = open.filter(|_| !facts.pageless_scopes.is_empty()) {
        concerns.push(format!(
            "may send for pages that Meta does not name ({}), at the path of WhatsApp's messages: make one without, or name \
             the numbers in `senders` of route {}",
            facts.pageless_scopes.join(" "),
            route.name
        ));
    }
    if facts.is_personal() {
        concerns.push("is a person's own and ends soon: use a System User's".to_owned());
    }
    concerns
}

/// Returns what a route needs the token for.
#[must_use]
pub fn needs_of(route: &Route) -> TokenNeeds {
    let mut needs = TokenNeeds::default();
    let operations = route.credential.provider.operations.iter();
    for operation in operations.filter(|operation| route.operations.allows(operation)) {
        match operation.kind {
            OperationKind::Send | OperationKind::Receive => needs.messaging = true,
            // The credential of the application goes out with the other operations of this kind.
            OperationKind::Administration => {
                needs.administration |= !operation.caller_credential;
            }
        }
        if !operation.caller_credential {
            for scope in &operation.scopes {
                needs.add_scope(scope);
            }
        }
    }
    needs
}

/// Returns the use of the credential by a route.
fn use_of(route: &Route) -> TokenUse {
    let reads_numbers = route.limiter.senders.terms().auto;
    if needs_of(route).administration {
        TokenUse::Administration
    } else if reads_numbers {
        TokenUse::ReadingNumbers
    } else {
        TokenUse::Sending
    }
}

/// The time for which a forged event is logged together with a refusal: a change of both secrets by
/// hand takes minutes.
const RECENT: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_counts_until_a_request_shows() {
        let proved = Verdict::Proved(TokenFacts::default());
        let refused = Verdict::Refused(SecretRefusal::new("code 190"));
        let unproved = Verdict::Unproved("no answer".to_owned());
        let of_sender = Verdict::Refused(SecretRefusal {
            is_of_sender: true,
            ..SecretRefusal::new("code 100")
        });
        for (verdict, is_refused, has_alternative, expected) in [
            (&proved, false, false, VerdictEffect::None),
            (&proved, true, false, VerdictEffect::Accept),
            (&proved, true, true, VerdictEffect::Accept),
            (&refused, false, false, VerdictEffect::Refuse),
            (&refused, true, false, VerdictEffect::Refuse),
            (&refused, false, true, VerdictEffect::None),
            (&of_sender, false, false, VerdictEffect::None),
            (&unproved, false, false, VerdictEffect::None),
            (&unproved, true, true, VerdictEffect::None),
        ] {
            let credential = CredentialAtVerdict {
                is_refused,
                has_alternative,
            };
            let effect = effect_of(verdict, credential);
            assert_eq!(
                effect, expected,
                "{verdict}, {is_refused}, {has_alternative}"
            );
        }
    }
}
