//! What the provider said of a credential.

use std::fmt;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// What came of asking, and when.
#[derive(Clone, Debug)]
pub struct Asked {
    /// When.
    pub at: Instant,
    /// What time it was there.
    pub time: SystemTime,
    /// What came of it.
    pub verdict: Verdict,
}

/// What came of asking about a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The provider knows it and it is good for what it is needed for.
    Proved(Facts),
    /// It would not do.
    Refused(String),
    /// The provider could not be asked, or its answer says nothing.
    Unproved(String),
}

/// What Meta tells of a token:
/// <https://developers.facebook.com/docs/graph-api/reference/debug_token>.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The app that it is of.
    pub app: String,
    /// `SYSTEM_USER`, `USER`, `PAGE`, ...
    pub kind: String,
    /// When it ends; `None` for never.
    pub expires: Option<SystemTime>,
    /// When its access to data ends; `None` for never.
    pub data_access_expires: Option<SystemTime>,
    /// What it may do.
    pub scopes: Vec<String>,
}

/// What a token is used for, from the least to the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Use {
    /// Messages and media.
    Sending,
    /// How fast a number may send is read as well.
    ReadingNumbers,
    /// All else.
    Administration,
}

impl Facts {
    /// The end that comes first.
    #[must_use]
    pub fn ends(&self) -> Option<SystemTime> {
        self.expires.into_iter().chain(self.data_access_expires).min()
    }

    /// The scopes that its use does not need; where that is administration, none is too much.
    #[must_use]
    pub fn too_wide(&self, need: Use) -> Vec<&str> {
        let needs = |scope: &str| match need {
            Use::Sending => SENDING.contains(&scope),
            Use::ReadingNumbers => SENDING.contains(&scope) || scope == MANAGEMENT,
            Use::Administration => true,
        };
        self.scopes.iter().map(String::as_str).filter(|scope| !needs(scope)).collect()
    }

    /// Whether it may ask about a number that it sends from; what can only send may not.
    #[must_use]
    pub fn may_read_numbers(&self) -> bool {
        self.scopes.iter().any(|scope| scope == MANAGEMENT)
    }

    /// Whether it is a person's own, which ends within hours and with that person's access.
    #[must_use]
    pub fn is_personal(&self) -> bool {
        self.kind == "USER"
    }
}

impl Asked {
    /// How long the credential is still good, where it ends; zero where it has. By the provider's time: a clock that is
    /// set here neither ends nor revives it.
    #[must_use]
    pub fn ends_in(&self) -> Option<Duration> {
        self.until(self.facts()?.ends()?)
    }

    /// How long the token itself is still good, where it expires.
    #[must_use]
    pub fn expires_in(&self) -> Option<Duration> {
        self.until(self.facts()?.expires?)
    }

    /// What is known of it, where the provider takes it.
    #[must_use]
    pub fn facts(&self) -> Option<&Facts> {
        if let Verdict::Proved(facts) = &self.verdict { Some(facts) } else { None }
    }

    fn until(&self, end: SystemTime) -> Option<Duration> {
        let left = end.duration_since(self.time).unwrap_or_default();
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

/// What sending takes, and what every token has. Which calls take which scope:
/// <https://developers.facebook.com/documentation/business-messaging/whatsapp/permissions>.
const SENDING: [&str; 2] = ["whatsapp_business_messaging", "public_profile"];
/// What reading a number takes, as all of administration.
const MANAGEMENT: &str = "whatsapp_business_management";
