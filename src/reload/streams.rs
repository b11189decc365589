//! The publishers of streams, of a load.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Live, LoadError};
use crate::config::{Config, DestinationTarget, EventWay, PublishTarget, WebhookConfig};
use crate::credential::source::Findings;
use crate::delivery::publish::{Publisher, PublisherError, exposes_password};

/// The publishers of all streams among the destinations. Reloads keep the connections.
#[derive(Clone, Debug, Default)]
pub(super) struct Publishers {
    /// The publishers by the names of webhook and destination.
    by_name: BTreeMap<(String, String), Arc<Publisher>>,
}

impl Publishers {
    /// Makes the publishers of a configuration, with a warning for each unusable URL. The publisher of the load before
    /// then stays in use; without a load before, the events of the destination wait.
    ///
    /// # Errors
    /// If the build cannot publish to a stream.
    pub(super) fn read(
        config: &Config,
        findings: &Findings,
        before: Option<&Live>,
    ) -> Result<(Self, Vec<String>), LoadError> {
        let mut publishers = Self::default();
        let mut warnings = Vec::new();
        for (webhook, name, target) in streams(config) {
            let place = format!("webhook `{}`: destination `{name}`", webhook.name);
            let before = before.and_then(|live| live.publishers.of(&webhook.name, name));
            let publisher = match publisher(target, findings, webhook.timeout, before.as_ref()) {
                Ok((publisher, is_exposed)) => {
                    if is_exposed {
                        warnings.push(format!(
                            "{place}: `{}`: the login crosses the network in clear text, expected a URL with TLS for a \
                             server on another machine",
                            target.server
                        ));
                    }
                    Some(publisher)
                }
                Err(Unusable::Build(error)) => {
                    return Err(LoadError::Webhook {
                        webhook: webhook.name.clone(),
                        problem: format!("destination `{name}`: {error}"),
                    });
                }
                Err(Unusable::Url(problem)) => {
                    let result = match before {
                        Some(_) => "its events go to the server of the URL before",
                        None => "its events wait for the URL",
                    };
                    warnings.push(format!("{place}: `{}`: {problem}; {result}", target.server));
                    before
                }
            };
            let key = (webhook.name.clone(), name.to_owned());
            publishers
                .by_name
                .extend(publisher.map(|publisher| (key, publisher)));
        }
        Ok((publishers, warnings))
    }

    /// Returns the publisher of a destination; `None` without a URL of the server.
    pub(super) fn of(&self, webhook: &str, destination: &str) -> Option<Arc<Publisher>> {
        let key = (webhook.to_owned(), destination.to_owned());
        self.by_name.get(&key).cloned()
    }
}

enum Unusable {
    /// The build cannot publish to the stream.
    Build(PublisherError),
    /// The URL cannot be had, or is none.
    Url(String),
}

/// Returns all streams among the destinations, each with webhook and name.
fn streams(config: &Config) -> impl Iterator<Item = (&WebhookConfig, &str, &PublishTarget)> {
    config.webhooks.iter().flat_map(|webhook| {
        let to = match &webhook.way {
            EventWay::Direct(_) => &[],
            EventWay::Spooled(to) => to.as_slice(),
        };
        to.iter().filter_map(move |to| match &to.target {
            DestinationTarget::Application(_) => None,
            DestinationTarget::Stream(target) => Some((webhook, to.name.as_str(), target)),
        })
    })
}

/// Returns the publisher of a stream, and true if the login crosses a network in clear text. The publisher of the load
/// before is kept until a change of stream, URL or time limit.
fn publisher(
    target: &PublishTarget,
    findings: &Findings,
    patience: Duration,
    before: Option<&Arc<Publisher>>,
) -> Result<(Arc<Publisher>, bool), Unusable> {
    let found = match findings.get(&target.server) {
        Some(Ok(found)) => found,
        Some(Err(error)) => return Err(Unusable::Url(error.to_string())),
        None => return Err(Unusable::Url("was not read".to_owned())),
    };
    let url = &found.secret;
    let is_exposed = exposes_password(&target.stream, url);
    let unchanged = before.filter(|before| before.is_for(&target.stream, url, patience));
    if let Some(unchanged) = unchanged {
        return Ok((Arc::clone(unchanged), is_exposed));
    }
    match Publisher::new(&target.stream, url, None, patience) {
        Ok(publisher) => Ok((Arc::new(publisher), is_exposed)),
        Err(error @ PublisherError::Unsupported(_)) => Err(Unusable::Build(error)),
        Err(error) => Err(Unusable::Url(error.to_string())),
    }
}
