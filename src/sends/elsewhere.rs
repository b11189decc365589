//! What all sidecars know of a message, in the server that they share. While that does not answer, each knows its own.

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
}

impl Elsewhere {
    pub(super) fn new(shared: &Arc<Shared>, account: &str, key: Mark, request: Mark) -> Self {
        let names = shared.names();
        let account = names.account(account);
        let key = names.below(&account, "send", &[&hex(&key)]);
        Self { shared: Arc::clone(shared), account, key, request: hex(&request) }
    }

    /// Says that it is under way, unless it was sent before.
    pub(super) async fn begin(&self, told: Option<Mark>, is_not_sent: bool) -> Result<State, Lost> {
        let state = self.ask(if is_not_sent { "settle" } else { "begin" }).await?;
        if let (State::New, Some(told)) = (&state, told) {
            let mut script = TELL.key(self.shared.names().below(&self.account, "told", &[&hex(&told)]));
            script.arg(&self.key).arg(millis(KEPT));
            self.shared.run::<()>(&script).await?;
        }
        Ok(state)
    }

    /// What is known of it.
    pub(super) async fn look(&self) -> Result<State, Lost> {
        self.ask("look").await
    }

    async fn ask(&self, why: &str) -> Result<State, Lost> {
        let mut script = BEGIN.key(&self.key);
        script.arg(&self.request).arg(why).arg(millis(KEPT)).arg(millis(LONGEST));
        let (state, rest): (String, Vec<u8>) = self.shared.run(&script).await?;
        Ok(match state.as_str() {
            "new" => State::New,
            "reused" => State::Reused,
            "unknown" => State::Unknown,
            "answered" => match self.shared.names().open(&rest).as_deref().and_then(Answer::from_bytes) {
                Some(answer) => State::Answered(answer),
                // It was sealed with another password: that it was sent is known, its answer is not.
                None => State::Unknown,
            },
            _ => State::UnderWay,
        })
    }

    pub(super) async fn answered(&self, answer: &Answer) {
        if let Some(sealed) = self.shared.names().seal(&answer.to_bytes()) {
            self.end("answered", &sealed).await;
        }
    }

    pub(super) async fn unknown(&self) {
        self.end("unknown", &[]).await;
    }

    pub(super) async fn forget(&self) {
        self.end("forget", &[]).await;
    }

    /// Where the server is lost, it becomes unknown by itself when no exchange could take so long.
    async fn end(&self, how: &str, sealed: &[u8]) {
        let mut script = END.key(&self.key);
        script.arg(&self.request).arg(how).arg(millis(KEPT)).arg(sealed);
        self.shared.run::<()>(&script).await.unwrap_or_default();
    }
}

/// Answers a message that has no answer yet with what an event says of it.
pub(super) async fn told(shared: &Arc<Shared>, account: &str, of: Mark, at: u64, answer: &Answer) {
    let names = shared.names();
    let Some(sealed) = names.seal(&answer.to_bytes()) else { return };
    let told = names.below(&names.account(account), "told", &[&hex(&of)]);
    let mut script = WHICH.key(&told);
    let Ok(Some(key)) = shared.run::<Option<String>>(script.arg(0)).await else { return };
    let mut script = TOLD.key(key);
    script.arg(at).arg(CLOCKS_DIFFER).arg(sealed);
    shared.run::<()>(&script).await.unwrap_or_default();
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

static BEGIN: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/begin.lua")));
static END: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/end.lua")));
static TELL: LazyLock<Script> = LazyLock::new(|| Script::new("redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])"));
static WHICH: LazyLock<Script> = LazyLock::new(|| Script::new("return redis.call('GET', KEYS[1])"));
static TOLD: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/told.lua")));
/// No exchange of a message takes longer, with its waits: then nobody is left who could tell what became of it.
const LONGEST: Duration = Duration::from_secs(600);
