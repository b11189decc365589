//! The upkeep of credentials: daily questions to the providers, and alarms in time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Reloader;
use super::alarms::Alarms;
use super::verify::{
    CredentialAtVerdict, VerdictEffect, checks, effect_of, guilty, log_verdict, run_checks,
};
use crate::beat::next_beat;
use crate::credential::{Credential, Verdict};
use crate::health;
use crate::limit::KeyedLimits;
use crate::log::without_numbers;
use crate::outbound::policy::Route;
use crate::units::DAY;

impl Reloader {
    /// Asks about due credentials and sender rates, and raises alarms, for as long as the process
    /// lives.
    pub(super) async fn look_after_credentials(self: Arc<Self>) {
        let mut alarms = Alarms::default();
        let mut forgeries = ForgeryQuestions::default();
        loop {
            self.retry_and_wait().await;
            self.verify_due_credentials(&mut forgeries).await;
            self.read_sender_rates().await;
            alarms = self.raise(alarms).await;
            next_beat(LOOK_INTERVAL).await;
        }
    }

    /// Raises alarms on a thread of its own: of thousands of tenants, each has its secrets.
    async fn raise(&self, mut alarms: Alarms) -> Alarms {
        let live = self.live();
        let audit = self.audit.clone();
        let raise = move || {
            alarms.raise(&live, &audit);
            alarms
        };
        tokio::task::spawn_blocking(raise).await.unwrap_or_default()
    }

    async fn verify_due_credentials(&self, forgeries: &mut ForgeryQuestions) {
        let live = self.live();
        let now = Instant::now();
        let due = checks(&live.config, &live.generation)
            .filter(|check| forgeries.ask(&check.credential, now));
        for (credential, verification) in run_checks(due).await {
            let is_new_verdict = credential
                .verification()
                .is_none_or(|before| before.verdict != verification.verdict);
            if is_new_verdict {
                log_verdict(&credential, &live.generation, &verification.verdict);
                self.apply_verdict(&credential, &verification.verdict);
            }
            credential.keep_verification(verification);
        }
    }

    /// Asks the providers why they refuse the secrets in use, and logs the reason with the secret
    /// at fault. What a provider says to the question changes nothing: requests are what counts.
    pub(super) async fn ask_about_refused_credentials(&self) {
        let live = self.live();
        let refused = checks(&live.config, &live.generation)
            .filter(|check| check.credential.acceptance().wants_reason());
        for (credential, verification) in run_checks(refused).await {
            if matches!(verification.verdict, Verdict::Refused(_)) {
                // A request accepted meanwhile is the newer answer.
                if !credential.acceptance().is_refused() {
                    continue;
                }
                log_verdict(&credential, &live.generation, &verification.verdict);
            }
            credential.keep_verification(verification);
        }
    }

    fn apply_verdict(&self, credential: &Credential, verdict: &Verdict) {
        if let Verdict::Refused(refusal) = verdict {
            let fingerprint = guilty(credential, refusal);
            refusal.record(&self.audit, &credential.name, fingerprint);
        }
        let in_use = credential.in_use();
        let acceptance = credential.acceptance();
        let now = CredentialAtVerdict {
            is_refused: acceptance.is_refused(),
            has_alternative: credential.alternative_to(in_use).is_some(),
        };
        match effect_of(verdict, now) {
            VerdictEffect::None => {}
            VerdictEffect::Accept => {
                in_use.note_accepted();
            }
            VerdictEffect::Refuse => {
                acceptance.note_refusal();
            }
        }
    }

    /// Asks for the rate of each sender on routes with `per_sender = "auto"`.
    async fn read_sender_rates(&self) {
        let live = self.live();
        for route in live.generation.policy.routes() {
            let senders = &route.limiter.senders;
            if senders.terms().auto && route.credential.newest().fingerprint().is_some() {
                read_rates_of(route, senders).await;
            }
        }
    }
}

async fn read_rates_of(route: &Route, senders: &KeyedLimits) {
    let query = health::ProviderQuery {
        secrets: route.credential.in_use(),
        upstream: &route.upstream,
        host: &route.host,
    };
    let unread = senders.unread(route.senders.iter().cloned(), VERIFY_INTERVAL);
    for sender in unread.into_iter().take(MAX_RATES_PER_LOOK) {
        if let Some(rate) = health::sender_rate(&query, &sender).await {
            let sender_shown = without_numbers(&sender);
            tracing::info!(route = &*route.name, sender = sender_shown, %rate, "the provider says how fast this number may send");
            senders.set_level(&sender, rate);
        }
    }
}

