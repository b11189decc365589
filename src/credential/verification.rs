//! The answer of a provider that was asked about a credential.

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::audit::Audit;
use crate::log::without_numbers;
use crate::secret::Fingerprint;

/// A verdict of the provider about a credential, with the time of the answer.
#[derive(Clone, Debug)]
pub struct Verification {
    /// The moment of the answer.
    pub at: Instant,
    /// The time of the answer by the provider's clock.
    pub provider_time: SystemTime,
    /// The verdict.
    pub verdict: Verdict,
    /// The bearing of accepted requests on the verdict.
    pub standing: Standing,
}

/// The bearing of accepted requests on the refusal of the secrets that they were sent with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// No request was accepted since the answer.
    #[default]
    Untested,
    /// A request was accepted since the answer.
    Disproved,
    /// The provider repeated the answer after an accepted request: the refusal is of something that
    /// requests do not show.
    Upheld,
}

/// The result of asking a provider about a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The provider accepts the credential, and the credential is good for its routes.
    Proved(TokenFacts),
    /// The credential must not be used.
    Refused(SecretRefusal),
    /// The provider gave no answer, or an answer without a verdict, for the given reason.
    Unproved(String),
}

/// The reason for which a credential must not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretRefusal {
    /// The name of the secret at fault; `None` if the provider does not tell.
    pub secret: Option<String>,
    /// The provider's reason, with what to do.
    pub reason: String,
    /// True for a good secret to which a sender of a route is invisible.
    pub is_of_sender: bool,
}

impl SecretRefusal {
    /// A refusal that blames no secret in particular.
    #[must_use]
    pub fn new(reason: impl Into<String>) -> Self {
        Self {
            secret: None,
            reason: reason.into(),
            is_of_sender: false,
        }
    }

    /// A refusal that blames the secret with the given name.
    #[must_use]
    pub fn of(secret: &str, reason: impl Into<String>) -> Self {
        Self {
            secret: Some(secret.to_owned()),
            ..Self::new(reason)
        }
    }

    /// Records in the audit file that the provider refuses a secret of a credential.
    pub fn record(&self, audit: &Audit, credential: &str, fingerprint: Option<Fingerprint>) {
        let fingerprint = fingerprint.map(|fingerprint| fingerprint.to_string());
        let fields = [
            ("credential", credential.into()),
            ("fingerprint", fingerprint.into()),
            ("reason", without_numbers(&self.reason).into()),
        ];
        audit.record("secret refused", fields);
    }
}

impl fmt::Display for SecretRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

/// Facts that Meta tells about a token:
/// <https://developers.facebook.com/docs/graph-api/reference/debug_token>.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenFacts {
    /// The id of the app that the token belongs to.
    pub app: String,
    /// The kind of the token: `SYSTEM_USER`, `USER`, `PAGE`, ...
    pub kind: String,
    /// The id of the token's user; empty if the answer does not tell.
    pub user: String,
    /// True if the routes have senders, and the token can see every one.
    pub sees_senders: bool,
    /// The time of issue; `None` if the answer does not tell.
    pub issued: Option<SystemTime>,
    /// The end of the token; `None` for never.
    pub expires: Option<SystemTime>,
    /// The end of the token's access to data; `None` for never.
    pub data_access_expires: Option<SystemTime>,
    /// The permissions of the token; `None` if the answer does not tell.
    pub scopes: Option<Vec<String>>,
    /// The permissions that are granted for no account at all.
    pub idle_scopes: Box<[String]>,
    /// The accounts for which the scope for messages is granted; empty for a scope without a limit
    /// to accounts.
    pub accounts: Box<[String]>,
    /// The pages of Messenger and the accounts of Instagram that the token may use.
    pub pages: Box<[String]>,
    /// The scopes for sending elsewhere than on WhatsApp for which the provider names no page.
    pub pageless_scopes: Box<[String]>,
    /// The accounts that any scope of WhatsApp names; empty for scopes that are not bound to
    /// accounts.
    pub scoped_accounts: Box<[String]>,
}

/// The uses for which the routes of a credential need the token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenNeeds {
    /// A route sends messages, or receives media.
    pub messaging: bool,
    /// A route administrates the account.
    pub administration: bool,
    /// The further scopes of the operations of routes. Some requests may go without.
    pub further: BTreeSet<String>,
}

/// The use that routes make of a token, from the least to the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TokenUse {
    /// Sending messages and media.
    Sending,
    /// Sending, and reading the throughput level of the sending numbers.
    ReadingNumbers,
    /// Administration of the account.
    Administration,
}

