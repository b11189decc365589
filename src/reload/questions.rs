//! Asks providers about credentials: about new secrets before they are published, about all once a day.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Live, LoadError, Refused, Reloader};
use crate::config::Config;
use crate::credential::{Asked, Credential, Facts, Issuer, Use, Verdict};
use crate::health::{self, Place};
use crate::log::without_numbers;
use crate::metrics::Metrics;
use crate::outbound::Generation;
use crate::outbound::policy::Route;
use crate::provider::Kind;
use crate::upstream::Upstream;

/// A credential, and where and for which senders it is asked about.
struct Question {
    credential: Arc<Credential>,
    upstream: (Arc<Upstream>, String),
    issuer: (Arc<Upstream>, String),
    senders: BTreeSet<String>,
}

/// Asks about every credential that nothing is known of yet.
///
/// # Errors
/// Where a provider refuses one: the generation must not be published.
pub(super) async fn prove(config: &Config, generation: &Generation, metrics: &Metrics) -> Result<(), LoadError> {
    let unknown = questions(config, generation).filter(|question| question.credential.asked().is_none());
    let mut refused = Vec::new();
    for (credential, asked) in ask(unknown).await {
        tell(&credential, generation, &asked.verdict);
        if let Verdict::Refused(reason) = &asked.verdict {
            metrics.rotated(&credential.name, "refused");
            let (name, fingerprint) = (credential.name.clone(), credential.newest().fingerprint());
            refused.push(Refused { credential: name, fingerprint, reason: reason.clone() });
        }
        credential.keep(asked);
    }
    if refused.is_empty() { Ok(()) } else { Err(LoadError::Refused(refused)) }
}

/// Asks about every credential that is to be checked, whatever is known of it.
pub async fn ask_about(live: &Live) -> Vec<(Arc<Credential>, Asked)> {
    ask(questions(&live.config, &live.generation)).await
}

/// One question for each credential that is to be checked and that a route sends with.
fn questions<'a>(config: &'a Config, generation: &'a Generation) -> impl Iterator<Item = Question> + 'a {
    let mut questions: HashMap<&str, Question> = HashMap::new();
    for route in generation.policy.routes() {
        let name = route.credential.name.as_str();
        let is_checked = config.credentials.get(name).is_some_and(|credential| credential.check);
        let is_missing = route.credential.missing().next().is_some();
        if !is_checked || is_missing || !route.credential.provider.can_be_asked() {
            continue;
        }
        let question = questions.entry(name).or_insert_with(|| Question {
            credential: Arc::clone(&route.credential),
            upstream: (Arc::clone(&route.upstream), route.host.clone()),
            issuer: (Arc::clone(&route.issuer), route.issuer_host.clone()),
            senders: BTreeSet::new(),
        });
        question.senders.extend(route.senders.iter().cloned());
    }
    questions.into_values()
}

/// All at a time: a provider that does not answer holds up no other.
async fn ask(questions: impl Iterator<Item = Question>) -> Vec<(Arc<Credential>, Asked)> {
    let mut asking = JoinSet::new();
    for Question { credential, upstream: (upstream, host), issuer: (issuer, issuer_host), senders } in questions {
        asking.spawn(async move {
            let senders: Vec<_> = senders.iter().map(String::as_str).collect();
            let issuer = Issuer { upstream: &issuer, host: &issuer_host };
            let place = Place { upstream: &upstream, host: &host, issuer };
            let verdict = health::ask(credential.newest(), place, &senders).await;
            let asked = Asked { at: Instant::now(), time: upstream.now(), verdict };
            (credential, asked)
        });
    }
    asking.join_all().await
}

fn tell(credential: &Credential, generation: &Generation, verdict: &Verdict) {
    let (name, fingerprint) = (&credential.name, credential.newest().fingerprint().map(tracing::field::display));
    match verdict {
        Verdict::Proved(facts) => {
            tracing::info!(credential = name, fingerprint, "the provider takes the token");
            for concern in concerns(name, facts, generation) {
                tracing::warn!(credential = name, "the token {concern}");
            }
        }
        Verdict::Refused(reason) => {
            let reason = without_numbers(reason);
            tracing::error!(
                credential = name,
                fingerprint,
                reason,
                "the provider refuses the token: put a new one in its place"
            );
        }
        Verdict::Unproved(reason) => {
            tracing::warn!(
                credential = name,
                fingerprint,
                reason,
                "the provider could not be asked about the token; it is used unproved"
            );
        }
    }
}

/// Why a token that the provider takes should be another, with what to do.
#[must_use]
pub fn concerns(credential: &str, facts: &Facts, generation: &Generation) -> Vec<String> {
    let routes = generation.policy.routes().iter().filter(|route| route.credential.name == credential);
    let too_wide = facts.too_wide(routes.map(use_of).max().unwrap_or(Use::Sending));
    let mut concerns = Vec::new();
    if !too_wide.is_empty() {
        concerns
            .push(format!("may do more than its routes need: make one without these scopes: {}", too_wide.join(" ")));
    }
    if facts.is_personal() {
        concerns.push("is a person's own and ends soon: use a System User's".to_owned());
    }
    concerns
}

