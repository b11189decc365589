//! The bytes of a connection, as hyper and the peer see them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::end::END_GRACE;
use super::*;
use crate::listener::accept::bound_unread;
use crate::listener::peer::Peer;

/// A connection in a phase, and the peer's socket.
fn connected(phase: Phase) -> (Arc<Link>, LinkStream<UnixStream>, UnixStream) {
    let link = Arc::new(Link::new(Peer::Unix { uid: 0 }));
    link.set(phase);
    let (near, far) = UnixStream::pair().unwrap();
    let stream = LinkStream::new(near, Arc::clone(&link), &ConnectionBounds::local(), None);
    (link, stream, far)
}

/// A connection whose peer has ended its side.
fn ended(phase: Phase) -> (Arc<Link>, LinkStream<UnixStream>) {
    let (link, stream, _) = connected(phase);
    (link, stream)
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_peers_side_is_held_back_until_its_request_can_be_read() {
    for (phase, held_back) in [(Phase::Head, Duration::ZERO), (Phase::Receiving, END_GRACE)] {
        let (_link, mut stream) = ended(phase);
        let began = Instant::now();
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0, "{phase:?}");
        let waited = began.elapsed();
        let latest = held_back + Duration::from_millis(2);
        assert!(
            (held_back..=latest).contains(&waited),
            "{phase:?}: {waited:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_peers_side_is_hidden_from_the_request_to_the_last_byte_of_the_answer() {
    let (link, mut stream) = ended(Phase::Receiving);
    let hour = Duration::from_secs(3600);
    let mut buffer = [0; 8];
    assert!(
        timeout(END_GRACE / 2, stream.read(&mut buffer))
            .await
            .is_err()
    );
    link.request_is_read();
    assert!(timeout(hour, stream.read(&mut buffer)).await.is_err());
    link.answer_ends();
    assert!(timeout(hour, stream.read(&mut buffer)).await.is_err());
    stream.flush().await.unwrap();
    assert_eq!(stream.read(&mut buffer).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_empty_line_behind_a_body_begins_no_request() {
    for (ahead, is_woken) in [(&b"\r\n"[..], false), (b"\r\nGET", true), (b"", false)] {
        let (_link, mut stream, _far) = connected(Phase::Head);
        stream.put_back(ahead);
        let woken = std::future::poll_fn(|cx| stream.poll_wake(cx));
        let woken = timeout(Duration::from_millis(10), woken).await;
        assert_eq!(woken.is_ok(), is_woken, "{ahead:?}");
    }
}

/// The bytes that hyper gets for the bytes of a peer, which come in pieces of `size`.
async fn read_in_pieces(sent: &[u8], size: usize) -> Vec<u8> {
    let (_link, mut stream, mut far) = connected(Phase::Head);
    let mut read = Vec::new();
    for piece in sent.chunks(size) {
        far.write_all(piece).await.unwrap();
        // Bytes that found no room in the buffer come with the next read.
        let mut buffer = [0; 7];
        while let Ok(length) = timeout(Duration::from_millis(1), stream.read(&mut buffer)).await {
            read.extend_from_slice(&buffer[..length.unwrap()]);
        }
    }
    read
}

#[tokio::test(start_paused = true)]
async fn a_target_is_encoded_and_nothing_else_is() {
    for (sent, expected) in [
        (
            "GET /1?f=a([\"b\"])&c=<d>`e HTTP/1.1\r\nX: \"<>`\r\n\r\n\"<>`",
            "GET /1?f=a([%22b%22])&c=%3Cd%3E%60e HTTP/1.1\r\nX: \"<>`\r\n\r\n\"<>`",
        ),
        ("\r\nGET /\" HTTP/1.1\r\n", "\r\nGET /%22 HTTP/1.1\r\n"),
        ("\n\nGET /\"\n\"", "\n\nGET /%22\n\""),
        ("G\"T / HTTP/1.1\r\n", "G\"T / HTTP/1.1\r\n"),
        ("\"<>", "\"<>"),
        ("GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\n\r\n"),
    ] {
        for size in [1, 2, 5, sent.len()] {
            let read = read_in_pieces(sent.as_bytes(), size).await;
            assert_eq!(
                read.escape_ascii().to_string(),
                expected.as_bytes().escape_ascii().to_string(),
                "{size}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_fragment_is_seen_behind_an_empty_line_and_in_any_piece() {
    for (sent, has_fragment) in [
        ("GET /#a HTTP/1.1\r\n", true),
        ("\r\n\r\nGET /#a HTTP/1.1\r\n", true),
        ("GET /\"#a HTTP/1.1\r\n", true),
        ("GET / HTTP/1.1\r\nX: #a\r\n", false),
    ] {
        for size in [1, 3, sent.len()] {
            let (link, mut stream, mut far) = connected(Phase::Head);
            for piece in sent.as_bytes().chunks(size) {
                far.write_all(piece).await.unwrap();
                assert_ne!(stream.read(&mut [0; 64]).await.unwrap(), 0);
            }
            assert_eq!(link.had_fragment(), has_fragment, "{sent:?} {size}");
        }
    }
}

/// The bytes of `length` that a peer gets which reads 1 KiB at a time, `rate` bytes a second.
async fn read_slowly(length: usize, rate: u32) -> usize {
    let (_link, mut stream, mut far) = connected(Phase::Read);
    bound_unread(stream.stream.get_ref());
    let writing = tokio::spawn(async move { stream.write_all(&vec![b'x'; length]).await });
    let (mut taken, mut piece) = (0, [0; 1024]);
    loop {
        tokio::time::sleep(Duration::from_secs(1) * 1024 / rate).await;
        match far.read(&mut piece).await.unwrap() {
            0 => break,
            bytes => taken += bytes,
        }
    }
    writing.await.unwrap().ok();
    taken
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_at_a_unix_socket_gets_the_whole_answer_and_one_that_drips_does_not() {
    let length = 1 << 20;
    for rate in [5, 8, 24] {
        assert_eq!(
            read_slowly(length, rate * 1024).await,
            length,
            "{rate} KiB/s"
        );
    }
    assert!(read_slowly(length, 1024).await < length / 4);
}

/// A waker that counts.
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_flushed_answer_wakes_the_connection_for_a_hidden_end_or_the_keep_alive_timeout() {
    let keep_alive = ConnectionBounds::local().timeouts.keep_alive;
    for (peer_ended, wait) in [(true, Duration::ZERO), (false, keep_alive)] {
        let (link, mut stream, far) = connected(Phase::Head);
        let far = (!peer_ended).then_some(far);
        let wakes = Arc::new(Wakes(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&wakes));
        let mut cx = Context::from_waker(&waker);
        let mut buffer = [0; 8];
        let mut buffer = ReadBuf::new(&mut buffer);
        link.request_is_read();
        // The read of hyper while the handler runs; no other read follows by itself.
        assert!(
            Pin::new(&mut stream)
                .poll_read(&mut cx, &mut buffer)
                .is_pending()
        );
        link.answer_ends();
        assert!(Pin::new(&mut stream).poll_flush(&mut cx).is_ready());
        tokio::time::sleep(wait + Duration::from_millis(5)).await;
        assert!(
            wakes.0.load(Ordering::Relaxed) > 0,
            "peer ended: {peer_ended}"
        );
        let read = Pin::new(&mut stream).poll_read(&mut cx, &mut buffer);
        assert!(read.is_ready(), "peer ended: {peer_ended}");
        drop(far);
    }
}
