//! A fault of the spool, for status, readiness, metrics and log.

use serde_json::{Value, json};

/// A fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::admin) struct SpoolAlarm {
    /// The subject, as small as can be.
    pub(in crate::admin) subject: SpoolSubject,
    /// The kind: a subject has at most one alarm of each kind.
    pub(in crate::admin) kind: AlarmKind,
    /// The text, with the remedy.
    pub(in crate::admin) text: String,
}

/// The subject of an alarm.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::admin) enum SpoolSubject {
    /// The spool as a whole.
    Spool,
    /// A destination.
    Destination {
        /// The name of the webhook.
        webhook: String,
        /// The name of the destination.
        to: String,
    },
}

/// The kind of an alarm, the gravest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::admin) enum AlarmKind {
    /// The store cannot be used: events are refused.
    Broken,
    /// The key of the seal cannot be had.
    KeyMissing,
    /// No further event is accepted.
    Full,
    /// The disk has no room for a further event.
    DiskFull,
    /// A damaged file was set aside.
    SetAside,
    /// The folder ends with the process, the pod or the machine.
    NotDurable,
    /// The spool is nearly full.
    NearlyFull,
    /// Delivered events go before the end of `keep`.
    KeepShortened,
    /// The disk has less room than the spool may take.
    DiskNearlyFull,
    /// Waiting events cannot be read.
    Unreadable,
    /// The destination gets probes only.
    Trouble,
    /// Events wait for a destination outside the configuration.
    NotConfigured,
    /// Events wait for long.
    Backlog,
    /// There are dead letters.
    DeadLetters,
}

impl AlarmKind {
    /// True if no event is accepted: the provider has to send again.
    pub(in crate::admin) fn refuses_events(self) -> bool {
        matches!(
            self,
            Self::Broken | Self::KeyMissing | Self::Full | Self::DiskFull
        )
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::KeyMissing => "key_missing",
            Self::Full => "full",
            Self::DiskFull => "disk_full",
            Self::SetAside => "set_aside",
            Self::NotDurable => "not_durable",
            Self::NearlyFull => "nearly_full",
            Self::KeepShortened => "keep_shortened",
            Self::DiskNearlyFull => "disk_nearly_full",
            Self::Unreadable => "unreadable",
            Self::Trouble => "trouble",
            Self::NotConfigured => "not_configured",
            Self::Backlog => "backlog",
            Self::DeadLetters => "dead_letters",
        }
    }
}

impl SpoolAlarm {
    /// Returns the alarm as JSON.
    pub(in crate::admin) fn to_json(&self) -> Value {
        let (webhook, to) = match &self.subject {
            SpoolSubject::Spool => (None, None),
            SpoolSubject::Destination { webhook, to } => (Some(webhook), Some(to)),
        };
        json!({ "kind": self.kind.as_str(), "webhook": webhook, "to": to, "text": self.to_string() })
    }
}

impl std::fmt::Display for SpoolAlarm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.subject {
            SpoolSubject::Spool => write!(f, "spool: {}", self.text),
            SpoolSubject::Destination { webhook, to } => {
                write!(f, "webhook {webhook}, destination {to}: {}", self.text)
            }
        }
    }
}
