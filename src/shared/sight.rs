//! First sights of secrets in the shared server: a pod that starts learns when another one first
//! saw a secret.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redis::Script;

use super::{ServerLost, SharedServer};
use crate::secret::Secret;

impl SharedServer {
    /// Returns the time of the first sight of a secret that a provider made at random, by this
    /// sidecar at `since` or earlier by a different sidecar.
    ///
    /// The server sees a hash under a key derived from the server's password. Values chosen by
    /// people are excluded: on a server without a password the value would fall to a dictionary.
    ///
    /// # Errors
    /// If the shared server does not answer.
    pub async fn first_sight(
        &self,
        secret: &Secret,
        since: SystemTime,
    ) -> Result<SystemTime, ServerLost> {
        #[expect(
            clippy::disallowed_methods,
            reason = "a hash under a key tells nothing of the secret"
        )]
        let hash = self.names().hidden(secret.expose().as_bytes());
        let account = self.names().account("sights");
        let since = since.duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut script = FIRST_SIGHT.key(self.names().below(&account, "sight", &[&hash]));
        script.arg(since.as_secs()).arg(KEPT.as_secs());
        let first: u64 = self.run(&script).await?;
        Ok(UNIX_EPOCH + Duration::from_secs(first))
    }
}

/// Keeps the earlier of the time known and the time of the argument, and returns it.
///
/// KEYS\[1\]: the secret; ARGV\[1\]: Unix time in seconds; ARGV\[2\]: the time for which the key is
/// kept, in seconds.
static FIRST_SIGHT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local first = tonumber(ARGV[1])\n\
         local known = tonumber(redis.call('GET', KEYS[1]) or '')\n\
         if known and known < first then first = known end\n\
         redis.call('SET', KEYS[1], string.format('%d', first), 'EX', ARGV[2])\n\
         return first",
    )
});
/// The time for which a first sight is kept after the last start of a sidecar with the secret:
/// longer than any overlap, and than a year's pause. The state on disk keeps first sights as long.
const KEPT: Duration = Duration::from_secs(400 * 86_400);
