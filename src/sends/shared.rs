//! The common knowledge of all sidecars about a message, in the shared server.
//!
//! While the shared server does not answer, each sidecar knows its own messages only.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use redis::Script;

use super::answer::StoredAnswer;
use super::digest::{Digest16, hex};
use super::state::{KEPT, MAX_CLOCK_DIFFERENCE, SendState};
use crate::shared::{ServerLost, SharedServer};
use crate::units::millis;

/// A message in the shared server. Answers are stored sealed, since answers hold phone numbers.
#[derive(Debug)]
pub(super) struct SharedSend {
    server: Arc<SharedServer>,
    /// The prefix of all Redis keys of the account.
    account: String,
    /// The Redis key of the message.
    key: String,
    /// The keyed hash of the request, as hexadecimal digits.
    request: String,
    /// A random id of this attempt. Only the sidecar that has begun a message may end it.
    owner: String,
}

/// The purpose of a call of `begin.lua`.
#[derive(Clone, Copy, Debug)]
pub(super) enum BeginIntent {
    /// Begin the message, unless it was sent before.
    Begin,
    /// Begin the message, even if its outcome is unknown: the application says that the message was
    /// not sent.
    SettleNotSent,
    /// Read the state and change nothing.
    LookUp,
}

impl SharedSend {
    pub(super) fn new(
        server: &Arc<SharedServer>,
        account: &str,
        key: Digest16,
        request: Digest16,
    ) -> Self {
        let names = server.names();
        let account = names.account(account);
        let key = names.below(&account, "send", &[&hex(&key)]);
        let request = names.hidden(&request);
        let owner = format!("{:016x}", RandomState::new().hash_one(&key));
        Self {
            server: Arc::clone(server),
            account,
            key,
            request,
            owner,
        }
    }

    /// Records that the message is under way, unless it was sent before, and returns the state
    /// before. A message under way for longer than `max_under_way` counts as of unknown outcome:
    /// the sidecar that could report the outcome is gone.
    pub(super) async fn begin(
        &self,
        callback_key: Option<Digest16>,
        intent: BeginIntent,
        max_under_way: Duration,
    ) -> Result<SendState, ServerLost> {
        let state = self.run_begin(intent, max_under_way).await?;
        if let (SendState::New, Some(callback_key)) = (&state, callback_key) {
            self.register_callback_key(&callback_key).await;
        }
        Ok(state)
    }

    /// Returns the state of the message and changes nothing.
    pub(super) async fn look_up(&self, max_under_way: Duration) -> Result<SendState, ServerLost> {
        self.run_begin(BeginIntent::LookUp, max_under_way).await
    }

    async fn run_begin(
        &self,
        intent: BeginIntent,
        max_under_way: Duration,
    ) -> Result<SendState, ServerLost> {
        let mut script = BEGIN.key(&self.key);
        script
            .arg(&self.request)
            .arg(intent.as_arg())
            .arg(millis(KEPT))
            .arg(millis(max_under_way))
            .arg(&self.owner);
        let (state, sealed): (String, Vec<u8>) = self.server.run(&script).await?;
        Ok(match state.as_str() {
            "new" => SendState::New,
            "reused" => SendState::KeyReused,
            "unknown" => SendState::Unknown,
            // An answer that does not open was sealed under a different password, or for a
            // different message: the message was sent, but the answer cannot be repeated.
            "answered" => self
                .unsealed(&sealed)
                .map_or(SendState::Unknown, SendState::Answered),
            _ => SendState::UnderWay,
        })
    }

    fn unsealed(&self, sealed: &[u8]) -> Option<StoredAnswer> {
        StoredAnswer::from_bytes(&self.server.names().open(sealed, &self.key)?)
    }

