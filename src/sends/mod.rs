//! Messages sent once, however often an application repeats the request.
//!
//! The outcome of each message is kept for a day, in memory and, where sidecars share a server, in
//! the shared server as well.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::time::Instant;

mod answer;
mod awaited;
mod digest;
mod local;
pub mod metrics;
mod shared;
mod state;

pub use answer::StoredAnswer;
pub use awaited::Overdue;
pub use digest::{Digest16, callback_key, digest16};
pub use local::KeptAnswers;

use awaited::Awaited;
use local::{LeftToForget, LocalSends};
use shared::{BeginIntent, SharedSend};
use state::SendState;

use crate::memory::MemoryBudget;
use crate::shared::SharedServer;

/// The messages sent under a key. A restart forgets all messages except those in a shared
/// server.
#[derive(Debug)]
pub struct Sends {
    local: Mutex<LocalSends>,
    awaited: Mutex<Awaited>,
    memory: Arc<MemoryBudget>,
    /// The table itself, for the task that forgets messages.
    this: Weak<Self>,
    /// True while a task forgets messages.
    is_forgetting: AtomicBool,
}

/// A message to be sent under a key.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// The sending account, by a name common to all sidecars.
    pub account: &'a str,
    /// The name of the route. Two applications on two routes may use one key for two messages.
    pub route: &'a str,
    /// The sending number; empty if the request names none.
    pub sender: &'a str,
    /// The application's key for the message.
    pub key: &'a [u8],
    /// A digest of the request, to tell two requests under one key apart.
    pub request: Digest16,
    /// The [`callback_key`] by which a status event can find the message, if it has one.
    pub callback_key: Option<Digest16>,
    /// True if the application has found out that a message of unknown outcome was not sent.
    pub settle_not_sent: bool,
    /// The time for which the message may wait for its turn.
    pub max_wait: Duration,
    /// True if the message may go out without the knowledge of the shared server about earlier
    /// requests.
    pub allow_without_server: bool,
}

/// The decision about a message with a key.
#[derive(Debug)]
pub enum SendDecision<'s> {
    /// Send the message, and report its outcome to the [`PendingSend`].
    Proceed(PendingSend<'s>),
    /// A request for the message is under way.
    UnderWay,
    /// The message was written to the provider, and no answer came.
    OutcomeUnknown,
    /// A different request was sent under the key.
    KeyReused,
    /// The message was sent before, with this answer.
    Answered(StoredAnswer),
    /// The shared server does not answer, and the message must not go out without the server.
    ServerUnavailable,
    /// The table is full of messages of unknown outcome, and these must not be forgotten.
    Full,
}

/// A message under way.
///
/// Dropped before the outcome is known, the message is of unknown outcome if the provider may have
/// received the message, and is forgotten otherwise.
#[derive(Debug)]
pub struct PendingSend<'s> {
    sends: &'s Sends,
    account: Box<str>,
    key: Digest16,
    shared: Option<SharedSend>,
    written: &'s AtomicBool,
    is_settled: bool,
}

impl Sends {
    /// Returns an empty table, whose answers take what room the budget has for them.
    #[must_use]
    pub fn new(memory: &Arc<MemoryBudget>) -> Arc<Self> {
        let sends = Arc::new_cyclic(|this| Self {
            local: Mutex::default(),
            awaited: Mutex::default(),
            memory: Arc::clone(memory),
            this: Weak::clone(this),
            is_forgetting: AtomicBool::new(false),
        });
        let table = Arc::downgrade(&sends);
        memory.keep_answers(move |room| {
            if let Some(sends) = table.upgrade() {
                sends.forget_beyond(room);
            }
        });
        sends
    }

    /// Returns the kept answers, for operators.
    #[must_use]
    pub fn kept_answers(&self) -> KeptAnswers {
        self.local.lock().report()
    }

    /// Forgets old messages, and the oldest answers beyond the room that bodies leave now.
    fn forget_beyond_room(&self) {
        self.forget_beyond(self.memory.room_for_kept());
    }

    /// Forgets old messages, and the oldest answers beyond the room: a portion at once, and the
    /// rest between the turns of other tasks.
    fn forget_beyond(&self, room: u64) -> LeftToForget {
        let left = self.forget_portion(room);
        if left == LeftToForget::Some {
            self.forget_rest();
        }
        left
    }

    fn forget_portion(&self, room: u64) -> LeftToForget {
        let mut local = self.local.lock();
        let left = local.forget_old(room);
        self.memory.set_kept(local.memory() as u64);
        left
    }

