//! The publishers of streams, of a load.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::authorities::{Authorities, pem_of};
use super::kept_inputs::InputUse;
use super::remarks::{Remarks, UnusableValue, ValueProblem};
use super::{Live, LoadError};
use crate::config::{Config, DestinationTarget, EventWay, PublishTarget, WebhookConfig};
use crate::credential::source::Findings;
use crate::delivery::publish::{Publisher, PublisherError, exposes_password};
use crate::secret::Secret;

/// The publishers of all streams among the destinations. Reloads keep the connections.
#[derive(Clone, Debug, Default)]
pub(super) struct Publishers {
    /// The publishers by the names of webhook and destination.
    by_name: BTreeMap<(String, String), Arc<Publisher>>,
}

impl Publishers {
    /// Makes the publishers of a configuration.
    ///
    /// # Errors
    /// If the build cannot publish to a stream.
    pub(super) fn read(
        config: &Config,
        findings: &Findings,
        files: &Authorities,
        before: Option<&Live>,
        remarks: &mut Remarks,
    ) -> Result<Self, LoadError> {
        let mut publishers = Self::default();
        for webhook in &config.webhooks {
            publishers.load_webhook(webhook, findings, files, before, remarks)?;
        }
        Ok(publishers)
    }

    /// Makes the publishers of a webhook.
    ///
    /// # Errors
    /// If the build cannot publish to a stream.
    pub(super) fn load_webhook(
        &mut self,
        webhook: &WebhookConfig,
        findings: &Findings,
        files: &Authorities,
        before: Option<&Live>,
        remarks: &mut Remarks,
    ) -> Result<(), LoadError> {
        for (name, target) in streams(webhook) {
            let key = (webhook.name.clone(), name.to_owned());
            let publisher = publisher_for(webhook, name, target, findings, files, before, remarks)?;
            match publisher {
                Some(publisher) => self.by_name.insert(key, publisher),
                None => self.by_name.remove(&key),
            };
        }
        Ok(())
    }

    /// Returns the publisher of a destination; `None` without a URL of the server.
    pub(super) fn of(&self, webhook: &str, destination: &str) -> Option<Arc<Publisher>> {
        let key = (webhook.to_owned(), destination.to_owned());
        self.by_name.get(&key).cloned()
    }
}

/// Returns the publisher of a stream. Without a usable URL, or a readable file of authorities, the
/// publisher of the load before stays in use; without one, there is none, and the events of the
/// destination wait.
///
/// # Errors
/// If the build cannot publish to the stream.
fn publisher_for(
    webhook: &WebhookConfig,
    name: &str,
    target: &PublishTarget,
    findings: &Findings,
    files: &Authorities,
    before: Option<&Live>,
    remarks: &mut Remarks,
) -> Result<Option<Arc<Publisher>>, LoadError> {
    let place = format!("webhook `{}`: destination `{name}`", webhook.name);
    let kept = before.and_then(|live| live.publishers.of(&webhook.name, name));
    let ca = target.ca.as_ref().map(|path| pem_of(files, path));
    let authorities = match ca.transpose() {
        Ok(authorities) => authorities,
        Err(unusable) => {
            let serves = InputUse::Stream(webhook.name.clone());
            return Ok(remarks.substitute_files(serves, unusable, kept, NO_AUTHORITIES, before));
        }
    };
    let server = StreamServer {
        target,
        authorities,
        patience: webhook.timeout,
    };
    let problem = match url_of(target, findings) {
        Ok(url) => match publisher(&server, url, kept.as_ref()) {
            Ok(publisher) => {
                remarks.warnings.extend(exposure(&place, target, url));
                return Ok(Some(publisher));
            }
            Err(error @ PublisherError::Unsupported(_)) => {
                return Err(LoadError::Webhook {
                    webhook: webhook.name.clone(),
                    problem: format!("destination `{name}`: {error}"),
                });
            }
            Err(error) => ValueProblem::Publisher(error),
        },
        Err(problem) => problem,
    };
    let unusable = UnusableValue {
        serves: InputUse::StreamUrl {
            webhook: webhook.name.clone(),
            to: name.to_owned(),
        },
        reference: &target.server,
        problem,
        waits: "its events wait for the URL",
    };
    Ok(remarks.substitute(unusable, kept, before))
}

/// The effect of a file of authorities that cannot be read.
const NO_AUTHORITIES: &str = "its events wait for the file";

/// A stream with all that its publisher depends on, beside the URL.
struct StreamServer<'c> {
    target: &'c PublishTarget,
    /// The PEM of the server's authorities; `None` for the system's.
    authorities: Option<&'c [u8]>,
    patience: Duration,
}

/// Returns all streams among the destinations of a webhook, each with the name.
pub(super) fn streams(webhook: &WebhookConfig) -> impl Iterator<Item = (&str, &PublishTarget)> {
    let to = match &webhook.way {
        EventWay::Direct(_) => &[],
        EventWay::Spooled(to) => to.as_slice(),
    };
    to.iter().filter_map(|to| match &to.target {
        DestinationTarget::Application(_) => None,
        DestinationTarget::Stream(target) => Some((to.name.as_str(), target)),
    })
}

/// Returns the URL of the server of a stream.
fn url_of<'f>(target: &PublishTarget, findings: &'f Findings) -> Result<&'f Secret, ValueProblem> {
    match findings.get(&target.server) {
        Some(Ok(found)) => Ok(&found.secret),
        Some(Err(error)) => Err(ValueProblem::Source(error.clone())),
        None => Err(ValueProblem::Unread),
    }
}

/// Returns a warning about a login in clear text on a network.
fn exposure(place: &str, target: &PublishTarget, url: &Secret) -> Option<String> {
    exposes_password(&target.stream, url).then(|| {
        format!(
            "{place}: `{}`: the login crosses the network in clear text, expected a URL with TLS for a server on another \
             machine",
            target.server
        )
    })
}

/// Returns the publisher of a stream: the one of the load before until a change of stream, URL,
/// authorities or time limit.
fn publisher(
    server: &StreamServer<'_>,
    url: &Secret,
    before: Option<&Arc<Publisher>>,
) -> Result<Arc<Publisher>, PublisherError> {
    let StreamServer {
        target,
        authorities,
        patience,
    } = *server;
    let unchanged =
        before.filter(|before| before.is_for(&target.stream, url, authorities, patience));
    if let Some(unchanged) = unchanged {
        return Ok(Arc::clone(unchanged));
    }
    Publisher::new(&target.stream, url, authorities, patience).map(Arc::new)
}
