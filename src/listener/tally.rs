//! Incidents at the door of a listener: the first is logged at once, the others once a minute with
//! a count.

use super::metrics::RefusalReason;

/// An event at the door that an operator should know of, and that may come a thousand times a
/// second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Incident {
    /// A connection or a request was refused.
    Refused(RefusalReason),
    /// An idle connection was closed for a new one.
    ClosedIdle,
    /// A connection with part of a head was closed for a new one.
    ClosedAtHead,
    /// The system gave no connection: mostly, no file descriptor was left.
    NotAccepted,
}

/// The incidents that are not in the log yet.
#[derive(Debug, Default)]
pub(super) struct Tally([Option<u64>; Incident::ALL.len()]);

impl Incident {
    const ALL: [Self; 8] = [
        Self::Refused(RefusalReason::Overloaded),
        Self::Refused(RefusalReason::PerAddress),
        Self::Refused(RefusalReason::User),
        Self::Refused(RefusalReason::Memory),
        Self::Refused(RefusalReason::Tls),
        Self::ClosedIdle,
        Self::ClosedAtHead,
        Self::NotAccepted,
    ];

    fn text(self) -> &'static str {
        match self {
            Self::Refused(RefusalReason::Overloaded) => {
                "a connection was refused: every place is taken, and no connection is idle"
            }
            Self::Refused(RefusalReason::PerAddress) => {
                "a caller was refused: its address has too many connections or requests open"
            }
            Self::Refused(RefusalReason::User) => {
                "a caller was refused: its user id is not in allow_uids"
            }
            Self::Refused(RefusalReason::Memory) => {
                "a request was refused: bodies and requests under way have used up the memory that they may have"
            }
            Self::Refused(RefusalReason::Tls) => {
                "a handshake of TLS was refused: look at the certificate of this listener, at the client and at its certificate"
            }
            Self::ClosedIdle => {
                "every place is taken: the connection idle longest was closed for a new one"
            }
            Self::ClosedAtHead => {
                "every place is taken: a connection was closed for a new one, because the head of its request was not whole \
                 after a second"
            }
            Self::NotAccepted => "a connection cannot be accepted",
        }
    }

    /// Logs an incident at once.
    pub(super) fn log(self, listener: &str, detail: &str) {
        let detail = (!detail.is_empty()).then_some(detail);
        tracing::warn!(listener, detail, "{}", self.text());
    }

    /// Logs the incidents of a minute.
    pub(super) fn log_summary(self, listener: &str, count: u64) {
        tracing::warn!(listener, count, "{} (summed up over a minute)", self.text());
    }
}

impl Tally {
    /// Counts an incident; true for the first one, which is logged at once.
    pub(super) fn note(&mut self, incident: Incident) -> bool {
        let Some(unlogged) = self.of(incident) else {
            return false;
        };
        match unlogged {
            None => {
                *unlogged = Some(0);
                true
            }
            Some(count) => {
                *count += 1;
                false
            }
        }
    }

    /// Takes the counts of the incidents that are not in the log. A kind without any begins anew.
    pub(super) fn take_summaries(&mut self) -> Vec<(Incident, u64)> {
        let mut summaries = Vec::new();
        for (incident, unlogged) in Incident::ALL.into_iter().zip(&mut self.0) {
            match unlogged.take() {
                Some(count) if count > 0 => {
                    summaries.push((incident, count));
                    *unlogged = Some(0);
                }
                _ => {}
            }
        }
        summaries
    }

    fn of(&mut self, incident: Incident) -> Option<&mut Option<u64>> {
        let at = Incident::ALL.iter().position(|known| *known == incident)?;
        self.0.get_mut(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_incident_is_logged_and_the_others_are_summed_up_until_a_minute_without_any() {
        let mut tally = Tally::default();
        let overloaded = Incident::Refused(RefusalReason::Overloaded);
        assert!(tally.note(overloaded));
        assert!(tally.note(Incident::ClosedIdle));
        assert!(!tally.note(overloaded) && !tally.note(overloaded));
        assert_eq!(tally.take_summaries(), [(overloaded, 2)]);
        assert!(tally.note(Incident::ClosedIdle));
        assert!(!tally.note(overloaded));
        assert_eq!(tally.take_summaries(), [(overloaded, 1)]);
        assert_eq!(tally.take_summaries(), []);
        assert!(tally.note(overloaded));
    }
}
