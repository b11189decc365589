//! The peer's side of one connection: the bytes below hyper.
//!
//! `LinkStream`, in `stream/`, stands between hyper and the socket, because hyper lacks five
//! things: a separate timeout for the head of a request beside the keep-alive timeout; an error
//! text for a malformed head; the fragment of a request target (hyper drops the fragment in
//! silence); an answer for a peer that ends its own side while the request is being sent on; and an
//! eye on the end of a peer with the next request already sent.
//!
//! # The phases of a connection
//!
//! ```text
//!            request_begins             request_is_read
//!  ┌─> Head ───────────────> Receiving ─────────────────────────> Read <─┐
//!  │                          │    │        request_waits         │ ^    │
//!  │                          │    └─────────────> Waiting <──────┘ │    │
//!  │             upload_waits │                       └─────────────┘    │
//!  │                          v    turn_begins    request_is_read        │
//!  │                 UploadWaiting <──────────> PassingThrough ──────────┘
//!  │   flush                       upload_waits              take_whole_body
//!  └────────── Answered <── answer_ends, from every phase of a request
//! ```
//!
//! | phase | begins when | end of the peer's side | bytes that hyper writes | timeout |
//! |---|---|---|---|---|
//! | `Head` | the connection opens, or an answer was flushed | passes: the connection ends | an error of hyper's own: replaced by a refusal with a text | `keep_alive` up to the first byte (`head` on a new connection), then `head` |
//! | `Receiving` | hyper gave the request to a handler | held back for 50 ms, then passes: hyper drops the handler | the answer: passes | `write` while the peer takes nothing |
//! | `Waiting` | the request is whole, and waits for its turn, or for another turn | as `Receiving`, but passes once the peer is gone, see below | the answer: passes | as `Receiving` |
//! | `UploadWaiting` | the request waits for its turn with the body unread | as `Waiting` | the answer: passes | as `Receiving` |
//! | `PassingThrough` | the body is read while it goes out | as `Waiting`, and after 10 s in any case | the answer: passes | as `Receiving` |
//! | `Read` | the request is whole and will be answered | hidden until the answer is flushed: the answer is still wanted, see below | the answer: passes | as `Receiving` |
//! | `Answered` | the body of the answer was dropped | as `Read` | the last bytes of the answer: pass | as `Receiving` |
//!
//! The service in `serve.rs` calls `request_begins` and `answer_ends`, and the handler the steps in
//! between; the stream calls `take_whole_body`, and its `poll_flush` steps back to `Head`.
//!
//! # Wake-ups
//!
//! hyper reads again only after a wake-up, and a vanished peer causes a single wake-up. Each step
//! that leaves hyper without a pending read therefore registers a further wake-up: the timer of the
//! watchdog, or an immediate wake-up for a hidden end.
//!
//! # Peers that are gone, and peers that have ended their side
//!
//! A peer that closes the connection and a peer that only ends its own side look alike: FIN. The
//! second peer still wants the answer, so Keyside asks: the peer gets an interim answer, `100
//! Continue`, skipped by every client. The system of a vanished peer answers with a reset, and the
//! connection ends. A peer with a request that waits for a turn, or with a body passing through, is
//! asked at once and then every second, so no message of a vanished caller leaves the queue. Behind
//! a body that is cut off, the end passes after 10 s all the same. In `Read` the request is on its
//! way already, and the peer is asked only if a new connection finds no place.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::Version;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::peer::Peer;
use super::seat::Seat;

/// The connection of a request, as far as a handler may know it.
#[derive(Debug)]
pub struct Link {
    peer: Peer,
    local: Option<SocketAddr>,
    /// The facts of the TLS handshake; empty without TLS.
    handshake: OnceLock<Handshake>,
    // Atomics, because handlers must be `Sync`; one thread uses them.
    phase: AtomicU8,
    has_fragment: AtomicBool,
    /// True once a body was left unread: the connection takes the rest of it, and ends after the
    /// answer.
    lingers: AtomicBool,
    /// True once the body of the request that passes through is whole. Whoever passes the body on
    /// has the other copy.
    body_is_whole: Arc<AtomicBool>,
    is_http_1_0: AtomicBool,
    seat: Arc<Seat>,
    /// The client of the request under way, if a trusted proxy names one.
    client: Mutex<Option<IpAddr>>,
}

/// The facts of a TLS handshake.
#[derive(Debug)]
struct Handshake {
    server_name: Option<String>,
}

/// The phase of a connection; see the head of this file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Head,
    Receiving,
    Waiting,
    UploadWaiting,
    PassingThrough,
    Read,
    Answered,
}

impl Link {
    pub(crate) fn new(peer: Peer) -> Self {
        Self {
            peer,
            local: None,
            handshake: OnceLock::new(),
            phase: AtomicU8::new(Phase::Head as u8),
            has_fragment: AtomicBool::new(false),
            lingers: AtomicBool::new(false),
            body_is_whole: Arc::default(),
            is_http_1_0: AtomicBool::new(false),
            seat: Arc::new(Seat::new(Instant::now())),
            client: Mutex::default(),
        }
    }

    /// The seat of the connection in the table of connections.
    pub(super) fn seat(&self) -> &Arc<Seat> {
        &self.seat
    }

    /// The address of the caller: of the client that a trusted proxy names, else of the peer;
    /// `None` for a Unix socket.
    #[must_use]
    pub fn caller_address(&self) -> Option<IpAddr> {
        (*self.client.lock()).or_else(|| self.peer.ip())
    }

