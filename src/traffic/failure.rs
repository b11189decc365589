//! A failed request, as the provider or the network has it.

/// The failure of a request that was meant for the provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The class.
    pub class: FailureClass,
    /// The status of the answer.
    pub status: u16,
    /// The provider's own code.
    pub code: Option<String>,
    /// The provider's own subcode.
    pub subcode: Option<String>,
    /// The provider's id of the request, which its support asks for: `fbtrace_id` of Meta.
    pub trace: Option<String>,
    /// The reason: the provider's own words, or the fault of the network. Without secrets and phone
    /// numbers.
    pub reason: String,
    /// The remedy; empty where none is known.
    pub advice: String,
}

impl Failure {
    /// Returns the remedy for a line of the log, which has no empty field.
    #[must_use]
    pub fn remedy(&self) -> Option<&str> {
        Some(self.advice.as_str()).filter(|advice| !advice.is_empty())
    }
}

/// The class of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureClass {
    /// No connection to the provider.
    Unreachable,
    /// No TLS with the provider.
    Tls,
    /// An answer that is none, or none at all.
    Protocol,
    /// No answer in time.
    Timeout,
    /// The provider refuses the credential.
    Refused,
    /// The credential has no permission.
    Forbidden,
    /// Requests come too fast.
    Throttled,
    /// The provider cannot answer now.
    Temporary,
    /// The provider's policy: the account is blocked, locked or unpaid, or a number sends spam.
    Policy,
    /// Any other error of the provider, mostly about the request itself.
    Other,
}

impl FailureClass {
    /// Returns the word for metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "upstream_unreachable",
            Self::Tls => "upstream_tls",
            Self::Protocol => "upstream_protocol",
            Self::Timeout => "upstream_timeout",
            Self::Refused => "refused",
            Self::Forbidden => "forbidden",
            Self::Throttled => "throttled",
            Self::Temporary => "temporary",
            Self::Policy => "policy",
            Self::Other => "other",
        }
    }

    /// Returns the word for a destination of events, which is no upstream.
    #[must_use]
    pub fn of_destination(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Tls => "tls",
            Self::Protocol => "protocol",
            Self::Timeout => "timeout",
            other => other.as_str(),
        }
    }

    /// True where the provider gave no answer to the request.
    #[must_use]
    pub fn is_of_network(self) -> bool {
        matches!(
            self,
            Self::Unreachable | Self::Tls | Self::Protocol | Self::Timeout
        )
    }

    /// The number of failures in a row, without a success in between, that mean trouble for the
    /// route and not for single requests.
    pub(super) fn tolerated(self) -> u64 {
        match self {
            Self::Unreachable | Self::Tls | Self::Refused | Self::Policy => 1,
            Self::Protocol | Self::Timeout | Self::Forbidden | Self::Temporary => 3,
            Self::Throttled | Self::Other => 5,
        }
    }
}

impl Failure {
    /// True for failures that one log line tells of.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.class == other.class && self.code == other.code
    }
}