impl TokenNeeds {
    /// Adds the needs of one more route.
    pub fn add(&mut self, other: Self) {
        self.messaging |= other.messaging;
        self.administration |= other.administration;
        self.further.extend(other.further);
    }

    /// Adds a scope of an operation.
    pub fn add_scope(&mut self, scope: &str) {
        if scope != MESSAGING && scope != MANAGEMENT {
            self.further.insert(scope.to_owned());
        }
    }
}

impl TokenFacts {
    /// Returns the earlier of the two ends.
    #[must_use]
    pub fn ends(&self) -> Option<SystemTime> {
        self.expires
            .into_iter()
            .chain(self.data_access_expires)
            .min()
    }

    /// Returns the scopes that a use does not need. Administration may need every scope.
    #[must_use]
    pub fn too_wide(&self, need: TokenUse) -> Vec<&str> {
        let needs = |scope: &str| match need {
            TokenUse::Sending => SENDING.contains(&scope),
            TokenUse::ReadingNumbers => SENDING.contains(&scope) || scope == MANAGEMENT,
            TokenUse::Administration => true,
        };
        self.scopes
            .iter()
            .flatten()
            .map(String::as_str)
            .filter(|scope| !needs(scope))
            .collect()
    }

    /// Returns the scopes that are needed and that the token does not have, or has for no account.
    #[must_use]
    pub fn too_narrow(&self, needs: &TokenNeeds) -> Vec<&'static str> {
        [
            (MESSAGING, needs.messaging),
            (MANAGEMENT, needs.administration),
        ]
        .into_iter()
        .filter(|(_, is_needed)| *is_needed)
        .map(|(scope, _)| scope)
        .filter(|scope| self.lacks(scope))
        .collect()
    }

    /// Returns the missing scopes among the further needs of the routes.
    #[must_use]
    pub fn lacking<'n>(&self, needs: &'n TokenNeeds) -> Vec<&'n str> {
        let further = needs.further.iter().map(String::as_str);
        further.filter(|scope| self.lacks(scope)).collect()
    }

    /// True for a missing scope, or a scope without an account; false if the scopes are not told.
    #[must_use]
    pub fn lacks(&self, scope: &str) -> bool {
        let has = |list: &[String]| list.iter().any(|own| own == scope);
        let told = self.scopes.as_deref();
        told.is_some_and(|scopes| !has(scopes) || has(&self.idle_scopes))
    }

    /// True if the token may read numbers; a token with the sending scope alone may not.
    #[must_use]
    pub fn may_read_numbers(&self) -> bool {
        self.scopes
            .iter()
            .flatten()
            .any(|scope| scope == MANAGEMENT)
    }

    /// True if both tokens belong to one user and app, and `self` has each scope of `other`: the
    /// rights of the user count for both.
    #[must_use]
    pub fn may_do_all_of(&self, other: &Self) -> bool {
        let own = self.scopes.as_deref().unwrap_or_default();
        let theirs = other.scopes.as_deref().unwrap_or_default();
        !self.user.is_empty()
            && (&self.user, &self.app) == (&other.user, &other.app)
            && theirs
                .iter()
                .all(|scope| own.contains(scope) && !self.idle_scopes.contains(scope))
    }

    /// True for the token of a person, which ends within hours and together with the person's
    /// access.
    #[must_use]
    pub fn is_personal(&self) -> bool {
        self.kind == "USER"
    }
}

impl Verification {
    /// Returns the time left until the token or its access to data ends; zero after the end, `None`
    /// for never.
    ///
    /// Counted from the provider's clock: setting the local clock neither ends nor revives a token.
    #[must_use]
    pub fn ends_in(&self) -> Option<Duration> {
        self.until(self.facts()?.ends()?)
    }

    /// Returns the time left until the token itself ends; zero after the end, `None` for never.
    #[must_use]
    pub fn expires_in(&self) -> Option<Duration> {
        self.until(self.facts()?.expires?)
    }

    /// Returns the time of issue of the token, and the age at the moment of the answer; zero for a
    /// time in the future.
    ///
    /// Counted from the provider's clock, as the end is.
    #[must_use]
    pub fn issue(&self) -> Option<(SystemTime, Duration)> {
        let issued = self.facts()?.issued?;
        let age = self.provider_time.duration_since(issued);
        Some((issued, age.unwrap_or_default()))
    }

