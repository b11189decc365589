//! The publishers of streams, of a load.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::authorities::{Authorities, pem_of};
use super::kept_inputs::{InputUse, Remarks};
use super::{Live, LoadError};
use crate::config::{Config, DestinationTarget, EventWay, PublishTarget, WebhookConfig};
use crate::credential::source::{Findings, SourceError};
use crate::delivery::publish::{Publisher, PublisherError, exposes_password};

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
    /// If the build cannot publish to a stream, or the file with the authorities of a server cannot be read.
    pub(super) fn read(
        config: &Config,
        findings: &Findings,
        files: &Authorities,
        before: Option<&Live>,
        remarks: &mut Remarks,
    ) -> Result<Self, LoadError> {
        let mut publishers = Self::default();
        for webhook in &config.webhooks {
            publishers.take(webhook, findings, files, before, remarks)?;
        }
        Ok(publishers)
    }

    /// Makes the publishers of a webhook. Without a usable URL, the publisher of the load before stays in use, and the URL is
    /// told; without a load before, the events of the destination wait. A late answer beside an earlier publisher is not told:
    /// the answer is used later.
    ///
    /// # Errors
    /// If the build cannot publish to a stream, or the file with the authorities of a server cannot be read.
    pub(super) fn take(
        &mut self,
        webhook: &WebhookConfig,
        findings: &Findings,
        files: &Authorities,
        before: Option<&Live>,
        remarks: &mut Remarks,
    ) -> Result<(), LoadError> {
        for (name, target) in streams(webhook) {
            let place = format!("webhook `{}`: destination `{name}`", webhook.name);
            let kept =
                before.and_then(|live| Some((live, live.publishers.of(&webhook.name, name)?)));
            let key = format!("{place}: ca");
            let ca = target.ca.as_ref().map(|path| pem_of(files, &key, path));
            let server = StreamServer {
                target,
                authorities: ca.transpose()?,
                patience: webhook.timeout,
            };
            let serves = InputUse::StreamUrl {
                webhook: webhook.name.clone(),
                to: name.to_owned(),
            };
            let earlier = kept.as_ref().map(|(_, publisher)| publisher);
            let publisher = match (publisher(&server, findings, earlier), kept) {
                (Ok((publisher, is_exposed)), _) => {
                    if is_exposed {
                        remarks.warnings.push(format!(
                            "{place}: `{}`: the login crosses the network in clear text, expected a URL with TLS for a \
                             server on another machine",
                            target.server
                        ));
                    }
                    Some(publisher)
                }
                (Err(Unusable::Build(error)), _) => {
                    return Err(LoadError::Webhook {
                        webhook: webhook.name.clone(),
                        problem: format!("destination `{name}`: {error}"),
                    });
                }
                (Err(Unusable::Late), Some((live, publisher))) => {
                    remarks.keep_noted(&serves, live);
                    Some(publisher)
                }
                (Err(unusable), Some((live, publisher))) => {
                    remarks.keep(serves, &target.server, &unusable.to_string(), live);
                    Some(publisher)
                }
                (Err(unusable), None) => {
                    remarks.miss(
                        serves,
                        &target.server,
                        &unusable.to_string(),
                        "its events wait for the URL",
                        before,
                    );
                    None
                }
            };
            let key = (webhook.name.clone(), name.to_owned());
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

/// A stream with all that its publisher depends on, beside the URL.
struct StreamServer<'c> {
    target: &'c PublishTarget,
    /// The PEM of the server's authorities; `None` for the system's.
    authorities: Option<&'c [u8]>,
    patience: Duration,
}

enum Unusable {
    /// The build cannot publish to the stream.
    Build(PublisherError),
    /// The URL has not come in time.
    Late,
    /// The URL cannot be had, or is none.
    Url(String),
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Build(error) => write!(f, "{error}"),
            Self::Late => write!(f, "{}", SourceError::Late),
            Self::Url(problem) => f.write_str(problem),
        }
    }
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

/// Returns the publisher of a stream, and true if the login crosses a network in clear text. The publisher of the load
/// before is kept until a change of stream, URL, authorities or time limit.
fn publisher(
    server: &StreamServer<'_>,
    findings: &Findings,
    before: Option<&Arc<Publisher>>,
) -> Result<(Arc<Publisher>, bool), Unusable> {
    let StreamServer {
        target,
        authorities,
        patience,
    } = *server;
    let found = match findings.get(&target.server) {
        Some(Ok(found)) => found,
        Some(Err(SourceError::Late)) => return Err(Unusable::Late),
        Some(Err(error)) => return Err(Unusable::Url(error.to_string())),
        None => return Err(Unusable::Url("was not read".to_owned())),
    };
    let url = &found.secret;
    let is_exposed = exposes_password(&target.stream, url);
    let unchanged =
        before.filter(|before| before.is_for(&target.stream, url, authorities, patience));
    if let Some(unchanged) = unchanged {
        return Ok((Arc::clone(unchanged), is_exposed));
    }
    match Publisher::new(&target.stream, url, authorities, patience) {
        Ok(publisher) => Ok((Arc::new(publisher), is_exposed)),
        Err(error @ PublisherError::Unsupported(_)) => Err(Unusable::Build(error)),
        Err(error) => Err(Unusable::Url(error.to_string())),
    }
}
