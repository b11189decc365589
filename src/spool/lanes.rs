//! The lanes of a destination: the choice of the next event.
//!
//! Events wait in the store. Memory holds the lanes with an event under way or put off, the lanes
//! that became free, and for each class the number up to which the queue was walked through. A
//! waiting event behind the number is found again through the event's lane: whenever a lane becomes
//! free, the lane's oldest waiting event is looked up in the store.
//!
//! An event of several lanes (a batch) goes out as the oldest event of each lane.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use super::destination::Wait;
use super::items::Class;
use super::lane_event::{Behind, Due, LaneEvent, LaneEventState};
use super::ready::{Ready, ReadyQueues};
use super::schedule::{AttemptOutcome, Attempts, due_in};
use super::tables::{LaneId, Row, Seq, Waiting};

/// The lanes of one destination.
#[derive(Debug)]
pub(super) struct Lanes {
    at_once: usize,
    /// The events under way or put off.
    events: HashMap<Seq, LaneEvent>,
    /// The lanes of these events, with what is known about events behind.
    held: HashMap<LaneId, Behind>,
    under_way: usize,
    settling: usize,
    due: BTreeSet<(Instant, Seq)>,
    ready: ReadyQueues,
    /// The number from which the queue of each class was not walked through yet.
    walked: [Seq; 3],
    /// True if the walk has the next turn, and the ready lanes the turn after.
    walk_next: bool,
    /// True if the last look ended because as many events are under way, settling or held as may
    /// be.
    is_full: bool,
}

/// Events that an operator is told of: attempts failed again and again, or the next attempt is far
/// off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setback {
    /// The number of the events.
    pub events: u64,
    /// The outcome of a last attempt.
    pub outcome: AttemptOutcome,
}

/// The result of a look for the next event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LaneFinding {
    Event(Due),
    /// No event goes out before this time, or before something changes.
    Nothing(Option<Instant>),
    /// Many events stand in lanes that are held: the look goes on with the next call.
    Unfinished,
}

/// The times by which lanes go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) at: Instant,
    /// Milliseconds since 1970.
    pub(super) wall_ms: u64,
}

impl Lanes {
    pub(super) fn new(at_once: usize) -> Self {
        Self {
            at_once: at_once.max(1),
            events: HashMap::new(),
            held: HashMap::new(),
            under_way: 0,
            settling: 0,
            due: BTreeSet::new(),
            ready: ReadyQueues::default(),
            walked: [0; 3],
            walk_next: false,
            is_full: false,
        }
    }

    /// True if a look may find an event that the last look did not: a lane is free, or there is
    /// room again.
    pub(super) fn has_news(&self) -> bool {
        self.is_full || !self.ready.is_empty()
    }

    /// Sets the number of events that are under way at a time.
    pub(super) fn set_at_once(&mut self, at_once: usize) {
        self.at_once = at_once.max(1);
    }

    /// The number of events under way.
    pub(super) fn under_way(&self) -> usize {
        self.under_way
    }

    /// True if the event is under way, or its outcome is.
    pub(super) fn is_under_way(&self, seq: Seq) -> bool {
        self.events.get(&seq).is_some_and(LaneEvent::is_out)
    }

    /// Takes the next event. The event is under way until it is [put off](Self::put_off),
    /// [given back](Self::give_back) or [released](Self::release).
    fn next(&mut self, waiting: &Waiting, now: Now) -> Result<LaneFinding, redb::StorageError> {
        self.wake_due(now.at);
        self.is_full = self.under_way >= self.at_once || self.settling >= MAX_SETTLING;
        if self.is_full {
            return Ok(LaneFinding::Nothing(None));
        }
        let mut steps = 0;
        for class in Class::ALL {
            // Lanes with a long backlog and lanes that are new have their turns.
            let mut has_ready = true;
            let mut has_more = true;
            while has_ready || has_more {
                steps += 1;
                if steps > MAX_STEPS {
                    return Ok(LaneFinding::Unfinished);
                }
                let walks = has_more && (self.walk_next || !has_ready);
                self.walk_next = !walks;
                let found = if walks {
                    self.walk(waiting, class, now, &mut has_more)?
                } else {
                    self.take_ready(waiting, class, now, &mut has_ready)?
                };
                if let Some(due) = found {
                    return Ok(LaneFinding::Event(due));
                }
                // A step may have woken an older event of the same lane.
                has_ready |= self.ready.has(class);
            }
        }
        Ok(LaneFinding::Nothing(self.due.first().map(|(at, _)| *at)))
    }

    /// Takes up to `most` events into `due`; returns the time of the next look.
    pub(super) fn take(
        &mut self,
        waiting: &Waiting,
        now: Now,
        most: usize,
        due: &mut Vec<Due>,
    ) -> Result<Wait, redb::StorageError> {
        while due.len() < most {
            match self.next(waiting, now)? {
                LaneFinding::Event(event) => due.push(event),
                LaneFinding::Nothing(until) => return Ok(Wait::Until(until)),
                LaneFinding::Unfinished => return Ok(Wait::Again),
            }
        }
        Ok(Wait::Again)
    }

