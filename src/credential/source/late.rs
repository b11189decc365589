//! Reads behind a load: programs and secret managers with a late answer, or without one.

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::found::Findings;
use crate::config::Reference;

/// The reads of a load still under way, with the answers in time.
#[derive(Debug, Default)]
pub struct LateReads {
    reads: JoinSet<Findings>,
    answers: Option<LateAnswers>,
}

/// The answers to the reads of a load so far, each as of one moment.
#[derive(Clone)]
pub struct LateAnswers {
    /// The moment of the questions.
    pub asked: Instant,
    found: Arc<Findings>,
}

impl LateReads {
    pub(super) fn new(reads: JoinSet<Findings>, asked: Instant, in_time: &Findings) -> Self {
        let mut answers = LateAnswers {
            asked,
            found: Arc::default(),
        };
        answers.extend(in_time);
        Self {
            reads,
            answers: Some(answers),
        }
    }

    /// True if the load waited for every read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.reads.is_empty()
    }

    /// Waits for the next answer, and returns all answers so far; `None` once every read has ended.
    pub async fn next(&mut self) -> Option<LateAnswers> {
        let found = self.reads.join_next().await?.unwrap_or_default();
        let answers = self.answers.as_mut()?;
        answers.extend(&found);
        Some(answers.clone())
    }
}

impl LateAnswers {
    /// True if the reference was read by now.
    #[must_use]
    pub fn has(&self, reference: &Reference) -> bool {
        self.found.contains_key(reference)
    }

    /// Returns the answers in the form for a load.
    #[must_use]
    pub fn findings(&self) -> Findings {
        (*self.found).clone()
    }

    fn extend(&mut self, findings: &Findings) {
        Arc::make_mut(&mut self.found).extend(findings.clone());
    }
}

impl std::fmt::Debug for LateAnswers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LateAnswers")
            .field("references", &self.found.keys())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::source::SourceError;

    #[tokio::test]
    async fn a_late_error_keeps_its_kind() {
        let reference: Reference = "exec:/bin/true".parse().unwrap();
        let absence = SourceError::NoValue("no field `token`".to_owned());
        let read = Findings::from([(reference.clone(), Err(absence))]);
        let mut reads = JoinSet::new();
        reads.spawn(async move { read });
        let mut late = LateReads::new(reads, Instant::now(), &Findings::new());
        let findings = late.next().await.unwrap().findings();
        let found = findings.get(&reference).unwrap().as_ref();
        assert!(found.is_err_and(SourceError::is_absence));
    }
}
