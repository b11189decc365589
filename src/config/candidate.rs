//! A candidate: a new secret, proved before it is put into place.

use std::fmt;
use std::str::FromStr;

use super::{Config, Reference, ReferenceError};
use crate::document::{choices, shown};

/// A reference in the place of the current one: `NAME.SECRET=REF`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    credential: String,
    secret: String,
    reference: Reference,
}

/// The error of a malformed or misplaced candidate. The error contains no text behind the `=`,
/// which may be the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CandidateError {
    /// There is no `NAME.SECRET=` before the reference.
    Form,
    /// The text behind the `=` is no reference.
    Reference(ReferenceError),
    /// The configuration has no such credential. Holds the end of the message.
    Credential(String),
    /// The credential has no such secret. Holds the name of the credential and the end of the
    /// message.
    Secret(String, String),
}

impl fmt::Display for CandidateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form => f.write_str("expected NAME.SECRET=REF, such as acme.token=file:/run/new"),
            Self::Reference(error) => fmt::Display::fmt(error, f),
            Self::Credential(choices) => write!(f, "no such credential, {choices}"),
            Self::Secret(credential, choices) => {
                write!(
                    f,
                    "the credential `{credential}` has no such secret, {choices}"
                )
            }
        }
    }
}

impl std::error::Error for CandidateError {}

impl FromStr for Candidate {
    type Err = CandidateError;

    fn from_str(text: &str) -> Result<Self, CandidateError> {
        let (place, reference) = text.split_once('=').ok_or(CandidateError::Form)?;
        let (credential, secret) = place.rsplit_once('.').ok_or(CandidateError::Form)?;
        Ok(Self {
            credential: credential.to_owned(),
            secret: secret.to_owned(),
            reference: reference.parse().map_err(CandidateError::Reference)?,
        })
    }
}

impl Config {
    /// Returns the configuration of the candidates' credentials alone, with each candidate in the
    /// place of the current secret, and with the question to the provider.
    ///
    /// # Errors
    /// If a credential or a secret of a candidate does not exist.
    pub fn with_candidates(mut self, candidates: &[Candidate]) -> Result<Self, CandidateError> {
        for candidate in candidates {
            let names: Vec<String> = self.credentials.keys().cloned().collect();
            let config = self
                .credentials
                .get_mut(&candidate.credential)
                .ok_or_else(|| {
                    let names = names.iter().map(String::as_str);
                    CandidateError::Credential(choices(&candidate.credential, names))
                })?;
            if config.provider.secret(&candidate.secret).is_none() {
                let names = config
                    .provider
                    .secrets
                    .iter()
                    .map(|secret| secret.name.as_str());
                let choices = choices(&candidate.secret, names);
                let credential = shown(&candidate.credential).to_owned();
                return Err(CandidateError::Secret(credential, choices));
            }
            config.check = true;
            let listed = config.secrets.remove(&candidate.secret);
            let older = listed.unwrap_or_default().into_iter().skip(1);
            let references: Vec<_> = std::iter::once(candidate.reference.clone())
                .chain(older)
                .collect();
            config.secrets.insert(candidate.secret.clone(), references);
        }
        let is_named = |name: &str| {
            candidates
                .iter()
                .any(|candidate| candidate.credential == name)
        };
        self.credentials.retain(|name, _| is_named(name));
        self.routes.retain(|route| is_named(&route.credential));
        self.webhooks
            .retain(|webhook| is_named(&webhook.credential));
        // The shared limits have nothing to say about a secret.
        self.limits = None;
        self.audit = None;
        self.warnings.clear();
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "[credential.acme]\nprovider = \"meta\"\ntoken = \"file:/t\"\n\
                          app_secret = [\"file:/a\", \"file:/b\"]\n[credential.other]\nprovider = \"meta\"\n\
                          token = \"file:/o\"\n[[route]]\ncredential = \"acme\"\n[[route]]\ncredential = \"other\"\n\
                          path = \"/other\"\n";

    #[test]
    fn a_candidate_takes_the_place_of_the_current_secret_and_the_rest_stays() {
        let config = Config::parse(CONFIG, "f").unwrap();
        let candidate: Candidate = "acme.app_secret=file:/new".parse().unwrap();
        let config = config.with_candidates(&[candidate]).unwrap();
        let names: Vec<_> = config.credentials.keys().collect();
        assert_eq!(names, ["acme"]);
        let secrets = &config.credentials["acme"].secrets;
        let shown = |name: &str| {
            let references = secrets.get(name).unwrap().iter().map(ToString::to_string);
            references.collect::<Vec<_>>()
        };
        assert_eq!(shown("token"), ["file:/t"]);
        assert_eq!(shown("app_secret"), ["file:/new", "file:/b"]);
        assert_eq!(config.routes.len(), 1);
    }

    #[test]
    fn a_wrong_candidate_is_refused_and_its_value_not_repeated() {
        for (text, expected) in [
            ("EAACANARY", "expected NAME.SECRET=REF"),
            ("token=file:/CANARY", "expected NAME.SECRET=REF"),
            ("acme.token=EAACANARY", "not a reference"),
            ("acne.token=file:/x", "did you mean `acme`?"),
            ("acme.tokne=file:/x", "did you mean `token`?"),
        ] {
            let refused = |text: &str| {
                let candidate: Candidate = text.parse()?;
                let config = Config::parse(CONFIG, "f").unwrap();
                config.with_candidates(&[candidate]).map(|_| ())
            };
            let message = refused(text).unwrap_err().to_string();
            assert!(message.contains(expected), "{text}: {message}");
            assert!(!message.contains("CANARY"), "{text}: {message}");
        }
    }
}
