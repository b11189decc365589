//! Unusable inputs of the sidecar: files of certificates and authorities, and values of references
//! outside of credentials. The contents of the load before stay in use; without earlier contents,
//! nothing is. No other change waits for the input.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::authorities::{Authorities, pem_of};
use super::server_tls::{INBOUND, OUTBOUND, ServerCertificates};
use super::streams::streams;
use super::{Live, Reloader};
use crate::config::Config;
use crate::provider::Ca;
use crate::tls::UnusableFiles;

/// Unusable files, or the unusable value of a reference, with the key of the configuration.
#[derive(Clone, Debug)]
pub struct KeptInput {
    /// The use of the input.
    pub serves: InputUse,
    /// The files, and the reason; no file for a value outside of the file system.
    pub unusable: UnusableFiles,
    /// The time of the first load that could not use the input for this reason.
    pub since: SystemTime,
    /// The substitute for the input.
    pub in_place: InPlace,
}

/// The substitute for an unusable input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InPlace {
    /// The content read before, until a restart.
    Before,
    /// No substitute. Holds the clause that names what must wait.
    Nothing(&'static str),
}

/// The use of an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InputUse {
    /// `[inbound.tls]`.
    Inbound,
    /// `[outbound.tls]`.
    Outbound,
    /// The authorities of the provider of this name.
    Provider(String),
    /// The authorities of the shared server.
    Limits,
    /// The authorities of the server of a stream, a destination of the webhook of this name.
    Stream(String),
    /// The URL of the shared server.
    LimitsUrl,
    /// The key of the state.
    StateKey,
    /// The URL of the proxy.
    Proxy,
    /// The key of the signatures of the webhook of this name.
    Signature(String),
    /// The URL of the server of a stream, a destination of the webhook of this name.
    StreamUrl {
        /// The name of the webhook.
        webhook: String,
        /// The name of the destination.
        to: String,
    },
}

impl InputUse {
    /// Returns the key of the configuration.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::Inbound => INBOUND.to_owned(),
            Self::Outbound => OUTBOUND.to_owned(),
            Self::Provider(name) => format!("provider.{name}.ca"),
            Self::Limits => "limits.ca".to_owned(),
            Self::Stream(webhook) => format!("webhook {webhook}: to.ca"),
            Self::LimitsUrl => "limits.redis".to_owned(),
            Self::StateKey => "state.key".to_owned(),
            Self::Proxy => "egress.proxy".to_owned(),
            Self::Signature(webhook) => format!("webhook {webhook}: sign"),
            Self::StreamUrl { webhook, to } => format!("webhook {webhook}: to {to}: server"),
        }
    }

    /// True for an input of every route.
    #[must_use]
    pub fn is_for_all_routes(&self) -> bool {
        matches!(
            self,
            Self::Outbound | Self::Limits | Self::LimitsUrl | Self::StateKey | Self::Proxy
        )
    }

    /// True for an input of the webhook.
    #[must_use]
    pub fn is_for_webhook(&self, name: &str) -> bool {
        match self {
            Self::Inbound | Self::StateKey => true,
            other => other.webhook() == Some(name),
        }
    }

    /// Returns the name of the webhook to which the input belongs alone.
    #[must_use]
    pub fn webhook(&self) -> Option<&str> {
        match self {
            Self::Stream(webhook) | Self::Signature(webhook) | Self::StreamUrl { webhook, .. } => {
                Some(webhook)
            }
            _ => None,
        }
    }

    /// True for the value of a reference of the webhook.
    pub(super) fn is_value_of(&self, name: &str) -> bool {
        match self {
            Self::Signature(webhook) | Self::StreamUrl { webhook, .. } => webhook == name,
            _ => false,
        }
    }
}

impl KeptInput {
    /// Returns the input as a line: the key, the reason, and what is in use.
    #[must_use]
    pub fn line(&self) -> String {
        let key = self.serves.key();
        let problem = &self.unusable.problem;
        match self.in_place {
            InPlace::Before => format!(
                "{key}: {problem}; what was read before stays in use, and is gone after a restart"
            ),
            InPlace::Nothing(waits) => format!("{key}: {problem}; {waits}"),
        }
    }

    /// True for an input that a provider has no substitute for: requests of its routes are refused.
    #[must_use]
    pub fn stops_requests(&self) -> bool {
        matches!(
            (&self.serves, self.in_place),
            (InputUse::Provider(_), InPlace::Nothing(_))
        )
    }

    /// True for a file of authorities that a configuration names.
    #[must_use]
    pub fn is_of_authorities(&self) -> bool {
        matches!(
            self.serves,
            InputUse::Provider(_) | InputUse::Limits | InputUse::Stream(_)
        )
    }

    /// True if every event of a webhook waits for the input.
    #[must_use]
    pub fn stops_events(&self) -> bool {
        matches!(
            (&self.serves, self.in_place),
            (InputUse::Signature(_), InPlace::Nothing(_))
        )
    }

    fn is_same(&self, other: &Self) -> bool {
        self.serves == other.serves
            && self.unusable == other.unusable
            && self.in_place == other.in_place
    }

    fn log(&self) {
        let key = self.serves.key();
        let reason = self.unusable.problem.as_str();
        match self.in_place {
            InPlace::Before => tracing::error!(
                key,
                reason,
                "the file or value cannot be used: what was read before stays in use; put a good one there, as what was read before is gone after a restart"
            ),
            InPlace::Nothing(waits) => tracing::error!(
                key,
                reason,
                "the value cannot be used, and none was read before: {waits}; put a good one there"
            ),
        }
    }
}

impl Live {
    /// True if an input that could not be used is no longer among the unusable ones, for whatever
    /// reason: the configuration may no longer name it.
    fn is_mended(&self, earlier: &KeptInput) -> bool {
        let mut unusable = self.kept_inputs.iter();
        !unusable.any(|kept| kept.serves == earlier.serves)
    }

