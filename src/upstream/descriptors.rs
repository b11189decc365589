//! File descriptors: steps that need one, and what is done if there is none.

use std::future::Future;
use std::io;

use rustix::io::Errno;

use super::places::close_all_idle;

/// Runs a step that opens a file descriptor; once more after closing all idle connections, if none
/// was left.
pub(super) async fn with_descriptor<C, F>(step: impl Fn() -> F) -> io::Result<C>
where
    F: Future<Output = io::Result<C>>,
{
    match step().await {
        Err(error) if is_out_of_descriptors(&error) => {
            tracing::warn!(%error, "all idle connections to providers and applications are closed");
            close_all_idle();
            step().await
        }
        result => result,
    }
}

pub(super) fn is_out_of_descriptors(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::MFILE | Errno::NFILE))
}

/// The error of the system if the process can open no further file.
pub(super) fn lack_of_descriptors() -> Option<io::Error> {
    let opened = std::fs::File::open("/dev/null");
    opened.err().filter(is_out_of_descriptors)
}
