//! The state of all tenants together: the problems, the sums of the last hour, the pauses.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::admin::backlog::Backlogs;
use crate::admin::credential_problems::of_credential;
use crate::admin::credential_status::credential_status;
use crate::admin::problems::{self, Gravity, ProblemLine};
use crate::admin::spool::{SpoolAlarm, alarms};
use crate::admin::status::{Status, webhook_traffic};
use crate::admin::traffic;
use crate::admin::webhook_status::webhook_status;
use crate::delivery::metrics::DeliveryMetrics;
use crate::json::words::list;
use crate::limit::{LimitStatus, PauseReason};
use crate::log::without_numbers;
use crate::outbound::policy::Route;
use crate::reload::Live;
use crate::spool::Survey;
use crate::traffic::{History, MINUTES, Minute};

/// The state of the whole sidecar at a moment, made once for all viewers.
#[derive(Debug)]
pub(super) struct Summary {
    pub(super) live: Arc<Live>,
    /// The sidecar itself, as `/status` tells it.
    pub(super) sidecar: Value,
    /// The problems, the gravest first, as `keyside status` prints them.
    pub(super) problems: Vec<ProblemLine>,
    /// The gravest problem of each credential that has one.
    pub(super) troubled: HashMap<String, Gravity>,
    /// The pauses at limits, the longest first.
    pub(super) paused: Vec<Paused>,
    /// The last hour of all routes together; empty without a request.
    pub(super) requests: Vec<Minute>,
    /// The last hour of all webhooks together: the counts alone.
    pub(super) events: Vec<Minute>,
    /// The waiting events of all destinations, minute by minute.
    pub(super) backlog: Vec<u64>,
    pub(super) survey: Option<Survey>,
    /// The health of destinations.
    pub(super) deliveries: DeliveryMetrics,
}

/// A limit of a route at which nothing goes for a while.
#[derive(Debug)]
pub(super) struct Paused {
    pub(super) route: String,
    /// The subject: a sender, an object, the recipients, or the account.
    pub(super) subject: String,
    pub(super) seconds: u64,
    pub(super) reason: &'static str,
}

impl Summary {
    /// Looks at every tenant: not for the thread of requests.
    pub(super) fn new(status: Status, history: &History, backlogs: &Backlogs) -> Self {
        let now = Instant::now();
        let live = Arc::clone(&status.live);
        let survey = status.spool.as_ref().map(|spool| spool.survey());
        let sidecar = status.sidecar();
        let mut tenants = Tenants::default();
        for credential in live.credentials.values() {
            let found = of_credential(&credential_status(credential, &live));
            tenants.add(&credential.name, found);
        }
        let routes = live.generation.policy.routes();
        for route in routes {
            let traffic = json!({ "problems": traffic::problems(&route.traffic) });
            let found = problems::of_route(&json!({ "name": &*route.name, "traffic": traffic }));
            tenants.add(&route.credential.name, found);
        }
        let deliveries = status.deliveries;
        let with_trouble = with_trouble(&sidecar, &live, survey.as_ref(), &deliveries);
        let mut problems = problems::of_sidecar(&with_trouble);
        problems.extend(tenants.problems);
        problems.sort_by_key(|problem| problem.gravity != Gravity::Wrong);
        let mut paused: Vec<_> = routes.iter().flat_map(|route| paused(route, now)).collect();
        paused.sort_by_key(|paused| std::cmp::Reverse(paused.seconds));
        let webhooks = live.inbound.endpoints().iter();
        Self {
            sidecar,
            problems,
            troubled: tenants.troubled,
            paused,
            requests: history.report(now),
            events: sums(webhooks.map(|webhook| webhook.metrics.minutes(now))),
            backlog: backlogs.total(now),
            survey,
            deliveries,
            live,
        }
    }

    /// Returns the number of problems of this weight.
    pub(super) fn count(&self, gravity: Gravity) -> usize {
        let of_gravity = |problem: &&ProblemLine| problem.gravity == gravity;
        self.problems.iter().filter(of_gravity).count()
    }
}

/// The problems of tenants, and the gravest of each credential.
#[derive(Default)]
struct Tenants {
    problems: Vec<ProblemLine>,
    troubled: HashMap<String, Gravity>,
}

