//! Late answers of programs and secret managers: a load does not wait for them, and they are put in use when they come.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::cause::ReloadCause;
use super::requests::Work;
use super::retry::references_of;
use super::{Live, ReloadResult, Reloaded, Reloader};
use crate::config::Reference;
use crate::credential::source::{LateAnswers, LateReads, read_all};

impl Reloader {
    /// Puts late answers in use as they come.
    pub(super) fn follow(self: &Arc<Self>, late: LateReads) {
        if !late.is_empty() {
            let result = Ok(Reloaded::default());
            tokio::spawn(Arc::clone(self).follow_up(late, result, Vec::new()));
        }
    }

    /// Puts late answers in use as they come, and tells `waiting` the result of the load together with what the answers
    /// have changed.
    pub(super) async fn follow_up(
        self: Arc<Self>,
        mut late: LateReads,
        mut result: ReloadResult,
        waiting: Vec<oneshot::Sender<ReloadResult>>,
    ) {
        while let Some(answers) = late.next().await {
            let taken = self.work_and_wait(Work::TakeAnswers(answers)).await;
            result = together(result, taken);
        }
        for reply in waiting {
            reply.send(result.clone()).ok();
        }
    }

    /// Assembles the credentials whose answers are all there, and publishes them.
    pub(super) async fn take_answers(&self, answers: &LateAnswers) -> ReloadResult {
        let before = self.live();
        let names = answered(&before, answers);
        let mut changes = Vec::new();
        if !names.is_empty() {
            let references = references_of(&before, &names).into_iter();
            let files: BTreeSet<_> = references
                .filter(|reference| !reference.is_asked_for())
                .collect();
            let mut secrets = read_all(files, &before.managers).await;
            secrets.findings.extend(answers.findings());
            let cause = ReloadCause::Manager;
            changes = self.reassemble(before, names, secrets, cause).await;
        }
        Ok(Reloaded {
            changes,
            kept_back: self.live().kept_back(),
        })
    }
}

/// Returns the credentials whose programs and secret managers have all answered, none of them anew since.
fn answered(live: &Live, answers: &LateAnswers) -> BTreeSet<String> {
    let is_here = |reference: &Reference| {
        answers.has(reference) && !live.managers.has_newer(reference, answers.asked)
    };
    let is_answered = |references: &Vec<Reference>| {
        references
            .iter()
            .all(|reference| !reference.is_asked_for() || is_here(reference))
    };
    let is_asked_for = |references: &Vec<Reference>| references.iter().any(Reference::is_asked_for);
    let credentials = live.config.credentials.iter();
    credentials
        .filter(|(_, config)| {
            config.secrets.values().all(is_answered) && config.secrets.values().any(is_asked_for)
        })
        .map(|(name, _)| name.clone())
        .collect()
}

/// Returns the result of a load and of the answers that came later.
fn together(load: ReloadResult, later: ReloadResult) -> ReloadResult {
    match (load, later) {
        (Ok(mut load), Ok(later)) => {
            load.changes.extend(later.changes);
            load.kept_back = later.kept_back;
            Ok(load)
        }
        (Err(_), Ok(later)) if !later.changes.is_empty() => Ok(later),
        (Err(error), _) | (Ok(_), Err(error)) => Err(error),
    }
}
