//! Verdicts about the secrets of a credential: where they come from, their age, and the word of the
//! provider.

use std::time::{Duration, SystemTime};

use super::step::DoctorStep;
use crate::credential::{CredentialFault, TokenFacts, Verdict};
use crate::secret::Fingerprint;

/// The facts of one secret.
pub(super) struct SecretFacts {
    /// The name in the configuration.
    pub(super) name: String,
    /// The reference, as written.
    pub(super) reference: String,
    /// The fingerprint, or the reason why there is no usable secret.
    pub(super) state: Result<Fingerprint, CredentialFault>,
    /// The age, as far as it is known.
    pub(super) age: Duration,
}

/// The rule for the age of secrets.
#[derive(Clone, Copy, Debug)]
pub(super) struct AgePolicy {
    /// The age past which a secret is an alarm.
    pub(super) max_age: Duration,
    /// The share of that age past which a secret deserves a look.
    pub(super) warn_share: f64,
}

impl AgePolicy {
    /// Decides about an age.
    fn judge(self, name: &str, found: String, age: Duration) -> DoctorStep {
        let of = self.max_age.as_secs() / 86_400;
        let mend = format!("rotate it: `max_age` is {}", counted(of));
        match age {
            age if age > self.max_age => DoctorStep::fail(name, found, mend),
            age if age > self.max_age.mul_f64(self.warn_share) => {
                DoctorStep::warn(name, found, mend)
            }
            _ => DoctorStep::ok(name, found),
        }
    }
}

/// Decides about one secret.
pub(super) fn of_secret(secret: &SecretFacts, policy: AgePolicy) -> DoctorStep {
    let SecretFacts {
        name,
        reference,
        state,
        age,
    } = secret;
    let fingerprint = match state {
        Ok(fingerprint) => fingerprint,
        Err(fault) => {
            let mend = if fault.reference.is_asked_for() {
                format!(
                    "see that what `{reference}` asks answers, lets this user read there, and holds the secret"
                )
            } else {
                format!("put the secret where `{reference}` reads it")
            };
            return DoctorStep::fail(name, format!("`{reference}`: {}", fault.problem), mend);
        }
    };
    let days = age.as_secs() / 86_400;
    let found = format!(
        "`{reference}`, fingerprint {fingerprint}, {} old",
        counted(days)
    );
    policy.judge(name, found, *age)
}

/// Decides about the provider's word on a credential. `concerns` are the reasons to replace a good
/// token, and `policy` is the rule for ages.
pub(super) fn of_verdict(
    verdict: &Verdict,
    concerns: &[String],
    policy: AgePolicy,
    now: SystemTime,
) -> Vec<DoctorStep> {
    let facts = match verdict {
        Verdict::Refused(refusal) => {
            let secret = refusal.secret.as_deref().unwrap_or("secret");
            let step = DoctorStep::fail(
                "provider's word",
                format!("the provider refuses the {secret}: {refusal}"),
                format!("put a good {secret} in its place"),
            );
            return vec![step];
        }
        Verdict::Unproved(reason) => {
            let step = DoctorStep::fail(
                "provider's word",
                reason,
                "look at the provider's status page, and run this again: without an answer nothing is known",
            );
            return vec![step];
        }
        Verdict::Proved(facts) => facts,
    };
    let mut steps = vec![DoctorStep::ok("provider's word", identity(facts))];
    if let Some(scopes) = &facts.scopes {
        steps.push(if concerns.is_empty() {
            DoctorStep::ok("scopes", scopes.join(" "))
        } else {
            DoctorStep::warn(
                "scopes",
                format!("the token {}", concerns.join("; the token ")),
                "make a token with the scopes that the routes need, and `keyside rotate` to it",
            )
        });
    }
    if let Some(issued) = facts.issued {
        let age = now.duration_since(issued).unwrap_or_default();
        let found = format!("issued {} ago", counted(age.as_secs() / 86_400));
        steps.push(policy.judge("age", found, age));
    }
    steps.extend(end(facts, now));
    steps
}

fn identity(facts: &TokenFacts) -> String {
    let named = |name: &str, value: &str| {
        if value.is_empty() {
            String::new()
        } else {
            format!(", {name} {value}")
        }
    };
    format!(
        "the provider accepts it{}{}",
        named("of the kind", &facts.kind),
        named("of app", &facts.app)
    )
}

/// Decides about the end of a token; `None` if the provider tells neither an end nor that there is
/// none.
fn end(facts: &TokenFacts, now: SystemTime) -> Option<DoctorStep> {
    if facts.kind.is_empty() && facts.ends().is_none() {
        return None;
    }
    let Some(ends) = facts.ends() else {
        return Some(DoctorStep::ok("expiry", "the token never expires"));
    };
    let days = ends.duration_since(now).unwrap_or_default().as_secs() / 86_400;
    let found = format!("the token ends in {}", counted(days));
    let mend = "exchange it with `keyside rotate`, or let `renew` do so";
    Some(match days {
        0..ALARM_DAYS => DoctorStep::fail("expiry", found, mend),
        ALARM_DAYS..NOTICE_DAYS => DoctorStep::warn("expiry", found, mend),
        _ => DoctorStep::ok("expiry", found),
    })
}

