//! The race between the addresses of a host.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

/// Connects to the address that answers first ("happy eyeballs", RFC 8305). The next address is
/// tried once the attempt before has failed or has had a head start of 300 ms; attempts under way
/// go on. A broken IPv6 route therefore costs 300 ms and not a whole TCP timeout.
pub(super) async fn first_to_connect<C, F>(
    addresses: Vec<SocketAddr>,
    connect: impl Fn(SocketAddr) -> F,
) -> io::Result<C>
where
    C: Send + 'static,
    F: Future<Output = io::Result<C>> + Send + 'static,
{
    let mut attempts = JoinSet::new();
    let mut addresses = addresses.into_iter();
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "it has no address");
    loop {
        match addresses.next() {
            Some(address) => drop(attempts.spawn(connect(address))),
            None if attempts.is_empty() => return Err(failure),
            None => {}
        }
        let head_start = async {
            if addresses.len() > 0 {
                sleep(HEAD_START).await
            } else {
                // No address is left to try: only the attempts under way can end the wait.
                std::future::pending().await
            }
        };
        tokio::select! {
            Some(attempt) = attempts.join_next() => match attempt {
                // Dropping `attempts` ends the others.
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => failure = error,
                Err(error) => failure = io::Error::other(error),
            },
            () = head_start => {}
        }
    }
}

/// Head start of an address before the next is tried; RFC 8305 suggests 250 ms, and 100 ms to 2 s.
const HEAD_START: Duration = Duration::from_millis(300);

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::Instant;

    use super::*;

    /// The fate of one attempt to connect.
    #[derive(Clone, Copy)]
    enum Attempt {
        Connects { after_ms: u64 },
        Fails { after_ms: u64 },
        Hangs,
    }

    impl Attempt {
        async fn made(self, port: u16) -> io::Result<u16> {
            match self {
                Self::Connects { after_ms } => {
                    sleep(Duration::from_millis(after_ms)).await;
                    Ok(port)
                }
                Self::Fails { after_ms } => {
                    sleep(Duration::from_millis(after_ms)).await;
                    Err(io::ErrorKind::ConnectionRefused.into())
                }
                Self::Hangs => pending().await,
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_address_is_tried_after_a_failure_or_a_head_start() {
        use Attempt::{Connects, Fails, Hangs};
        let connects = |after_ms| Connects { after_ms };
        let fails = |after_ms| Fails { after_ms };
        // Attempts by port, the port that connects, and the time until then.
        for (name, attempts, expected) in [
            (
                "the first answers",
                vec![connects(10), connects(0)],
                Some((0, 10)),
            ),
            ("the first hangs", vec![Hangs, connects(5)], Some((1, 305))),
            ("two hang", vec![Hangs, Hangs, connects(5)], Some((2, 605))),
            (
                "the first fails",
                vec![fails(10), connects(5)],
                Some((1, 15)),
            ),
            (
                "the first is slow and wins",
                vec![connects(400), connects(200)],
                Some((0, 400)),
            ),
            (
                "the first is slow and loses",
                vec![connects(900), connects(200)],
                Some((1, 500)),
            ),
            (
                "the last hangs, the first is late",
                vec![connects(4000), Hangs],
                Some((0, 4000)),
            ),
            ("all fail", vec![fails(10), fails(20)], None),
            ("no address", vec![], None),
        ] {
            let count = u16::try_from(attempts.len()).unwrap();
            let addresses = (0..count).map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
            let began = Instant::now();
            let connected = first_to_connect(addresses.collect(), |address| {
                let port = address.port();
                attempts[usize::from(port)].made(port)
            })
            .await;
            // The paused clock moves in whole milliseconds, and a sleep may end one later.
            let found = connected
                .ok()
                .map(|port| (port, began.elapsed().as_millis()));
            let is_as_expected = match (found, expected) {
                (Some((port, after)), Some((expected, earliest))) => {
                    port == expected && (earliest..=earliest + 3).contains(&after)
                }
                (found, expected) => found.is_none() && expected.is_none(),
            };
            assert!(is_as_expected, "{name}: {found:?} instead of {expected:?}");
        }
    }
}
