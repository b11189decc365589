//! `/readyz`: can Keyside serve, or serve one route or webhook?

use std::time::SystemTime;

use http::StatusCode;
use tokio::time::Instant;

use super::spool::{SpoolAlarm, SpoolSubject, alarms};
use super::traffic;
use crate::config::{EventWay, OnFailure};
use crate::credential::{Credential, Verdict};
use crate::inbound::{Onward, WebhookEndpoint};
use crate::outbound::policy::Route;
use crate::provider::Ca;
use crate::query;
use crate::reload::{
    INBOUND, InPlace, InputUse, KeptInput, Live, ServerCertificates, overlap_concerns,
};
use crate::spool::Survey;
use crate::tls::{ServerTls, Stage};

/// The subject of a question about readiness, from the query of `/readyz`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// The sidecar: it can serve while a route can send. One bad credential must not take a pod
    /// away from the others.
    Sidecar,
    /// Every route and every webhook (`?all`).
    All,
    /// The route of this name (`?route=NAME`).
    Route(String),
    /// The webhook of this name (`?webhook=NAME`).
    Webhook(String),
}

impl Subject {
    /// Reads the query of `/readyz`; `None` with a parameter that is unknown.
    pub(super) fn in_query(text: &str) -> Option<Self> {
        let is_known = query::pairs(text).all(|pair| pair.is_named(&["route", "webhook", "all"]));
        is_known.then(|| Self::named(text))
    }

    fn named(text: &str) -> Self {
        let named = |name: &str| query::pairs(text).find(|pair| pair.is_named(&[name]));
        if let Some(pair) = named("route") {
            return Self::Route(pair.value().into_owned());
        }
        if let Some(pair) = named("webhook") {
            return Self::Webhook(pair.value().into_owned());
        }
        match named("all") {
            Some(_) => Self::All,
            None => Self::Sidecar,
        }
    }
}

/// Returns the status and the text of the answer.
pub(super) fn readiness(
    live: &Live,
    survey: Option<&Survey>,
    subject: &Subject,
) -> (StatusCode, String) {
    let routes = live.generation.policy.routes();
    let webhooks = live.inbound.endpoints();
    let spool_alarms = survey.map(alarms).unwrap_or_default();
    match subject {
        Subject::Sidecar => {
            let mut states: Vec<_> = routes
                .iter()
                .map(|route| state_of_route(route, live))
                .collect();
            let can_serve = states.is_empty() || states.iter().any(Readiness::can_serve);
            states.push(state_of_certificates(&live.server_tls, SystemTime::now()));
            if can_serve {
                ready(&states)
            } else {
                unready(&states)
            }
        }
        Subject::All => {
            let routes = routes.iter().map(|route| state_of_route(route, live));
            let webhooks = webhooks
                .iter()
                .map(|webhook| state_of_webhook(webhook, live, &spool_alarms));
            let certificates = state_of_certificates(&live.server_tls, SystemTime::now());
            let states: Vec<_> = routes.chain(webhooks).chain([certificates]).collect();
            if states.iter().all(Readiness::is_ready) {
                ready(&states)
            } else {
                unready(&states)
            }
        }
        Subject::Route(name) => match routes.iter().find(|route| *route.name == **name) {
            Some(route) => one(state_of_route(route, live)),
            None => unknown("route"),
        },
        Subject::Webhook(name) => match webhooks.iter().find(|webhook| *webhook.name == **name) {
            Some(webhook) => one(state_of_webhook(webhook, live, &spool_alarms)),
            None => unknown("webhook"),
        },
    }
}

/// The state of a route or a webhook.
#[derive(Default)]
struct Readiness {
    /// The reasons for which the route or webhook cannot serve.
    obstacles: Vec<String>,
    /// Problems of the provider or of the way there, as traffic shows them. They make the route
    /// unready, and never the sidecar: taking pods away mends no provider.
    failures: Vec<String>,
    /// Problems in spite of which the route or webhook serves.
    concerns: Vec<String>,
}

