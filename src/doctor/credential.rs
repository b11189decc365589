//! The examination of a credential: secrets, the word of the provider, numbers, and the way of
//! events at Meta.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::callback::{self, CALLBACK_FIELD, OwnUrls};
use super::number::{
    self, HEALTH_FIELD, LIMIT_FIELD, NumberAnswers, OLD_LIMIT_FIELD, STATE_FIELDS,
};
use super::step::{DoctorSection, DoctorStep, SectionKind, StepReporter};
use super::token::{AgePolicy, SecretFacts, of_secret, of_verdict};
use super::upstream::{FarUpstream, Reached, is_reached};
use crate::credential::{Credential, TokenFacts};
use crate::health::{ProviderQuery, QueryError, number_at};
use crate::outbound::policy::Route;
use crate::reload::{AGE_WARNING_SHARE, Live, concerns, verify_one};

/// Begins a section for each credential.
pub(super) fn sections(
    live: &Arc<Live>,
    reached: &Arc<BTreeMap<FarUpstream, Reached>>,
    deadline: Instant,
) -> Vec<DoctorSection> {
    let turns = Arc::new(Semaphore::new(MAX_AT_A_TIME));
    let begin = |credential: &Arc<Credential>| {
        let live = Arc::clone(live);
        let reached = Arc::clone(reached);
        let turns = Arc::clone(&turns);
        let credential = Arc::clone(credential);
        let name = credential.name.clone();
        let examine = move |reporter| async move {
            let _turn = turns.acquire().await;
            let examination = Examination {
                live,
                credential,
                reporter,
            };
            examination.run(&reached).await;
        };
        DoctorSection::begin(SectionKind::Credential, name, deadline, examine)
    };
    live.credentials.values().map(begin).collect()
}

/// The examination of one credential.
struct Examination {
    live: Arc<Live>,
    credential: Arc<Credential>,
    reporter: StepReporter,
}

impl Examination {
    async fn run(&self, reached: &BTreeMap<FarUpstream, Reached>) {
        self.reporter.report_all(self.secrets());
        let route = match self.askable() {
            Ok(route) => route,
            Err(why) => {
                self.reporter
                    .report(DoctorStep::skipped("provider's word", why.to_string()));
                return;
            }
        };
        let provider = &self.credential.provider;
        if let Some(origin) = &provider.upstream
            && !is_reached(reached, &(origin.clone(), provider.ca.clone())).await
        {
            let why = format!("there is no way to {origin}: mend that first");
            self.reporter
                .report(DoctorStep::skipped("provider's word", why));
            return;
        }
        let Some(verification) = verify_one(&self.live, &self.credential.name).await else {
            return;
        };
        let facts = verification.facts().cloned();
        let generation = &self.live.generation;
        let concerns = facts.as_ref().map_or_else(Vec::new, |facts| {
            concerns(&self.credential.name, facts, generation)
        });
        let now = SystemTime::now();
        let steps = of_verdict(&verification.verdict, &concerns, self.policy(), now);
        self.reporter.report_all(steps);
        if let Some(facts) = facts
            && provider.is_asked_as_graph()
        {
            self.account(route, &facts).await;
        }
    }

    /// Decides about each configured secret.
    fn secrets(&self) -> Vec<DoctorStep> {
        let credential = &self.credential;
        let unread = self.live.unread_secrets(credential);
        let read = credential.slots().iter().map(|(name, slot)| {
            let problem = unread.iter().find(|fault| fault.secret == *name);
            SecretFacts {
                name: name.clone(),
                reference: slot.current.reference.to_string(),
                state: match problem {
                    Some(fault) => Err(fault.clone()),
                    None => Ok(slot.current.fingerprint()),
                },
                age: slot.current.age(),
            }
        });
        let without = unread
            .iter()
            .filter(|fault| !credential.slots().contains_key(&fault.secret))
            .map(|fault| SecretFacts {
                name: fault.secret.clone(),
                reference: fault.reference.to_string(),
                state: Err(fault.clone()),
                age: std::time::Duration::ZERO,
            });
        read.chain(without)
            .map(|secret| of_secret(&secret, self.policy()))
            .collect()
    }

