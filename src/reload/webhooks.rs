//! The inbound half of a generation.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::authorities::Authorities;
use super::live::Applications;
use super::{Live, LoadError};
use crate::config::{Application, Config, Webhook as WebhookConfig};
use crate::credential::Credential;
use crate::inbound::verify::Verifier;
use crate::inbound::{Delivery, Generation, Webhook};
use crate::limit::Budget;
use crate::metrics::Metrics;
use crate::outbound::policy::Route;
use crate::provider::Ca;
use crate::shared::Shared;
use crate::tls;
use crate::upstream::Upstream;

/// The webhooks, and the connections to the applications behind them.
///
/// # Errors
/// Where an application cannot be connected to whatever it does.
pub(super) fn build(
    config: &Config,
    credentials: &BTreeMap<String, Arc<Credential>>,
    routes: &[Route],
    shared: Option<&Arc<Shared>>,
    before: Option<&Live>,
    metrics: &Arc<Metrics>,
) -> Result<(Generation, Applications), LoadError> {
    let mut applications = Applications::new();
    let mut webhooks = Vec::new();
    for webhook in &config.webhooks {
        let Some(credential) = credentials.get(&webhook.credential) else { continue };
        let Some(scheme) = &credential.provider.webhook else { continue };
        let application = application(webhook, &mut applications, before)?;
        let verifier = Verifier::new(scheme, credential, webhook.public_url.as_deref())
            .map_err(|error| LoadError::Webhook(webhook.name.clone(), error.to_string()))?;
        let name: Arc<str> = webhook.name.as_str().into();
        webhooks.push(Webhook {
            path: webhook.path.to_string(),
            credential: Arc::clone(credential),
            verifier,
            delivery: Delivery::new(
                &name,
                &webhook.forward,
                application,
                scheme.signature_headers(),
                webhook.timeout,
                webhook.reply,
            ),
            budgets: budgets(credential, routes),
            shared: shared.cloned(),
            metrics: metrics.webhook(&name),
            name,
        });
    }
    Ok((Generation::new(webhooks, config.inbound.max_body, config.inbound.max_in_flight), applications))
}

/// The limits of what is sent with this credential, each once.
fn budgets(credential: &Credential, routes: &[Route]) -> Vec<Arc<Budget>> {
    let mut budgets: Vec<Arc<Budget>> = Vec::new();
    let counts = credential.provider.limits.counts_received;
    let of_it = routes.iter().filter(|route| counts && route.credential.name == credential.name);
    for budget in of_it.filter_map(|route| route.limiter.senders.as_ref()) {
        if !budgets.iter().any(|other| Arc::ptr_eq(other, budget)) {
            budgets.push(Arc::clone(budget));
        }
    }
    budgets
}

fn application(
    webhook: &WebhookConfig,
    applications: &mut Applications,
    before: Option<&Live>,
) -> Result<Arc<Upstream>, LoadError> {
    let key = &webhook.forward.application;
    let held = applications.get(key).or_else(|| before.and_then(|before| before.applications.get(key)));
    let application = match (held, key) {
        (Some(held), _) => Arc::clone(held),
        (None, Application::Unix(path)) => Arc::new(Upstream::at_socket(path.clone())),
        (None, Application::Origin(origin)) => {
            // Inside a network it is the operator's own authority that vouches, if any does.
            let ca = if origin.tls { Ca::System } else { Ca::Bundled };
            let fault = |problem: String| LoadError::Webhook(webhook.name.clone(), problem);
            let tls = tls::client_config(&ca, None).map_err(|error| fault(error.to_string()))?;
            Arc::new(Upstream::new(origin.clone(), tls).map_err(|error| fault(error.to_string()))?)
        }
    };
    applications.insert(key.clone(), Arc::clone(&application));
    Ok(application)
}

/// What the inbound listener shows, with a warning for whatever is usable and yet wrong.
///
/// # Errors
/// Where certificate, key or authorities cannot be used.
pub(super) fn server_tls(config: &Config, files: &Authorities) -> Result<ServerTls, LoadError> {
    let Some(tls) = &config.inbound.tls else { return Ok((None, Vec::new())) };
    let (server, warnings) = tls::server_config(tls, files).map_err(LoadError::ServerTls)?;
    Ok((Some(server), warnings.iter().map(|warning| format!("inbound.tls: {warning}")).collect()))
}

type ServerTls = (Option<Arc<rustls::ServerConfig>>, Vec<String>);

/// The files of the inbound listener.
pub(super) fn files(config: &Config) -> Vec<PathBuf> {
    let Some(tls) = &config.inbound.tls else { return Vec::new() };
    let ca = tls.client.iter().map(|client| client.ca.clone());
    [tls.cert.clone(), tls.key.clone()].into_iter().chain(ca).collect()
}
