//! A bucket in the shared server, and the requests of a sidecar for tokens.

use std::sync::LazyLock;
use std::time::Duration;

use redis::{FromRedisValue, ParsingError, Script, Value};
use tokio::time::Instant;

use super::sharing::{CountedBy, RemotePause, Sharing, micros};
use crate::limit::kind::LimitKind;
use crate::shared::ServerLost;
use crate::units::Quota;

/// The bucket of one limit in the shared server.
#[derive(Debug)]
pub struct RemoteBucket {
    sharing: Sharing,
    /// Key of the tokens.
    tokens_key: String,
    /// Key of the pause and the slowdown, as taught by throttles.
    taught_key: String,
    counts_messages: bool,
}

/// A request for tokens.
#[derive(Clone, Copy, Debug)]
pub struct TakeRequest {
    /// Quota of the bucket.
    pub quota: Quota,
    /// Number of wanted tokens.
    pub wanted: u32,
    /// Time by which a token may be taken before becoming good.
    pub ahead: Duration,
    /// Knowledge of the sidecar about the bucket.
    pub known: LocalView,
}

/// Knowledge of a sidecar about a shared bucket, to keep a server without its old state (a
/// restart, a `FLUSHALL`, an eviction) from giving a second burst. Empty by default.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalView {
    /// Least time until the bucket is full, if the server knows all taken tokens.
    pub full_in: Duration,
    /// Least time until the bucket is full, if the server has lost its state.
    pub full_in_if_lost: Duration,
    /// Epoch of the server: the start of the counting, in microseconds since 1970 by the server's
    /// clock; 0 if not known.
    pub epoch: u64,
    /// Worth of the tokens given back by all sidecars that `full_in` has left out already.
    pub given_back: Duration,
}

/// The shared server's reply to a [`TakeRequest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TakeReply {
    /// Number of tokens taken.
    pub count: u32,
    /// Time from which on the first token is good.
    pub first: Instant,
    /// Time between two tokens, taken or not; in a pause, as of its end.
    pub interval: Duration,
    /// Number of tokens left in the bucket.
    pub left: u32,
    /// Least time until the bucket is full, if no token is taken.
    pub full_in: Duration,
    /// Time in which asking is of no use, because of a pause of the limit or of the account.
    pub wait: Duration,
    /// The part of `wait` that a pause of the account takes.
    pub account_wait: Duration,
    /// Time until a token beyond those taken can be good.
    pub next: Duration,
    /// Epoch of the server, in microseconds since 1970.
    pub epoch: u64,
    /// Worth of the tokens given back by all sidecars; zero in a pause.
    pub given_back: Duration,
}

impl TakeRequest {
    /// The arguments of `take.lua`, in its order. Times are in whole microseconds.
    #[must_use]
    pub fn arguments(&self) -> [u64; 8] {
        [
            micros(self.quota.interval()).max(1),
            self.quota.burst.get().into(),
            self.wanted.into(),
            micros(self.ahead),
            micros(self.known.full_in),
            micros(self.known.full_in_if_lost),
            self.known.epoch,
            micros(self.known.given_back),
        ]
    }
}

/// The values returned by `take.lua`, in its order. Times are in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TakeScriptReply {
    /// Number of tokens taken.
    pub taken: i64,
    /// Time until the first token is good; negative if it has been good for a while.
    pub first_in: i64,
    /// Time between two tokens, taken or not; in a pause, as of its end.
    pub interval: i64,
    /// Number of tokens left.
    pub left: i64,
    /// Time until the bucket is full; negative if it has been full for a while.
    pub full_in: i64,
    /// Time until a token beyond those taken can be good; negative as above.
    pub next_in: i64,
    /// Time for which the limit or the account is paused.
    pub paused: i64,
    /// Time for which the account is paused.
    pub account_paused: i64,
    /// Epoch of the server: a time since 1970.
    pub epoch: u64,
    /// Worth of the tokens given back by all sidecars.
    pub given_back: u64,
}

