//! What this sidecar knows of messages.

use std::collections::{HashMap, VecDeque};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use super::{Answer, CLOCKS_DIFFER, KEPT, Mark};

/// The messages by their keys.
#[derive(Debug, Default)]
pub(super) struct Known {
    sends: HashMap<Mark, Send>,
    /// Which of them an event tells of.
    told: HashMap<Mark, Mark>,
    /// The oldest first; one whose send is there no more, or anew, stands for nothing.
    by_age: VecDeque<(Instant, Mark)>,
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

    pub(super) fn begin(&mut self, key: Mark, request: Mark, told: Option<Mark>) {
        let began = Instant::now();
        let began_at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.by_age.push_back((began, key));
        self.told.extend(told.map(|told| (told, key)));
        self.sends.insert(key, Send { began, began_at, request, told, state: State::UnderWay });
    }

    pub(super) fn unknown(&mut self, key: &Mark) {
        // What an event has told already is known.
        if let Some(send) = self.sends.get_mut(key).filter(|send| matches!(send.state, State::UnderWay)) {
            send.state = State::Unknown;
        }
    }

    pub(super) fn answer(&mut self, key: &Mark, request: Mark, answer: Answer) {
        if !self.sends.contains_key(key) {
            self.begin(*key, request, None);
        }
        let Some(send) = self.sends.get_mut(key) else { return };
        self.bytes += answer.body.len();
        if let State::Answered(before) = std::mem::replace(&mut send.state, State::Answered(answer)) {
            self.bytes = self.bytes.saturating_sub(before.body.len());
        }
        if let Some(told) = send.told.take() {
            self.told.remove(&told);
        }
    }

    /// Answers a message that has no answer yet with what an event says of it.
    pub(super) fn told(&mut self, told: &Mark, at: u64, answer: &Answer) {
        let Some(key) = self.told.get(told).copied() else { return };
        let Some(send) = self.sends.get(&key) else { return };
        if send.began_at <= at + CLOCKS_DIFFER && !matches!(send.state, State::Answered(_)) {
            self.answer(&key, send.request, answer.clone());
        }
    }

    pub(super) fn forget_unknown(&mut self, key: &Mark) {
        if self.sends.get(key).is_some_and(|send| matches!(send.state, State::Unknown)) {
            self.remove(key);
        }
    }

    pub(super) fn remove(&mut self, key: &Mark) {
        let Some(send) = self.sends.remove(key) else { return };
        if let State::Answered(answer) = send.state {
            self.bytes = self.bytes.saturating_sub(answer.body.len());
        }
        if let Some(told) = send.told {
            self.told.remove(&told);
        }
    }

    /// Forgets what is older than a day, and the oldest where there is too much.
    pub(super) fn forget_old(&mut self) {
        let now = Instant::now();
        while let Some((began, key)) = self.by_age.front().copied() {
            let is_current = self.sends.get(&key).is_some_and(|send| send.began == began);
            let is_too_much = self.by_age.len() > MOST || self.bytes > MOST_BYTES;
            if is_current && !is_too_much && now.saturating_duration_since(began) < KEPT {
                return;
            }
            self.by_age.pop_front();
            if is_current {
                self.remove(&key);
            }
        }
    }
}

/// At most some 200 bytes each beside the answer; Meta's answers have some 250.
const MOST: usize = 100_000;
const MOST_BYTES: usize = 32 * 1024 * 1024;
