//! The terms of one limit: quota, tokens and sharing.

use std::sync::Arc;

use tokio::time::Instant;

use super::kind::LimitKind;
use super::remote::{RemoteBucket, Sharing};
use super::tokens::Tokens;
use crate::units::Quota;

/// The terms of one limit, which can change while requests wait.
#[derive(Debug)]
pub(super) struct Terms {
    /// Quota of all sidecars together; none if only pauses hold requests back.
    pub(super) quota: Option<Quota>,
    /// Unused tokens of this sidecar, of a shared limit those of the local share.
    pub(super) tokens: Tokens,
    /// Bucket in the shared server, if the limit is shared.
    pub(super) remote: Option<Arc<RemoteBucket>>,
}

impl Terms {
    /// Terms of a limit with a bucket of its own, known to the shared server by `kind` and `parts`.
    pub(super) fn new(
        kind: LimitKind,
        parts: &[&str],
        quota: Option<Quota>,
        sharing: Option<&Sharing>,
    ) -> Self {
        // Without a rate no tokens are counted, and each sidecar learns pauses alone.
        let sharing = sharing.filter(|_| quota.is_some());
        let own = quota.map(|quota| Sharing::share_of(sharing, quota));
        Self {
            quota,
            tokens: Tokens::new(own, Instant::now()),
            remote: sharing.map(|sharing| Arc::new(sharing.bucket(kind, parts))),
        }
    }
}