    /// Starts the task that forgets the rest, unless the task runs.
    fn forget_rest(&self) {
        // A call from outside the runtime comes at the end of the process, or in a test.
        let (Ok(runtime), Some(sends)) = (Handle::try_current(), self.this.upgrade()) else {
            return;
        };
        if self.is_forgetting.swap(true, Ordering::Relaxed) {
            return;
        }
        runtime.spawn(async move {
            loop {
                tokio::task::yield_now().await;
                let room = sends.memory.room_for_kept();
                if sends.forget_portion(room) == LeftToForget::Nothing {
                    break;
                }
            }
            sends.is_forgetting.store(false, Ordering::Relaxed);
        });
    }

    /// Decides whether a message may be sent, from the knowledge of this sidecar and of the shared
    /// server. The sender sets `written` when the first byte goes out to the provider.
    pub async fn begin<'s>(
        &'s self,
        message: Message<'_>,
        server: Option<&Arc<SharedServer>>,
        written: &'s AtomicBool,
    ) -> SendDecision<'s> {
        let key = digest16([
            message.account.as_bytes(),
            message.route.as_bytes(),
            message.sender.as_bytes(),
            message.key,
        ]);
        let shared =
            server.map(|server| SharedSend::new(server, message.account, key, message.request));
        if let Some(decision) = self.decide_locally(&message, &key) {
            let SendDecision::OutcomeUnknown = decision else {
                return decision;
            };
            // A status event may have reached another sidecar meanwhile.
            let answer = match &shared {
                Some(shared) => self.shared_answer(shared, &message, key).await,
                None => None,
            };
            return answer.map_or(decision, SendDecision::Answered);
        }
        // From here on the message is under way locally. A drop of `pending`, also by a cancelled
        // future, forgets the message.
        let pending = PendingSend {
            sends: self,
            account: message.account.into(),
            key,
            shared,
            written,
            is_settled: false,
        };
        let Some(shared) = &pending.shared else {
            return SendDecision::Proceed(pending);
        };
        match shared
            .begin(
                message.callback_key,
                message.intent(),
                message.max_under_way(),
            )
            .await
        {
            Ok(SendState::New) => SendDecision::Proceed(pending),
            Err(_) if message.allow_without_server => SendDecision::Proceed(pending),
            Err(_) => SendDecision::ServerUnavailable,
            Ok(state) => pending.decide_by_server(state, message.request),
        }
    }

    /// Records that a status event of the provider names a message as sent, at `sent_at` seconds of
    /// Unix time, and keeps `answer` in place of the missing answer.
    pub async fn settle_by_event(
        &self,
        server: Option<&Arc<SharedServer>>,
        account: &str,
        callback_key: Digest16,
        sent_at: u64,
        answer: &StoredAnswer,
    ) {
        self.local
            .lock()
            .settle_by_event(&callback_key, sent_at, answer);
        self.forget_beyond_room();
        if let Some(server) = server {
            shared::settle_by_event(server, account, callback_key, sent_at, answer).await;
        }
    }

    /// Takes note of the statuses of messages, by the ids that the provider gave the messages.
    pub fn note_statuses<'i>(&self, account: &str, ids: impl Iterator<Item = &'i str>) {
        let mut awaited = self.awaited.lock();
        for id in ids {
            awaited.status(account, id);
        }
    }

    /// Returns the accounts with messages of which no status has told for too long.
    #[must_use]
    pub fn overdue(&self) -> Vec<Overdue> {
        self.awaited.lock().overdue(Instant::now())
    }

    /// Returns true if a status event could settle a message of this sidecar.
    #[must_use]
    pub fn has_callback_keys(&self) -> bool {
        self.local.lock().has_callback_keys()
    }

    /// Decides from the knowledge of this sidecar alone. An unknown message is recorded as under
    /// way, and `None` returned.
    fn decide_locally(
        &self,
        message: &Message<'_>,
        key: &Digest16,
    ) -> Option<SendDecision<'static>> {
        let room = self.memory.room_for_kept();
        let left = self.forget_beyond(room);
        let mut local = self.local.lock();
        if message.settle_not_sent {
            local.forget_unknown(key, &message.request);
        }
        match local.get(key) {
            // While more can be forgotten, there is room in a moment.
            None if left == LeftToForget::Nothing && local.is_full(room) => {
                Some(SendDecision::Full)
            }
            None => {
                local.begin(*key, message.request, message.callback_key);
                None
            }
            Some((request, _)) if *request != message.request => Some(SendDecision::KeyReused),
            Some((_, SendState::Answered(answer))) => Some(SendDecision::Answered(answer.clone())),
            Some((_, SendState::Unknown)) => Some(SendDecision::OutcomeUnknown),
            Some((_, SendState::New | SendState::UnderWay | SendState::KeyReused)) => {
                Some(SendDecision::UnderWay)
            }
        }
    }

    /// Returns the shared server's answer for a message, and keeps a local copy.
    async fn shared_answer(
        &self,
        shared: &SharedSend,
        message: &Message<'_>,
        key: Digest16,
    ) -> Option<StoredAnswer> {
        let SendState::Answered(answer) = shared.look_up(message.max_under_way()).await.ok()?
        else {
            return None;
        };
        self.local
            .lock()
            .answer(&key, message.request, answer.clone());
        self.forget_beyond_room();
        Some(answer)
    }
}

