//! The work of a load on a thread of its own.

use std::sync::Arc;

use super::{Live, LoadError};

/// Works on a thread of its own: with thousands of routes, a load takes longer than a request may
/// be held up.
pub(super) async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LoadError> + Send + 'static,
) -> Result<T, LoadError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| LoadError::Interrupted)?
}

/// The time of a load in the life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LoadTime {
    /// The start: nothing is served yet.
    Start,
    /// A reload, while requests are served.
    Serving,
}

impl LoadTime {
    /// Returns the time of a load that follows `before`.
    pub(super) fn after(before: Option<&Arc<Live>>) -> Self {
        before.map_or(Self::Start, |_| Self::Serving)
    }

    /// Works on a blocking thread; at the start on the calling thread. At the start no request
    /// waits, and the next step reuses the memory of the last, since the allocator keeps freed
    /// memory for the thread that freed it.
    pub(super) async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> Result<T, LoadError> + Send + 'static,
    ) -> Result<T, LoadError> {
        match self {
            Self::Start => work(),
            Self::Serving => aside(work).await,
        }
    }
}
