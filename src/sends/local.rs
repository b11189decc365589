//! The messages with a key that this sidecar knows.

use std::collections::{HashMap, VecDeque};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use super::answer::StoredAnswer;
use super::digest::Digest16;
use super::state::{KEPT, MAX_CLOCK_DIFFERENCE, SendState};

/// A bounded table of messages by the digests of their keys.
///
/// Above the bounds the oldest answers are forgotten. A message that is under way or of unknown
/// outcome is never forgotten for lack of space: its repetition would be sent again.
#[derive(Debug, Default)]
pub(super) struct LocalSends {
    sends: HashMap<Digest16, LocalSend>,
    /// The keys of messages by callback key; `None` if several messages share the callback key, so an
    /// event cannot tell the messages apart.
    by_callback_key: HashMap<Digest16, Option<Digest16>>,
    /// The keys by age, the oldest first. An entry is dead after the message was forgotten or began
    /// anew: the message then has a different time.
    by_age: VecDeque<(Instant, Digest16)>,
    /// Keys older than the keys of `by_age`: of messages without an answer at the time at which they
    /// were to be forgotten for lack of space. Only age removes these keys.
    unanswered: VecDeque<(Instant, Digest16)>,
    /// The memory of all answers, in bytes.
    bytes: usize,
}

#[derive(Debug)]
struct LocalSend {
    began: Instant,
    /// The time of `began` in seconds of Unix time, for comparison with status events.
    began_at: u64,
    request: Digest16,
    callback_key: Option<Digest16>,
    state: SendState,
}

impl LocalSends {
    /// Returns the request and the state of a message.
    pub(super) fn get(&self, key: &Digest16) -> Option<(&Digest16, &SendState)> {
        self.sends.get(key).map(|send| (&send.request, &send.state))
    }

    /// Returns true if a status event could lead to a message.
    pub(super) fn has_callback_keys(&self) -> bool {
        !self.by_callback_key.is_empty()
    }

    /// Returns true if no further message can be recorded.
    pub(super) fn is_full(&self) -> bool {
        self.sends.len() >= MAX_SENDS
    }

    /// Returns the memory of the table, in bytes.
    fn memory(&self) -> usize {
        self.bytes + self.sends.len() * BYTES_OF_MESSAGE
    }

    /// Records that a message is under way.
    pub(super) fn begin(
        &mut self,
        key: Digest16,
        request: Digest16,
        callback_key: Option<Digest16>,
    ) {
        let began = Instant::now();
        let began_at = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        self.by_age.push_back((began, key));
        if let Some(callback_key) = callback_key {
            let message = self
                .by_callback_key
                .entry(callback_key)
                .or_insert(Some(key));
            *message = message.filter(|other| *other == key);
        }
        self.sends.insert(
            key,
            LocalSend {
                began,
                began_at,
                request,
                callback_key,
                state: SendState::UnderWay,
            },
        );
    }

    /// Records that the outcome of a message that was under way is unknown.
    pub(super) fn mark_unknown(&mut self, key: &Digest16) {
        if let Some(send) = self.under_way(key) {
            send.state = SendState::Unknown;
        }
    }

    /// Forgets a message that is under way, because it did not reach the provider.
    pub(super) fn forget(&mut self, key: &Digest16) {
        if self.under_way(key).is_some() {
            self.remove(key);
        }
    }

    /// Forgets a message of unknown outcome, which the application has found not to be sent.
    pub(super) fn forget_unknown(&mut self, key: &Digest16, request: &Digest16) {
        let is_unknown = self
            .get(key)
            .is_some_and(|(known, state)| known == request && matches!(state, SendState::Unknown));
        if is_unknown {
            self.remove(key);
        }
    }