fn counted(days: u64) -> String {
    match days {
        0 => "less than a day".to_owned(),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    }
}

/// The days before the end of a token below which the token is an alarm, as for `keyside status
/// --check`.
const ALARM_DAYS: u64 = 7;
/// The days before the end of a token below which the token deserves a look, as for `keyside
/// status`.
const NOTICE_DAYS: u64 = 14;

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::super::step::StepOutcome;
    use super::*;
    use crate::credential::SecretRefusal;
    use crate::secret::Secret;

    const DAY: u64 = 86_400;
    const POLICY: AgePolicy = AgePolicy {
        max_age: Duration::from_secs(90 * DAY),
        warn_share: 0.8,
    };

    #[test]
    fn a_secret_is_missing_old_or_well() {
        let secret = |state, days| SecretFacts {
            name: "token".to_owned(),
            reference: "file:/t".to_owned(),
            state,
            age: Duration::from_secs(days * DAY),
        };
        let token = Secret::parse(Zeroizing::new(b"a token".to_vec())).unwrap();
        let fingerprint = token.fingerprint();
        let good = |days| secret(Ok(fingerprint), days);
        let missing = CredentialFault {
            credential: "acme".to_owned(),
            secret: "token".to_owned(),
            reference: "file:/t".parse().unwrap(),
            problem: "no such file".to_owned(),
        };
        for (secret, outcome, words) in [
            (
                good(1),
                StepOutcome::Ok,
                format!("fingerprint {fingerprint}, 1 day").as_str(),
            ),
            (good(81), StepOutcome::Warn, "81 days"),
            (good(91), StepOutcome::Fail, "91 days"),
            (
                secret(Err(missing), 0),
                StepOutcome::Fail,
                "`file:/t`: no such file",
            ),
        ] {
            let step = of_secret(&secret, POLICY);
            assert_eq!(step.outcome, outcome, "{step:?}");
            assert!(step.found.contains(words), "{step:?}");
        }
    }

    #[test]
    fn the_age_of_a_token_is_that_which_the_provider_tells() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        for (days, outcome) in [
            (1, StepOutcome::Ok),
            (80, StepOutcome::Warn),
            (400, StepOutcome::Fail),
        ] {
            let verdict = Verdict::Proved(TokenFacts {
                issued: Some(now - Duration::from_secs(days * DAY)),
                ..TokenFacts::default()
            });
            let steps = of_verdict(&verdict, &[], POLICY, now);
            let age = steps.iter().find(|step| step.name == "age").unwrap();
            assert_eq!(age.outcome, outcome, "{age:?}");
        }
    }

    #[test]
    fn the_word_of_the_provider_is_told_with_scopes_and_end() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let token = |days: Option<u64>| {
            Verdict::Proved(TokenFacts {
                app: "77".to_owned(),
                kind: "SYSTEM_USER".to_owned(),
                scopes: Some(vec!["whatsapp_business_messaging".to_owned()]),
                expires: days.map(|days| now + Duration::from_secs(days * DAY + 60)),
                ..TokenFacts::default()
            })
        };
        use StepOutcome::{Fail, Ok, Warn};
        let wide = ["may do more".to_owned()];
        for (verdict, concerns, expected, words) in [
            (token(None), &[][..], &[Ok, Ok, Ok][..], "never expires"),
            (token(Some(14)), &[], &[Ok, Ok, Ok], "ends in 14 days"),
            (token(Some(13)), &[], &[Ok, Ok, Warn], "ends in 13 days"),
            (token(Some(6)), &[], &[Ok, Ok, Fail], "ends in 6 days"),
            (token(None), &wide, &[Ok, Warn, Ok], "the token may do more"),
            (
                Verdict::Proved(TokenFacts::default()),
                &[],
                &[Ok],
                "the provider accepts it",
            ),
            (
                Verdict::Refused(SecretRefusal::of("token", "code 190")),
                &[],
                &[Fail],
                "refuses the token: code 190",
            ),
            (
                Verdict::Unproved("no answer".to_owned()),
                &[],
                &[Fail],
                "no answer",
            ),
        ] {
            let steps = of_verdict(&verdict, concerns, POLICY, now);
            let outcomes: Vec<_> = steps.iter().map(|step| step.outcome).collect();
            assert_eq!(outcomes, expected, "{steps:?}");
            assert!(
                steps.iter().any(|step| step.found.contains(words)),
                "{steps:?}"
            );
        }
    }
}
