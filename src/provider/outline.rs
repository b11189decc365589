//! A provider as its TOML says, before an account has filled in what is its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::schema;
use super::{AccessToken, Health, Inject, Malformed, Origin, Provider, Template, preset_document};
use crate::document::{Reader, Report};

/// A provider whose parameters have no values yet.
#[derive(Debug)]
pub struct Outline {
    /// What an account has beside secrets.
    pub parameters: Vec<Parameter>,
    /// All of it but its origins, with parameters by their names.
    provider: Arc<Provider>,
    places: Places,
}

/// Where a provider is, as it is written.
#[derive(Debug, Default)]
pub(super) struct Places {
    pub(super) upstream: Option<Template>,
    pub(super) media_upstream: Option<Template>,
    pub(super) exchange: Option<Template>,
}

/// A value of an account that is no secret: an account's id, a region. It is written in the configuration itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its key in `[credential.NAME]`.
    pub name: String,
    /// Its value where the credential has none; without one a route cannot do without the credential's.
    pub default: Option<String>,
    /// What it must look like.
    pub form: ParameterForm,
}

/// What a parameter must look like. Whatever it is, it cannot leave the place where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterForm {
    /// A segment of a path: unreserved characters (RFC 3986), 128 at most.
    Segment,
    /// A label of a host name: letters, digits and hyphens, 63 at most.
    Label,
    /// A host name.
    Host,
}

impl ParameterForm {
    /// Takes a value that has this form.
    ///
    /// # Errors
    /// What is expected. The value is not repeated: it may be a secret in the wrong place.
    pub fn check(self, value: &str) -> Result<(), Malformed> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
        let fits = match self {
            Self::Segment => {
                (1..=128).contains(&value.len()) && value.chars().all(plain) && !matches!(value, "." | "..")
            }
            Self::Label => is_label(value),
            Self::Host => value.len() <= 253 && value.split('.').all(is_label),
        };
        let expected = match self {
            Self::Segment => "not a value, expected letters, digits and -._~, written here itself and no reference",
            Self::Label => "not a part of a host name, expected letters, digits and hyphens, such as \"eu\"",
            Self::Host => "not a host name, expected one without scheme and path, such as \"api.example.com\"",
        };
        if fits { Ok(()) } else { Err(Malformed::new(expected)) }
    }

    /// Whether a value may stand in the name of a host.
    pub(super) fn is_of_hosts(self) -> bool {
        matches!(self, Self::Label | Self::Host)
    }
}

fn is_label(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    (1..=63).contains(&text.len()) && text.chars().all(plain) && !text.starts_with('-') && !text.ends_with('-')
}

impl Outline {
    pub(super) fn new(mut provider: Provider, parameters: Vec<Parameter>, places: Places) -> Self {
        if parameters.is_empty() {
            provider.settle(&places, &BTreeMap::new());
        }
        Self { parameters, provider: Arc::new(provider), places }
    }

    /// The preset of this name.
    pub fn preset(name: &str) -> Option<Self> {
        let report = Report::default();
        let document = preset_document(name, &report)?;
        let outline = schema::read(name, Reader::new(&document, &report));
        outline.filter(|_| !report.is_faulty())
    }

    /// Whether requests can be sent to it at all.
    #[must_use]
    pub fn takes_requests(&self) -> bool {
        self.places.upstream.is_some()
    }

    /// Whether it sends events.
    #[must_use]
    pub fn sends_events(&self) -> bool {
        self.provider.webhook.is_some()
    }

    /// The name for people.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.provider.title
    }

    /// The provider for an account with these values, and the names of those that it lacks. As long as it lacks any, no
    /// request can be sent; its events can be checked.
    #[must_use]
    pub fn fill(&self, values: &BTreeMap<String, String>) -> (Arc<Provider>, Vec<String>) {
        let mut all = values.clone();
        let mut missing = Vec::new();
        for parameter in &self.parameters {
            match &parameter.default {
                _ if all.contains_key(&parameter.name) => {}
                Some(default) => drop(all.insert(parameter.name.clone(), default.clone())),
                None => missing.push(parameter.name.clone()),
            }
        }
        if self.parameters.is_empty() {
            return (Arc::clone(&self.provider), missing);
        }
        let mut provider = Provider::clone(&self.provider);
        provider.fill(&all);
        if missing.is_empty() {
            provider.settle(&self.places, &all);
        }
        (Arc::new(provider), missing)
    }
}

impl Provider {
    /// Puts values in the place of parameters wherever they stand.
    fn fill(&mut self, values: &BTreeMap<String, String>) {
        let own = self.operations.iter_mut().flat_map(|operation| &mut operation.requests);
        let own = own.filter_map(|request| request.inject.as_mut()).flatten();
        let exchanged = match &mut self.access_token {
            Some(AccessToken::Exchanged(exchange)) => exchange.inject.as_mut_slice(),
            _ => &mut [],
        };
        for inject in self.inject.iter_mut().chain(own).chain(exchanged) {
            if let Some(value) = inject.template_mut() {
                value.fill(values);
            }
        }
        self.paths.iter_mut().for_each(|map| map.to.fill(values));
        if let Some(Health::Get(path)) = &mut self.health {
            path.fill(values);
        }
        if let Some(AccessToken::Minted(minted)) = &mut self.access_token {
            minted.claims.iter_mut().for_each(|(_, value)| value.fill(values));
        }
    }

    /// Says where it is. Which forms parameters have was checked where they were declared, so that this is always an origin.
    fn settle(&mut self, places: &Places, values: &BTreeMap<String, String>) {
        let origin = |place: &Option<Template>| -> Option<Origin> {
            let mut place = place.clone()?;
            place.fill(values);
            place.text()?.parse().ok()
        };
        self.upstream = origin(&places.upstream);
        self.media_upstream = origin(&places.media_upstream);
        if let Some(AccessToken::Exchanged(exchange)) = &mut self.access_token {
            exchange.upstream = origin(&places.exchange);
        }
    }
}

impl Inject {
    /// What goes there, where that is a template.
    #[must_use]
    pub fn template(&self) -> Option<&Template> {
        match self {
            Self::Header { value, .. }
            | Self::Query { value, .. }
            | Self::JsonField { value, .. }
            | Self::FormField { value, .. } => Some(value),
            Self::AppSecretProof { .. } => None,
        }
    }

    fn template_mut(&mut self) -> Option<&mut Template> {
        match self {
            Self::Header { value, .. }
            | Self::Query { value, .. }
            | Self::JsonField { value, .. }
            | Self::FormField { value, .. } => Some(value),
            Self::AppSecretProof { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_cannot_leave_its_place() {
        for (form, good, bad) in [
            (
                ParameterForm::Segment,
                &["AC0123", "a.b~c-d_e"][..],
                &["", ".", "..", "a/b", "a%2fb", "a?b", "a b", "file:/x", "ä"][..],
            ),
            (ParameterForm::Label, &["eu", "y3vn4g"], &["", "a.b", "-a", "a-", "a_b", "a@b", "a:1"]),
            (ParameterForm::Host, &["api.example.com", "localhost"], &["", "a..b", "a/b", "a:1", "user@a", ".a"]),
        ] {
            for value in good {
                assert_eq!(form.check(value), Ok(()), "{form:?} {value}");
            }
            for value in bad {
                assert!(form.check(value).is_err(), "{form:?} {value}");
            }
        }
    }
}