impl Readiness {
    /// True for a route or webhook that serves.
    fn is_ready(&self) -> bool {
        self.can_serve() && self.failures.is_empty()
    }

    /// True if nothing of Keyside's own is in the way.
    fn can_serve(&self) -> bool {
        self.obstacles.is_empty()
    }
}

fn one(state: Readiness) -> (StatusCode, String) {
    let is_ready = state.is_ready();
    let states = [state];
    if is_ready {
        ready(&states)
    } else {
        unready(&states)
    }
}

fn ready(states: &[Readiness]) -> (StatusCode, String) {
    (StatusCode::OK, format!("ready\n{}", lines_of(states)))
}

fn unready(states: &[Readiness]) -> (StatusCode, String) {
    (StatusCode::SERVICE_UNAVAILABLE, lines_of(states))
}

/// Returns a line for each problem.
fn lines_of(states: &[Readiness]) -> String {
    states
        .iter()
        .flat_map(|state| [&state.obstacles, &state.failures, &state.concerns])
        .flatten()
        .fold(String::new(), |text, line| text + line + "\n")
}

fn unknown(kind: &str) -> (StatusCode, String) {
    let text = format!("the configuration has no {kind} of this name\n");
    (StatusCode::NOT_FOUND, text)
}

fn state_of_route(route: &Route, live: &Live) -> Readiness {
    let credential = &route.credential;
    let subject = format!("route {}", route.name);
    let unread = live.unread_secrets(credential);
    let mut obstacles = Vec::new();
    for missing in credential.missing() {
        let unread = unread.iter().find(|unread| unread.secret == missing);
        let problem = unread.map_or_else(String::new, |unread| {
            format!(": `{}`: {}", unread.reference, unread.problem)
        });
        obstacles.push(format!(
            "{subject}: credential {} has no usable `{missing}`{problem}",
            credential.name
        ));
    }
    if credential.acceptance().is_refused() {
        obstacles.push(format!(
            "{subject}: the provider refuses credential {}{}",
            credential.name,
            reason_of_refusal(credential)
        ));
    } else if credential.has_ended() {
        obstacles.push(format!(
            "{subject}: the token of credential {} has expired: put a new one in its place",
            credential.name
        ));
    }
    let failures = traffic::problems(&route.traffic)
        .into_iter()
        .map(|problem| format!("{subject}: {problem}"));
    let mut failures: Vec<_> = failures.collect();
    let mut concerns = concerns_of(credential, &subject, live);
    if let Some((line, rule)) = lost_server(route, &subject, live) {
        match rule {
            OnFailure::Closed => failures.push(line),
            OnFailure::Local | OnFailure::Open => concerns.push(line),
        }
    }
    let ca = match &credential.provider.ca {
        Ca::File(path) => Some(path),
        Ca::Bundled | Ca::System => None,
    };
    let is_of_route = |kept: &KeptInput| {
        kept.serves.is_for_all_routes() || ca.is_some_and(|ca| kept.unusable.paths.contains(ca))
    };
    let stopping = kept_inputs(&subject, live, |kept| {
        is_of_route(kept) && kept.stops_requests()
    });
    obstacles.extend(stopping);
    concerns.extend(kept_inputs(&subject, live, |kept| {
        is_of_route(kept) && !kept.stops_requests()
    }));
    concerns.extend(state_faults(&subject, live));
    Readiness {
        obstacles,
        failures,
        concerns,
    }
}

/// Returns the reason that the provider gave when it was asked about a refused secret, behind a
/// colon.
fn reason_of_refusal(credential: &Credential) -> String {
    let verification = credential.verification();
    match verification.as_ref().map(|found| &found.verdict) {
        Some(Verdict::Refused(refusal)) => format!(": {}", refusal.reason),
        _ => String::new(),
    }
}