    /// Keeps the answer to a message, also to a message forgotten meanwhile.
    pub(super) fn answer(&mut self, key: &Digest16, request: Digest16, answer: StoredAnswer) {
        if !self.sends.contains_key(key) {
            self.begin(*key, request, None);
        }
        let Some(send) = self.sends.get_mut(key) else {
            return;
        };
        self.bytes += answer.size();
        let before = std::mem::replace(&mut send.state, SendState::Answered(answer));
        if let SendState::Answered(before) = before {
            self.bytes = self.bytes.saturating_sub(before.size());
        }
    }

    /// Keeps `answer` for the message that a status event names, if that message has no answer
    /// yet and began before the event.
    pub(super) fn settle_by_event(
        &mut self,
        callback_key: &Digest16,
        sent_at: u64,
        answer: &StoredAnswer,
    ) {
        let Some(key) = self.by_callback_key.get(callback_key).copied().flatten() else {
            return;
        };
        let Some(send) = self.sends.get(&key) else {
            return;
        };
        let began_before = send.began_at <= sent_at + MAX_CLOCK_DIFFERENCE;
        if began_before && !matches!(send.state, SendState::Answered(_)) {
            self.answer(&key, send.request, answer.clone());
        }
    }

    /// Forgets the messages older than [`KEPT`], and the oldest answers above the bounds.
    pub(super) fn forget_old(&mut self) {
        let now = Instant::now();
        self.forget_old_unanswered(now);
        while let Some((began, key)) = self.by_age.front().copied() {
            let is_over_bounds = self.sends.len() >= MAX_SENDS || self.memory() > MAX_BYTES;
            let is_current = self.is_current(&key, began);
            if is_current && !is_over_bounds && !is_old(began, now) {
                break;
            }
            self.by_age.pop_front();
            let is_answered = matches!(self.get(&key), Some((_, SendState::Answered(_))));
            if is_current && !is_answered && !is_old(began, now) {
                self.unanswered.push_back((began, key));
            } else {
                self.remove_if_current(&key, began);
            }
        }
        // Only the front is taken out above; dead entries behind a living one would pile up.
        if self.by_age.len() > 2 * self.sends.len() + MAX_DEAD {
            let sends = &self.sends;
            self.by_age
                .retain(|(began, key)| sends.get(key).is_some_and(|send| send.began == *began));
        }
    }

    fn forget_old_unanswered(&mut self, now: Instant) {
        while let Some((began, key)) = self.unanswered.front().copied() {
            if self.is_current(&key, began) && !is_old(began, now) {
                break;
            }
            self.unanswered.pop_front();
            self.remove_if_current(&key, began);
        }
    }

    /// Returns a message that is still under way. A status event may have settled it already, and
    /// a known outcome is never overwritten by "unknown" or "forgotten".
    fn under_way(&mut self, key: &Digest16) -> Option<&mut LocalSend> {
        self.sends
            .get_mut(key)
            .filter(|send| matches!(send.state, SendState::UnderWay))
    }

    /// Returns true if an entry of a queue stands for the message that the table has now.
    fn is_current(&self, key: &Digest16, began: Instant) -> bool {
        self.sends.get(key).is_some_and(|send| send.began == began)
    }

    fn remove_if_current(&mut self, key: &Digest16, began: Instant) {
        if self.is_current(key, began) {
            self.remove(key);
        }
    }

    fn remove(&mut self, key: &Digest16) {
        let Some(send) = self.sends.remove(key) else {
            return;
        };
        if let SendState::Answered(answer) = send.state {
            self.bytes = self.bytes.saturating_sub(answer.size());
        }
        if let Some(callback_key) = send.callback_key
            && self.by_callback_key.get(&callback_key) == Some(&Some(*key))
        {
            self.by_callback_key.remove(&callback_key);
        }
    }
}

fn is_old(began: Instant, now: Instant) -> bool {
    now.saturating_duration_since(began) >= KEPT
}

