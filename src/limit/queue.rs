//! The queue of a limit: the order of the waiting requests. Pure: no clock, no lock, no channel.

use std::collections::{BTreeMap, HashMap};

use tokio::time::Instant;

/// The waiting requests of a limit, each with a `turn`: the way to tell the request to go.
///
/// The most urgent go first. Among equally urgent requests the applications take turns, and within
/// an application the order is that of arrival. Each eighth turn belongs to the oldest request,
/// however urgent the rest: no request waits for ever.
#[derive(Debug)]
pub(super) struct Queue<T> {
    waiters: BTreeMap<QueuePosition, Waiter<T>>,
    /// Index of the waiters by number of arrival.
    by_age: BTreeMap<u64, QueuePosition>,
    /// Turn-taking of the applications, apart for each urgency.
    rounds: BTreeMap<u8, Rounds>,
    /// Latest deadline of the requests that have come since the queue was empty.
    latest: Option<Instant>,
    arrived: u64,
    served: u64,
}

/// A request in the queue. Dropping `turn` tells the request to give up.
#[derive(Debug)]
pub(super) struct Waiter<T> {
    /// Key of the application.
    pub(super) application: u64,
    /// The way to tell the request of its turn.
    pub(super) turn: T,
    /// Time after which a turn is of no use.
    pub(super) deadline: Instant,
    /// Most requests behind which the request waits.
    pub(super) max_queue: usize,
}

/// Position in the queue. The smallest goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct QueuePosition {
    urgency: u8,
    /// Round of turn-taking. An application has a single request in each round: no application has
    /// two turns while a second waits for the first.
    round: u64,
    /// Number of arrival.
    number: u64,
}

/// Turn-taking among the applications at one urgency.
#[derive(Debug, Default)]
struct Rounds {
    /// Round of the last turn.
    current: u64,
    /// For each application the last round with a request.
    taken: HashMap<u64, u64>,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            waiters: BTreeMap::new(),
            by_age: BTreeMap::new(),
            rounds: BTreeMap::new(),
            latest: None,
            arrived: 0,
            served: 0,
        }
    }
}

impl<T> Queue<T> {
    /// Number of waiting requests.
    pub(super) fn len(&self) -> usize {
        self.waiters.len()
    }

    /// True if no request waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    /// Latest deadline of the requests that have come since the queue was empty; `None` if no
    /// request waits.
    pub(super) fn latest(&self) -> Option<Instant> {
        self.latest
    }

    /// Number of requests with a turn before a new request.
    pub(super) fn ahead_of(&self, urgency: u8, application: u64) -> usize {
        let position = self.position_for(urgency, application);
        let last = self.waiters.last_key_value();
        if last.is_some_and(|(last, _)| *last < position) {
            return self.waiters.len();
        }
        self.waiters.range(..position).count()
    }

    /// Adds a request and returns the number to leave by.
    pub(super) fn join(&mut self, urgency: u8, waiter: Waiter<T>) -> u64 {
        let position = self.position_for(urgency, waiter.application);
        let rounds = self.rounds.entry(position.urgency).or_default();
        if rounds.taken.len() >= MAX_APPLICATIONS {
            // An application not ahead of the current round has no round to lose by being
            // forgotten.
            rounds.taken.retain(|_, last| *last >= rounds.current);
        }
        rounds.taken.insert(waiter.application, position.round);
        self.arrived += 1;
        self.latest = self.latest.max(Some(waiter.deadline));
        self.waiters.insert(position, waiter);
        self.by_age.insert(position.number, position);
        position.number
    }

    /// Takes out the request with the next turn.
    pub(super) fn next(&mut self) -> Option<Waiter<T>> {
        self.served += 1;
        let next = if self.served.is_multiple_of(TURN_OF_AGE) {
            self.by_age.values().next()
        } else {
            self.waiters.keys().next()
        };
        let position = *next?;
        let rounds = self.rounds.entry(position.urgency).or_default();
        rounds.current = rounds.current.max(position.round);
        self.take_out(position)
    }

    /// Takes out a request before its turn. The later requests of the application move
    /// up by a round each: requests that often give up cost the application no turn.
    pub(super) fn leave(&mut self, number: u64) {
        let Some(position) = self.by_age.get(&number).copied() else {
            return;
        };
        let Some(waiter) = self.take_out(position) else {
            return;
        };
        let last_round = self.move_up(position, waiter.application);
        if let Some(rounds) = self.rounds.get_mut(&position.urgency)
            && rounds.taken.remove(&waiter.application).is_some()
            && let Some(last_round) = last_round
        {
            rounds.taken.insert(waiter.application, last_round);
        }
    }

    /// Moves the later requests of an application up by a round, into the free place.
    /// Returns the last round with a request of the application then.
    fn move_up(&mut self, free: QueuePosition, application: u64) -> Option<u64> {
        let is_its = |position: &QueuePosition| {
            position.urgency == free.urgency
                && self
                    .waiters
                    .get(position)
                    .is_some_and(|waiter| waiter.application == application)
        };
        let later: Vec<_> = self
            .by_age
            .range(free.number..)
            .map(|(_, position)| *position)
            .filter(is_its)
            .collect();
        let mut round = free.round;
        let mut last_round = free.round.checked_sub(1);
        for position in later {
            let moved = QueuePosition { round, ..position };
            round = position.round;
            last_round = Some(moved.round);
            if let Some(waiter) = self.waiters.remove(&position) {
                self.waiters.insert(moved, waiter);
                self.by_age.insert(moved.number, moved);
            }
        }
        last_round
    }

