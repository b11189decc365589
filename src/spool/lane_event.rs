//! An event that holds its lanes, and what is known about the events behind.

use tokio::time::Instant;

use super::items::Class;
use super::schedule::{AttemptOutcome, Attempts};
use super::tables::{LaneId, Seq};

/// An event under way or put off, which holds its lanes.
#[derive(Debug)]
pub(super) struct LaneEvent {
    pub(super) class: Class,
    pub(super) lanes: Vec<LaneId>,
    pub(super) attempts: Attempts,
    /// The time of the order, as in the [`super::tables::Row`].
    pub(super) ordered_ms: Option<u64>,
    /// The first failed attempt since the start of the process, with the outcome of the last.
    pub(super) failed: Option<(Instant, AttemptOutcome)>,
    pub(super) state: LaneEventState,
}

/// The state of an event that holds its lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LaneEventState {
    UnderWay,
    /// The destination has answered, and the outcome is on its way to the disk.
    Settling,
    PutOff(Instant),
    Ready,
}

/// An event that goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) seq: Seq,
    pub(super) class: Class,
    pub(super) attempts: Attempts,
    /// The time of the order, as in the [`super::tables::Row`].
    pub(super) ordered_ms: Option<u64>,
}

impl LaneEvent {
    pub(super) fn is_out(&self) -> bool {
        matches!(
            self.state,
            LaneEventState::UnderWay | LaneEventState::Settling
        )
    }

    pub(super) fn due(&self, seq: Seq) -> Due {
        Due {
            seq,
            class: self.class,
            attempts: self.attempts,
            ordered_ms: self.ordered_ms,
        }
    }
}

/// The events of a held lane behind the event that holds the lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behind {
    /// The walk has passed none: the walk itself will find them.
    Unpassed,
    /// The walk may have passed some, which are found through the lane alone. Holds the most urgent
    /// class that was seen, if more urgent than the event that holds the lane.
    Passed(Option<Class>),
}

impl Behind {
    /// Notes an event behind that the walk has passed, of this class if known.
    pub(super) fn pass(&mut self, class: Option<Class>) {
        *self = Self::Passed(self.wanted().into_iter().chain(class).min());
    }

    pub(super) fn wanted(self) -> Option<Class> {
        match self {
            Self::Unpassed => None,
            Self::Passed(wanted) => wanted,
        }
    }
}