    /// Notes that the destination has answered: a further event may go out, but none of these
    /// lanes.
    pub(super) fn settle(&mut self, seq: Seq) {
        if let Some(event) = self.events.get_mut(&seq)
            && event.state == LaneEventState::UnderWay
        {
            event.state = LaneEventState::Settling;
            self.under_way = self.under_way.saturating_sub(1);
            self.settling += 1;
        }
    }

    /// Notes a failed attempt, after which the event waits for the next.
    pub(super) fn fail(&mut self, seq: Seq, outcome: AttemptOutcome, now: Instant) {
        if let Some(event) = self.events.get_mut(&seq) {
            let since = event.failed.map_or(now, |(since, _)| since);
            event.failed = Some((since, outcome));
        }
    }

    /// Returns the events whose attempts have failed for long or often; `None` without such an
    /// event.
    pub(super) fn setback(&self, now: Instant) -> Option<Setback> {
        let mut setback: Option<Setback> = None;
        for event in self.events.values() {
            let Some((since, outcome)) = event.failed else {
                continue;
            };
            let age = now.saturating_duration_since(since);
            if event.attempts.counted >= SETBACK_ATTEMPTS || age >= SETBACK_AGE {
                let events = setback.map_or(0, |setback| setback.events) + 1;
                setback = Some(Setback { events, outcome });
            }
        }
        setback
    }

    /// Puts an event off; its lanes wait.
    pub(super) fn put_off(&mut self, seq: Seq, attempts: Attempts, until: Instant) {
        if let Some(event) = self.events.get_mut(&seq)
            && event.is_out()
        {
            event.attempts = attempts;
            let before = std::mem::replace(&mut event.state, LaneEventState::PutOff(until));
            self.due.insert((until, seq));
            self.leave(before, seq);
        }
    }

    /// Gives an event back that no destination has seen: the event goes out again, after others.
    pub(super) fn give_back(&mut self, seq: Seq, attempts: Attempts) {
        if let Some(event) = self.events.get_mut(&seq)
            && event.is_out()
        {
            event.attempts = attempts;
            let before = std::mem::replace(&mut event.state, LaneEventState::Ready);
            let class = event.class;
            self.leave(before, seq);
            self.ready.push_event(class, seq);
        }
    }

    /// Takes an event out that does not wait any more; its lanes go on.
    pub(super) fn release(&mut self, seq: Seq, class: Class, lanes: &[LaneId]) {
        match self.events.remove(&seq) {
            Some(event) => {
                self.leave(event.state, seq);
                for lane in event.lanes {
                    if let Some(Behind::Passed(wanted)) = self.held.remove(&lane) {
                        self.ready.push_lane(lane, event.class, wanted);
                    }
                }
            }
            // An event that was never taken, such as an erased event, may be the oldest of its
            // lanes: the next event in each lane is looked up.
            None => {
                for lane in lanes {
                    self.wake(*lane, class);
                }
            }
        }
    }

    /// Lets a lane's oldest waiting event be looked up, in the turn of `class`.
    pub(super) fn wake(&mut self, lane: LaneId, class: Class) {
        self.ready.push_lane(lane, class, None);
    }

    /// Makes all events that were put off due: the destination accepts events again.
    pub(super) fn hasten(&mut self) {
        for (_, seq) in std::mem::take(&mut self.due) {
            self.make_ready(seq);
        }
    }

    /// Counts an event out of a state.
    fn leave(&mut self, state: LaneEventState, seq: Seq) {
        match state {
            LaneEventState::UnderWay => self.under_way = self.under_way.saturating_sub(1),
            LaneEventState::Settling => self.settling = self.settling.saturating_sub(1),
            LaneEventState::PutOff(until) => {
                self.due.remove(&(until, seq));
            }
            LaneEventState::Ready => {}
        }
    }

    fn wake_due(&mut self, now: Instant) {
        while let Some((at, seq)) = self.due.first().copied()
            && at <= now
        {
            self.due.pop_first();
            self.make_ready(seq);
        }
    }

    fn make_ready(&mut self, seq: Seq) {
        if let Some(event) = self.events.get_mut(&seq) {
            event.state = LaneEventState::Ready;
            let class = event.class;
            self.ready.push_event(class, seq);
        }
    }

    fn take_ready(
        &mut self,
        waiting: &Waiting,
        class: Class,
        now: Now,
        has_ready: &mut bool,
    ) -> Result<Option<Due>, redb::StorageError> {
        match self.ready.pop(class) {
            None => {
                *has_ready = false;
                Ok(None)
            }
            Some(Ready::Event(seq)) => {
                let Some(event) = self.events.get_mut(&seq) else {
                    return Ok(None);
                };
                event.state = LaneEventState::UnderWay;
                self.under_way += 1;
                Ok(Some(event.due(seq)))
            }
            Some(Ready::Lane(lane, wanted)) => self.look_up(waiting, lane, class, wanted, now),
        }
    }

