//! Those who wait, and in which order they go.

use std::collections::{BTreeMap, HashMap};

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Ticket;

/// The requests that wait for one limit. The most urgent go first, and among equally urgent ones the callers take
/// turns, each in the order in which its own arrived. So that nothing waits for ever, each eighth turn is that of
/// whoever has waited longest, however urgent the others are.
#[derive(Debug, Default)]
pub(super) struct Line {
    waiting: BTreeMap<Place, Waiter>,
    /// The same by their numbers, which is by their age.
    by_age: BTreeMap<u64, Place>,
    /// One for each urgency.
    rounds: [Round; 8],
    arrived: u64,
    served: u64,
}

/// One who waits. Dropped, it is told that its turn does not come.
#[derive(Debug)]
pub(super) struct Waiter {
    /// Who takes turns with others.
    pub(super) caller: u64,
    /// How it is told of its turn.
    pub(super) turn: oneshot::Sender<Ticket>,
    /// A later turn is of no use to it.
    pub(super) deadline: Instant,
    /// Behind how many it waits.
    pub(super) max_queue: usize,
}

/// Where a request stands. The smallest goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    urgency: u8,
    /// Of its caller: with one request in each round, no caller has two turns while another has none.
    round: u64,
    number: u64,
}

/// The rounds of one urgency.
#[derive(Debug, Default)]
struct Round {
    /// That of the last who went.
    current: u64,
    /// The last that each caller stands in.
    taken: HashMap<u64, u64>,
}

impl Line {
    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// How many would go before a request that comes now.
    pub(super) fn ahead_of(&self, urgency: u8, caller: u64) -> usize {
        let place = self.place_for(urgency, caller);
        if self.waiting.last_key_value().is_some_and(|(last, _)| *last < place) {
            return self.waiting.len();
        }
        self.waiting.range(..place).count()
    }

    /// Puts a request in line, and says by which number it can leave.
    pub(super) fn join(&mut self, urgency: u8, waiter: Waiter) -> u64 {
        let caller = waiter.caller;
        let place = self.place_for(urgency, caller);
        if let Some(round) = self.rounds.get_mut(usize::from(place.urgency)) {
            if round.taken.len() >= MOST_CALLERS {
                // Those who are not ahead are as if they came for the first time.
                round.taken.retain(|_, last| *last >= round.current);
            }
            round.taken.insert(caller, place.round);
        }
        self.arrived += 1;
        self.waiting.insert(place, waiter);
        self.by_age.insert(place.number, place);
        place.number
    }

    /// Takes the next out of the line.
    pub(super) fn next(&mut self) -> Option<Waiter> {
        self.served += 1;
        let by_age = self.served.is_multiple_of(TURN_OF_AGE);
        let oldest = self.by_age.first_key_value().map(|(_, place)| *place).filter(|_| by_age);
        let place = oldest.or_else(|| self.waiting.first_key_value().map(|(place, _)| *place))?;
        if let Some(round) = self.rounds.get_mut(usize::from(place.urgency)) {
            round.current = round.current.max(place.round);
        }
        self.take_out(place)
    }

    /// Takes one out of the line that does not wait any longer. Its turn is that of its caller's next: one whose requests
    /// give up often gets its turns all the same.
    pub(super) fn leave(&mut self, number: u64) {
        let Some(place) = self.by_age.get(&number).copied() else { return };
        let Some(waiter) = self.take_out(place) else { return };
        let is_later = |later: &Place| {
            later.urgency == place.urgency && self.waiting.get(later).is_some_and(|other| other.caller == waiter.caller)
        };
        let later: Vec<_> = self.by_age.range(number..).map(|(_, later)| *later).filter(is_later).collect();
        let (mut round, mut last) = (place.round, place.round.checked_sub(1));
        for later in later {
            let moved = Place { round, ..later };
            (round, last) = (later.round, Some(moved.round));
            if let Some(waiter) = self.waiting.remove(&later) {
                self.waiting.insert(moved, waiter);
                self.by_age.insert(moved.number, moved);
            }
        }
        if let Some(round) = self.rounds.get_mut(usize::from(place.urgency))
            && round.taken.remove(&waiter.caller).is_some()
        {
            round.taken.extend(last.map(|last| (waiter.caller, last)));
        }
    }

    fn take_out(&mut self, place: Place) -> Option<Waiter> {
        self.by_age.remove(&place.number);
        let waiter = self.waiting.remove(&place);
        if self.waiting.is_empty() {
            // Nobody is left whom a round could be fair to.
            self.rounds = Default::default();
        }
        waiter
    }

    /// Takes those out of the line whose turn comes too late: `is_too_late` of one with so many before it.
    pub(super) fn dismiss(&mut self, is_too_late: impl Fn(usize, &Waiter) -> bool) {
        let (mut ahead, mut dismissed) = (0, Vec::new());
        for (place, waiter) in &self.waiting {
            if is_too_late(ahead, waiter) {
                dismissed.push(*place);
            } else {
                ahead += 1;
            }
        }
        for place in dismissed {
            self.take_out(place);
        }
    }

    fn place_for(&self, urgency: u8, caller: u64) -> Place {
        let urgency = urgency.min(LEAST_URGENT);
        let round = self.rounds.get(usize::from(urgency)).map_or(0, |round| {
            let taken = round.taken.get(&caller).map_or(0, |last| last + 1);
            taken.max(round.current)
        });
        Place { urgency, round, number: self.arrived }
    }
}