    /// True if a file belongs to the unusable inputs, so that the content has no effect.
    pub(super) fn has_kept_file(&self, path: &Path) -> bool {
        let mut paths = self
            .kept_inputs
            .iter()
            .flat_map(|kept| &kept.unusable.paths);
        paths.any(|kept| kept == path)
    }
}

impl Reloader {
    /// Reports the inputs that `live` cannot use and `before` could, in log and audit file. Returns
    /// true if there are any.
    pub(super) fn report_kept_inputs(&self, before: Option<&Live>, live: &Live) -> bool {
        live.log_state_key(before);
        let earlier = before.map_or(&[][..], |before| &before.kept_inputs);
        let is_reported = |kept: &KeptInput| earlier.iter().any(|earlier| earlier.is_same(kept));
        let mut has_reported = false;
        for kept in live.kept_inputs.iter().filter(|kept| !is_reported(kept)) {
            has_reported = true;
            kept.log();
            let reason = kept.unusable.problem.as_str();
            let fields = [("key", kept.serves.key().into()), ("reason", reason.into())];
            let event = match kept.in_place {
                InPlace::Before => "file kept back",
                InPlace::Nothing(_) => "value missing",
            };
            self.audit.record(event, fields);
        }
        for mended in earlier.iter().filter(|earlier| live.is_mended(earlier)) {
            tracing::info!(
                key = mended.serves.key(),
                "no file or value of the key is unusable any more"
            );
        }
        has_reported
    }
}

/// Puts the contents `before` in the place of authorities that cannot be used. Returns these.
pub(super) fn keep_authorities(
    config: &Config,
    contents: &mut Authorities,
    before: Option<&Live>,
) -> Vec<KeptInput> {
    let Some(before) = before else {
        return Vec::new();
    };
    let mut all = Vec::new();
    for (path, uses) in uses(config) {
        let Some(Ok(usable)) = before.authorities.get(&path) else {
            continue;
        };
        if matches!(contents.get(&path), Some(Ok(content)) if content == usable) {
            continue;
        }
        if let Err(unusable) = pem_of(contents, &path)
            && pem_of(&before.authorities, &path).is_ok()
        {
            let of_use = |serves| kept(serves, unusable.clone(), InPlace::Before, Some(before));
            all.extend(uses.into_iter().map(of_use));
            contents.insert(path, Ok(usable.clone()));
        }
    }
    all
}

/// Returns the files of listeners that cannot be used.
pub(super) fn of_listeners(
    certificates: &ServerCertificates,
    before: Option<&Live>,
) -> Vec<KeptInput> {
    let Some(before) = before else {
        return Vec::new();
    };
    let inbound = certificates
        .inbound
        .iter()
        .map(|tls| (InputUse::Inbound, tls));
    let outbound = certificates
        .outbound
        .iter()
        .map(|tls| (InputUse::Outbound, tls));
    inbound
        .chain(outbound)
        .flat_map(|(serves, tls)| {
            let each = tls.unusable.iter().cloned();
            each.map(move |unusable| kept(serves.clone(), unusable, InPlace::Before, Some(before)))
        })
        .collect()
}

/// True if two loads differ in the contents of files, or in the unusable inputs.
pub(super) fn differ(before: &Live, contents: &Authorities, kept: &[KeptInput]) -> bool {
    let is_same_content =
        before.authorities.len() == contents.len()
            && before.authorities.iter().zip(contents).all(
                |((path, before), (other, now))| match (before, now) {
                    (Ok(before), Ok(now)) => path == other && before == now,
                    (Err(_), Err(_)) => path == other,
                    (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
                },
            );
    let is_same_fault = before.kept_inputs.len() == kept.len()
        && before
            .kept_inputs
            .iter()
            .zip(kept)
            .all(|(before, now)| before.is_same(now));
    !(is_same_content && is_same_fault)
}

/// Returns the unusable input, with the time of the load that first could not use the input.
pub(super) fn kept(
    serves: InputUse,
    unusable: UnusableFiles,
    in_place: InPlace,
    before: Option<&Live>,
) -> KeptInput {
    let now = KeptInput {
        serves,
        unusable,
        since: SystemTime::now(),
        in_place,
    };
    let earlier = before
        .into_iter()
        .flat_map(|before| &before.kept_inputs)
        .find(|kept| kept.is_same(&now));
    earlier.cloned().unwrap_or(now)
}

/// Returns the files of authorities for upstreams, the shared server and the servers of streams,
/// each with all its uses.
fn uses(config: &Config) -> BTreeMap<PathBuf, Vec<InputUse>> {
    let credentials = config.credentials.values();
    let of_providers = credentials.filter_map(|credential| match &credential.provider.ca {
        Ca::File(path) => {
            let name = credential.provider.name.clone();
            Some((path, InputUse::Provider(name)))
        }
        Ca::Bundled | Ca::System => None,
    });
    let of_limits = config.limits.iter().filter_map(|limits| {
        let path = limits.ca.as_ref()?;
        Some((path, InputUse::Limits))
    });
    let of_streams = config.webhooks.iter().flat_map(|webhook| {
        streams(webhook).filter_map(|(_, target)| {
            let path = target.ca.as_ref()?;
            Some((path, InputUse::Stream(webhook.name.clone())))
        })
    });
    let mut all: BTreeMap<PathBuf, Vec<InputUse>> = BTreeMap::new();
    for (path, serves) in of_providers.chain(of_limits).chain(of_streams) {
        let uses = all.entry(path.clone()).or_default();
        if !uses.contains(&serves) {
            uses.push(serves);
        }
    }
    all
}