    fn policy(&self) -> AgePolicy {
        AgePolicy {
            max_age: self.credential.max_age,
            warn_share: AGE_WARNING_SHARE,
        }
    }

    /// Returns the route whose upstream is asked.
    ///
    /// # Errors
    /// If the provider is asked nothing.
    fn askable(&self) -> Result<&Route, NothingAsked> {
        let credential = &self.credential;
        let mut routes = self.live.generation.policy.routes().iter();
        let route = routes
            .find(|route| route.credential.name == credential.name)
            .map(Arc::as_ref);
        let settings = self.live.config.credentials.get(&credential.name);
        match route {
            None => Err(NothingAsked::NoRoute),
            Some(_) if credential.missing().next().is_some() => Err(NothingAsked::MissingSecret),
            Some(_) if !credential.provider.can_be_asked() => Err(NothingAsked::NoQuestion),
            Some(_) if settings.is_some_and(|settings| !settings.check) => {
                Err(NothingAsked::CheckIsOff)
            }
            Some(route) => Ok(route),
        }
    }

    /// Asks about numbers, accounts and the app.
    async fn account(&self, route: &Route, facts: &TokenFacts) {
        let asker = Arc::new(Asker {
            credential: Arc::clone(&self.credential),
            upstream: Arc::clone(&route.upstream),
            host: route.host.to_string(),
        });
        let numbers = self.numbers(&asker, facts).await;
        let urls = self.urls();
        let shown: Vec<_> = numbers.iter().take(MAX_NUMBERS).cloned().collect();
        let mut asked = JoinSet::new();
        for number in &shown {
            let asker = Arc::clone(&asker);
            let number = number.clone();
            asked.spawn(async move {
                let answers = asker.number(&number).await;
                let callback = asker.fields(&number, CALLBACK_FIELD).await;
                (number, answers, callback)
            });
        }
        let mut answers: Vec<_> = asked.join_all().await;
        answers.sort_by(|one, other| one.0.cmp(&other.0));
        let own = urls.as_ref();
        for (number, answers, callback) in &answers {
            self.reporter.report_all(number::steps(number, answers));
            if let Some(own) = own {
                let step = callback::of_number(number, callback, own);
                self.reporter.report(step);
            }
        }
        if numbers.is_empty() {
            self.reporter.report(DoctorStep::skipped(
                "numbers",
                "no route names `senders`, and the provider names none: no number is asked about",
            ));
        } else if numbers.len() > shown.len() {
            let rest = numbers.len() - shown.len();
            let why = format!("{rest} more numbers were not asked about");
            self.reporter.report(DoctorStep::skipped("numbers", why));
        }
        if let Some(own) = own {
            let of_numbers = answers
                .iter()
                .filter_map(|(_, answers, _)| number::account_of(answers))
                .filter(|id| is_id(id));
            let accounts = facts
                .scoped_accounts
                .iter()
                .cloned()
                .chain(of_numbers)
                .collect();
            self.subscriptions(&asker, facts, &accounts, own).await;
        }
    }

    /// Returns the numbers of the routes, or else those of the token's accounts.
    async fn numbers(&self, asker: &Asker, facts: &TokenFacts) -> BTreeSet<String> {
        let of_routes: BTreeSet<String> = self
            .live
            .generation
            .policy
            .routes()
            .iter()
            .filter(|route| route.credential.name == self.credential.name)
            .flat_map(|route| route.senders.iter().cloned())
            .collect();
        if !of_routes.is_empty() {
            return of_routes;
        }
        let mut found = BTreeSet::new();
        for account in facts.scoped_accounts.iter().take(MAX_ACCOUNTS) {
            let target = format!("/{account}/phone_numbers?fields=id");
            let Ok(answer) = asker.get(&target).await else {
                continue;
            };
            let all = answer.get("data").and_then(|data| data.as_array());
            let ids = all
                .into_iter()
                .flatten()
                .filter_map(|number| number::text(number, "id"));
            found.extend(ids.filter(|id| is_id(id)));
        }
        found
    }

