//! What all sidecars know of a message, in the server that they share. While that does not answer, each knows its own.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use redis::Script;

use super::known::State;
use super::{Answer, CLOCKS_DIFFER, KEPT, Mark, hex};
use crate::shared::{Lost, Shared};

/// One message there. Answers are sealed: they hold phone numbers.
#[derive(Debug)]
pub(super) struct Elsewhere {
    shared: Arc<Shared>,
    account: String,
    key: String,
    request: String,
    /// Which of the sidecars that may have begun it this one is.
    owner: String,
}

impl Elsewhere {
    pub(super) fn new(shared: &Arc<Shared>, account: &str, key: Mark, request: Mark) -> Self {
        let names = shared.names();
        let account = names.account(account);
        let key = names.below(&account, "send", &[&hex(&key)]);
        let request = names.hidden(&request);
        let owner = format!("{:016x}", RandomState::new().hash_one(&key));
        Self { shared: Arc::clone(shared), account, key, request, owner }
    }

    /// Says that it is under way, unless it was sent before. It may be so for `longest`: then nobody is left who could tell
    /// what became of it.
    pub(super) async fn begin(&self, told: Option<Mark>, is_not_sent: bool, longest: Duration) -> Result<State, Lost> {
        let state = self.ask(if is_not_sent { "settle" } else { "begin" }, longest).await?;
        if let (State::New, Some(told)) = (&state, told) {
            let mut script = TELL.key(self.shared.names().below(&self.account, "told", &[&hex(&told)]));
            script.arg(&self.key).arg(millis(KEPT)).arg(SEVERAL);
            // Without it, the caller settles an unknown outcome.
            self.shared.run::<()>(&script).await.unwrap_or_default();
        }
        Ok(state)
    }

    /// What is known of it.
    pub(super) async fn look(&self, longest: Duration) -> Result<State, Lost> {
        self.ask("look", longest).await
    }

    async fn ask(&self, why: &str, longest: Duration) -> Result<State, Lost> {
        let mut script = BEGIN.key(&self.key);
        script.arg(&self.request).arg(why).arg(millis(KEPT)).arg(millis(longest)).arg(&self.owner);
        let (state, rest): (String, Vec<u8>) = self.shared.run(&script).await?;
        Ok(match state.as_str() {
            "new" => State::New,
            "reused" => State::Reused,
            "unknown" => State::Unknown,
            "answered" => match self.shared.names().open(&rest).as_deref().and_then(Answer::from_bytes) {
                Some(answer) => State::Answered(answer),
                // Somebody else has written it: that it was sent is known, its answer is not.
                None => State::Unknown,
            },
            _ => State::UnderWay,
        })
    }

    /// Keeps its answer.
    pub(super) async fn answered(self, answer: &Answer) {
        if let Some(sealed) = self.shared.names().seal(&answer.to_bytes()) {
            self.end("answered", sealed).await;
        }
    }

    /// Says that nobody knows what became of it.
    pub(super) async fn unknown(self) {
        self.end("unknown", Vec::new()).await;
    }

    /// Forgets it, if nobody else has begun it meanwhile.
    pub(super) async fn forget(self) {
        self.end("forget", Vec::new()).await;
    }

    /// While the server is lost it is tried again for a while; in the end the message is of unknown outcome there.
    async fn end(self, how: &'static str, sealed: Vec<u8>) {
        let mut script = END.key(&self.key);
        script.arg(&self.request).arg(how).arg(millis(KEPT)).arg(sealed).arg(&self.owner);
        if self.shared.run::<()>(&script).await.is_ok() {
            return;
        }
        // The caller does not wait for it.
        tokio::spawn(async move {
            for _ in 0..TRIES {
                tokio::time::sleep(PAUSE).await;
                if self.shared.run::<()>(&script).await.is_ok() {
                    return;
                }
            }
        });
    }
}

/// Answers a message that has no answer yet with what an event says of it.
pub(super) async fn told(shared: &Arc<Shared>, account: &str, of: Mark, at: u64, answer: &Answer) {
    let names = shared.names();
    let Some(sealed) = names.seal(&answer.to_bytes()) else { return };
    let told = names.below(&names.account(account), "told", &[&hex(&of)]);
    let mut script = WHICH.key(&told);
    let Ok(Some(key)) = shared.run::<Option<String>>(script.arg(0)).await else { return };
    if key == SEVERAL {
        return;
    }
    let mut script = TOLD.key(key);
    script.arg(at).arg(CLOCKS_DIFFER).arg(sealed);
    shared.run::<()>(&script).await.unwrap_or_default();
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

static BEGIN: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/begin.lua")));
static END: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/end.lua")));
static TELL: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/tell.lua")));
static WHICH: LazyLock<Script> = LazyLock::new(|| Script::new("return redis.call('GET', KEYS[1])"));
static TOLD: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/told.lua")));
/// Stands for a message where several have the same text.
const SEVERAL: &str = "?";
/// How often an outcome is told again to a server that does not answer.
const TRIES: u32 = 60;
const PAUSE: Duration = Duration::from_secs(1);
