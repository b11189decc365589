//! Queues of the events that may go out next, one for each class.

use std::collections::{HashSet, VecDeque};

use super::items::Class;
use super::tables::{LaneId, Seq};

/// Events that hold their lanes, and lanes that became free. A lane stands in the queues once.
#[derive(Debug, Default)]
pub(super) struct ReadyQueues {
    queues: [VecDeque<Ready>; 3],
    /// The lanes in the queues.
    lanes: HashSet<LaneId>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Ready {
    /// An event that holds its lanes already.
    Event(Seq),
    /// A lane whose oldest event is looked up, with the most urgent class seen behind the event.
    Lane(LaneId, Option<Class>),
}

impl ReadyQueues {
    pub(super) fn is_empty(&self) -> bool {
        self.queues.iter().all(VecDeque::is_empty)
    }

    /// True if the class has something to go out.
    pub(super) fn has(&self, class: Class) -> bool {
        let queue = self.queues.get(class as usize);
        queue.is_some_and(|queue| !queue.is_empty())
    }

    pub(super) fn push_event(&mut self, class: Class, seq: Seq) {
        self.push(class, Ready::Event(seq));
    }

    /// Adds a lane whose oldest waiting event is to be looked up, in the turn of `class` or of the
    /// more urgent class that is `wanted`.
    pub(super) fn push_lane(&mut self, lane: LaneId, class: Class, wanted: Option<Class>) {
        if self.lanes.insert(lane) {
            let turn = wanted.map_or(class, |wanted| wanted.min(class));
            self.push(turn, Ready::Lane(lane, wanted));
        }
    }

    pub(super) fn pop(&mut self, class: Class) -> Option<Ready> {
        let next = self.queues.get_mut(class as usize)?.pop_front()?;
        if let Ready::Lane(lane, _) = next {
            self.lanes.remove(&lane);
        }
        Some(next)
    }

    fn push(&mut self, class: Class, ready: Ready) {
        if let Some(queue) = self.queues.get_mut(class as usize) {
            queue.push_back(ready);
        }
    }
}