    async fn register_callback_key(&self, callback_key: &Digest16) {
        let key = redis_key_of(&self.server, &self.account, callback_key);
        let mut script = REGISTER_CALLBACK.key(key);
        script.arg(&self.key).arg(millis(KEPT)).arg(AMBIGUOUS);
        // After a failure here, events cannot settle the message, and the application has to.
        self.server.run::<()>(&script).await.ok();
    }

    /// Keeps the provider's answer.
    pub(super) async fn store_answer(self, answer: &StoredAnswer) {
        if let Some(sealed) = self.server.names().seal(&answer.to_bytes(), &self.key) {
            self.end("answered", sealed).await;
        }
    }

    /// Records that the outcome of the message is unknown.
    pub(super) async fn mark_unknown(self) {
        self.end("unknown", Vec::new()).await;
    }

    /// Forgets the message, unless a different sidecar has begun the message.
    pub(super) async fn forget(self) {
        self.end("forget", Vec::new()).await;
    }

    /// Reports an outcome. While the shared server is lost the report is repeated in the
    /// background for [`END_RETRIES`] seconds; without a report the message becomes a message of
    /// unknown outcome.
    async fn end(self, outcome: &'static str, sealed: Vec<u8>) {
        let mut script = END.key(&self.key);
        script
            .arg(&self.request)
            .arg(outcome)
            .arg(millis(KEPT))
            .arg(sealed)
            .arg(&self.owner);
        if self.server.run::<()>(&script).await.is_ok() {
            return;
        }
        // A task of its own, so the application's answer does not wait for the server.
        tokio::spawn(async move {
            for _ in 0..END_RETRIES {
                tokio::time::sleep(END_RETRY_INTERVAL).await;
                if self.server.run::<()>(&script).await.is_ok() {
                    return;
                }
            }
        });
    }
}

impl BeginIntent {
    fn as_arg(self) -> &'static str {
        match self {
            Self::Begin => "begin",
            Self::SettleNotSent => "settle",
            Self::LookUp => "look",
        }
    }
}

/// Keeps `answer` for the message that a status event names, if that message has no answer yet.
pub(super) async fn settle_by_event(
    server: &Arc<SharedServer>,
    account: &str,
    callback_key: Digest16,
    sent_at: u64,
    answer: &StoredAnswer,
) {
    let names = server.names();
    let key = redis_key_of(server, &names.account(account), &callback_key);
    let find = FIND_BY_CALLBACK.key(key);
    let Ok(Some(message)) = server.run::<Option<String>>(&find).await else {
        return;
    };
    if message == AMBIGUOUS {
        return;
    }
    let Some(sealed) = names.seal(&answer.to_bytes(), &message) else {
        return;
    };
    let mut settle = SETTLE_BY_EVENT.key(message);
    settle.arg(sent_at).arg(MAX_CLOCK_DIFFERENCE).arg(sealed);
    server.run::<()>(&settle).await.ok();
}

/// The Redis key that leads from a callback key to a message. The kind `told` is part of the
/// stored names, which sidecars of other versions share.
fn redis_key_of(server: &SharedServer, account: &str, callback_key: &Digest16) -> String {
    server.names().below(account, "told", &[&hex(callback_key)])
}

static BEGIN: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/begin.lua")));
static END: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/end.lua")));
static REGISTER_CALLBACK: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("scripts/register_callback.lua")));
static FIND_BY_CALLBACK: LazyLock<Script> =
    LazyLock::new(|| Script::new("return redis.call('GET', KEYS[1])"));
static SETTLE_BY_EVENT: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("scripts/settle_by_event.lua")));
/// The value under a callback key shared by several messages. No Redis key of a message looks like
/// this value.
const AMBIGUOUS: &str = "?";
/// The number of repeated reports of an outcome to a silent shared server;
/// a minute with [`END_RETRY_INTERVAL`]: enough for a restart, or for a replica to take over.
const END_RETRIES: u32 = 60;
/// The time between two reports: a quick restart takes as long.
const END_RETRY_INTERVAL: Duration = Duration::from_secs(1);
