//! Apps that get webhooks, and the reasons for not subscribing an app.

use std::fmt;

use http::StatusCode;

use super::callback::CallbackError;

/// An app that gets the webhooks of the account.
#[derive(Clone)]
pub struct App {
    /// The name of the app in this sandbox.
    pub name: String,
    /// The callback URL.
    pub callback: String,
    /// The secret that signs events.
    pub secret: String,
    /// The verify token of the handshake.
    pub verify_token: String,
}

/// The choice between the old and the new secret of an app after a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signing {
    /// The old secret still signs, as Meta's dashboard offers for some hours.
    Old,
    /// The new secret signs.
    New,
    /// The old and the new secret sign in turn, an event each.
    Both,
}

/// The reason for not subscribing an app.
#[derive(Debug)]
pub enum SubscribeError {
    /// The callback is no URL.
    Url,
    /// The callback URL gave no answer to the handshake.
    NoAnswer(CallbackError),
    /// The callback URL refused the handshake.
    Status(StatusCode),
    /// The callback URL answered with different bytes than the challenge.
    Challenge,
    /// There are as many apps as a sandbox can have.
    TooManyApps,
}

impl fmt::Display for SubscribeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url => {
                f.write_str("the callback is not a URL that begins with http:// or https://")
            }
            Self::NoAnswer(error) => {
                write!(f, "the callback URL could not be validated: {error}")
            }
            Self::Status(status) => write!(
                f,
                "the callback URL or verify token could not be validated: the answer was {status}"
            ),
            Self::Challenge => f.write_str(
                "the callback URL could not be validated: the answer was not the challenge",
            ),
            Self::TooManyApps => write!(f, "there are already {MAX_APPS} apps"),
        }
    }
}

impl std::error::Error for SubscribeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NoAnswer(error) => Some(error),
            Self::Url | Self::Status(_) | Self::Challenge | Self::TooManyApps => None,
        }
    }
}

/// The apps of one account: more than tests need.
pub(super) const MAX_APPS: usize = 16;