/// RFC 9218, section 4.1: 0 to 7.
const LEAST_URGENT: u8 = 7;
/// Which turns are those of the oldest.
const TURN_OF_AGE: u64 = 8;
/// So many are remembered of each urgency before those who need not be are forgotten.
const MOST_CALLERS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn waiter(caller: u64) -> (Waiter, oneshot::Receiver<Ticket>) {
        let (turn, receiver) = oneshot::channel();
        (Waiter { caller, turn, deadline: Instant::now(), max_queue: 100 }, receiver)
    }

    /// In which order those go who came as `(urgency, caller)`, by their number.
    fn order(arrivals: &[(u8, u64)]) -> Vec<usize> {
        let mut line = Line::default();
        let mut receivers: Vec<_> = arrivals
            .iter()
            .map(|(urgency, caller)| {
                let (waiter, receiver) = waiter(*caller);
                line.join(*urgency, waiter);
                receiver
            })
            .collect();
        let mut order = Vec::new();
        while let Some(waiter) = line.next() {
            waiter.turn.send(Ticket::default()).unwrap();
            order.push(receivers.iter_mut().position(|receiver| receiver.try_recv().is_ok()).unwrap());
        }
        assert_eq!(line.len(), 0);
        order
    }

    #[test]
    fn one_callers_requests_go_in_the_order_of_their_arrival() {
        assert_eq!(order(&[(3, 1); 30]), (0..30).collect::<Vec<_>>());
    }

    #[test]
    fn the_urgent_go_first() {
        assert_eq!(order(&[(3, 1), (7, 1), (0, 1), (3, 1), (0, 1)]), [2, 4, 0, 3, 1]);
        assert_eq!(order(&[(9, 1), (7, 1)]), [0, 1], "there is nothing below 7");
    }

    #[test]
    fn callers_take_turns() {
        assert_eq!(order(&[(3, 1), (3, 1), (3, 1), (3, 2), (3, 2), (3, 3)]), [0, 3, 5, 1, 4, 2]);
    }

    #[test]
    fn who_comes_later_has_no_turns_saved_up() {
        let mut line = Line::default();
        let join = |line: &mut Line, caller| {
            let (waiter, receiver) = waiter(caller);
            line.join(3, waiter);
            receiver
        };
        let mut first: Vec<_> = (0..4).map(|_| join(&mut line, 1)).collect();
        for _ in 0..2 {
            line.next().unwrap().turn.send(Ticket::default()).unwrap();
        }
        let mut second: Vec<_> = (0..2).map(|_| join(&mut line, 2)).collect();
        let mut went = Vec::new();
        while let Some(waiter) = line.next() {
            waiter.turn.send(Ticket::default()).unwrap();
            went.push(if second.iter_mut().any(|one| one.try_recv().is_ok()) { 2 } else { 1 });
        }
        assert_eq!(went, [2, 1, 2, 1]);
        assert!(first.iter_mut().all(|one| one.try_recv().is_ok()));
    }

    #[test]
    fn nobody_waits_for_ever() {
        let mut arrivals = vec![(7, 1)];
        arrivals.extend([(0, 2); 100]);
        assert_eq!(order(&arrivals).iter().position(|number| *number == 0), Some(7), "the eighth turn is the oldest's");
    }

    #[test]
    fn those_who_are_too_late_go_and_the_others_move_up() {
        let mut line = Line::default();
        let mut waiting: Vec<_> = (0..6).map(|_| waiter(1)).collect();
        for (number, (waiter, _)) in waiting.drain(..).enumerate() {
            line.join(3, Waiter { max_queue: number % 3, ..waiter });
        }
        line.dismiss(|ahead, waiter| ahead > waiter.max_queue);
        let stay: Vec<_> = std::iter::from_fn(|| line.next()).map(|waiter| waiter.max_queue).collect();
        assert_eq!(stay, [0, 1, 2]);
    }

    #[test]
    fn who_leaves_makes_room() {
        let mut line = Line::default();
        let numbers: Vec<_> = (0..3).map(|_| line.join(3, waiter(1).0)).collect();
        assert_eq!((line.ahead_of(3, 1), line.ahead_of(3, 2), line.ahead_of(0, 2)), (3, 1, 0));
        line.leave(numbers[1]);
        line.leave(numbers[1]);
        assert_eq!((line.len(), line.ahead_of(3, 1)), (2, 2));
    }

    #[test]
    fn a_caller_whose_requests_give_up_keeps_its_turns() {
        let mut line = Line::default();
        for _ in 0..20 {
            line.join(3, waiter(1).0);
        }
        let mut impatient = std::collections::VecDeque::new();
        let mut served = [0, 0];
        for _ in 0..20 {
            // Five come and the five oldest give up for each that goes.
            impatient.extend((0..5).map(|_| line.join(3, waiter(2).0)));
            while impatient.len() > 5 {
                impatient.pop_front().into_iter().for_each(|number| line.leave(number));
            }
            line.join(3, waiter(1).0);
            served[usize::from(line.next().unwrap().caller == 2)] += 1;
        }
        assert!(served[1] >= 8, "{served:?}");
    }
}
