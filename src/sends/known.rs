//! What this sidecar knows of messages.

use std::collections::{HashMap, VecDeque};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use super::{Answer, CLOCKS_DIFFER, KEPT, Mark};

/// The messages by their keys. Where they become too many, the oldest answers are forgotten; never what is under way or of
/// unknown outcome, since that would be sent again.
#[derive(Debug, Default)]
pub(super) struct Known {
    sends: HashMap<Mark, Send>,
    /// Which of them an event tells of; none where several would have the same text.
    told: HashMap<Mark, Option<Mark>>,
    /// The oldest first; one whose send is there no more, or anew, stands for nothing.
    by_age: VecDeque<(Instant, Mark)>,
    /// Older than those, and had no answer when they would have been forgotten for one that has.
    unanswered: VecDeque<(Instant, Mark)>,
    /// Of all answers.
    bytes: usize,
}

#[derive(Debug)]
struct Send {
    began: Instant,
    /// The same in seconds of the day's time, as events tell it.
    began_at: u64,
    request: Mark,
    told: Option<Mark>,
    state: State,
}

/// What is known of a message.
#[derive(Debug)]
pub(super) enum State {
    /// Nothing: it is under way from now on.
    New,
    UnderWay,
    /// It was written, and no answer came.
    Unknown,
    /// Another has its key.
    Reused,
    Answered(Answer),
}

impl Known {
    pub(super) fn get(&self, key: &Mark) -> Option<(&Mark, &State)> {
        self.sends.get(key).map(|send| (&send.request, &send.state))
    }

    /// Whether an event could tell of one.
    pub(super) fn listens(&self) -> bool {
        !self.told.is_empty()
    }

    /// Whether there is no room for another.
    pub(super) fn is_full(&self) -> bool {
        self.sends.len() >= MOST
    }

    pub(super) fn begin(&mut self, key: Mark, request: Mark, told: Option<Mark>) {
        let began = Instant::now();
        let began_at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.by_age.push_back((began, key));
        if let Some(told) = told {
            let of = self.told.entry(told).or_insert(Some(key));
            *of = of.filter(|other| *other == key);
        }
        self.sends.insert(key, Send { began, began_at, request, told, state: State::UnderWay });
    }

    pub(super) fn unknown(&mut self, key: &Mark) {
        if let Some(send) = self.under_way(key) {
            send.state = State::Unknown;
        }
    }

    /// Forgets one of which the provider has nothing.
    pub(super) fn forget(&mut self, key: &Mark) {
        if self.under_way(key).is_some() {
            self.remove(key);
        }
    }

    /// Forgets one of unknown outcome, which the caller has found not to be sent.
    pub(super) fn forget_unknown(&mut self, key: &Mark, request: &Mark) {
        if self.get(key).is_some_and(|(held, state)| held == request && matches!(state, State::Unknown)) {
            self.remove(key);
        }
    }

    pub(super) fn answer(&mut self, key: &Mark, request: Mark, answer: Answer) {
        if !self.sends.contains_key(key) {
            self.begin(*key, request, None);
        }
        let Some(send) = self.sends.get_mut(key) else { return };
        self.bytes += answer.size();
        if let State::Answered(before) = std::mem::replace(&mut send.state, State::Answered(answer)) {
            self.bytes = self.bytes.saturating_sub(before.size());
        }
    }

    /// Answers a message that has no answer yet with what an event says of it.
    pub(super) fn told(&mut self, told: &Mark, at: u64, answer: &Answer) {
        let Some(key) = self.told.get(told).copied().flatten() else { return };
        let Some(send) = self.sends.get(&key) else { return };
        if send.began_at <= at + CLOCKS_DIFFER && !matches!(send.state, State::Answered(_)) {
            self.answer(&key, send.request, answer.clone());
        }
    }

    /// Forgets what is older than a day, and the oldest answers where there is too much.
    pub(super) fn forget_old(&mut self) {
        let now = Instant::now();
        let is_old = |began: Instant| now.saturating_duration_since(began) >= KEPT;
        while let Some((began, key)) = self.unanswered.front().copied() {
            if self.is_current(&key, began) && !is_old(began) {
                break;
            }
            self.unanswered.pop_front();
            self.remove_if_current(&key, began);
        }
        while let Some((began, key)) = self.by_age.front().copied() {
            let is_too_much = self.sends.len() >= MOST || self.bytes > MOST_BYTES;
            if self.is_current(&key, began) && !is_too_much && !is_old(began) {
                break;
            }
            self.by_age.pop_front();
            let is_answered = matches!(self.get(&key), Some((_, State::Answered(_))));
            match self.is_current(&key, began) && !is_answered && !is_old(began) {
                true => self.unanswered.push_back((began, key)),
                false => self.remove_if_current(&key, began),
            }
        }
        if self.by_age.len() > 2 * self.sends.len() + MOST_DEAD {
            let sends = &self.sends;
            self.by_age.retain(|(began, key)| sends.get(key).is_some_and(|send| send.began == *began));
        }
    }