/// Returns a line about the loss of the server that shares the limits of a route, and the rule that
/// holds meanwhile.
fn lost_server(route: &Route, subject: &str, live: &Live) -> Option<(String, OnFailure)> {
    route.limiter.sharing.as_ref()?;
    let limits = live.config.limits.as_ref()?;
    let problem = live.shared()?.status().problem?;
    let rule = limits.on_failure;
    let line = format!(
        "{subject}: the limits are not shared: {}: {problem}; on_failure = \"{}\" applies",
        limits.redis,
        rule.as_str()
    );
    Some((line, rule))
}

/// Returns a line for each of the wanted unusable inputs.
fn kept_inputs(
    subject: &str,
    live: &Live,
    is_wanted: impl Fn(&KeptInput) -> bool,
) -> impl Iterator<Item = String> {
    live.kept_inputs
        .iter()
        .filter(move |kept| is_wanted(kept))
        .map(move |kept| about(subject, kept.line()))
}

/// Returns a line for each fault of the folder and the key that secrets are kept with over a
/// restart.
fn state_faults(subject: &str, live: &Live) -> Vec<String> {
    let faults = live.state.iter().flat_map(|state| state.faults());
    faults.map(|fault| format!("{subject}: {fault}")).collect()
}

/// A line about a subject, which the line may name already.
fn about(subject: &str, line: String) -> String {
    if line.starts_with(subject) {
        line
    } else {
        format!("{subject}: {line}")
    }
}

fn state_of_webhook(webhook: &WebhookEndpoint, live: &Live, alarms: &[SpoolAlarm]) -> Readiness {
    let credential = &webhook.credential;
    let subject = format!("webhook {}", webhook.name);
    let mut state = Readiness {
        concerns: concerns_of(credential, &subject, live),
        ..Readiness::default()
    };
    let is_direct = matches!(webhook.onward, Onward::Direct(_));
    let is_of_webhook = |kept: &KeptInput| kept.serves.is_for_webhook(&webhook.name);
    let stops = |kept: &KeptInput| {
        let has_nothing = matches!(kept.in_place, InPlace::Nothing(_));
        is_direct && has_nothing && matches!(kept.serves, InputUse::Signature(_))
    };
    let stopped = kept_inputs(&subject, live, |kept| is_of_webhook(kept) && stops(kept));
    state.obstacles.extend(stopped);
    let others = kept_inputs(&subject, live, |kept| is_of_webhook(kept) && !stops(kept));
    state.concerns.extend(others);
    state.concerns.extend(state_faults(&subject, live));
    if let Some(secret) = webhook.verifier.challenge() {
        let unread = credential
            .faults()
            .iter()
            .filter(|fault| fault.secret == *secret);
        let lines = unread.map(|fault| format!("{subject}: no handshake is answered: {fault}"));
        state.concerns.extend(lines);
    }
    state.obstacles.extend(keyless(webhook, &subject, live));
    if let Onward::Direct(delivery) = &webhook.onward {
        let problem = delivery.problem(Instant::now(), SystemTime::now());
        let lines = problem.map(|problem| format!("{subject}: {}", problem.0));
        state.failures.extend(lines);
    }
    let lines = live
        .server_tls
        .inbound
        .as_ref()
        .and_then(|tls| refused_certificate(tls, SystemTime::now()))
        .map(|reason| format!("{subject}: {INBOUND}: {reason}"));
    state.failures.extend(lines);
    let is_spooled =
        live.config.webhooks.iter().any(|config| {
            config.name == *webhook.name && matches!(config.way, EventWay::Spooled(_))
        });
    let of_webhook = |alarm: &&SpoolAlarm| match &alarm.subject {
        SpoolSubject::Spool => is_spooled,
        SpoolSubject::Destination { webhook: name, .. } => *name == *webhook.name,
    };
    for alarm in alarms.iter().filter(of_webhook) {
        // A destination in trouble keeps no event from being taken.
        let lines = if alarm.kind.refuses_events() {
            &mut state.obstacles
        } else {
            &mut state.concerns
        };
        lines.push(match alarm.subject {
            SpoolSubject::Spool => format!("{subject}: {alarm}"),
            SpoolSubject::Destination { .. } => alarm.to_string(),
        });
    }
    state
}