impl<'s> PendingSend<'s> {
    /// Takes note of the id that the provider gave the message, for the status of the message.
    /// Where sidecars share a server, a different sidecar may get the status, so no status is
    /// awaited.
    pub fn await_status(&self, id: &str) {
        if self.shared.is_none() {
            let mut awaited = self.sends.awaited.lock();
            awaited.sent(&self.account, id, Instant::now());
        }
    }

    /// Keeps the provider's answer for repeated requests.
    pub async fn store_answer(mut self, request: Digest16, answer: StoredAnswer) {
        self.is_settled = true;
        self.sends
            .local
            .lock()
            .answer(&self.key, request, answer.clone());
        self.sends.forget_beyond_room();
        if let Some(shared) = self.shared.take() {
            shared.store_answer(&answer).await;
        }
    }

    /// Forgets the message, because the provider did nothing: the message may be sent
    /// again.
    pub async fn forget(mut self) {
        self.is_settled = true;
        self.sends.local.lock().forget(&self.key);
        if let Some(shared) = self.shared.take() {
            shared.forget().await;
        }
    }

    /// Turns the shared server's state of a message begun by another sidecar into a decision.
    fn decide_by_server(mut self, state: SendState, request: Digest16) -> SendDecision<'s> {
        self.is_settled = true;
        let mut local = self.sends.local.lock();
        if let SendState::Answered(answer) = state {
            local.answer(&self.key, request, answer.clone());
            return SendDecision::Answered(answer);
        }
        local.forget(&self.key);
        match state {
            SendState::Unknown => SendDecision::OutcomeUnknown,
            SendState::KeyReused => SendDecision::KeyReused,
            SendState::New | SendState::UnderWay | SendState::Answered(_) => SendDecision::UnderWay,
        }
    }
}

impl Drop for PendingSend<'_> {
    fn drop(&mut self) {
        if self.is_settled {
            return;
        }
        let is_written = self.written.load(Ordering::Relaxed);
        if is_written {
            self.sends.local.lock().mark_unknown(&self.key);
        } else {
            self.sends.local.lock().forget(&self.key);
        }
        if let Some(shared) = self.shared.take() {
            tokio::spawn(async move {
                if is_written {
                    shared.mark_unknown().await;
                } else {
                    shared.forget().await;
                }
            });
        }
    }
}

impl Message<'_> {
    fn intent(&self) -> BeginIntent {
        if self.settle_not_sent {
            BeginIntent::SettleNotSent
        } else {
            BeginIntent::Begin
        }
    }

    /// Returns the longest time for which the message can be under way: its wait and the exchange.
    fn max_under_way(&self) -> Duration {
        self.max_wait.saturating_add(MAX_EXCHANGE)
    }
}

/// A bound on the time from the turn of a message to the outcome. No exchange takes as long, not
/// even with the questions for newer secrets: after this time the sidecar that has the message
/// under way must be gone.
const MAX_EXCHANGE: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::StatusCode;

    use super::*;
    use crate::memory::Holder;

    #[tokio::test]
    async fn a_body_that_needs_the_room_of_thousands_of_answers_waits_for_a_portion_alone() {
        const BODY: u64 = 11 << 20;
        const MESSAGES: u64 = 20_000;
        let memory = Arc::new(MemoryBudget::new(0));
        let sends = Sends::new(&memory);
        for number in 0..MESSAGES {
            let answer = StoredAnswer {
                status: StatusCode::OK,
                media_type: None,
                body: Bytes::from_static(&[b'x'; 100]),
            };
            let key = digest16([&number.to_le_bytes()[..]]);
            sends.local.lock().answer(&key, key, answer);
        }
        sends.forget_beyond_room();
        let before = sends.kept_answers();
        let mut body = memory.reserve(Holder::Send);
        assert!(body.grow_to(BODY));
        let at_once = before.messages - sends.kept_answers().messages;
        assert!((1..=local::PORTION).contains(&at_once), "{at_once}");
        let mut turns = 0;
        while memory.report().kept_answers > memory.report().room_for_kept {
            let known = sends.kept_answers().messages;
            tokio::task::yield_now().await;
            let forgotten = known - sends.kept_answers().messages;
            assert!(forgotten <= local::PORTION, "{forgotten} in one turn");
            turns += 1;
            assert!(turns < 100, "{:?}", memory.report());
        }
        assert!(turns > 3, "{turns}");
    }
}