impl Tenants {
    fn add(&mut self, credential: &str, found: Vec<ProblemLine>) {
        for problem in found {
            let gravest = self
                .troubled
                .entry(credential.to_owned())
                .or_insert(problem.gravity);
            if problem.gravity == Gravity::Wrong {
                *gravest = Gravity::Wrong;
            }
            self.problems.push(problem);
        }
    }
}

/// Returns the state of the sidecar with the alarms of the spool and the webhooks in trouble.
fn with_trouble(
    sidecar: &Value,
    live: &Live,
    survey: Option<&Survey>,
    deliveries: &DeliveryMetrics,
) -> Value {
    let now = Instant::now();
    let alarms: Vec<_> = survey
        .map(alarms)
        .unwrap_or_default()
        .iter()
        .map(SpoolAlarm::to_json)
        .collect();
    let traffic = webhook_traffic(live);
    let webhooks = live.config.webhooks.iter().map(|webhook| {
        let metrics = traffic.get(webhook.name.as_str());
        let traffic = metrics.map(|metrics| metrics.traffic(now));
        webhook_status(webhook, traffic, deliveries)
    });
    let is_failing = |to: &Value| to.pointer("/traffic/problem").is_some_and(Value::is_string);
    let is_in_trouble = |webhook: &Value| {
        webhook["silent_seconds"].is_u64() || list(&webhook["to"]).any(is_failing)
    };
    let mut status = sidecar.clone();
    if let Some(fields) = status.as_object_mut() {
        let webhooks = webhooks.filter(is_in_trouble).collect();
        fields.insert("webhooks".to_owned(), webhooks);
        fields.insert("spool".to_owned(), json!({ "alarms": alarms }));
    }
    status
}

/// Returns what is paused at the limits of a route.
fn paused(route: &Route, now: Instant) -> Vec<Paused> {
    let limiter = &route.limiter;
    let one = |subject: String, until: Instant, reason| Paused {
        route: route.name.to_string(),
        subject,
        seconds: until.saturating_duration_since(now).as_secs() + 1,
        reason,
    };
    let each = |noun: &str, limits: Vec<(String, LimitStatus)>| {
        let noun = noun.to_owned();
        limits.into_iter().filter_map(move |(key, status)| {
            let pause = status.pause?;
            let subject = format!("{noun} {}", without_numbers(&key));
            Some((subject, pause.until, pause.reason.explained()))
        })
    };
    let mut all = Vec::new();
    for (noun, limits) in [("sender", &limiter.senders), ("object", &limiter.objects)] {
        if limits.usage().paused > 0 {
            all.extend(each(noun, limits.busiest(MAX_PAUSED)));
        }
    }
    let recipients = limiter.pairs.as_ref().map(|pairs| pairs.usage());
    if let Some(until) = recipients.and_then(|usage| usage.paused_until) {
        let count = recipients.map_or(0, |usage| usage.paused);
        all.push((format!("{count} recipients"), until, THROTTLED));
    }
    if let Some(until) = limiter.account_pause.paused_until() {
        all.push(("the account".to_owned(), until, THROTTLED));
    }
    all.into_iter()
        .filter(|(_, until, _)| *until > now)
        .map(|(subject, until, reason)| one(subject, until, reason))
        .collect()
}

/// Returns the sums of the counts, minute by minute; nothing if there are none.
fn sums(all: impl Iterator<Item = Vec<Minute>>) -> Vec<Minute> {
    let mut sums = Vec::new();
    for minutes in all.filter(|minutes| !minutes.is_empty()) {
        sums.resize(MINUTES as usize, Minute::default());
        for (sum, minute) in sums.iter_mut().zip(minutes) {
            sum.passed = sum.passed.saturating_add(minute.passed);
            sum.failed = sum.failed.saturating_add(minute.failed);
            sum.refused = sum.refused.saturating_add(minute.refused);
        }
    }
    sums
}

/// The paused limits of one route that are looked at: more are of one cause.
const MAX_PAUSED: usize = 5;
/// The reason for pauses of recipients and accounts, which have no other.
const THROTTLED: &str = PauseReason::Throttled.explained();
