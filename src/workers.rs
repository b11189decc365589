//! Work on large bodies: on blocking threads, so the thread of requests never waits for the work.

use std::future::pending;
use std::panic::resume_unwind;

use tokio::sync::Semaphore;

/// Does work that takes time in proportion to `length` bytes. Short work is done at once, since a
/// change of threads costs more. Long work waits for its turn and runs on another thread; of very
/// long work, nothing else runs beside it. Work whose caller has given up goes on to its end, and
/// its result is dropped.
///
/// # Panics
/// If the work panics.
pub async fn work_on<T: Send + 'static>(
    length: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    if length <= SHORT {
        return work();
    }
    // Never closed.
    let turns = if length > VERY_LONG { 2 } else { 1 };
    let turn = TURNS.acquire_many(turns).await.ok();
    let done = tokio::task::spawn_blocking(move || {
        let result = work();
        drop(turn);
        result
    });
    match done.await.map_err(tokio::task::JoinError::try_into_panic) {
        Ok(result) => result,
        Err(Ok(panic)) => resume_unwind(panic),
        // The process ends, and nobody waits for the result.
        Err(Err(_)) => pending().await,
    }
}

/// The longest body, in bytes, that is worked on at once. Parsing and looking through 8 KiB takes
/// some 12 µs, of nothing but short fields or escapes ten times as long; a change of threads costs
/// some 20 µs.
const SHORT: usize = 8 * 1024;
/// The longest body, in bytes, that is worked on beside other bodies: messages and events of usual
/// size are shorter, and two longer bodies at a time would need 16 MiB for their copies.
const VERY_LONG: usize = 1 << 20;
/// Bodies that are worked on at a time: a machine for sidecars seldom has more than two processors,
/// and each copy of a body needs memory, 8 MiB at most.
static TURNS: Semaphore = Semaphore::const_new(2);

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[tokio::test]
    async fn only_long_work_leaves_the_thread() {
        let here = thread::current().id();
        let thread_for = |length| work_on(length, || thread::current().id());
        assert_eq!(thread_for(SHORT).await, here);
        assert_ne!(thread_for(SHORT + 1).await, here);
    }

    #[tokio::test]
    async fn at_most_two_bodies_or_one_very_long_body_are_worked_on_at_a_time() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);
        let work = || {
            let under_way = UNDER_WAY.fetch_add(1, Ordering::SeqCst) + 1;
            thread::sleep(std::time::Duration::from_millis(5));
            UNDER_WAY.fetch_sub(1, Ordering::SeqCst);
            under_way
        };
        for (length, most) in [(SHORT + 1, 2), (VERY_LONG + 1, 1)] {
            let all: Vec<_> = (0..10)
                .map(|_| tokio::spawn(work_on(length, work)))
                .collect();
            for one in all {
                assert!(one.await.unwrap() <= most, "{length}");
            }
        }
    }

    #[tokio::test]
    async fn a_panic_in_long_work_is_a_panic_of_the_caller() {
        let panicking = tokio::spawn(work_on(SHORT + 1, || panic!("on purpose")));
        assert!(panicking.await.unwrap_err().is_panic());
    }
}
