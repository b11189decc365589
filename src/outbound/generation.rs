//! The routes, hosts and headers that requests run on, all from one load of the configuration.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use tokio::sync::{mpsc, oneshot};

use super::hosts::Hosts;
use super::links::LinkRules;
use super::policy::Policy;
use crate::credential::SecretSet;

/// The result of a load. A request keeps the generation that was live at its arrival, so no request
/// sees half a reload.
#[derive(Debug)]
pub struct Generation {
    /// Number of the load, counted from 1 for the start of the process.
    pub number: u64,
    /// The routes with their credentials, upstreams and limits.
    pub policy: Policy,
    /// Host names that the outbound listener answers for, besides the names of loopback.
    pub hosts: Arc<Hosts>,
    /// The rules for links in answers.
    pub links: Arc<LinkRules>,
    /// The bounds of uploads and downloads.
    pub media: MediaBounds,
    /// Every header that any provider injects. No application may send such a header.
    pub injected: Arc<[HeaderName]>,
}

/// The bounds of uploads and downloads.
#[derive(Clone, Copy, Debug)]
pub struct MediaBounds {
    /// The largest upload, in bytes.
    pub max_upload: u64,
    /// The longest transfer. Two fifths of it are for the wait for the head of an answer, since
    /// providers scan media before they answer.
    pub timeout: Duration,
}

impl Generation {
    /// Returns the secrets in use of the same credential, if they differ from the secrets that were
    /// sent.
    pub(super) fn newer_than(&self, sent: SecretSet<'_>) -> Option<SecretSet<'_>> {
        let credential = self.policy.credential(&sent.credential().name)?;
        let in_use = credential.in_use();
        (!in_use.is_same_as(sent)).then_some(in_use)
    }
}

/// Asks the reloader to read all secret sources again; the `oneshot` answers once new secrets are
/// in use. Used after a provider refuses a secret, because a successor may be there already.
pub type SecretLookups = mpsc::Sender<oneshot::Sender<()>>;
