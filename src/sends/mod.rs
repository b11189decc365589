//! Messages that are sent once, however often they are asked for: what became of each is kept for a day, in memory, and
//! where sidecars share a server there too.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

mod answer;
mod elsewhere;
mod known;

pub use answer::Answer;
use elsewhere::Elsewhere;
use known::{Known, State};

use crate::shared::Shared;

/// The messages that were sent under a key. A restart forgets what is not shared.
#[derive(Debug, Default)]
pub struct Sends {
    known: Mutex<Known>,
}

/// A message that is to be sent under a key.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// The account that sends, by the name that all sidecars have for it.
    pub account: &'a str,
    /// The number that sends; empty where none is named.
    pub sender: &'a str,
    /// The key that the caller has for it.
    pub key: &'a [u8],
    /// What tells one request from another under the same key.
    pub request: Mark,
    /// What the provider's events tell of it, where they do.
    pub told: Option<Mark>,
    /// Whether the caller has found out that it was not sent, where nobody knew.
    pub is_not_sent: bool,
    /// How long it may wait for its turn.
    pub max_wait: Duration,
    /// Whether it may go where the server that sidecars share cannot say whether it went.
    pub goes_unasked: bool,
}

/// What there is to do with it.
#[derive(Debug)]
pub enum Begun<'s> {
    /// Send it, and say what came of it.
    New(Once<'s>),
    /// It is under way.
    UnderWay,
    /// It was written, and no answer came.
    Unknown,
    /// Another was sent under its key.
    Reused,
    /// It was sent before, and this is the answer.
    Answered(Answer),
    /// Nobody can say whether it was sent before.
    Unasked,
    /// So many are of unknown outcome that no more can be known.
    Full,
}

/// A hash that stands for something that need not be known.
pub type Mark = [u8; 16];

/// The mark of several things together.
#[must_use]
pub fn mark<'p>(parts: impl IntoIterator<Item = &'p [u8]>) -> Mark {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let hash: [u8; 32] = hasher.finalize().into();
    hash.first_chunk().copied().unwrap_or_default()
}

/// The mark by which an event of the provider's finds a message: its sender, its recipient, and the text that the caller
/// gave it for events to repeat.
#[must_use]
pub fn told_of(account: &str, sender: &str, recipient: &str, text: &str) -> Mark {
    mark([account, sender, recipient, text].map(str::as_bytes))
}

/// A message that is under way. Dropped before its outcome is known, it is unknown if the provider may have it, and else
/// forgotten.
#[derive(Debug)]
pub struct Once<'s> {
    sends: &'s Sends,
    key: Mark,
    elsewhere: Option<Elsewhere>,
    written: &'s AtomicBool,
    is_settled: bool,
}

