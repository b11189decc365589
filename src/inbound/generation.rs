//! The webhooks of one configuration.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderName;
use percent_encoding::percent_decode_str;

use super::delivery::DirectDelivery;
use super::metrics::WebhookMetrics;
use super::stray::{shown_path, shown_path_with_token};
use super::verify::Verifier;
use crate::credential::Credential;
use crate::limit::KeyedLimits;
use crate::provider::event_form::EventForm;
use crate::shared::SharedServer;

/// The webhooks published by one load of the configuration.
#[derive(Debug)]
pub struct Generation {
    endpoints: Vec<Arc<WebhookEndpoint>>,
    by_path: HashMap<String, usize>,
    /// The bound on one body, in bytes.
    pub(super) max_body: u64,
}

/// A webhook with all parts needed by its events.
#[derive(Debug)]
pub struct WebhookEndpoint {
    /// The webhook's name in the configuration.
    pub name: Arc<str>,
    /// The path to which the provider sends events, decoded; a last segment `{token}` stands for a
    /// secret.
    pub path: String,
    /// The credential whose secrets sign the events.
    pub credential: Arc<Credential>,
    /// The check of signatures.
    pub verifier: Verifier,
    /// The way of genuine events.
    pub onward: Onward,
    /// The provider's headers that the application gets: the signature, and the headers that the
    /// signature covers.
    pub headers: Vec<HeaderName>,
    /// The forms of the provider's events.
    pub forms: Arc<[EventForm]>,
    /// The senders' limits for received messages, for providers that count received messages.
    pub senders: Vec<Arc<KeyedLimits>>,
    /// The shared server with the outcomes of sent messages, if there is one.
    pub shared: Option<Arc<SharedServer>>,
    /// The webhook's counters.
    pub metrics: WebhookMetrics,
}

/// The way of genuine events.
#[derive(Debug)]
pub enum Onward {
    /// To the application, which answers.
    Direct(Box<DirectDelivery>),
    /// To the disk, and from there to every destination.
    Spooled,
}

impl WebhookEndpoint {
    /// Returns true if the provider gets the application's own answer.
    pub(super) fn replies(&self) -> bool {
        match &self.onward {
            Onward::Direct(delivery) => delivery.replies(),
            Onward::Spooled => false,
        }
    }
}

impl Generation {
    /// Returns a generation with its webhooks, and the bound on one body in bytes.
    #[must_use]
    pub fn new(endpoints: Vec<WebhookEndpoint>, max_body: u64) -> Self {
        let by_path = endpoints
            .iter()
            .enumerate()
            .map(|(index, endpoint)| (endpoint.path.clone(), index))
            .collect();
        Self {
            endpoints: endpoints.into_iter().map(Arc::new).collect(),
            by_path,
            max_body,
        }
    }

    /// Returns all webhooks.
    #[must_use]
    pub fn endpoints(&self) -> &[Arc<WebhookEndpoint>] {
        &self.endpoints
    }

    /// Returns the webhook at a path, with the token that stands in the path if the webhook has one
    /// there. Each character of the path may be percent-encoded or not, as the provider likes.
    pub(super) fn find<'p>(
        &self,
        path: &'p str,
    ) -> Option<(&Arc<WebhookEndpoint>, Option<Cow<'p, str>>)> {
        if let Some(index) = self.by_path.get(decoded(path)?.as_ref()) {
            return Some((self.endpoints.get(*index)?, None));
        }
        let (before, token) = path.rsplit_once('/')?;
        let index = self.by_path.get(&format!("{}/{TOKEN}", decoded(before)?))?;
        Some((self.endpoints.get(*index)?, Some(decoded(token)?)))
    }

    /// Returns a path without a webhook as the log may show it.
    pub(super) fn shown(&self, path: &str) -> String {
        let known: Vec<&str> = self
            .endpoints
            .iter()
            .flat_map(|endpoint| endpoint.path.split('/'))
            .collect();
        if known.contains(&TOKEN) {
            shown_path_with_token(path, &known)
        } else {
            shown_path(path, &known)
        }
    }
}

/// Returns a path with its percent-encoded characters decoded; `None` for an encoded slash, which
/// is no separator, and for bytes that are not UTF-8.
fn decoded(path: &str) -> Option<Cow<'_, str>> {
    if memchr::memchr(b'%', path.as_bytes()).is_none() {
        return Some(Cow::Borrowed(path));
    }
    let decoded = percent_decode_str(path).decode_utf8().ok()?;
    let slashes = |text: &str| memchr::memchr_iter(b'/', text.as_bytes()).count();
    (slashes(&decoded) == slashes(path)).then_some(decoded)
}

/// The placeholder for a token in the last segment of a configured path.
const TOKEN: &str = "{token}";
