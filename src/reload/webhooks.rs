//! The webhooks of a draft.

use std::sync::Arc;

use super::LoadError;
use super::draft::{Draft, InboundDraft};
use super::live::Applications;
use crate::config::{
    ApplicationAddress, ApplicationUrl, DestinationConfig, DestinationTarget, EventWay,
    WebhookConfig,
};
use crate::credential::Credential;
use crate::delivery::DeliveryTarget;
use crate::delivery::application::Application;
use crate::delivery::way::{StreamWay, Way};
use crate::inbound::verify::Verifier;
use crate::inbound::{DirectDelivery, EventAnswer, Generation, Onward, WebhookEndpoint};
use crate::limit::KeyedLimits;
use crate::outbound::policy::Policy;
use crate::provider::Ca;
use crate::spool;
use crate::tls;
use crate::upstream::{Upstream, UpstreamKind};

/// Builds the webhooks, and the connections to applications.
///
/// # Errors
/// If a verifier or the connection to an application cannot be set up.
pub(super) fn build(draft: &Draft, policy: &Policy) -> Result<InboundDraft, LoadError> {
    let mut applications = Applications::new();
    let mut webhooks = Vec::new();
    let mut targets = Vec::new();
    for config in &draft.config.webhooks {
        webhooks.extend(webhook(draft, config, policy, &mut applications)?);
        if let EventWay::Spooled(to) = &config.way {
            for to in to {
                targets.push(target(draft, config, to, &mut applications)?);
            }
        }
    }
    Ok(InboundDraft {
        generation: Generation::new(webhooks, draft.config.inbound.max_body),
        applications,
        targets,
    })
}

/// Returns the credential without secrets that are no keys for the signatures of its webhooks.
pub(super) fn without_unfit_keys(credential: Credential) -> Credential {
    let Some(scheme) = &credential.provider.webhook else {
        return credential;
    };
    match Verifier::new(scheme, &credential, None) {
        // Each round removes a secret, so the rounds end.
        Err(error) if credential.slots().contains_key(error.secret()) => {
            without_unfit_keys(credential.without(error.secret(), &error.to_string()))
        }
        Ok(_) | Err(_) => credential,
    }
}

/// Builds one webhook; `None` without a credential, or if the provider has no webhooks.
fn webhook(
    draft: &Draft,
    config: &WebhookConfig,
    policy: &Policy,
    applications: &mut Applications,
) -> Result<Option<WebhookEndpoint>, LoadError> {
    let Some(credential) = draft.credentials.get(&config.credential) else {
        return Ok(None);
    };
    let Some(scheme) = &credential.provider.webhook else {
        return Ok(None);
    };
    let onward = match &config.way {
        EventWay::Direct(url) => {
            let application = application(draft, config, url, applications)?;
            let metrics = draft.metrics.deliveries.of(&config.name, &config.name);
            let answer = if config.reply {
                EventAnswer::OfApplication
            } else {
                EventAnswer::Empty
            };
            let delivery = DirectDelivery::new(application, metrics, answer);
            Onward::Direct(Box::new(delivery))
        }
        EventWay::Spooled(_) => Onward::Spooled,
    };
    let verifier = Verifier::new(scheme, credential, config.public_url.as_deref())
        .map_err(|error| fault(config, &error))?;
    let name: Arc<str> = config.name.as_str().into();
    Ok(Some(WebhookEndpoint {
        path: config.path.to_string(),
        credential: Arc::clone(credential),
        verifier,
        onward,
        headers: scheme.headers_for_application(),
        forms: scheme.forms.clone().into(),
        senders: sender_limits(credential, policy),
        shared: draft.shared.as_ref().map(|(shared, _)| Arc::clone(shared)),
        metrics: draft.metrics.inbound.webhook(&name),
        name,
    }))
}

/// Returns the limits of senders that received messages count against, without duplicates; empty if
/// the provider counts sends only.
fn sender_limits(credential: &Credential, policy: &Policy) -> Vec<Arc<KeyedLimits>> {
    let mut all: Vec<Arc<KeyedLimits>> = Vec::new();
    if !credential.provider.limits.counts_received {
        return all;
    }
    let of_credential = policy.routes_of(&credential.name);
    for senders in of_credential.map(|route| &route.limiter.senders) {
        if !all.iter().any(|other| Arc::ptr_eq(other, senders)) {
            all.push(Arc::clone(senders));
        }
    }
    all
}

/// Builds a destination of events that wait on disk.
fn target(
    draft: &Draft,
    config: &WebhookConfig,
    to: &DestinationConfig,
    applications: &mut Applications,
) -> Result<DeliveryTarget, LoadError> {
    let way = match &to.target {
        DestinationTarget::Application(url) => {
            Way::Application(application(draft, config, url, applications)?)
        }
        DestinationTarget::Stream(_) => Way::Stream(StreamWay {
            webhook: config.name.clone(),
            place: to.target.to_string(),
            publisher: draft.publishers.of(&config.name, &to.name),
        }),
    };
    Ok(DeliveryTarget {
        config: spool::SpoolDestination {
            webhook: config.name.clone(),
            name: to.name.clone(),
            fields: to.fields.clone(),
            senders: to.senders.clone(),
            lanes: to.lanes.get(),
            interval: to.rate.map(|rate| rate.per / rate.count.get()),
            from: to.from,
        },
        way: Arc::new(way),
    })
}

/// Returns an application, as the events of a webhook get there.
fn application(
    draft: &Draft,
    config: &WebhookConfig,
    url: &ApplicationUrl,
    applications: &mut Applications,
) -> Result<Application, LoadError> {
    let upstream = connections(draft, config, url, applications)?;
    let signing = draft.signings.of(&config.name);
    Ok(Application::new(
        &config.name,
        url,
        upstream,
        config.timeout,
        signing,
    ))
}

/// Returns the connections to an application: from an earlier webhook, from the load before, or
/// new.
fn connections(
    draft: &Draft,
    config: &WebhookConfig,
    forward: &ApplicationUrl,
    applications: &mut Applications,
) -> Result<Arc<Upstream>, LoadError> {
    let address = &forward.application;
    let before = applications.get(address).or_else(|| {
        draft
            .before()
            .and_then(|before| before.applications.get(address))
    });
    let application = match (before, address) {
        (Some(before), _) => Arc::clone(before),
        (None, ApplicationAddress::Unix(path)) => Arc::new(Upstream::at_socket(path.clone())),
        (None, ApplicationAddress::Origin(origin)) => {
            // An application inside a network has a certificate of the operator's own authority, if
            // any.
            let ca = if origin.tls { Ca::System } else { Ca::Bundled };
            let tls = tls::client_config(&ca, None).map_err(|error| fault(config, &error))?;
            let upstream = Upstream::new(UpstreamKind::Application, origin.clone(), tls)
                .map_err(|error| fault(config, &error))?;
            Arc::new(upstream)
        }
    };
    applications.insert(address.clone(), Arc::clone(&application));
    Ok(application)
}

fn fault(config: &WebhookConfig, problem: &impl ToString) -> LoadError {
    LoadError::Webhook {
        webhook: config.name.clone(),
        problem: problem.to_string(),
    }
}
