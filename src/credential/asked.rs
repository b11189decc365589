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

impl Facts {
    /// The end that comes first.
    #[must_use]
    pub fn ends(&self) -> Option<SystemTime> {
        self.expires.into_iter().chain(self.data_access_expires).min()
    }

    /// The scopes that sending does not need; where administration is allowed, none is too much.
    #[must_use]
    pub fn too_wide(&self, administers: bool) -> Vec<&str> {
        let scopes = self.scopes.iter().map(String::as_str);
        scopes.filter(|scope| !administers && !NEEDED.contains(scope)).collect()
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

    fn facts(&self) -> Option<&Facts> {
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

/// What sending takes, and what every token has.
const NEEDED: [&str; 2] = ["whatsapp_business_messaging", "public_profile"];