    fn take_out(&mut self, position: QueuePosition) -> Option<Waiter<T>> {
        self.by_age.remove(&position.number);
        let waiter = self.waiters.remove(&position);
        if self.waiters.is_empty() {
            // An empty queue has no fairness to remember.
            self.rounds.clear();
            self.latest = None;
        }
        waiter
    }

    /// Takes out and drops the requests with a turn too late: `is_too_late` decides by the number
    /// of requests before.
    pub(super) fn dismiss(&mut self, is_too_late: impl Fn(usize, &Waiter<T>) -> bool) {
        let mut ahead = 0;
        let mut dismissed = Vec::new();
        for (position, waiter) in &self.waiters {
            if is_too_late(ahead, waiter) {
                dismissed.push(*position);
            } else {
                ahead += 1;
            }
        }
        for position in dismissed {
            self.take_out(position);
        }
    }

    fn position_for(&self, urgency: u8, application: u64) -> QueuePosition {
        let urgency = urgency.min(LEAST_URGENT);
        let round = self.rounds.get(&urgency).map_or(0, |rounds| {
            let next = rounds.taken.get(&application).map_or(0, |last| last + 1);
            next.max(rounds.current)
        });
        QueuePosition {
            urgency,
            round,
            number: self.arrived,
        }
    }
}

/// Least urgent value of RFC 9218, section 4.1 (0 to 7).
const LEAST_URGENT: u8 = 7;
/// Every eighth turn belongs to the oldest request: often enough to end a wait behind a steady
/// flood, seldom enough to leave urgent requests seven turns of eight.
const TURN_OF_AGE: u64 = 8;
/// Number of applications remembered at each urgency before the idle are forgotten: more than share
/// a sidecar.
const MAX_APPLICATIONS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn waiter(application: u64, turn: usize) -> Waiter<usize> {
        Waiter {
            application,
            turn,
            deadline: Instant::now(),
            max_queue: 100,
        }
    }

    fn queue(arrivals: &[(u8, u64)]) -> Queue<usize> {
        let mut queue = Queue::default();
        for (number, (urgency, application)) in arrivals.iter().enumerate() {
            queue.join(*urgency, waiter(*application, number));
        }
        queue
    }

    fn drain(queue: &mut Queue<usize>) -> Vec<usize> {
        std::iter::from_fn(|| queue.next())
            .map(|waiter| waiter.turn)
            .collect()
    }

    /// Arrivals as `(urgency, application)`, and the order of their turns, by number.
    #[test]
    fn the_order_is_urgency_then_turns_of_applications_then_arrival() {
        for (arrivals, expected) in [
            (&[(3, 1); 6][..], &[0, 1, 2, 3, 4, 5][..]),
            (&[(3, 1), (7, 1), (0, 1), (3, 1), (0, 1)], &[2, 4, 0, 3, 1]),
            // No urgency is below 7.
            (&[(9, 1), (7, 1)], &[0, 1]),
            (
                &[(3, 1), (3, 1), (3, 1), (3, 2), (3, 2), (3, 3)],
                &[0, 3, 5, 1, 4, 2],
            ),
        ] {
            assert_eq!(drain(&mut queue(arrivals)), expected, "{arrivals:?}");
        }
        assert_eq!(
            drain(&mut queue(&[(3, 1); 30])),
            (0..30).collect::<Vec<_>>()
        );
    }

    #[test]
    fn an_application_that_comes_later_has_no_turns_saved_up() {
        let mut queue = queue(&[(3, 1); 4]);
        queue.next();
        queue.next();
        queue.join(3, waiter(2, 10));
        queue.join(3, waiter(2, 11));
        assert_eq!(drain(&mut queue), [10, 2, 11, 3]);
    }

    #[test]
    fn the_eighth_turn_belongs_to_the_oldest_request() {
        let mut arrivals = vec![(7, 1)];
        arrivals.extend([(0, 2); 100]);
        let order = drain(&mut queue(&arrivals));
        assert_eq!(order.iter().position(|number| *number == 0), Some(7));
    }

    #[test]
    fn requests_that_are_too_late_are_dropped_and_the_others_move_up() {
        let mut queue = Queue::default();
        for number in 0..6 {
            let max_queue = number % 3;
            queue.join(
                3,
                Waiter {
                    max_queue,
                    ..waiter(1, number)
                },
            );
        }
        queue.dismiss(|ahead, waiter| ahead > waiter.max_queue);
        assert_eq!(drain(&mut queue), [0, 1, 2]);
    }

    #[test]
    fn a_request_that_leaves_makes_room() {
        let mut queue = Queue::default();
        let numbers: Vec<_> = (0..3).map(|turn| queue.join(3, waiter(1, turn))).collect();
        let ahead = [(3, 1), (3, 2), (0, 2)]
            .map(|(urgency, application)| queue.ahead_of(urgency, application));
        assert_eq!(ahead, [3, 1, 0]);
        queue.leave(numbers[1]);
        queue.leave(numbers[1]);
        assert_eq!((queue.len(), queue.ahead_of(3, 1)), (2, 2));
    }

    #[test]
    fn an_application_whose_requests_give_up_keeps_its_turns() {
        let mut queue = Queue::default();
        for turn in 0..20 {
            queue.join(3, waiter(1, turn));
        }
        let mut impatient = std::collections::VecDeque::new();
        let mut served = [0, 0];
        for _ in 0..20 {
            // Five come, and the five oldest give up, for each request that goes.
            impatient.extend((0..5).map(|turn| queue.join(3, waiter(2, turn))));
            while impatient.len() > 5 {
                impatient
                    .pop_front()
                    .into_iter()
                    .for_each(|number| queue.leave(number));
            }
            queue.join(3, waiter(1, 0));
            served[usize::from(queue.next().unwrap().application == 2)] += 1;
        }
        assert!(served[1] >= 8, "{served:?}");
    }
}