/// Returns a line about a webhook without a key for its events.
fn keyless(webhook: &WebhookEndpoint, subject: &str, live: &Live) -> Option<String> {
    if webhook.verifier.has_keys() {
        return None;
    }
    let unread = live.unread_secrets(&webhook.credential);
    let problems: Vec<_> = unread.iter().map(ToString::to_string).collect();
    Some(format!(
        "{subject}: credential {} has no secret to check signatures with: {}",
        webhook.credential.name,
        problems.join("; ")
    ))
}

/// Returns the certificates of listeners that clients refuse. Such certificates make no sidecar
/// unready: plain listeners still serve, and all pods with the certificate would go.
fn state_of_certificates(certificates: &ServerCertificates, now: SystemTime) -> Readiness {
    let refused = certificates
        .each()
        .filter_map(|(table, tls)| Some(format!("{table}: {}", refused_certificate(tls, now)?)));
    Readiness {
        concerns: refused.collect(),
        ..Readiness::default()
    }
}

/// Returns the reason of clients to refuse the certificate of a listener.
fn refused_certificate(tls: &ServerTls, now: SystemTime) -> Option<String> {
    let validity = tls.validity.as_ref()?;
    match validity.stage(now) {
        Stage::Early | Stage::Expired => validity.concern(now),
        Stage::Good | Stage::Ending => None,
    }
}

fn concerns_of(credential: &Credential, subject: &str, live: &Live) -> Vec<String> {
    let name = &credential.name;
    let kept_back = credential.kept_back().into_iter().flat_map(|kept_back| {
        kept_back.reasons().into_iter().map(|reason| {
            format!(
                "{subject}: a newer secret is kept back, and the credential would not work after a restart: \
                 credential.{name}{reason}"
            )
        })
    });
    let sends_previous = credential.in_use().is_previous().then(|| {
        format!(
            "{subject}: the provider refuses the newest secret of credential {name}: requests are sent with \
             the previous one"
        )
    });
    let unfinished = credential
        .unfinished_rotations()
        .all()
        .into_iter()
        .map(|rotation| format!("{subject}: {}", rotation.concern()));
    let renewal = credential.renewal().problem().map(|problem| {
        let failure = problem.step.failure();
        format!(
            "{subject}: credential {name}: {failure}: {}",
            problem.reason
        )
    });
    let overlap = overlap_concerns(live, credential)
        .into_iter()
        .map(|concern| format!("{subject}: credential {name}: {concern}"));
    kept_back
        .chain(sends_previous)
        .chain(unfinished)
        .chain(renewal)
        .chain(overlap)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_names_the_subject() {
        for (query, expected) in [
            ("", Some(Subject::Sidecar)),
            ("other", None),
            ("routes=acme", None),
            ("route=acme&x=1", None),
            ("all", Some(Subject::All)),
            ("all=1", Some(Subject::All)),
            ("route=acme", Some(Subject::Route("acme".to_owned()))),
            ("webhook=a%20b", Some(Subject::Webhook("a b".to_owned()))),
        ] {
            assert_eq!(Subject::in_query(query), expected, "{query}");
        }
    }

    #[test]
    fn the_sidecar_is_ready_with_what_is_wrong_in_the_text() {
        let broken = Readiness {
            obstacles: vec!["route a: broken".to_owned()],
            failures: Vec::new(),
            concerns: vec!["route a: old".to_owned()],
        };
        let states = [broken, Readiness::default()];
        let ok = (
            StatusCode::OK,
            "ready\nroute a: broken\nroute a: old\n".to_owned(),
        );
        assert_eq!(ready(&states), ok);
        let (status, text) = unready(&states);
        assert_eq!(
            (status, text.as_str()),
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "route a: broken\nroute a: old\n"
            )
        );
    }
}