impl Sends {
    /// Looks whether a message was sent before, here or by another sidecar. Becomes unknown later on where `written` is
    /// true by then.
    pub async fn begin<'s>(
        &'s self,
        message: Message<'_>,
        shared: Option<&Arc<Shared>>,
        written: &'s AtomicBool,
    ) -> Begun<'s> {
        let key = mark([message.account.as_bytes(), message.sender.as_bytes(), message.key]);
        let elsewhere = shared.map(|shared| Elsewhere::new(shared, message.account, key, message.request));
        if let Some(begun) = self.look(&message, &key) {
            // Another sidecar may have been told meanwhile.
            let asked = elsewhere.as_ref().filter(|_| matches!(begun, Begun::Unknown));
            return match asked {
                Some(elsewhere) => self.look_elsewhere(elsewhere, &message, key).await.unwrap_or(begun),
                None => begun,
            };
        }
        // From here on it is forgotten if this is given up.
        let once = Once { sends: self, key, elsewhere, written, is_settled: false };
        let Some(elsewhere) = &once.elsewhere else { return Begun::New(once) };
        match elsewhere.begin(message.told, message.is_not_sent, message.longest()).await {
            Ok(State::New) => Begun::New(once),
            Err(_) if message.goes_unasked => Begun::New(once),
            Err(_) => Begun::Unasked,
            Ok(state) => once.already(state, message.request),
        }
    }

    /// Takes note that the provider tells of a message, at so many seconds of the day's time: so it was sent, and this is
    /// the answer that it would have had.
    pub async fn told(&self, shared: Option<&Arc<Shared>>, account: &str, of: Mark, at: u64, answer: &Answer) {
        self.known().told(&of, at, answer);
        if let Some(shared) = shared {
            elsewhere::told(shared, account, of, at, answer).await;
        }
    }

    /// Whether there may be a message of which an event could tell.
    #[must_use]
    pub fn listens(&self) -> bool {
        self.known().listens()
    }

    /// What is known here; where nothing is, it is known from now on to be under way.
    fn look(&self, message: &Message<'_>, key: &Mark) -> Option<Begun<'static>> {
        let mut known = self.known();
        known.forget_old();
        if message.is_not_sent {
            known.forget_unknown(key, &message.request);
        }
        match known.get(key) {
            None if known.is_full() => Some(Begun::Full),
            None => {
                known.begin(*key, message.request, message.told);
                None
            }
            Some((request, _)) if *request != message.request => Some(Begun::Reused),
            Some((_, State::Answered(answer))) => Some(Begun::Answered(answer.clone())),
            Some((_, State::Unknown)) => Some(Begun::Unknown),
            Some((_, State::New | State::UnderWay | State::Reused)) => Some(Begun::UnderWay),
        }
    }

    async fn look_elsewhere(&self, elsewhere: &Elsewhere, message: &Message<'_>, key: Mark) -> Option<Begun<'static>> {
        let State::Answered(answer) = elsewhere.look(message.longest()).await.ok()? else { return None };
        self.known().answer(&key, message.request, answer.clone());
        Some(Begun::Answered(answer))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'s> Once<'s> {
    /// Keeps the answer for whoever asks again.
    pub async fn answered(mut self, request: Mark, answer: Answer) {
        self.is_settled = true;
        self.sends.known().answer(&self.key, request, answer.clone());
        if let Some(elsewhere) = self.elsewhere.take() {
            elsewhere.answered(&answer).await;
        }
    }

    /// Forgets it, because the provider did nothing with it: it may be sent again.
    pub async fn forget(mut self) {
        self.is_settled = true;
        self.sends.known().forget(&self.key);
        if let Some(elsewhere) = self.elsewhere.take() {
            elsewhere.forget().await;
        }
    }

    /// What another sidecar has begun.
    fn already(mut self, state: State, request: Mark) -> Begun<'s> {
        self.is_settled = true;
        match state {
            State::Answered(answer) => {
                self.sends.known().answer(&self.key, request, answer.clone());
                Begun::Answered(answer)
            }
            other => {
                self.sends.known().forget(&self.key);
                match other {
                    State::Unknown => Begun::Unknown,
                    State::Reused => Begun::Reused,
                    _ => Begun::UnderWay,
                }
            }
        }
    }
}

impl Drop for Once<'_> {
    fn drop(&mut self) {
        if self.is_settled {
            return;
        }
        let is_written = self.written.load(Ordering::Relaxed);
        match is_written {
            true => self.sends.known().unknown(&self.key),
            false => self.sends.known().forget(&self.key),
        }
        if let Some(elsewhere) = self.elsewhere.take() {
            tokio::spawn(async move {
                match is_written {
                    true => elsewhere.unknown().await,
                    false => elsewhere.forget().await,
                }
            });
        }
    }
}

fn hex(mark: &Mark) -> String {
    HEXLOWER.encode(mark)
}

impl Message<'_> {
    /// How long it can be under way: its wait, and more than any exchange takes.
    fn longest(&self) -> Duration {
        self.max_wait.saturating_add(LONGEST)
    }
}

/// Longer than any exchange of a message takes, with the questions for newer secrets.
const LONGEST: Duration = Duration::from_secs(600);
/// For how long what became of a message is kept.
const KEPT: Duration = Duration::from_secs(86_400);
/// How much earlier than this clock the provider's may be: an event is of a message that began before it.
const CLOCKS_DIFFER: u64 = 10;
