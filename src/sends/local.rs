//! The messages with a key that this sidecar knows.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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
    /// The keys of messages by callback key; `None` if several messages share the callback key, so
    /// an event cannot tell the messages apart.
    by_callback_key: HashMap<Digest16, Option<Digest16>>,
    /// The keys by age, but for those in `unanswered`.
    by_age: BTreeSet<(Instant, Digest16)>,
    /// The keys of messages without an answer at the time at which they were to be forgotten for
    /// lack of space. Only age and an answer remove these keys.
    unanswered: BTreeSet<(Instant, Digest16)>,
    /// The memory of all answers, in bytes.
    bytes: usize,
    /// The answers that were forgotten before their time, for lack of room.
    forgotten_early: u64,
    /// The time at which an answer was forgotten early last, and the age of the answer.
    last_early: Option<(Instant, Duration)>,
}

/// The rest after a portion of messages was forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeftToForget {
    /// Messages that a further portion forgets.
    Some,
    /// No message that could be forgotten.
    Nothing,
}

/// The kept answers, for operators.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeptAnswers {
    /// The messages with a key that are known.
    pub messages: usize,
    /// The bytes of the messages and their answers.
    pub bytes: usize,
    /// The answers that were forgotten before their time, for lack of room.
    pub forgotten_early: u64,
    /// The time at which an answer was forgotten early last, and the age of the answer.
    pub last_early: Option<(Instant, Duration)>,
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

    /// Returns true if no further message can be recorded, within `room` bytes, once all was
    /// forgotten that can be.
    pub(super) fn is_full(&self, room: u64) -> bool {
        self.sends.len() >= MAX_SENDS || self.memory() as u64 > room
    }

    /// Returns the memory of the table, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.bytes + self.sends.len() * BYTES_OF_MESSAGE
    }

    /// Returns what is kept.
    pub(super) fn report(&self) -> KeptAnswers {
        KeptAnswers {
            messages: self.sends.len(),
            bytes: self.memory(),
            forgotten_early: self.forgotten_early,
            last_early: self.last_early,
        }
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
        self.by_age.insert((began, key));
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
        // An answer that comes late can be forgotten again.
        if self.unanswered.remove(&(send.began, *key)) {
            self.by_age.insert((send.began, *key));
        }
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

    /// Forgets the messages older than [`KEPT`], and the oldest answers above the bound on messages
    /// and above `room` bytes: a portion of them, so that no request waits for thousands.
    pub(super) fn forget_old(&mut self, room: u64) -> LeftToForget {
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        let now = Instant::now();
        for _ in 0..PORTION {
            if !self.forget_oldest(room, now) {
                return LeftToForget::Nothing;
            }
        }
        LeftToForget::Some
    }

    /// Forgets the oldest message, if the message is too old or takes room that is needed; without
    /// an answer, the message is only put aside. Returns false if there is no such message.
    fn forget_oldest(&mut self, room: usize, now: Instant) -> bool {
        if let Some((began, key)) = self.unanswered.first().copied()
            && is_old(began, now)
        {
            self.remove(&key);
            return true;
        }
        let Some((began, key)) = self.by_age.first().copied() else {
            return false;
        };
        let is_over_bounds = self.sends.len() >= MAX_SENDS || self.memory() > room;
        match self.get(&key) {
            _ if is_old(began, now) => self.remove(&key),
            _ if !is_over_bounds => return false,
            Some((_, SendState::Answered(_))) => {
                self.forgotten_early += 1;
                self.last_early = Some((now, now.saturating_duration_since(began)));
                self.remove(&key);
            }
            _ => {
                self.by_age.pop_first();
                self.unanswered.insert((began, key));
            }
        }
        true
    }

    /// Returns a message that is still under way. A status event may have settled it already, and
    /// a known outcome is never overwritten by "unknown" or "forgotten".
    fn under_way(&mut self, key: &Digest16) -> Option<&mut LocalSend> {
        self.sends
            .get_mut(key)
            .filter(|send| matches!(send.state, SendState::UnderWay))
    }

    fn remove(&mut self, key: &Digest16) {
        let Some(send) = self.sends.remove(key) else {
            return;
        };
        self.by_age.remove(&(send.began, *key));
        self.unanswered.remove(&(send.began, *key));
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

/// The bytes that a message takes besides its answer, in three tables: an entry of each, at a load
/// of three quarters, which is the mean of tables that grow by doubling, and of the nodes of a
/// tree.
const BYTES_OF_MESSAGE: usize = (size_of::<(Digest16, LocalSend)>()
    + size_of::<(Digest16, Option<Digest16>)>()
    + size_of::<(Instant, Digest16)>())
    * 4
    / 3;
/// The bound on messages in the table. Messages without an answer are never forgotten, so this many
/// of them must find room in memory.
const MAX_SENDS: usize = 40_000;
/// The messages that are forgotten at a time: some 0.2 ms, wiping included.
pub(super) const PORTION: usize = 512;

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::StatusCode;

    use super::*;

    /// Room for all messages.
    const ROOM: u64 = 32 << 20;

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

    /// Forgets all that can be forgotten. Returns the number of portions.
    fn forget_all_old(local: &mut LocalSends, room: u64) -> usize {
        let portions = std::iter::from_fn(|| Some(local.forget_old(room)));
        portions
            .take_while(|left| *left == LeftToForget::Some)
            .count()
            + 1
    }

    fn is_answered(local: &LocalSends, number: usize) -> bool {
        matches!(local.get(&key(number)), Some((_, SendState::Answered(_))))
    }

    #[test]
    fn an_answer_that_comes_after_its_turn_to_be_forgotten_is_forgotten_as_well() {
        let mut local = LocalSends::default();
        local.begin(key(1), key(0), None);
        local.forget_old(0);
        assert!(local.is_full(0), "its outcome is not known");
        local.answer(&key(1), key(0), answer(10));
        local.forget_old(0);
        assert_eq!((local.report().messages, local.memory()), (0, 0));
    }

    #[test]
    fn above_the_bounds_the_oldest_answers_are_forgotten_and_unanswered_messages_stay() {
        let mut local = LocalSends::default();
        for number in 0..MAX_SENDS + 1000 {
            local.forget_old(ROOM);
            assert!(!local.is_full(ROOM));
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
        forget_all_old(&mut local, ROOM);
        assert!(local.memory() as u64 <= ROOM && local.sends.len() <= MAX_SENDS);
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
    fn less_room_costs_the_oldest_answers_and_is_told() {
        let mut local = LocalSends::default();
        for number in 0..100 {
            local.begin(key(number), key(1), None);
            local.answer(&key(number), key(1), answer(10_000));
        }
        assert_eq!(local.report().forgotten_early, 0);
        local.forget_old(500_000);
        let kept = local.report();
        assert!(kept.bytes <= 500_000 && kept.messages > 40, "{kept:?}");
        assert_eq!(kept.forgotten_early as usize, 100 - kept.messages);
        assert!(!is_answered(&local, 0) && is_answered(&local, 99));
        local.forget_old(0);
        assert_eq!(local.report().messages, 0);
        assert!(!local.is_full(0));
        local.begin(key(1), key(1), None);
        local.mark_unknown(&key(1));
        local.forget_old(0);
        assert!(local.is_full(0), "an unknown outcome is not forgotten");
    }

    #[test]
    fn a_table_full_of_unknown_outcomes_takes_no_further_message() {
        let mut local = LocalSends::default();
        for number in 0..MAX_SENDS {
            local.begin(key(number), key(1), None);
            local.mark_unknown(&key(number));
        }
        forget_all_old(&mut local, ROOM);
        assert!(local.is_full(ROOM));
        local.forget_unknown(&key(7), &key(2));
        assert!(
            local.is_full(ROOM),
            "a different request under the key must not settle it"
        );
        local.forget_unknown(&key(7), &key(1));
        assert!(!local.is_full(ROOM));
    }

    #[test]
    fn forgotten_messages_leave_neither_queue_entries_nor_callback_keys() {
        let mut local = LocalSends::default();
        for _ in 0..100_000 {
            local.forget_old(ROOM);
            local.begin(key(1), key(1), Some(key(2)));
            local.forget(&key(1));
        }
        assert!(local.by_age.is_empty() && local.by_callback_key.is_empty());
    }

    #[test]
    fn thousands_of_messages_are_forgotten_a_portion_at_a_time() {
        let mut local = LocalSends::default();
        for number in 0..10 * PORTION {
            local.begin(key(number), key(1), None);
            match number % 5 {
                0 => local.mark_unknown(&key(number)),
                _ => local.answer(&key(number), key(1), answer(10)),
            }
        }
        let all = local.report().messages;
        assert_eq!(local.forget_old(0), LeftToForget::Some);
        let forgotten = all - local.report().messages;
        assert!((1..=PORTION).contains(&forgotten), "{forgotten}");
        assert!(!is_answered(&local, 1) && is_answered(&local, all - 1));
        assert_eq!(forget_all_old(&mut local, 0), 10);
        assert_eq!(local.report().messages, all / 5, "of unknown outcome");
        assert_eq!(local.report().forgotten_early as usize, all - all / 5);
    }

    #[tokio::test(start_paused = true)]
    async fn messages_of_yesterday_are_forgotten_whatever_their_outcome() {
        let mut local = LocalSends::default();
        for number in 0..20 {
            local.begin(key(number), key(1), None);
            if number < 10 {
                local.answer(&key(number), key(1), answer(10));
            }
        }
        forget_all_old(&mut local, 0);
        assert_eq!(local.report().messages, 10);
        tokio::time::advance(KEPT).await;
        local.begin(key(30), key(1), None);
        forget_all_old(&mut local, ROOM);
        assert_eq!(local.report().messages, 1);
        assert!(local.unanswered.is_empty());
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