    fn under_way(&mut self, key: &Mark) -> Option<&mut Send> {
        // What an event has told already is known.
        self.sends.get_mut(key).filter(|send| matches!(send.state, State::UnderWay))
    }

    fn is_current(&self, key: &Mark, began: Instant) -> bool {
        self.sends.get(key).is_some_and(|send| send.began == began)
    }

    fn remove_if_current(&mut self, key: &Mark, began: Instant) {
        if self.is_current(key, began) {
            self.remove(key);
        }
    }

    fn remove(&mut self, key: &Mark) {
        let Some(send) = self.sends.remove(key) else { return };
        if let State::Answered(answer) = send.state {
            self.bytes = self.bytes.saturating_sub(answer.size());
        }
        if let Some(told) = send.told.filter(|told| self.told.get(told) == Some(&Some(*key))) {
            self.told.remove(&told);
        }
    }
}

/// At most some 200 bytes each beside the answer; Meta's answers have some 250.
const MOST: usize = 100_000;
const MOST_BYTES: usize = 32 * 1024 * 1024;
/// How many that stand for nothing may be in line before they are taken out of it.
const MOST_DEAD: usize = 1024;

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::StatusCode;

    use super::*;

    fn key(number: usize) -> Mark {
        u128::try_from(number).unwrap().to_le_bytes()
    }

    fn answer(length: usize) -> Answer {
        Answer { status: StatusCode::OK, media_type: None, body: Bytes::from(vec![b'x'; length]) }
    }

    fn is_answered(known: &Known, number: usize) -> bool {
        matches!(known.get(&key(number)), Some((_, State::Answered(_))))
    }

    #[test]
    fn of_too_many_the_oldest_answers_go_and_what_is_unknown_stays() {
        let mut known = Known::default();
        for number in 0..MOST + 1000 {
            known.forget_old();
            assert!(!known.is_full());
            known.begin(key(number), key(1), None);
            match number {
                0..10 => known.unknown(&key(number)),
                10..20 => {}
                _ => known.answer(&key(number), key(1), answer(10)),
            }
        }
        assert!((0..20).all(|number| known.get(&key(number)).is_some()), "what has no answer stays");
        assert!(!is_answered(&known, 20) && is_answered(&known, MOST + 999));
        for number in 0..MOST {
            known.answer(&key(number), key(1), answer(10));
        }
        known.forget_old();
        assert!(known.bytes <= MOST_BYTES && known.sends.len() <= MOST);
        for _ in 0..100 {
            known.answer(&key(5), key(1), answer(1024 * 1024));
            known.answer(&key(6), key(1), answer(1));
        }
        assert!(known.sends.values().filter(|send| matches!(send.state, State::Answered(_))).count() > 1000);
    }

    #[test]
    fn when_only_unknown_ones_are_left_there_is_no_room_for_more() {
        let mut known = Known::default();
        for number in 0..MOST {
            known.begin(key(number), key(1), None);
            known.unknown(&key(number));
        }
        known.forget_old();
        assert!(known.is_full());
        known.forget_unknown(&key(7), &key(2));
        assert!(known.is_full(), "that was another request");
        known.forget_unknown(&key(7), &key(1));
        assert!(!known.is_full());
    }

    #[test]
    fn those_that_were_forgotten_take_no_room() {
        let mut known = Known::default();
        for _ in 0..100_000 {
            known.forget_old();
            known.begin(key(1), key(1), Some(key(2)));
            known.forget(&key(1));
        }
        assert!(known.by_age.len() <= MOST_DEAD + 2 && known.told.is_empty());
    }

    #[test]
    fn an_event_settles_nothing_where_two_messages_have_its_text() {
        let (mut known, at) = (Known::default(), u64::MAX / 2);
        let unknown = |known: &mut Known, number| {
            known.begin(key(number), key(1), Some(key(100)));
            known.unknown(&key(number));
        };
        unknown(&mut known, 1);
        unknown(&mut known, 2);
        known.told(&key(100), at, &answer(1));
        assert!(!is_answered(&known, 1) && !is_answered(&known, 2));
        known.begin(key(3), key(1), Some(key(101)));
        known.unknown(&key(3));
        known.told(&key(101), at, &answer(1));
        assert!(is_answered(&known, 3));
        known.forget(&key(3));
        assert!(is_answered(&known, 3), "what is known stays known");
    }
}