    /// Returns the public URLs of the credential's webhooks; `None` without a webhook.
    fn urls(&self) -> Option<OwnUrls<'_>> {
        let webhooks = self.live.config.webhooks.iter();
        let own: Vec<_> = webhooks
            .filter(|webhook| webhook.credential == self.credential.name)
            .collect();
        let urls = own.iter().map(|webhook| webhook.public_url.as_deref());
        (!own.is_empty()).then(|| OwnUrls {
            some_unknown: urls.clone().any(|url| url.is_none()),
            urls: urls.flatten().collect(),
            known: own
                .iter()
                .flat_map(|webhook| webhook.path.text.split('/'))
                .collect(),
        })
    }

    async fn subscriptions(
        &self,
        asker: &Asker,
        facts: &TokenFacts,
        accounts: &BTreeSet<String>,
        own: &OwnUrls<'_>,
    ) {
        for account in accounts.iter().take(MAX_ACCOUNTS) {
            let answer = asker.get(&format!("/{account}/subscribed_apps")).await;
            let step = callback::of_account(account, &answer, &facts.app, own);
            self.reporter.report(step);
        }
        if accounts.is_empty() {
            self.reporter.report(DoctorStep::skipped(
                "subscribed_apps",
                "the provider tells no account of the token or its numbers",
            ));
        }
        if self.credential.current("app_secret").is_none() || !is_id(&facts.app) {
            self.reporter.report(DoctorStep::skipped(
                "app callback",
                "it takes the app secret to ask about the app",
            ));
            return;
        }
        let answer = asker.query().app_subscriptions(&facts.app).await;
        self.reporter
            .report_all(callback::of_app(&facts.app, &answer, own));
    }
}

/// The reason why the provider is asked nothing about a credential.
#[derive(Clone, Copy, Debug)]
enum NothingAsked {
    /// No route uses the credential.
    NoRoute,
    /// A secret of the credential is missing.
    MissingSecret,
    /// The provider has no request that proves a secret.
    NoQuestion,
    /// The configuration says so.
    CheckIsOff,
}

impl fmt::Display for NothingAsked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoRoute => "no route uses the credential: there is nothing to ask for",
            Self::MissingSecret => "a secret is missing: there is nothing to ask with",
            Self::NoQuestion => {
                "the provider cannot be asked: it has no request that proves a secret"
            }
            Self::CheckIsOff => "not asked: `check` is \"off\"",
        })
    }
}

/// The credential and the upstream of questions.
struct Asker {
    credential: Arc<Credential>,
    upstream: Arc<crate::upstream::Upstream>,
    host: String,
}

impl Asker {
    fn query(&self) -> ProviderQuery<'_> {
        ProviderQuery {
            secrets: self.credential.newest(),
            upstream: &self.upstream,
            host: &self.host,
        }
    }

    async fn get(&self, target: &str) -> Result<Value, QueryError> {
        self.query().get(target).await
    }

    async fn fields(&self, number: &str, fields: &str) -> Result<Value, QueryError> {
        self.get(&format!("/{number}?fields={fields}")).await
    }

    /// Asks about a number, one field that a version may not know at a time: Graph refuses a
    /// question with an unknown field as a whole.
    async fn number(&self, number: &str) -> NumberAnswers {
        let (state, limit, health) = tokio::join!(
            self.fields(number, STATE_FIELDS),
            self.limit(number),
            self.fields(number, HEALTH_FIELD),
        );
        NumberAnswers {
            state,
            limit,
            health,
        }
    }

    async fn limit(&self, number: &str) -> Result<Value, QueryError> {
        let answer = self.fields(number, LIMIT_FIELD).await?;
        match number_at(&answer, "/error/code") {
            Some(100) => self.fields(number, OLD_LIMIT_FIELD).await,
            _ => Ok(answer),
        }
    }
}

/// True for an id of Graph, which may stand in a path.
fn is_id(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The credentials that are asked about at a time: a thousand tenants are done within an
/// examination, without a thousand connections.
const MAX_AT_A_TIME: usize = 32;
/// The numbers of a credential that are asked about. Each takes four requests, of which an account
/// has thousands an hour.
const MAX_NUMBERS: usize = 20;
/// The accounts of a token that are asked about: each costs requests of its hourly allowance.
const MAX_ACCOUNTS: usize = 10;