impl FromRedisValue for TakeScriptReply {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        let values: [i64; 10] = FromRedisValue::from_redis_value(value)?;
        let mut values = values.into_iter();
        let mut next = || values.next().unwrap_or_default();
        // The fields are set in the order in which they are written here.
        Ok(Self {
            taken: next(),
            first_in: next(),
            interval: next(),
            left: next(),
            full_in: next(),
            next_in: next(),
            paused: next(),
            account_paused: next(),
            epoch: next().unsigned_abs(),
            given_back: next().unsigned_abs(),
        })
    }
}

impl TakeReply {
    /// The meaning of a reply of `take.lua` that came now, to a request of the time `asked`.
    #[must_use]
    pub fn of_script(reply: TakeScriptReply, asked: Instant, now: Instant) -> Self {
        let first_in = time(reply.first_in);
        Self {
            count: u32::try_from(reply.taken).unwrap_or_default(),
            first: if reply.first_in >= 0 {
                now + first_in
            } else {
                now.checked_sub(first_in).unwrap_or(now)
            },
            interval: time(reply.interval),
            left: u32::try_from(reply.left).unwrap_or_default(),
            // Less the time since the server counted, and that of the next request: told of more,
            // the server would take tokens away with each request.
            full_in: time(reply.full_in).saturating_sub(2 * (now - asked)),
            wait: time(reply.paused),
            account_wait: time(reply.account_paused),
            next: time(reply.next_in.max(0)),
            epoch: reply.epoch,
            given_back: Duration::from_micros(reply.given_back),
        }
    }
}

impl Sharing {
    /// The bucket of a limit: equal kind and parts name an equal bucket in all sidecars.
    #[must_use]
    pub fn bucket(&self, kind: LimitKind, parts: &[&str]) -> RemoteBucket {
        let names = self.server().names();
        let tokens_key = names.below(&self.name, kind.key_name(), parts);
        RemoteBucket {
            taught_key: format!("{tokens_key}:taught"),
            sharing: self.clone(),
            tokens_key,
            counts_messages: kind.counts_messages(),
        }
    }
}

impl RemoteBucket {
    /// The current counter.
    pub(in crate::limit) fn counted_by(&self) -> CountedBy {
        self.sharing.counted_by()
    }

    /// Takes tokens.
    ///
    /// # Errors
    /// If the shared server does not answer in time.
    pub async fn take(&self, request: TakeRequest) -> Result<TakeReply, ServerLost> {
        let mut script = TAKE.key(&self.tokens_key);
        script.key(&self.taught_key).key(self.sharing.epoch_key());
        if self.counts_messages {
            script.key(self.sharing.account_pause_key());
        }
        for argument in request.arguments() {
            script.arg(argument);
        }
        let asked = Instant::now();
        let reply: TakeScriptReply = self.sharing.server().run(&script).await?;
        let now = Instant::now();
        if reply.account_paused > 0 {
            let rest = time(reply.account_paused);
            self.sharing.account_pause.paused_elsewhere(rest, now);
        }
        Ok(TakeReply::of_script(reply, asked, now))
    }

    /// Gives back unused tokens. Tokens are lost if the server does not hear of their return.
    pub(in crate::limit) async fn give_back(&self, quota: Quota, count: u32) {
        let mut script = GIVE_BACK.key(&self.tokens_key);
        script.arg(micros(quota.interval()).max(1)).arg(count);
        self.sharing.server().run::<()>(&script).await.ok();
    }

    /// Pauses the limit in all sidecars.
    pub(in crate::limit) fn pause(&self, pause: RemotePause) {
        self.sharing.pause(self.taught_key.clone(), pause);
    }
}

/// Length of a time, counted by the scripts in microseconds of either sign.
fn time(micros: i64) -> Duration {
    Duration::from_micros(micros.unsigned_abs())
}

static TAKE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/take.lua")));
static GIVE_BACK: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("scripts/give_back.lua")));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_reply_makes_no_bucket_emptier() {
        let asked = Instant::now();
        for (after_ms, full_in_ms) in [(0, 500), (10, 480), (300, 0)] {
            let now = asked + Duration::from_millis(after_ms);
            let script_reply = TakeScriptReply {
                full_in: 500_000,
                ..TakeScriptReply::default()
            };
            let reply = TakeReply::of_script(script_reply, asked, now);
            assert_eq!(reply.full_in.as_millis(), full_in_ms, "{after_ms} ms");
        }
    }
}
