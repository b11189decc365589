//! The work of a load on a thread of its own.

use super::LoadError;

/// Works on a thread of its own: with thousands of routes, a load takes longer than a request may be held up.
pub(super) async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LoadError> + Send + 'static,
) -> Result<T, LoadError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| LoadError::Interrupted)?
}

/// Works on a thread of its own, but at the start at once: no request waits then, and the memory that a step has freed is
/// there for the next one, since the allocator keeps it for the thread that had it.
pub(super) async fn aside_but_first<T: Send + 'static>(
    is_first: bool,
    work: impl FnOnce() -> Result<T, LoadError> + Send + 'static,
) -> Result<T, LoadError> {
    match is_first {
        true => work(),
        false => aside(work).await,
    }
}