    /// Begins the oldest waiting event of a lane, or leaves the lane to the turn of a less urgent
    /// class.
    fn look_up(
        &mut self,
        waiting: &Waiting,
        lane: LaneId,
        turn: Class,
        wanted: Option<Class>,
        now: Now,
    ) -> Result<Option<Due>, redb::StorageError> {
        // The release of the event that holds the lane looks the lane up again.
        if let Some(behind) = self.held.get_mut(&lane) {
            behind.pass(wanted);
            return Ok(None);
        }
        let Some((seq, number)) = waiting.head(lane)? else {
            return Ok(None);
        };
        let class = Class::of(number);
        let wanted = wanted.map_or(class, |wanted| wanted.min(class));
        // Nothing as urgent as this turn is left: the lane waits for the turn of the most urgent
        // event in it.
        if wanted > turn {
            self.ready.push_lane(lane, wanted, None);
            return Ok(None);
        }
        match waiting.row(number, seq)? {
            Some(row) => self.begin(waiting, seq, class, row, Behind::Passed(Some(wanted)), now),
            None => Ok(None),
        }
    }

    fn walk(
        &mut self,
        waiting: &Waiting,
        class: Class,
        now: Now,
        has_more: &mut bool,
    ) -> Result<Option<Due>, redb::StorageError> {
        if self.events.len() >= MAX_HELD {
            self.is_full = true;
            *has_more = false;
            return Ok(None);
        }
        let Some(walked) = self.walked.get_mut(class as usize) else {
            return Ok(None);
        };
        let Some((seq, row)) = waiting.next(class as u8, *walked)? else {
            *has_more = false;
            return Ok(None);
        };
        *walked = seq.saturating_add(1);
        match row {
            Some(row) if !self.events.contains_key(&seq) => {
                // Whoever waits behind an event of several lanes is found through the lanes.
                let behind = match row.lanes.as_slice() {
                    [_] => Behind::Unpassed,
                    _ => Behind::Passed(None),
                };
                self.begin(waiting, seq, class, row, behind, now)
            }
            _ => Ok(None),
        }
    }

    /// Begins an event if it is the oldest in each of its lanes, and no lane is held. Otherwise the
    /// event is found again when the lane in its way becomes free.
    fn begin(
        &mut self,
        waiting: &Waiting,
        seq: Seq,
        class: Class,
        row: Row,
        behind: Behind,
        now: Now,
    ) -> Result<Option<Due>, redb::StorageError> {
        let wanted = behind.wanted().map_or(class, |wanted| wanted.min(class));
        let mut blocked = false;
        // Each lane in the way takes note, not the first alone: any of the lanes may be the last to
        // become free.
        for lane in &row.lanes {
            if let Some(before) = self.held.get_mut(lane) {
                before.pass(Some(wanted));
                blocked = true;
            } else if waiting
                .head(*lane)?
                .is_some_and(|(oldest, _)| oldest != seq)
            {
                self.ready.push_lane(*lane, wanted, Some(wanted));
                blocked = true;
            }
        }
        if blocked {
            return Ok(None);
        }
        for lane in &row.lanes {
            // An event goes out ahead of the class for the sake of a more urgent event behind.
            let more_urgent = (wanted < class).then_some(wanted);
            let behind = match behind {
                Behind::Unpassed => Behind::Unpassed,
                Behind::Passed(_) => Behind::Passed(more_urgent),
            };
            self.held.insert(*lane, behind);
        }
        let wait = due_in(row.due_ms, row.waited, now.wall_ms);
        let state = if wait.is_zero() {
            LaneEventState::UnderWay
        } else {
            LaneEventState::PutOff(now.at + wait)
        };
        let event = LaneEvent {
            class,
            lanes: row.lanes,
            attempts: row.attempts,
            ordered_ms: row.ordered_ms,
            failed: None,
            state,
        };
        let due = event.due(seq);
        self.events.insert(seq, event);
        if let LaneEventState::PutOff(until) = state {
            self.due.insert((until, seq));
            return Ok(None);
        }
        self.under_way += 1;
        Ok(Some(due))
    }
}

/// The failed attempts of an event of which an operator is told: by the schedule the third comes up
/// to six seconds after the first, in which an application restarts.
const SETBACK_ATTEMPTS: u32 = 3;
/// The time after the first failed attempt of an event after which an operator is told, however few
/// the attempts: an attempt may hang for as long as the `timeout` of the webhook.
const SETBACK_AGE: Duration = Duration::from_secs(30);
/// The bound on rows of the queue that a look goes through: a look stays short.
const MAX_STEPS: u32 = 2048;
/// The bound on events whose outcome is on the way to the disk: as many may be delivered twice
/// after a crash.
const MAX_SETTLING: usize = 256;
/// The bound on events under way or put off. If as many lanes fail, the destination is at fault,
/// and new lanes would fail as well.
const MAX_HELD: usize = 16 * 1024;