/// The last questions that forged events were the reason for, by credential.
#[derive(Default)]
struct ForgeryQuestions(HashMap<String, Instant>);

impl ForgeryQuestions {
    /// True if the provider should be asked about a credential now; notes the question.
    fn ask(&mut self, credential: &Credential, now: Instant) -> bool {
        let Some(last) = credential.verification() else {
            return true;
        };
        let asked = self.0.get(&credential.name);
        let reason = due_reason(
            &last.verdict,
            now.saturating_duration_since(last.at),
            credential.last_forgery().age(),
            asked.map(|asked| now.saturating_duration_since(*asked)),
        );
        if reason == Some(DueReason::Forgery) {
            self.0.insert(credential.name.clone(), now);
        }
        reason.is_some()
    }
}

/// The reason for which a question about a credential is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DueReason {
    /// The last answer is old.
    Time,
    /// Events look forged since the last answer.
    Forgery,
}

/// Decides whether a question about a credential is due: after a day, as Meta advises, and sooner
/// after an answer without a verdict:
/// <https://developers.facebook.com/docs/facebook-login/security>.
///
/// Events that look forged since the last answer may be genuine ones, signed with an app secret
/// that is not here yet: the proof of the question tells. A forger must not cause a question to the
/// provider with each event.
fn due_reason(
    verdict: &Verdict,
    since_answer: Duration,
    since_forgery: Option<Duration>,
    since_forgery_question: Option<Duration>,
) -> Option<DueReason> {
    let interval = match verdict {
        Verdict::Unproved(_) | Verdict::Refused(_) => UNPROVED_INTERVAL,
        Verdict::Proved(_) => VERIFY_INTERVAL,
    };
    let is_new_forgery = since_forgery.is_some_and(|forgery| forgery < since_answer);
    let has_just_asked = since_forgery_question.is_some_and(|asked| asked < FORGERY_INTERVAL);
    if since_answer >= interval {
        Some(DueReason::Time)
    } else if is_new_forgery && !has_just_asked {
        Some(DueReason::Forgery)
    } else {
        None
    }
}

/// The time between two searches for due work: short beside the day between two questions.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);
/// The time between two questions about a credential, and about the rate of a sender: a token ends
/// on a date.
const VERIFY_INTERVAL: Duration = Duration::from_secs(DAY);
/// The time between two questions about a credential while the provider gives no verdict, or
/// refuses it: a few requests of the thousands of an hour.
const UNPROVED_INTERVAL: Duration = Duration::from_secs(60);
/// The time between two questions for which forged events are the reason: a sender of forgeries
/// must not use up the account's requests.
const FORGERY_INTERVAL: Duration = Duration::from_secs(600);
/// The number of senders per route and round. A route with more senders is complete after a few
/// rounds, and the account's own API limit is spared.
const MAX_RATES_PER_LOOK: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::{SecretRefusal, TokenFacts};

    #[test]
    fn a_question_is_due_by_time_and_after_forged_events_at_most_every_ten_minutes() {
        use DueReason::{Forgery, Time};
        let proved = Verdict::Proved(TokenFacts::default());
        let refused = Verdict::Refused(SecretRefusal::new("code 190"));
        let unproved = Verdict::Unproved("no answer".to_owned());
        for (verdict, answer, forgery, question, expected) in [
            (&proved, 60, None, None, None),
            (&proved, DAY, None, None, Some(Time)),
            (&refused, 60, None, None, Some(Time)),
            (&unproved, 60, None, None, Some(Time)),
            (&unproved, 59, None, None, None),
            (&proved, 5, Some(2), None, Some(Forgery)),
            (&proved, 5, Some(9), None, None),
            (&proved, 60, Some(2), Some(60), None),
            (&proved, 599, Some(2), Some(599), None),
            (&proved, 600, Some(2), Some(600), Some(Forgery)),
        ] {
            let seconds = Duration::from_secs;
            let reason = due_reason(
                verdict,
                seconds(answer),
                forgery.map(seconds),
                question.map(seconds),
            );
            assert_eq!(
                reason, expected,
                "{verdict} {answer} {forgery:?} {question:?}"
            );
        }
    }
}