    /// The caller for logs: the client that a trusted proxy names, else the peer.
    #[must_use]
    pub fn caller(&self) -> String {
        match *self.client.lock() {
            Some(address) => address.to_string(),
            None => self.peer.to_string(),
        }
    }

    /// Adds the address at which the connection arrived.
    #[must_use]
    pub(crate) fn arrived_at(mut self, local: Option<SocketAddr>) -> Self {
        self.local = local;
        self
    }

    /// The address at which the connection arrived; `None` for a Unix socket.
    #[must_use]
    pub fn local(&self) -> Option<SocketAddr> {
        self.local
    }

    /// Adds the server name that the peer asked for in its TLS handshake, if any.
    pub(crate) fn note_handshake(&self, server_name: Option<&str>) {
        let server_name = server_name.map(str::to_ascii_lowercase);
        self.handshake.set(Handshake { server_name }).ok();
    }

    /// True for a connection with TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.handshake.get().is_some()
    }

    /// The server name of the TLS handshake in lower case; `None` without TLS or without a name.
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        self.handshake.get()?.server_name.as_deref()
    }

    /// The process at the other end.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// True if the target of the request had a fragment, which hyper has dropped by now. A request
    /// that was pipelined behind another loses the fragment unseen.
    #[must_use]
    pub fn had_fragment(&self) -> bool {
        self.has_fragment.load(Ordering::Relaxed)
    }

    /// Marks a request that is refused with the body unread. The connection then stays open for a
    /// moment and takes the rest of the body: a reset would cost the peer the answer.
    pub fn body_unread(&self) {
        self.lingers.store(true, Ordering::Relaxed);
    }

    /// Marks a request that is whole and will be answered in any case. A peer that ends its side
    /// from now on still wants the answer. Before this call, and while a streamed body is still
    /// passing through, the end of the peer's side means a vanished peer: the request ends and
    /// gives up its place in a queue.
    pub fn request_is_read(&self) {
        self.set(Phase::Read);
    }

    /// Marks a whole request that waits for its turn, or for another turn after a try: a peer that
    /// is gone then ends the request, also behind bytes that are not read yet.
    pub fn request_waits(&self) {
        self.set(Phase::Waiting);
    }

    /// Marks a request that waits for its turn with the body unread. Of a peer that is gone, the
    /// end may stand behind more bytes than the system takes, so the peer is asked as well.
    pub fn upload_waits(&self) {
        self.set(Phase::UploadWaiting);
    }

    /// Marks a request that has its turn, with the body passing through from now on.
    pub fn turn_begins(&self) {
        self.body_is_whole.store(false, Ordering::Relaxed);
        self.set(Phase::PassingThrough);
    }

    /// Returns the flag to set once the last byte of a body that passes through is read: the
    /// request is whole then, as after [`request_is_read`](Self::request_is_read).
    #[must_use]
    pub fn body_is_whole(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.body_is_whole)
    }

    /// True while the body of a request passes through.
    pub(super) fn passes_through(&self) -> bool {
        self.is(Phase::PassingThrough)
    }

    /// Takes the last byte of a body that passes through for the end of the request.
    pub(super) fn take_whole_body(&self) {
        if self.passes_through() && self.body_is_whole.load(Ordering::Relaxed) {
            self.request_is_read();
        }
    }

    /// True for a request that waits for its turn with the body unread.
    pub(super) fn is_upload(&self) -> bool {
        self.is(Phase::UploadWaiting)
    }

    /// True for a request that waits for its turn.
    pub(super) fn is_waiting(&self) -> bool {
        self.is(Phase::Waiting) || self.is(Phase::UploadWaiting)
    }

    /// True from the beginning of a request to the end of the answer.
    pub(super) fn is_under_way(&self) -> bool {
        !self.is(Phase::Head) && !self.is(Phase::Answered)
    }

    /// True if the peer may get an interim answer (1xx).
    pub(super) fn takes_interim_answers(&self) -> bool {
        !self.is_http_1_0.load(Ordering::Relaxed)
    }

    /// Notes if the line of the next request has a fragment.
    pub(super) fn note_fragment(&self, has_fragment: bool) {
        self.has_fragment.store(has_fragment, Ordering::Relaxed);
    }

    /// True if the rest of a body is to be taken after the answer.
    pub(super) fn lingers(&self) -> bool {
        self.lingers.load(Ordering::Relaxed)
    }

    /// Marks the beginning of a request, of a client that a trusted proxy names or of the peer
    /// itself.
    pub(super) fn request_begins(&self, client: Option<IpAddr>, version: Version) {
        self.seat.works();
        let is_http_1_0 = version < Version::HTTP_11;
        self.is_http_1_0.store(is_http_1_0, Ordering::Relaxed);
        *self.client.lock() = client;
        self.set(Phase::Receiving);
    }

    pub(super) fn answer_ends(&self) {
        self.set(Phase::Answered);
    }

    pub(super) fn set(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    pub(super) fn is(&self, phase: Phase) -> bool {
        self.phase.load(Ordering::Relaxed) == phase as u8
    }
}

/// The timeouts of a peer.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Wait for the first byte of a new connection; and from the first byte of a head to the end.
    pub head: Duration,
    /// Wait between two requests.
    pub keep_alive: Duration,
    /// Wait for the peer to take the next bytes of an answer.
    pub write: Duration,
}
