//! The causes of a reload, and the peers that asked for the reload.

use std::fmt;

use super::changes::Change;

/// The cause of a reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReloadCause {
    /// The signal SIGHUP, whose sender the kernel does not name to Keyside.
    Hangup,
    /// A `POST /reload` of a peer: an address, or a user of this machine.
    Request(String),
    /// A changed file.
    File,
    /// A new value in a secret manager.
    Manager,
    /// A good value in the place of a secret that was kept back.
    Retry,
    /// A load that was refused, and is tried again: a file that no other load has read may be right
    /// by now.
    AnotherTry,
    /// A load whose configuration was refused: the secrets of the configuration in use are read
    /// again.
    RefusedConfiguration,
    /// A token that is to be renewed.
    BeforeRenewal,
    /// A token that was renewed.
    Renewal,
}

impl ReloadCause {
    /// Returns the cause as the log shows it.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Hangup => "SIGHUP",
            Self::Request(_) => "POST /reload",
            Self::File => "a file has changed",
            Self::Manager => "a secret manager has a new value",
            Self::Retry => "secrets were tried again",
            Self::AnotherTry => "a refused configuration was tried again",
            Self::RefusedConfiguration => {
                "a configuration was refused, and secrets were read all the same"
            }
            Self::BeforeRenewal => "before a renewal",
            Self::Renewal => "renewal",
        }
    }
}

/// The causes of a reload: requests that wait together share the reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Causes(Vec<ReloadCause>);

impl Causes {
    /// Returns the different causes; `None` without any.
    pub(super) fn new(all: impl Iterator<Item = ReloadCause>) -> Option<Self> {
        let mut causes = Vec::new();
        for cause in all {
            if !causes.contains(&cause) {
                causes.push(cause);
            }
        }
        (!causes.is_empty()).then_some(Self(causes))
    }

    /// Returns true for a reload without a request and without a change in a followed file.
    pub(super) fn are_another_try(&self) -> bool {
        self.0 == [ReloadCause::AnotherTry]
    }

    /// True if late answers decide the result of a reload that has made these changes: somebody
    /// asked for the reload, and nothing has changed so far.
    pub(super) fn wait_for(&self, changes: &[Change]) -> bool {
        !self.peers().is_empty() && changes.is_empty()
    }

    /// Returns the peers that asked for the reload.
    pub(super) fn peers(&self) -> Vec<&str> {
        self.0
            .iter()
            .filter_map(|cause| match cause {
                ReloadCause::Request(peer) => Some(peer.as_str()),
                _ => None,
            })
            .collect()
    }
}

impl fmt::Display for Causes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words: Vec<_> = self.0.iter().map(ReloadCause::as_str).collect();
        words.dedup();
        f.write_str(&words.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_is_named_once_and_each_peer() {
        let peer = |name: &str| ReloadCause::Request(name.to_owned());
        for (causes, words, peers) in [
            (vec![ReloadCause::Hangup], "SIGHUP", vec![]),
            (
                vec![
                    peer("uid 0"),
                    peer("uid 7"),
                    peer("uid 0"),
                    ReloadCause::File,
                ],
                "POST /reload, a file has changed",
                vec!["uid 0", "uid 7"],
            ),
        ] {
            let causes = Causes::new(causes.into_iter()).unwrap();
            assert_eq!(
                (causes.to_string().as_str(), causes.peers()),
                (words, peers)
            );
        }
        assert_eq!(Causes::new(std::iter::empty()), None);
    }
}