/// The bound on the memory of the table, in bytes; `memory.rs` has the sum of all bounds.
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// The bytes that a message takes besides its answer, in three tables that grow by doubling.
const BYTES_OF_MESSAGE: usize = 256;
/// The bound on messages in the table. Messages without an answer are never forgotten, so this many of them must find
/// room within [`MAX_BYTES`] beside an answer of the largest size.
const MAX_SENDS: usize = 40_000;
/// The number of dead entries in `by_age`, beyond twice the number of messages, at which they are
/// swept out: a sweep goes through the whole queue, so it must be rare.
const MAX_DEAD: usize = 1024;

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::StatusCode;

    use super::*;

    fn key(number: usize) -> Digest16 {
        u128::try_from(number).unwrap().to_le_bytes()
    }

    fn answer(length: usize) -> StoredAnswer {
        StoredAnswer {
            status: StatusCode::OK,
            media_type: None,
            body: Bytes::from(vec![b'x'; length]),
        }
    }

    fn is_answered(local: &LocalSends, number: usize) -> bool {
        matches!(local.get(&key(number)), Some((_, SendState::Answered(_))))
    }

    #[test]
    fn above_the_bounds_the_oldest_answers_are_forgotten_and_unanswered_messages_stay() {
        let mut local = LocalSends::default();
        for number in 0..MAX_SENDS + 1000 {
            local.forget_old();
            assert!(!local.is_full());
            local.begin(key(number), key(1), None);
            match number {
                0..10 => local.mark_unknown(&key(number)),
                10..20 => {}
                _ => local.answer(&key(number), key(1), answer(10)),
            }
        }
        assert!(
            (0..20).all(|number| local.get(&key(number)).is_some()),
            "a message without an answer was forgotten"
        );
        assert!(!is_answered(&local, 20) && is_answered(&local, MAX_SENDS + 999));
        for number in 0..MAX_SENDS {
            local.answer(&key(number), key(1), answer(10));
        }
        local.forget_old();
        assert!(local.memory() <= MAX_BYTES && local.sends.len() <= MAX_SENDS);
        for _ in 0..100 {
            local.answer(&key(5), key(1), answer(1024 * 1024));
            local.answer(&key(6), key(1), answer(1));
        }
        assert!(
            local
                .sends
                .values()
                .filter(|send| matches!(send.state, SendState::Answered(_)))
                .count()
                > 1000
        );
    }

    #[test]
    fn a_table_full_of_unknown_outcomes_takes_no_further_message() {
        let mut local = LocalSends::default();
        for number in 0..MAX_SENDS {
            local.begin(key(number), key(1), None);
            local.mark_unknown(&key(number));
        }
        local.forget_old();
        assert!(local.is_full());
        local.forget_unknown(&key(7), &key(2));
        assert!(
            local.is_full(),
            "a different request under the key must not settle it"
        );
        local.forget_unknown(&key(7), &key(1));
        assert!(!local.is_full());
    }

    #[test]
    fn forgotten_messages_leave_neither_queue_entries_nor_callback_keys() {
        let mut local = LocalSends::default();
        for _ in 0..100_000 {
            local.forget_old();
            local.begin(key(1), key(1), Some(key(2)));
            local.forget(&key(1));
        }
        assert!(local.by_age.len() <= MAX_DEAD + 2 && local.by_callback_key.is_empty());
    }

    #[test]
    fn an_event_settles_no_message_where_two_have_its_text() {
        let mut local = LocalSends::default();
        let sent_at = u64::MAX / 2;
        let unknown = |local: &mut LocalSends, number| {
            local.begin(key(number), key(1), Some(key(100)));
            local.mark_unknown(&key(number));
        };
        unknown(&mut local, 1);
        unknown(&mut local, 2);
        local.settle_by_event(&key(100), sent_at, &answer(1));
        assert!(!is_answered(&local, 1) && !is_answered(&local, 2));
        local.begin(key(3), key(1), Some(key(101)));
        local.mark_unknown(&key(3));
        local.settle_by_event(&key(101), sent_at, &answer(1));
        assert!(is_answered(&local, 3));
        local.forget(&key(3));
        assert!(is_answered(&local, 3), "an answered message stays answered");
    }
}