/// What a route may use its credential for.
fn use_of(route: &Route) -> Use {
    let operations = route.credential.provider.operations.iter().zip(&route.operations);
    let mut allowed = operations.filter(|(_, is_allowed)| **is_allowed).map(|(operation, _)| operation.kind);
    let reads_numbers = route.limiter.senders.as_ref().is_some_and(|budget| budget.terms().auto);
    match () {
        () if allowed.any(|kind| kind == Kind::Administration) => Use::Administration,
        () if reads_numbers => Use::ReadingNumbers,
        () => Use::Sending,
    }
}

impl Reloader {
    /// Asks when it is time, and raises an alarm when a secret grows old or nears its end, for as long as
    /// the process lives.
    pub(super) async fn look_after(self: Arc<Self>) {
        let mut alarms = Alarms::default();
        loop {
            self.ask_what_is_due().await;
            self.ask_for_levels().await;
            alarms.raise(&self.live());
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn ask_what_is_due(&self) {
        let live = self.live();
        let due = questions(&live.config, &live.generation).filter(|question| is_due(&question.credential));
        for (credential, asked) in ask(due).await {
            // The same twice is no news.
            if credential.asked().is_none_or(|before| before.verdict != asked.verdict) {
                tell(&credential, &live.generation, &asked.verdict);
                self.stand(&credential, &asked.verdict);
            }
            credential.keep(asked);
        }
    }

    /// What the provider says of a credential counts as what it does with it, until a request shows.
    fn stand(&self, credential: &Credential, verdict: &Verdict) {
        let (standing, sent) = (credential.standing(), credential.sent());
        match verdict {
            Verdict::Refused(reason) => {
                let (name, fingerprint) = (credential.name.clone(), credential.newest().fingerprint());
                Refused { credential: name, fingerprint, reason: reason.clone() }.record(&self.audit);
                if credential.instead_of(sent).is_none() {
                    standing.refuse();
                }
            }
            Verdict::Proved(_) if standing.is_refused() => drop(standing.take_to(sent)),
            Verdict::Proved(_) | Verdict::Unproved(_) => {}
        }
    }
}

impl Reloader {
    /// Asks how fast senders may send, where a route leaves that to the provider.
    async fn ask_for_levels(&self) {
        let live = self.live();
        for route in live.generation.policy.routes() {
            let Some(budget) = route.limiter.senders.as_ref().filter(|budget| budget.terms().auto) else { continue };
            if route.credential.newest().fingerprint().is_none() {
                continue;
            }
            let sent = route.credential.sent();
            let question = health::Question { sent, upstream: &route.upstream, host: &route.host };
            for sender in budget.unread(route.senders.iter().cloned(), ASK).into_iter().take(MOST_LEVELS) {
                if let Some(rate) = health::level(&question, &sender).await {
                    let sender_shown = without_numbers(&sender);
                    tracing::info!(route = &*route.name, sender = sender_shown, %rate, "the provider says how fast this number may send");
                    budget.set_level(&sender, rate);
                }
            }
        }
    }
}

/// Once a day, as Meta advises; sooner where the last time said nothing:
/// <https://developers.facebook.com/docs/facebook-login/security>.
fn is_due(credential: &Credential) -> bool {
    credential.asked().is_none_or(|asked| {
        let interval = if matches!(asked.verdict, Verdict::Unproved(_)) { ASK_AGAIN } else { ASK };
        asked.at.elapsed() >= interval
    })
}

/// What was said already, so that it is said once for each stage.
#[derive(Default)]
struct Alarms {
    raised: HashMap<String, usize>,
}

impl Alarms {
    fn raise(&mut self, live: &Live) {
        for (name, credential) in &live.credentials {
            for (secret, slot) in credential.slots() {
                let (age, policy) = (slot.current.age(), credential.max_age);
                let stage = [policy.mul_f64(DUE), policy].iter().filter(|limit| age > **limit).count();
                let days = age.as_secs() / DAY;
                if self.is_news(format!("{name} {secret} age"), stage) {
                    match stage {
                        1 => tracing::warn!(credential = name, secret, days, "the secret grows old: rotate it soon"),
                        _ => tracing::error!(
                            credential = name,
                            secret,
                            days,
                            "the secret is older than max_age: rotate it"
                        ),
                    }
                }
            }
            let asked = credential.asked();
            let Some(left) = asked.and_then(|asked| asked.ends_in()) else { continue };
            let ahead = EXPIRY_DAYS.iter().filter(|days| left < Duration::from_secs(**days * DAY)).count();
            let stage = ahead + usize::from(left.is_zero());
            if self.is_news(format!("{name} expiry"), stage) {
                match left.as_secs() / DAY {
                    _ if left.is_zero() => tracing::error!(credential = name, "the token has ended: replace it"),
                    days => tracing::error!(credential = name, days, "the token ends in so many days: replace it"),
                }
            }
        }
    }

    /// Whether a stage is reached that was not before.
    fn is_news(&mut self, what: String, stage: usize) -> bool {
        self.raised.insert(what, stage).unwrap_or_default() < stage
    }
}

/// How much of `max_age` may pass before the first warning.
pub const DUE: f64 = 0.8;
/// How many days before the end of a token there is an alarm; one more when it is there.
const EXPIRY_DAYS: [u64; 3] = [14, 7, 2];
const DAY: u64 = 86_400;
const LOOK: Duration = Duration::from_secs(60);
/// Of one route at a time.
const MOST_LEVELS: usize = 100;
const ASK_AGAIN: Duration = Duration::from_secs(60);
const ASK: Duration = Duration::from_secs(DAY);
