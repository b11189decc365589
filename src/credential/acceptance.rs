//! The provider's acceptance of a credential's secret sets, as the answers to requests show.

use parking_lot::Mutex;

/// The provider's acceptance of a credential's secret sets, learned from traffic.
///
/// Every load begins with a fresh `Acceptance`: the newest secrets are tried first again.
#[derive(Debug, Default)]
pub struct Acceptance {
    state: Mutex<AcceptanceState>,
}

/// The reason for which requests are sent with the previous secret set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FallbackReason {
    /// The provider refuses the newest set.
    Refused,
    /// The newest set may do too little. The fallback then outlives loads with equal secrets: a
    /// permission error blames a secret only just after its change, so a later one would go to the
    /// application.
    TooLittle,
}

impl FallbackReason {
    /// Returns the words for the log and the audit file.
    #[must_use]
    pub fn explained(self) -> &'static str {
        match self {
            Self::Refused => "the provider refuses the new secret",
            Self::TooLittle => "the new secret may do too little",
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct AcceptanceState {
    /// The reason for sending with the previous set; `None` while requests are sent with the
    /// newest.
    fallback: Option<FallbackReason>,
    refusal: RefusalState,
}

/// The provider's refusal of every secret set at hand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum RefusalState {
    /// A set is accepted, or none was refused yet.
    #[default]
    No,
    /// Every set is refused.
    Yes,
    /// Every set is refused, and the provider was asked for the reason.
    Asked,
}

/// An event that changes the acceptance.
#[derive(Clone, Copy, Debug)]
enum AcceptanceEvent {
    NewestAccepted,
    PreviousAccepted,
    NewestMayDoTooLittle,
    AllRefused,
    ReasonAsked,
}

impl AcceptanceState {
    /// The state after an event. Whatever a row does not name stays.
    fn after(self, event: AcceptanceEvent) -> Self {
        use FallbackReason as Why;
        let (fallback, refusal) = match (event, self.fallback, self.refusal) {
            (AcceptanceEvent::NewestAccepted, _, _) => (None, RefusalState::No),
            (AcceptanceEvent::PreviousAccepted, before, _) => {
                (before.or(Some(Why::Refused)), RefusalState::No)
            }
            (AcceptanceEvent::NewestMayDoTooLittle, Some(_), refusal) => {
                (Some(Why::TooLittle), refusal)
            }
            (AcceptanceEvent::AllRefused, fallback, RefusalState::No) => {
                (fallback, RefusalState::Yes)
            }
            (AcceptanceEvent::ReasonAsked, fallback, RefusalState::Yes) => {
                (fallback, RefusalState::Asked)
            }
            (_, fallback, refusal) => (fallback, refusal),
        };
        Self { fallback, refusal }
    }
}

impl Acceptance {
    /// Creates a copy, for a credential whose secrets stay in use over a load.
    pub(super) fn copy(&self) -> Self {
        Self {
            state: Mutex::new(self.state()),
        }
    }

    fn state(&self) -> AcceptanceState {
        *self.state.lock()
    }

    /// Notes an event, and returns the state before.
    fn note(&self, event: AcceptanceEvent) -> AcceptanceState {
        let mut state = self.state.lock();
        let after = state.after(event);
        std::mem::replace(&mut state, after)
    }

    /// The reason for sending with the previous secret set; `None` while requests are sent with the
    /// newest.
    #[must_use]
    pub fn fallback(&self) -> Option<FallbackReason> {
        self.state().fallback
    }

    /// True while requests are sent with the previous secret set.
    #[must_use]
    pub fn fell_back(&self) -> bool {
        self.fallback().is_some()
    }

    /// True after the provider has refused every secret set at hand, until the next accepted
    /// request.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.state().refusal != RefusalState::No
    }

    /// Records that the provider accepted the newest secret set. Returns true if requests fell back
    /// before.
    pub(super) fn use_newest(&self) -> bool {
        self.note(AcceptanceEvent::NewestAccepted)
            .fallback
            .is_some()
    }

    /// Records that the provider accepted the previous secret set. Returns true if the newest was
    /// sent before.
    pub(super) fn fall_back(&self) -> bool {
        self.note(AcceptanceEvent::PreviousAccepted)
            .fallback
            .is_none()
    }

    /// Records that the newest secret set may do too little, for requests that have fallen back.
    pub fn note_too_little(&self) {
        self.note(AcceptanceEvent::NewestMayDoTooLittle);
    }

    /// Records that the provider refused every secret set at hand. Returns true for the first time.
    pub fn note_refusal(&self) -> bool {
        self.note(AcceptanceEvent::AllRefused).refusal == RefusalState::No
    }

    /// True once after the provider has refused every secret set at hand: the provider can then be
    /// asked why.
    #[must_use]
    pub fn wants_reason(&self) -> bool {
        self.note(AcceptanceEvent::ReasonAsked).refusal == RefusalState::Yes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of events in order, and the state then.
    #[test]
    fn each_event_changes_the_state_by_the_table() {
        use AcceptanceEvent::{
            AllRefused, NewestAccepted, NewestMayDoTooLittle, PreviousAccepted, ReasonAsked,
        };
        let refused = Some(FallbackReason::Refused);
        let too_little = Some(FallbackReason::TooLittle);
        for (events, fallback, refusal) in [
            (&[][..], None, RefusalState::No),
            (&[PreviousAccepted], refused, RefusalState::No),
            (&[NewestMayDoTooLittle], None, RefusalState::No),
            (
                &[PreviousAccepted, NewestMayDoTooLittle],
                too_little,
                RefusalState::No,
            ),
            (
                &[PreviousAccepted, NewestMayDoTooLittle, PreviousAccepted],
                too_little,
                RefusalState::No,
            ),
            (
                &[PreviousAccepted, NewestMayDoTooLittle, NewestAccepted],
                None,
                RefusalState::No,
            ),
            (&[AllRefused], None, RefusalState::Yes),
            (&[ReasonAsked], None, RefusalState::No),
            (&[AllRefused, ReasonAsked], None, RefusalState::Asked),
            (
                &[AllRefused, ReasonAsked, AllRefused],
                None,
                RefusalState::Asked,
            ),
            (
                &[AllRefused, ReasonAsked, NewestAccepted, AllRefused],
                None,
                RefusalState::Yes,
            ),
            (&[AllRefused, PreviousAccepted], refused, RefusalState::No),
            (&[PreviousAccepted, AllRefused], refused, RefusalState::Yes),
        ] {
            let state = events
                .iter()
                .fold(AcceptanceState::default(), |state, event| {
                    state.after(*event)
                });
            assert_eq!(
                (state.fallback, state.refusal),
                (fallback, refusal),
                "{events:?}"
            );
        }
    }

    #[test]
    fn each_alarm_is_raised_once_until_a_set_is_accepted() {
        let acceptance = Acceptance::default();
        let refusals = [acceptance.note_refusal(), acceptance.note_refusal()];
        let questions = [acceptance.wants_reason(), acceptance.wants_reason()];
        assert_eq!([refusals, questions], [[true, false]; 2]);
        assert_eq!(
            [acceptance.fall_back(), acceptance.fall_back()],
            [true, false]
        );
        assert_eq!(
            [acceptance.use_newest(), acceptance.use_newest()],
            [true, false]
        );
        assert!(acceptance.note_refusal());
    }
}
