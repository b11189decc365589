//! The states of a message with a key, and the times that sidecars agree on.

use std::time::Duration;

use super::answer::StoredAnswer;

/// The knowledge of a message under a key, in this sidecar or in the shared server.
#[derive(Debug)]
pub(super) enum SendState {
    /// No message was sent under the key before; the message is under way from now on.
    New,
    /// A request has begun to send the message, and its outcome is still open.
    UnderWay,
    /// The message was written to the provider, and no answer came.
    Unknown,
    /// The key belongs to a different request.
    KeyReused,
    /// The provider has answered.
    Answered(StoredAnswer),
}

/// The time for which the outcome of a message is kept, counted from its first request: as long
/// as applications and their queues can be expected to repeat a request.
pub(super) const KEPT: Duration = Duration::from_secs(86_400);
/// The number of seconds by which the provider's clock may be behind the own clock. An older status
/// event belongs to an earlier message with an equal text.
pub(super) const MAX_CLOCK_DIFFERENCE: u64 = 10;
