//! Limits that many sidecars share: the shared server counts, and each sidecar asks it for tokens.

mod bucket;
mod known_bucket;
mod prefetch;
mod recent_use;
mod sharing;

pub use bucket::{LocalView, RemoteBucket, TakeReply, TakeRequest, TakeScriptReply};
pub(super) use prefetch::Prefetch;
pub use sharing::Sharing;
pub(super) use sharing::{CountedBy, RemotePause};
