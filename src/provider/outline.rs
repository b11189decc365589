//! A provider as written in TOML, before an account has filled in the parameters.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::access::AccessToken;
use super::definition::{NamedOrigin, Provider};
use super::evidence::Evidence;
use super::origin::Origin;
use super::parameter::Parameter;
use super::template::Template;

/// A provider whose parameters have no values yet.
#[derive(Debug)]
pub struct Outline {
    /// The values of an account beside the secrets.
    pub parameters: Vec<Parameter>,
    /// The certainty of a preset's facts, if the TOML names a certainty.
    pub evidence: Option<Evidence>,
    /// The provider without origins, and with parameters by name.
    provider: Arc<Provider>,
    origins: OriginTemplates,
}

/// The origins of a provider as they are written, perhaps with parameters.
#[derive(Debug, Default)]
pub(super) struct OriginTemplates {
    /// The origin of requests.
    pub(super) upstream: Option<Template>,
    /// The origin of media bytes.
    pub(super) media_upstream: Option<Template>,
    /// The origins of further hosts, by name.
    pub(super) upstreams: Vec<(String, Template)>,
    /// The origin of the exchange for an access token.
    pub(super) exchange: Option<Template>,
}

impl Outline {
    pub(super) fn new(
        mut provider: Provider,
        parameters: Vec<Parameter>,
        origins: OriginTemplates,
        evidence: Option<Evidence>,
    ) -> Self {
        if parameters.is_empty() {
            origins.resolve(&mut provider, &BTreeMap::new());
        }
        Self {
            parameters,
            evidence,
            provider: Arc::new(provider),
            origins,
        }
    }

    /// Returns the outline with its further hosts at `upstream`, but for the hosts in `named`. A
    /// preset with an `upstream` of the user's own (a region, a gateway, an emulator) sends no
    /// credential to a host that the user has left.
    #[must_use]
    pub fn with_further_hosts_at_upstream(mut self, named: &[&str]) -> Self {
        let Some(upstream) = self.origins.upstream.clone() else {
            return self;
        };
        for (name, origin) in &mut self.origins.upstreams {
            if !named.contains(&name.as_str()) {
                *origin = upstream.clone();
            }
        }
        if self.parameters.is_empty() {
            let provider = Arc::make_mut(&mut self.provider);
            self.origins.resolve(provider, &BTreeMap::new());
        }
        self
    }

    /// Returns true if the provider accepts requests, and does not only send events.
    #[must_use]
    pub fn takes_requests(&self) -> bool {
        self.origins.upstream.is_some()
    }

    /// Returns the names of the secrets.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        let secrets = self.provider.secrets.iter();
        secrets.map(|secret| secret.name.as_str())
    }

    /// Returns the display name.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.provider.title
    }

    /// Returns the provider for an account with these values, and the names of parameters without a
    /// value.
    ///
    /// While a parameter lacks its value, the provider has no upstream: no request can be sent, but
    /// events can be checked.
    #[must_use]
    pub fn fill(&self, values: &BTreeMap<String, String>) -> (Arc<Provider>, Vec<String>) {
        if self.parameters.is_empty() {
            // A provider without parameters is equal for each of its credentials, so that they
            // share a copy.
            return (Arc::clone(&self.provider), Vec::new());
        }
        let mut all = values.clone();
        let mut missing = Vec::new();
        for parameter in &self.parameters {
            if all.contains_key(&parameter.name) {
                continue;
            }
            match &parameter.default {
                Some(default) => {
                    all.insert(parameter.name.clone(), default.clone());
                }
                None => missing.push(parameter.name.clone()),
            }
        }
        let mut provider = Provider::clone(&self.provider);
        provider.fill(&all);
        provider.set_account(&all);
        if missing.is_empty() {
            self.origins.resolve(&mut provider, &all);
        }
        (Arc::new(provider), missing)
    }
}

impl OriginTemplates {
    /// Sets the origins of a provider.
    ///
    /// A filled template always parses: the forms of its parameters, label or host, were checked
    /// before.
    fn resolve(&self, provider: &mut Provider, values: &BTreeMap<String, String>) {
        let origin = |template: &Template| -> Option<Origin> {
            let mut filled = template.clone();
            filled.fill(values);
            filled.text()?.parse().ok()
        };
        provider.upstream = self.upstream.as_ref().and_then(origin);
        provider.media_upstream = self.media_upstream.as_ref().and_then(origin);
        let further = self.upstreams.iter();
        provider.upstreams = further
            .filter_map(|(name, template)| {
                Some(NamedOrigin {
                    name: name.clone(),
                    origin: origin(template)?,
                })
            })
            .collect();
        if let Some(AccessToken::Exchanged(exchange)) = &mut provider.access_token {
            exchange.upstream = self.exchange.as_ref().and_then(origin);
        }
    }
}
