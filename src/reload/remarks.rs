//! The remarks of a load: the inputs that cannot be used, and oddities.

use std::fmt;

use super::Live;
use super::kept_inputs::{InPlace, InputUse, KeptInput, kept};
use crate::config::Reference;
use crate::credential::source::{SourceError, path_of};
use crate::delivery::publish::PublisherError;
use crate::delivery::signature::SignerError;
use crate::tls::UnusableFiles;

/// The remarks of a load about unusable inputs.
#[derive(Default)]
pub(super) struct Remarks {
    /// Lines about inputs without earlier contents, and about oddities.
    pub(super) warnings: Vec<String>,
    /// The inputs in whose place the load before stays in use.
    pub(super) kept: Vec<KeptInput>,
}

impl Remarks {
    /// Notes an unusable value of a reference in whose place the value of the load before stays,
    /// with the reason.
    pub(super) fn keep(
        &mut self,
        serves: InputUse,
        reference: &Reference,
        problem: &str,
        before: &Live,
    ) {
        let unusable = unusable_value(reference, problem);
        let kept = kept(serves, unusable, InPlace::Before, Some(before));
        self.kept.push(kept);
    }

    /// Notes a reference whose value is unusable and has no predecessor, with the reason and the
    /// parts that wait for a value.
    pub(super) fn miss(
        &mut self,
        serves: InputUse,
        reference: &Reference,
        problem: &str,
        waits: &'static str,
        before: Option<&Live>,
    ) {
        let unusable = unusable_value(reference, problem);
        let kept = kept(serves, unusable, InPlace::Nothing(waits), before);
        self.kept.push(kept);
    }

    /// Notes an unusable value, and returns its substitute: what the load before has in use
    /// (`kept`), or nothing. A late answer beside an earlier value is not noted: the answer is used
    /// later.
    pub(super) fn substitute<T>(
        &mut self,
        value: UnusableValue<'_>,
        kept: Option<T>,
        before: Option<&Live>,
    ) -> Option<T> {
        let UnusableValue {
            serves,
            reference,
            problem,
            waits,
        } = value;
        match (problem, before, &kept) {
            (ValueProblem::Source(SourceError::Late), Some(live), Some(_)) => {
                self.keep_noted(&serves, live);
            }
            (problem, Some(live), Some(_)) => {
                self.keep(serves, reference, &problem.to_string(), live);
            }
            (problem, before, _) => {
                self.miss(serves, reference, &problem.to_string(), waits, before);
            }
        }
        kept
    }

    /// Notes files that cannot be used, and returns their substitute: what the load before has in
    /// use (`kept`), or nothing.
    pub(super) fn substitute_files<T>(
        &mut self,
        serves: InputUse,
        unusable: UnusableFiles,
        in_use: Option<T>,
        waits: &'static str,
        before: Option<&Live>,
    ) -> Option<T> {
        let in_place = match &in_use {
            Some(_) => InPlace::Before,
            None => InPlace::Nothing(waits),
        };
        self.kept.push(kept(serves, unusable, in_place, before));
        in_use
    }

    /// Notes again the earlier note about an input whose value has not come in time.
    pub(super) fn keep_noted(&mut self, serves: &InputUse, before: &Live) {
        let noted = before.kept_inputs.iter();
        self.kept
            .extend(noted.filter(|it| it.serves == *serves).cloned());
    }
}

/// The unusable value of a reference of a webhook.
pub(super) struct UnusableValue<'r> {
    pub(super) serves: InputUse,
    pub(super) reference: &'r Reference,
    pub(super) problem: ValueProblem,
    /// The effect while there is no value, as a clause.
    pub(super) waits: &'static str,
}

/// The reason why the value of a reference cannot be used.
pub(super) enum ValueProblem {
    /// The load did not read the reference.
    Unread,
    /// The reference gives no value.
    Source(SourceError),
    /// The value is no key of signatures.
    Signer(SignerError),
    /// The value is no URL of a server for streams.
    Publisher(PublisherError),
}

impl fmt::Display for ValueProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unread => f.write_str("was not read"),
            Self::Source(error) => fmt::Display::fmt(error, f),
            Self::Signer(error) => fmt::Display::fmt(error, f),
            Self::Publisher(error) => fmt::Display::fmt(error, f),
        }
    }
}

fn unusable_value(reference: &Reference, problem: &str) -> UnusableFiles {
    UnusableFiles {
        paths: path_of(reference).into_iter().collect(),
        problem: format!("`{reference}`: {problem}"),
    }
}