    /// Returns the standing of an equal verdict that comes after this one.
    #[must_use]
    pub fn standing_of_same(&self) -> Standing {
        match self.standing {
            Standing::Untested => Standing::Untested,
            Standing::Disproved | Standing::Upheld => Standing::Upheld,
        }
    }

    /// True for a refusal that an accepted request disproves for the first time.
    #[must_use]
    pub fn is_disprovable(&self) -> bool {
        matches!(self.verdict, Verdict::Refused(_)) && self.standing == Standing::Untested
    }

    /// Returns the facts about the token, if the provider accepts it.
    #[must_use]
    pub fn facts(&self) -> Option<&TokenFacts> {
        match &self.verdict {
            Verdict::Proved(facts) => Some(facts),
            Verdict::Refused(_) | Verdict::Unproved(_) => None,
        }
    }

    fn until(&self, end: SystemTime) -> Option<Duration> {
        let left = end.duration_since(self.provider_time).unwrap_or_default();
        Some(left.saturating_sub(self.at.elapsed()))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Proved(_) => f.write_str("proved"),
            Self::Refused(reason) => write!(f, "refused: {reason}"),
            Self::Unproved(reason) => write!(f, "unproved: {reason}"),
        }
    }
}

/// The scope that sending needs, and the scope that every token has. Scopes by call:
/// <https://developers.facebook.com/documentation/business-messaging/whatsapp/permissions>.
const SENDING: [&str; 2] = [MESSAGING, "public_profile"];
/// The scope that sending needs.
pub const MESSAGING: &str = "whatsapp_business_messaging";
/// The scope that reading a number needs, and all of administration.
const MANAGEMENT: &str = "whatsapp_business_management";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_too_narrow_without_a_scope_that_its_routes_need() {
        let needs = |messaging, administration| TokenNeeds {
            messaging,
            administration,
            further: BTreeSet::new(),
        };
        let both = [MESSAGING, MANAGEMENT].as_slice();
        let none = [].as_slice();
        for (scopes, idle, needs, expected) in [
            (Some(both), none, needs(true, true), none),
            (Some(&[MESSAGING]), none, needs(true, false), none),
            (Some(&[MESSAGING]), none, needs(true, true), &[MANAGEMENT]),
            (Some(&[MANAGEMENT]), none, needs(true, false), &[MESSAGING]),
            (Some(&[MANAGEMENT]), none, needs(false, true), none),
            (Some(none), none, needs(true, true), both),
            (Some(both), &[MESSAGING], needs(true, true), &[MESSAGING]),
            (None, none, needs(true, true), none),
        ] {
            let owned =
                |list: &[&str]| -> Vec<String> { list.iter().map(ToString::to_string).collect() };
            let facts = TokenFacts {
                scopes: scopes.map(owned),
                idle_scopes: owned(idle).into(),
                ..TokenFacts::default()
            };
            assert_eq!(facts.too_narrow(&needs), expected, "{scopes:?} {needs:?}");
        }
    }

    #[test]
    fn a_token_may_do_what_another_of_its_user_may_with_all_its_scopes() {
        let token = |user: &str, app: &str, scopes: &[&str]| TokenFacts {
            user: user.to_owned(),
            app: app.to_owned(),
            scopes: Some(scopes.iter().map(ToString::to_string).collect()),
            ..TokenFacts::default()
        };
        let old = token("1", "2", &[MESSAGING]);
        for (new, expected) in [
            (token("1", "2", &[MESSAGING, MANAGEMENT]), true),
            (token("1", "2", &[MANAGEMENT]), false),
            (token("9", "2", &[MESSAGING]), false),
            (token("1", "9", &[MESSAGING]), false),
        ] {
            assert_eq!(new.may_do_all_of(&old), expected, "{new:?}");
        }
        let untold = token("", "2", &[MESSAGING]);
        assert!(!untold.may_do_all_of(&untold));
    }

    #[test]
    fn the_age_of_a_token_counts_by_the_providers_clock() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let seconds = Duration::from_secs;
        for (issued, expected) in [
            (None, None),
            (Some(now - seconds(50)), Some(seconds(50))),
            (Some(now), Some(Duration::ZERO)),
            (Some(now + seconds(50)), Some(Duration::ZERO)),
        ] {
            let verification = Verification {
                at: Instant::now(),
                provider_time: now,
                verdict: Verdict::Proved(TokenFacts {
                    issued,
                    ..TokenFacts::default()
                }),
                standing: Standing::Untested,
            };
            let age = verification.issue().map(|(_, age)| age);
            assert_eq!(age, expected, "{issued:?}");
        }
    }
}
