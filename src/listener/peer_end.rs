//! The end of a peer's side, known to the kernel even behind unread bytes.

use std::future::Future;
use std::io;
use std::os::fd::AsFd;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use rustix::io::Errno;
use rustix::net::RecvFlags;
use tokio::io::{Interest, Ready};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

/// A connection that knows of the end of the peer's side before the bytes in front of the end are
/// read.
pub(super) trait PeerEnd {
    /// True once the peer has ended its side, or is gone.
    fn has_ended(&self) -> bool;

    /// True if no byte stands before the end of the peer's side.
    fn has_no_bytes(&self) -> bool;

    /// Returns ready once a read may find bytes, an end or an error.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()>;
}

impl PeerEnd for TcpStream {
    fn has_ended(&self) -> bool {
        is_read_closed(self.ready(Interest::READABLE))
    }

    fn has_no_bytes(&self) -> bool {
        finds_no_byte(self)
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_read_ready(cx).map(drop)
    }
}

impl PeerEnd for UnixStream {
    fn has_ended(&self) -> bool {
        is_read_closed(self.ready(Interest::READABLE))
    }

    fn has_no_bytes(&self) -> bool {
        finds_no_byte(self)
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_read_ready(cx).map(drop)
    }
}

impl PeerEnd for TlsStream<TcpStream> {
    fn has_ended(&self) -> bool {
        self.get_ref().0.has_ended()
    }

    fn has_no_bytes(&self) -> bool {
        self.get_ref().0.has_no_bytes()
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        let (stream, tls) = self.get_ref();
        // The first request may have come with the end of the handshake, and is decrypted already.
        if tls.wants_read() {
            stream.poll_readable(cx)
        } else {
            Poll::Ready(())
        }
    }
}

/// Looks at the next byte, and leaves it where it is. An end and an error of the connection are no
/// byte.
fn finds_no_byte(socket: impl AsFd) -> bool {
    let look = rustix::net::recv(socket, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT);
    look.map_or_else(|error| error != Errno::AGAIN, |(bytes, _)| bytes == 0)
}

/// Reads the state that the last events of the kernel have left; nothing waits.
fn is_read_closed(ready: impl Future<Output = io::Result<Ready>>) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    match pin!(ready).poll(&mut cx) {
        Poll::Ready(Ok(ready)) => ready.is_read_closed(),
        Poll::Ready(Err(_)) | Poll::Pending => false,
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[test]
    fn bytes_before_the_end_are_found_and_stay() {
        let (near, mut far) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(!finds_no_byte(&near), "the peer may still write");
        io::Write::write_all(&mut far, b"a").unwrap();
        drop(far);
        assert!(!finds_no_byte(&near));
        assert_eq!(io::Read::read(&mut &near, &mut [0; 8]).unwrap(), 1);
        assert!(finds_no_byte(&near));
    }

    #[tokio::test]
    async fn the_end_of_a_side_shows_behind_unread_bytes() {
        let (near, mut far) = UnixStream::pair().unwrap();
        far.write_all(b"unread").await.unwrap();
        near.readable().await.unwrap();
        assert!(!near.has_ended());
        far.shutdown().await.unwrap();
        // The event arrives when the runtime waits next.
        while !near.has_ended() {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }
}
