//! Late answers of programs and secret managers: a load does not wait for them, and they are put in
//! use when they come.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::time::Instant;

use super::cause::{Causes, ReloadCause};
use super::changes::Comparison;
use super::requests::{ReloadRequest, Work};
use super::retry::{ReadAgain, references_of};
use super::{Live, ReloadResult, Reloaded, Reloader};
use crate::config::{Reference, WebhookConfig};
use crate::credential::source::{LateAnswers, LateReads, read_all};

impl Reloader {
    /// Puts late answers in use as they come.
    pub(super) fn follow(self: &Arc<Self>, late: LateReads) {
        if !late.is_empty() {
            let result = Ok(Reloaded::default());
            tokio::spawn(Arc::clone(self).follow_up(late, result, Vec::new()));
        }
    }

    /// Puts late answers in use as they come, and tells `waiting` the result of the load together
    /// with what the answers have changed.
    pub(super) async fn follow_up(
        self: Arc<Self>,
        mut late: LateReads,
        mut result: ReloadResult,
        waiting: Vec<ReloadRequest>,
    ) {
        let began = Instant::now();
        let refusals_before = self.last().refusals;
        let causes = Causes::new(waiting.iter().filter_map(ReloadRequest::cause));
        let undecided = causes.filter(|causes| {
            let loaded = result.as_ref();
            loaded.is_ok_and(|loaded| causes.wait_for(&loaded.changes))
        });
        while let Some(answers) = late.next().await {
            let taken = self.work_and_wait(Work::TakeAnswers(answers)).await;
            result = together(result, taken);
        }
        if let Some(causes) = undecided
            && let Ok(reloaded) = &result
        {
            let live = self.live();
            match live.unread_for(&causes, &reloaded.changes) {
                Some(error) => {
                    self.record_refusal(&error, &causes);
                    result = Err(error);
                }
                // The refusal of a newer reload is the newer news.
                None if self.last().refusals != refusals_before
                    && !self.last().refused.is_empty() => {}
                None => {
                    // The changes are recorded with the answers.
                    let comparison = Comparison::aside(Arc::clone(&live), Arc::clone(&live)).await;
                    self.record_success(&live, &comparison, &causes, began);
                }
            }
        }
        for reply in waiting.into_iter().filter_map(|request| request.reply) {
            reply.send(result.clone()).ok();
        }
    }

    /// Takes the credentials and webhooks whose answers are all there, and publishes them.
    pub(super) async fn take_answers(&self, answers: &LateAnswers) -> ReloadResult {
        let before = self.live();
        let names = answered(&before, answers);
        let webhooks = answered_webhooks(&before, answers);
        let mut changes = Vec::new();
        if !names.is_empty() || !webhooks.is_empty() {
            let of_webhooks = before
                .config
                .webhooks
                .iter()
                .filter(|webhook| webhooks.contains(&webhook.name))
                .flat_map(WebhookConfig::references)
                .cloned();
            let references = references_of(&before, &names).into_iter();
            let files: BTreeSet<_> = references
                .chain(of_webhooks)
                .filter(|reference| !reference.is_asked_for())
                .collect();
            let mut secrets = read_all(files, &before.managers).await;
            secrets.findings.extend(answers.findings());
            let read = ReadAgain {
                names,
                webhooks,
                secrets,
                others: None,
            };
            changes = self.reassemble(before, read, ReloadCause::Manager).await;
        }
        Ok(Reloaded {
            changes,
            kept_back: self.live().kept_back(),
        })
    }
}

/// Returns the credentials whose programs and secret managers have all answered, none of them anew
/// since.
fn answered(live: &Live, answers: &LateAnswers) -> BTreeSet<String> {
    let credentials = live.config.credentials.iter();
    credentials
        .filter(|(_, config)| are_answered(live, answers, config.secrets.values().flatten()))
        .map(|(name, _)| name.clone())
        .collect()
}

/// Returns the webhooks whose programs and secret managers have all answered, none of them anew
/// since.
fn answered_webhooks(live: &Live, answers: &LateAnswers) -> BTreeSet<String> {
    let webhooks = live.config.webhooks.iter();
    webhooks
        .filter(|webhook| are_answered(live, answers, webhook.references()))
        .map(|webhook| webhook.name.clone())
        .collect()
}

/// True if there is at least one managed reference and every answer is current.
fn are_answered<'r>(
    live: &Live,
    answers: &LateAnswers,
    references: impl Iterator<Item = &'r Reference>,
) -> bool {
    let mut asked_for = references
        .filter(|reference| reference.is_asked_for())
        .peekable();
    let is_here = |reference: &Reference| {
        answers.has(reference) && !live.managers.has_newer(reference, answers.asked)
    };
    asked_for.peek().is_some() && asked_for.all(is_here)
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
